/**
 * The model of one table: a plain list of the rows that should be there, changed by the same rules as the product
 * (append or upsert, replace, merge, soft and hard delete, restore). It is slow and simple on purpose.
 * `copyInto` puts its visible rows into one flat DuckDB table, the reference that every answer is compared with.
 */
import { type DuckDBConnection, DuckDBTimestampTZValue } from '@duckdb/node-api';

export type ColumnKind = 'BIGINT' | 'DOUBLE' | 'VARCHAR' | 'BOOLEAN' | 'JSON';

/** `bigint` in a BIGINT column, `number` in a DOUBLE column, JSON text in a JSON column. */
export type Cell = bigint | number | string | boolean;

export interface RecordToWrite {
  readonly id: string;
  readonly micros: bigint;
  /** Absent and null are the same thing; a null is written as `undefined` or left out. */
  readonly payload: ReadonlyMap<string, Cell>;
}

interface StoredRow extends RecordToWrite {
  readonly writeOrder: number;
  readonly isHidden: boolean;
}

export class ExpectedTable {
  readonly #kinds: ReadonlyMap<string, ColumnKind>;
  readonly #columnsSeen = new Map<string, ColumnKind>();
  #rows: StoredRow[] = [];
  #writes = 0;

  constructor(
    readonly name: string,
    readonly writeMode: 'append' | 'upsert',
    kinds: Readonly<Record<string, ColumnKind>>,
  ) {
    this.#kinds = new Map(Object.entries(kinds));
  }

  /** The payload columns that some write has brought, in the order they came. */
  get columns(): readonly string[] {
    return [...this.#columnsSeen.keys()];
  }

  get visibleRows(): readonly RecordToWrite[] {
    return this.#rows.filter((row) => !row.isHidden);
  }

  kindOf(column: string): ColumnKind {
    const kind = this.#kinds.get(column);
    if (kind === undefined) throw new Error(`table ${this.name} has no column ${column}`);
    return kind;
  }

  /** Ids with a visible row, and none hidden. */
  idsOnlyVisible(): string[] {
    const hidden = new Set(this.#rows.filter((row) => row.isHidden).map((row) => row.id));
    return [...new Set(this.visibleRows.map((row) => row.id))].filter((id) => !hidden.has(id));
  }

  /** Ids that have hidden rows only. */
  idsOnlyHidden(): string[] {
    const visible = new Set(this.visibleRows.map((row) => row.id));
    return [...new Set(this.#rows.map((row) => row.id))].filter((id) => !visible.has(id));
  }

  write(record: RecordToWrite): void {
    if (this.writeMode === 'upsert') this.#remove((row) => row.id === record.id);
    this.#append(record);
  }

  /** PUT: every row of the id is replaced by this one. */
  replace(record: RecordToWrite): void {
    this.#remove((row) => row.id === record.id);
    this.#append(record);
  }

  /** PUT with `partial` and no timestamp: the newest row with these fields over it takes the place of all. */
  merge(id: string, payload: ReadonlyMap<string, Cell>): void {
    const newest = this.#newest(id);
    this.replace({ id, micros: newest.micros, payload: new Map([...newest.payload, ...payload]) });
  }

  /** Gives the number of visible rows that went. */
  hardDelete(ids: ReadonlySet<string>): number {
    const count = this.visibleRows.filter((row) => ids.has(row.id)).length;
    this.#remove((row) => ids.has(row.id));
    return count;
  }

  softDelete(ids: ReadonlySet<string>): number {
    return this.#setHidden(ids, true);
  }

  restore(ids: ReadonlySet<string>): number {
    return this.#setHidden(ids, false);
  }

  async copyInto(connection: DuckDBConnection): Promise<void> {
    const name = quoted(this.name);
    const columns = [...this.#columnsSeen].map(([column, kind]) => `, ${quoted(column)} ${kind}`);
    await connection.run(`CREATE OR REPLACE TABLE ${name} (id VARCHAR, "timestamp" TIMESTAMPTZ${columns.join('')})`);
    const appender = await connection.createAppender(this.name);
    for (const row of this.visibleRows) {
      appender.appendVarchar(row.id);
      appender.appendTimestampTZ(new DuckDBTimestampTZValue(row.micros));
      for (const column of this.#columnsSeen.keys()) appendCell(appender, row.payload.get(column));
      appender.endRow();
    }
    appender.closeSync();
  }

  #append(record: RecordToWrite): void {
    for (const column of record.payload.keys()) this.#columnsSeen.set(column, this.kindOf(column));
    this.#rows.push({ ...record, writeOrder: this.#writes++, isHidden: false });
  }

  #remove(matches: (row: StoredRow) => boolean): void {
    this.#rows = this.#rows.filter((row) => !matches(row));
  }

  #newest(id: string): StoredRow {
    const candidates = this.#rows.filter((row) => row.id === id && !row.isHidden);
    const [newest] = candidates.sort((left, right) =>
      left.micros === right.micros ? right.writeOrder - left.writeOrder : left.micros < right.micros ? 1 : -1,
    );
    if (newest === undefined) throw new Error(`no visible row of ${id} in ${this.name}`);
    return newest;
  }

  #setHidden(ids: ReadonlySet<string>, isHidden: boolean): number {
    const changes = (row: StoredRow): boolean => ids.has(row.id) && row.isHidden !== isHidden;
    const count = this.#rows.filter(changes).length;
    this.#rows = this.#rows.map((row) => (changes(row) ? { ...row, isHidden } : row));
    return count;
  }
}

/**
 * The payload as JSON text, every digit kept. `integersAreBare` writes 3.0 as 3 now and then, which a DOUBLE column takes
 * but which would make a new column BIGINT.
 */
export function payloadText(
  payload: ReadonlyMap<string, Cell | undefined>,
  kindOf: (column: string) => ColumnKind,
  integersAreBare: boolean,
): string {
  const fields = [...payload].map(([column, cell]) => {
    return `${JSON.stringify(column)}:${cellText(cell, kindOf(column), integersAreBare)}`;
  });
  return `{${fields.join(',')}}`;
}

function cellText(cell: Cell | undefined, kind: ColumnKind, integersAreBare: boolean): string {
  if (cell === undefined) return 'null';
  if (kind === 'JSON') return String(cell);
  if (typeof cell === 'number') return integersAreBare && isSmallMultipleOfThree(cell) ? String(cell) : doubleText(cell);
  return typeof cell === 'bigint' ? cell.toString() : JSON.stringify(cell);
}

function isSmallMultipleOfThree(value: number): boolean {
  return value % 3 === 0 && value !== 0 && Math.abs(value) < 1_000_000;
}

/** The shortest text of a double that is not an integer's text: an integer's text would make a new column BIGINT. */
export function doubleText(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

export function quoted(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}

function appendCell(appender: Awaited<ReturnType<DuckDBConnection['createAppender']>>, cell: Cell | undefined): void {
  if (cell === undefined) appender.appendNull();
  else if (typeof cell === 'bigint') appender.appendBigInt(cell);
  else if (typeof cell === 'number') appender.appendDouble(cell);
  else if (typeof cell === 'boolean') appender.appendBoolean(cell);
  else appender.appendVarchar(cell);
}
