/**
 * Struct and Timestamp as plain values on both sides of gRPC. protobufjs calls these wrappers for every such message; without them a Struct would be a
 * tree of kinds. A whole number in a Struct is a double on the wire: up to 2^53 it is the integer that the client meant.
 */
import protobuf from 'protobufjs';

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

interface WireTimestamp {
  seconds?: number | string | { toNumber(): number };
  nanos?: number;
}

function structToObject(struct: WireStruct): Record<string, unknown> {
  return Object.fromEntries(Object.entries(struct.fields ?? {}).map(([name, value]) => [name, valueToPlain(value)]));
}

/** Refused by name when it is stored. */
const VALUE_OF_NO_KIND = Symbol('a value of no kind');

function valueToPlain(value: WireValue): unknown {
  if (value.structValue) return structToObject(value.structValue);
  if (value.listValue) return (value.listValue.values ?? []).map(valueToPlain);
  if (Object.hasOwn(value, 'stringValue')) return value.stringValue;
  if (Object.hasOwn(value, 'numberValue')) return value.numberValue;
  if (Object.hasOwn(value, 'boolValue')) return value.boolValue;
  // A value without a kind is a mistake of the client; null would hide it.
  return Object.hasOwn(value, 'nullValue') ? null : VALUE_OF_NO_KIND;
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

/** RFC 3339 with microseconds: the form that writes take. */
function timestampToText({ seconds = 0, nanos = 0 }: WireTimestamp): string {
  const whole = typeof seconds === 'object' ? seconds.toNumber() : Number(seconds);
  const date = new Date(whole * 1_000);
  if (Number.isNaN(date.getTime()) || nanos < 0 || nanos > 999_999_999) return `${whole} s and ${nanos} ns since 1970`;
  return `${date.toISOString().slice(0, 19)}.${String(Math.floor(nanos / 1_000)).padStart(6, '0')}Z`;
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
    toObject(this: protobuf.Type, message: protobuf.Message) {
      return structToObject(message as unknown as WireStruct);
    },
  };
  wrappers['.google.protobuf.Timestamp'] = {
    fromObject(this: protobuf.Type, value: Record<string, unknown>) {
      return this.fromObject(value);
    },
    toObject(this: protobuf.Type, message: protobuf.Message) {
      return timestampToText(message as unknown as WireTimestamp);
    },
  };
}
