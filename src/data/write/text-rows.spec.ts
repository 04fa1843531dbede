import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { tableFromIPC } from 'apache-arrow';
import { parse } from 'lossless-json';
import { expectThat } from '../../../test/support/expectations.js';
import { SeededRandom, seedOfThisRun } from '../../../test/support/seeded-random.js';
import { parseJson } from '../../common/json.js';
import { type ColumnType, TableSchema } from '../../delta/table-schema.js';
import { plainFields, plainStream } from '../../engine/arrow/plain-stream.js';
import { idRuleOf } from '../../tables/id-rule.js';
import { defaultTableConfig } from '../../tables/table-config.js';
import { readLines } from '../bulk/bulk-lines.js';
import { parseWrite } from '../data-request.js';
import { type EncodedRequest, encodeRecords, type EncodeRules } from './encode-records.js';
import { type TextRows, textRows, type RowForm } from './text-rows.js';
import type { RecordInput } from './record.js';

const DEPTH_MAX = 8;
const ROWS_MAX = 1_000;
const LINES: RowForm = { kind: 'lines', id: 'id', timestamp: 'timestamp' };
const SCHEMA = schemaOf({
  n: 'BIGINT',
  i: 'INTEGER',
  d: 'DOUBLE',
  b: 'BOOLEAN',
  s: 'VARCHAR',
  j: 'JSON',
  t: 'TIMESTAMPTZ',
  day: 'DATE',
  dec: 'DECIMAL(10,3)',
  größe: 'DOUBLE',
});
const RULES: EncodeRules = {
  tableName: 'readings',
  idRule: idRuleOf(defaultTableConfig(1, 1)),
  makeId: undefined,
  nowMs: Date.parse('2024-06-01T12:00:00.123Z'),
  columnsMax: 100,
  depthMax: DEPTH_MAX,
  onError: 'abort',
};

function schemaOf(columns: Readonly<Record<string, ColumnType>>): TableSchema {
  return Object.entries(columns).reduce((schema, [name, type]) => schema.with(name, type), TableSchema.initial());
}

function plain(text: string | Buffer, form = LINES, rules: Partial<EncodeRules> = {}, rowsMax = ROWS_MAX): TextRows | undefined {
  const reading = textRows(Buffer.from(text), form, SCHEMA, { ...RULES, ...rules }, rowsMax);
  for (;;) {
    const step = reading.next();
    if (step.done) return step.value;
  }
}

/** A row with numbers by their value: 1.50 is 1.5. Integers keep every digit. */
function valuesOf(line: string): Record<string, unknown> {
  return parse(line, undefined, { parseNumber: (text) => (/^-?\d+$/.test(text) ? BigInt(text) : Number(text)) }) as Record<string, unknown>;
}

/** Rows by the values that their columns hold. */
function ofTheirTypes(rows: readonly Record<string, unknown>[]): Record<string, unknown>[] {
  const isFraction = (name: string): boolean => /^D(OUBLE|ECIMAL)/.test(SCHEMA.column(name)?.type ?? '');
  return rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, isFraction(name) ? Number(value) : value])),
  );
}

/** What the batch says, with no field where a row has no value. */
function rowsOf(rows: TextRows | undefined): Record<string, unknown>[] | undefined {
  if (!rows) return undefined;
  // It is what a client might have sent.
  expect(plainStream(rows.stream)?.batches.map((batch) => batch.rows)).toEqual([rows.count]);
  const table = tableFromIPC(rows.stream);
  const valueOf = (name: string, row: number): unknown => {
    const value: unknown = table.getChild(name)?.get(row);
    if (name === 'timestamp') return instantText(table.getChild(name)?.data[0]?.values as BigInt64Array, row);
    if (value === null || value === undefined) return undefined;
    const type = SCHEMA.column(name)?.type;
    if (type === 'JSON') return valuesOf(`{"v":${String(value)}}`)['v'];
    return type === 'INTEGER' ? BigInt(value as number) : value;
  };
  return Array.from(
    { length: table.numRows },
    (_, row) =>
      Object.fromEntries(
        table.schema.fields.map(({ name }) => [name, valueOf(name, row)]).filter(([, value]) => value !== undefined),
      ) as Record<string, unknown>,
  );
}

function instantText(micros: BigInt64Array, row: number): string {
  const value = micros[row] ?? 0n;
  const rest = ((value % 1_000n) + 1_000n) % 1_000n;
  return `${new Date(Number((value - rest) / 1_000n)).toISOString().slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
}

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'text-rows-'));
});
afterAll(() => {
  rmSync(directory, { recursive: true });
});

/** What comes of the rows when they are looked at one by one; undefined when one is refused. */
async function oneByOne(text: string | Buffer, form: RowForm, rules: Partial<EncodeRules>): Promise<EncodedRequest | undefined> {
  try {
    return encodeRecords(await recordsOf(text, form), SCHEMA, { ...RULES, ...rules });
  } catch {
    return undefined;
  }
}

async function recordsOf(text: string | Buffer, form: RowForm): Promise<readonly RecordInput[]> {
  if (form.kind === 'records') return parseWrite(parseJson(`{"table":"t","records":${text.toString()}}`, 'the body'), ROWS_MAX).records;
  const file = path.join(directory, 'lines');
  writeFileSync(file, text);
  const records: RecordInput[] = [];
  for await (const lines of readLines({ file, originOf: (line) => line }, form, DEPTH_MAX))
    for (const line of lines) {
      if (!('record' in line)) throw new Error(line.refusal.reason);
      records.push(line.record);
    }
  return records;
}

/** @returns whether the text was plain */
async function expectBothWaysEqual(text: string | Buffer, form = LINES, rules: Partial<EncodeRules> = {}): Promise<boolean> {
  const rows = plain(text, form, rules);
  if (!rows) return false;
  const encoded = await oneByOne(text, form, rules);
  expectThat(encoded, text.toString()).toBeDefined();
  expectThat(rows.count, text.toString()).toBe(encoded?.records.length);
  expectThat(ofTheirTypes(rowsOf(rows) ?? []), text.toString()).toEqual(
    ofTheirTypes(encoded?.records.map((record) => valuesOf(`{${record.text}}`)) ?? []),
  );
  expectThat(encoded?.schema, text.toString()).toBe(SCHEMA);
  return true;
}

describe('rows of a text, plain as most are,', () => {
  it('are copied from lines, with a column for each field that has a value', () => {
    const rows = plain('{"n":1, "id":"a","d":-1.5,"timestamp":"2024-01-01T10:00:00Z","s":"é ü","b":true,"i":null}\n');
    expect(rowsOf(rows)).toEqual([{ id: 'a', timestamp: '2024-01-01T10:00:00.000000Z', n: 1n, d: -1.5, s: 'é ü', b: true }]);
    expect(plainFields(rows?.stream ?? Buffer.alloc(0)).map(({ name }) => name)).toEqual(['id', 'timestamp', 'n', 'd', 's', 'b']);
    expect(rows?.ids()).toEqual(['a']);
  });

  it('are copied from records', () => {
    const records = '[{"id":"a","timestamp":"2024-01-01","payload":{"n":1}} ,\n{"payload":null,"id":7},{"id":"c","payload":{}}]';
    expect(rowsOf(plain(records, { kind: 'records' }))).toEqual([
      { id: 'a', timestamp: '2024-01-01T00:00:00.000000Z', n: 1n },
      { id: '7', timestamp: '2024-06-01T12:00:00.123000Z' },
      { id: 'c', timestamp: '2024-06-01T12:00:00.123000Z' },
    ]);
  });

  it('get an id from the table, and the time of the request', () => {
    const rows = plain('{"n":1}\n{"id":null,"timestamp":null}\n\n', LINES, { makeId: () => 'made"' });
    expect(rowsOf(rows)).toEqual([
      { id: 'made"', timestamp: '2024-06-01T12:00:00.123000Z', n: 1n },
      { id: 'made"', timestamp: '2024-06-01T12:00:00.123000Z' },
    ]);
    expect(rows?.lacksIds).toBe(true);
  });

  it('may be in fields of other names', () => {
    const form: RowForm = { kind: 'lines', id: 'key', timestamp: 'at' };
    expect(rowsOf(plain('{"key":"a","at":0}', form))).toEqual([{ id: 'a', timestamp: '1970-01-01T00:00:00.000000Z' }]);
  });

  it('may be many, and long, with values in some of them only', () => {
    const text = Array.from({ length: 3_000 }, (_, row) =>
      JSON.stringify({
        id: `r${row}`,
        ...(row % 3 === 0 ? { s: 'ü'.repeat(row) } : {}),
        ...(row % 7 === 6 ? { n: row, d: row / 8, b: row % 2 === 0, i: row } : {}),
      }),
    );
    const rows = rowsOf(plain(text.join('\n'), LINES, {}, 3_000));
    expect(rows?.map(({ timestamp, ...row }) => ({ ...row, at: typeof timestamp }))).toEqual(
      text.map((line) => {
        const { n, i, ...row } = JSON.parse(line) as { n?: number; i?: number };
        return { ...row, ...(n === undefined || i === undefined ? {} : { n: BigInt(n), i: BigInt(i) }), at: 'string' };
      }),
    );
  });

  it.each([
    ['nothing', ''],
    ['blank lines', ' \n\r\n'],
    ['no object', '[1]'],
    ['an unfinished row', '{"id":"a"'],
    ['text after a row', '{"id":"a"} x'],
    ['two rows in a line', '{"id":"a"}{"id":"b"}'],
    ['a comma too many', '{"id":"a",}'],
    ['no id', '{"n":1}'],
    ['an empty id', '{"id":""}'],
    ['an id of two lines', '{"id":"a\\nb"}'],
    ['an id that is too long', `{"id":"${'a'.repeat(256)}"}`],
    ['an id twice', '{"id":"a","id":"b"}'],
    ['a field twice', '{"id":"a","n":1,"n":2}'],
    ['a field in another case', '{"id":"a","N":1}'],
    ['a new field', '{"id":"a","new":1}'],
    ['a field that no table has', '{"id":"a","a b":null}'],
    ['the name of the id in another case', '{"id":"a","ID":null}'],
    ['a fraction for an integer', '{"id":"a","n":1.5}'],
    ['text for a number', '{"id":"a","n":"1"}'],
    ['a number with a needless 0', '{"id":"a","n":01}'],
    ['a number without digits', '{"id":"a","d":-}'],
    ['a number that ends with its point', '{"id":"a","d":1.}'],
    ['NaN', '{"id":"a","d":NaN}'],
    ['no instant', '{"id":"a","timestamp":"2024-02-30T00:00:00Z"}'],
    ['an hour too many', '{"id":"a","timestamp":"2024-02-03T00:00:00Z"}\n{"id":"b","timestamp":"2024-02-03T24:00:00Z"}'],
    ['a line break in a text', '{"id":"a","s":"x\ny"}'],
    ['a zero byte', '{"id":"a","s":"\\u0000"}'],
    ['half a surrogate pair', '{"id":"a","s":"\\ud800"}'],
    ['a list that is not closed', '{"id":"a","j":[1}\n'],
    ['a list that goes on in the next line', '{"id":"a","j":[1,\n2]}'],
    ['what is nested too deeply', `{"id":"a","j":${'['.repeat(DEPTH_MAX)}${']'.repeat(DEPTH_MAX)}}`],
    ['more rows than are taken', '{"id":"a"}\n'.repeat(ROWS_MAX + 1)],
    ['no UTF-8', Buffer.from([...Buffer.from('{"id":"a'), 0xff, ...Buffer.from('"}')])],
  ])('are not: %s', (_what, text) => {
    expect(plain(text)).toBeUndefined();
  });

  it.each([
    ['no array', '{"id":"a"}'],
    ['an array that is not closed', '[{"id":"a"}'],
    ['text after the array', '[{"id":"a"}] 1'],
    ['no comma', '[{"id":"a"}{"id":"b"}]'],
    ['a comma too many', '[{"id":"a"},]'],
    ['a field that no record has', '[{"id":"a","n":1}]'],
    ['a payload that is no object', '[{"id":"a","payload":[]}]'],
    ['a field of the payload called id', '[{"id":"a","payload":{"id":1}}]'],
    ['no records', '[]'],
  ])('are not, as records: %s', (_what, text) => {
    expect(plain(text, { kind: 'records' })).toBeUndefined();
  });

  it('are not when they have so many columns with so few values that a batch would be many times their text', () => {
    const wide = schemaOf(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`c${index}`, 'BIGINT' as const])));
    const text = (columns: number): Buffer =>
      Buffer.from(Array.from({ length: 1_000 }, (_, row) => `{"id":"a","c${row % columns}":1}`).join('\n'));
    const isPlain = (columns: number): boolean => {
      const reading = textRows(text(columns), LINES, wide, RULES, ROWS_MAX);
      for (let step = reading.next(); ; step = reading.next()) if (step.done) return step.value !== undefined;
    };
    expect(isPlain(100)).toBe(true);
    expect(isPlain(500)).toBe(false);
  });

  it('are not where the table lets no id through, or columns are declared', () => {
    const idRule = idRuleOf({ ...defaultTableConfig(1, 1), id_validation: { pattern: '(a)\\1' } });
    expect(plain('{"id":"aa"}', LINES, { idRule })).toBeUndefined();
    expect(plain('{"id":"aa"}', LINES, { declared: new Map([['x', 'BIGINT' as const]]) })).toBeUndefined();
  });

  it('follow a rule of ids', () => {
    const idRule = idRuleOf({ ...defaultTableConfig(1, 1), id_validation: { pattern: 'a+' } });
    expect(rowsOf(plain('{"id":"aa"}', LINES, { idRule }))).toHaveLength(1);
    expect(plain('{"id":"ab"}', LINES, { idRule })).toBeUndefined();
  });
});

/** JSON texts, right and wrong, with the edges of every type. */
const NUMBERS = '0 -0 1 -1 7 42 123456789 2147483647 2147483648 -2147483648 123456789012345 1234567890123456 9007199254740993 9223372036854775807 9223372036854775808 1.5 1.50 -0.5 -0.0 0.1 10.0 1e3 1E-400 1e400 5e-324 0.30000000000000004 12345678901.234 00 01 1. .5 +1 - 1e NaN Infinity 0x1'.split(' '); // prettier-ignore
const TEXTS = ['', 'a', 'é', '日本', '𝄞', ' ', '\\u0041', '\\"', '\\\\', '\\/', '\\n', '\\u0000', '\\ud83d\\ude00', '\\ud800', '\\x', '\u007f', '\u2028', '\t', '12', 'true'].map((text) => `"${text}"`); // prettier-ignore
const TIMES = ['2024-01-01T10:00:00Z', '2024-01-01T10:00:00.5Z', '2024-01-01T23:59:59.123456789Z', '2024-01-01T10:00:60Z', '2024-01-01T24:00:00Z', '2024-01-01T10:60:00Z', '2024-01-01T10:00:00.Z', '2024-01-01T10:00:00.1234567890Z', '2024-01-01 10:00:00', '2024-01-01', '2024-01-01T10:00:00+02', '2024-02-29T00:00:00z', '2023-02-29T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '0000-01-01T00:00:00Z', '2024-01-01T10-00-00Z', '2024-01-01T1x:00:00Z'].map((text) => `"${text}"`).concat(['0', '1700000000', '1700000000000', '1700000000000000', '1700000000000000000', '-1', '1.5', '1e9', '99999999999999999999']); // prettier-ignore
const NESTED = ['[]', '{}', '[1,2.50,"x"]', '{"a":{"b":[true,null]}}', '{"a":1,"a":2}', '["]","}"]', '{"a":"\\""}', '[1,]', '[1', '{"a"}', '[[[[[[1]]]]]]', '[[[[[[[1]]]]]]]', '[[[[[[[[1]]]]]]]]', '[12345678901234567890]', '[NaN]', '[ 1 ]', '[\t1]', '[1e-400]']; // prettier-ignore
const WORDS = ['true', 'false', 'null', 'tru', 'nul', 'True'];
const IDS = ['"a"', '"sensor:1"', '"x/y z"', '"é"', '""', '7', '-7', '-0', '1.0', '1e3', '12345678901234567890', 'true', 'null', '"\\u0061"', '"a\\u0000"', '"\u007f"', `"${'x'.repeat(255)}"`, `"${'é'.repeat(128)}"`, '{}']; // prettier-ignore
const USUAL: Readonly<Record<string, readonly string[]>> = {
  n: ['1', '-22', '0', 'null'],
  i: ['1', '-22', '0'],
  d: ['1', '-2.5', '0.25', '1e5', '100.0'],
  b: ['true', 'false', 'null'],
  s: ['"a"', '"é日"', '"\\n"', '""'],
  j: ['[1,2]', '{"a":[]}', '"x"', '1', 'true', '{"a":{"b":1}}'],
  t: ['"2024-01-01T10:00:00Z"', '1700000000'],
  day: ['"2024-02-29"'],
  dec: ['1.5', '"2.25"', '-7'],
  größe: ['1.5'],
  absent: ['null'],
};

describe('rows of a text, copied and looked at one by one,', () => {
  const random = new SeededRandom(seedOfThisRun());
  const blank = (): string => (random.chance(0.1) ? random.pick([' ', '\t', '\r', '  ']) : '');
  const any = (): string => random.pick([NUMBERS, TEXTS, TIMES, NESTED, WORDS].map((pool) => random.pick(pool)));
  const rare = 0.02;

  function membersOf(isPayload: boolean): string[] {
    const fields = Object.keys(USUAL).filter(() => random.chance(0.7));
    if (random.chance(0.2)) fields.reverse();
    if (random.chance(rare)) fields.push(random.pick(['n', 'N', 'new', 'id', 'ID', '_lsn', 'a b', '', '\\u006e', '__proto__', 'd"']));
    const members = fields.map((field) => `"${field}"${blank()}:${blank()}${random.chance(rare) ? any() : random.pick(usualOf(field))}`);
    return isPayload ? members : [...members, ...keyMembers()];
  }

  function usualOf(field: string): readonly string[] {
    return Object.hasOwn(USUAL, field) ? (USUAL[field] ?? []) : ['1', 'null'];
  }

  function keyMembers(): string[] {
    const id = random.chance(rare) ? any() : random.chance(rare) ? random.pick(IDS) : `"${random.integer(0, 99)}"`;
    const timestamp = random.chance(0.1) ? random.pick(TIMES) : `"2024-01-0${random.integer(1, 9)}T0${random.integer(0, 9)}:00:00.5Z"`;
    return [...(random.chance(0.98) ? [`"id":${id}`] : []), ...(random.chance(0.9) ? [`"timestamp":${timestamp}`] : [])];
  }

  const objectOf = (members: readonly string[]): string =>
    `${blank()}{${blank()}${members.join(`${blank()},${blank()}`)}${blank()}}${blank()}`;

  it.each([
    ['lines', 1_500],
    ['records', 1_000],
  ] as const)(`are the same, or refused, of random %s (SEED=${random.seed})`, async (kind, cases) => {
    let plainCases = 0;
    for (let number = 0; number < cases; number += 1) {
      const makeId = random.chance(0.5) ? (): string => 'made' : undefined;
      const rows = Array.from({ length: random.integer(1, 4) }, () =>
        kind === 'lines' ? objectOf(membersOf(false)) : objectOf([...keyMembers(), `"payload":${objectOf(membersOf(true))}`]),
      );
      const text = kind === 'lines' ? rows.join(random.pick(['\n', '\r\n', '\n\n'])) : `[${rows.join(',')}]`;
      if (await expectBothWaysEqual(text, kind === 'lines' ? LINES : { kind }, { makeId })) plainCases += 1;
    }
    // Enough of either kind, or nothing was compared.
    expect(plainCases).toBeGreaterThan(cases / 10);
    expect(plainCases).toBeLessThan(cases * 0.9);
  });

  it('are the same of every edge in every column', async () => {
    let plainCases = 0;
    for (const field of Object.keys(USUAL))
      for (const value of [...NUMBERS, ...TEXTS, ...TIMES, ...NESTED, ...WORDS])
        if (await expectBothWaysEqual(`{"id":"a","${field}":${value}}`)) plainCases += 1;
    for (const id of [...IDS, ...NUMBERS, ...TEXTS, ...NESTED]) if (await expectBothWaysEqual(`{"id":${id}}`)) plainCases += 1;
    const usual = '{"id":"a","timestamp":"2024-01-01T09:00:00Z"}\n';
    for (const timestampUnit of [undefined, 's', 'ms', 'us', 'ns'] as const)
      for (const time of [...TIMES, ...NUMBERS, ...WORDS])
        if (await expectBothWaysEqual(`${usual}{"id":"a","timestamp":${time}}`, LINES, { timestampUnit })) plainCases += 1;
    expect(plainCases).toBeGreaterThan(300);
  });
});
