/**
 * What the WAL holds, in the form in which it is applied to buffers and masks: the same for a write just logged and for one read back after a
 * crash. Applying is deterministic, so a replay ends where the first run ended.
 */
import { AppError } from '../../common/app-error.js';
import type { Column } from '../../delta/table-schema.js';
import type { FileStatistics } from '../../delta/file-statistics.js';
import type { KeyFields } from '../../tables/unapplied-batches.js';
import type { WalRecord } from '../wal/wal-record.js';
import type { RowRange } from './row-range.js';

interface Common {
  readonly tableId: string;
  readonly firstLsn: number;
  readonly lsnCount: number;
  readonly idempotencyKey?: string;
  readonly fingerprint?: string;
  /** See `seen-logs.ts`; left out when there are no other logs. */
  readonly seen?: readonly number[];
}

export interface ApplicableRows extends Common {
  readonly kind: 'rows';
  /** A JSON object a line, without its opening brace: the bytes of the log, which the engine takes as they are. */
  readonly lines: Buffer;
  readonly replaces: boolean;
  /** Columns that the write added to the table. */
  readonly columns: readonly Column[];
}

export interface ApplicableArrow extends Common {
  readonly kind: 'arrow';
  /** A whole Arrow IPC stream, as it came. */
  readonly stream: Buffer;
  /** Its fields that are ids and times. */
  readonly fields: KeyFields;
}

export interface ApplicableDelete extends Common {
  readonly kind: 'delete';
  readonly ids: readonly string[];
  readonly soft: boolean;
}

export interface ApplicableRestore extends Common {
  readonly kind: 'restore';
  readonly ids: readonly string[];
}

export interface ApplicableBulk extends Common {
  readonly kind: 'bulk';
  /** Name in the directory of bulk files. */
  readonly fileName: string;
  readonly statistics: FileStatistics;
  readonly columns: readonly Column[];
  /** Rows that the file's take the place of. */
  readonly replaces?: RowRange;
  /** A row whose id the table has already stays out. */
  readonly keepsExisting?: boolean;
}

export type Applicable = ApplicableRows | ApplicableArrow | ApplicableDelete | ApplicableRestore | ApplicableBulk;

export function lastLsn(applicable: Applicable): number {
  return applicable.firstLsn + applicable.lsnCount - 1;
}

export function toWalRecord(applicable: Applicable): WalRecord {
  const { kind, firstLsn, lsnCount, ...meta } = applicable;
  if ('lines' in meta) {
    const { lines, ...rest } = meta;
    return { kind, firstLsn, lsnCount, meta: rest, data: lines };
  }
  if ('stream' in meta) {
    const { stream, ...rest } = meta;
    return { kind, firstLsn, lsnCount, meta: rest, data: stream };
  }
  return { kind, firstLsn, lsnCount, meta, data: Buffer.alloc(0) };
}

export function fromWalRecord(record: WalRecord): Applicable {
  const common = { ...record.meta, firstLsn: record.firstLsn, lsnCount: record.lsnCount };
  switch (record.kind) {
    case 'rows':
      return { ...common, kind: 'rows', lines: record.data } as unknown as ApplicableRows;
    case 'arrow':
      return { ...common, kind: 'arrow', stream: record.data } as unknown as ApplicableArrow;
    case 'delete':
    case 'restore':
    case 'bulk':
      return { ...common, kind: record.kind } as unknown as Applicable;
    default:
      throw new AppError(
        'DATA_CORRUPTION',
        `the write-ahead log has a record of kind ${String(record.kind)}, which this version of the server cannot read`,
      );
  }
}

/** The ids of rows, which stand first in their lines. */
export function idsOf({ lines }: ApplicableRows): string[] {
  return lines
    .toString()
    .split('\n')
    .map((line) => {
      const end = line.indexOf('","timestamp":');
      return JSON.parse(line.slice('"id":'.length, end + 1)) as string;
    });
}
