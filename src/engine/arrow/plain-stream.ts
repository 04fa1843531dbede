/**
 * Arrow IPC streams in memory whose batches can be taken as they are: flat columns of numbers, booleans, texts, dates and instants, not packed, without
 * dictionaries, and with nothing in their buffers that a later reader could stumble over. Such a batch may be acknowledged before the engine has seen it.
 *
 * Source: "IPC Streaming Format", "Recordbatch message" and "Physical Memory Layout" of the Arrow columnar format.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { Buffer as FlatBuffer } from 'apache-arrow/fb/buffer';
import { FieldNode } from 'apache-arrow/fb/field-node';
import { Message } from 'apache-arrow/fb/message';
import { MessageHeader } from 'apache-arrow/fb/message-header';
import { MetadataVersion } from 'apache-arrow/fb/metadata-version';
import { RecordBatch } from 'apache-arrow/fb/record-batch';
import { Schema } from 'apache-arrow/fb/schema';
import { Builder, ByteBuffer } from 'flatbuffers';
import type { SourceField } from '../source-field.js';
import { arrowFields } from './arrow-fields.js';
import { END_OF_STREAM } from './ipc-pieces.js';

export { END_OF_STREAM };

const MARK = 0xffff_ffff;
const PREFIX_BYTES = 8;
const ALIGNMENT = 8;
/** Of a batch of some columns; grows where there are more. */
const METADATA_BYTES = 1_024;
/** A larger schema takes the other way. */
const SCHEMA_BYTES_MAX = 64 * 1_024;

/** Bytes of a value. */
const VALUE_BYTES: Readonly<Record<string, number>> = {
  'Int8': 1,
  'Int16': 2,
  'Int32': 4,
  'Int64': 8,
  'UInt8': 1,
  'UInt16': 2,
  'UInt32': 4,
  'Float32': 4,
  'Float64': 8,
  'Date(DAY)': 4,
  'Timestamp(MILLISECOND)': 8,
  'Timestamp(MICROSECOND)': 8,
}; // prettier-ignore
export const PLAIN_INTEGERS: ReadonlySet<string> = new Set(Object.keys(VALUE_BYTES).filter((type) => type.includes('Int')));
export const PLAIN_TEXTS: ReadonlySet<string> = new Set(['Utf8', 'LargeUtf8']);
/** Most whole units from 1970 to the years 1 and 9999, which is as far as RFC 3339 goes. */
const INSTANT_BOUNDS: Readonly<Record<string, readonly [bigint, bigint]>> = {
  'Timestamp(MILLISECOND)': [-62_135_596_800_000n, 253_402_300_799_999n],
  'Timestamp(MICROSECOND)': [-62_135_596_800_000_000n, 253_402_300_799_999_999n],
};
const [FIRST_DAY, LAST_DAY] = [-719_162, 2_932_896];
const MS_PER_DAY = 86_400_000;
const [CONTINUATION_MASK, CONTINUATION_BITS] = [0xc0, 0x80];
/** Of the upper half of a double: all of its exponent set means infinity, or no number at all. */
const EXPONENT = 0x7ff0_0000;
const SINGLE_EXPONENT = 0x7f80_0000;

/** A column of a batch, checked. */
interface PlainColumn {
  readonly nulls: number;
  /** A bit for each row, where some have no value. */
  readonly valid?: Buffer | undefined;
  /** Of texts: all of them, and where each begins and the last one ends. */
  readonly texts?: { readonly bytes: Buffer; readonly starts: Int32Array };
  /** Of any other column. */
  readonly values?: Buffer;
}

export interface PlainBatch {
  readonly rows: number;
  readonly columns: readonly PlainColumn[];
}

/** One that has a value in every row says nothing of which have. */
export function isValid(valid: Buffer | undefined, row: number): boolean {
  return valid === undefined || ((valid[row >> 3] ?? 0) & (1 << (row & 7))) !== 0;
}

export interface PlainStream {
  readonly bytes: Buffer;
  readonly fields: readonly SourceField[];
  readonly batches: readonly PlainBatch[];
}

/** The type of a plain field, without its zone: an instant is the same with it and without. */
export function plainType({ type }: Pick<SourceField, 'type'>): string {
  return type.replace(/ UTC$/, '');
}

/** @returns undefined for what is no such stream, whether another reader would take it or not */
export function plainStream(body: Buffer): PlainStream | undefined {
  if (!body.subarray(-END_OF_STREAM.length).equals(END_OF_STREAM)) return undefined;
  // Numbers are read where they stand.
  const bytes = body.byteOffset % ALIGNMENT === 0 ? body : Buffer.from(new Uint8Array(body).buffer);
  try {
    const schema = messageAt(bytes, 0);
    if (schema?.message.headerType() !== MessageHeader.Schema || schema.end > SCHEMA_BYTES_MAX) return undefined;
    const fields = plainFields(bytes);
    const mayBeNull = nullables(schema.message);
    const batches: PlainBatch[] = [];
    let at = schema.end;
    while (at < bytes.length - END_OF_STREAM.length) {
      const found = messageAt(bytes, at);
      if (found?.message.headerType() !== MessageHeader.RecordBatch) return undefined;
      const batch = checkedBatch(
        found.message.header(new RecordBatch()) as RecordBatch,
        fields,
        bytes.subarray(found.bodyStart, found.end),
      );
      if (!batch?.columns.every(({ nulls }, index) => nulls === 0 || mayBeNull[index])) return undefined;
      batches.push(batch);
      at = found.end;
    }
    return { bytes, fields, batches };
  } catch {
    // Lengths and offsets of a damaged message may point anywhere; the other way says what is wrong.
    return undefined;
  }
}

/** The schema message of a plain stream, with its marks. */
export function plainSchema(stream: Buffer): Buffer {
  return stream.subarray(0, PREFIX_BYTES + stream.readInt32LE(4));
}

/** The columns of a plain stream. */
export function plainFields(stream: Buffer): readonly SourceField[] {
  return arrowFields(plainSchema(stream).subarray(PREFIX_BYTES));
}

/**
 * One stream of the batches of several plain ones that have the same schema. Its memory is its own, so that it can be handed to another thread. What a
 * batch says of itself is written anew: readers look closer at how that is put together than `plainStream` does.
 */
export function joinedStreams(streams: readonly Buffer[]): Uint8Array<ArrayBuffer> {
  const [first] = streams;
  if (!first) return new Uint8Array();
  const pieces = [plainSchema(first), ...streams.flatMap(batchMessages), END_OF_STREAM];
  const joined = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

/** The batches of a plain stream: metadata and body of each. */
function batchMessages(stream: Buffer): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = plainSchema(stream).length;
  while (at < stream.length - END_OF_STREAM.length) {
    const found = messageAt(stream, at);
    if (!found) throw new RangeError('no plain stream');
    const batch = found.message.header(new RecordBatch()) as RecordBatch;
    const nulls = Array.from({ length: batch.nodesLength() }, (_, index) => Number(batch.nodes(index)?.nullCount() ?? 0n));
    const places = Array.from({ length: batch.buffersLength() }, (_, index) => {
      const buffer = batch.buffers(index);
      return { offset: Number(buffer?.offset() ?? 0n), length: Number(buffer?.length() ?? 0n) };
    });
    const body = stream.subarray(found.bodyStart, found.end);
    pieces.push(batchMessage(Number(batch.length()), nulls, places, body.length), body);
    at = found.end;
  }
  return pieces;
}

/**
 * The message of a batch, without its body.
 * @param nulls of each column
 * @param places of the buffers in the body
 */
export function batchMessage(
  rows: number,
  nulls: readonly number[],
  places: readonly { readonly offset: number; readonly length: number }[],
  bodyBytes: number,
): Uint8Array {
  const builder = new Builder(METADATA_BYTES);
  // A vector is written from its end.
  RecordBatch.startBuffersVector(builder, places.length);
  for (const { offset, length } of places.toReversed()) FlatBuffer.createBuffer(builder, BigInt(offset), BigInt(length));
  const buffers = builder.endVector();
  RecordBatch.startNodesVector(builder, nulls.length);
  for (const count of nulls.toReversed()) FieldNode.createFieldNode(builder, BigInt(rows), BigInt(count));
  const nodes = builder.endVector();
  RecordBatch.startRecordBatch(builder);
  RecordBatch.addLength(builder, BigInt(rows));
  RecordBatch.addNodes(builder, nodes);
  RecordBatch.addBuffers(builder, buffers);
  const header = RecordBatch.endRecordBatch(builder);
  Message.startMessage(builder);
  Message.addVersion(builder, MetadataVersion.V5);
  Message.addHeaderType(builder, MessageHeader.RecordBatch);
  Message.addHeader(builder, header);
  Message.addBodyLength(builder, BigInt(bodyBytes));
  Message.finishMessageBuffer(builder, Message.endMessage(builder));
  const metadata = builder.asUint8Array();
  const padded = Math.ceil(metadata.length / ALIGNMENT) * ALIGNMENT;
  const message = Buffer.alloc(PREFIX_BYTES + padded);
  message.writeUInt32LE(MARK);
  message.writeInt32LE(padded, 4);
  message.set(metadata, PREFIX_BYTES);
  return message;
}

/** The values of a column of texts or integers that has one in every row, as text. @throws RangeError for any other column */
export function textsOf(stream: Buffer, name: string): string[] {
  const plain = plainStream(stream);
  const place = plain?.fields.findIndex((field) => field.name === name) ?? -1;
  const field = plain?.fields[place];
  if (!plain || !field) throw new RangeError(`the stream has no column named ${name}`);
  return plain.batches.flatMap(({ rows, columns }) => {
    const textAt = textReader(plainType(field), columns[place]);
    return Array.from({ length: rows }, (_, row) => textAt(row));
  });
}

/** What gives the value of a row as text, whether it has one or not. @throws RangeError for a type that is not plain */
export function textReader(type: string, { texts, values = Buffer.alloc(0) }: PlainColumn = { nulls: 0 }): (row: number) => string {
  if (texts) return (row) => texts.bytes.toString('utf8', texts.starts[row], texts.starts[row + 1]);
  switch (type) {
    case 'Int8':
      return (row) => String(values.readInt8(row));
    case 'Int16':
      return (row) => String(values.readInt16LE(2 * row));
    case 'Int32':
      return (row) => String(values.readInt32LE(4 * row));
    case 'Int64':
      return (row) => String(values.readBigInt64LE(8 * row));
    case 'UInt8':
      return (row) => String(values.readUInt8(row));
    case 'UInt16':
      return (row) => String(values.readUInt16LE(2 * row));
    case 'UInt32':
      return (row) => String(values.readUInt32LE(4 * row));
    case 'Float32':
      return (row) => doubleText(values.readFloatLE(4 * row));
    case 'Float64':
      return (row) => doubleText(values.readDoubleLE(8 * row));
    case 'Bool':
      return (row) => String(isValid(values, row));
    case 'Date(DAY)':
      return (row) => new Date(values.readInt32LE(4 * row) * MS_PER_DAY).toISOString().slice(0, 'YYYY-MM-DD'.length);
    case 'Timestamp(MILLISECOND)':
      return (row) => instantText(values.readBigInt64LE(8 * row), 0n);
    case 'Timestamp(MICROSECOND)':
      return (row) => {
        const micros = values.readBigInt64LE(8 * row);
        const rest = ((micros % 1_000n) + 1_000n) % 1_000n;
        return instantText((micros - rest) / 1_000n, rest);
      };
    default:
      throw new RangeError(`${type} is not plain`);
  }
}

function doubleText(value: number): string {
  return Object.is(value, -0) ? '-0.0' : String(value);
}

function instantText(ms: bigint, micros: bigint): string {
  return `${new Date(Number(ms)).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}

function nullables(message: Message): (boolean | undefined)[] {
  const schema = message.header(new Schema()) as Schema;
  return Array.from({ length: schema.fieldsLength() }, (_, index) => schema.fields(index)?.nullable());
}

interface FoundMessage {
  readonly message: Message;
  readonly bodyStart: number;
  readonly end: number;
}

function messageAt(bytes: Buffer, start: number): FoundMessage | undefined {
  if (start + PREFIX_BYTES > bytes.length || bytes.readUInt32LE(start) !== MARK) return undefined;
  const bodyStart = start + PREFIX_BYTES + bytes.readInt32LE(start + 4);
  if (bodyStart <= start + PREFIX_BYTES || bodyStart > bytes.length || bodyStart % ALIGNMENT !== 0) return undefined;
  const message = Message.getRootAsMessage(new ByteBuffer(bytes.subarray(start + PREFIX_BYTES, bodyStart)));
  const end = bodyStart + Number(message.bodyLength());
  if (message.version() !== MetadataVersion.V5 || !(end >= bodyStart && end <= bytes.length) || end % ALIGNMENT !== 0) return undefined;
  return { message, bodyStart, end };
}

function checkedBatch(batch: RecordBatch, fields: readonly SourceField[], body: Buffer): PlainBatch | undefined {
  const rows = Number(batch.length());
  if (rows < 0 || batch.compression() || batch.nodesLength() !== fields.length || batch.variadicBufferCountsLength() > 0) return undefined;
  const buffers = new Buffers(batch, body);
  const columns: PlainColumn[] = [];
  for (const [index, field] of fields.entries()) {
    const node = batch.nodes(index);
    const nulls = Number(node?.nullCount() ?? -1);
    if (Number(node?.length()) !== rows || nulls < 0 || nulls > rows) return undefined;
    const column = checkedColumn(plainType(field), rows, nulls, buffers);
    if (!column) return undefined;
    columns.push(column);
  }
  return buffers.isAtEnd ? { rows, columns } : undefined;
}

/** The buffers of a batch, one after the other. */
class Buffers {
  #index = 0;

  constructor(
    private readonly batch: RecordBatch,
    private readonly body: Buffer,
  ) {}

  get isAtEnd(): boolean {
    return this.#index === this.batch.buffersLength();
  }

  /** @throws RangeError for one that is not within the body, or not where numbers can be read */
  next(): Buffer {
    const buffer = this.batch.buffers(this.#index++);
    const start = Number(buffer?.offset() ?? -1);
    const end = start + Number(buffer?.length() ?? -1);
    if (!(start >= 0 && end >= start && end <= this.body.length) || start % ALIGNMENT !== 0) throw new RangeError('no such buffer');
    return this.body.subarray(start, end);
  }
}

function checkedColumn(type: string, rows: number, nulls: number, buffers: Buffers): PlainColumn | undefined {
  const validity = buffers.next();
  if (nulls > 0 && (validity.length * 8 < rows || rows - countBits(validity, rows) !== nulls)) return undefined;
  const valid = nulls > 0 ? validity : undefined;
  if (PLAIN_TEXTS.has(type)) {
    const texts = checkedTexts(type === 'LargeUtf8', rows, buffers);
    return texts && { nulls, valid, texts };
  }
  const values = buffers.next();
  return hasPlainValues(type, values, rows, valid) ? { nulls, valid, values } : undefined;
}

function hasPlainValues(type: string, values: Buffer, rows: number, valid: Buffer | undefined): boolean {
  if (type === 'Bool') return values.length * 8 >= rows;
  const bytes = VALUE_BYTES[type];
  // Readers take a buffer for a list of values, and fall over one that is not.
  if (bytes === undefined || values.length < bytes * rows || values.length % bytes !== 0) return false;
  const bounds = INSTANT_BOUNDS[type];
  if (bounds) return areInstants(new BigInt64Array(values.buffer, values.byteOffset, rows), bounds, valid);
  switch (type) {
    case 'Float32':
      return areFinite(new Int32Array(values.buffer, values.byteOffset, rows), 1, SINGLE_EXPONENT, valid);
    case 'Float64':
      return areFinite(new Int32Array(values.buffer, values.byteOffset, 2 * rows), 2, EXPONENT, valid);
    case 'Date(DAY)':
      return areDays(new Int32Array(values.buffer, values.byteOffset, rows), valid);
    default:
      return true;
  }
}

function areFinite(words: Int32Array, wordsOfNumber: number, exponent: number, valid: Buffer | undefined): boolean {
  for (let at = wordsOfNumber - 1, row = 0; at < words.length; at += wordsOfNumber, row += 1)
    if (((words[at] ?? 0) & exponent) === exponent && isValid(valid, row)) return false;
  return true;
}

function areDays(days: Int32Array, valid: Buffer | undefined): boolean {
  return days.every((day, row) => (day >= FIRST_DAY && day <= LAST_DAY) || !isValid(valid, row));
}

function areInstants(instants: BigInt64Array, [first, last]: readonly [bigint, bigint], valid: Buffer | undefined): boolean {
  for (let row = 0; row < instants.length; row += 1) {
    const instant = instants[row] ?? 0n;
    if ((instant < first || instant > last) && isValid(valid, row)) return false;
  }
  return true;
}

/** Texts from the first to the last, each of whole characters. */
function checkedTexts(isLarge: boolean, rows: number, buffers: Buffers): PlainColumn['texts'] | undefined {
  const offsets = buffers.next();
  const data = buffers.next();
  const starts = startsOf(offsets, rows, isLarge);
  if (!starts) return undefined;
  const end = starts[rows] ?? 0;
  if (end > data.length) return undefined;
  for (let row = 0; row < rows; row += 1) if ((starts[row] ?? 0) > (starts[row + 1] ?? -1)) return undefined;
  const bytes = data.subarray(starts[0] ?? 0, end);
  // The engine ends a text at such a byte here and there.
  if (bytes.includes(0)) return undefined;
  if (!isAscii(bytes)) {
    if (!isUtf8(bytes)) return undefined;
    for (const start of starts) if (start < end && ((data[start] ?? 0) & CONTINUATION_MASK) === CONTINUATION_BITS) return undefined;
  }
  return { bytes: data, starts };
}

function startsOf(offsets: Buffer, rows: number, isLarge: boolean): Int32Array | undefined {
  // A batch without rows may leave them out.
  if (rows === 0 && offsets.length === 0) return new Int32Array(1);
  const words = isLarge ? 2 : 1;
  if (offsets.length < 4 * words * (rows + 1) || offsets.length % (4 * words) !== 0) return undefined;
  const given = new Int32Array(offsets.buffer, offsets.byteOffset, words * (rows + 1));
  const starts = isLarge ? new Int32Array(rows + 1) : given;
  if (isLarge)
    for (let row = 0; row <= rows; row += 1) {
      if (given[2 * row + 1] !== 0) return undefined;
      starts[row] = given[2 * row] ?? 0;
    }
  return (starts[0] ?? -1) >= 0 ? starts : undefined;
}

function countBits(bitmap: Buffer, bits: number): number {
  let count = 0;
  for (let at = 0; at < bits >> 3; at += 1) count += BITS[bitmap[at] ?? 0] ?? 0;
  const rest = bits & 7;
  return rest === 0 ? count : count + (BITS[(bitmap[bits >> 3] ?? 0) & ((1 << rest) - 1)] ?? 0);
}

/** How many bits each byte has set. */
const BITS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
