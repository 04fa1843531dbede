/** A bulk body on disk, whatever its format: the engine reads its rows in one go where it can, and each can be looked at as a line where it cannot. */
import type { FileMeasure } from '../../delta/file-statistics.js';
import type { Column, ColumnType, TableSchema } from '../../delta/table-schema.js';

export interface BulkBody {
  /** Bytes of the body as it is read, unpacked. */
  readonly bytes: number;
  /**
   * How the engine reads all rows into a table of this schema.
   * @returns undefined when they have to be looked at one by one
   */
  plan(stored: TableSchema): Promise<BulkPlan | undefined>;
  /** The rows as lines. They stay until the next call, and until the body is removed. */
  lines(): Promise<BulkLines>;
}

export interface BulkPlan {
  /** Rows of the body. */
  readonly rows: number;
  /** The table's schema with the columns that the body adds. */
  readonly schema: TableSchema;
  /** True when rows have no id, so that the SELECT makes some. */
  readonly lacksIds: boolean;
  /** SELECT of the schema's columns. */
  readonly select: string;
  /** Payload columns that have a value somewhere. */
  readonly payload: readonly PlannedColumn[];
  /** Set when a file of the body needs no more than field ids to be a data file of just these rows. */
  readonly asItIs?: ReadyFile;
}

export interface ReadyFile {
  /** Parquet; stays the body's. */
  readonly path: string;
  /** Its columns, with the field ids that they have in the table. */
  readonly columns: readonly Column[];
  /** Its size changes with the field ids. */
  readonly measure: Omit<FileMeasure, 'sizeBytes'>;
}

export interface PlannedColumn {
  readonly column: Column;
  /** Rows in which it has a value. */
  readonly rows: number;
  /** True when its values may be integers, which a DOUBLE holds up to a bound only. */
  readonly hasIntegers: boolean;
}

export interface BulkLines {
  /** NDJSON: an object a row. */
  readonly file: string;
  readonly bytes: number;
  /** Types that new columns get, where the body says them. */
  readonly newTypes: ReadonlyMap<string, ColumnType>;
  /** Columns that the table gets even if no row has a value. */
  readonly declared?: ReadonlyMap<string, ColumnType>;
  /** The line or row of the body that a line of the file stands for, both counted from 1. */
  readonly originOf: (line: number) => number;
}
