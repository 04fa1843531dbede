/**
 * The trivial model that the randomized tests compare the server with: for each id the rows a query shows and the soft-deleted ones.
 *
 * Every operation is a pure function from one entity's state to the next, so a test can hold the state before and the state after an
 * operation whose answer never came. Nothing here knows of files, buffers or versions; that is the point.
 */
import { type ColumnType, type Payload, type PayloadValue, canonicalOfModel, timestampText } from './payload-value.js';

export type WriteMode = 'append' | 'upsert';

export interface ReferenceRow {
  readonly id: string;
  readonly timestampMicros: bigint;
  /** Keys are lower case: column names are case-insensitive. Nulls are left out: a null equals an absent field. */
  readonly payload: Payload;
  /** Order of writing; decides between rows of one timestamp. */
  readonly order: number;
}

/** All rows of one id, in order of writing. */
export interface EntityState {
  readonly live: readonly ReferenceRow[];
  readonly hidden: readonly ReferenceRow[];
}

export const NO_ROWS: EntityState = { live: [], hidden: [] };

export function written(state: EntityState, row: ReferenceRow, mode: WriteMode): EntityState {
  return { ...state, live: mode === 'upsert' ? [row] : [...state.live, row] };
}

/** PUT: this row instead of every visible row of the id. */
export function replaced(state: EntityState, row: ReferenceRow): EntityState {
  return { ...state, live: [row] };
}

/**
 * Partial PUT: the newest row with these fields changed, instead of every visible row of the id.
 * @param sent the payload of the request; a null in it takes the field away
 */
export function merged(state: EntityState, changes: ReferenceRow, sent: Payload, keepTimestamp: boolean): EntityState {
  const base = newestOf(state.live);
  if (!base) return replaced(state, changes);
  const sentNames = new Set([...sent.keys()].map((name) => name.toLowerCase()));
  const kept = [...base.payload].filter(([name]) => !sentNames.has(name));
  const timestampMicros = keepTimestamp ? base.timestampMicros : changes.timestampMicros;
  return replaced(state, { ...changes, payload: new Map([...kept, ...changes.payload]), timestampMicros });
}

export function softDeleted(state: EntityState): EntityState {
  return { live: [], hidden: inOrder([...state.hidden, ...state.live]) };
}

export function hardDeleted(): EntityState {
  return NO_ROWS;
}

/**
 * Append: all soft-deleted rows come back. Upsert: the one written last (the caller made sure that no row is visible). Coming back counts as
 * being written: the rows take orders from `firstOrder` on.
 */
export function restored(state: EntityState, mode: WriteMode, firstOrder: number): EntityState {
  const chosen = mode === 'append' ? state.hidden : state.hidden.slice(-1);
  if (mode === 'upsert' && state.live.length > 0) throw new Error('a restore over a visible row of an upsert table must be refused');
  const back = chosen.map((row, index) => ({ ...row, order: firstOrder + index }));
  return { live: [...state.live, ...back], hidden: state.hidden.filter((row) => !chosen.includes(row)) };
}

/** Greatest timestamp; between equal ones the row written last. */
function newestOf(rows: readonly ReferenceRow[]): ReferenceRow | undefined {
  return rows.reduce<ReferenceRow | undefined>((newest, row) => (newest && isNewer(newest, row) ? newest : row), undefined);
}

function isNewer(row: ReferenceRow, other: ReferenceRow): boolean {
  if (row.timestampMicros !== other.timestampMicros) return row.timestampMicros > other.timestampMicros;
  return row.order > other.order;
}

function inOrder(rows: readonly ReferenceRow[]): ReferenceRow[] {
  return [...rows].sort((a, b) => a.order - b.order);
}

/** Lower-cased column name → type; `id` and `timestamp` are not among them. */
export type Columns = ReadonlyMap<string, ColumnType>;

/** A state that later operations do not change, to be compared with a query of then. */
export interface ReferenceSnapshot {
  readonly columns: Columns;
  readonly entities: ReadonlyMap<string, EntityState>;
}

export class ReferenceTable {
  #columns: Columns;
  #entities = new Map<string, EntityState>();

  constructor(
    readonly name: string,
    readonly mode: WriteMode,
    columns: Columns = new Map(),
  ) {
    this.#columns = columns;
  }

  get columns(): Columns {
    return this.#columns;
  }

  /** Ids that have a visible or a soft-deleted row. */
  get ids(): string[] {
    return [...this.#entities.keys()];
  }

  entity(id: string): EntityState {
    return this.#entities.get(id) ?? NO_ROWS;
  }

  set(id: string, state: EntityState): void {
    if (state.live.length + state.hidden.length === 0) this.#entities.delete(id);
    else this.#entities.set(id, state);
  }

  /** Takes up new fields as columns, and widens BIGINT to DOUBLE when a fraction came. The caller sends only what the server must accept. */
  learnColumns(payload: Payload): void {
    const columns = new Map(this.#columns);
    for (const [name, value] of payload) {
      if (value.type === 'NULL') continue;
      const known = columns.get(name.toLowerCase());
      if (known === undefined || (known === 'BIGINT' && value.type === 'DOUBLE')) columns.set(name.toLowerCase(), value.type);
    }
    this.#columns = columns;
  }

  /** Every visible row. */
  rows(): ReferenceRow[] {
    return visibleRows(this.#entities);
  }

  snapshot(): ReferenceSnapshot {
    return { columns: this.#columns, entities: new Map(this.#entities) };
  }
}

export function visibleRows(entities: ReadonlyMap<string, EntityState>): ReferenceRow[] {
  return [...entities.values()].flatMap((state) => state.live);
}

/** The payload as the model keeps it: lower-case names, no nulls. */
export function storedPayload(payload: Payload): Payload {
  return new Map([...payload].filter(([, value]) => value.type !== 'NULL').map(([name, value]) => [name.toLowerCase(), value]));
}

/** One text per row, equal for equal rows; made at the time of comparison because a column's type can be widened after the row was written. */
export function canonicalRow(row: ReferenceRow, columns: Columns): string {
  const cells = [...row.payload].map(([name, value]) => `${name}=${canonicalCell(name, value, columns)}`);
  return canonicalText(row.id, timestampText(row.timestampMicros), cells);
}

function canonicalCell(name: string, value: PayloadValue, columns: Columns): string {
  const column = columns.get(name);
  if (column === undefined) throw new Error(`the model holds a value of column ${name}, which it does not know`);
  return canonicalOfModel(value, column);
}

export function canonicalText(id: string, timestamp: string, cells: readonly string[]): string {
  return `${id} @ ${timestamp} {${[...cells].sort().join(', ')}}`;
}

/** Rows that one side has more often than the other. */
export interface MultisetDifference {
  readonly missing: readonly string[];
  readonly surplus: readonly string[];
}

export function multisetDifference(expected: readonly string[], actual: readonly string[]): MultisetDifference {
  const counts = new Map<string, number>();
  for (const row of expected) counts.set(row, (counts.get(row) ?? 0) + 1);
  for (const row of actual) counts.set(row, (counts.get(row) ?? 0) - 1);
  const repeated = (times: (count: number) => number): string[] =>
    [...counts].flatMap(([row, count]) => Array.from({ length: Math.max(0, times(count)) }, () => row));
  return { missing: repeated((count) => count), surplus: repeated((count) => -count) };
}

export function isEmptyDifference(difference: MultisetDifference): boolean {
  return difference.missing.length + difference.surplus.length === 0;
}
