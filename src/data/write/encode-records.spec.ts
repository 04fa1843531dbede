import { describe, expect, it } from '@jest/globals';
import { expectThat } from '../../../test/support/expectations.js';
import { parseJson } from '../../common/json.js';
import { type ColumnType, TableSchema } from '../../delta/table-schema.js';
import { idRuleOf } from '../../tables/id-rule.js';
import { defaultTableConfig, type TableConfig } from '../../tables/table-config.js';
import { type EncodedRequest, encodeRecords, type EncodeRules, WideningNeeded } from './encode-records.js';
import type { RecordInput } from './record.js';

const NOW_MS = Date.parse('2024-06-01T12:00:00.123Z');

function rulesWith(changes: Partial<EncodeRules> & { readonly idValidation?: TableConfig['id_validation'] } = {}): EncodeRules {
  const { idValidation = {}, ...rules } = changes;
  return {
    tableName: 'people',
    idRule: idRuleOf({ ...defaultTableConfig(1, 1), id_validation: idValidation }),
    makeId: undefined,
    nowMs: NOW_MS,
    columnsMax: 100,
    depthMax: 8,
    onError: 'abort',
    ...rules,
  };
}

function schemaOf(columns: Readonly<Record<string, ColumnType>>): TableSchema {
  return Object.entries(columns).reduce((schema, [name, type]) => schema.with(name, type), TableSchema.initial());
}

/** Records out of the JSON of their payloads, with ids r0, r1, … */
function recordsOf(...payloads: readonly string[]): RecordInput[] {
  return payloads.map((payload, index) => ({ id: `r${index}`, timestamp: undefined, payload: parseJson(payload, 'the request') }));
}

function encode(inputs: readonly RecordInput[], stored = TableSchema.initial(), rules: Partial<EncodeRules> = {}): EncodedRequest {
  return encodeRecords(inputs, stored, rulesWith(rules));
}

/** The rows as objects; numbers as text. */
function rowsOf({ records }: EncodedRequest): unknown[] {
  return records.map(({ text }) => parseJson(`{${text}}`, 'an encoded record'));
}

function columnsOf({ schema }: EncodedRequest): Record<string, string> {
  return Object.fromEntries(schema.payloadColumns.map((column) => [column.name, column.type]));
}

describe('encoding a record', () => {
  it('gives its id, its instant in UTC and its fields', () => {
    const { records } = encode([{ id: 'a', timestamp: '2024-01-01T10:00:00+01:00', payload: { name: 'Ada', age: 36, tags: ['x'] } }]);
    expect(records).toEqual([{ id: 'a', text: '"id":"a","timestamp":"2024-01-01T09:00:00.000000Z","name":"Ada","age":36,"tags":["x"]' }]);
  });

  it('takes the time of the request when the record has none', () => {
    expect(rowsOf(encode([{ id: 'a', timestamp: null, payload: undefined }]))).toEqual([
      { id: 'a', timestamp: '2024-06-01T12:00:00.123000Z' },
    ]);
  });

  it('adds columns for new fields and leaves the table as it was', () => {
    const stored = schemaOf({ name: 'VARCHAR' });
    const encoded = encode(recordsOf('{"name":"Ada","n":1,"x":1.5,"ok":true,"more":{"a":1}}'), stored);
    expect(columnsOf(encoded)).toEqual({ name: 'VARCHAR', n: 'BIGINT', x: 'DOUBLE', ok: 'BOOLEAN', more: 'JSON' });
    expect(columnsOf({ ...encoded, schema: stored })).toEqual({ name: 'VARCHAR' });
  });

  it('takes a null as no value, and makes no column of it', () => {
    const encoded = encode(recordsOf('{"a":null,"b":1}'));
    expect(columnsOf(encoded)).toEqual({ b: 'BIGINT' });
    expect(encoded.records[0]?.text).not.toContain('"a"');
  });

  it('compares field names without case, and keeps the first spelling', () => {
    const encoded = encode(recordsOf('{"Age":1}', '{"age":2}', '{"AGE":3}'));
    expect(columnsOf(encoded)).toEqual({ Age: 'BIGINT' });
    expect(rowsOf(encoded)).toMatchObject([{ Age: 1 }, { Age: 2 }, { Age: 3 }]);
  });

  it('refuses a record that has one column twice', () => {
    expect(() => encode(recordsOf('{"Age":1,"age":2}'))).toThrow(/field age occurs twice/);
  });

  it('keeps the digits of numbers that JavaScript would round', () => {
    const { records } = encode(recordsOf('{"n":9007199254740993,"x":10.0}'));
    expect(records[0]?.text).toContain('"n":9007199254740993,"x":10.0');
  });
});

describe('name of a field', () => {
  it.each(['id', 'ID', 'timestamp', 'Timestamp', '_lsn', '_LSN'])('%s is reserved', (name) => {
    expect(() => encode(recordsOf(`{"${name}":1}`))).toThrow(/reserved/);
  });

  it.each(['', 'a b', 'a,b', 'a;b', 'a{', 'a}', 'a(', 'a)', 'a\nb', 'a\tb', 'a=b', 'a"b', 'a\u0001b', '\ud800', 'a'.repeat(256)])(
    '%j is refused, also when its value is null',
    (name) => {
      for (const value of [1, null]) {
        expectThat(() => encode([{ id: 'a', timestamp: undefined, payload: { [name]: value } }]), String(value)).toThrow(
          expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
        );
      }
    },
  );

  it.each(['a.b', 'a-b', "a'b", 'größe', '数量', '\u{1F600}', 'order', 'a'.repeat(255), 'constructor', 'toString', '__proto__'])(
    '%j is taken',
    (name) => {
      const payload = parseJson(`{${JSON.stringify(name)}:1}`, 'the request');
      const { schema, records } = encode([{ id: 'a', timestamp: undefined, payload }]);
      expect(schema.payloadColumns.map((column) => column.name)).toEqual([name]);
      expect(records[0]?.text).toContain(`${JSON.stringify(name)}:1`);
    },
  );

  it('is refused when it would be one column too many', () => {
    const stored = schemaOf({ a: 'BIGINT' });
    expect(() => encode(recordsOf('{"b":1}'), stored, { columnsMax: 3 })).toThrow(/at most 3 \(limits\.columns_max\)/);
    expect(() => encode(recordsOf('{"b":1}'), stored, { columnsMax: 4 })).not.toThrow();
  });
});

describe('value that does not fit', () => {
  it('is refused with the column, its type and the value', () => {
    expect(() => encode(recordsOf('{"age":"thirty"}'), schemaOf({ age: 'BIGINT' }))).toThrow('column age is BIGINT, got "thirty"');
  });

  it('is shown by its beginning only, and nested values not at all', () => {
    const stored = schemaOf({ age: 'BIGINT' });
    expect(() => encode(recordsOf(`{"age":"${'x'.repeat(5_000)}"}`), stored)).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,200}$/) }),
    );
    expect(() => encode(recordsOf('{"age":{"secret":1}}'), stored)).toThrow('got an object');
    expect(() => encode(recordsOf('{"age":["secret"]}'), stored)).toThrow('got an array');
  });

  it('names its record in a batch and its line in a bulk body', () => {
    const stored = schemaOf({ age: 'BIGINT' });
    expect(() => encode(recordsOf('{"age":1}', '{"age":"x"}'), stored)).toThrow(/^table people: record 1: column age is BIGINT/);
    expect(() =>
      encode([{ ...recordsOf('{"age":"x"}')[0], id: 'a', timestamp: undefined, payload: { age: 'x' }, line: 7 }], stored),
    ).toThrow(/^table people: line 7: /);
  });

  it.each([
    [{ id: 'a', timestamp: 'yesterday', payload: {} }, /timestamp "yesterday" is not an instant/],
    [{ id: 'a', timestamp: undefined, payload: [1] }, /payload must be an object, got an array/],
    [{ id: 'a', timestamp: undefined, payload: 'text' }, /payload must be an object, got "text"/],
  ] as [RecordInput, RegExp][])('is refused outside of the payload, too: %j', (input, message) => {
    expect(() => encode([input])).toThrow(message);
  });
});

describe('id of a record', () => {
  it.each(['a', 'A-1_b', 'a b', 'a@b.c', 'x/y', '..', 'sensor:1', 'ä', '👩‍💻', 'x'.repeat(255), 'ä'.repeat(127)])('%s is taken', (id) => {
    expect(encode([{ id, timestamp: undefined, payload: {} }]).records[0]?.id).toBe(id);
  });

  it.each(['', 'a\n', '\u0000', 'a\u2028b', '\ud83d', 'x'.repeat(256), 'ä'.repeat(128), 7.5, true, {}, ['a']])('%j is refused', (id) => {
    expect(() => encode([{ id, timestamp: undefined, payload: {} }], undefined, { makeId: () => 'made' })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('is made by the table when there is none, or missed when the table generates none', () => {
    let made = 0;
    const makeId = (): string => `made-${(made += 1)}`;
    const inputs = [undefined, null].map((id) => ({ id, timestamp: undefined, payload: {} }));
    expect(encode(inputs, undefined, { makeId }).records.map(({ id }) => id)).toEqual(['made-1', 'made-2']);
    expect(() => encode(inputs)).toThrow(/id is missing, and the table generates none/);
  });

  it('may be a whole number, which stands for its digits', () => {
    const inputs = ['7', '12345678901234567890', '-3'].map((id) => ({
      id: (parseJson(`[${id}]`, 'a line') as unknown[])[0],
      timestamp: undefined,
      payload: {},
    }));
    expect(encode(inputs).records.map(({ id }) => id)).toEqual(['7', '12345678901234567890', '-3']);
    expect(() => encode([{ id: 1.5, timestamp: undefined, payload: {} }])).toThrow(/id must be a string/);
  });

  it("follows the table's own rule", () => {
    const rules = rulesWith({ idValidation: { pattern: '[a-z]+:[0-9]+', max_length: 6 } });
    const withId = (id: string): EncodedRequest => encodeRecords([{ id, timestamp: undefined, payload: {} }], TableSchema.initial(), rules);
    expect(withId('ab:1').records).toHaveLength(1);
    for (const id of ['ab1', 'ab:1x', 'abc:123']) expect(() => withId(id)).toThrow(/is not allowed: it must be 1 to 6 characters matching/);
  });
});

describe('fraction for a column of whole numbers', () => {
  it('makes a column DOUBLE that the request itself brings, for all of its records', () => {
    const encoded = encode(recordsOf('{"n":1}', '{"n":2.5}', '{"n":3}'));
    expect(columnsOf(encoded)).toEqual({ n: 'DOUBLE' });
    expect(rowsOf(encoded)).toMatchObject([{ n: 1 }, { n: 2.5 }, { n: 3 }]);
  });

  it('settles several such columns, whatever their order', () => {
    const encoded = encode(recordsOf('{"a":1,"b":1,"c":1}', '{"c":0.5}', '{"a":0.5,"b":7}', '{"b":0.5}'));
    expect(columnsOf(encoded)).toEqual({ a: 'DOUBLE', b: 'DOUBLE', c: 'DOUBLE' });
    expect(new Set(encoded.schema.columns.map((column) => column.fieldId)).size).toBe(5);
  });

  it('is refused when the new column has a whole number that DOUBLE cannot hold', () => {
    expect(() => encode(recordsOf('{"n":9007199254740993}', '{"n":0.5}'))).toThrow(/DOUBLE cannot hold this integer exactly/);
  });

  it('asks for the widening of a stored column', () => {
    const stored = schemaOf({ n: 'BIGINT' });
    expect(() => encode(recordsOf('{"n":0.5}'), stored)).toThrow(WideningNeeded);
    expect(() => encode(recordsOf('{"n":0.5}'), stored)).toThrow(expect.objectContaining({ columns: ['n'] }));
  });

  it('asks for all widenings of a request at once', () => {
    const stored = schemaOf({ a: 'BIGINT', b: 'BIGINT', c: 'BIGINT' });
    expect(() => encode(recordsOf('{"a":0.5}', '{"c":1,"b":2}', '{"c":0.5}'), stored)).toThrow(
      expect.objectContaining({ columns: ['a', 'c'] }),
    );
  });

  it.each([
    ['an id that is not allowed', { id: 'two\nlines', timestamp: undefined, payload: {} }],
    ['a timestamp that is none', { id: 'b', timestamp: 'soon', payload: {} }],
    ['a value of another type', { id: 'b', timestamp: undefined, payload: { t: [] } }],
    [
      'a whole number that the widened column does not hold',
      { id: 'b', timestamp: undefined, payload: parseJson('{"n":9007199254740993}', 'the request') },
    ],
  ])('asks for no widening when the request is refused for %s', (_name, record) => {
    const stored = schemaOf({ n: 'BIGINT', t: 'VARCHAR' });
    expect(() => encode([...recordsOf('{"n":0.5}'), record], stored)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => encode([record, ...recordsOf('{"n":0.5}')], stored)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('is refused when the widening was', () => {
    expect(() => encodeRecords(recordsOf('{"n":0.5}'), schemaOf({ n: 'BIGINT' }), rulesWith(), new Set(['n']))).toThrow(
      /column n is BIGINT, got 0\.5/,
    );
  });

  it('does not widen INTEGER', () => {
    expect(() => encode(recordsOf('{"n":0.5}'), schemaOf({ n: 'INTEGER' }))).toThrow(/column n is INTEGER, got 0\.5/);
  });
});

describe('request with bad records', () => {
  const mixed = recordsOf('{"age":1}', '{"age":"x"}', '{"age":2,"new":true}', '{"added":1,"age":[]}');
  const stored = schemaOf({ age: 'BIGINT' });

  it('is refused as a whole by abort, with the record in the details', () => {
    expect(() => encode(mixed, stored)).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        details: [{ index: 1, id: 'r1', field: 'age', reason: 'column age is BIGINT, got "x"' }],
      }),
    );
  });

  it('keeps its good records with skip, and lists the others', () => {
    const encoded = encode(mixed, stored, { onError: 'skip' });
    expect(encoded.records.map(({ id }) => id)).toEqual(['r0', 'r2']);
    expect(encoded.refusals.map(({ index, field }) => ({ index, field }))).toEqual([
      { index: 1, field: 'age' },
      { index: 3, field: 'age' },
    ]);
  });

  it('lists a line as it was given', () => {
    const encoded = encode([{ id: 'a', timestamp: 'x', payload: {}, line: 12 }], stored, { onError: 'skip' });
    expect(encoded).toMatchObject({ records: [], refusals: [{ index: 0, line: 12, id: 'a', field: 'timestamp' }] });
  });

  it('adds no column that only bad records have', () => {
    expect(columnsOf(encode(mixed, stored, { onError: 'skip' }))).toEqual({ age: 'BIGINT', new: 'BOOLEAN' });
  });

  it('keeps the type that the good records give when a bad one would have changed it', () => {
    const encoded = encode(recordsOf('{"n":1}', '{"n":0.5,"bad name":1}', '{"n":2}'), stored, { onError: 'skip' });
    expect(encoded.records).toHaveLength(2);
    expect(columnsOf(encoded)).toEqual({ age: 'BIGINT', n: 'BIGINT' });
  });

  it('adds no column of a bad record that first changed the type of another', () => {
    const encoded = encode(recordsOf('{"n":1}', '{"added":1,"n":0.5,"bad name":1}', '{"n":2}'), stored, { onError: 'skip' });
    expect(Object.keys(columnsOf(encoded))).toEqual(['age', 'n']);
  });

  it('does not ask for a widening that only a bad record needs', () => {
    expect(() => encode(recordsOf('{"age":0.5,"bad name":1}', '{"age":2}'), stored, { onError: 'skip' })).not.toThrow();
  });
});
