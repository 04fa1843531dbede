/**
 * The head of a segment: which log it belongs to, and the last LSN of that log before it. So a segment that is missing is noticed by the one after it,
 * and numbers that were never given out (a table taken back from elsewhere may be ahead of the log) are not taken for missing ones.
 *
 *   MDBWAL02 | log id (36 bytes) | previous LSN u64, little-endian | CRC-32C of all before u32
 *
 * Segments of format 1 (`MDBWAL01 | log id`) are still read; what stood before them is not known. See docs/format/wal.md.
 */
import { crc32c } from '@node-rs/crc32';

const MAGIC = 'MDBWAL02';
const MAGIC_1 = 'MDBWAL01';
export const WAL_ID_BYTES = 36;
const PREVIOUS_AT = MAGIC.length + WAL_ID_BYTES;
const CHECKSUM_AT = PREVIOUS_AT + 8;
export const SEGMENT_HEAD_BYTES = CHECKSUM_AT + 4;

export interface SegmentHead {
  readonly logId: string;
  /** Undefined in format 1. */
  readonly previousLsn: number | undefined;
  readonly bytes: number;
}

export function encodeSegmentHead(logId: string, previousLsn: number): Buffer {
  const head = Buffer.alloc(SEGMENT_HEAD_BYTES);
  head.write(MAGIC + logId, 0, 'latin1');
  head.writeBigUInt64LE(BigInt(previousLsn), PREVIOUS_AT);
  head.writeUInt32LE(crc32c(head.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
  return head;
}

/** @returns undefined when a segment does not begin with a whole head */
export function decodeSegmentHead(segment: Buffer): SegmentHead | undefined {
  const magic = segment.toString('latin1', 0, MAGIC.length);
  const logId = segment.toString('latin1', MAGIC.length, PREVIOUS_AT);
  if (magic === MAGIC_1 && segment.length >= PREVIOUS_AT) return { logId, previousLsn: undefined, bytes: PREVIOUS_AT };
  if (magic !== MAGIC || segment.length < SEGMENT_HEAD_BYTES) return undefined;
  if (crc32c(segment.subarray(0, CHECKSUM_AT)) !== segment.readUInt32LE(CHECKSUM_AT)) return undefined;
  return { logId, previousLsn: Number(segment.readBigUInt64LE(PREVIOUS_AT)), bytes: SEGMENT_HEAD_BYTES };
}
