/**
 * Reads Struct and Timestamp from the wire as the plain values that writes take: a payload becomes an object in one pass. Read by the generated
 * decoders and then converted, it would be a tree of messages first, which costs more than everything else in a write of many records.
 * A whole number in a Struct is a double on the wire: up to 2^53 it is the integer that the client meant.
 * Source: `google/protobuf/struct.proto`, `google/protobuf/timestamp.proto` and "Encoding" in the documentation of Protocol Buffers.
 */
import type { Reader } from 'protobufjs';

/** Tag of a field: its number, and how it is encoded. */
const tag = (field: number, wireType: 0 | 1 | 2): number => (field << 3) | wireType;

const STRUCT_FIELDS = tag(1, 2);
const ENTRY_NAME = tag(1, 2);
const ENTRY_VALUE = tag(2, 2);
const NULL_VALUE = tag(1, 0);
const NUMBER_VALUE = tag(2, 1);
const STRING_VALUE = tag(3, 2);
const BOOL_VALUE = tag(4, 0);
const STRUCT_VALUE = tag(5, 2);
const LIST_VALUE = tag(6, 2);
const LIST_VALUES = tag(1, 2);
const SECONDS = tag(1, 0);
const NANOS = tag(2, 0);

/** As deep as other readers of Protocol Buffers go. */
const DEPTH_MAX = 100;
/** Of a value without a kind, which is a mistake of the client; null would hide it. Refused by name when it is stored. */
const VALUE_OF_NO_KIND = Symbol('a value of no known kind');

/** Bytes of a varint below 2^49, which `number` holds exactly. */
const SAFE_VARINT_BYTES = 7;
const MICROS_LENGTH = 6;
const NANOS_PER_MICRO = 1_000;
const NANOS_MAX = 999_999_999;

/**
 * Lets a reader see no further than the end of a message inside of another.
 * @returns what it saw before
 */
function enter(reader: Reader, length: number): number {
  const outer = reader.len;
  if (reader.pos + length > outer) throw new RangeError('a message is longer than the message that contains it');
  reader.len = reader.pos + length;
  return outer;
}

/** @throws Error for bytes that are no Struct */
export function readStruct(reader: Reader, length: number, depth = 0): Record<string, unknown> {
  if (depth > DEPTH_MAX) throw new Error(`values are nested more than ${DEPTH_MAX} deep`);
  const outer = enter(reader, length);
  const object: Record<string, unknown> = {};
  while (reader.pos < reader.len) {
    const next = reader.uint32();
    if (next === STRUCT_FIELDS) readEntry(reader, object, depth);
    else reader.skipType(next & 7);
  }
  reader.len = outer;
  return object;
}

function readEntry(reader: Reader, object: Record<string, unknown>, depth: number): void {
  const outer = enter(reader, reader.uint32());
  let name = '';
  let value: unknown = VALUE_OF_NO_KIND;
  while (reader.pos < reader.len) {
    const next = reader.uint32();
    if (next === ENTRY_NAME) name = reader.string();
    else if (next === ENTRY_VALUE) value = readValue(reader, reader.uint32(), depth);
    else reader.skipType(next & 7);
  }
  reader.len = outer;
  // As a plain assignment it would set the prototype.
  if (name === '__proto__') Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  else object[name] = value;
}

function readValue(reader: Reader, length: number, depth: number): unknown {
  const outer = enter(reader, length);
  let value: unknown = VALUE_OF_NO_KIND;
  while (reader.pos < reader.len) {
    const next = reader.uint32();
    switch (next) {
      case NULL_VALUE:
        reader.int32();
        value = null;
        break;
      case NUMBER_VALUE:
        value = reader.double();
        break;
      case STRING_VALUE:
        value = reader.string();
        break;
      case BOOL_VALUE:
        value = reader.bool();
        break;
      case STRUCT_VALUE:
        value = readStruct(reader, reader.uint32(), depth + 1);
        break;
      case LIST_VALUE:
        value = readList(reader, reader.uint32(), depth + 1);
        break;
      default:
        reader.skipType(next & 7);
    }
  }
  reader.len = outer;
  return value;
}

function readList(reader: Reader, length: number, depth: number): unknown[] {
  if (depth > DEPTH_MAX) throw new Error(`values are nested more than ${DEPTH_MAX} deep`);
  const outer = enter(reader, length);
  const values: unknown[] = [];
  while (reader.pos < reader.len) {
    const next = reader.uint32();
    if (next === LIST_VALUES) values.push(readValue(reader, reader.uint32(), depth));
    else reader.skipType(next & 7);
  }
  reader.len = outer;
  return values;
}

/** RFC 3339 with microseconds, the form that writes take; other text for what is no instant, which is refused with it. */
export function readTimestamp(reader: Reader, length: number): string {
  const outer = enter(reader, length);
  let [seconds, nanos] = [0, 0];
  while (reader.pos < reader.len) {
    const next = reader.uint32();
    if (next === SECONDS) seconds = readInteger(reader);
    else if (next === NANOS) nanos = reader.int32();
    else reader.skipType(next & 7);
  }
  reader.len = outer;
  const second = nanos < 0 || nanos > NANOS_MAX ? undefined : secondText(seconds);
  if (second === undefined) return `${seconds} s and ${nanos} ns since 1970`;
  return `${second}.${String(Math.floor(nanos / NANOS_PER_MICRO)).padStart(MICROS_LENGTH, '0')}Z`;
}

/** An int64. Those of today are read by hand: the library makes an object of each. */
function readInteger(reader: Reader): number {
  const { buf, pos } = reader;
  let value = 0;
  let factor = 1;
  for (let count = 0; count < SAFE_VARINT_BYTES; count += 1) {
    const byte = buf[pos + count];
    if (byte === undefined) break;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80 && pos + count < reader.len) {
      reader.pos = pos + count + 1;
      return value;
    }
    factor *= 0x80;
  }
  return Number(reader.int64());
}

/** The last whole second and its text: records of one message often share it. */
let last = { seconds: NaN, text: '' };

function secondText(seconds: number): string | undefined {
  if (seconds === last.seconds) return last.text;
  const date = new Date(seconds * 1_000);
  if (Number.isNaN(date.getTime())) return undefined;
  last = { seconds, text: date.toISOString().slice(0, -'.000Z'.length) };
  return last.text;
}
