/**
 * One record of the write-ahead log as bytes. See docs/format/wal.md.
 *
 *   magic u32 | payload length u32 | CRC-32C of payload u32 | payload
 *   payload: format u8 | kind u8 | first LSN u64 | LSNs u32 | group start u32 | meta length u32 | meta (JSON) | data
 *
 * All numbers are little-endian. "Group start" is the offset in the segment at which the group of records that shared one fsync begins: when a
 * record is damaged and a later group is there, the damaged one had been synced and so perhaps acknowledged; it must not be cut off.
 */
import { crc32c } from '@node-rs/crc32';
import { AppError } from '../../common/app-error.js';

export const RECORD_MAGIC = 0x57_42_44_4d;
export const RECORD_HEAD_BYTES = 12;
const PAYLOAD_HEAD_BYTES = 22;
const FORMAT = 1;

export const RECORD_KINDS = ['rows', 'delete', 'restore', 'bulk', 'arrow'] as const;
type RecordKind = (typeof RECORD_KINDS)[number];

export interface WalRecord {
  readonly kind: RecordKind;
  readonly firstLsn: number;
  /** LSNs it takes: one a row it brings, at least one. */
  readonly lsnCount: number;
  /** What was decided about the request: table, columns, ids. */
  readonly meta: Readonly<Record<string, unknown>>;
  /** Rows: as NDJSON for kind `rows`, as an Arrow IPC stream for kind `arrow`. */
  readonly data: Buffer;
}

export function lastLsnOf(record: WalRecord): number {
  return record.firstLsn + record.lsnCount - 1;
}

/** @param groupStart offset of the group's first byte in its segment */
export function encodeRecord(record: WalRecord, groupStart: number): Buffer[] {
  const meta = Buffer.from(JSON.stringify(record.meta));
  const payloadHead = Buffer.allocUnsafe(PAYLOAD_HEAD_BYTES);
  payloadHead.writeUInt8(FORMAT, 0);
  payloadHead.writeUInt8(RECORD_KINDS.indexOf(record.kind), 1);
  payloadHead.writeBigUInt64LE(BigInt(record.firstLsn), 2);
  payloadHead.writeUInt32LE(record.lsnCount, 10);
  payloadHead.writeUInt32LE(groupStart, 14);
  payloadHead.writeUInt32LE(meta.length, 18);
  const head = Buffer.allocUnsafe(RECORD_HEAD_BYTES);
  head.writeUInt32LE(RECORD_MAGIC, 0);
  head.writeUInt32LE(payloadHead.length + meta.length + record.data.length, 4);
  head.writeUInt32LE(crc32c(record.data, crc32c(meta, crc32c(payloadHead))), 8);
  return [head, payloadHead, meta, record.data];
}

/** Bytes that a record takes in the log. */
export function encodedBytes(parts: readonly Buffer[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

export type Decoded =
  | { readonly ok: true; readonly record: WalRecord; readonly groupStart: number; readonly end: number }
  /** `isCut`: the bytes end before the record does. */
  | { readonly ok: false; readonly isCut: boolean };

/** Reads the record at an offset. @throws AppError DATA_CORRUPTION for an intact record of a format that this version does not know */
export function decodeRecord(segment: Buffer, offset: number): Decoded {
  if (segment.length - offset < RECORD_HEAD_BYTES) return { ok: false, isCut: true };
  if (segment.readUInt32LE(offset) !== RECORD_MAGIC) return { ok: false, isCut: false };
  const start = offset + RECORD_HEAD_BYTES;
  const end = start + segment.readUInt32LE(offset + 4);
  if (end > segment.length) return { ok: false, isCut: true };
  const payload = segment.subarray(start, end);
  if (payload.length < PAYLOAD_HEAD_BYTES || crc32c(payload) !== segment.readUInt32LE(offset + 8)) return { ok: false, isCut: false };
  const format = payload.readUInt8(0);
  const kind = RECORD_KINDS[payload.readUInt8(1)];
  if (format !== FORMAT || kind === undefined) {
    throw new AppError(
      'DATA_CORRUPTION',
      `a WAL record of format ${format} was written by another version of the server; start that version once to flush it`,
    );
  }
  const metaEnd = PAYLOAD_HEAD_BYTES + payload.readUInt32LE(18);
  const record: WalRecord = {
    kind,
    firstLsn: Number(payload.readBigUInt64LE(2)),
    lsnCount: payload.readUInt32LE(10),
    meta: JSON.parse(payload.subarray(PAYLOAD_HEAD_BYTES, metaEnd).toString()) as Record<string, unknown>,
    data: payload.subarray(metaEnd),
  };
  return { ok: true, record, groupStart: payload.readUInt32LE(14), end };
}
