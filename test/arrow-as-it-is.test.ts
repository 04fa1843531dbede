/**
 * Small Arrow bodies that go into the log and the buffer as they are: that they do (the log has their bytes), that their rows are those which the other
 * way gives, and that everything of a table works on rows that the engine has not seen yet.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { PlainDuckdb, sendBulk } from './support/bulk-bodies.js';
import { expectThat } from './support/expectations.js';
import { countOf, createTable, expectError, expectSuccess, flush, type JsonRow, rowsOf, valueOf, write } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const CONFIG = { log: { file: '' }, tables: { flush_interval_seconds: 3_600 }, maintenance: { interval_seconds: 3_600 } };
const COLUMNS = {
  n: 'BIGINT',
  small: 'INTEGER',
  ratio: 'DOUBLE',
  flag: 'BOOLEAN',
  note: 'VARCHAR',
  day: 'DATE',
  seen: 'TIMESTAMPTZ',
};
const SELECTED = `'k' || i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_microseconds(i * 1001) AS "timestamp",
  CASE WHEN i % 3 > 0 THEN i * 1000000007 END AS n, (i % 7 - 3)::INTEGER AS small, CASE WHEN i % 4 > 0 THEN i / 8 END AS ratio, i % 2 = 0 AS flag,
  CASE WHEN i % 5 > 0 THEN 'größe ' || i END AS note, DATE '2024-01-01' + (i % 400)::INTEGER AS day,
  TIMESTAMPTZ '1969-12-31 23:59:59+00' + to_microseconds(i) AS seen`;

let server: RunningServer;
let duckdb: PlainDuckdb;
let tables = 0;

beforeAll(async () => {
  duckdb = await PlainDuckdb.open();
  server = await startServer({ config: CONFIG });
});

afterAll(async () => {
  await server?.stop();
  duckdb?.close();
});

async function newTable(config: JsonRow = {}, columns: Readonly<Record<string, string>> = COLUMNS): Promise<string> {
  const name = `batches_${(tables += 1)}`;
  expectSuccess(
    await call(server, 'POST', '/v1/tables', {
      table_name: name,
      config,
      schema: Object.entries(columns).map(([column, type]) => ({ name: column, type })),
    }),
  );
  return name;
}

/** Rows `from` to `to`, as one body of several batches. */
function bodyOf(from: number, to: number): Promise<Buffer> {
  return duckdb.arrow(`SELECT ${SELECTED} FROM range(${from}, ${to}) r(i)`);
}

/** True when the log has the very bytes of a body. */
function isLogged(body: Buffer, { dataDir } = server): boolean {
  const directory = path.join(dataDir, 'wal');
  return readdirSync(directory).some((name) => name.endsWith('.wal') && readFileSync(path.join(directory, name)).includes(body));
}

async function load(table: string, body: Buffer, target = server): Promise<JsonRow> {
  return expectSuccess(await sendBulk(target, table, 'arrow', body)).json;
}

async function loadAsItIs(table: string, body: Buffer, target = server): Promise<JsonRow> {
  const answer = await load(table, body, target);
  expect(isLogged(body, target)).toBe(true);
  return answer;
}

/** A digest of all rows, made by whoever has them. */
const DIGEST = `count(*) AS c, sum(n)::VARCHAR AS n, sum(small)::VARCHAR AS small, sum(ratio) AS ratio, count(*) FILTER (WHERE flag) AS flags,
  sum(hash(id, note) % 1000000)::VARCHAR AS text, sum(day - DATE '2024-01-01')::VARCHAR AS days,
  sum(epoch_us(seen))::VARCHAR AS seen, sum(epoch_us("timestamp"))::VARCHAR AS time, count(note) AS notes, count(n) AS ns`;

async function expectRows(table: string, from: number, to: number, target = server): Promise<void> {
  const [expected] = await duckdb.rows(`SELECT ${DIGEST} FROM (SELECT ${SELECTED} FROM range(${from}, ${to}) r(i))`);
  const numbers = (row: JsonRow | undefined): JsonRow =>
    Object.fromEntries(Object.entries(row ?? {}).map(([name, value]) => [name, typeof value === 'bigint' ? Number(value) : value]));
  expect((await rowsOf(target, `SELECT ${DIGEST} FROM ${table}`))[0]).toEqual(numbers(expected));
}

describe('a small Arrow body', () => {
  test('is taken as it is, seen by the next query, and the same after a flush', async () => {
    const table = await newTable();
    const body = await bodyOf(0, 1_000);
    expect(await loadAsItIs(table, body)).toMatchObject({ success: true, count: 1_000, refused_count: 0, errors: [] });
    await expectRows(table, 0, 1_000);
    await loadAsItIs(table, await bodyOf(1_000, 1_500));
    expect(await countOf(server, table)).toBe(1_500);
    await expectRows(table, 0, 1_500);
    await flush(server, table);
    await expectRows(table, 0, 1_500);
  });

  test('gives the rows that the other way gives', async () => {
    const [quick, slow] = [await newTable(), await newTable()];
    await loadAsItIs(quick, await bodyOf(0, 500));
    const rows = `SELECT ${SELECTED} FROM range(500) r(i)`;
    expectSuccess(await sendBulk(server, slow, 'parquet', await duckdb.body('parquet', rows)));
    const all = `SELECT * FROM TABLE_NAME ORDER BY id`;
    expect(await rowsOf(server, all.replace('TABLE_NAME', quick))).toEqual(await rowsOf(server, all.replace('TABLE_NAME', slow)));
  });

  test('takes the place of the rows of its ids in a table that keeps one for each', async () => {
    const table = await newTable({ write_mode: 'upsert' }, { n: 'BIGINT' });
    const numbered = (from: number, to: number, n: number): Promise<Buffer> =>
      duckdb.arrow(
        `SELECT i::INTEGER AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS "timestamp", ${n}::BIGINT AS n FROM range(${from}, ${to}) r(i)`,
      );
    await loadAsItIs(table, await numbered(0, 10, 1));
    await loadAsItIs(table, await numbered(5, 15, 2));
    await flush(server, table);
    await loadAsItIs(table, await numbered(14, 16, 3));
    expect(await rowsOf(server, `SELECT n, count(*) AS c, min(id::INT) AS low FROM ${table} GROUP BY n ORDER BY n`)).toEqual([
      { n: 1, c: 5, low: 0 },
      { n: 2, c: 9, low: 5 },
      { n: 3, c: 2, low: 14 },
    ]);
    const lines = [3, 3, 15].map((id) => JSON.stringify({ id, timestamp: '2024-01-01', n: 4 })).join('\n');
    expectSuccess(await sendBulk(server, table, 'ndjson', lines));
    expect(await rowsOf(server, `SELECT id FROM ${table} WHERE n = 4 ORDER BY id`)).toEqual([{ id: '15' }, { id: '3' }]);
    expect(await countOf(server, table)).toBe(16);
  });

  test('may come packed', async () => {
    const table = await newTable();
    const body = await bodyOf(0, 300);
    expectSuccess(await sendBulk(server, table, 'arrow', body, { packing: 'gzip' }));
    expect(isLogged(body)).toBe(true);
    await expectRows(table, 0, 300);
  });

  test('is stored once under one key', async () => {
    const table = await newTable();
    const body = await bodyOf(0, 100);
    const first = expectSuccess(await sendBulk(server, table, 'arrow', body, { key: 'once' })).json as JsonRow;
    const second = expectSuccess(await sendBulk(server, table, 'arrow', body, { key: 'once' })).json as JsonRow;
    expect(second['lsn']).toBe(first['lsn']);
    expect(await countOf(server, table)).toBe(100);
  });

  test('may have ids that are numbers, and fields of other names', async () => {
    const table = await newTable({}, { n: 'BIGINT' });
    const body = await duckdb.arrow(`SELECT i::INTEGER AS key, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS at, i AS n FROM range(-2, 3) r(i)`);
    expectSuccess(await sendBulk(server, table, 'arrow', body, { query: '&id_field=key&timestamp_field=at' }));
    expect(isLogged(body)).toBe(true);
    expect(await rowsOf(server, `SELECT id, n FROM ${table} ORDER BY n`)).toEqual([-2, -1, 0, 1, 2].map((n) => ({ id: String(n), n })));
  });

  test('changes and deletes find its rows at once', async () => {
    const table = await newTable();
    await loadAsItIs(table, await bodyOf(0, 10));
    expectSuccess(await call(server, 'PUT', '/v1/data', { table, id: 'k3', payload: { n: 33 } }));
    await loadAsItIs(table, await bodyOf(10, 20));
    expect(expectSuccess(await call(server, 'DELETE', '/v1/data', { table, id: 'k12' })).json).toMatchObject({ deleted_count: 1 });
    expect(expectSuccess(await call(server, 'DELETE', '/v1/data', { table, id: 'k4', soft_delete: true })).json).toMatchObject({
      deleted_count: 1,
    });
    await loadAsItIs(table, await bodyOf(20, 30));
    expect(await countOf(server, table)).toBe(28);
    expectSuccess(await call(server, 'POST', '/v1/data/restore', { table, id: 'k4' }));
    expect(await countOf(server, table)).toBe(29);
    expect(await valueOf(server, `SELECT n FROM ${table} WHERE id = 'k3'`)).toBe(33);
    await flush(server, table);
    expect(await countOf(server, table)).toBe(29);
  });

  test('stands between rows of other writes in the order of their coming', async () => {
    const table = await newTable();
    for (let round = 0; round < 5; round += 1) {
      await loadAsItIs(table, await bodyOf(round * 10, round * 10 + 5));
      await write(server, table, `w${round}`, { n: round });
      await write(server, await newTable(), 'other');
    }
    await loadAsItIs(table, await bodyOf(60, 61));
    expect(await countOf(server, table)).toBe(31);
    await flush(server, table);
    expect(await valueOf(server, `SELECT count(DISTINCT id) FROM ${table}`)).toBe(31);
  });

  test('may lack columns of the table, which may get others meanwhile', async () => {
    const table = await newTable();
    await loadAsItIs(table, await duckdb.arrow(`SELECT 'a' AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS "timestamp", 1::BIGINT AS n`));
    await write(server, table, 'b', { more: 'x' });
    await loadAsItIs(table, await duckdb.arrow(`SELECT 'c' AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS "timestamp", 'y' AS more`));
    expect(await rowsOf(server, `SELECT id, n, more FROM ${table} ORDER BY id`)).toEqual([
      { id: 'a', n: 1, more: null },
      { id: 'b', n: null, more: 'x' },
      { id: 'c', n: null, more: 'y' },
    ]);
  });

  test('outlives a column that becomes DOUBLE', async () => {
    const table = await newTable();
    await loadAsItIs(table, await bodyOf(0, 4));
    await write(server, table, 'half', { n: 0.5 });
    expect(await rowsOf(server, `SELECT n FROM ${table} ORDER BY n NULLS FIRST`)).toEqual(
      [null, null, 0.5, 1_000_000_007, 2_000_000_014].map((n) => ({ n })),
    );
  });

  test.each([
    ['a value that no table holds', { ratio: arrow.vectorFromArray([1, NaN], new arrow.Float64()) }, 400, /row|line/],
    ['an id of two lines', { id: arrow.vectorFromArray(['a', 'b\nc'], new arrow.Utf8()) }, 400, /id/],
    ['an empty id', { id: arrow.vectorFromArray(['a', ''], new arrow.Utf8()) }, 400, /id/],
    ['text for a number', { n: arrow.vectorFromArray(['1', 'x'], new arrow.Utf8()) }, 400, /n/],
  ])('is refused as ever: %s', async (_what, changed, status, says) => {
    const table = await newTable();
    const columns = {
      id: arrow.vectorFromArray(['a', 'b'], new arrow.Utf8()),
      timestamp: arrow.vectorFromArray([0, 1], new arrow.TimestampMillisecond('UTC')),
      ...changed,
    };
    const body = Buffer.from(arrow.tableToIPC(new arrow.Table(columns as Record<string, arrow.Vector>), 'stream'));
    expectError(await sendBulk(server, table, 'arrow', body), status, 'INVALID_ARGUMENT', says);
    expect(isLogged(body)).toBe(false);
    expect(await countOf(server, table)).toBe(0);
  });

  test('comes many at a time, while others read: each row is there once', async () => {
    const table = await newTable();
    const bodies = await Promise.all(Array.from({ length: 60 }, (_, number) => bodyOf(number * 1_000, (number + 1) * 1_000)));
    let acknowledged = 0;
    const sent = bodies.map(async (body) => {
      await load(table, body);
      acknowledged += 1;
    });
    for (let look = 0; look < 20; look += 1) {
      const before = acknowledged * 1_000;
      const seen = await countOf(server, table);
      expectThat(seen, `look ${look}`).toBeGreaterThanOrEqual(before);
      expectThat(seen % 1_000, `look ${look}`).toBe(0);
    }
    await Promise.all(sent);
    expect(bodies.filter((body) => isLogged(body)).length).toBeGreaterThan(50);
    await expectRows(table, 0, 60_000);
  });
});

test('small Arrow bodies that were acknowledged are there after kill -9, whether anybody read them or not', async () => {
  const first = await startServer({ config: CONFIG });
  let second: RunningServer | undefined;
  try {
    await createTable(first, 'killed');
    await load('killed', await bodyOf(0, 10), first);
    await loadAsItIs('killed', await bodyOf(10, 200), first);
    expect(await countOf(first, 'killed')).toBe(200);
    await loadAsItIs('killed', await bodyOf(200, 300), first);
    expectSuccess(await call(first, 'DELETE', '/v1/data', { table: 'killed', id: 'k250' }));
    await loadAsItIs('killed', await bodyOf(250, 251), first);
    await loadAsItIs('killed', await bodyOf(300, 400), first);
    await createTable(first, 'one_each', { write_mode: 'upsert' });
    await write(first, 'one_each', 'k0', { note: 'before' });
    for (let round = 0; round < 3; round += 1) await load('one_each', await bodyOf(0, 50), first);
    await first.kill();
    second = await startServer({ config: CONFIG, dataDir: first.dataDir });
    await expectRows('killed', 0, 400, second);
    await expectRows('one_each', 0, 50, second);
    for (const table of ['killed', 'one_each']) await flush(second, table);
    await expectRows('killed', 0, 400, second);
    await expectRows('one_each', 0, 50, second);
  } finally {
    await first.kill();
    await second?.stop();
  }
});
