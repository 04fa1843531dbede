/**
 * Answers that are kept: the same statement over unchanged tables is not run again, and no change of a table, its columns or its rows is ever missed.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { createTable, expectSuccess, flush, type JsonRow, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

type Cache = 'none' | 'miss' | 'hit';

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ config: { tables: { flush_interval_seconds: 3_600 }, query: { result_cache_bytes_max: 1_048_576 } } });
  await createTable(server, 'kept');
  await writeBatch(
    server,
    'kept',
    Array.from({ length: 100 }, (_, n) => ({ id: `r${n}`, payload: { n, kind: `k${n % 3}` } })),
  );
});

afterAll(() => server.stop());

async function query(sql: string, body: JsonRow = {}, headers: Record<string, string> = {}): Promise<Answer> {
  return expectSuccess(await call(server, 'POST', '/v1/query', { sql, ...body }, headers));
}

async function cacheOf(sql: string, body: JsonRow = {}, headers: Record<string, string> = {}): Promise<Cache> {
  return (await query(sql, body, headers)).json.stats.cache as Cache;
}

async function counts(): Promise<{ hits: number; misses: number }> {
  const { result } = expectSuccess(await call(server, 'GET', '/v1/metrics')).json.cache_metrics;
  return result as { hits: number; misses: number };
}

describe('an answer that is there', () => {
  it('is given again, the same, and counts as a query', async () => {
    const sql = 'SELECT kind, count(*) AS n FROM kept GROUP BY kind ORDER BY kind';
    const first = await query(sql);
    const second = await query(sql);
    expect([first.json.stats.cache, second.json.stats.cache]).toEqual(['miss', 'hit']);
    expect({ ...second.json, stats: null }).toEqual({ ...first.json, stats: null });
    expect(second.json.stats.query_id).not.toBe(first.json.stats.query_id);
    expect(second.json.stats).toMatchObject({ files_scanned: 0, bytes_scanned: 0 });
    const text = (await call(server, 'GET', '/metrics')).text;
    expect(text).toMatch(/miniodb_cache_hits_total\{cache_type="result",table="kept"\} [1-9]/);
    expect(text).toMatch(/miniodb_cache_hit_ratio\{cache_type="result"\} 0?\.\d+|1/);
    expect(text).toMatch(/miniodb_query_operations_total\{table="kept",status="success"\} 2/);
  });

  it('is found by what a statement means, not by how it is written', async () => {
    expect(await cacheOf('SELECT sum(n) AS total FROM kept WHERE n > 10')).toBe('miss');
    expect(await cacheOf('select   sum(n) AS total -- all of them\nFROM kept where n > 10;')).toBe('hit');
    expect(await cacheOf('SELECT sum(n) AS total FROM kept WHERE n > 11')).toBe('miss');
    expect(await cacheOf('SELECT sum(n) AS Total FROM kept WHERE n > 10')).toBe('miss');
  });

  it.each([
    ['9007199254740993', '9007199254740992'],
    ['1.00000000000000000001', '1.00000000000000000002'],
    ["'a'", "'A'"],
    [`'"query_location":1'`, `'"query_location":2'`],
    ['170141183460469231731687303715884105727', '170141183460469231731687303715884105726'],
  ])('is not that of a statement with another constant: %s, %s', async (one, other) => {
    const sql = (constant: string): string => `SELECT (${constant})::VARCHAR AS text FROM kept WHERE n = 1`;
    const [first, second] = [await query(sql(one)), await query(sql(other))];
    expect(second.json.stats.cache).toBe('miss');
    expect(second.json.rows).not.toEqual(first.json.rows);
  });

  it('belongs to its parameters, their types, and its limit', async () => {
    const sql = 'SELECT typeof($1) AS type, count(*) AS n FROM kept WHERE n < 1000';
    expect((await query(sql, { params: [1] })).json).toMatchObject({ rows: [{ type: 'INTEGER', n: 100 }], stats: { cache: 'miss' } });
    expect((await query(sql, { params: [1.5] })).json).toMatchObject({ rows: [{ n: 100 }], stats: { cache: 'miss' } });
    expect((await query(sql, { params: ['1'] })).json).toMatchObject({ rows: [{ type: 'VARCHAR', n: 100 }], stats: { cache: 'miss' } });
    expect(await cacheOf(sql, { params: [1] })).toBe('hit');
    expect(await cacheOf(sql, { params: [2] })).toBe('miss');
    expect(await cacheOf(sql, { params: [1], limit: 5 })).toBe('miss');
  });

  it('is not given where a cursor goes on, at another version, or when the client wants a new one', async () => {
    const sql = 'SELECT n FROM kept ORDER BY n';
    expect(await cacheOf(sql, { limit: 10 })).toBe('miss');
    expect(await cacheOf(sql, { limit: 10 })).toBe('miss');
    const whole = 'SELECT max(n) AS n FROM kept';
    expect([await cacheOf(whole), await cacheOf(whole)]).toEqual(['miss', 'hit']);
    expect(await cacheOf(whole, {}, { 'cache-control': 'no-cache' })).toBe('none');
    expect(await cacheOf(whole, {}, { 'cache-control': 'max-age=0, no-store' })).toBe('none');
    await flush(server, 'kept');
    expect(await cacheOf(whole, { as_of: 1 })).toBe('none');
  });

  it.each([
    'SELECT random() AS r FROM kept LIMIT 1',
    'SELECT uuid() AS u FROM kept LIMIT 1',
    'SELECT now() AS t FROM kept LIMIT 1',
    'SELECT current_timestamp AS t FROM kept LIMIT 1',
    'SELECT current_date AS t FROM kept LIMIT 1',
    'SELECT age("timestamp") AS t FROM kept LIMIT 1',
    'SELECT n FROM kept USING SAMPLE 3 ROWS',
    'SELECT count(*) FROM (SELECT * FROM kept TABLESAMPLE 10%)',
  ])('is never that of %s', async (sql) => {
    expect([await cacheOf(sql), await cacheOf(sql)]).toEqual(['none', 'none']);
  });

  it('is not kept when it is large', async () => {
    const sql = "SELECT repeat('x', 20000) AS x FROM kept WHERE n < 1";
    expect([await cacheOf(sql), await cacheOf(sql)]).toEqual(['miss', 'miss']);
  });

  it('is made once for requests at the same time', async () => {
    const before = await counts();
    const sql = 'SELECT count(*) AS n FROM range(20000000) r(i), kept WHERE i % 1000 = n AND i < 3000000';
    const answers = await Promise.all(Array.from({ length: 12 }, () => query(sql)));
    const after = await counts();
    expect(new Set(answers.map(({ json }) => JSON.stringify(json.rows))).size).toBe(1);
    expect({ misses: after.misses - before.misses, hits: after.hits - before.hits }).toEqual({ misses: 1, hits: 11 });
  });
});

describe('a change', () => {
  const SQL = 'SELECT count(*) AS n, coalesce(sum(v), 0) AS v FROM changing';

  it.each([
    ['a write', () => call(server, 'POST', '/v1/data', { table: 'changing', id: 'new', payload: { v: 7 } })],
    ['an update', () => call(server, 'PUT', '/v1/data', { table: 'changing', id: 'a', payload: { v: 70 } })],
    ['a merge', () => call(server, 'PUT', '/v1/data', { table: 'changing', id: 'a', payload: { v: 71 }, partial: true })],
    ['a delete', () => call(server, 'DELETE', '/v1/data', { table: 'changing', id: 'b' })],
    ['a soft delete', () => call(server, 'DELETE', '/v1/data', { table: 'changing', id: 'c', soft_delete: true })],
    ['a restore', () => call(server, 'POST', '/v1/data/restore', { table: 'changing', id: 'hidden' })],
    [
      'a bulk body',
      () => call(server, 'POST', '/v1/data/bulk?table=changing', '{"id":"bulk","v":1000}\n', { 'content-type': 'application/x-ndjson' }),
    ],
  ])('is seen at once: %s', async (_what, change) => {
    await call(server, 'DELETE', '/v1/tables/changing?cascade=true&if_exists=true');
    await createTable(server, 'changing');
    await writeBatch(
      server,
      'changing',
      ['a', 'b', 'c', 'hidden'].map((id, v) => ({ id, payload: { v } })),
    );
    for (const round of ['buffered', 'stored']) {
      expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'changing', id: 'hidden', soft_delete: true }));
      if (round === 'stored') await flush(server, 'changing');
      await query(SQL);
      const before = await query(SQL);
      expect(before.json.stats.cache).toBe('hit');
      expectSuccess(await change());
      const after = await query(SQL);
      expect(after.json.stats.cache).toBe('miss');
      const fresh = await query(SQL, {}, { 'cache-control': 'no-cache' });
      expect(after.json.rows).toEqual(fresh.json.rows);
    }
  });

  it('is seen at once, whatever it is: a new column, another table of the same name', async () => {
    await createTable(server, 'renewed');
    await writeBatch(server, 'renewed', [{ id: 'a', payload: { x: 1 } }]);
    const sql = 'SELECT * EXCLUDE ("timestamp") FROM renewed ORDER BY id';
    await query(sql);
    await writeBatch(server, 'renewed', [{ id: 'b', payload: { y: 'new' } }]);
    expect((await query(sql)).json.rows).toEqual([
      { id: 'a', x: 1, y: null },
      { id: 'b', x: null, y: 'new' },
    ]);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/renewed?cascade=true'));
    expect((await call(server, 'POST', '/v1/query', { sql })).status).toBe(404);
    await createTable(server, 'renewed');
    expect((await query(sql)).json.rows).toEqual([]);
  });

  it('is never missed by readers beside writers', async () => {
    const seed = seedOfThisRun();
    const random = new SeededRandom(seed);
    await createTable(server, 'racing', { buffer_size: 50 });
    let acknowledged = 0;
    let isDone = false;
    const write = async (): Promise<void> => {
      for (let n = 0; n < 300; n += 1) {
        expectSuccess(await call(server, 'POST', '/v1/data', { table: 'racing', id: `w${random.integer(0, 1_000_000)}`, payload: { n } }));
        acknowledged += 1;
        if (n % 60 === 59) await flush(server, 'racing');
      }
      isDone = true;
    };
    const read = async (): Promise<number> => {
      let reads = 0;
      for (; !isDone; reads += 1) {
        const atLeast = acknowledged;
        const [row] = (await query('SELECT count(*) AS n FROM racing')).json.rows as JsonRow[];
        expectThat(row?.['n'], `rows seen (SEED=${seed})`).toBeGreaterThanOrEqual(atLeast);
      }
      return reads;
    };
    const [, ...reads] = await Promise.all([write(), read(), read(), read()]);
    expect(Math.min(...reads)).toBeGreaterThan(10);
    expect((await query('SELECT count(*) AS n FROM racing')).json.rows).toEqual([{ n: 300 }]);
  });
});
