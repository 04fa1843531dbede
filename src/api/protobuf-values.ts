/**
 * Struct and Timestamp as plain values on both sides of gRPC, for all messages that have them.
 */
import protobuf from 'protobufjs';
import { readStruct, readTimestamp } from './message-readers.js';

interface WireValue {
  nullValue?: number;
  numberValue?: number;
  stringValue?: string;
  boolValue?: boolean;
  structValue?: WireStruct;
  listValue?: { values?: WireValue[] };
}

/** Marks structs that are in wire form already: protobufjs comes back with the inner ones of what we gave it. */
const WIRE_FORM = Symbol('wire form');

interface WireStruct {
  fields?: Record<string, WireValue>;
  [WIRE_FORM]?: true;
}

function plainToValue(plain: unknown): WireValue {
  if (plain === null || plain === undefined) return { nullValue: 0 };
  if (typeof plain === 'string') return { stringValue: plain };
  if (typeof plain === 'number') return { numberValue: plain };
  if (typeof plain === 'boolean') return { boolValue: plain };
  if (Array.isArray(plain)) return { listValue: { values: plain.map(plainToValue) } };
  return { structValue: objectToStruct(plain as Record<string, unknown>) };
}

function objectToStruct(object: Record<string, unknown>): WireStruct {
  return { fields: Object.fromEntries(Object.entries(object).map(([name, value]) => [name, plainToValue(value)])), [WIRE_FORM]: true };
}

/** An instant for a message to be sent: protobufjs takes an object there, no text. */
export function toTimestamp(text: string): { readonly seconds: number; readonly nanos: number };
export function toTimestamp(text: string | null): { readonly seconds: number; readonly nanos: number } | null;
export function toTimestamp(text: string | null): { readonly seconds: number; readonly nanos: number } | null {
  if (text === null) return null;
  const seconds = Math.floor(Date.parse(text) / 1_000);
  const fraction = /\.(\d{1,9})/.exec(text)?.[1] ?? '';
  return { seconds, nanos: Number(fraction.padEnd(9, '0')) };
}

/** Must run before the first proto file is loaded. */
export function registerProtobufValues(): void {
  const wrappers = protobuf.wrappers as Record<string, unknown>;
  wrappers['.google.protobuf.Struct'] = {
    fromObject(this: protobuf.Type, object: Record<string, unknown>) {
      return WIRE_FORM in object ? this.fromObject(object) : this.fromObject(objectToStruct(object));
    },
    toObject: asItIs,
  };
  wrappers['.google.protobuf.Timestamp'] = {
    fromObject(this: protobuf.Type, value: Record<string, unknown>) {
      return this.fromObject(value);
    },
    toObject: asItIs,
  };
  const { prototype } = protobuf.Type;
  const setup = Object.getOwnPropertyDescriptor(prototype, 'setup')?.value as (this: protobuf.Type) => protobuf.Type;
  // The library has no place for a decoder of one's own but this one: here it makes the decoder of each type when that is first used.
  prototype.setup = function (this: protobuf.Type) {
    setup.call(this);
    const read = READERS[this.fullName];
    if (read) this.decode = read as unknown as protobuf.Type['decode'];
    return this;
  };
}

const READERS: Readonly<Record<string, (reader: protobuf.Reader, length: number) => unknown>> = {
  '.google.protobuf.Struct': (reader, length) => readStruct(reader, length),
  '.google.protobuf.Timestamp': (reader, length) => readTimestamp(reader, length),
};

/** Our readers have made a plain value of it. */
function asItIs(message: unknown): unknown {
  return message;
}
