/** Names and writes data files: Parquet, sorted, with field ids, and the statistics that go into the log. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import type { AddAction, DeletionVectorDescriptor } from '../../delta/action.js';
import { type FileStatistics, fileStatistics, measureOfCopy } from '../../delta/file-statistics.js';
import { TAG_LSN_BASE, TAG_SOFT_VECTOR, TAG_TIMES } from '../../delta/snapshot.js';
import { LSN_COLUMN, type TableSchema } from '../../delta/table-schema.js';
import { fieldIds, parquetSelect } from '../../tables/view/row-sql.js';

/** Rows of a row group: small enough to prune within a file, large enough to compress. */
const ROW_GROUP_ROWS = 122_880;

export type Compression = 'snappy' | 'zstd';

/** The one shard of a server that is alone. */
export const SHARD = 'shard-0';
/** Folder of files with many ids, in a table that has a folder for each id. */
export const MIXED = 'mixed';

/** Path of a new data file in its table's directory. The middle parts are for people; pruning goes by statistics. */
export function newDataPath(middle: string, dayMs: number): string {
  return `${middle}/${new Date(dayMs).toISOString().slice(0, 10)}/part-${randomUUID()}.parquet`;
}

/** ORDER BY of a table's files: its sort columns as far as they exist, then the order of writing. */
export function sortOrder(schema: TableSchema, sortBy: readonly string[]): string {
  const columns = sortBy.map((name) => schema.column(name)).filter((column) => column !== undefined);
  return [...columns.map((column) => quoteName(column.name)), LSN_COLUMN].join(', ');
}

/**
 * Writes the rows of a SELECT to a local Parquet file. The select must give the table's columns and `_lsn`.
 * @returns undefined when there were no rows (and no file is left)
 */
export async function writeDataFile(
  engine: Engine,
  file: string,
  rowsSql: string,
  schema: TableSchema,
  orderBy: string,
  compression: Compression,
): Promise<FileStatistics | undefined> {
  const select = `SELECT ${parquetSelect(schema.columns)}, ${LSN_COLUMN} FROM (${rowsSql}) ORDER BY ${orderBy}`;
  return copyToParquet(engine, file, select, schema, true, compression);
}

/** COPY of a SELECT that is ordered and typed already. @returns undefined when it gave no rows */
export async function copyToParquet(
  engine: Engine,
  file: string,
  select: string,
  schema: TableSchema,
  withLsn: boolean,
  compression: Compression,
): Promise<FileStatistics | undefined> {
  const [row] = await engine.rows(
    `COPY (${select}) TO ${quoteText(file)} (FORMAT parquet, COMPRESSION ${compression}, ROW_GROUP_SIZE ${ROW_GROUP_ROWS}, FIELD_IDS ${fieldIds(schema.columns, withLsn)}, RETURN_STATS)`,
  );
  if (row === undefined || Number(row['count']) === 0) {
    await rm(file, { force: true });
    return undefined;
  }
  return fileStatistics(measureOfCopy(row), schema);
}

export interface AddOptions {
  readonly dataChange: boolean;
  readonly lsnBase?: number;
  readonly vector?: DeletionVectorDescriptor;
  readonly softVector?: DeletionVectorDescriptor;
}

/** The `add` of a new data file. */
export function addAction(path: string, statistics: FileStatistics, nowMs: number, options: AddOptions): AddAction {
  const tags = {
    ...(options.lsnBase === undefined ? {} : { [TAG_LSN_BASE]: String(options.lsnBase) }),
    ...(statistics.times ? { [TAG_TIMES]: `${statistics.times.first},${statistics.times.last}` } : {}),
  };
  return withVectors(
    {
      path,
      partitionValues: {},
      size: statistics.sizeBytes,
      modificationTime: nowMs,
      dataChange: options.dataChange,
      stats: statistics.text,
      ...(Object.keys(tags).length > 0 ? { tags } : {}),
    },
    options.vector,
    options.softVector,
    options.dataChange,
  );
}

/** The same file with other hidden rows. Its bounds may be wider than its visible rows from then on, and the log must say so. */
export function withVectors(
  add: AddAction,
  vector: DeletionVectorDescriptor | undefined,
  softVector: DeletionVectorDescriptor | undefined,
  dataChange: boolean,
): AddAction {
  const { deletionVector: _vector, tags: { [TAG_SOFT_VECTOR]: _soft, ...tags } = {}, ...rest } = add;
  const allTags = softVector ? { ...tags, [TAG_SOFT_VECTOR]: JSON.stringify(softVector) } : tags;
  return {
    ...rest,
    dataChange,
    ...(Object.keys(allTags).length > 0 ? { tags: allTags } : {}),
    ...(vector
      ? {
          deletionVector: vector,
          ...(rest.stats === undefined ? {} : { stats: rest.stats.replace('"tightBounds":true', '"tightBounds":false') }),
        }
      : {}),
  };
}
