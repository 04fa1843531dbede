import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import protobuf from 'protobufjs';
import fc from 'fast-check';
import { expectThat } from '../../test/support/expectations.js';
import { readStruct, readTimestamp } from './message-readers.js';

/** The library's own types, without our readers: what they write is what clients send. */
const PROTO = `syntax = "proto3"; package plain;
message Struct { map<string, Value> fields = 1; }
message Value { oneof kind { int32 null_value = 1; double number_value = 2; string string_value = 3; bool bool_value = 4; Struct struct_value = 5; ListValue list_value = 6; } }
message ListValue { repeated Value values = 1; }
message Timestamp { int64 seconds = 1; int32 nanos = 2; }`;
const root = protobuf.parse(PROTO, { keepCase: true }).root;
const structType = root.lookupType('plain.Struct');
const timestampType = root.lookupType('plain.Timestamp');

type Plain = null | number | string | boolean | Plain[] | { [name: string]: Plain };

function wireValue(plain: Plain): object {
  if (plain === null) return { null_value: 0 };
  if (typeof plain === 'number') return { number_value: plain };
  if (typeof plain === 'string') return { string_value: plain };
  if (typeof plain === 'boolean') return { bool_value: plain };
  return Array.isArray(plain) ? { list_value: { values: plain.map(wireValue) } } : { struct_value: wireStruct(plain) };
}

function wireStruct(plain: Record<string, Plain>): { fields: Record<string, object> } {
  return { fields: Object.fromEntries(Object.entries(plain).map(([name, value]) => [name, wireValue(value)])) };
}

function bytesOf(plain: Record<string, Plain>): Uint8Array {
  return structType.encode(structType.fromObject(wireStruct(plain))).finish();
}

function read(bytes: Uint8Array): Record<string, unknown> {
  return readStruct(protobuf.Reader.create(bytes), bytes.length);
}

const { value: plainObject } = fc.letrec<{ value: Record<string, Plain>; any: Plain }>((tie) => ({
  value: fc.dictionary(fc.string({ unit: 'grapheme' }), tie('any'), { maxKeys: 6, noNullPrototype: true }),
  any: fc.oneof(
    { depthSize: 'small' },
    fc.constant(null),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'grapheme' }),
    fc.boolean(),
    fc.array(tie('any'), { maxLength: 4 }),
    tie('value'),
  ),
}));

describe('a Struct', () => {
  it('comes as the object that the client meant', () => {
    fc.assert(
      fc.property(plainObject, (plain) => {
        expect(isDeepStrictEqual(read(bytesOf(plain)), plain)).toBe(true);
      }),
    );
  });

  it('keeps a field of the name of a prototype', () => {
    const object = read(bytesOf(JSON.parse('{"__proto__":{"a":1},"constructor":2}') as Record<string, Plain>));
    expect(Object.getPrototypeOf(object)).toBe(Object.prototype);
    expect(Object.entries(object)).toEqual([
      ['__proto__', { a: 1 }],
      ['constructor', 2],
    ]);
  });

  it('is refused wherever it is cut, and never read beyond its end', () => {
    const bytes = bytesOf({ a: 'text', b: [1, { c: true }] });
    for (let length = 1; length < bytes.length; length += 1) {
      const cut = (): unknown => read(bytes.subarray(0, length));
      // Cut between two fields it is a whole message again.
      if (length !== bytesOf({ a: 'text' }).length) expectThat(cut, `${length} bytes`).toThrow();
    }
    const inner = protobuf.Writer.create().uint32(10).fork().uint32(10).string('name').uint32(18).uint32(200).ldelim().finish();
    expect(() => read(new Uint8Array([...inner, ...new Uint8Array(300)]))).toThrow(RangeError);
  });

  it('is refused when it is nested without end', () => {
    let plain: Plain = 1;
    for (let depth = 0; depth < 40; depth += 1) plain = [plain];
    const deep = { a: plain };
    expect(read(bytesOf(deep))).toEqual(deep);
    // The library itself writes no deeper ones.
    let bytes = bytesOf({ a: 1 });
    for (let depth = 0; depth < 200; depth += 1) {
      const value = protobuf.Writer.create().uint32(42).bytes(bytes).finish();
      bytes = protobuf.Writer.create().uint32(10).fork().uint32(10).string('a').uint32(18).bytes(value).ldelim().finish();
    }
    expect(() => read(bytes)).toThrow(/nested more than 100 deep/);
  });

  it('passes over fields that it does not know, and says when a value has no kind', () => {
    const unknown = protobuf.Writer.create().uint32(0x7a).string('later').uint32(10).fork().uint32(10).string('a').ldelim().finish();
    const [[name, value] = []] = Object.entries(read(unknown));
    expect(name).toBe('a');
    expect(typeof value).toBe('symbol');
  });
});

describe('a Timestamp', () => {
  it.each([
    [0, 0, '1970-01-01T00:00:00.000000Z'],
    [1_700_000_000, 123_456_789, '2023-11-14T22:13:20.123456Z'],
    [1_700_000_000, 999_999_999, '2023-11-14T22:13:20.999999Z'],
    [-1, 0, '1969-12-31T23:59:59.000000Z'],
    [253_402_300_799, 0, '9999-12-31T23:59:59.000000Z'],
    [1_700_000_000, 1_000_000_000, '1700000000 s and 1000000000 ns since 1970'],
    [1_700_000_000, -1, '1700000000 s and -1 ns since 1970'],
    [9_000_000_000_000, 0, '9000000000000 s and 0 ns since 1970'],
  ])('of %d s and %d ns', (seconds, nanos, text) => {
    const bytes = timestampType.encode(timestampType.fromObject({ seconds, nanos })).finish();
    expect(readTimestamp(protobuf.Reader.create(bytes), bytes.length)).toBe(text);
  });
});
