/**
 * Rows as one batch of an Arrow IPC stream, value by value: without objects, and with no more columns than the rows have values for.
 *
 * Source: "IPC Streaming Format" and "Physical Memory Layout" of the Arrow columnar format.
 */
import { Bool, Field, Float64, Int32, Int64, Schema, Table, tableToIPC, TimestampMicrosecond, Utf8, type DataType } from 'apache-arrow';
import { LRUCache } from 'lru-cache';
import { batchMessage, END_OF_STREAM, plainSchema } from './plain-stream.js';

const SCHEMAS_MAX = 500;
const ROWS_AT_FIRST = 256;
const TEXT_BYTES_AT_FIRST = 1_024;
const WORD = 2 ** 32;
/** Milliseconds whose microseconds a number counts exactly, about until the year 2255. */
const EXACT_MS_MAX = Math.floor(Number.MAX_SAFE_INTEGER / 1_000) - 1;
/** Copies shorter than this are quicker by the byte than by a call. */
const SHORT_COPY = 48;
const ALIGNMENT = 8;

abstract class ColumnWriter {
  #valid = new Uint8Array(ROWS_AT_FIRST / 8);
  #count = 0;

  constructor(readonly name: string) {}

  abstract readonly type: DataType;

  /** True once a row has a value. */
  get isUsed(): boolean {
    return this.#count > 0;
  }

  protected mark(row: number): void {
    const at = row >> 3;
    if (at >= this.#valid.length) this.#valid = grown(this.#valid, at + 1);
    this.#valid[at] = (this.#valid[at] ?? 0) | (1 << (row & 7));
    this.#count += 1;
  }

  /** Nulls, and the buffers: which rows have a value, where some have none, and the values. */
  finish(rows: number): { readonly nulls: number; readonly buffers: readonly Uint8Array[] } {
    const nulls = rows - this.#count;
    const bytes = Math.ceil(rows / 8);
    const valid = nulls === 0 ? new Uint8Array() : grown(this.#valid, bytes).subarray(0, bytes);
    return { nulls, buffers: [valid, ...this.values(rows)] };
  }

  protected abstract values(rows: number): Uint8Array[];
}

export class TextWriter extends ColumnWriter {
  readonly type = new Utf8();
  #bytes = Buffer.allocUnsafe(TEXT_BYTES_AT_FIRST);
  #end = 0;
  #starts = new Int32Array(ROWS_AT_FIRST + 1);
  #rows = 0;

  /** @param from UTF-8, of which a text goes from `start` to `end` */
  copy(row: number, from: Buffer, start: number, end: number): void {
    const bytes = this.#room(end - start);
    let at = this.#end;
    if (end - start < SHORT_COPY) for (let index = start; index < end; index += 1) bytes[at++] = from[index] ?? 0;
    else from.copy(bytes, at, start, end);
    this.#close(row, this.#end + end - start);
  }

  add(row: number, text: string): void {
    // At most three bytes for a unit of UTF-16.
    const bytes = this.#room(text.length * 3);
    this.#close(row, this.#end + bytes.write(text, this.#end));
  }

  #room(bytes: number): Buffer {
    if (this.#end + bytes > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#end + bytes));
      this.#bytes.copy(larger, 0, 0, this.#end);
      this.#bytes = larger;
    }
    return this.#bytes;
  }

  #close(row: number, end: number): void {
    this.mark(row);
    this.#skipTo(row);
    this.#end = end;
    this.#starts[row + 1] = end;
    this.#rows = row + 1;
  }

  /** Rows without a text end where they begin. */
  #skipTo(row: number): void {
    if (row + 2 > this.#starts.length) this.#starts = grown(this.#starts, row + 2);
    this.#starts.fill(this.#end, this.#rows, row + 1);
  }

  protected override values(rows: number): Uint8Array[] {
    if (this.#rows < rows) this.#skipTo(rows);
    return [bytesOf(this.#starts.subarray(0, rows + 1)), this.#bytes.subarray(0, this.#end)];
  }

  /** All texts of a column that has one in every row. */
  texts(): string[] {
    return Array.from({ length: this.#rows }, (_, row) => this.#bytes.toString('utf8', this.#starts[row], this.#starts[row + 1]));
  }
}

/** 64 bits as two words, the lower one first. */
abstract class WordsWriter extends ColumnWriter {
  #words = new Int32Array(2 * ROWS_AT_FIRST);

  /** @param value whole, up to 2^53 */
  protected put(row: number, value: number): void {
    const high = Math.floor(value / WORD);
    this.#putWords(row, value - high * WORD, high);
  }

  protected putBig(row: number, value: bigint): void {
    this.#putWords(row, Number(BigInt.asUintN(32, value)), Number(value >> 32n));
  }

  #putWords(row: number, low: number, high: number): void {
    if (2 * row + 1 >= this.#words.length) this.#words = grown(this.#words, 2 * row + 2);
    this.#words[2 * row] = low;
    this.#words[2 * row + 1] = high;
    this.mark(row);
  }

  protected override values(rows: number): Uint8Array[] {
    this.#words = grown(this.#words, 2 * rows);
    return [bytesOf(this.#words.subarray(0, 2 * rows))];
  }
}

export class BigintWriter extends WordsWriter {
  readonly type = new Int64();

  /** @param value whole; as a number up to 2^53 */
  add(row: number, value: number | bigint): void {
    if (typeof value === 'number') this.put(row, value);
    else this.putBig(row, value);
  }
}

export class InstantWriter extends WordsWriter {
  readonly type = new TimestampMicrosecond('UTC');

  /** @param ms whole milliseconds since 1970, and up to 999 microseconds more */
  add(row: number, ms: number, micros: number): void {
    if (Math.abs(ms) <= EXACT_MS_MAX) this.put(row, ms * 1_000 + micros);
    else this.putBig(row, BigInt(ms) * 1_000n + BigInt(micros));
  }
}

export class IntegerWriter extends ColumnWriter {
  readonly type = new Int32();
  #values = new Int32Array(ROWS_AT_FIRST);

  add(row: number, value: number): void {
    if (row >= this.#values.length) this.#values = grown(this.#values, row + 1);
    this.#values[row] = value;
    this.mark(row);
  }

  protected override values(rows: number): Uint8Array[] {
    this.#values = grown(this.#values, rows);
    return [bytesOf(this.#values.subarray(0, rows))];
  }
}

export class DoubleWriter extends ColumnWriter {
  readonly type = new Float64();
  #values = new Float64Array(ROWS_AT_FIRST);

  add(row: number, value: number): void {
    if (row >= this.#values.length) this.#values = grown(this.#values, row + 1);
    this.#values[row] = value;
    this.mark(row);
  }

  protected override values(rows: number): Uint8Array[] {
    this.#values = grown(this.#values, rows);
    return [bytesOf(this.#values.subarray(0, rows))];
  }
}

export class BooleanWriter extends ColumnWriter {
  readonly type = new Bool();
  #bits = new Uint8Array(ROWS_AT_FIRST / 8);

  add(row: number, value: boolean): void {
    const at = row >> 3;
    if (at >= this.#bits.length) this.#bits = grown(this.#bits, at + 1);
    if (value) this.#bits[at] = (this.#bits[at] ?? 0) | (1 << (row & 7));
    this.mark(row);
  }

  protected override values(rows: number): Uint8Array[] {
    const bytes = Math.ceil(rows / 8);
    this.#bits = grown(this.#bits, bytes);
    return [this.#bits.subarray(0, bytes)];
  }
}

/** A stream with one batch of the columns that have values. */
export function streamOf(rows: number, columns: readonly ColumnWriter[]): Buffer {
  const used = columns.filter(({ isUsed }) => isUsed);
  const finished = used.map((column) => column.finish(rows));
  const buffers = finished.flatMap((column) => column.buffers);
  const places: { readonly offset: number; readonly length: number }[] = [];
  let bodyBytes = 0;
  for (const { length } of buffers) {
    places.push({ offset: bodyBytes, length });
    bodyBytes += Math.ceil(length / ALIGNMENT) * ALIGNMENT;
  }
  const head = batchMessage(
    rows,
    finished.map(({ nulls }) => nulls),
    places,
    bodyBytes,
  );
  const schema = schemaOf(used);
  const start = schema.length + head.length;
  const stream = Buffer.alloc(start + bodyBytes + END_OF_STREAM.length);
  schema.copy(stream);
  stream.set(head, schema.length);
  for (const [index, buffer] of buffers.entries()) stream.set(buffer, start + (places[index]?.offset ?? 0));
  END_OF_STREAM.copy(stream, start + bodyBytes);
  return stream;
}

const schemas = new LRUCache<string, Buffer>({ max: SCHEMAS_MAX });

function schemaOf(columns: readonly ColumnWriter[]): Buffer {
  const key = JSON.stringify(columns.map((column) => [column.name, column.constructor.name]));
  let schema = schemas.get(key);
  if (!schema) {
    const fields = columns.map(({ name, type }) => new Field(name, type, true));
    schema = plainSchema(Buffer.from(tableToIPC(new Table(new Schema(fields)), 'stream')));
    schemas.set(key, schema);
  }
  return schema;
}

function grown<A extends Int32Array | Float64Array | Uint8Array>(values: A, length: number): A {
  if (values.length >= length) return values;
  const larger = new (values.constructor as new (length: number) => A)(Math.max(length, 2 * values.length));
  larger.set(values);
  return larger;
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
