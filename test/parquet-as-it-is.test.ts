/**
 * Parquet bodies that become data files as they are: that they do (the compression of the client's file is still there), that everything of a table
 * works on them, and that a file which a data file of ours would not look like is encoded anew. The rows are compared with the plain engine's.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { PlainDuckdb, sendBulk } from './support/bulk-bodies.js';
import { countOf, createTable, expectStatus, expectSuccess, flush, type JsonRow, rowsOf, tableInfo, valueOf } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const ROWS = 150_000;
const ID = `'k' || lpad(i::VARCHAR, 7, '0') AS id`;
const TIME = `TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_microseconds(i * 1000) AS "timestamp"`;
const PAYLOAD = `i * 3 AS n, CASE WHEN i % 5 > 0 THEN i / 8 END AS ratio, 'größe ' || (i % 1000) AS note, i % 3 = 0 AS flag, DATE '2024-01-01' + (i % 400)::INTEGER AS day`;
const FROM = `FROM range(${ROWS}) r(i)`;
const GOOD = `SELECT ${ID}, ${TIME}, ${PAYLOAD}, md5(i::VARCHAR) AS digest ${FROM}`;
const GZIP = 'FORMAT parquet, COMPRESSION gzip';

let server: RunningServer;
let duckdb: PlainDuckdb;
let tables = 0;

beforeAll(async () => {
  duckdb = await PlainDuckdb.open();
  server = await startServer({
    config: { log: { file: '' }, tables: { flush_interval_seconds: 3_600 }, maintenance: { interval_seconds: 3_600 } },
  });
});

afterAll(async () => {
  await server?.stop();
  duckdb?.close();
});

/** A new table with the rows of one body. */
async function load(body: Buffer, config: JsonRow = {}): Promise<string> {
  const table = `kept_${(tables += 1)}`;
  await createTable(server, table, config);
  expect(expectSuccess(await sendBulk(server, table, 'parquet', body)).json).toMatchObject({ count: ROWS, refused_count: 0 });
  return table;
}

/** `add` actions of a table that has no checkpoint yet, with the paths of their files. */
async function dataFiles(table: string): Promise<{ file: string; stats: JsonRow }[]> {
  const { location } = await tableInfo(server, table);
  const log = path.join(location as string, '_delta_log', '00000000000000000001.json');
  const actions = readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as JsonRow); // prettier-ignore
  return actions.flatMap(({ add }) => (add ? [{ file: path.join(location as string, add.path), stats: JSON.parse(add.stats) }] : []));
}

async function compressionsOf(table: string): Promise<string[]> {
  const [stored] = await dataFiles(table);
  const rows = await duckdb.rows(`SELECT DISTINCT compression FROM parquet_metadata('${stored?.file}')`);
  return rows.map(({ compression }) => String(compression));
}

/** A digest of all rows with all digits, made by whoever has them. */
const DIGEST = `count(*) AS rows, sum(n) AS n, sum(hash(id, note, digest) % 1000000)::VARCHAR AS text, sum(epoch_us("timestamp"))::VARCHAR AS time,
  sum(ratio) AS ratio, count(*) FILTER (WHERE flag) AS flags, sum(day - DATE '2024-01-01') AS days`;

async function expectSameRows(table: string, select: string): Promise<void> {
  const [expected] = await duckdb.rows(`SELECT ${DIGEST} FROM (${select})`);
  const [received] = await rowsOf(server, `SELECT ${DIGEST} FROM ${table}`);
  expect(Object.values(received ?? {}).map(String)).toEqual(Object.values(expected ?? {}).map(String));
}

describe('a Parquet body as our own files are', () => {
  test('becomes a data file with its pages as they were', async () => {
    const table = await load(await duckdb.copy(GOOD, GZIP));
    await expectSameRows(table, GOOD);
    await flush(server, table);
    await expectSameRows(table, GOOD);
    expect(await compressionsOf(table)).toEqual(['GZIP']);
    const [stored] = await dataFiles(table);
    expect(await duckdb.rows(`SELECT field_id::INTEGER AS id FROM parquet_schema('${stored?.file}') WHERE num_children IS NULL`)).toEqual(
      [1, 2, 16, 17, 18, 19, 20, 21].map((id) => ({ id })),
    );
  });

  test('has the statistics in the log that the file has', async () => {
    const table = await load(await duckdb.copy(GOOD, GZIP));
    await flush(server, table);
    const [stored] = await dataFiles(table);
    expect(stored?.stats).toEqual({
      numRecords: ROWS,
      tightBounds: true,
      minValues: { id: 'k0000000', timestamp: '2024-01-01T00:00:00.000Z', n: 0, ratio: 0.125, note: 'größe 0', day: '2024-01-01', digest: expect.any(String) },
      maxValues: { id: `k${String(ROWS - 1).padStart(7, '0')}`, timestamp: '2024-01-01T00:02:29.999Z', n: (ROWS - 1) * 3, ratio: (ROWS - 1) / 8, note: 'größe 999', day: '2025-02-03', digest: expect.any(String) },
      nullCount: { id: 0, timestamp: 0, n: 0, ratio: ROWS / 5, note: 0, flag: 0, day: 0, digest: 0 },
    }); // prettier-ignore
    expect(await tableInfo(server, table)).toMatchObject({ stats: { record_count: ROWS, file_count: 1 } });
  });

  test('takes columns that come later, changes by id, compaction and a kill', async () => {
    const own = await startServer({ config: { tables: { flush_interval_seconds: 3_600 } } });
    try {
      await createTable(own, 'changed');
      expectSuccess(await sendBulk(own, 'changed', 'parquet', await duckdb.copy(GOOD, GZIP)));
      await own.kill();
      const again = await startServer({ dataDir: own.dataDir, config: { tables: { flush_interval_seconds: 3_600 } } });
      try {
        expectSuccess(await call(again, 'POST', '/v1/data', { table: 'changed', id: 'later', payload: { added: 'a' } }));
        await flush(again, 'changed');
        expectSuccess(await call(again, 'PUT', '/v1/data', { table: 'changed', id: 'k0000007', payload: { n: -1 }, partial: true }));
        expect(expectSuccess(await call(again, 'DELETE', '/v1/data', { table: 'changed', ids: ['k0000008', 'k0149999'] })).json).toMatchObject({ deleted_count: 2 });
        const asked = "SELECT id, n, added, note FROM changed WHERE id IN ('k0000007', 'k0000008', 'k0000009', 'k0149999', 'later') ORDER BY id";
        const expected = [
          { id: 'k0000007', n: -1, added: null, note: 'größe 7' },
          { id: 'k0000009', n: 27, added: null, note: 'größe 9' },
          { id: 'later', n: null, added: 'a', note: null },
        ];
        expect(await rowsOf(again, asked)).toEqual(expected);
        await flush(again, 'changed');
        expect(await rowsOf(again, asked)).toEqual(expected);
        expectSuccess(await call(again, 'POST', '/v1/tables/changed/compact'));
        expect(await rowsOf(again, asked)).toEqual(expected);
        expect(await countOf(again, 'changed')).toBe(ROWS - 1);
      } finally {
        await again.stop();
      }
    } finally {
      await own.kill();
    }
  }); // prettier-ignore

  test('may leave out columns of the table, and is read by field id then', async () => {
    const table = await load(await duckdb.copy(GOOD, GZIP));
    const fewer = await duckdb.copy(
      `SELECT ${TIME}, 'second-' || i AS id, md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS digest ${FROM}`,
      GZIP,
    );
    expectSuccess(await sendBulk(server, table, 'parquet', fewer));
    await flush(server, table);
    expect(await countOf(server, table)).toBe(2 * ROWS);
    expect(await valueOf(server, `SELECT count(n) FROM ${table}`)).toBe(ROWS);
    expect((await rowsOf(server, `SELECT n, note, digest FROM ${table} WHERE id = 'second-0'`))[0]).toEqual({
      n: null,
      note: null,
      digest: 'cfcd208495d565ef66e7dff9f98764dac4ca4238a0b923820dcc509a6f75849b',
    });
  });

  test('is refused as a whole when one id is none, and when one number is NaN', async () => {
    const table = await load(await duckdb.copy(GOOD, GZIP));
    const bad = GOOD.replace(ID, `CASE i WHEN 140000 THEN 'not an\x7fid' ELSE 'k' || i END AS id`);
    expect(expectStatus(await sendBulk(server, table, 'parquet', await duckdb.copy(bad, GZIP)), 400).text).toContain('140001');
    const nan = GOOD.replace('i / 8 END', `CASE i WHEN 140001 THEN 'nan'::DOUBLE ELSE i / 8 END END`);
    expect(expectStatus(await sendBulk(server, table, 'parquet', await duckdb.copy(nan, GZIP)), 400).text).toContain('ratio');
    await expectSameRows(table, GOOD);
  }, 60_000);
});

describe('a Parquet body is encoded anew', () => {
  const shuffled = `SELECT * FROM (${GOOD}) ORDER BY hash(id)`;
  test.each([
    ['rows in another order', shuffled, GZIP],
    ['small row groups', GOOD, `${GZIP}, ROW_GROUP_SIZE 8192`],
    ['no compression', GOOD, 'FORMAT parquet, COMPRESSION uncompressed'],
    ['nanoseconds', GOOD.replace(TIME, `make_timestamp_ns(1704067200000000000 + i * 1000000) AS "timestamp"`), GZIP],
    ['times without a zone', GOOD.replace(TIME, `make_timestamp(1704067200000000 + i * 1000) AS "timestamp"`), GZIP],
    ['narrow integers', GOOD.replace('i * 3 AS n', '(i * 3)::INTEGER AS n'), GZIP],
    ['unsigned integers', GOOD.replace('i * 3 AS n', '(i * 3)::UBIGINT AS n'), GZIP],
    ['single precision', GOOD.replace('i / 8 END', '(i / 8)::FLOAT END'), GZIP],
  ])('%s', async (_title, select, options) => {
    const table = await load(await duckdb.copy(select, options));
    await flush(server, table);
    expect(await compressionsOf(table)).toEqual(['SNAPPY']);
    await expectSameRows(table, select);
  });

  test('ids in a column of another name', async () => {
    const body = await duckdb.copy(GOOD.replace('AS id', 'AS key'), GZIP);
    const table = 'kept_key';
    await createTable(server, table);
    expectSuccess(await sendBulk(server, table, 'parquet', body, { query: '&id_field=key' }));
    await flush(server, table);
    expect(await compressionsOf(table)).toEqual(['SNAPPY']);
    await expectSameRows(table, GOOD);
  }); // prettier-ignore

  test('sorted by what the table is not', async () => {
    const table = await load(await duckdb.copy(GOOD, GZIP), { sort_by: ['digest'] });
    await flush(server, table);
    expect(await compressionsOf(table)).toEqual(['SNAPPY']);
  });
});
