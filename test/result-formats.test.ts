/**
 * Results as streams: Arrow, Parquet, CSV and NDJSON have the same answer, and it is the one that the plain engine gives. Read back with apache-arrow,
 * with the engine, and by hand; and what happens when a statement is wrong, is slow, or its reader leaves.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import path from 'node:path';
import { PlainDuckdb } from './support/bulk-bodies.js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcMessage, plainOf, responseOf } from './support/grpc-client.js';
import { createTable, eventually, expectStatus, type JsonRow, memoryOf } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const ARROW = 'application/vnd.apache.arrow.stream';
const PARQUET = 'application/vnd.apache.parquet';
const CSV = 'text/csv';
const NDJSON = 'application/x-ndjson';
const ALL = [ARROW, PARQUET, CSV, NDJSON] as const;
const MIB = 1_024 * 1_024;
const ROWS = 300_000;
const MS_A_DAY = 86_400_000;
/** Runs for ages, yet can be interrupted. */
const ENDLESS = 'SELECT count(*) AS marked_endless FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';
/** Many rows, quick to make. */
const LONG = `SELECT range AS marked_long, md5(range::VARCHAR) AS text FROM range(20000000)`;

let server: RunningServer;
let duckdb: PlainDuckdb;

beforeAll(async () => {
  duckdb = await PlainDuckdb.open();
  server = await startServer({ config: { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } } });
  await createTable(server, 'numbers');
  const select = `SELECT 'n-' || i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_microseconds(i) AS "timestamp", i AS n, i / 4 AS quarter,
    CASE WHEN i % 10 <> 0 THEN 'wörd, "' || i % 1000 || '"' END AS word FROM range(${ROWS}) t(i)`;
  await duckdb.run(`CREATE TABLE numbers AS ${select}`);
  const response = await fetch(`${server.rest}/v1/data/bulk?table=numbers`, {
    method: 'POST',
    headers: { 'content-type': PARQUET },
    body: new Uint8Array(await duckdb.body('parquet', 'FROM numbers')),
  });
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining(`"count":${ROWS}`)]);
});

afterAll(async () => {
  await server?.kill();
  duckdb?.close();
});

interface Bytes {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

async function download(sql: string, accept: string, more: JsonRow = {}): Promise<Bytes> {
  const response = await fetch(`${server.rest}/v1/query`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept },
    body: JSON.stringify({ sql, ...more }),
  });
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}

async function result(sql: string, accept: string, more: JsonRow = {}): Promise<Buffer> {
  const { status, headers, body } = await download(sql, accept, more);
  expectThat(status, body.toString().slice(0, 500)).toBe(200);
  expect(headers.get('content-type')).toContain(accept);
  expect(headers.get('x-query-id')).toMatch(/\S/);
  return body;
}

/** The rows of a page, as they stand in it. */
function rowsText(page: string): string {
  return page.slice(page.indexOf('"rows":') + '"rows":'.length, page.indexOf(',"row_count"'));
}

/** SELECT over a Parquet result that the plain engine can run. */
function parquetOf(body: Buffer): string {
  const file = duckdb.file('parquet');
  writeFileSync(file, body);
  return `SELECT * FROM read_parquet('${file}')`;
}

/** Cells as they stand in the file: an empty one is NULL, a quoted empty one an empty text. */
function csvOf(body: Buffer): string {
  const file = duckdb.file('csv');
  writeFileSync(file, body);
  return `SELECT * FROM read_csv('${file}', header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false, auto_detect = false, columns = {${csvColumns(body)}})`;
}

function csvColumns(body: Buffer): string {
  const head = body.toString().split('\n', 1)[0] ?? '';
  return head
    .split(',')
    .map((name) => `'${name.replaceAll('"', '')}': 'VARCHAR'`)
    .join(', ');
}

function linesOf(body: Buffer): string[] {
  const text = body.toString().trimEnd();
  return text === '' ? [] : text.split('\n');
}

function expectError(answer: Bytes, status: number, code: string, says: RegExp): void {
  const text = answer.body.toString();
  expectThat(answer.status, text.slice(0, 500)).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/json');
  const json = JSON.parse(text) as JsonRow;
  expect(json).toMatchObject({ error: code, code: status });
  expect(json['message']).toMatch(says);
}

async function running(of: RunningServer = server): Promise<JsonRow[]> {
  return expectStatus(await call(of, 'GET', '/v1/queries'), 200).json.queries as JsonRow[];
}

/** What is in the scratch directory: a pipe of no bytes, or a file, which holds disk. */
function scratch(of: RunningServer = server): string[] {
  const directory = path.join(of.dataDir, 'tmp');
  return readdirSync(directory).map((name) => {
    const entry = statSync(path.join(directory, name), { throwIfNoEntry: false });
    return `${path.extname(name)} ${entry?.isFIFO() === true ? 'pipe' : 'file'} of ${entry?.size ?? 0} bytes`;
  });
}

async function expectNothingLeft(of: RunningServer = server): Promise<void> {
  await eventually(
    'no query is under way',
    () => running(of),
    (list) => list.length === 0,
    5_000,
  );
  await eventually(
    'the scratch directory is empty',
    () => scratch(of),
    (names) => names.length === 0,
    2_000,
  );
}

/* ----------------------------------------------------------------------------------------------------------------- Arrow */

/** One value of a column that has one batch, as the text that the engine has for it, from the bytes of the vector. */
function arrowText(vector: arrow.Vector, row: number): string | null {
  const data = vector.data[0];
  if (!data || !vector.isValid(row)) return null;
  const { type } = vector;
  if (arrow.DataType.isDecimal(type)) return decimalText(data.values as Uint32Array, row, type.scale);
  if (arrow.DataType.isTimestamp(type) || arrow.DataType.isTime(type)) return String((data.values as BigInt64Array)[row]);
  if (arrow.DataType.isDate(type)) return new Date(Number(vector.get(row))).toISOString().slice(0, 10);
  if (arrow.DataType.isBinary(type) || arrow.DataType.isFixedSizeBinary(type))
    return Buffer.from(vector.get(row) as Uint8Array).toString('hex');
  const value: unknown = vector.get(row);
  if (typeof value === 'object' && value !== null)
    return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner));
  return String(value);
}

function decimalText(words: Uint32Array, row: number, scale: number): string {
  let value = 0n;
  for (let word = 3; word >= 0; word -= 1) value = (value << 32n) | BigInt(words[row * 4 + word] ?? 0);
  value = BigInt.asIntN(128, value);
  if (scale === 0) return String(value);
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/* ----------------------------------------------------------------------------------------------------------------- types */

const HUGE = '170141183460469231731687303715884105';

/** A value, and what it is in Arrow: its type, and its text as `arrowText` has it. */
const VALUES: Readonly<Record<string, readonly [string, string, string]>> = {
  t8: [`(-128)::TINYINT`, 'Int8', '-128'],
  t16: [`(-32768)::SMALLINT`, 'Int16', '-32768'],
  t32: [`(-2147483648)::INTEGER`, 'Int32', '-2147483648'],
  t64: [`(-9223372036854775808)::BIGINT`, 'Int64', '-9223372036854775808'],
  u8: [`255::UTINYINT`, 'Uint8', '255'],
  u16: [`65535::USMALLINT`, 'Uint16', '65535'],
  u32: [`4294967295::UINTEGER`, 'Uint32', '4294967295'],
  u64: [`18446744073709551615::UBIGINT`, 'Uint64', '18446744073709551615'],
  huge: [`${HUGE}::HUGEINT`, 'Decimal[38e0]', HUGE],
  minus_huge: [`-${HUGE}::HUGEINT`, 'Decimal[38e0]', `-${HUGE}`],
  total: [
    `(SELECT sum(v) FROM (VALUES (9223372036854775807::BIGINT), (9223372036854775807::BIGINT)) t(v))`,
    'Decimal[38e0]',
    '18446744073709551614',
  ],
  d9: [`12345.67::DECIMAL(9, 2)`, 'Decimal[9e2]', '12345.67'],
  d18: [`-12345678901234.5678::DECIMAL(18, 4)`, 'Decimal[18e4]', '-12345678901234.5678'],
  d38: [`1234567890123456789012345678.0123456789::DECIMAL(38, 10)`, 'Decimal[38e10]', '1234567890123456789012345678.0123456789'],
  f32: [`0.1::FLOAT`, 'Float32', String(Math.fround(0.1))],
  f64: [`0.1::DOUBLE`, 'Float64', '0.1'],
  yes: [`true`, 'Bool', 'true'],
  word: [`'wörd, "q"' || chr(10) || '😀'`, 'Utf8', 'wörd, "q"\n😀'],
  empty: [`''`, 'Utf8', ''],
  kind: [`'red'::ENUM('red', 'green')`, 'Utf8', 'red'],
  day: [`DATE '1900-02-28'`, 'Date32<DAY>', '1900-02-28'],
  tod: [`TIME '12:34:56.789012'`, 'Time64<MICROSECOND>', '45296789012'],
  at: [`TIMESTAMP '2024-01-01 10:00:00.123456'`, 'Timestamp<MICROSECOND>', '1704103200123456'],
  at_tz: [`TIMESTAMPTZ '1969-12-31 23:59:59.999999+00'`, 'Timestamp<MICROSECOND, UTC>', '-1'],
  at_ns: [`'2024-01-01 10:00:00.123456789'::TIMESTAMP_NS`, 'Timestamp<NANOSECOND>', '1704103200123456789'],
  span: [`INTERVAL '1 month 2 days 03:04:05.000006'`, 'Utf8', '1 month 2 days 03:04:05.000006'],
  doc: [`'{"k": [1, null]}'::JSON`, 'Utf8', '{"k": [1, null]}'],
  bytes: [`'\\x00\\xFFab'::BLOB`, 'Binary', '00ff6162'],
  bits: [`'0101'::BIT`, 'Utf8', '0101'],
  list: [`[1, NULL, 3]`, 'List<Int32>', '[1,null,3]'],
  nested: [`{'a': 1, 'b': ['x', NULL]}`, 'Struct<{a:Int32, b:List<Utf8>}>', '{"a":1,"b":["x",null]}'],
};

const VALUES_SQL = `SELECT ${Object.entries(VALUES)
  .map(([name, [value]]) => `${value} AS "${name}"`)
  .join(', ')}`;
const NULLS_SQL = `SELECT ${Object.entries(VALUES)
  .map(([name, [value]]) => `CASE WHEN false THEN ${value} END AS "${name}"`)
  .join(', ')}`;
const CSV_TIMES: Readonly<Record<string, string>> = {
  at: '%Y-%m-%dT%H:%M:%S.%f',
  at_ns: '%Y-%m-%dT%H:%M:%S.%n',
  at_tz: '%Y-%m-%dT%H:%M:%S.%fZ',
};
/** A row of values, a row of nulls. */
const TYPES_SQL = `SELECT * FROM (SELECT 0 AS n, * FROM (${VALUES_SQL}) UNION ALL SELECT 1, * FROM (${NULLS_SQL})) ORDER BY n`;

describe('every type', () => {
  test('Parquet: the values that the engine has, whole numbers with every digit', async () => {
    const select = parquetOf(await result(TYPES_SQL, PARQUET));
    const names = Object.keys(VALUES);
    for (const name of names) {
      expectThat(await duckdb.texts(`SELECT "${name}" FROM (${select}) ORDER BY n`), name).toEqual(
        await duckdb.texts(`SELECT "${name}" FROM (${TYPES_SQL}) ORDER BY n`),
      );
    }
    expect(await duckdb.types(select)).toMatchObject({
      huge: 'DECIMAL(38,0)',
      minus_huge: 'DECIMAL(38,0)',
      total: 'DECIMAL(38,0)',
      u64: 'UBIGINT',
      d38: 'DECIMAL(38,10)',
      tod: 'TIME',
      day: 'DATE',
      at: 'TIMESTAMP',
      at_tz: 'TIMESTAMP WITH TIME ZONE',
      at_ns: 'TIMESTAMP_NS',
      bytes: 'BLOB',
      list: 'INTEGER[]',
    });
  });

  test('Parquet: UUID, maps, fixed arrays, coarse times', async () => {
    const sql = `SELECT md5('x')::UUID AS uid, MAP {'k': 1, 'z': NULL} AS mapped, [1, 2]::INTEGER[2] AS pair,
      '2024-01-01 10:00:00'::TIMESTAMP_S AS s, '2024-01-01 10:00:00.123'::TIMESTAMP_MS AS ms, TIMETZ '10:00:00+02' AS tz, NULL AS nothing`;
    const select = parquetOf(await result(sql, PARQUET));
    const compared = `uid, mapped, pair::INTEGER[] AS pair, s::TIMESTAMP AS s, ms::TIMESTAMP AS ms, tz::VARCHAR AS tz, nothing`;
    expect(await duckdb.texts(`SELECT ${compared} FROM (${select})`)).toEqual(await duckdb.texts(`SELECT ${compared} FROM (${sql})`));
  });

  test('Arrow: types and values, from the bytes of the vectors', async () => {
    const table = arrow.tableFromIPC(await result(TYPES_SQL, ARROW));
    expect(table.numRows).toBe(2);
    expect(table.schema.fields.map(({ name }) => name)).toEqual(['n', ...Object.keys(VALUES)]);
    const found = Object.fromEntries(
      Object.keys(VALUES).map((name) => {
        const vector = table.getChild(name)!;
        return [name, [String(vector.type), arrowText(vector, 0), arrowText(vector, 1)]];
      }),
    );
    const unlike = Object.entries(VALUES).flatMap(([name, [, type, text]]) => {
      const [foundType, foundText, foundNull] = found[name] ?? [];
      const isType = normalType(foundType ?? '') === normalType(type);
      return isType && foundText === text && foundNull === null ? [] : [[name, type, text, found[name]]];
    });
    expectThat(unlike, JSON.stringify(unlike)).toEqual([]);
  });

  test('Arrow: UUID, maps, fixed arrays, coarse times, a column of nulls', async () => {
    const sql = `SELECT md5('x')::UUID AS uid, MAP {'k': 1} AS mapped, [1, 2]::INTEGER[2] AS pair,
      '2024-01-01 10:00:00'::TIMESTAMP_S AS s, '2024-01-01 10:00:00.123'::TIMESTAMP_MS AS ms, NULL AS nothing`;
    const [row] = arrow.tableFromIPC(await result(sql, ARROW)).toArray() as JsonRow[];
    const uid: unknown = row!['uid'];
    const [[expected] = []] = await duckdb.texts(`SELECT md5('x')::UUID`);
    const text = typeof uid === 'string' ? uid : Buffer.from(uid as Uint8Array).toString('hex');
    expect(text.replaceAll('-', '')).toBe(expected!.replaceAll('-', ''));
    expect(JSON.parse(JSON.stringify(row!['mapped']))).toEqual({ k: 1 });
    expect([...(row!['pair'] as Iterable<number>)]).toEqual([1, 2]);
    expect([Number(row!['s']), Number(row!['ms'])]).toEqual([Date.UTC(2024, 0, 1, 10), Date.UTC(2024, 0, 1, 10, 0, 0, 123)]);
    expect(row!['nothing']).toBeNull();
  });

  test('whole numbers of 128 bits keep every digit inside of lists and structs, too', async () => {
    const sql = `SELECT [${HUGE}::HUGEINT] AS list, {'h': ${HUGE}::HUGEINT} AS nested, ['1 month'::INTERVAL] AS spans`;
    const select = parquetOf(await result(sql, PARQUET));
    expect(await duckdb.texts(`SELECT list[1], nested.h, spans[1] FROM (${select})`)).toEqual([[HUGE, HUGE, '1 month']]);
    const table = arrow.tableFromIPC(await result(sql, ARROW));
    expect(arrowText((table.getChild('list') as arrow.Vector<arrow.List>).get(0)!, 0)).toBe(HUGE);
  });

  test('a whole number of 39 digits is refused with a status, or kept', async () => {
    const sql = `SELECT 170141183460469231731687303715884105727::HUGEINT AS huge`;
    for (const accept of [PARQUET, ARROW]) {
      const answer = await download(sql, accept);
      if (answer.status !== 200) expectError(answer, 400, 'INVALID_ARGUMENT', /\S/);
      else if (accept === PARQUET)
        expect(await duckdb.texts(parquetOf(answer.body))).toEqual([['170141183460469231731687303715884105727']]);
    }
    expect((await result(sql, NDJSON)).toString()).toContain('"huge":170141183460469231731687303715884105727');
    expect((await result(sql, CSV)).toString()).toContain('170141183460469231731687303715884105727');
  });

  test('CSV: the text that the engine has for each value; instants as RFC 3339', async () => {
    const select = csvOf(await result(TYPES_SQL, CSV));
    const unlike: unknown[] = [];
    for (const name of Object.keys(VALUES)) {
      const cells = await duckdb.texts(`SELECT "${name}" FROM (${select}) ORDER BY n`);
      const format = name in CSV_TIMES ? `strftime("${name}", '${CSV_TIMES[name]}')` : `"${name}"`;
      const expected = await duckdb.texts(`SELECT ${format} FROM (${TYPES_SQL}) ORDER BY n`);
      if (JSON.stringify(cells) !== JSON.stringify(expected)) unlike.push([name, cells, expected]);
    }
    expectThat(unlike, JSON.stringify(unlike)).toEqual([]);
  });

  test('every way of JSON has the same text: a small page, a large one, NDJSON, gRPC', async () => {
    const columns = Object.keys(VALUES).filter((name) => !['doc', 'bits', 'at_ns'].includes(name));
    const nested = `[{'at': "at", 'tz': at_tz, 'd': 1.50::DECIMAL(4,2)}] AS deep`;
    const sql = `SELECT ${columns.map((name) => `"${name}"`).join(', ')}, ${nested} FROM (${TYPES_SQL})`;
    const small = rowsText((await download(`${sql} LIMIT 2`, 'application/json')).body.toString());
    expect(small).toContain('"deep":[{"at":"2024-01-01T10:00:00.123456","tz":"1969-12-31T23:59:59.999999Z","d":1.50}]');
    expect(rowsText((await download(sql, 'application/json')).body.toString())).toBe(small);
    expect(`[${linesOf(await result(sql, NDJSON)).join()}]`).toBe(small);
    const grpc = connectGrpc(server);
    try {
      expect((await responseOf(grpc.unary('QueryData', { sql })))['result_json']).toBe(small);
      const { messages } = await responseOf(grpc.drain('StreamQuery', { sql }));
      const records = (messages as { records: GrpcMessage[] }[]).flatMap((message) => message.records);
      // What a double does not hold is text there.
      const expected = JSON.parse(
        small.replace(/:(-?\d[\d.]{16,})(?=[,}])/g, ':"$1"').replace('"0.10000000149011612"', '0.10000000149011612'),
      );
      expect(records.map((record) => plainOf(record['payload'] as GrpcMessage))).toEqual(expected);
    } finally {
      grpc.close();
    }
  });

  test('StreamQuery: only an instant is the timestamp of a record; another column of that name is a value', async () => {
    const grpc = connectGrpc(server);
    try {
      for (const [sql, text] of [
        [`SELECT TIMESTAMP '2024-01-01 10:00:00' AS timestamp`, '2024-01-01T10:00:00.000000'],
        [`SELECT '5' AS timestamp`, '5'],
      ] as const) {
        const { messages } = await responseOf(grpc.drain('StreamQuery', { sql }));
        const [record] = (messages as { records: GrpcMessage[] }[]).flatMap((message) => message.records);
        expectThat([record?.['timestamp'], plainOf(record?.['payload'] as GrpcMessage)], sql).toEqual([null, { timestamp: text }]);
      }
    } finally {
      grpc.close();
    }
  });

  test('CSV says its character set', async () => {
    const { headers, body } = await download(`SELECT 'é' AS a`, CSV);
    expect([headers.get('content-type'), body.toString('utf8')]).toEqual(['text/csv; charset=utf-8', 'a\né\n']);
  });

  test('NDJSON: numbers with every digit, instants as RFC 3339, nested values as JSON', async () => {
    const [line = '', nulls = ''] = linesOf(await result(TYPES_SQL, NDJSON));
    for (const [name, digits] of Object.entries({
      t64: '-9223372036854775808',
      u64: '18446744073709551615',
      huge: HUGE,
      minus_huge: `-${HUGE}`,
      total: '18446744073709551614',
      d38: '1234567890123456789012345678.0123456789',
    }))
      expectThat(line, name).toContain(`"${name}":${digits},`);
    expect(JSON.parse(line)).toMatchObject({
      at: '2024-01-01T10:00:00.123456',
      at_ns: '2024-01-01T10:00:00.123456789',
      at_tz: '1969-12-31T23:59:59.999999Z',
      day: '1900-02-28',
      tod: '12:34:56.789012',
      span: '1 month 2 days 03:04:05.000006',
      kind: 'red',
      yes: true,
      empty: '',
      doc: { k: [1, null] },
      list: [1, null, 3],
      nested: { a: 1, b: ['x', null] },
    });
    const expectedNulls = Object.fromEntries(Object.keys(VALUES).map((name) => [name, null]));
    expect(JSON.parse(nulls)).toEqual({ n: 1, ...expectedNulls });
  });

  test('NaN and infinity: kept in Arrow, Parquet and CSV, null in NDJSON', async () => {
    const sql = `SELECT 'nan'::DOUBLE AS a, 'infinity'::DOUBLE AS b, '-infinity'::FLOAT AS c, ['nan'::DOUBLE, 0.5] AS d, {'x': 'infinity'::DOUBLE} AS e`;
    const [row] = arrow.tableFromIPC(await result(sql, ARROW)).toArray() as JsonRow[];
    expect([row!['a'], row!['b'], row!['c'], ...(row!['d'] as Iterable<number>), row!['e'].x]).toEqual([
      NaN,
      Infinity,
      -Infinity,
      NaN,
      0.5,
      Infinity,
    ]);
    const expected = await duckdb.texts(sql);
    expect(await duckdb.texts(parquetOf(await result(sql, PARQUET)))).toEqual(expected);
    expect(await duckdb.texts(`SELECT a, b, c, d, e FROM (${csvOf(await result(sql, CSV))})`)).toEqual(expected);
    expect(JSON.parse((await result(sql, NDJSON)).toString())).toEqual({ a: null, b: null, c: null, d: [null, 0.5], e: { x: null } });
  });

  test('infinite dates and instants, and years far away, in each format', async () => {
    const sql = `SELECT 'infinity'::TIMESTAMPTZ AS a, '-infinity'::DATE AS b, TIMESTAMP '12000-01-01' AS c, DATE '0044-03-15 (BC)' AS d`;
    for (const accept of ALL) {
      const answer = await download(sql, accept);
      expectThat(answer.status, `${accept}: ${answer.body.toString().slice(0, 300)}`).toBe(200);
    }
    expect(await duckdb.texts(parquetOf(await result(sql, PARQUET)))).toEqual(await duckdb.texts(sql));
  });
});

/** `Decimal[38e0]`, `Decimal(38, 0)` and the like in one form. */
function normalType(type: string): string {
  return type
    .replaceAll('e+', 'e')
    .replaceAll(/[^\w]+/g, ' ')
    .trim()
    .toLowerCase();
}

describe('shapes of results', () => {
  test('column names that are there twice are told apart, in every format alike', async () => {
    const sql = 'SELECT 1 AS a, 2 AS a, 3 AS "A", 4 AS "a b", 5 AS "ü,""q", 6 AS a_1';
    const names = expectStatus(await call(server, 'POST', '/v1/query', { sql }), 200).json.columns.map(
      ({ name }: JsonRow) => name as string,
    ) as string[];
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(6);
    expect(arrow.tableFromIPC(await result(sql, ARROW)).schema.fields.map(({ name }) => name)).toEqual(names);
    expect(Object.keys(await duckdb.types(parquetOf(await result(sql, PARQUET))))).toEqual(names);
    expect(Object.keys(JSON.parse((await result(sql, NDJSON)).toString()) as JsonRow)).toEqual(names);
    const [head] = linesOf(await result(sql, CSV));
    expect(head).toBe(names.map((name) => (/[,"]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name)).join(','));
  });

  test('no rows: the columns and their types are there', async () => {
    const sql = 'SELECT id, n, quarter, [n] AS list, n::HUGEINT AS huge FROM numbers WHERE n < 0';
    const table = arrow.tableFromIPC(await result(sql, ARROW));
    expect([table.numRows, table.schema.fields.map(({ name, type }) => `${name} ${normalType(String(type))}`)]).toEqual([
      0,
      ['id utf8', 'n int64', 'quarter float64', 'list list int64', 'huge decimal 38e0'],
    ]);
    const select = parquetOf(await result(sql, PARQUET));
    expect(await duckdb.types(select)).toEqual({ id: 'VARCHAR', n: 'BIGINT', quarter: 'DOUBLE', list: 'BIGINT[]', huge: 'DECIMAL(38,0)' });
    expect(await duckdb.texts(select)).toEqual([]);
    expect((await result(sql, CSV)).toString().trim()).toBe('id,n,quarter,list,huge');
    expect((await result(sql, NDJSON)).toString()).toBe('');
  });

  const SUMS = `count(*) AS c, count(DISTINCT id) AS ids, sum(n) AS s, sum(quarter) AS q, count(word) AS w, min("timestamp") AS a, max("timestamp") AS z, md5(string_agg(word, '|' ORDER BY n)) AS h`;

  test(`${ROWS} rows`, async () => {
    const sql = 'SELECT * FROM numbers';
    const expected = await duckdb.texts(`SELECT ${SUMS} FROM numbers`);
    expect(await duckdb.texts(`SELECT ${SUMS} FROM (${parquetOf(await result(sql, PARQUET))})`)).toEqual(expected);
    const csv = csvOf(await result(sql, CSV));
    const typed = `SELECT id, "timestamp"::TIMESTAMPTZ AS "timestamp", n::BIGINT AS n, quarter::DOUBLE AS quarter, word FROM (${csv})`;
    expect(await duckdb.texts(`SELECT ${SUMS} FROM (${typed})`)).toEqual(expected);
    const file = duckdb.file('ndjson');
    writeFileSync(file, await result(sql, NDJSON));
    const columns = `{id: 'VARCHAR', "timestamp": 'TIMESTAMPTZ', n: 'BIGINT', quarter: 'DOUBLE', word: 'VARCHAR'}`;
    expect(
      await duckdb.texts(`SELECT ${SUMS} FROM read_ndjson('${file}', columns = ${columns.replace('"timestamp"', 'timestamp')})`),
    ).toEqual(expected);
  });

  test(`${ROWS} rows as Arrow, in the order asked for`, async () => {
    const body = await result('SELECT n, quarter, word, id, timestamp FROM numbers ORDER BY n', ARROW);
    let [next, batches] = [0, 0];
    for (const batch of arrow.RecordBatchReader.from(body)) {
      batches += 1;
      const [n, quarter, word, id, timestamp] = ['n', 'quarter', 'word', 'id', 'timestamp'].map((name) => batch.getChild(name)!);
      const numbers = n!.toArray() as BigInt64Array;
      for (let row = 0; row < batch.numRows; row += 1, next += 1) {
        const isRight =
          numbers[row] === BigInt(next) &&
          quarter!.get(row) === next / 4 &&
          word!.get(row) === (next % 10 === 0 ? null : `wörd, "${next % 1_000}"`) &&
          id!.get(row) === `n-${next}` &&
          Math.abs(Number(timestamp!.get(row)) - (Date.UTC(2024, 0, 1) + next / 1_000)) < 0.01;
        if (!isRight) throw new Error(`row ${next} is ${JSON.stringify([String(numbers[row]), word!.get(row), id!.get(row)])}`);
      }
    }
    expect(next).toBe(ROWS);
    expect(batches).toBeGreaterThan(1);
  });

  test.each(ALL)('limit, without the bound of a page, and parameters: %s', async (accept) => {
    for (const limit of [1, 7, 20_000]) {
      const body = await result('SELECT n FROM numbers WHERE n >= $1 ORDER BY n', accept, { limit, params: [100] });
      const found =
        accept === ARROW
          ? arrow.tableFromIPC(body).numRows
          : accept === PARQUET
            ? Number((await duckdb.texts(`SELECT count(*) FROM (${parquetOf(body)})`))[0]![0])
            : linesOf(body).length - (accept === CSV ? 1 : 0);
      expectThat(found, `limit ${limit}`).toBe(limit);
    }
    expectError(await download('SELECT 1', accept, { limit: 0 }), 400, 'INVALID_ARGUMENT', /limit/);
    expectError(await download('SELECT 1', accept, { cursor: 'x' }), 400, 'INVALID_ARGUMENT', /cursor/);
  });
});

describe('failures', () => {
  test.each(ALL)('what is wrong with a statement is a status and a JSON error: %s', async (accept) => {
    expectError(await download('SELECT colour FROM numbers', accept), 400, 'INVALID_ARGUMENT', /colour/);
    expectError(await download('SELECT * FROM nowhere', accept), 404, 'NOT_FOUND', /nowhere/);
    expectError(await download('SELECT FROM WHERE', accept), 400, 'INVALID_ARGUMENT', /syntax/i);
    expectError(await download('DROP TABLE numbers', accept), 400, 'INVALID_ARGUMENT', /SELECT/);
    await expectNothingLeft();
  });

  test('an error that only a row shows: a status before the first byte of Arrow, a cut or a status elsewhere; never an answer that looks whole', async () => {
    const sql = `SELECT CASE WHEN n = ${ROWS - 1} THEN id::BIGINT ELSE n END AS m FROM numbers`;
    expectError(await download(sql, ARROW), 400, 'INVALID_ARGUMENT', /n-299999|Conversion/);
    for (const accept of [PARQUET, CSV, NDJSON]) {
      const status = await download(sql, accept).then(
        (answer) => answer.status,
        () => 'cut',
      );
      expectThat(status, accept).not.toBe(200);
    }
    await expectNothingLeft();
  });

  test.each(ALL)('timeout_ms: %s', async (accept) => {
    const startedMs = Date.now();
    expectError(await download(ENDLESS, accept, { timeout_ms: 300 }), 504, 'DEADLINE_EXCEEDED', /300/);
    expect(Date.now() - startedMs).toBeLessThan(5_000);
    await expectNothingLeft();
  });

  test.each(ALL)('killed with DELETE: %s', async (accept) => {
    const answer = download(ENDLESS, accept);
    const [found] = await eventually(
      'the query is listed',
      () => running(),
      (list) => list.length === 1,
    );
    await call(server, 'DELETE', `/v1/queries/${found!['query_id'] as string}`);
    expectError(await answer, 499, 'CANCELLED', /cancel|stopped/i);
    await expectNothingLeft();
  });
});

/* --------------------------------------------------------------------------------------------------------- leaving clients */

interface Leaving {
  /** Settles with the status when the head of the answer is there. */
  readonly head: Promise<number>;
  leave(): void;
}

/** Asks, takes no more than the head (and what the sockets hold), and leaves when told. */
function ask(sql: string, accept: string, of: RunningServer = server): Leaving {
  const body = JSON.stringify({ sql, timeout_ms: 120_000 });
  const request = httpRequest(new URL(`${of.rest}/v1/query`), { method: 'POST', headers: { 'content-type': 'application/json', accept } });
  const head = new Promise<number>((resolve, reject) => {
    request.on('error', reject);
    request.once('response', (response) => {
      response.on('error', () => undefined);
      response.pause();
      resolve(response.statusCode ?? 0);
    });
  });
  head.catch(() => undefined);
  request.end(body);
  return { head, leave: () => void request.destroy() };
}

async function expectArrowWorks(): Promise<void> {
  const table = arrow.tableFromIPC(await result('SELECT n FROM numbers ORDER BY n', ARROW, { limit: 50_000 }));
  expect(table.numRows).toBe(50_000);
}

describe('a client that goes away', () => {
  test.each(ALL)('while the answer is being sent: %s', async (accept) => {
    const sql = accept === ARROW ? `${LONG} LIMIT 2000000` : LONG;
    for (let round = 0; round < 2; round += 1) {
      const leaving = ask(sql, accept);
      expect(await leaving.head).toBe(200);
      leaving.leave();
      await expectNothingLeft();
    }
    await expectArrowWorks();
  });

  test.each(ALL)('before the first byte: %s', async (accept) => {
    const leaving = ask(ENDLESS, accept);
    await eventually(
      'the query is listed',
      () => running(),
      (list) => list.length === 1,
    );
    leaving.leave();
    await expectNothingLeft();
  });

  test('at whatever instant, and the server stops as it should afterwards', async () => {
    const other = await startServer({ config: { log: { file: '' } } });
    try {
      for (const accept of ALL) {
        for (let afterMs = 0; afterMs < 60; afterMs += 6) {
          const leaving = ask(`SELECT range AS n, md5(range::VARCHAR) AS text FROM range(${300_000 + afterMs})`, accept, other);
          await new Promise((resolve) => setTimeout(resolve, afterMs));
          leaving.leave();
        }
      }
      await eventually(
        'no query is under way',
        () => running(other),
        (list) => list.length === 0,
        5_000,
      );
      await expectNothingLeft(other);
      const stopped = await Promise.race([
        other.stop(),
        new Promise((resolve) => setTimeout(() => resolve('still there after 15 s'), 15_000)),
      ]);
      expect(stopped).toBe(0);
    } finally {
      await other.kill();
    }
  });
});

test('many conversions to Arrow at once: each is answered whole, or 429 with Retry-After; afterwards all are free', async () => {
  const holders = Array.from({ length: 6 }, () => ask('SELECT * FROM numbers, range(6)', ARROW));
  const heads = await Promise.all(holders.map(({ head }) => head));
  for (const status of heads) expect([200, 429]).toContain(status);
  expect(heads).toContain(200);
  if (heads.includes(429)) {
    const refused = await download('SELECT 1 AS n', ARROW);
    if (refused.status !== 200) {
      expectError(refused, 429, 'RESOURCE_EXHAUSTED', /Arrow/);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
  }
  for (const holder of holders) holder.leave();
  await expectNothingLeft();
  for (let round = 0; round < 6; round += 1) await expectArrowWorks();
  const answers = await Promise.all(Array.from({ length: 8 }, () => download('SELECT n FROM numbers', ARROW)));
  for (const answer of answers) {
    if (answer.status === 200) expect(arrow.tableFromIPC(answer.body).numRows).toBe(ROWS);
    else expectError(answer, 429, 'RESOURCE_EXHAUSTED', /Arrow/);
  }
});

test('a reader that stalls and goes on gets the whole answer, and the server holds little of it', async () => {
  const before = memoryOf(server.pid);
  const response = await fetch(`${server.rest}/v1/query`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: ARROW },
    body: JSON.stringify({ sql: `${LONG} LIMIT 3000000`, timeout_ms: 120_000 }),
  });
  expect(response.status).toBe(200);
  const reader = response.body!.getReader();
  const first = await reader.read();
  let bytes = first.value?.length ?? 0;
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const held = memoryOf(server.pid) - before;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) bytes += piece.value.length;
  console.log(
    `${(bytes / MIB).toFixed(0)} MiB of Arrow; while the reader stalled the server held ${(held / MIB).toFixed(0)} MiB more than before`,
  );
  expect(bytes).toBeGreaterThan(3_000_000 * 40);
  expect(held).toBeLessThan(600 * MIB);
  await expectNothingLeft();
});

test('the same answer, whichever format: dates and instants against milliseconds since 1970', async () => {
  const sql = `SELECT DATE '2024-02-29' AS day, TIMESTAMPTZ '2024-02-29 12:00:00.5+00' AS at`;
  const table = arrow.tableFromIPC(await result(sql, ARROW));
  expect(Number(table.getChild('day')!.get(0)) / MS_A_DAY).toBe(Date.UTC(2024, 1, 29) / MS_A_DAY);
  expect(Number(table.getChild('at')!.get(0))).toBe(Date.UTC(2024, 1, 29, 12, 0, 0, 500));
  expect((await result(sql, CSV)).toString()).toBe('day,at\n2024-02-29,2024-02-29T12:00:00.500000Z\n');
  expect((await result(sql, NDJSON)).toString()).toBe('{"day":"2024-02-29","at":"2024-02-29T12:00:00.500000Z"}\n');
  expect(await duckdb.texts(parquetOf(await result(sql, PARQUET)))).toEqual([['2024-02-29', '2024-02-29 12:00:00.5+00']]);
});

test('a request with a bad timeout_ms is refused, and is no query under way ever after', async () => {
  for (const accept of ['application/json', ...ALL]) {
    for (const timeout_ms of [0, 999_999_999])
      expectError(await download('SELECT 1 AS refused_at_once', accept, { timeout_ms }), 400, 'INVALID_ARGUMENT', /timeout_ms/);
  }
  await expectNothingLeft();
});
