/**
 * What a client knows of its own rows: each acknowledged change is in here, each refused one is not, and one that was cut off is settled by looking,
 * for all of it must have happened or nothing. Rows are compared whole, column by column.
 */
import { type Door, isSuccess, UnexpectedAnswer } from './requests.js';
import { type Answer, call } from './server.js';

/** A payload without nulls; names in lower case. */
export type Payload = Readonly<Record<string, string | number | boolean>>;
export type State = Payload | 'absent';

/** Everything one request changes. */
export interface Change {
  /** For messages. */
  readonly what: string;
  /** The rows as they are once it is done. */
  readonly after: ReadonlyMap<string, State>;
  readonly send: () => Promise<Answer>;
  /** Whether an answer that is no success is one that may be; then nothing happened. */
  readonly mayRefuse?: (answer: Answer) => boolean;
  /** Told when it is known to have happened. */
  readonly onDone?: () => void;
}

export type Outcome = 'done' | 'refused';

/** In a note, for what concerns every row. */
export const ALL_ROWS = 'all rows';

interface Pending extends Change {
  readonly before: ReadonlyMap<string, State>;
}

export class KnownRows {
  readonly #rows = new Map<string, Payload>();
  readonly #history: string[] = [];
  #pending: Pending | undefined;
  acknowledged = 0;
  refused = 0;
  cutOff = 0;

  constructor(
    readonly table: string,
    readonly owner: string,
  ) {}

  get(id: string): State {
    return this.#rows.get(id) ?? 'absent';
  }

  get ids(): string[] {
    return [...this.#rows.keys()];
  }

  /** A change was cut off and has to be settled. */
  get isUnsettled(): boolean {
    return this.#pending !== undefined;
  }

  /** For the report of a failure. */
  note(what: string): void {
    this.#history.push(`${new Date().toISOString().slice(14, 23)} ${what}`);
  }

  /** What was done to a row of `texts` or `rowTexts`, and whatever concerns all rows. */
  historyOf(text: string): string[] {
    const [id = ''] = text.split(' ');
    const named = new RegExp(`(^|[ ,])${id}([ ,:]|$)`);
    return this.#history.filter((line) => named.test(line) || line.includes(ALL_ROWS));
  }

  /** Every row that must be there, as `rowTexts` gives them. */
  texts(): string[] {
    return [...this.#rows].map(([id, payload]) => rowText(id, payload));
  }

  /** @throws UnexpectedAnswer for an answer that must not be; the error of a lost connection goes through, and leaves the change unsettled */
  async change(change: Change): Promise<{ outcome: Outcome; answer: Answer }> {
    const before = new Map([...change.after.keys()].map((id) => [id, this.get(id)]));
    this.#pending = { ...change, before };
    const answer = await change.send();
    this.#pending = undefined;
    if (isSuccess(answer)) {
      this.acknowledged += 1;
      this.note(change.what);
      this.#take(change);
      return { outcome: 'done', answer };
    }
    if (change.mayRefuse?.(answer) !== true) throw new UnexpectedAnswer(`${this.owner}: ${change.what}`, answer);
    this.refused += 1;
    this.note(`${change.what}: refused`);
    return { outcome: 'refused', answer };
  }

  /** Looks what has become of the change that was cut off. */
  async settle(server: Door): Promise<void> {
    const pending = this.#pending;
    if (!pending) return;
    const ids = [...pending.before.keys()].map((id) => `'${id}'`).join(', ');
    const found = (await rowTexts(server, this.table, `id IN (${ids})`)).join('\n');
    const hasHappened = found === textOf(pending.after);
    this.note(`${pending.what}: cut off, and ${hasHappened ? 'done' : 'not done'}`);
    if (hasHappened) this.#take(pending);
    else if (found !== textOf(pending.before))
      throw new Error(
        `${this.owner}: ${pending.what} was cut off; before [${textOf(pending.before)}], after [${textOf(pending.after)}], found [${found}]`,
      );
    this.#pending = undefined;
    this.cutOff += 1;
  }

  #take({ after, onDone }: Change): void {
    for (const [id, state] of after) {
      if (state === 'absent') this.#rows.delete(id);
      else this.#rows.set(id, state);
    }
    onDone?.();
  }
}

/** The rows of a table in a form that can be compared and sorted; time stamps are left out. */
export async function rowTexts(server: Door, table: string, where = 'true'): Promise<string[]> {
  const sql = `SELECT * FROM ${table} WHERE ${where}`;
  const answer = await call(server, 'POST', '/v1/query', { sql }, { accept: 'application/x-ndjson' });
  if (answer.status !== 200) throw new UnexpectedAnswer(sql, answer);
  const lines = answer.text.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => JSON.parse(line) as Record<string, string | number | boolean | null>)
    .map(({ id, timestamp: _timestamp, ...payload }) => rowText(String(id), payload))
    .sort();
}

function rowText(id: string, payload: Readonly<Record<string, string | number | boolean | null>>): string {
  const cells = Object.entries(payload).filter(([, value]) => value !== null);
  const sorted = cells.map(([name, value]) => [name.toLowerCase(), value] as const).sort(([one], [other]) => (one < other ? -1 : 1));
  return `${id} ${JSON.stringify(Object.fromEntries(sorted))}`;
}

function textOf(state: ReadonlyMap<string, State>): string {
  const texts = [...state].flatMap(([id, payload]) => (payload === 'absent' ? [] : [rowText(id, payload)]));
  return texts.sort().join('\n');
}

/** Rows that are missing, and such as are there too often or should not be. */
export function difference(expected: readonly string[], found: readonly string[]): string[] {
  const left = new Set(expected);
  const tooMany = found.filter((row) => !left.delete(row));
  return [...[...left].map((row) => `missing ${row}`), ...tooMany.map((row) => `unexpected ${row}`)];
}
