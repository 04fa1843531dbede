/**
 * Whether a Parquet file of a client can be a data file as it is. Its pages are then kept, which is several times quicker than to encode them anew;
 * so what a data file has by our own writing must be there already: types as we store them, row groups of a good size, compression, and statistics
 * of row groups that are right, because queries skip by them.
 */
import { asNumber, type Engine, type Row } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import type { ColumnType } from '../../delta/table-schema.js';

/** Writers whose statistics can be relied on. Old ones compared text by signed bytes, or left out what made a bound wrong. */
const TRUSTED_WRITER = /^(DuckDB|Polars|parquet-rs|parquet-cpp-arrow|parquet-mr version 1\.1\d)\b/;
const COMPRESSIONS = new Set(['SNAPPY', 'ZSTD', 'GZIP']);
/** Rows of every row group but the last. */
const ROW_GROUP_ROWS_MIN = 32_768;
const ROW_GROUP_ROWS_MAX = 1_048_576;

export interface ParquetLayout {
  readonly file: string;
  /** Types of its columns, by name, as a table stores them. */
  readonly types: ReadonlyMap<string, ColumnType>;
}

/** @returns undefined for a file that has to be encoded anew, if it can be read at all */
export async function parquetLayout(engine: Engine, file: string): Promise<ParquetLayout | undefined> {
  const footer = await footerOf(engine, file).catch(() => undefined);
  if (!footer) return undefined;
  const { whole, groups, root, columns } = footer;
  if (!TRUSTED_WRITER.test(String(whole['created_by'])) || whole['encryption_algorithm'] !== null) return undefined;
  // The last row group is what was left.
  if (asNumber(groups['small']) > 1 || asNumber(groups['rows_max'] ?? 0) > ROW_GROUP_ROWS_MAX) return undefined;
  const compressions = String(groups['compressions']).replace(/[[\]]/g, '').split(', ');
  if (!compressions.every((compression) => COMPRESSIONS.has(compression))) return undefined;
  if (asNumber(root?.['num_children'] ?? 0) !== columns.length) return undefined;
  const types = new Map<string, ColumnType>();
  for (const column of columns) {
    const type = storedType(column);
    if (type === undefined) return undefined;
    types.set(String(column['name']), type);
  }
  return types.size === columns.length ? { file, types } : undefined;
}

/** What the footer says. @throws Error for one that is damaged */
async function footerOf(engine: Engine, file: string): Promise<{ whole: Row; groups: Row; root: Row | undefined; columns: Row[] }> {
  const name = quoteText(file);
  const [whole, groups, [root, ...columns]] = await Promise.all([
    engine.row(`SELECT created_by, encryption_algorithm FROM parquet_file_metadata(${name})`),
    engine.row(
      `SELECT max(row_group_num_rows) AS rows_max, count(DISTINCT row_group_id) FILTER (WHERE row_group_num_rows < ${ROW_GROUP_ROWS_MIN}) AS small,
         list(DISTINCT compression)::VARCHAR AS compressions FROM parquet_metadata(${name})`,
    ),
    engine.rows(`SELECT name, type, repetition_type, num_children, converted_type, logical_type FROM parquet_schema(${name})`),
  ]);
  return { whole, groups, root, columns };
}

/** True when the rows come in the order of a column, which is what lets queries skip row groups by it. */
export async function isSortedBy(engine: Engine, file: string, column: string): Promise<boolean> {
  const name = quoteName(column);
  const row = await engine.row(
    `SELECT count(*) AS n FROM (SELECT ${name} < lag(${name}) OVER () AS descends FROM read_parquet(${quoteText(file)})) WHERE descends`,
  );
  return asNumber(row['n']) === 0;
}

/** The type of a table's column that we would write in just this way. */
function storedType(column: Row): ColumnType | undefined {
  if (column['repetition_type'] === 'REPEATED' || column['num_children'] !== null) return undefined;
  const [converted, logical] = [String(column['converted_type'] ?? ''), String(column['logical_type'] ?? '')];
  switch (column['type']) {
    case 'INT64':
      if (logical.startsWith('Timestamp')) return /isAdjustedToUTC=1, unit=TimeUnit\(.*MICROS=M/.test(logical) ? 'TIMESTAMPTZ' : undefined;
      return logicalInteger(converted, logical, 64) ? 'BIGINT' : undefined;
    case 'INT32':
      if (converted === 'DATE') return 'DATE';
      return logicalInteger(converted, logical, 32) ? 'INTEGER' : undefined;
    case 'DOUBLE':
      return 'DOUBLE';
    case 'BOOLEAN':
      return 'BOOLEAN';
    case 'BYTE_ARRAY':
      return converted === 'UTF8' ? 'VARCHAR' : undefined;
    default:
      return undefined;
  }
}

/** Signed, and as wide as it is stored. */
function logicalInteger(converted: string, logical: string, bits: number): boolean {
  if (converted !== '' && converted !== `INT_${bits}`) return false;
  return logical === '' || new RegExp(`^Int.*bitWidth=${bits}.*isSigned=1`).test(logical);
}
