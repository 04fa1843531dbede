/**
 * Deletion vectors: which rows of a data file are gone, as a compressed set of row positions.
 *
 * Formats: "Deletion Vector Format" of the Delta protocol around the portable form of a Roaring bitmap
 * (RoaringFormatSpec). All numbers are little-endian but in the file form, where Delta wants size and checksum big-endian.
 * Positions are below 2^32, because no data file of ours has more rows.
 */
import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { AppError } from '../common/app-error.js';
import type { DeletionVectorDescriptor } from './action.js';
import { decodeBase85, encodeBase85 } from './base85.js';

const MAGIC = 1_681_511_377;
const COOKIE_WITHOUT_RUNS = 12_346;
const COOKIE_WITH_RUNS = 12_347;
const ARRAY_CARDINALITY_MAX = 4_096;
const BITMAP_BYTES = 8_192;
/** In containers up to this many, the form with runs has no offset header. */
const NO_OFFSET_THRESHOLD = 4;
const FILE_VERSION = 1;

/** Sorted distinct positions as bytes of the 64-bit array form that Delta stores. */
export function encodePositions(positions: readonly number[]): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(MAGIC, 0);
  head.writeBigUInt64LE(positions.length === 0 ? 0n : 1n, 4);
  if (positions.length === 0) return head;
  return Buffer.concat([head, Buffer.alloc(4), encodeBitmap(positions)]);
}

function encodeBitmap(positions: readonly number[]): Buffer {
  const containers = splitByHighBits(positions);
  const header = Buffer.alloc(8 + containers.length * 8);
  header.writeUInt32LE(COOKIE_WITHOUT_RUNS, 0);
  header.writeUInt32LE(containers.length, 4);
  const bodies = containers.map((container) => encodeContainer(container.low));
  let offset = header.length;
  containers.forEach((container, index) => {
    header.writeUInt16LE(container.high, 8 + index * 4);
    header.writeUInt16LE(container.low.length - 1, 10 + index * 4);
    header.writeUInt32LE(offset, 8 + containers.length * 4 + index * 4);
    offset += bodies[index]?.length ?? 0;
  });
  return Buffer.concat([header, ...bodies]);
}

interface Container {
  readonly high: number;
  readonly low: number[];
}

function splitByHighBits(positions: readonly number[]): Container[] {
  const containers: Container[] = [];
  for (const position of positions) {
    const high = Math.floor(position / 65_536);
    let last = containers.at(-1);
    if (last?.high !== high) containers.push((last = { high, low: [] }));
    last.low.push(position % 65_536);
  }
  return containers;
}

function encodeContainer(low: readonly number[]): Buffer {
  if (low.length <= ARRAY_CARDINALITY_MAX) {
    const bytes = Buffer.alloc(low.length * 2);
    low.forEach((value, index) => bytes.writeUInt16LE(value, index * 2));
    return bytes;
  }
  const bytes = Buffer.alloc(BITMAP_BYTES);
  for (const value of low) bytes[value >> 3] = (bytes[value >> 3] ?? 0) | (1 << (value & 7));
  return bytes;
}

/** The sorted positions of a vector. @throws AppError DATA_CORRUPTION when the bytes are not one */
export function decodePositions(bytes: Buffer): number[] {
  try {
    return decodeArray(bytes);
  } catch (error) {
    if (error instanceof RangeError) throw corrupt('it is cut short');
    throw error;
  }
}

function decodeArray(bytes: Buffer): number[] {
  if (bytes.readUInt32LE(0) !== MAGIC) throw corrupt(`magic number is ${bytes.readUInt32LE(0)}`);
  const positions: number[] = [];
  const bitmaps = Number(bytes.readBigUInt64LE(4));
  let at = 12;
  for (let index = 0; index < bitmaps; index += 1) {
    if (bytes.readUInt32LE(at) !== 0) throw corrupt('a position is 2^32 or more');
    at = decodeBitmap(bytes, at + 4, positions);
  }
  return positions;
}

function decodeBitmap(bytes: Buffer, start: number, positions: number[]): number {
  const cookie = bytes.readUInt32LE(start);
  const hasRuns = (cookie & 0xffff) === COOKIE_WITH_RUNS;
  if (!hasRuns && cookie !== COOKIE_WITHOUT_RUNS) throw corrupt(`bitmap cookie is ${cookie}`);
  const count = hasRuns ? (cookie >>> 16) + 1 : bytes.readUInt32LE(start + 4);
  const runFlags = start + 4;
  const keys = hasRuns ? runFlags + Math.ceil(count / 8) : start + 8;
  const hasOffsets = !hasRuns || count >= NO_OFFSET_THRESHOLD;
  let at = keys + count * 4 + (hasOffsets ? count * 4 : 0);
  for (let index = 0; index < count; index += 1) {
    const base = bytes.readUInt16LE(keys + index * 4) * 65_536;
    const cardinality = bytes.readUInt16LE(keys + index * 4 + 2) + 1;
    const isRun = hasRuns && (((bytes[runFlags + (index >> 3)] ?? 0) >> (index & 7)) & 1) === 1;
    at = isRun ? decodeRuns(bytes, at, base, positions) : decodeValues(bytes, at, base, cardinality, positions);
  }
  return at;
}

function decodeRuns(bytes: Buffer, start: number, base: number, positions: number[]): number {
  const runs = bytes.readUInt16LE(start);
  for (let run = 0; run < runs; run += 1) {
    const first = bytes.readUInt16LE(start + 2 + run * 4);
    const extra = bytes.readUInt16LE(start + 4 + run * 4);
    if (first + extra > 0xffff) throw corrupt('a run leaves its container');
    for (let value = first; value <= first + extra; value += 1) positions.push(base + value);
  }
  return start + 2 + runs * 4;
}

function decodeValues(bytes: Buffer, start: number, base: number, cardinality: number, positions: number[]): number {
  if (cardinality <= ARRAY_CARDINALITY_MAX) {
    for (let index = 0; index < cardinality; index += 1) positions.push(base + bytes.readUInt16LE(start + index * 2));
    return start + cardinality * 2;
  }
  if (start + BITMAP_BYTES > bytes.length) throw corrupt('it is cut short');
  for (let value = 0; value < 65_536; value += 1) {
    if ((((bytes[start + (value >> 3)] ?? 0) >> (value & 7)) & 1) === 1) positions.push(base + value);
  }
  return start + BITMAP_BYTES;
}

/**
 * The vectors of one commit, all in one file. None stands in the log itself (storage type `i`), though small ones could: Trino, Presto and Delta
 * Kernel Java do not read those.
 */
export class VectorFile {
  readonly #uuid = randomUUID();
  readonly #pieces: Buffer[] = [Buffer.of(FILE_VERSION)];
  #bytes = 1;

  /**
   * @param positions sorted and distinct
   * @returns what the log says of the vector; undefined when there are no positions
   */
  add(positions: readonly number[]): DeletionVectorDescriptor | undefined {
    if (positions.length === 0) return undefined;
    const vector = encodePositions(positions);
    const offset = this.#bytes;
    const size = Buffer.alloc(4);
    size.writeUInt32BE(vector.length);
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32BE(crc32(vector));
    this.#pieces.push(size, vector, checksum);
    this.#bytes += vector.length + 8;
    return {
      storageType: 'u',
      pathOrInlineDv: encodeBase85(Buffer.from(this.#uuid.replaceAll('-', ''), 'hex')),
      offset,
      sizeInBytes: vector.length,
      cardinality: positions.length,
    };
  }

  /** The object that must be there before a commit names its vectors; undefined when there are none. */
  get object(): { readonly name: string; readonly bytes: Buffer } | undefined {
    return this.#bytes === 1 ? undefined : { name: vectorFileName(this.#uuid), bytes: Buffer.concat(this.#pieces) };
  }
}

function vectorFileName(uuid: string): string {
  return `deletion_vector_${uuid}.bin`;
}

/** The name, in the table's directory, of the file that holds a vector; undefined for an inline one. */
export function vectorObjectName(descriptor: DeletionVectorDescriptor): string | undefined {
  if (descriptor.storageType === 'i') return undefined;
  const hex = decodeBase85(descriptor.pathOrInlineDv).toString('hex');
  return vectorFileName([hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-'));
}

/** The positions of a vector, given the bytes of its file (when it has one). */
export function readVector(descriptor: DeletionVectorDescriptor, file: Buffer | undefined): number[] {
  if (descriptor.storageType === 'i') return decodePositions(decodeBase85(descriptor.pathOrInlineDv).subarray(0, descriptor.sizeInBytes));
  const offset = descriptor.offset ?? 0;
  if (file === undefined || file.length < offset + 8 + descriptor.sizeInBytes) throw corrupt('its file is missing or cut short');
  const vector = file.subarray(offset + 4, offset + 4 + descriptor.sizeInBytes);
  if (file.readUInt32BE(offset) !== descriptor.sizeInBytes) throw corrupt('its size differs from the log');
  if (file.readUInt32BE(offset + 4 + descriptor.sizeInBytes) !== crc32(vector)) throw corrupt('its checksum does not match');
  return decodePositions(vector);
}

/** Tells one state of a file's deletion vector from another. */
export function vectorKey(descriptor: DeletionVectorDescriptor | undefined): string {
  return descriptor ? `${descriptor.storageType}${descriptor.pathOrInlineDv}@${descriptor.offset ?? ''}` : '';
}

function corrupt(reason: string): AppError {
  return new AppError('DATA_CORRUPTION', `a deletion vector cannot be read: ${reason}; restore the table's directory from a backup`);
}
