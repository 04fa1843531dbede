/**
 * Bulk bodies of Parquet and Arrow as other writers make them, of every type that these formats have: each value is stored as it is, or the body is
 * refused by the name of the column. `fixtures/columnar-bodies.py` says how the bodies were made.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { readFileSync } from 'node:fs';
import { MEDIA_TYPES, PlainDuckdb, sendBulk } from './support/bulk-bodies.js';
import { expectThat } from './support/expectations.js';
import { countOf, expectSuccess, type JsonRow, rowsOf, tableInfo } from './support/requests.js';
import { SeededRandom } from './support/seeded-random.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

type Format = 'parquet' | 'arrow';
const BODIES = JSON.parse(readFileSync(new URL('fixtures/columnar-bodies.json', import.meta.url), 'utf8')) as Record<string, string>;
const LARGE_ROWS = 40_000;

let server: RunningServer;
let duckdb: PlainDuckdb;
let tables = 0;

beforeAll(async () => {
  duckdb = await PlainDuckdb.open();
  server = await startServer({ config: { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } } });
});

afterAll(async () => {
  await server?.stop();
  duckdb?.close();
});

const newTable = (): string => `columnar_${(tables += 1)}`;

function bodyOf(name: string): Buffer {
  const text = BODIES[name];
  if (text === undefined) throw new Error(`there is no body named ${name}`);
  return Buffer.from(text, 'base64');
}

async function typesOf(table: string): Promise<Record<string, string>> {
  const { schema } = await tableInfo(server, table);
  const columns = (Array.isArray(schema) ? schema : schema.columns) as { name: string; type: string }[];
  return Object.fromEntries(columns.slice(2).map(({ name, type }) => [name, type.replaceAll(' ', '')]));
}

/** The text of the rows as the answer has it: a number keeps its digits. */
async function textOf(table: string, columns: string): Promise<string> {
  const { text } = expectSuccess(await call(server, 'POST', '/v1/query', { sql: `SELECT ${columns} FROM ${table} ORDER BY id` }));
  return text.slice(text.indexOf('"rows":') + '"rows":'.length, text.indexOf(',"row_count"'));
}

async function expectNothingStored(table: string): Promise<void> {
  const answer = await call(server, 'GET', `/v1/tables/${table}`);
  if (answer.status !== 404) expect(await countOf(server, table)).toBe(0);
}

function expectRefused(answer: Answer, says: RegExp): void {
  expectThat({ status: answer.status, error: answer.json?.error }, answer.text.slice(0, 300)).toEqual({
    status: 400,
    error: 'INVALID_ARGUMENT',
  });
  expect(answer.json.message).toMatch(says);
  expect(answer.json.message).not.toMatch(/unreachable|Error:/);
}

const LONG = '12345678901234567890.12';
const INSTANT = '"2024-01-02T03:04:05.000000Z"';
const ALL_OF = (name: string): string[] => Object.keys(BODIES).filter((body) => body.replace(/^\w+ /, '') === name);

describe('is stored with every digit', () => {
  /** Name without the format, type of the column, and the values. */
  const STORED: readonly (readonly [string, string, readonly string[]])[] = [
    ['decimal256(38,2)', 'DECIMAL(38,2)', [LONG, '-1.25']],
    ['decimal32(5,2)', 'DECIMAL(5,2)', ['-1.25']],
    ['decimal64(15,2)', 'DECIMAL(15,2)', ['1.25']],
    ['decimal128(38,38)', 'DECIMAL(38,38)', ['0.5']],
    ['decimal(9,2) in INT32', 'DECIMAL(9,2)', ['1.25']],
    ['decimal(18,2) in INT64', 'DECIMAL(18,2)', ['1.25']],
    ['list of decimal(15,2)', 'JSON', ['[1234567890123.45,null]']],
    ['dictionary of decimal', 'DECIMAL(38,2)', [LONG, LONG]],
    ['timestamp[s]', 'TIMESTAMPTZ', [INSTANT]],
    ['timestamp[ms]', 'TIMESTAMPTZ', [INSTANT]],
    ['timestamp[us]', 'TIMESTAMPTZ', [INSTANT]],
    ['timestamp[s, Europe/Berlin]', 'TIMESTAMPTZ', ['"2024-01-01T00:00:00.000000Z"']],
    ['timestamp[ns, None] of whole microseconds', 'TIMESTAMPTZ', ['"2024-01-01T00:00:00.123456Z"', 'null']],
    ['timestamp[ns, UTC] of whole microseconds', 'TIMESTAMPTZ', ['"2024-01-01T00:00:00.123456Z"', 'null']],
    ['list of timestamp[us]', 'JSON', [`[${INSTANT}]`]],
    ['int96', 'TIMESTAMPTZ', ['"2024-01-01T00:00:00.123456Z"', 'null', '"1969-12-31T23:59:59.999999Z"']],
    ['int96 beyond nanoseconds of 64 bits', 'TIMESTAMPTZ', ['"1600-01-02T03:04:05.000000Z"']],
    ['date32', 'DATE', ['"2024-01-02"']],
    ['date64', 'DATE', ['"2024-01-02"', 'null', '"1969-12-31"']],
    ['float16', 'DOUBLE', ['1.5', 'null']],
    ['list of float16', 'JSON', ['[1.5]']],
    ['uint64', 'BIGINT', ['9223372036854775807']],
    ['list of uint64', 'JSON', ['[18446744073709551615]']],
    ['large_string', 'VARCHAR', ['"ab"', 'null']],
    ['string_view', 'VARCHAR', ['"ab"', '"long enough not to stand within the view"', 'null']],
    ['list of string_view', 'JSON', ['["ab"]']],
    ['large_list', 'JSON', ['[1]', 'null', '[]']],
    ['fixed_size_list', 'JSON', ['[1,2]', 'null', '[3,null]']],
    ['list_view', 'JSON', ['[4,5]', '[1,2]', '[]']],
    ['large_list_view', 'JSON', ['[4,5]', '[1,2]']],
    ['run_end_encoded', 'VARCHAR', ['"a"', 'null', 'null', 'null']],
    ['dictionary by int8', 'VARCHAR', ['"b"', '"a"', 'null']],
    ['dictionary by uint32', 'VARCHAR', ['"b"', '"a"', 'null']],
    ['dictionary by uint64', 'VARCHAR', ['"b"', '"a"', 'null']],
    ['list of dictionary', 'JSON', ['["a","b"]']],
    ['map from int', 'JSON', ['{"1":2}']],
    ['list of null', 'JSON', ['[null]']],
  ];

  const cases = STORED.flatMap(([name, type, values]) =>
    ALL_OF(name).map((body): [string, string, readonly string[]] => [body, type, values]),
  );
  test.each(cases)('%s', async (name, type, values) => {
    const table = newTable();
    const answer = expectSuccess(await sendBulk(server, table, name.split(' ')[0] as Format, bodyOf(name)));
    expect(await typesOf(table)).toEqual({ x: type });
    expect(answer.json.count).toBe(values.length);
    expect(await textOf(table, 'x')).toBe(`[${values.map((value) => `{"x":${value}}`).join(',')}]`);
  });

  test('parquet uuid, json; arrow json; a frame of Polars', async () => {
    const stored = async (name: string, columns = 'x'): Promise<string> => {
      const table = newTable();
      expectSuccess(await sendBulk(server, table, name.split(' ')[0] as Format, bodyOf(name)));
      return `${Object.values(await typesOf(table)).join(' ')} ${await textOf(table, columns)}`;
    };
    expect(await stored('parquet uuid')).toBe('VARCHAR [{"x":"30313233-3435-3637-3839-616263646566"}]');
    expect(await stored('parquet json')).toBe('JSON [{"x":{"k":[1]}}]');
    expect(await stored('arrow json')).toBe('JSON [{"x":{"k":[1]}},{"x":null}]');
    expect(await stored('parquet Polars categorical')).toBe('VARCHAR [{"x":"u"},{"x":"v"}]');
    expect(await stored('arrow Polars frame', 'x, y')).toBe(`TIMESTAMPTZ JSON [{"x":${INSTANT},"y":[1.5]}]`);
  });

  test.each(['parquet', 'arrow'] as const)('a column without values: %s', async (format) => {
    const table = newTable();
    expectSuccess(await sendBulk(server, table, format, bodyOf(`${format} nulls of every kind`)));
    expect(await typesOf(table)).toEqual({ a: 'BIGINT', b: 'VARCHAR', c: 'DATE', d: 'DECIMAL(10,2)', e: 'JSON' });
    expect(await textOf(table, 'a, b, c, d, e')).toBe('[{"a":null,"b":null,"c":null,"d":null,"e":null}]');
    // Of no type at all: any value may come later.
    const untyped = newTable();
    expectSuccess(await sendBulk(server, untyped, format, bodyOf(`${format} null`)));
    expect(await typesOf(untyped)).toEqual({});
    // The type that is there stays, and no value is no misfit.
    const declared = newTable();
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: declared, schema: [{ name: 'a', type: 'VARCHAR' }] }));
    expectSuccess(await sendBulk(server, declared, format, bodyOf(`${format} nulls of every kind`)));
    expect((await typesOf(declared))['a']).toBe('VARCHAR');
  });

  test('a column without values in a large body', async () => {
    const table = newTable();
    const select = `SELECT 'r-' || i AS id, NULL::DECIMAL(20,3) AS never, md5(i::VARCHAR) || md5(i::VARCHAR) || i AS pad FROM range(${LARGE_ROWS}) t(i)`;
    const body = await duckdb.copy(select, 'FORMAT parquet, COMPRESSION uncompressed');
    expect(body.length).toBeGreaterThan(2 * 1_024 * 1_024);
    expectSuccess(await sendBulk(server, table, 'parquet', body));
    expect(await typesOf(table)).toEqual({ never: 'DECIMAL(20,3)', pad: 'VARCHAR' });
    expect(await rowsOf(server, `SELECT count(*) AS n, count(never) AS some FROM ${table}`)).toEqual([{ n: LARGE_ROWS, some: 0 }]);
  });

  test('instants in seconds and in nanoseconds of UTC in a large Arrow body', async () => {
    const rows = 30_000;
    const instants = BigInt64Array.from({ length: rows }, (_, index) => 1_704_067_200n + BigInt(index));
    const text = arrow.vectorFromArray(
      Array.from({ length: rows }, (_, index) => `${index} ${'x'.repeat(90)}`),
      new arrow.Utf8(),
    );
    const columns = {
      id: arrow.vectorFromArray(
        Array.from({ length: rows }, (_, index) => `r-${index}`),
        new arrow.Utf8(),
      ),
      s: arrow.makeVector(arrow.makeData({ type: new arrow.TimestampSecond(), data: instants, length: rows })),
      ns: arrow.makeVector(
        arrow.makeData({ type: new arrow.TimestampNanosecond('UTC'), data: instants.map((at) => at * 1_000_000_000n), length: rows }),
      ),
      text,
    };
    const table = newTable();
    expectSuccess(await sendBulk(server, table, 'arrow', Buffer.from(arrow.tableToIPC(new arrow.Table(columns), 'stream'))));
    const seconds = `epoch(s) - epoch(TIMESTAMPTZ '2024-01-01 00:00:00+00')`;
    expect(
      await rowsOf(
        server,
        `SELECT count(*) AS n, count(*) FILTER (WHERE s = ns AND id = 'r-' || (${seconds})::BIGINT) AS exact FROM ${table}`,
      ),
    ).toEqual([{ n: rows, exact: rows }]);
  });
});

describe('is refused by name', () => {
  /** Name without the format, and what the message says beside the column. */
  const REFUSED: readonly (readonly [string, RegExp])[] = [
    ['decimal256(50,2)', /^column x is .*\(50,2\).*cast it to DECIMAL\(38,s\), or to text/],
    ['decimal128(5,-2)', /^column x is .*\(5,-2\).*scale/],
    ['list of decimal(38,2)', /^column x has .*\(38,2\) inside \(x\.\w+\).*cast it to DECIMAL\(15,s\), or to text/],
    ['struct of decimal(50,2)', /^column x has .*\(50,2\) inside \(x\.d\)/],
    ['map to decimal(50,2)', /^column x has .*\(50,2\) inside \(x\.value\)/],
    ['dictionary of decimal(50,2)', /^column x is .*\(50,2\)/],
    ['list of timestamp[ns, None]', /^column x has .*inside.*microseconds/],
    ['list of timestamp[ns, UTC]', /^column x has .*inside.*microseconds/],
    ['list of timestamp[s]', /^column x has .*inside.*microseconds/],
    ['list of int96', /^column x has Parquet INT96 inside.*microseconds/],
    ['date64 with a time of day', /row 2: the value of column x is a date with a time of day/],
    ['list of date64', /^column x has .*inside.*days/],
    ['time32[s]', /^column x is/],
    ['time32[ms]', /^column x is/],
    ['time64[us]', /^column x is/],
    ['time64[ns]', /^column x is/],
    ['struct of time64', /^column x has .*\(x\.t\)/],
    ['duration', /^column x is Arrow Duration/],
    ['month_day_nano_interval', /^column x is Arrow Interval/],
    ['uint64 over 63 bits', /column x\b.*64 bits/],
    ['binary', /^column x is .*binary data/],
    ['large_binary', /^column x is .*binary data/],
    ['binary_view', /^column x is .*binary data/],
    ['fixed_size_binary[2]', /^column x is .*binary data/],
    ['list of binary', /^column x has .*binary data/],
    ['struct of binary', /^column x has .*\(x\.b\).*binary data/],
    ['map from binary', /^column x is .*keys/],
    ['map to binary', /^column x has .*binary data/],
    ['dictionary of binary', /^column x is .*binary data/],
    ['map with a key twice', /row 2: the value of column x has a map with the same key twice/],
    ['list of maps with a key twice', /row 1: the value of column x has a map with the same key twice/],
    ['map from double', /^column x is .*keys/],
    ['run_end_encoded of string_view', /^column x is Arrow RunEndEncoded\(Utf8View\).*plain text/],
    ['dictionary of string_view', /^column x is Arrow Dictionary\(Utf8View\).*plain text/],
    ['struct of dictionary of string_view', /^column x has Arrow Dictionary\(Utf8View\) inside \(x\.c\)/],
    ['sparse_union', /^column x is Arrow Union/],
    ['dense_union', /^column x is Arrow Union/],
    ['bool8', /^column x is Arrow Int8 arrow\.bool8.*extension/],
    ['opaque', /^column x is Arrow Utf8 arrow\.opaque.*extension/],
    ['names that differ in case', /column X is there twice.*x, X/],
    ['a name twice', /column x is there twice/],
    ['no name', /column 2 has an empty name/],
    ['fields that differ in case', /column x: field A is there twice.*a, A/],
    ['a field twice', /column x: field a is there twice/],
    ['a field without a name', /column x: field 1 has an empty name/],
    ['list of structs with a field twice', /column x: field a is there twice/],
    ['struct without fields', /^column x is Arrow Struct/],
  ];
  const cases = REFUSED.flatMap(([name, says]) => ALL_OF(name).map((body): [string, RegExp] => [body, says]));

  test.each([
    ...cases,
    ['arrow Polars categorical', /^column x is Arrow Dictionary\(Utf8View\)/] as const,
    ['arrow uuid', /^column x is .*arrow\.uuid/] as const,
  ])('%s', async (name, says) => {
    const table = newTable();
    const answer = await sendBulk(server, table, name.split(' ')[0] as Format, bodyOf(name));
    expectRefused(answer, says);
    await expectNothingStored(table);
  });
});

describe('a body in pieces', () => {
  const batchesOf = (ids: readonly string[], words: readonly string[]): Buffer => {
    const columns = {
      id: arrow.vectorFromArray(ids, new arrow.Utf8()),
      word: arrow.vectorFromArray(words, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32())),
    };
    return Buffer.from(arrow.tableToIPC(new arrow.Table(columns), 'stream'));
  };
  const EMPTY = Buffer.from(
    arrow.tableToIPC(
      new arrow.Table(
        new arrow.Schema([
          new arrow.Field('id', new arrow.Utf8(), true),
          new arrow.Field('word', new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()), true),
        ]),
      ),
      'stream',
    ),
  );
  const [first, second] = [batchesOf(['a', 'b'], ['x', 'y']), batchesOf(['c', 'd'], ['z', 'x'])];

  test.each([
    ['two streams', [first, second], 'ab/xy cd/zx'],
    ['an empty one in front', [EMPTY, first, second], 'ab/xy cd/zx'],
    ['an empty one between and behind', [first, EMPTY, second, EMPTY], 'ab/xy cd/zx'],
    ['only empty ones', [EMPTY, EMPTY], ''],
  ])('Arrow: %s', async (_what, streams, expected) => {
    const table = newTable();
    const answer = expectSuccess(await sendBulk(server, table, 'arrow', Buffer.concat(streams)));
    const count = expected.replaceAll(/\/\w+|\s/g, '').length;
    expect(answer.json.count).toBe(count);
    if (count === 0) return;
    expect(
      await rowsOf(server, `SELECT string_agg(id, '' ORDER BY id) AS ids, string_agg(word, '' ORDER BY id) AS words FROM ${table}`),
    ).toEqual([{ ids: 'abcd', words: 'xyzx' }]);
  });

  test('Arrow: streams of large batches, whose pieces are shared', async () => {
    const rows = 20_000;
    const stream = (name: string): Buffer => {
      const ids = Array.from({ length: rows }, (_, index) => `${name}-${index}`);
      return batchesOf(
        ids,
        ids.map((id) => id + 'x'.repeat(200)),
      );
    };
    const body = Buffer.concat(['p', 'q', 'r', 's', 't'].map(stream));
    expect(body.length).toBeGreaterThan(20 * 1_024 * 1_024);
    const table = newTable();
    expect(expectSuccess(await sendBulk(server, table, 'arrow', body)).json.count).toBe(5 * rows);
    expect(
      await rowsOf(server, `SELECT count(DISTINCT id) AS n, count(*) FILTER (WHERE starts_with(word, id)) AS own FROM ${table}`),
    ).toEqual([{ n: 5 * rows, own: 5 * rows }]);
  });

  test.each([
    [
      'another name',
      new arrow.Table({ id: arrow.vectorFromArray(['c'], new arrow.Utf8()), other: arrow.vectorFromArray(['z'], new arrow.Utf8()) }),
      /stream 2 .*other/,
    ],
    [
      'another type',
      new arrow.Table({ id: arrow.vectorFromArray(['c'], new arrow.Utf8()), word: arrow.vectorFromArray([1], new arrow.Int32()) }),
      /stream 2 .*column word/,
    ],
    ['fewer columns', new arrow.Table({ id: arrow.vectorFromArray(['c'], new arrow.Utf8()) }), /stream 2 .*column word/],
  ])('Arrow: a second stream with %s is refused by name', async (_what, other, says) => {
    const table = newTable();
    expectRefused(await sendBulk(server, table, 'arrow', Buffer.concat([first, Buffer.from(arrow.tableToIPC(other, 'stream'))])), says);
    await expectNothingStored(table);
  });

  const END = Buffer.from('ffffffff00000000', 'hex');
  test.each([
    ['a line break', Buffer.from('\n')],
    ['zeros', Buffer.alloc(64)],
    ['an end mark more', END],
    ['text and an end mark', Buffer.concat([Buffer.from('not a stream at all'), END])],
    ['a batch without its schema', first.subarray(first.indexOf(END.subarray(0, 4), 8))],
    ['half a stream', second.subarray(0, second.length >> 1)],
  ])('Arrow: a stream with %s behind it is refused', async (_what, behind) => {
    const table = newTable();
    const answer = await sendBulk(server, table, 'arrow', Buffer.concat([first, behind]));
    expectRefused(answer, /Arrow IPC stream/);
    await expectNothingStored(table);
  });

  test('Parquet: several files, bytes behind, bytes in front', async () => {
    const file = (rows: number, name: string): Promise<Buffer> =>
      duckdb.copy(`SELECT '${name}-' || i AS id, i AS n FROM range(${rows}) t(i)`, 'FORMAT parquet');
    const [one, same, long] = [await file(10, 'a'), await file(10, 'b'), await file(5_000, 'c')];
    const other = bodyOf('parquet date32');
    const bodies: Record<string, Buffer> = {
      'two of one form': Buffer.concat([one, same]),
      'three': Buffer.concat([one, same, one]),
      'a long one in front': Buffer.concat([long, one]),
      'a long one behind': Buffer.concat([one, long]),
      'of other columns': Buffer.concat([other, one]),
      'bytes behind': Buffer.concat([one, Buffer.from('\n')]),
      'bytes in front': Buffer.concat([Buffer.from('\n'), one]),
    }; // prettier-ignore
    for (const [what, body] of Object.entries(bodies)) {
      const table = newTable();
      const answer = await sendBulk(server, table, 'parquet', body);
      expectThat(answer.status, `${what}: ${answer.text}`).toBe(400);
      if (!what.startsWith('bytes')) expectThat(answer.json.message, what).toMatch(/several Parquet files/);
      await expectNothingStored(table);
    }
    // What looks like a seam is text.
    const table = newTable();
    const text = await duckdb.copy(
      `SELECT 'r-' || i AS id, 'PAR1PAR1' AS x FROM range(3) t(i)`,
      'FORMAT parquet, COMPRESSION uncompressed',
    );
    expectSuccess(await sendBulk(server, table, 'parquet', text));
    expect(await countOf(server, table)).toBe(3);
  });

  test.each(['parquet', 'arrow'] as const)('%s in chunks of any size', async (format) => {
    const random = new SeededRandom(20_261_130);
    const whole =
      format === 'arrow'
        ? Buffer.concat([EMPTY, first, second])
        : await duckdb.copy(`SELECT 'r-' || i AS id, i AS n FROM range(4) t(i)`, 'FORMAT parquet');
    for (let round = 0; round < 5; round += 1) {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < whole.length;) {
        const length = 1 + (round === 0 ? 0 : random.integer(0, 97));
        chunks.push(new Uint8Array(whole.subarray(at, at + length)));
        at += length;
      }
      const table = newTable();
      const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}`, {
        method: 'POST',
        headers: { 'content-type': MEDIA_TYPES[format] },
        body: ReadableStream.from(chunks),
        duplex: 'half',
      });
      expectThat(((await response.json()) as JsonRow)['count'], `round ${round}`).toBe(4);
      expect(await countOf(server, table)).toBe(4);
    }
  });
});
