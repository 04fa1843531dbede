/** Fits rows of a backup to the columns that a table has now. */
import { AppError } from '../common/app-error.js';
import { quoteName } from '../engine/duckdb/sql-text.js';
import type { Column, TableSchema } from '../delta/table-schema.js';

/** Integers beyond these are not exact as DOUBLE. */
const EXACT_DOUBLE_MAX = 2 ** 53;

export interface FittedColumns {
  /** The table's columns with those that only the backup has. */
  readonly schema: TableSchema;
  /** Select list in the order of that schema, over rows `s` with the backup's columns. */
  readonly select: string;
  /** Names of columns that may not take every value, with a condition on the rows that they cannot. */
  readonly inexact: readonly (readonly [string, string])[];
}

/** @throws AppError CONFLICT for a column that has another type by now */
export function fitColumns(from: TableSchema, to: TableSchema, tableName: string): FittedColumns {
  const added = from.columns.filter(({ name }) => !to.column(name));
  const schema = added.reduce((made, { name, type }) => made.with(name, type), to);
  const inexact: (readonly [string, string])[] = [];
  const select = schema.columns.map((column) => {
    const given = from.column(column.name);
    if (!given) return `NULL::${column.type} AS ${quoteName(column.name)}`;
    const value = `s.${quoteName(given.name)}`;
    if (given.type !== column.type) {
      assertWidened(given, column, tableName);
      inexact.push([column.name, `${value} NOT BETWEEN ${-EXACT_DOUBLE_MAX} AND ${EXACT_DOUBLE_MAX}`]);
    }
    return `${value}::${column.type} AS ${quoteName(column.name)}`;
  });
  return { schema, select: select.join(', '), inexact };
}

function assertWidened(given: Column, column: Column, tableName: string): void {
  if (given.type === 'BIGINT' && column.type === 'DOUBLE') return;
  throw new AppError(
    'CONFLICT',
    `table ${tableName}: column ${column.name} is now ${column.type} and was ${given.type} in the backup; recover into another table (target_table)`,
  );
}
