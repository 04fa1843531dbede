/** What a bulk body asks for, and what it comes to. */
import type { Readable } from 'node:stream';
import { AppError } from '../../common/app-error.js';
import type { Table } from '../../tables/table.js';
import type { Idempotency } from '../write/idempotency.js';
import type { RecordRefusal } from '../write/record.js';
import type { TableDraft } from '../write/target.js';
import type { RowOptions, WriteAnswer } from '../write/write-command.js';
import type { BulkFormat } from './bulk-format.js';
import type { Delimiter } from './csv-text.js';
import type { BulkFields } from './bulk-lines.js';
import type { RefusalList } from './refusal-list.js';

export interface BulkRequest {
  /** As it is, or as it would be made. */
  readonly table: TableDraft;
  /**
   * Makes the table when there is none. Asked once rows are known to be good, so that a refused body leaves no empty table behind.
   * @param lacksIds rows of the body have no id
   */
  readonly ensureTable: (lacksIds: boolean) => Promise<Table>;
  readonly body: Readable;
  /** Undefined: its first bytes tell. */
  readonly format: BulkFormat | undefined;
  /** Between the cells of CSV; undefined: the first line tells. */
  readonly delimiter: Delimiter | undefined;
  readonly encoding: string | undefined;
  readonly fields: BulkFields;
  readonly options: RowOptions;
  readonly idempotency: Idempotency | undefined;
  /** True once the client has gone, which may come to be known after the end of its body: asked right before the rows are logged. */
  readonly isGone: () => boolean;
}

export interface BulkAnswer {
  readonly lsn: number;
  readonly count: number;
  readonly refusedCount: number;
  /** The first of them. */
  readonly refusals: readonly RecordRefusal[];
}

/** @throws AppError CANCELLED */
export function assertThere(isGone: () => boolean): void {
  if (isGone()) throw new AppError('CANCELLED', 'the client disconnected before its rows were stored; nothing was stored');
}

export function bulkAnswer(answer: WriteAnswer, refusals: RefusalList): BulkAnswer {
  return { lsn: answer.lsn, count: answer.count, refusedCount: refusals.count, refusals: refusals.first };
}
