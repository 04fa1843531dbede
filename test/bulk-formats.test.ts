/**
 * Bulk loads in every format: NDJSON, a JSON array, CSV, Parquet and Arrow, small (through the buffer) and large (straight into a data file), over
 * REST and the gRPC stream. The same rows must give the same table whatever carried them, and what does not fit must be refused by the same words.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import * as arrow from 'apache-arrow';
import { readdirSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import path from 'node:path';
import {
  type BulkFormat,
  type BulkOptions,
  FORMATS,
  MEDIA_TYPES,
  type Packing,
  packed,
  PlainDuckdb,
  sendBulk,
} from './support/bulk-bodies.js';
import { bulkMessages, BulkStreams } from './support/bulk-stream.js';
import { expectThat } from './support/expectations.js';
import type { GrpcAnswer, GrpcMessage } from './support/grpc-client.js';
import {
  countOf,
  createTable,
  eventually,
  expectError,
  expectStatus,
  expectSuccess,
  type JsonRow,
  rowsOf,
  tableInfo,
  valueOf,
} from './support/requests.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';
const MIB = 1_024 * 1_024;
const SMALL_BYTES_MAX = 2 * MIB;
/** Flushes happen when a test asks for one. */
const NO_FLUSH_BY_ITSELF = { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } };
const TYPED: readonly BulkFormat[] = ['parquet', 'arrow'];
const SIZES = ['small', 'large'] as const;
type Size = (typeof SIZES)[number];
const EVERY_FORMAT_AND_SIZE = FORMATS.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size]));

let server: RunningServer;
let duckdb: PlainDuckdb;
const others: RunningServer[] = [];
let tables = 0;

beforeAll(async () => {
  duckdb = await PlainDuckdb.open();
  server = await startServer({ config: NO_FLUSH_BY_ITSELF });
});

afterAll(async () => {
  await server?.stop();
  duckdb?.close();
});

afterEach(async () => {
  await Promise.all(others.splice(0).map((other) => other.kill()));
});

/** A server that the test may end. */
async function startOther(dataDir?: string): Promise<RunningServer> {
  const other = await startServer({ config: NO_FLUSH_BY_ITSELF, ...(dataDir === undefined ? {} : { dataDir }) });
  others.push(other);
  return other;
}

/** A name that no table has yet. */
function newName(what: string): string {
  return `${what.replaceAll(/\W/g, '_').slice(0, 40)}_${(tables += 1)}`;
}

async function declaredTable(what: string, schema: Readonly<Record<string, string>>, config: JsonRow = {}): Promise<string> {
  const table = newName(what);
  const columns = Object.entries(schema).map(([name, type]) => ({ name, type }));
  expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: table, schema: columns, config }));
  return table;
}

async function load(table: string, format: BulkFormat, body: Buffer | string, options: BulkOptions = {}): Promise<JsonRow> {
  return expectSuccess(await sendBulk(server, table, format, body, options)).json as JsonRow;
}

async function columnTypes(table: string): Promise<Record<string, string>> {
  const { schema } = await tableInfo(server, table);
  const columns = (Array.isArray(schema) ? schema : schema.columns) as { name: string; type: string }[];
  return Object.fromEntries(columns.map(({ name, type }) => [name, type.replaceAll(' ', '')]));
}

/** Every value as text, as `PlainDuckdb.texts` has it. */
async function textsOf(select: string): Promise<(string | null)[][]> {
  const rows = await rowsOf(server, `SELECT COLUMNS(*)::VARCHAR FROM (${select})`);
  return rows.map((row) => Object.values(row) as (string | null)[]);
}

/** Rows of the table, of which there may be none: a refused first body may leave no table. */
async function rowCount(table: string): Promise<number> {
  const answer = await call(server, 'GET', `/v1/tables/${table}`);
  return answer.status === 404 ? 0 : countOf(server, table);
}

function bulkFiles(of: RunningServer = server): string[] {
  return readdirSync(path.join(of.dataDir, 'wal', 'bulk'));
}

async function expectNothingLeft(of: RunningServer = server): Promise<void> {
  const scratch = path.join(of.dataDir, 'tmp');
  await eventually(
    'the scratch directory is empty',
    () => readdirSync(scratch),
    (names) => names.length === 0,
    5_000,
  );
}

/** Rows from 0 up to `count` of a SELECT over `i`; large ones bring text that makes any format's body large. */
function rowsSelect(columns: string, size: Size, count = 40): string {
  const rows = size === 'small' ? count : Math.max(count, 2_600);
  const pad = size === 'small' ? '' : `, array_to_string(list_transform(range(32), lambda k: md5((i * 32 + k)::VARCHAR)), '') AS pad`;
  return `SELECT ${columns}${pad} FROM range(${rows}) t(i)`;
}

/* ----------------------------------------------------------------------------------------------------------- the same table */

const IDS = `'r-' || lpad(i::VARCHAR, 6, '0') AS id, TIMESTAMPTZ '2024-01-01 00:00:00.000001+00' + to_microseconds(i * 1000003) AS "timestamp"`;

const DECLARED = {
  big: 'BIGINT',
  small: 'INTEGER',
  num: 'DOUBLE',
  exact: 'DECIMAL(18,4)',
  yes: 'BOOLEAN',
  word: 'VARCHAR',
  day: 'DATE',
  at: 'TIMESTAMPTZ',
  doc: 'JSON',
  digits: 'VARCHAR',
} as const;

const DECLARED_ROWS = `${IDS},
  CASE WHEN i % 11 <> 1 THEN (i - 20) * 123456789012 END::BIGINT AS big,
  CASE WHEN i % 11 <> 2 THEN i * 7 - 100 END::INTEGER AS small,
  CASE WHEN i % 11 <> 3 THEN i * 0.37 - 5.5 END::DOUBLE AS num,
  CASE WHEN i % 11 <> 4 THEN i * 12345.6789 - 77 END::DECIMAL(18, 4) AS exact,
  CASE WHEN i % 11 <> 5 THEN i % 3 = 0 END AS yes,
  CASE i % 9 WHEN 0 THEN '' WHEN 1 THEN 'comma, "quote"' WHEN 2 THEN 'line' || chr(10) || 'break' || chr(13) || chr(10) WHEN 3 THEN 'ünï 😀 日本'
    WHEN 4 THEN NULL WHEN 5 THEN '007' WHEN 6 THEN '  spaces ' WHEN 7 THEN chr(9) || 'tab\\back' ELSE 'NULL' END AS word,
  CASE WHEN i % 11 <> 6 THEN DATE '1969-12-01' + i::INTEGER END AS day,
  CASE WHEN i % 11 <> 7 THEN TIMESTAMPTZ '1969-12-31 23:59:59.999999+00' + to_microseconds(i * 86400000001) END AS "at",
  CASE WHEN i % 11 <> 8 THEN {'k': i::INTEGER, 'list': [i::INTEGER, NULL], 'text': 'ä" ,'} END AS doc,
  (i * 11)::VARCHAR AS digits`;

describe('the same rows give the same table', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('declared columns: %s, %s', async (format, size) => {
    const select = rowsSelect(DECLARED_ROWS, size);
    const table = await declaredTable(`declared_${format}`, DECLARED);
    const body = await duckdb.body(format, select);
    expectThat(body.length > SMALL_BYTES_MAX, `${body.length} bytes`).toBe(size === 'large');
    const filesBefore = bulkFiles().length;
    const answer = await load(table, format, body);
    const expected = await duckdb.texts(
      `SELECT * REPLACE (CASE WHEN doc IS NOT NULL THEN to_json(doc) END AS doc) FROM (${select}) ORDER BY id`,
    );
    expect(answer).toMatchObject({ success: true, count: expected.length, refused_count: 0, errors: [] });
    expect(bulkFiles().length - filesBefore).toBe(size === 'large' ? 1 : 0);
    const types = { id: 'VARCHAR', timestamp: 'TIMESTAMPTZ', ...DECLARED, ...(size === 'large' ? { pad: 'VARCHAR' } : {}) };
    expect(await columnTypes(table)).toEqual(types);
    expect(
      await textsOf(
        `SELECT ${Object.keys(types)
          .map((name) => `"${name}"`)
          .join(', ')} FROM ${table} ORDER BY id`,
      ),
    ).toEqual(expected);
  });

  const PLAIN_ROWS = `${IDS}, CASE WHEN i % 5 <> 1 THEN i * 3 - 7 END::BIGINT AS n, (i / 8 + 0.125)::DOUBLE AS half,
    CASE WHEN i % 5 <> 2 THEN i % 2 = 0 END AS yes, CASE WHEN i % 5 <> 3 THEN 'w' || i END AS word, NULL::BIGINT AS never, 'x' || i AS "größe"`;

  test.each(EVERY_FORMAT_AND_SIZE)('new columns: %s, %s', async (format, size) => {
    const select = rowsSelect(PLAIN_ROWS, size);
    const table = newName(`fresh_${format}`);
    await load(table, format, await duckdb.body(format, select));
    expect(await columnTypes(table)).toEqual({
      id: 'VARCHAR',
      timestamp: 'TIMESTAMPTZ',
      n: 'BIGINT',
      half: 'DOUBLE',
      yes: 'BOOLEAN',
      word: 'VARCHAR',
      // Without values only a format that has types says what the column is.
      ...(TYPED.includes(format) ? { never: 'BIGINT' } : {}),
      größe: 'VARCHAR',
      ...(size === 'large' ? { pad: 'VARCHAR' } : {}),
    });
    const columns = 'id, "timestamp", n, half, yes, word, "größe"';
    expect(await textsOf(`SELECT ${columns} FROM ${table} ORDER BY id`)).toEqual(
      await duckdb.texts(`SELECT ${columns} FROM (${select}) ORDER BY id`),
    );
  });

  test.each(EVERY_FORMAT_AND_SIZE)('the ends of 64 bits: %s, %s', async (format, size) => {
    const select = rowsSelect(`${IDS}, CASE i WHEN 0 THEN ${INT64_MAX} WHEN 1 THEN ${INT64_MIN} ELSE i END::BIGINT AS n`, size);
    const [fresh, existing] = [newName(`ends_${format}`), await declaredTable(`ends_declared_${format}`, { n: 'BIGINT' })];
    const body = await duckdb.body(format, select);
    for (const table of [existing, fresh]) {
      await load(table, format, body);
      expectThat((await columnTypes(table))['n'], table).toBe('BIGINT');
      expect(await textsOf(`SELECT n FROM ${table} ORDER BY id LIMIT 3`)).toEqual([[INT64_MAX], [INT64_MIN], ['2']]);
    }
  });

  const PACKINGS: readonly Packing[] = ['gzip', 'zstd'];
  test.each(FORMATS.flatMap((format) => PACKINGS.map((packing): [BulkFormat, Packing] => [format, packing])))(
    '%s packed with %s',
    async (format, packing) => {
      for (const size of SIZES) {
        const table = newName(`packed_${format}_${packing}`);
        const select = rowsSelect(PLAIN_ROWS, size);
        await load(table, format, await duckdb.body(format, select), { packing });
        expect(await textsOf(`SELECT count(*), count(DISTINCT id), sum(n), sum(half) FROM ${table}`)).toEqual(
          await duckdb.texts(`SELECT count(*), count(DISTINCT id), sum(n), sum(half) FROM (${select})`),
        );
      }
    },
  );

  test('zstd that really is compressed', async () => {
    const file = duckdb.file('csv.zst');
    const select = rowsSelect(`'z-' || i AS id, i AS n`, 'large', 30_000);
    const body = await duckdb.copy(select, `FORMAT csv, HEADER true, COMPRESSION zstd`);
    expectThat(body.subarray(0, 4).toString('hex'), file).toBe('28b52ffd');
    const table = newName('zstandard');
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES.csv, 'content-encoding': 'zstd' },
      body: new Uint8Array(body),
    });
    expect(await response.json()).toMatchObject({ success: true, count: 30_000 });
    expect(await valueOf(server, `SELECT sum(n) FROM ${table}`)).toBe((30_000 * 29_999) / 2);
  });
});

describe('every type of Parquet and Arrow', () => {
  /** Column, its value, and the type that the table gives it. */
  const COLUMNS: readonly (readonly [string, string, string])[] = [
    ['t8', '(i % 100 - 50)::TINYINT', 'BIGINT'],
    ['t16', '(i * 3 - 30000)::SMALLINT', 'BIGINT'],
    ['t32', '(i * 7 - 2000000000)::INTEGER', 'BIGINT'],
    ['t64', '(i - 9223372036854775807)::BIGINT', 'BIGINT'],
    ['u8', '(i % 255)::UTINYINT', 'BIGINT'],
    ['u16', '(60000 + i % 5000)::USMALLINT', 'BIGINT'],
    ['u32', '(4294960000 + i)::UINTEGER', 'BIGINT'],
    ['u64', '(9223372036854775807 - i)::UBIGINT', 'BIGINT'],
    ['f32', '(i / 7)::FLOAT', 'DOUBLE'],
    ['f64', '(i / 7)::DOUBLE', 'DOUBLE'],
    ['d4', '(i / 4)::DECIMAL(4, 0)', 'DECIMAL(4,0)'],
    ['d9', '(i * 1.01)::DECIMAL(9, 2)', 'DECIMAL(9,2)'],
    ['d18', '(i * 1.0001)::DECIMAL(18, 4)', 'DECIMAL(18,4)'],
    ['d38', `(1234567890123456789012345678::HUGEINT + i)::DECIMAL(38, 10) + 0.0123456789`, 'DECIMAL(38,10)'],
    ['yes', 'i % 2 = 0', 'BOOLEAN'],
    ['word', `'wörd ' || i`, 'VARCHAR'],
    ['kind', `(['red', 'green', 'ünï'])[i % 3 + 1]::ENUM('red', 'green', 'ünï')`, 'VARCHAR'],
    ['uid', `md5(i::VARCHAR)::UUID`, 'VARCHAR'],
    ['day', `DATE '1900-01-01' + (i * 10)::INTEGER`, 'DATE'],
    ['at', `TIMESTAMP '1950-01-01 00:00:00.000001' + to_microseconds(i * 7919000001)`, 'TIMESTAMPTZ'],
    ['at_s', `(TIMESTAMP '2024-01-01 00:00:00' + to_seconds(i))::TIMESTAMP_S`, 'TIMESTAMPTZ'],
    ['at_ms', `(TIMESTAMP '2024-01-01 00:00:00.001' + to_seconds(i))::TIMESTAMP_MS`, 'TIMESTAMPTZ'],
    ['at_ns', `(TIMESTAMP '2024-01-01 00:00:00.000001' + to_seconds(i))::TIMESTAMP_NS`, 'TIMESTAMPTZ'],
    ['at_tz', `TIMESTAMPTZ '2024-01-01 00:00:00.000001+02' + to_seconds(i)`, 'TIMESTAMPTZ'],
    ['list', `[i, NULL, 2]::INTEGER[]`, 'JSON'],
    ['empty_list', `[]::INTEGER[]`, 'JSON'],
    ['nested', `{'a': i::INTEGER, 'b': 'x"' || i, 'c': [i / 2]::DOUBLE[]}`, 'JSON'],
    ['mapped', `MAP {'k' || (i % 3): i::INTEGER, 'z': NULL}`, 'JSON'],
  ];
  const ODD_NAMES = ['größe', '日本', 'a-b', 'a.b', "it's", 'select', '$x', 'back\\slash', '[0]', '#', 'Ünï😀', '%', '*'];
  /** What the table holds of a value, as the plain engine casts it. */
  const expectedValue = ([name, , type]: readonly [string, string, string]): string =>
    type === 'JSON'
      ? `CASE WHEN "${name}" IS NOT NULL THEN to_json("${name}") END AS "${name}"`
      : type === 'TIMESTAMPTZ'
        ? `"${name}"::TIMESTAMP::TIMESTAMPTZ AS "${name}"`
        : `"${name}"::${type} AS "${name}"`;

  test.each(TYPED.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size])))('%s, %s', async (format, size) => {
    const columns = COLUMNS.map(([name, value], index) => `CASE WHEN i % 31 <> ${index} THEN ${value} END AS "${name}"`);
    const select = rowsSelect([IDS, ...columns, ...ODD_NAMES.map((name) => `'o' || i AS "${name}"`)].join(', '), size);
    const table = newName(`types_${format}`);
    await load(table, format, await duckdb.body(format, select));
    expect(await columnTypes(table)).toMatchObject({
      ...Object.fromEntries(COLUMNS.map(([name, , type]) => [name, type])),
      ...Object.fromEntries(ODD_NAMES.map((name) => [name, 'VARCHAR'])),
    });
    for (const column of COLUMNS) {
      expectThat(await textsOf(`SELECT id, "${column[0]}" FROM ${table} ORDER BY id`), column[0]).toEqual(
        await duckdb.texts(`SELECT id, ${expectedValue(column)} FROM (${select}) ORDER BY id`),
      );
    }
    const odd = ODD_NAMES.map((name) => `"${name}"`).join(', ');
    expect(await textsOf(`SELECT ${odd} FROM ${table} ORDER BY id`)).toEqual(
      await duckdb.texts(`SELECT ${odd} FROM (${select}) ORDER BY id`),
    );
  });

  test.each(SIZES)('Parquet, %s: JSON columns, an array of fixed length, ids and times of other types', async (size) => {
    const select = rowsSelect(
      `i AS id, (1704067200000 + i)::BIGINT AS "timestamp", json_object('k', i) AS doc, [i, i + 1]::INTEGER[2] AS pair`,
      size,
    );
    const table = newName('parquet_more');
    await load(table, 'parquet', await duckdb.body('parquet', select));
    expect(await columnTypes(table)).toMatchObject({ doc: 'JSON', pair: 'JSON' });
    expect(await rowsOf(server, `SELECT id, timestamp, doc, pair FROM ${table} WHERE id IN ('0', '7') ORDER BY id`)).toEqual([
      { id: '0', timestamp: '2024-01-01T00:00:00.000000Z', doc: { k: 0 }, pair: [0, 1] },
      { id: '7', timestamp: '2024-01-01T00:00:00.007000Z', doc: { k: 7 }, pair: [7, 8] },
    ]);
  });

  test.each(SIZES)('Parquet, %s: instants inside of lists and structs are written as they are outside', async (size) => {
    const table = newName('parquet_inside');
    const values = `[TIMESTAMPTZ '2024-01-01 00:00:00+00'] AS instants, {'local': TIMESTAMP '2024-01-01 00:00:00', 'f': 0.5::DOUBLE} AS times`;
    await load(table, 'parquet', await duckdb.body('parquet', rowsSelect(`i AS id, ${values}`, size)));
    const answer = await call(server, 'POST', '/v1/query', { sql: `SELECT instants, times FROM ${table} WHERE id = '1'` });
    expect(answer.text).toContain('{"instants":["2024-01-01T00:00:00.000000Z"],"times":{"local":"2024-01-01T00:00:00.000000Z","f":0.5}}');
  });

  test.each(SIZES)('Parquet, %s: the time as a TIMESTAMP, as a DATE, and missing in some rows', async (size) => {
    const table = newName('parquet_times');
    const body = (value: string): Promise<Buffer> => duckdb.body('parquet', rowsSelect(`'r-' || i AS id, ${value} AS "timestamp"`, size));
    await load(table, 'parquet', await body(`TIMESTAMP '2024-01-01 00:00:00.000007' + to_seconds(i)`));
    expect(await valueOf(server, `SELECT timestamp FROM ${table} WHERE id = 'r-1'`)).toBe('2024-01-01T00:00:01.000007Z');
    const partly = newName('parquet_times_partly');
    const beforeMs = Date.now();
    await load(partly, 'parquet', await body(`CASE WHEN i > 0 THEN TIMESTAMPTZ '2024-01-01 00:00:00+00' END`));
    expect(Date.parse((await valueOf(server, `SELECT timestamp FROM ${partly} WHERE id = 'r-0'`)) as string)).toBeGreaterThanOrEqual(
      beforeMs,
    );
    expect(await valueOf(server, `SELECT timestamp FROM ${partly} WHERE id = 'r-1'`)).toBe('2024-01-01T00:00:00.000000Z');
  });

  test('a DATE as the time is taken, or refused, alike in small and large bodies', async () => {
    const { small, large } = await bothSizes('parquet', `'r-' || i AS id, DATE '2024-01-02' AS "timestamp"`);
    expect([small.status, large.status]).toEqual([200, 200]);
  });

  test('a JSON null is no value, alike in small and large bodies', async () => {
    const { tables: names } = await bothSizes(
      'parquet',
      `'r-' || i AS id, 'null'::JSON AS doc, CASE WHEN i > 0 THEN 'null' ELSE '{"a":null}' END::JSON AS mixed`,
    );
    expect(Object.keys(await columnTypes(names.large)).sort()).toEqual([...Object.keys(await columnTypes(names.small)), 'pad'].sort());
    for (const table of Object.values(names)) expectThat(await valueOf(server, `SELECT count(mixed) FROM ${table}`), table).toBe(1);
  });

  test('Arrow: dictionaries that differ from batch to batch, empty batches, large and view strings, one batch and many', async () => {
    const dictionary = (words: (string | null)[]): arrow.Vector =>
      arrow.vectorFromArray(words, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()));
    const batch = (ids: string[], words: (string | null)[]): arrow.Table =>
      new arrow.Table({ id: arrow.vectorFromArray(ids, new arrow.Utf8()), word: dictionary(words) });
    const parts = [batch(['a', 'b'], ['x', 'y']), batch([], []), batch(['c', 'd', 'e'], ['z', null, 'x'])];
    const table = newName('dictionaries');
    await load(table, 'arrow', Buffer.from(arrow.tableToIPC(parts[0]!.concat(...parts.slice(1)), 'stream')));
    expect(await textsOf(`SELECT id, word FROM ${table} ORDER BY id`)).toEqual([
      ['a', 'x'],
      ['b', 'y'],
      ['c', 'z'],
      ['d', null],
      ['e', 'x'],
    ]);
    const large = new arrow.Table({
      id: arrow.vectorFromArray(['a', 'b'], new arrow.LargeUtf8()),
      word: arrow.vectorFromArray(['long', null], new arrow.LargeUtf8()),
    });
    const other = newName('large_strings');
    await load(other, 'arrow', Buffer.from(arrow.tableToIPC(large, 'stream')));
    expect(await textsOf(`SELECT id, word FROM ${other} ORDER BY id`)).toEqual([
      ['a', 'long'],
      ['b', null],
    ]);
    const many = newName('many_batches');
    await load(many, 'arrow', await duckdb.arrow(rowsSelect(`'r-' || i AS id, i AS n`, 'small', 300), 100));
    expect(await textsOf(`SELECT count(DISTINCT id), sum(n) FROM ${many}`)).toEqual([['300', '44850']]);
  });

  test('Arrow: dates in milliseconds and times in seconds are instants, or refused by name, never bare numbers', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const instant = Date.UTC(2024, 0, 1);
    const kinds: Record<string, arrow.Vector> = {
      date_ms: arrow.vectorFromArray([instant], new arrow.DateMillisecond()),
      at_s: arrow.makeVector(
        arrow.makeData({ type: new arrow.TimestampSecond(), data: BigInt64Array.of(BigInt(instant / 1_000)), length: 1 }),
      ),
    };
    const wrong: string[] = [];
    for (const [name, vector] of Object.entries(kinds)) {
      const table = newName(name);
      const answer = await sendBulk(
        server,
        table,
        'arrow',
        Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, v: vector }), 'stream')),
      );
      if (answer.status === 400 && new RegExp('\\bv\\b').test(answer.json.message as string)) continue;
      const stored = answer.status === 200 ? JSON.stringify(await rowsOf(server, `SELECT v FROM ${table}`)) : answer.text;
      if (!stored.includes('2024-01-01')) wrong.push(`${name}: ${stored}`);
      const timed = newName(`${name}_as_time`);
      const body = Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, timestamp: vector }), 'stream'));
      const second = await sendBulk(server, timed, 'arrow', body);
      if (second.status !== 200) continue;
      const time = (await valueOf(server, `SELECT timestamp FROM ${timed}`)) as string;
      if (!time.startsWith('2024-01-01T00:00:00')) wrong.push(`${name} as the time: ${time}`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
  });

  test('Arrow: durations and times of day are refused by name', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const kinds: Record<string, arrow.Vector> = {
      duration: arrow.makeVector(arrow.makeData({ type: new arrow.DurationMicrosecond(), data: BigInt64Array.of(5n), length: 1 })),
      time_us: arrow.makeVector(arrow.makeData({ type: new arrow.TimeMicrosecond(), data: BigInt64Array.of(5n), length: 1 })),
      time_s: arrow.makeVector(arrow.makeData({ type: new arrow.TimeSecond(), data: Int32Array.of(5), length: 1 })),
      binary: arrow.vectorFromArray([Uint8Array.of(1)], new arrow.Binary()),
    };
    const taken: string[] = [];
    for (const [name, vector] of Object.entries(kinds)) {
      const body = Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, odd: vector }), 'stream'));
      const answer = await sendBulk(server, newName(name), 'arrow', body);
      if (answer.status !== 400 || !/\bodd\b/.test(answer.json.message as string)) taken.push(`${name}: ${answer.status} ${answer.text}`);
    }
    expectThat(taken, JSON.stringify(taken)).toEqual([]);
  });

  test('two columns of one name, and two that differ in case only, are refused by name', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const [first, second] = [arrow.vectorFromArray([1], new arrow.Int32()), arrow.vectorFromArray([2], new arrow.Int32())];
    for (const names of [
      ['n', 'n'],
      ['n', 'N'],
    ]) {
      const schema = new arrow.Schema([
        new arrow.Field('id', new arrow.Utf8(), true),
        ...names.map((name) => new arrow.Field(name, new arrow.Int32(), true)),
      ]);
      const children = [ids, first, second].map((vector) => vector.data[0]!);
      const batch = new arrow.RecordBatch(schema, arrow.makeData({ type: new arrow.Struct(schema.fields), children, length: 1 }));
      const answer = await sendBulk(server, newName('twice'), 'arrow', Buffer.from(arrow.tableToIPC(new arrow.Table(batch), 'stream')));
      expectError(answer, 400, 'INVALID_ARGUMENT', /\bn\b/i);
    }
  });
});

describe('bodies without rows', () => {
  test.each([
    ['ndjson', ''],
    ['json', '[]'],
    ['json', ' [ \n ] '],
    ['csv', 'id,n\n'],
    ['csv', 'id,n'],
  ] as const)('%s %j', async (format, body) => {
    expect(await load(newName('no_rows'), format, body)).toMatchObject({ success: true, count: 0, refused_count: 0, errors: [] });
  });

  test.each(TYPED)('%s', async (format) => {
    const body = await duckdb.body(format, `SELECT ${IDS}, i AS n, {'a': i} AS doc FROM range(0) t(i)`);
    expect(await load(newName('no_rows'), format, body)).toMatchObject({ success: true, count: 0, refused_count: 0, errors: [] });
  });

  test('an Arrow stream with a schema and no batch', async () => {
    const schema = new arrow.Schema([new arrow.Field('id', new arrow.Utf8(), true), new arrow.Field('n', new arrow.Int32(), true)]);
    const body = Buffer.from(arrow.tableToIPC(new arrow.Table(schema), 'stream'));
    expect(await load(newName('no_rows'), 'arrow', body)).toMatchObject({ success: true, count: 0 });
  });

  test.each(TYPED)('nothing at all is no %s', async (format) => {
    expectError(await sendBulk(server, newName('nothing'), format, ''), 400, 'INVALID_ARGUMENT', /\S/);
  });

  test.each(['csv', 'json'] as const)('nothing at all as %s is no rows, or no %s', async (format) => {
    const answer = await sendBulk(server, newName('nothing'), format, '');
    if (answer.status === 200) expect(answer.json).toMatchObject({ count: 0 });
    else expectError(answer, 400, 'INVALID_ARGUMENT', /CSV|header|column|JSON/i);
  });
});

/* ------------------------------------------------------------------------------------------------------------------ refused */

/** The same first rows in a small and in a large body, each into a table of its own. */
async function bothSizes(
  format: BulkFormat,
  columns: string,
  schema: Readonly<Record<string, string>> = {},
  options: BulkOptions = {},
): Promise<Record<Size, Answer> & { readonly tables: Record<Size, string> }> {
  const names: Record<Size, string> = { small: '', large: '' };
  const answers: Partial<Record<Size, Answer>> = {};
  for (const size of SIZES) {
    const table = Object.keys(schema).length > 0 ? await declaredTable('refused', schema) : newName('refused');
    names[size] = table;
    const body = await duckdb.body(format, rowsSelect(columns, size));
    if (size === 'large') expect(body.length).toBeGreaterThan(SMALL_BYTES_MAX);
    answers[size] = await sendBulk(server, table, format, body, options);
  }
  return { small: answers.small!, large: answers.large!, tables: names };
}

/** What must be the same in two answers: all but the name of the table and the request. */
function outcome(answer: Answer): unknown {
  const { error, message, details } = (answer.json ?? {}) as JsonRow;
  const withoutTable = typeof message === 'string' ? message.replaceAll(/refused_\d+/g, 'T') : message;
  return { status: answer.status, error, message: withoutTable, details };
}

describe('values that no column holds', () => {
  test('Parquet: BLOB, TIME and INTERVAL are refused by name', async () => {
    for (const kind of [`'ab'::BLOB`, `TIME '10:00:00'`, `INTERVAL 3 DAY`, `TIMETZ '10:00:00+01'`]) {
      const { small, large, tables: names } = await bothSizes('parquet', `'r-' || i AS id, ${kind} AS odd_one`);
      for (const answer of [small, large]) {
        expectError(answer, 400, 'INVALID_ARGUMENT', /column odd_one\b/);
        expect(answer.json.details[0]).toMatchObject({ field: 'odd_one' });
      }
      expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
    }
  });

  /** What is wrong in row 6 (i = 5), its column, and columns that the table has already. */
  const BAD: readonly (readonly [string, string, string, Readonly<Record<string, string>>])[] = [
    ['NaN', `CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE i / 2 END AS v`, 'v', {}],
    ['NaN into DOUBLE', `CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE i / 2 END AS v`, 'v', { v: 'DOUBLE' }],
    ['infinity', `CASE WHEN i = 5 THEN '-infinity'::DOUBLE ELSE i / 2 END AS v`, 'v', {}],
    ['an infinite FLOAT', `CASE WHEN i = 5 THEN 'infinity'::FLOAT ELSE i / 2 END::FLOAT AS v`, 'v', {}],
    ['NaN in a list', `CASE WHEN i = 5 THEN ['nan'::DOUBLE] ELSE [0.5] END AS v`, 'v', {}],
    ['NaN in a struct', `{'a': CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE 0.5 END} AS v`, 'v', {}],
    ['UBIGINT beyond 64 bits', `CASE WHEN i = 5 THEN 9223372036854775808 ELSE i END::UBIGINT AS v`, 'v', {}],
    [
      'a DECIMAL beyond 64 bits into BIGINT',
      `CASE WHEN i = 5 THEN 9223372036854775808 ELSE i END::DECIMAL(38,0) AS v`,
      'v',
      { v: 'BIGINT' },
    ],
    ['2^53 + 1 into DOUBLE', `CASE WHEN i = 5 THEN 9007199254740993 ELSE i END::BIGINT AS v`, 'v', { v: 'DOUBLE' }],
    ['2^31 into INTEGER', `CASE WHEN i = 5 THEN 2147483648 ELSE i END::BIGINT AS v`, 'v', { v: 'INTEGER' }],
    ['a long DECIMAL into DOUBLE', `CASE WHEN i = 5 THEN 1234567890123456789 ELSE i END::DECIMAL(38,0) AS v`, 'v', { v: 'DOUBLE' }],
    ['digits after the point', `CASE WHEN i = 5 THEN 1.2345 ELSE i END::DECIMAL(12,4) AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['digits before the point', `CASE WHEN i = 5 THEN 123456789 ELSE i END::DECIMAL(12,2) AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['an integer for a DECIMAL', `CASE WHEN i = 5 THEN 123456789 ELSE i END::BIGINT AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['nanoseconds', `CASE WHEN i = 5 THEN '2024-01-01 00:00:00.123456789' ELSE '2024-01-01' END::TIMESTAMP_NS AS v`, 'v', {}],
    [
      'nanoseconds into TIMESTAMPTZ',
      `CASE WHEN i = 5 THEN '2024-01-01 00:00:00.1234567' ELSE '2024-01-01' END::TIMESTAMP_NS AS v`,
      'v',
      { v: 'TIMESTAMPTZ' },
    ],
    [
      'nanoseconds as the time',
      `CASE WHEN i = 5 THEN '2024-01-01 00:00:00.123456789' ELSE '2024-01-01' END::TIMESTAMP_NS AS "timestamp"`,
      'timestamp',
      {},
    ],
    ['an infinite TIMESTAMP', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['an infinite time', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::TIMESTAMP AS "timestamp"`, 'timestamp', {}],
    ['the year 12000', `CASE WHEN i = 5 THEN '12000-01-01' ELSE '2024-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['the year 12000 as the time', `CASE WHEN i = 5 THEN '12000-01-01' ELSE '2024-01-01' END::TIMESTAMP AS "timestamp"`, 'timestamp', {}],
    [
      'the year 10000 with a zone',
      `CASE WHEN i = 5 THEN '10000-01-01 00:00:00+00' ELSE '9999-12-31 23:59:59.999999+00' END::TIMESTAMPTZ AS v`,
      'v',
      {},
    ],
    ['the year before 1', `CASE WHEN i = 5 THEN '0001-12-31 (BC)' ELSE '0001-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['the day after 9999', `CASE WHEN i = 5 THEN '10000-01-01' ELSE '9999-12-31' END::DATE AS v`, 'v', {}],
    ['an infinite DATE', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::DATE AS v`, 'v', {}],
    ['text for a number', `CASE WHEN i = 5 THEN 'five' END AS v`, 'v', { v: 'BIGINT' }],
    ['a number for text', `CASE WHEN i = 5 THEN 5 END AS v`, 'v', { v: 'VARCHAR' }],
    ['a boolean for a number', `CASE WHEN i = 5 THEN true END AS v`, 'v', { v: 'DOUBLE' }],
    ['a date for an instant', `CASE WHEN i = 5 THEN DATE '2024-01-01' END AS v`, 'v', { v: 'TIMESTAMPTZ' }],
    ['a bad id', `CASE WHEN i = 5 THEN 'a b' ELSE 'r' || i END AS id`, 'id', {}],
    ['no id', `CASE WHEN i = 5 THEN NULL ELSE 'r' || i END AS id`, 'id', {}],
    ['a fraction as an id', `(i + 0.5)::DOUBLE AS id`, 'id', {}],
  ];

  /** Arrow takes the way of Parquet, after a conversion that each request waits for: these stand for all. */
  const IN_ARROW = /^(NaN|infinity|UBIGINT|2\^53|digits after|nanoseconds|the year|text for|a bad id)/;
  const cases = TYPED.flatMap((format) =>
    BAD.filter(([what]) => format === 'parquet' || IN_ARROW.test(what)).map((each): [string, BulkFormat, ...typeof each] => [
      `${format}: ${each[0]}`,
      format,
      ...each,
    ]),
  );
  test.each(cases)('%s', async (_name, format, what, column, field, schema) => {
    const id = field === 'id' ? column : `'r-' || i AS id, ${column}`;
    const { small, large, tables: names } = await bothSizes(format, id, schema);
    const row = what === 'a fraction as an id' ? 1 : 6;
    for (const answer of [small, large]) {
      expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`(line|row) ${row}\\b`));
      const named = { line: row, reason: expect.stringMatching(/\S/) };
      // The row is no JSON then, and nothing in it has a name.
      const isNested = what.startsWith('NaN in a ');
      if (!isNested) expect(answer.json.message).toMatch(new RegExp(`\\b${field}\\b`));
      expect(answer.json.details[0]).toMatchObject(isNested ? named : { ...named, field });
    }
    // What is shown of a broken line has its other columns in it.
    if (!what.startsWith('NaN in a ')) expect(outcome(large)).toEqual(outcome(small));
    expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
  });

  /** A cell that does not fit, the cells around it that do, their column, and the columns that the table has already. */
  const BAD_TEXT: readonly (readonly [string, string, string, Readonly<Record<string, string>>])[] = [
    ['9223372036854775808', '7', 'v', { v: 'BIGINT' }],
    ['9007199254740993', '0.5', 'v', { v: 'DOUBLE' }],
    ['1e999', '1.5', 'v', { v: 'DOUBLE' }],
    ['NaN', '1.5', 'v', { v: 'DOUBLE' }],
    ['five', '5', 'v', { v: 'BIGINT' }],
    ['2147483648', '5', 'v', { v: 'INTEGER' }],
    ['123.456', '1.25', 'v', { v: 'DECIMAL(10,2)' }],
    ['x', '12345678.25', 'v', { v: 'DECIMAL(10,2)' }],
    ['yes', 'true', 'v', { v: 'BOOLEAN' }],
    ['2024-02-30', '2024-02-29', 'v', { v: 'DATE' }],
    ['2024-01-01T00:00:00', '2024-01-01T00:00:00Z', 'v', { v: 'TIMESTAMPTZ' }],
    ['soon', '1704067200000', 'timestamp', {}],
    ['a b', 'ab', 'id', {}],
  ];

  test.each(BAD_TEXT)('csv: %s among %s in %s of %j', async (text, good, field, schema) => {
    const value = `CASE WHEN i = 5 THEN '${text}' ELSE '${good}' END`;
    const columns = field === 'id' ? `${value} AS id, i AS n` : `'r-' || i AS id, i AS n, ${value} AS "${field}"`;
    const { small, large, tables: names } = await bothSizes('csv', columns, schema);
    for (const answer of [small, large]) {
      expectError(answer, 400, 'INVALID_ARGUMENT', /line 7\b/);
      expect(answer.json.details[0]).toMatchObject({ line: 7, field });
    }
    expect(outcome(large)).toEqual(outcome(small));
    expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
    const skipped = await bothSizes('csv', columns, schema, { query: '&on_error=skip' });
    expect([skipped.small.json, skipped.large.json]).toEqual([
      expect.objectContaining({ count: 39, refused_count: 1, errors: [expect.objectContaining({ line: 7, field })] }),
      expect.objectContaining({ count: 2_599, refused_count: 1, errors: [expect.objectContaining({ line: 7, field })] }),
    ]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('a column name that no table has: %s, %s', async (format, size) => {
    for (const name of ['a b', '_lsn', 'x;y', 'Timestamp']) {
      const answer = await sendBulk(
        server,
        newName('names'),
        format,
        await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS "${name}"`, size)),
      );
      expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(name, 'i'));
    }
  });
});

/* --------------------------------------------------------------------------------------------------------------- on_error */

describe('on_error', () => {
  /** Rows 3, 6 and 9 (i = 2, 5, 8) are bad, each in its own way. */
  const columns = `CASE WHEN i = 2 THEN 'b d' ELSE 'r-' || i END AS id, CASE WHEN i = 5 THEN 'soon' ELSE '2024-01-01T00:00:00Z' END AS "timestamp",
    CASE WHEN i = 8 THEN 'eight' ELSE NULL END AS v`;

  test.each(EVERY_FORMAT_AND_SIZE)('skip: %s, %s', async (format, size) => {
    const table = await declaredTable('skip', { v: 'BIGINT' });
    const body = await duckdb.body(format, rowsSelect(columns, size));
    const answer = await load(table, format, body, { query: '&on_error=skip' });
    const rows = size === 'small' ? 40 : 2_600;
    expect(answer).toMatchObject({ success: true, count: rows - 3, refused_count: 3 });
    const offset = format === 'csv' ? 1 : 0;
    expect((answer['errors'] as JsonRow[]).map(({ line, field }) => [line, field] as unknown)).toEqual([
      [3 + offset, 'id'],
      [6 + offset, 'timestamp'],
      [9 + offset, 'v'],
    ]);
    for (const { reason } of answer['errors'] as JsonRow[]) expect(reason).toMatch(/\S/);
    expect(await countOf(server, table)).toBe(rows - 3);
    expect(await rowsOf(server, `SELECT id FROM ${table} WHERE id IN ('b d', 'r-5', 'r-8', 'r-9')`)).toEqual([{ id: 'r-9' }]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('abort: %s, %s', async (format, size) => {
    const table = await declaredTable('abort', { v: 'BIGINT' });
    const answer = await sendBulk(server, table, format, await duckdb.body(format, rowsSelect(columns, size)));
    const line = format === 'csv' ? 4 : 3;
    expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`line ${line}\\b.*\\bid\\b`));
    expect(answer.json.details).toEqual([expect.objectContaining({ line, field: 'id' })]);
    expect(await countOf(server, table)).toBe(0);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('every row refused: %s, %s', async (format, size) => {
    const table = newName('all_refused');
    const select = rowsSelect(`'b d' || i AS id, i AS n`, size, 150);
    const answer = await load(table, format, await duckdb.body(format, select), { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 0, refused_count: size === 'small' ? 150 : 2_600 });
    expect(answer['errors']).toHaveLength(100);
    expect(await rowCount(table)).toBe(0);
  });

  test.each(SIZES)('CSV lines that cannot be cut into cells, %s', async (size) => {
    const pad = size === 'small' ? '' : 'p'.repeat(900);
    const filler = Array.from({ length: size === 'small' ? 3 : 3_000 }, (_, index) => `g-${index},1,${pad}`);
    const body = `${['id,n,pad', 'a,1,', 'b', 'c,3,x,y', 'd,4,', ...filler, 'e,5'].join('\n')}\n`;
    const table = newName('broken');
    const answer = await load(table, 'csv', body, { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: filler.length + 2, refused_count: 3 });
    expect((answer['errors'] as JsonRow[]).map(({ line }) => line as number)).toEqual([3, 4, filler.length + 6]);
    for (const { reason } of answer['errors'] as JsonRow[]) expect(reason).toMatch(/column|cell/i);
    expect(await rowsOf(server, `SELECT id, n FROM ${table} WHERE id NOT LIKE 'g-%' ORDER BY id`)).toEqual([
      { id: 'a', n: 1 },
      { id: 'd', n: 4 },
    ]);
    const aborted = newName('broken_abort');
    expectError(await sendBulk(server, aborted, 'csv', body), 400, 'INVALID_ARGUMENT', /line:? 3\b/i);
    expect(await rowCount(aborted)).toBe(0);
  });

  test('CSV with an open quote: the line is named, what stands before it is stored under skip', async () => {
    const body = 'id,n\na,1\nb,2\nc,"three\nd,4\n';
    expectError(await sendBulk(server, newName('open_quote'), 'csv', body), 400, 'INVALID_ARGUMENT', /quote|line:? 4/i);
    const table = newName('open_quote');
    const answer = await sendBulk(server, table, 'csv', body, { query: '&on_error=skip' });
    expectThat(answer.status, answer.text).toBe(200);
    expect(answer.json.count).toBe(2);
    expect((answer.json.errors as JsonRow[]).map(({ line }) => line as number)).toContain(4);
  });

  test('CSV: lines of the file after lines that are no rows', async () => {
    const table = await declaredTable('line_numbers', { n: 'BIGINT' });
    const body = ['id,n,s', 'a,1,one', 'b,x,bad at line 3', 'broken', 'c,2,two', 'd,y,bad at line 6'].join('\n');
    const answer = await load(table, 'csv', body, { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 2, refused_count: 3 });
    expect((answer['errors'] as JsonRow[]).map(({ line, field }) => [line, field] as unknown)).toEqual([
      [3, 'n'],
      [4, undefined],
      [6, 'n'],
    ]);
  });

  test('JSON: an element that is no object, and lines that are no JSON', async () => {
    const table = newName('elements');
    const answer = await load(table, 'json', '[{"id":"a","n":1},\n 7, null, [1],\n "x", {"id":"b",\n"n":2}]', { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 2, refused_count: 4 });
    expect((answer['errors'] as JsonRow[]).map(({ line }) => line as number)).toEqual([2, 3, 4, 5]);
    for (const body of [
      '{"id":"a"}',
      '[{"id":"a"}',
      '[{"id":"a"},]',
      '[{"id":"a"}] x',
      '[{"id":"a"}][{"id":"b"}]',
      '7',
      'null',
      '{"id":"a"}\n{"id":"b"}',
    ])
      expectError(await sendBulk(server, newName('no_array'), 'json', body), 400, 'INVALID_ARGUMENT', /JSON|array/i);
  });
});

/* -------------------------------------------------------------------------------------------------------- existing columns */

describe('columns that are there already', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('BIGINT becomes DOUBLE by a fraction: %s, %s', async (format, size) => {
    const table = newName('widened');
    await load(table, 'ndjson', '{"id":"old","n":3}\n');
    await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || lpad(i::VARCHAR, 4, '0') AS id, (i / 2)::DOUBLE AS n`, size)));
    expect((await columnTypes(table))['n']).toBe('DOUBLE');
    expect(await textsOf(`SELECT id, n FROM ${table} WHERE id < 'r-0002' ORDER BY id`)).toEqual([
      ['old', '3.0'],
      ['r-0000', '0.0'],
      ['r-0001', '0.5'],
    ]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('DOUBLE with whole values goes into BIGINT: %s, %s', async (format, size) => {
    const table = await declaredTable('whole', { n: 'BIGINT' });
    await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || i AS id, i::DOUBLE AS n`, size)));
    expect((await columnTypes(table))['n']).toBe('BIGINT');
    expect(await valueOf(server, `SELECT n FROM ${table} WHERE id = 'r-39'`)).toBe(39);
  });

  test.each(SIZES)('a DECIMAL goes into a wider one, and into DOUBLE, %s', async (size) => {
    const table = await declaredTable('decimals', { wide: 'DECIMAL(38,10)', num: 'DOUBLE' });
    const select = rowsSelect(
      `'r-' || lpad(i::VARCHAR, 4, '0') AS id, (i * 1.25)::DECIMAL(9,2) AS wide, (i * 1.25)::DECIMAL(9,2) AS num`,
      size,
    );
    await load(table, 'parquet', await duckdb.body('parquet', select));
    expect(await textsOf(`SELECT wide, num FROM ${table} ORDER BY id LIMIT 3`)).toEqual([
      ['0.0000000000', '0.0'],
      ['1.2500000000', '1.25'],
      ['2.5000000000', '2.5'],
    ]);
  });

  describe.each(SIZES)('CSV, %s', (size) => {
    /** Small as it is; large with a column of padding and rows of its own. */
    const sized = (lines: readonly string[]): string => {
      if (size === 'small') return `${lines.join('\n')}\n`;
      const [head = '', ...rows] = lines;
      const cells = head.split(',').length;
      const filler = Array.from({ length: 3_000 }, (_, index) => `zz-${index}${','.repeat(cells)}${'p'.repeat(900)}`);
      return `${[`${head},pad`, ...rows.map((row) => `${row},p`), ...filler].join('\n')}\n`;
    };

    test('text stays text, whatever it looks like', async () => {
      const table = await declaredTable('digits', { word: 'VARCHAR' });
      await load(table, 'csv', sized(['id,word', 'a,7', 'b,true', 'c,1.50', 'd,007', 'e,', 'f,""']));
      expect(await textsOf(`SELECT id, word FROM ${table} WHERE id < 'g' ORDER BY id`)).toEqual([
        ['a', '7'],
        ['b', 'true'],
        ['c', '1.50'],
        ['d', '007'],
        ['e', null],
        ['f', ''],
      ]);
    });

    test('JSON, DATE, TIMESTAMPTZ, BOOLEAN, INTEGER and DOUBLE', async () => {
      const table = await declaredTable('from_text', {
        doc: 'JSON',
        day: 'DATE',
        at: 'TIMESTAMPTZ',
        yes: 'BOOLEAN',
        n: 'INTEGER',
        x: 'DOUBLE',
      });
      await load(
        table,
        'csv',
        sized([
          'id,doc,day,at,yes,n,x',
          'a,"{""k"":[1,null]}",2024-02-29,2024-01-01T10:00:00+02:00,true,-5,1e3',
          'b,[],0001-01-01,2024-01-01T00:00:00.000001Z,false,2147483647,7',
          'c,"""text""",,,,,',
        ]),
      );
      expect(await textsOf(`SELECT doc, day, "at", yes, n, x FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        ['{"k":[1,null]}', '2024-02-29', '2024-01-01 08:00:00+00', 'true', '-5', '1000.0'],
        ['[]', '0001-01-01', '2024-01-01 00:00:00.000001+00', 'false', '2147483647', '7.0'],
        ['"text"', null, null, null, null, null],
      ]);
    });

    test('instants as milliseconds', async () => {
      const table = await declaredTable('millis', { at: 'TIMESTAMPTZ' });
      await load(table, 'csv', sized(['id,at', 'a,1704067200001', 'b,0']));
      expect(await textsOf(`SELECT "at" FROM ${table} WHERE id < 'c' ORDER BY id`)).toEqual([
        ['2024-01-01 00:00:00.001+00'],
        ['1970-01-01 00:00:00+00'],
      ]);
    });

    test('a DECIMAL keeps every digit of its text', async () => {
      const table = await declaredTable('exact', { price: 'DECIMAL(38,10)', whole: 'DECIMAL(38,0)' });
      const [price, whole] = ['1234567890123456789.0123456789', '12345678901234567890123456789012345678'];
      await load(table, 'csv', sized(['id,price,whole', `a,${price},${whole}`, 'b,0.1,7', 'c,-5,-0']));
      expect(await textsOf(`SELECT price, whole FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        [price, whole],
        ['0.1000000000', '7'],
        ['-5.0000000000', '0'],
      ]);
    });

    test('a BIGINT takes all of its 64 bits', async () => {
      const table = await declaredTable('bits', { n: 'BIGINT' });
      await load(table, 'csv', sized(['id,n', `a,${INT64_MAX}`, `b,${INT64_MIN}`, 'c,1']));
      expect(await textsOf(`SELECT n FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([[INT64_MAX], [INT64_MIN], ['1']]);
    });

    test('a DOUBLE takes a long integer that it holds, and long fractions', async () => {
      const table = await declaredTable('long', { x: 'DOUBLE' });
      await load(table, 'csv', sized(['id,x', 'a,9007199254740992', 'b,0.1234567890123456', 'c,123456789.125']));
      expect(await textsOf(`SELECT x FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        ['9007199254740992.0'],
        ['0.1234567890123456'],
        ['123456789.125'],
      ]);
    });

    test('new columns: numbers only if all of them look exactly like one', async () => {
      const table = newName('looks');
      await load(
        table,
        'csv',
        sized(['id,code,n,x,yes,plus,mixed,huge,word', 'a,007,1,1.5,true,+1,1,12345678901234567890,""', 'b,8,-2,2,false,2,two,1,w']),
      );
      expect(await columnTypes(table)).toMatchObject({
        code: 'VARCHAR',
        n: 'BIGINT',
        x: 'DOUBLE',
        yes: 'BOOLEAN',
        plus: 'VARCHAR',
        mixed: 'VARCHAR',
        huge: 'VARCHAR',
        word: 'VARCHAR',
      });
      expect(await textsOf(`SELECT code, n, x, yes, plus, mixed, huge, word FROM ${table} WHERE id < 'c' ORDER BY id`)).toEqual([
        ['007', '1', '1.5', 'true', '+1', '1', '12345678901234567890', ''],
        ['8', '-2', '2.0', 'false', '2', 'two', '1', 'w'],
      ]);
    });

    test('a quoted empty id is empty, a missing one is missing', async () => {
      const table = newName('empty_ids');
      expectError(await sendBulk(server, table, 'csv', sized(['id,n', '"",1'])), 400, 'INVALID_ARGUMENT', /line 2\b.*id must not be empty/);
      expectError(await sendBulk(server, table, 'csv', sized(['id,n', 'a,1', ',2'])), 400, 'INVALID_ARGUMENT', /line 3\b.*id is missing/);
    });
  });
});

/* --------------------------------------------------------------------------------------------------------------------- CSV */

describe('CSV', () => {
  test('quoted commas, quotes and line breaks; CRLF; a byte order mark; a last line without an end', async () => {
    const table = newName('quotes');
    await load(table, 'csv', '\uFEFFid,s,n\r\na,"x, ""y""\r\nz",1\r\nb,plain,2');
    expect(await columnTypes(table)).toMatchObject({ s: 'VARCHAR', n: 'BIGINT' });
    expect(await rowsOf(server, `SELECT id, s, n FROM ${table} ORDER BY id`)).toEqual([
      { id: 'a', s: 'x, "y"\r\nz', n: 1 },
      { id: 'b', s: 'plain', n: 2 },
    ]);
  });

  test('text that looks like a null or a comment is text', async () => {
    const table = newName('nulls');
    await load(table, 'csv', 'id,s\n#a,NULL\nb,null\n'.replace('#a', 'a') + 'c,# no comment\nd,\\N\ne," "\n');
    expect(await textsOf(`SELECT s FROM ${table} ORDER BY id`)).toEqual([['NULL'], ['null'], ['# no comment'], ['\\N'], [' ']]);
  });

  test('header names that are missing or there twice are refused', async () => {
    for (const [head, says] of [
      ['id,n,n', /\bn\b.*twice/],
      ['id,n,N', /\bN\b.*twice/],
      ['id,,n', /column 2\b/],
      ['id,n,', /column 3\b/],
      ['id,a b', /a b/],
    ] as const) {
      const cells = head.split(',').length - 1;
      expectError(await sendBulk(server, newName('headers'), 'csv', `${head}\na${',1'.repeat(cells)}\n`), 400, 'INVALID_ARGUMENT', says);
    }
  });

  test('rows with another number of cells than the header are refused, also when all of them are alike', async () => {
    for (const rows of [1, 2, 5, 100]) {
      for (const row of ['a,1,2', 'a']) {
        const table = newName('uneven');
        const body = `id,n\n${Array.from({ length: rows }, () => row).join('\n')}\n`;
        const answer = await sendBulk(server, table, 'csv', body);
        expectThat(answer.status, `${rows} × ${row}: ${answer.text}`).toBe(400);
        expectError(answer, 400, 'INVALID_ARGUMENT', /CSV/);
        const skipped = await sendBulk(server, table, 'csv', body, { query: '&on_error=skip' });
        expectThat(skipped.json, `${rows} × ${row}`).toMatchObject({ count: 0, refused_count: rows });
      }
    }
  });

  test('a few wide rows among many, and a header that differs from all rows', async () => {
    const table = newName('garbage');
    const body = `this is a title\n\nid,n\n${Array.from({ length: 50 }, (_, index) => `r-${index},${index}`).join('\n')}\n`;
    expectError(await sendBulk(server, table, 'csv', body), 400, 'INVALID_ARGUMENT', /\S/);
    expect(await rowCount(table)).toBe(0);
  });

  test('semicolons and tabs are no commas: the header is refused as one column', async () => {
    for (const separator of [';', '\t', '|']) {
      const body = ['id', 'n'].join(separator) + '\n' + ['a', '1'].join(separator) + '\n';
      const answer = await sendBulk(server, newName('semicolons'), 'csv', body);
      if (separator === '|') expectThat(answer.status, answer.text).toBe(400);
      else expectError(answer, 400, 'INVALID_ARGUMENT', /id(;|\\t)n/);
    }
  });

  test('one column, and rows that are blank in it', async () => {
    const table = newName('one_column');
    await createTable(server, table, { id_strategy: 'uuid' });
    await load(table, 'csv', 'n\n1\n2\n3\n');
    expect(await textsOf(`SELECT count(DISTINCT id), sum(n) FROM ${table}`)).toEqual([['3', '6']]);
  });

  test('id_field and timestamp_field, RFC 3339 and milliseconds', async () => {
    const query = '&id_field=key&timestamp_field=at';
    const table = newName('fields');
    await load(table, 'csv', 'key,at,n,id2\na,2024-01-01T02:00:00+02:00,1,x\n', { query });
    await load(table, 'csv', 'key,at,n,id2\nb,1704067200007,2,y\n', { query });
    await load(table, 'csv', 'key,at,n,id2\n17,,3,z\n', { query });
    expect(await rowsOf(server, `SELECT id, timestamp, n, id2 FROM ${table} WHERE id <> '17' ORDER BY id`)).toEqual([
      { id: 'a', timestamp: '2024-01-01T00:00:00.000000Z', n: 1, id2: 'x' },
      { id: 'b', timestamp: '2024-01-01T00:00:00.007000Z', n: 2, id2: 'y' },
    ]);
    expect(Object.keys(await columnTypes(table))).toEqual(['id', 'timestamp', 'n', 'id2']);
    expect(await countOf(server, table)).toBe(3);
  });

  test('a column of times may have both kinds', async () => {
    const table = newName('both_kinds');
    expect(await load(table, 'csv', 'id,timestamp\na,2024-01-01T00:00:00Z\nb,1704067200007\n')).toMatchObject({ count: 2 });
    expect(await rowsOf(server, `SELECT "timestamp" AS t FROM ${table} ORDER BY id`)).toEqual([
      { t: '2024-01-01T00:00:00.000000Z' },
      { t: '2024-01-01T00:00:00.007000Z' },
    ]);
  });

  test('bytes that are no UTF-8', async () => {
    expectError(
      await sendBulk(server, newName('latin'), 'csv', Buffer.from('id,s\na,\xff\n', 'latin1')),
      400,
      'INVALID_ARGUMENT',
      /UTF-?8|unicode|line:? 2/i,
    );
  });

  test('a charset in the media type is passed over', async () => {
    expect(await load(newName('charset'), 'csv', 'id,n\na,1\n', { mediaType: 'Text/CSV; charset=utf-8; header=present' })).toMatchObject({
      count: 1,
    });
  });
});

describe('rows without an id', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('get one by the strategy of the table: %s, %s', async (format, size) => {
    const rows = size === 'small' ? 40 : 2_600;
    for (const config of [{ id_strategy: 'uuid' }, { id_strategy: 'custom', id_prefix: 'b-' }, { id_strategy: 'snowflake' }]) {
      const table = newName('made_ids');
      await createTable(server, table, config);
      await load(table, format, await duckdb.body(format, rowsSelect('i AS n', size)));
      const pattern = config.id_strategy === 'custom' ? 'b-%' : '%';
      expectThat(await valueOf(server, `SELECT count(DISTINCT id) FROM ${table} WHERE id LIKE '${pattern}'`), config.id_strategy).toBe(
        rows,
      );
    }
    const answer = await sendBulk(server, newName('given_ids'), format, await duckdb.body(format, rowsSelect('i AS n', size)));
    expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`line ${format === 'csv' ? 2 : 1}\\b.*id is missing`));
  });
});

/* ------------------------------------------------------------------------------------------------------- writing semantics */

describe('upsert, idempotency and acknowledgement', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('an upsert table keeps the last row of an id: %s, %s', async (format, size) => {
    const table = newName('upsert');
    await createTable(server, table, { write_mode: 'upsert' });
    await load(table, 'ndjson', '{"id":"r-0","n":-1}\n{"id":"other","n":-2}\n');
    const select = `${rowsSelect(`'r-' || (i % 30) AS id, i AS n`, size)} ORDER BY i`;
    const rows = size === 'small' ? 40 : 2_600;
    expect(await load(table, format, await duckdb.body(format, select))).toMatchObject({ success: true, refused_count: 0 });
    expect(await countOf(server, table)).toBe(31);
    expect(await textsOf(`SELECT min(n), max(n) FROM ${table} WHERE id LIKE 'r-%'`)).toEqual([[String(rows - 30), String(rows - 1)]]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)(
    'the same key again: the same answer and no second row; another body: a conflict: %s, %s',
    async (format, size) => {
      const table = newName('keyed');
      const key = `key-${table}`;
      const body = await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n`, size));
      const first = await load(table, format, body, { key });
      const second = await load(table, format, body, { key });
      expect(second).toEqual(first);
      expect(await load(table, format, body, { key, packing: 'gzip' })).toEqual(first);
      expect(await countOf(server, table)).toBe(first['count']);
      const otherBody = await duckdb.body(format, rowsSelect(`'s-' || i AS id, i AS n`, size));
      expectError(await sendBulk(server, table, format, otherBody, { key }), 409, 'CONFLICT', /idempotency/i);
      expect(await countOf(server, table)).toBe(first['count']);
    },
  );

  test.each(FORMATS)('a key with on_error=skip gives the same list again: %s', async (format) => {
    const table = newName('keyed_skip');
    const body = await duckdb.body(format, rowsSelect(`CASE WHEN i = 3 THEN 'b d' ELSE 'r-' || i END AS id`, 'small'));
    const [first, second] = [
      await load(table, format, body, { key: table, query: '&on_error=skip' }),
      await load(table, format, body, { key: table, query: '&on_error=skip' }),
    ];
    expect(first).toMatchObject({ count: 39, refused_count: 1 });
    expect(second).toEqual(first);
    expect(await countOf(server, table)).toBe(39);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('ack=flushed: %s, %s', async (format, size) => {
    const table = newName('flushed');
    const { count } = await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n`, size)), {
      query: '&ack=flushed',
    });
    const { stats } = await tableInfo(server, table);
    expect(stats).toMatchObject({ record_count: count, buffered_records: 0 });
    expect((stats as JsonRow)['file_count']).toBeGreaterThan(0);
  });
});

/* ----------------------------------------------------------------------------------------------------------- damaged bodies */

describe('bodies that are not what they should be', () => {
  const bodyOf = (format: BulkFormat, size: Size): Promise<Buffer> =>
    duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n, 'w' || i AS word`, size));

  test.each(TYPED.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size])))(
    'cut short: %s, %s',
    async (format, size) => {
      const body = await bodyOf(format, size);
      const table = newName('cut');
      for (const share of [0.05, 0.3, 0.5, 0.9, 0.99]) {
        const answer = await sendBulk(server, table, format, body.subarray(0, Math.floor(body.length * share)));
        expectThat(answer.status, `${share}: ${answer.text}`).toBe(400);
      }
      expect(await rowCount(table)).toBe(0);
      await expectNothingLeft();
    },
  );

  test.each(TYPED)('a byte flipped: %s', async (format) => {
    const body = await bodyOf(format, 'small');
    const wrong: string[] = [];
    for (let at = 3; at < body.length; at += Math.ceil(body.length / 20)) {
      const flipped = Buffer.from(body);
      flipped[at] = (flipped[at] ?? 0) ^ 0xff;
      const table = newName('flipped');
      const answer = await sendBulk(server, table, format, flipped);
      // Neither format has a checksum of its own: a changed value may pass, as the value it has become.
      if (answer.status !== 200 && answer.status !== 400) wrong.push(`byte ${at}: ${answer.text}`);
      if (answer.status !== 200 && (await rowCount(table)) > 0) wrong.push(`byte ${at}: rows were stored`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
    await expectNothingLeft();
  });

  const sendPacked = async (table: string, format: BulkFormat, bytes: Buffer, packing: Packing): Promise<string> => {
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES[format], 'content-encoding': packing },
      body: new Uint8Array(bytes),
      signal: AbortSignal.timeout(10_000),
    });
    return `${response.status} ${await response.text()}`;
  };

  test.each(FORMATS)('gzip and zstd cut short: %s', async (format) => {
    const table = newName(`packing_${format}`);
    for (const packing of ['gzip', 'zstd'] as const) {
      const whole = packed(await bodyOf(format, 'large'), packing);
      for (const bytes of [1, 5, whole.length / 2, whole.length - 9, whole.length - 1])
        expectThat(await sendPacked(table, format, whole.subarray(0, bytes), packing), `${packing}: ${bytes} of ${whole.length}`).toMatch(
          /^400 .*body/,
        );
    }
    expect(await rowCount(table)).toBe(0);
    await expectNothingLeft();
  });

  test('gzip and zstd that are damaged: an answer at once, and the connection takes the next request', async () => {
    const body = Buffer.concat([await bodyOf('ndjson', 'large'), await bodyOf('parquet', 'large')]);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const table = newName('damaged');
    const ask = (method: string, route: string, headers: Record<string, string>, bytes?: Buffer): Promise<string> =>
      new Promise((resolve) => {
        const request = httpRequest(new URL(server.rest + route), { method, agent, headers, timeout: 5_000 }, (response) => {
          response.resume();
          response.once('end', () => resolve(String(response.statusCode)));
        });
        request.once('timeout', () => request.destroy(new Error('no answer within 5 s')));
        request.once('error', (error) => resolve(error.message));
        request.end(bytes);
      });
    const outcomes: Record<string, string[]> = {};
    for (const packing of ['zstd', 'gzip'] as const) {
      const damaged = Buffer.from(packed(body, packing));
      damaged.fill(0xaa, 10, 60);
      const headers = { 'content-type': MEDIA_TYPES.ndjson, 'content-encoding': packing, 'content-length': String(damaged.length) };
      outcomes[packing] = [
        await ask('POST', `/v1/data/bulk?table=${table}`, headers, damaged),
        await ask('GET', '/v1/health', {}),
        await ask('GET', '/v1/health', {}),
      ];
    }
    agent.destroy();
    expect(outcomes).toEqual({ zstd: ['400', '200', '200'], gzip: ['400', '200', '200'] });
    await expectNothingLeft();
  });

  test.each(FORMATS)('a body of another format than %s', async (format) => {
    const wrong: string[] = [];
    for (const other of FORMATS) {
      if (other === format) continue;
      const table = newName('mistaken');
      const answer = await sendBulk(server, table, format, await bodyOf(other, 'small'));
      if (answer.status !== 400 || (await rowCount(table)) > 0)
        wrong.push(`${other} as ${format}: ${answer.status} ${answer.text.slice(0, 300)}`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
    await expectNothingLeft();
  });

  test('an unknown type and an unknown packing: 415, naming those there are', async () => {
    for (const mediaType of ['application/xml', 'text/plain', 'application/vnd.apache.arrow.file', 'multipart/form-data; boundary=x']) {
      const answer = await sendBulk(server, newName('type'), 'csv', 'id,n\na,1\n', { mediaType });
      expectError(answer, 415, 'UNSUPPORTED_MEDIA_TYPE', /./);
      for (const known of Object.values(MEDIA_TYPES)) expectThat(answer.json.message, mediaType).toContain(known);
    }
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${newName('type')}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES.csv, 'content-encoding': 'br' },
      body: 'id,n\na,1\n',
    });
    expect([response.status, (await response.json()) as JsonRow]).toEqual([
      415,
      expect.objectContaining({ error: 'UNSUPPORTED_MEDIA_TYPE' }),
    ]);
  });

  test.each(FORMATS)('a client that goes away in the middle leaves nothing: %s', async (format) => {
    const body = await bodyOf(format, 'large');
    const table = newName('left');
    for (const share of [0, 0.5, 0.95]) {
      await leaveInTheMiddle(table, format, body, Math.floor(body.length * share));
      await expectNothingLeft();
    }
    expect(await rowCount(table)).toBe(0);
    expect(await load(table, format, body)).toMatchObject({ count: 2_600 });
  });

  /** Sends the head and part of the body, waits until the server has them on disk, and cuts the connection. */
  async function leaveInTheMiddle(table: string, format: BulkFormat, body: Buffer, bytes: number): Promise<void> {
    const url = new URL(`${server.rest}/v1/data/bulk?table=${table}`);
    const headers = { 'content-type': MEDIA_TYPES[format], 'content-length': String(body.length) };
    const request = httpRequest(url, { method: 'POST', headers });
    const gone = new Promise<void>((resolve) => request.once('error', () => resolve()));
    request.flushHeaders();
    if (bytes > 0) request.write(body.subarray(0, bytes));
    await eventually(
      'the body is being taken',
      () => readdirSync(path.join(server.dataDir, 'tmp')),
      (names) => names.length > 0,
      5_000,
    );
    request.destroy(new Error('gone'));
    await gone;
  }
});

test('kill -9 right after the answer to a large Parquet body: every row is there after the restart', async () => {
  const select = rowsSelect(`${IDS}, i AS n, {'k': i} AS doc, DATE '2024-01-01' + i::INTEGER AS day`, 'large', 20_000);
  const body = await duckdb.body('parquet', select);
  const first = await startOther();
  expectSuccess(await sendBulk(first, 'killed', 'parquet', body));
  await first.kill();
  const second = await startOther(first.dataDir);
  const sums = 'count(*) AS c, count(DISTINCT id) AS ids, sum(n) AS s, max(day)::VARCHAR AS d';
  const [row] = await rowsOf(second, `SELECT ${sums} FROM killed`);
  expect(row).toEqual({ c: 20_000, ids: 20_000, s: 199_990_000, d: '2078-10-03' });
  expect(bulkFiles(second)).toHaveLength(1);
  expectSuccess(await call(second, 'POST', '/v1/tables/killed/flush'));
  expect((await rowsOf(second, `SELECT ${sums} FROM killed`))[0]).toEqual(row);
});

/* -------------------------------------------------------------------------------------------------------------------- gRPC */

describe('BulkWrite', () => {
  let streams: BulkStreams;

  beforeAll(() => {
    streams = new BulkStreams(server);
  });
  afterAll(() => streams?.close());

  function responseOf(answer: GrpcAnswer): GrpcMessage {
    if (!answer.ok) throw new Error(`BulkWrite failed: ${answer.status} ${answer.message}`);
    return answer.response;
  }

  function expectFailure(answer: GrpcAnswer, status: number, errorCode: string, says: RegExp): void {
    expect(answer).toMatchObject({ ok: false, status, errorCode, message: expect.stringMatching(says) });
  }

  const write = (table: string, format: string, body: Buffer, pieceBytes: number, more: GrpcMessage = {}): Promise<GrpcAnswer> =>
    streams.send(bulkMessages({ table, format, ...more }, body, pieceBytes));

  test.each(FORMATS)('%s, in pieces of a byte, of 4 KiB and of 1 MiB, packed and not', async (format) => {
    const [small, large] = [rowsSelect(`'r-' || i AS id, i AS n`, 'small', 5), rowsSelect(`'r-' || i AS id, i AS n`, 'large')];
    const trials: [string, number, Packing][] = [
      [small, 1, 'none'],
      [small, 7, 'gzip'],
      [large, 4_096, 'none'],
      [large, 65_536, 'zstd'],
      [large, MIB, 'gzip'],
      [large, MIB, 'none'],
    ];
    for (const [select, pieceBytes, packing] of trials) {
      const table = newName(`grpc_${format}`);
      const body = packed(await duckdb.body(format, select), packing);
      const answer = responseOf(await write(table, format, body, pieceBytes, { encoding: packing === 'none' ? '' : packing }));
      const [[count, sum] = []] = await duckdb.texts(`SELECT count(*), sum(n) FROM (${select})`);
      expect(answer).toMatchObject({ success: true, count, refused_count: '0', errors: [] });
      expect(Number(answer['lsn'])).toBeGreaterThan(0);
      expectThat(await textsOf(`SELECT count(*), sum(n) FROM ${table}`), `pieces of ${pieceBytes}`).toEqual([[count, sum]]);
    }
  });

  test('skip lists what was refused; abort stores nothing', async () => {
    const body = Buffer.from('key,at,n\na,2024-01-01T00:00:00Z,1\nb b,2024-01-01T00:00:00Z,2\nc,soon,3\n');
    const fields = { id_field: 'key', timestamp_field: 'at' };
    const table = newName('grpc_skip');
    const answer = responseOf(await write(table, 'csv', body, 11, { ...fields, on_error: 'skip' }));
    expect(answer).toMatchObject({ success: false, count: '1', refused_count: '2' });
    expect(answer['errors']).toEqual([
      expect.objectContaining({ line: '3', id: 'b b', field: 'id', reason: expect.stringMatching(/\S/) }),
      expect.objectContaining({ line: '4', id: 'c', field: 'timestamp', reason: expect.stringMatching(/soon/) }),
    ]);
    const aborted = newName('grpc_abort');
    expectFailure(await write(aborted, 'csv', body, 11, fields), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /line 3\b/);
    expect(await rowCount(aborted)).toBe(0);
  });

  test('what the first message lacks or has wrong is named', async () => {
    const body = Buffer.from('{"id":"a"}\n');
    const refused = async (first: GrpcMessage, says: RegExp): Promise<void> =>
      expectFailure(await streams.send(bulkMessages(first, body, 4)), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', says);
    await refused({ table: newName('grpc_bad'), format: 'xml' }, /ndjson, json, csv, parquet, arrow/);
    await refused({ table: newName('grpc_bad'), format: '' }, /format/);
    await refused({ format: 'csv' }, /table/);
    await refused({ table: 'a b', format: 'csv' }, /table/);
    await refused({ table: newName('grpc_bad'), format: 'ndjson', on_error: 'maybe' }, /on_error/);
    const brotli = await streams.send(bulkMessages({ table: newName('grpc_bad'), format: 'ndjson', encoding: 'br' }, body, 4));
    expectFailure(brotli, grpcStatus.INVALID_ARGUMENT, 'UNSUPPORTED_MEDIA_TYPE', /br\b.*gzip, zstd/);
    expectFailure(await streams.send([]), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /no message/);
    expect(responseOf(await streams.send([{ table: newName('grpc_empty'), format: 'ndjson' }]))).toMatchObject({
      success: true,
      count: '0',
    });
    await expectNothingLeft();
  });

  test('a table that is missing is made, or NOT_FOUND where tables are not made by writes', async () => {
    const strict = await startServer({ config: { ...NO_FLUSH_BY_ITSELF, tables: { auto_create: false } } });
    others.push(strict);
    const there = new BulkStreams(strict);
    try {
      const answer = await there.send(bulkMessages({ table: 'nowhere', format: 'ndjson' }, Buffer.from('{"id":"a"}\n'), 3));
      expectFailure(answer, grpcStatus.NOT_FOUND, 'NOT_FOUND', /nowhere/);
    } finally {
      there.close();
    }
    expectError(await sendBulk(strict, 'nowhere', 'csv', 'id\na\n'), 404, 'NOT_FOUND', /nowhere/);
  });

  test('idempotency-key', async () => {
    const table = newName('grpc_keyed');
    const send = (body: string, format = 'ndjson'): Promise<GrpcAnswer> =>
      streams.send(bulkMessages({ table, format }, Buffer.from(body), 5), { 'idempotency-key': 'grpc-bulk' });
    const first = responseOf(await send('{"id":"a","n":1}\n'));
    expect(responseOf(await send('{"id":"a","n":1}\n'))).toEqual(first);
    expectFailure(await send('{"id":"b","n":1}\n'), grpcStatus.ABORTED, 'CONFLICT', /idempotency/i);
    expect(await countOf(server, table)).toBe(1);
  });

  test('a client that goes away in the middle leaves nothing', async () => {
    const body = await duckdb.body('ndjson', rowsSelect(`'r-' || i AS id, i AS n`, 'large'));
    const table = newName('grpc_left');
    const answer = await streams.send(bulkMessages({ table, format: 'ndjson' }, body, 65_536), {}, 20);
    expect(answer.ok).toBe(false);
    await expectNothingLeft();
    expect(await rowCount(table)).toBe(0);
  });
});

describe('a body that is refused', () => {
  const badRow = '{"id":"not an id","x":1}\n';

  test.each([
    ['small', badRow, 400],
    ['large', `{"id":"a","x":"${'x'.repeat(SMALL_BYTES_MAX)}"}\n${badRow}`, 400],
    ['without a good row', '{"id":"a"}'.slice(1), 400],
    ['not JSON', 'x\n', 400],
  ])('makes no table: %s', async (_, body, status) => {
    const table = newName('refused');
    expectStatus(await sendBulk(server, table, 'ndjson', body), status);
    expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 404);
    expect((await load(table, 'ndjson', body, { query: '&on_error=skip' })).refused_count).toBeGreaterThan(0);
  });

  test.each(FORMATS)('makes no table when it is cut short: %s', async (format) => {
    const table = newName('cut');
    expectStatus(await sendBulk(server, table, format, Buffer.from('{"id":'), { query: '&on_error=abort' }), 400);
    expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 404);
  });

  test('changes no column, and one that is taken does', async () => {
    const table = newName('types');
    await load(table, 'ndjson', '{"id":"a","n":1,"m":1}\n');
    const rows = `{"id":"b","n":1.5,"m":2,"pad":"${'x'.repeat(SMALL_BYTES_MAX)}"}\n{"id":"c","m":2.5,"new":1}\n`;
    const typesOf = async (): Promise<unknown> => (await rowsOf(server, `SELECT typeof(n) AS n, typeof(m) AS m FROM ${table} LIMIT 1`))[0];
    expectStatus(await sendBulk(server, table, 'ndjson', rows + badRow), 400);
    expect(await typesOf()).toEqual({ n: 'BIGINT', m: 'BIGINT' });
    await load(table, 'ndjson', rows);
    expect(await typesOf()).toEqual({ n: 'DOUBLE', m: 'DOUBLE' });
    expect(await rowsOf(server, `SELECT id, n, m, new FROM ${table} ORDER BY id`)).toEqual([
      { id: 'a', n: 1, m: 1, new: null },
      { id: 'b', n: 1.5, m: 2, new: null },
      { id: 'c', n: null, m: 2.5, new: 1 },
    ]);
  });

  test('makes its table with the first good row', async () => {
    const table = newName('good');
    expect(await load(table, 'ndjson', `${badRow}{"id":"a","x":1.5}\n`, { query: '&on_error=skip' })).toMatchObject({
      count: 1,
      refused_count: 1,
    });
    expect(await rowsOf(server, `SELECT id, x FROM ${table}`)).toEqual([{ id: 'a', x: 1.5 }]);
  });
});

test.each([
  ['an element that is no JSON', '[{"id":"a","x":"1"},{"id":"b","x":"\\ud800"},{"id":"c","x":"3"}]', ['a', 'c'], [2]],
  ['a line break within a text', '[{"id":"a"},\n{"id":"b","x":"1\n2"},\r\n {"id":"c"}\n]\n', ['a', 'c'], [2]],
  ['brackets and commas within a text', '[{"id":"a","x":"]},["},{"id":"b",},{"id":"c","z":[{"y":[1,2]}]},tru]', ['a', 'c'], [2, 4]],
])('JSON array, skip: %s', async (_, body, ids, lines) => {
  const table = newName('array');
  const answer = await load(table, 'json', body, { query: '&on_error=skip' });
  expect(answer['errors'].map(({ line }: JsonRow) => line)).toEqual(lines);
  expect((await rowsOf(server, `SELECT id FROM ${table} ORDER BY id`)).map(({ id }) => id)).toEqual(ids);
});

test.each(['[{"id":"a"},{"id":"\\ud800"}', '[{"id":"\\ud800"},]', '[{"id":"\\ud800"}]]', '[{"id":"\\ud800"} {"id":"b"}] x'])(
  'JSON array, skip: brackets that are wrong refuse it whole: %s',
  async (body) => {
    expectError(
      await sendBulk(server, newName('array'), 'json', body, { query: '&on_error=skip' }),
      400,
      'INVALID_ARGUMENT',
      /not a JSON array of rows/,
    );
  },
);

test.each([
  ['a space before quotes', 'id,x\na, "hello"\n', /line 2 of the CSV has a space beside the quotes/],
  ['a space after quotes', 'id,x\na,"hello" \n', /line 2 of the CSV has a space beside the quotes/],
  ['line ends of two kinds', 'id,x\na,1\r\nb,2\n', /line 1 with LF, line 2 with CR LF/],
  ['too many columns', `${Array.from({ length: 100_000 }, (_, index) => `c${index}`).join()}\n`, /100000 columns; a table has at most/],
])('CSV says in words: %s', async (_, body, says) => {
  expectError(await sendBulk(server, newName('csv'), 'csv', body), 400, 'INVALID_ARGUMENT', says);
  expectError(await sendBulk(server, newName('csv'), 'csv', body, { query: '&on_error=skip' }), 400, 'INVALID_ARGUMENT', says);
});

test.each(['1e-400', '-0.01E-323'])('CSV: %s is not made 0', async (number) => {
  const table = await declaredTable('tiny', { x: 'DOUBLE' });
  expectError(await sendBulk(server, table, 'csv', `id,x\na,${number}\n`), 400, 'INVALID_ARGUMENT', /column x is DOUBLE/);
  const other = newName('tiny');
  await load(other, 'csv', `id,x\na,${number}\nb,1\n`);
  expect(await valueOf(server, `SELECT x FROM ${other} WHERE id = 'a'`)).toBe(number);
});

test('very many short rows are stored like few long ones', async () => {
  const table = newName('short');
  expect((await load(table, 'ndjson', '{"id":"a"}\n'.repeat(150_000))).count).toBe(150_000);
  expect(await countOf(server, table)).toBe(150_000);
});
