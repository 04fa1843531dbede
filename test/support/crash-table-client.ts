/**
 * A client of the crash test that creates tables, loads rows into them (small batches, or bulk streams large enough to become data files of
 * their own), deletes some and drops the tables again. A load is atomic: after a crash it is there with every row, or not at all; a dropped table never comes
 * back, and a table created again under the same name starts empty.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { CrashRun } from './crash-entity-client.js';
import { type DataClient, padded } from './data-client.js';
import { type ClientRecord, bigint, flatRecordJson, payloadOf, varchar } from './payload-value.js';
import { UnexpectedAnswer, expectSuccess, isSuccess } from './requests.js';
import type { SeededRandom } from './seeded-random.js';
import { type Answer, call } from './server.js';
import { queryRows } from './table-reader.js';

const FIRST_TIMESTAMP_MICROS = 1_709_251_200_000_000n;
const MINUTE_MICROS = 60_000_000n;
const PAUSE_MS_MAX = 120;
const ROWS_OF_A_DELETE = 10;

/** Loads of an existing table by label, with the number of rows of each that are left: deletes take them from the front. */
export type TableContent = ReadonlyMap<string, number>;

/** What is known of one table: its content, or that there is none. */
export type TableState = TableContent | 'absent';

type OperationKind = 'create' | 'drop' | 'load' | 'delete';

interface PendingTableOperation {
  readonly table: string;
  readonly kind: OperationKind;
  readonly description: string;
  readonly before: TableState;
  readonly after: TableState;
}

/** The answer to a second request of this kind when the first one has arrived meanwhile. */
const STATUS_IF_DONE: Partial<Record<OperationKind, number>> = { create: 409, drop: 404 };

export interface CrashTableClientOptions {
  readonly tables: readonly string[];
  /** Rows of one load; through the bulk door when `bulk`. */
  readonly rowsOfLoad: number;
  readonly bulk: boolean;
  /** Loads after which a table is dropped. */
  readonly loadsMax: number;
}

export class CrashTableClient {
  readonly #states = new Map<string, TableState>();
  #pending: PendingTableOperation | undefined;
  /** The operation of a table that got no answer and was not seen after the restart. */
  readonly #unseen = new Map<string, PendingTableOperation>();

  constructor(
    readonly name: string,
    readonly options: CrashTableClientOptions,
    readonly random: SeededRandom,
    readonly run: CrashRun,
  ) {
    for (const table of options.tables) this.#states.set(table, 'absent');
  }

  async step(client: DataClient): Promise<void> {
    // A large body keeps both cores busy: leave some room for the other clients.
    await pause(this.random.integer(0, PAUSE_MS_MAX));
    const table = this.random.pick(this.options.tables);
    const state = this.#state(table);
    const again = this.#unseen.get(table)?.kind;
    if (state === 'absent') {
      const create = (): Promise<Answer> => client.createTable(table, { buffer_size: 50, flush_interval_seconds: 1 });
      return this.#perform(table, 'create', 'create', new Map(), create);
    }
    const isFull = state.size >= this.options.loadsMax;
    const isToDrop = again === 'drop' || (isFull && this.random.chance(0.3));
    if (isToDrop) return this.#perform(table, 'drop', 'drop', 'absent', () => client.dropTable(table));
    if (isFull || (state.size > 0 && this.random.chance(0.4))) return this.#deleteSome(client, table, state);
    return this.#load(client, table, state);
  }

  async #load(client: DataClient, table: string, state: TableContent): Promise<void> {
    const load = (this.run.rowCounter += 1);
    const label = `load${load}`;
    const rows = this.options.rowsOfLoad;
    const records = Array.from({ length: rows }, (_, row) => recordOfLoad(label, row));
    const after = new Map([...state, [label, rows]]);
    const send = (): Promise<Answer> =>
      this.options.bulk ? client.bulk(table, padded(records.map(flatRecordJson))) : client.writeBatch(table, records);
    await this.#perform(table, 'load', `${label} of ${rows} rows`, after, send);
  }

  /** Rows of bulk files and of buffers alike; the position of a deleted row must survive every flush and compaction. */
  async #deleteSome(client: DataClient, table: string, state: TableContent): Promise<void> {
    const [label, rowsLeft] = this.random.pick([...state]);
    const from = this.options.rowsOfLoad - rowsLeft;
    const ids = Array.from({ length: Math.min(ROWS_OF_A_DELETE, rowsLeft - 1) }, (_, row) => `${label}-${from + row}`);
    if (ids.length === 0) return;
    const after = new Map([...state, [label, rowsLeft - ids.length]]);
    const send = (): Promise<Answer> => client.delete(table, ids, this.random.chance(0.5));
    await this.#perform(table, 'delete', `delete of ${ids.length} rows of ${label}`, after, send);
  }

  async #perform(table: string, kind: OperationKind, description: string, after: TableState, send: () => Promise<Answer>): Promise<void> {
    this.#pending = { table, kind, description, before: this.#state(table), after };
    const answer = await send();
    if (answer.status === 429) {
      this.#pending = undefined;
      return;
    }
    const isDoneBefore = this.#unseen.get(table)?.kind === kind && answer.status === STATUS_IF_DONE[kind];
    if (!isSuccess(answer) && !isDoneBefore) throw new UnexpectedAnswer(`${this.name} on ${table}: ${description}`, answer);
    if (kind === 'create' || kind === 'drop') this.#unseen.delete(table);
    this.#states.set(table, after);
    this.#pending = undefined;
    this.run.acknowledged += 1;
  }

  /** Compares every table with what was acknowledged; settles the operation that was under way. Gives the failures. */
  async verify(client: DataClient): Promise<string[]> {
    const failures: string[] = [];
    for (const table of this.options.tables) {
      const actual = await readTableState(client, table, this.options.rowsOfLoad);
      const pending = this.#pending?.table === table ? this.#pending : undefined;
      const answered = pending ? [pending.before, pending.after] : [this.#state(table)];
      const allowed = [...answered, ...this.#lateStates(table, answered)];
      const match = allowed.find((state) => describeState(state) === describeState(actual));
      if (match === undefined) {
        const underWay = pending ? ` (under way: ${pending.description})` : '';
        failures.push(`${table}${underWay}: expected ${allowed.map(describeState).join(' or ')}, found ${describeState(actual)}`);
        continue;
      }
      this.#states.set(table, match);
      if (match === pending?.before) this.#unseen.set(table, pending);
      else if (pending?.kind === 'create' || pending?.kind === 'drop' || !answered.includes(match)) this.#unseen.delete(table);
      if (pending) this.#pending = undefined;
    }
    return failures;
  }

  /** What each of these states is when the operation that was not seen has arrived after all. */
  #lateStates(table: string, states: readonly TableState[]): TableState[] {
    const late = this.#unseen.get(table);
    if (late === undefined || late.kind === 'delete') return [];
    if (late.kind !== 'load') return [late.after];
    const load = [...(late.after as TableContent)].at(-1);
    return load ? states.flatMap((state) => (state === 'absent' ? [] : [new Map([...state, load])])) : [];
  }

  #state(table: string): TableState {
    return this.#states.get(table) ?? 'absent';
  }
}

function recordOfLoad(label: string, row: number): ClientRecord {
  return {
    id: `${label}-${row}`,
    timestampMicros: FIRST_TIMESTAMP_MICROS + BigInt(row) * MINUTE_MICROS,
    payload: payloadOf({ n: bigint(row), load: varchar(label) }),
  };
}

async function readTableState(client: DataClient, table: string, rowsOfLoad: number): Promise<TableState> {
  const answer = expectSuccess(await call(client.server, 'GET', `/v1/tables?pattern=${table}`), `list ${table}`);
  if (answer.json.tables.length === 0) return 'absent';
  const rows = await queryRows(
    client.server,
    `SELECT split_part(id, '-', 1) AS label, COUNT(*) AS row_total, COUNT(DISTINCT id) AS id_total, MIN(split_part(id, '-', 2)::BIGINT) AS first_row
     FROM ${table} GROUP BY 1`,
  );
  const content = new Map<string, number>();
  for (const row of rows) {
    // Whatever else is wrong than the number of rows gets a label that no load has.
    const isDoubled = String(row['row_total']) !== String(row['id_total']);
    const isWithoutFront = Number(row['first_row']) === rowsOfLoad - Number(row['id_total']);
    const remark = isDoubled ? ' with doubled ids' : isWithoutFront ? '' : ` from row ${String(row['first_row'])}`;
    content.set(`${String(row['label'])}${remark}`, Number(row['row_total']));
  }
  return content;
}

function describeState(state: TableState): string {
  if (state === 'absent') return 'absent';
  return `{${[...state]
    .map(([label, rows]) => `${label}: ${rows}`)
    .sort()
    .join(', ')}}`;
}
