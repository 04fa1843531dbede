/**
 * One generation of a table's write buffer: the rows that came in since the last freeze, in a DuckDB table of their own, plus bulk files that are
 * written but not in the table's log yet. The newest generation is active; freezing starts the next one. A frozen generation never gets another
 * row; rows hidden later are noted in the masks, not here.
 */
import type { FileStatistics } from '../delta/file-statistics.js';
import type { TableSchema } from '../delta/table-schema.js';
import type { UnappliedBatches } from './unapplied-batches.js';

/** A Parquet file made from a bulk body: on local disk and durable, in the WAL by name, not yet in the object store. */
export interface BulkFile {
  readonly path: string;
  readonly statistics: FileStatistics;
  /** LSN of its first row; row n has this plus n. */
  readonly lsnBase: number;
  /** Number of this file in the table's masks; stays the same when the file moves into the table. */
  readonly source: number;
  /** The widest schema it was written with. */
  readonly schema: TableSchema;
}

export class Generation {
  /** Columns of the DuckDB table; undefined until the first row. */
  schema: TableSchema | undefined;
  rows = 0;
  bytes = 0;
  /** When the oldest row came. */
  oldestMs: number | undefined;
  /** How far the table held the logs of other nodes when the first row was written; undefined until then. */
  seenFirst: readonly number[] | undefined;
  readonly bulkFiles: BulkFile[] = [];
  /** Batches that are counted above, and on their way into the DuckDB table; see `table-buffers.ts`. */
  readonly unapplied: UnappliedBatches[] = [];
  /** Settles when those that are going there have gone. */
  applying: Promise<void> = Promise.resolve();
  /** LSN up to which it holds everything; set by the freeze. */
  frozenLsn: number | undefined;

  constructor(
    /** Number of this generation in the table's masks. */
    readonly source: number,
    /** First LSN it may hold. */
    readonly firstLsn: number,
    /** DuckDB table, qualified. */
    readonly bufferTable: string,
  ) {}

  get isEmpty(): boolean {
    return this.rows === 0 && this.bulkFiles.length === 0;
  }

  get totalRows(): number {
    return this.bulkFiles.reduce((sum, file) => sum + file.statistics.rows, this.rows);
  }
}
