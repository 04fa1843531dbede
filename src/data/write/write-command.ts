/** What can be asked of the write path, and what it answers. */
import type { Table } from '../../tables/table.js';
import type { BulkFile } from '../../tables/generation.js';
import type { KeyFields } from '../../tables/unapplied-batches.js';
import type { Column, ColumnType, TableSchema } from '../../delta/table-schema.js';
import type { RecordInput, RecordRefusal } from './record.js';
import type { IdStrategy } from '../../tables/table-config.js';
import type { RowRange } from './row-range.js';
import type { TimestampUnit } from './timestamp.js';

/** How rows are read, besides what their table says. */
export interface RowOptions {
  /** `abort` refuses the request with the first bad record, `skip` leaves bad records out. */
  readonly onError: 'abort' | 'skip';
  /** Who makes missing ids; undefined: as the table has it. */
  readonly idStrategy?: IdStrategy | undefined;
  /** Unit of timestamps that are numbers; undefined infers it from their size. */
  readonly timestampUnit?: TimestampUnit | undefined;
  /** Types that new columns get, by field; where the values alone do not say them. */
  readonly newTypes?: ReadonlyMap<string, ColumnType> | undefined;
  /** Columns that the table gets even if no record has a value. */
  readonly declared?: ReadonlyMap<string, ColumnType> | undefined;
}

export interface RowsCommand extends RowOptions {
  readonly kind: 'rows';
  readonly table: Table;
  readonly records: readonly RecordInput[];
  /** Each row takes the place of every row of its id (PUT). Always so in upsert tables. */
  readonly replaces: boolean;
}

/** Rows as the batches of an Arrow IPC stream, which the log takes as they are. */
export interface ArrowCommand {
  readonly kind: 'arrow';
  readonly table: Table;
  /** The table's columns; the stream has values for no others. */
  readonly schema: TableSchema;
  readonly stream: Buffer;
  readonly rows: number;
  readonly fields: KeyFields;
  /** Of its rows, for answers that list them. */
  readonly ids?: () => string[];
}

/** Merges fields into the newest row of an id (PUT with `partial`). */
export interface MergeCommand {
  readonly kind: 'merge';
  readonly table: Table;
  readonly id: string;
  readonly payload: Readonly<Record<string, unknown>>;
  /** undefined keeps the row's own. */
  readonly timestamp: unknown;
}

interface DeleteCommand {
  readonly kind: 'delete';
  readonly table: Table;
  readonly ids: readonly string[];
  readonly soft: boolean;
}

interface RestoreCommand {
  readonly kind: 'restore';
  readonly table: Table;
  readonly ids: readonly string[];
}

/** Rows that stand in a Parquet file already, written and synced beside the WAL. */
export interface BulkCommand {
  readonly kind: 'bulk';
  readonly table: Table;
  readonly file: Omit<BulkFile, 'lsnBase' | 'source' | 'schema'>;
  /** Columns that the file brings; their field ids must still be free. */
  readonly columns: readonly Column[];
  readonly nextFieldIdBefore: number;
  /** Rows that the file's take the place of, in the same instant. */
  readonly replaces?: RowRange;
  /** A row whose id the table has already stays out. */
  readonly keepsExisting?: boolean;
}

export type WriteCommand = RowsCommand | ArrowCommand | MergeCommand | DeleteCommand | RestoreCommand | BulkCommand;

/** Rows were encoded for columns that their table no longer has: they have to be encoded again. */
export class RowsOutdated extends Error {}

export interface WriteAnswer {
  /** Last LSN of the write. */
  readonly lsn: number;
  /** Ids of the rows written, in order; empty for bulk bodies. */
  readonly ids: readonly string[];
  /** Rows written, deleted or restored. */
  readonly count: number;
  readonly refusals: readonly RecordRefusal[];
}
