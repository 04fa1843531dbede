/** What a bulk body is read for. */
import type { TableSchema } from '../../delta/table-schema.js';
import type { TableConfig } from '../../tables/table-config.js';
import type { RowOptions } from '../write/write-command.js';
import type { BulkFields } from './bulk-lines.js';
import type { Delimiter } from './csv-text.js';

export interface BulkTarget {
  readonly config: TableConfig;
  /** Of the table when the body came. */
  readonly schema: TableSchema;
  readonly fields: BulkFields;
  readonly options: RowOptions;
  /** Between the cells of CSV; undefined: the first line tells. */
  readonly delimiter?: Delimiter | undefined;
  /** Of rows without a time. */
  readonly nowMs: number;
  readonly columnsMax: number;
}
