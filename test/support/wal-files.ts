/** Looks into and damages the write-ahead log of a server that is not running. The format is the one of docs/format/wal.md. */
import { appendFileSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { RECORD_MAGIC, decodeRecord } from '../../src/data/wal/wal-record.js';

const SEGMENT_NAME = /^\d{20}\.wal$/;

/** Where a record stands in its segment: [start, end). */
export interface RecordPlace {
  readonly start: number;
  readonly end: number;
}

/** The segment files, oldest first. */
export function walSegments(dataDir: string): string[] {
  const directory = path.join(dataDir, 'wal');
  return readdirSync(directory)
    .filter((name) => SEGMENT_NAME.test(name))
    .sort()
    .map((name) => path.join(directory, name));
}

export function recordsOf(segment: string): RecordPlace[] {
  const bytes = readFileSync(segment);
  const places: RecordPlace[] = [];
  for (let start = headBytes(bytes); start < bytes.length;) {
    const decoded = decodeRecord(bytes, start);
    if (!decoded.ok) throw new Error(`${segment} holds no intact record at ${start}`);
    places.push({ start, end: decoded.end });
    start = decoded.end;
  }
  return places;
}

/** The bytes before the first record. */
export function segmentHead(segment: string): Buffer {
  const bytes = readFileSync(segment);
  return bytes.subarray(0, headBytes(bytes));
}

function headBytes(segment: Buffer): number {
  const magic = Buffer.alloc(4);
  magic.writeUInt32LE(RECORD_MAGIC);
  // From 1 on: the head of a segment begins with the same letters.
  const first = segment.indexOf(magic, 1);
  return first === -1 ? segment.length : first;
}

/** Starts a segment as the server does before its first record, for records from this LSN on. */
export function addEmptySegment(dataDir: string, firstLsn: number, head: Buffer): void {
  writeFileSync(path.join(dataDir, 'wal', `${String(firstLsn).padStart(20, '0')}.wal`), head);
}

export function appendBytes(segment: string, bytes: Uint8Array): void {
  appendFileSync(segment, bytes);
}

export function cutBytes(segment: string, count: number): void {
  truncateSync(segment, readFileSync(segment).length - count);
}

/** Changes one byte; doing it twice puts it back. */
export function flipByte(segment: string, offset: number): void {
  const bytes = readFileSync(segment);
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 0xff, offset);
  writeFileSync(segment, bytes);
}
