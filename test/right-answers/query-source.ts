/** What the query generator knows of a table: its columns, and its rows to take values from. */
import { type ColumnKind, type ExpectedTable, type RecordToWrite } from './expected-table.js';

export interface SourceColumn {
  readonly name: string;
  readonly kind: ColumnKind | 'TIMESTAMP';
}

export interface QuerySource {
  readonly isEvents: boolean;
  readonly rows: readonly RecordToWrite[];
  /** As it stands in SQL. */
  readonly sql: string;
  readonly columns: readonly SourceColumn[];
  /** A column with a different value in each row. */
  readonly uniqueColumn: string;
}

export function sourceOfEvents(table: ExpectedTable): QuerySource {
  return { isEvents: true, rows: table.visibleRows, sql: 'events', uniqueColumn: 'seq', columns: columnsOf(table) };
}

export function sourceOfPlaces(table: ExpectedTable): QuerySource {
  return { isEvents: false, rows: table.visibleRows, sql: '"order"', uniqueColumn: 'id', columns: columnsOf(table) };
}

function columnsOf(table: ExpectedTable): SourceColumn[] {
  const payload = table.columns.map((name) => ({ name, kind: table.kindOf(name) }));
  return [{ name: 'id', kind: 'VARCHAR' }, { name: 'timestamp', kind: 'TIMESTAMP' }, ...payload];
}
