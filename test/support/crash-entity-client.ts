/**
 * A client of the crash test that owns a range of ids in some tables and knows what it was promised about them.
 *
 * It has one request under way at a time. While the answer is out, both outcomes are possible and `pending` holds them; the answer decides,
 * and if the server dies first, the rows found after the restart do (see crash-verification.ts). A batch is atomic, so its ids share one fate.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { DataClient } from './data-client.js';
import { type ClientRecord, type Payload, bigint, double, flatRecordJson, payloadOf, varchar } from './payload-value.js';
import {
  type Columns,
  type EntityState,
  type ReferenceRow,
  type ReferenceTable,
  canonicalRow,
  hardDeleted,
  isEmptyDifference,
  merged,
  multisetDifference,
  replaced,
  restored,
  softDeleted,
  storedPayload,
  written,
} from './reference-table.js';
import { UnexpectedAnswer, isSuccess } from './requests.js';
import type { SeededRandom } from './seeded-random.js';
import type { Answer } from './server.js';
import { readTable } from './table-reader.js';

/** The columns of every record that these clients write. */
export const ENTITY_COLUMNS: Columns = new Map([
  ['n', 'BIGINT'],
  ['note', 'VARCHAR'],
  ['ratio', 'DOUBLE'],
]);

/** Past this many rows an id is hard-deleted, so that a whole table stays quick to read after each restart. */
const ROWS_OF_AN_ID_MAX = 20;
const FIRST_TIMESTAMP_MICROS = 1_709_251_200_000_000n;
const DAY_MICROS = 86_400_000_000n;
/** Beyond 2^53, so that a digit lost anywhere on the way shows. */
const FIRST_NUMBER = 9_007_199_254_740_993n;
const BACK_OFF_MS = 20;

const WEIGHTS = {
  write: 24,
  batch: 14,
  replace: 10,
  merge: 10,
  softDelete: 8,
  hardDelete: 8,
  restore: 8,
  smallBulk: 6,
  readOwn: 12,
} as const;

/** An operation whose answer is not in: every id of it is in its state of before, or every one in its state of after. */
export interface PendingOperation {
  readonly table: ReferenceTable;
  readonly description: string;
  readonly before: ReadonlyMap<string, EntityState>;
  readonly after: ReadonlyMap<string, EntityState>;
}

/** What all clients of one run share. */
export interface CrashRun {
  /** Grows by one with every row written; gives unique values, timestamps and the order of writing. */
  rowCounter: number;
  acknowledged: number;
  /** Answers that contradict the model although the server lives. */
  readonly wrongAnswers: string[];
  /** What was done to each id, newest last, for the report of a failure. */
  readonly history: Map<string, string[]>;
}

export function newCrashRun(): CrashRun {
  return { rowCounter: 0, acknowledged: 0, wrongAnswers: [], history: new Map() };
}

export class CrashEntityClient {
  pending: PendingOperation | undefined;

  constructor(
    readonly name: string,
    readonly ownedIds: ReadonlyMap<ReferenceTable, readonly string[]>,
    readonly random: SeededRandom,
    readonly run: CrashRun,
  ) {}

  /** One operation on one table. Throws what fetch throws when the server dies under it; `pending` is set then. */
  async step(client: DataClient): Promise<void> {
    const [table, ids] = this.random.pick([...this.ownedIds]);
    const full = ids.filter((id) => table.entity(id).live.length + table.entity(id).hidden.length > ROWS_OF_AN_ID_MAX);
    if (full.length > 0) return this.#hardDelete(client, table, full);
    switch (this.random.weighted(WEIGHTS)) {
      case 'write':
        return this.#write(client, table, this.random.pick(ids));
      case 'batch':
        return this.#writeMany(client, table, ids, 'batch');
      case 'smallBulk':
        return this.#writeMany(client, table, ids, 'bulk');
      case 'replace':
        return this.#replace(client, table, this.random.pick(ids));
      case 'merge':
        return this.#merge(client, table, ids);
      case 'softDelete':
        return this.#softDelete(client, table, this.#someIds(ids));
      case 'hardDelete':
        return this.#hardDelete(client, table, this.#someIds(ids));
      case 'restore':
        return this.#restore(client, table, ids);
      case 'readOwn':
        return this.#readOwn(client, table, ids);
    }
  }

  async #write(client: DataClient, table: ReferenceTable, id: string): Promise<void> {
    const row = this.#newRow(id);
    const after = new Map([[id, written(table.entity(id), row, table.mode)]]);
    await this.#perform(table, `write ${describeRow(row)}`, after, () => client.write(table.name, row));
  }

  async #writeMany(client: DataClient, table: ReferenceTable, ids: readonly string[], door: 'batch' | 'bulk'): Promise<void> {
    const rows = Array.from({ length: this.random.integer(2, 9) }, () => this.#newRow(this.random.pick(ids)));
    const after = new Map<string, EntityState>();
    for (const row of rows) after.set(row.id, written(after.get(row.id) ?? table.entity(row.id), row, table.mode));
    const send = (): Promise<Answer> =>
      door === 'batch' ? client.writeBatch(table.name, rows) : client.bulk(table.name, rows.map(flatRecordJson));
    await this.#perform(table, `${door} ${rows.map(describeRow).join(' ')}`, after, send);
  }

  async #replace(client: DataClient, table: ReferenceTable, id: string): Promise<void> {
    const row = this.#newRow(id);
    const after = new Map([[id, replaced(table.entity(id), row)]]);
    await this.#perform(table, `replace ${describeRow(row)}`, after, () => client.replace(table.name, row));
  }

  async #merge(client: DataClient, table: ReferenceTable, ids: readonly string[]): Promise<void> {
    const existing = ids.filter((id) => table.entity(id).live.length > 0);
    if (existing.length === 0) return;
    const id = this.random.pick(existing);
    const changes: ReferenceRow = { ...this.#newRow(id), payload: payloadOf({ note: varchar(`merged ${this.run.rowCounter}`) }) };
    const after = new Map([[id, merged(table.entity(id), changes, changes.payload, true)]]);
    await this.#perform(table, `merge ${describeRow(changes)}`, after, () => client.merge(table.name, id, changes.payload));
  }

  async #softDelete(client: DataClient, table: ReferenceTable, ids: readonly string[]): Promise<void> {
    const after = new Map(ids.map((id) => [id, softDeleted(table.entity(id))]));
    await this.#perform(table, `soft delete ${ids.join(' ')}`, after, () => client.delete(table.name, ids, true), {
      deleted_count: rowsOf(table, ids, 'live'),
    });
  }

  async #hardDelete(client: DataClient, table: ReferenceTable, ids: readonly string[]): Promise<void> {
    const after = new Map(ids.map((id) => [id, hardDeleted()]));
    await this.#perform(table, `hard delete ${ids.join(' ')}`, after, () => client.delete(table.name, ids, false), {
      deleted_count: rowsOf(table, ids, 'live'),
    });
  }

  async #restore(client: DataClient, table: ReferenceTable, ids: readonly string[]): Promise<void> {
    // A restore over a visible row of an upsert table is refused; the model test looks at that.
    const restorable = ids.filter((id) => canRestore(table, id));
    if (restorable.length === 0) return;
    const chosen = this.#someIds(restorable);
    this.run.rowCounter += rowsOf(table, chosen, 'hidden');
    const after = new Map(chosen.map((id) => [id, restored(table.entity(id), table.mode, this.run.rowCounter)]));
    const restoredRows = table.mode === 'upsert' ? chosen.length : rowsOf(table, chosen, 'hidden');
    await this.#perform(table, `restore ${chosen.join(' ')}`, after, () => client.restore(table.name, chosen), {
      restored_count: restoredRows,
    });
  }

  /** What was acknowledged is visible to the next query, also while flushes and compactions commit under it. */
  async #readOwn(client: DataClient, table: ReferenceTable, ids: readonly string[]): Promise<void> {
    const actual = await readTable(client.server, table.name, table.columns, { where: `id IN (${ids.map((id) => `'${id}'`).join(',')})` });
    const expected = ids.flatMap((id) => table.entity(id).live).map((row) => canonicalRow(row, table.columns));
    const difference = multisetDifference(expected, actual);
    if (isEmptyDifference(difference)) return;
    this.run.wrongAnswers.push(`${this.name} reads its own rows of ${table.name}: ${JSON.stringify(difference)}`);
  }

  async #perform(
    table: ReferenceTable,
    description: string,
    after: ReadonlyMap<string, EntityState>,
    send: () => Promise<Answer>,
    expected: Readonly<Record<string, number>> = {},
  ): Promise<void> {
    const before = new Map([...after.keys()].map((id) => [id, table.entity(id)]));
    this.pending = { table, description, before, after };
    this.#remember(table, after.keys(), `${description} …`);
    const answer = await send();
    this.#remember(table, after.keys(), `… HTTP ${answer.status}`);
    if (answer.status === 429) {
      this.pending = undefined;
      await pause(BACK_OFF_MS);
      return;
    }
    if (!isSuccess(answer)) throw new UnexpectedAnswer(`${this.name} on ${table.name}: ${description}`, answer);
    for (const [id, state] of after) table.set(id, state);
    this.pending = undefined;
    this.run.acknowledged += 1;
    for (const [field, value] of Object.entries(expected)) {
      if (answer.json[field] === value) continue;
      this.run.wrongAnswers.push(`${this.name} on ${table.name}: ${description}: ${field} is ${answer.json[field]}, must be ${value}`);
    }
  }

  #remember(table: ReferenceTable, ids: Iterable<string>, what: string): void {
    for (const id of ids) {
      const key = `${table.name} ${id}`;
      const steps = this.run.history.get(key) ?? [];
      this.run.history.set(key, [...steps.slice(-19), what]);
    }
  }

  #someIds(ids: readonly string[]): string[] {
    return this.random.some(ids, this.random.integer(1, 4));
  }

  #newRow(id: string): ReferenceRow & ClientRecord {
    const order = (this.run.rowCounter += 1);
    const day = BigInt(this.random.integer(0, 3)) * DAY_MICROS;
    return {
      id,
      order,
      timestampMicros: FIRST_TIMESTAMP_MICROS + day + BigInt(order),
      payload: this.#newPayload(order),
    };
  }

  #newPayload(order: number): Payload {
    const payload = new Map([
      ['n', bigint(FIRST_NUMBER + BigInt(order))],
      ['note', varchar(`note ${order} ${'x'.repeat(this.random.integer(0, 60))}`)],
    ]);
    if (this.random.chance(0.5)) payload.set('ratio', double(order / 8));
    return storedPayload(payload);
  }
}

export function canRestore(table: ReferenceTable, id: string): boolean {
  const state = table.entity(id);
  return state.hidden.length > 0 && (table.mode === 'append' || state.live.length === 0);
}

function rowsOf(table: ReferenceTable, ids: readonly string[], part: keyof EntityState): number {
  return ids.reduce((sum, id) => sum + table.entity(id)[part].length, 0);
}

function describeRow(row: ReferenceRow): string {
  return `${row.id}#${row.order}`;
}
