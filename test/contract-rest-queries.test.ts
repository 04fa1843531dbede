/** What the REST interface promises of queries, read from the outside: answers, pages, formats, and queries that are under way. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expectThat } from './support/expectations.js';
import { bulk, query, server, startOther, useOneServer } from './support/one-server.js';
import { duckdb } from './support/plain-duckdb.js';
import {
  countOf,
  createTable,
  eventually,
  expectError,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  valueOf,
  write,
  writeBatch,
} from './support/requests.js';
import { type Answer, call, temporaryDirectory } from './support/server.js';

const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const NDJSON = 'application/x-ndjson';
const PARQUET = 'application/vnd.apache.parquet';

useOneServer();

/* ------------------------------------------------------------------------------------------------------------------ queries */

describe('POST /v1/query', () => {
  beforeAll(async () => {
    await createTable(server, 'events');
    const records = Array.from({ length: 250 }, (_, n) => ({
      id: `e-${n}`,
      timestamp: `2024-01-${String(1 + (n % 5)).padStart(2, '0')}T00:00:00Z`,
      payload: { n, kind: `k${n % 3}` },
    }));
    await writeBatch(server, 'events', records.slice(0, 200));
    await flush(server, 'events');
    await writeBatch(server, 'events', records.slice(200));
  });

  test('answers columns, rows, counts and statistics', async () => {
    const { json } = expectStatus(await query(`SELECT kind, count(*) AS rows FROM events GROUP BY kind ORDER BY kind`), 200);
    expect(json.columns).toEqual([
      { name: 'kind', type: 'VARCHAR' },
      { name: 'rows', type: 'BIGINT' },
    ]);
    expect(json.rows).toEqual([
      { kind: 'k0', rows: 84 },
      { kind: 'k1', rows: 83 },
      { kind: 'k2', rows: 83 },
    ]);
    expect(json).toMatchObject({ row_count: 3, has_more: false });
    expect(json.next_cursor ?? '').toBe('');
    expect(json.stats).toMatchObject({
      elapsed_ms: expect.any(Number),
      files_scanned: expect.any(Number),
      bytes_scanned: expect.any(Number),
    });
    expect(json.stats.query_id).toMatch(/^\S+$/);
    expect(json.stats.files_total).toBeGreaterThanOrEqual(1);
    expect(json.stats).toHaveProperty('cache');
  });

  test('the statistics show pruning: files without a matching row are not scanned', async () => {
    for (const day of [1, 2, 3, 4]) {
      await write(server, 'pruned', `d-${day}`, { n: day }, `2024-02-0${day}T12:00:00Z`);
      await flush(server, 'pruned');
    }
    const one = expectStatus(
      await query(`SELECT n FROM pruned WHERE timestamp >= '2024-02-03T00:00:00Z' AND timestamp < '2024-02-04T00:00:00Z'`),
      200,
    ).json;
    expect(one.rows).toEqual([{ n: 3 }]);
    expect(one.stats).toMatchObject({ files_total: 4, files_scanned: 1 });
    expect(one.stats.bytes_scanned).toBeGreaterThan(0);
    const none = expectStatus(await query('SELECT n FROM pruned WHERE n > 1000'), 200).json;
    expect([none.rows, none.stats.files_scanned]).toEqual([[], 0]);
  });

  test('takes every form of SELECT', async () => {
    const forms: [string, unknown[]][] = [
      ['SELECT 1 AS one', [{ one: 1 }]],
      ['WITH odd AS (SELECT n FROM events WHERE n % 2 = 1) SELECT count(*) AS c FROM odd', [{ c: 125 }]],
      ['WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT sum(i) AS s FROM r', [{ s: 15 }]],
      ['SELECT 1 AS v UNION SELECT 2 UNION ALL SELECT 2 ORDER BY v', [{ v: 1 }, { v: 2 }, { v: 2 }]],
      ['SELECT n FROM events INTERSECT SELECT 7 EXCEPT SELECT 8', [{ n: 7 }]],
      [
        'SELECT n, row_number() OVER (PARTITION BY kind ORDER BY n) AS place FROM events QUALIFY place = 2 ORDER BY n',
        [
          { n: 3, place: 2 },
          { n: 4, place: 2 },
          { n: 5, place: 2 },
        ],
      ],
      ["PIVOT (SELECT kind, n FROM events) ON kind IN ('k0', 'k1') USING count(n)", [{ k0: 84, k1: 83 }]],
      ['FROM events SELECT max(n) AS top', [{ top: 249 }]],
      ['FROM events SELECT id WHERE n = 249', [{ id: 'e-249' }]],
      ['SELECT a.n FROM events a JOIN events b ON a.n = b.n + 1 WHERE b.n = 41', [{ n: 42 }]],
      ['SELECT (SELECT max(n) FROM events) AS top', [{ top: 249 }]],
      ['VALUES (1)', [{ col0: 1 }]],
      ['SELECT count(*) AS c FROM events WHERE n = 5;', [{ c: 1 }]],
      ['/* a comment */ SELECT 1 AS one -- and another', [{ one: 1 }]],
    ];
    for (const [sql, rows] of forms) expectThat(await rowsOf(server, sql), sql).toEqual(rows);
  });

  test('a table that is missing is named with the way to make it; an empty one is an empty relation with its columns', async () => {
    expectError(await query('SELECT * FROM nowhere'), 404, 'NOT_FOUND', /nowhere.*creat|creat.*nowhere/is);
    await createTable(server, 'hollow');
    expect(await countOf(server, 'hollow')).toBe(0);
    const { json } = await query('SELECT * FROM hollow');
    expect([json.rows, json.row_count, json.columns.map((column: JsonRow) => column['name'])]).toEqual([[], 0, ['id', 'timestamp']]);
  });

  test('params are values, never SQL: by place and by name', async () => {
    const hostile = "x' OR '1'='1";
    expect((await query('SELECT id FROM events WHERE n = ?', { params: [17] })).json.rows).toEqual([{ id: 'e-17' }]);
    expect((await query('SELECT id FROM events WHERE n = $2 AND kind = $1', { params: ['k2', 17] })).json.rows).toEqual([{ id: 'e-17' }]);
    expect((await query('SELECT id FROM events WHERE n = $number', { params: { number: 17 } })).json.rows).toEqual([{ id: 'e-17' }]);
    expect((await query('SELECT count(*) AS c FROM events WHERE kind = ?', { params: [hostile] })).json.rows).toEqual([{ c: 0 }]);
  });

  test('params may stand where only their value tells their type', async () => {
    const { json } = await query('SELECT $1 AS text, $2 + 1 AS sum, $3 AS yes, $4 AS nothing', { params: ["x'y", 41, true, null] });
    expect(json.rows).toEqual([{ text: "x'y", sum: 42, yes: true, nothing: null }]);
  });

  test('params of 64 bit stay exact', async () => {
    for (const params of [`[${INT64_MAX}]`, `{"p":${INT64_MAX}}`]) {
      const answer = await call(
        server,
        'POST',
        '/v1/query',
        `{"sql":"SELECT ${params.startsWith('[') ? '$1' : '$p'}::BIGINT AS big","params":${params}}`,
      );
      expect(answer.text).toMatch(new RegExp(`"big":${INT64_MAX}\\D`));
    }
  });

  test('integers and decimals keep every digit in the text', async () => {
    expectSuccess(await call(server, 'POST', '/v1/data', `{"table":"digits","id":"a","payload":{"n":${INT64_MAX}}}`));
    expectSuccess(await call(server, 'POST', '/v1/data', `{"table":"digits","id":"b","payload":{"n":${INT64_MIN}}}`));
    for (const state of ['buffered', 'in a file']) {
      for (const accept of ['application/json', NDJSON]) {
        const text = async (sql: string): Promise<string> => expectStatus(await query(sql, {}, { accept }), 200).text.replaceAll(/\s/g, '');
        expectThat(await text('SELECT n FROM digits ORDER BY id'), state).toMatch(new RegExp(`"n":${INT64_MAX}\\D.*"n":${INT64_MIN}\\D`));
        expectThat(await text('SELECT sum(n) - min(n) + max(n) AS big FROM digits'), state).toContain('"big":18446744073709551614}');
        expect(await text("SELECT '12345678901234567890.123456789'::DECIMAL(38,9) AS d")).toContain('"d":12345678901234567890.123456789}');
        expect(await text('SELECT 170141183460469231731687303715884105727::HUGEINT AS h')).toContain(
          '"h":170141183460469231731687303715884105727}',
        );
        expect(await text('SELECT 0.1::DOUBLE + 0.2::DOUBLE AS f')).toContain('"f":0.30000000000000004}');
        expect(await text('SELECT 18446744073709551615::UBIGINT AS u')).toContain('"u":18446744073709551615}');
        expect(await text('SELECT [9007199254740993] AS l, {x: 9007199254740993} AS s')).toMatch(
          /"l":\[9007199254740993\],"s":\{"x":9007199254740993\}/,
        );
      }
      await flush(server, 'digits');
    }
  });

  test('NaN and the infinities are null in JSON and NDJSON, also inside lists and structs, and themselves in CSV and Parquet', async () => {
    const sql = `SELECT 'nan'::DOUBLE AS a, 'infinity'::DOUBLE AS b, '-infinity'::FLOAT AS c, [1.5::DOUBLE, 'nan'::DOUBLE] AS l, {x: 'inf'::DOUBLE, y: 2} AS s`;
    const expected = { a: null, b: null, c: null, l: [1.5, null], s: { x: null, y: 2 } };
    expect((await query(sql)).json.rows).toEqual([expected]);
    expect(JSON.parse((await query(sql, {}, { accept: NDJSON })).text)).toEqual(expected);
    const csv = expectStatus(await query(`SELECT 'nan'::DOUBLE AS a, 'infinity'::DOUBLE AS b`, {}, { accept: 'text/csv' }), 200);
    expect(csv.text.trim().split(/\r?\n/)[1]).toMatch(/^nan,inf/i);
  });

  test('timestamps are RFC 3339 in UTC; dates, times and blobs are text', async () => {
    const sql = `SELECT '2024-01-01 10:00:00.123456+02'::TIMESTAMPTZ AS tz, TIMESTAMP '2024-01-01 10:00:00.5' AS ts, DATE '2024-02-29' AS d, TIME '10:11:12' AS t`;
    for (const accept of ['application/json', NDJSON]) {
      const answer = expectStatus(await query(sql, {}, { accept }), 200);
      const row = (accept === NDJSON ? JSON.parse(answer.text) : answer.json.rows[0]) as JsonRow;
      expect(row).toMatchObject({ tz: '2024-01-01T08:00:00.123456Z', d: '2024-02-29' });
      expect(row['ts']).toMatch(/^2024-01-01T10:00:00\.50*Z?$/);
      expect(row['t']).toMatch(/^10:11:12/);
    }
  });

  test('columns of one name are told apart, in order', async () => {
    for (const accept of ['application/json', NDJSON]) {
      const answer = expectStatus(await query('SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS A', {}, { accept }), 200);
      const row = (accept === NDJSON ? JSON.parse(answer.text) : answer.json.rows[0]) as JsonRow;
      expect(Object.values(row)).toEqual([1, 2, 3, 4]);
      if (accept !== NDJSON) expect(answer.json.columns.map((column: JsonRow) => column['name'])).toEqual(Object.keys(row));
    }
    expect(Object.values((await rowsOf(server, 'SELECT * FROM events a JOIN events b USING (n) WHERE n = 3'))[0] ?? {})).toHaveLength(7);
  });

  test('pages of one result do not overlap, miss or change while rows are written and flushed', async () => {
    const statements = [
      'SELECT id, n FROM paged',
      'SELECT n % 50 AS g, count(*) AS c FROM paged GROUP BY g',
      'SELECT id, n FROM paged ORDER BY n DESC, id',
    ];
    await writeBatch(
      server,
      'paged',
      Array.from({ length: 400 }, (_, n) => ({ id: `p-${n}`, payload: { n } })),
    );
    await flush(server, 'paged');
    await writeBatch(
      server,
      'paged',
      Array.from({ length: 100 }, (_, n) => ({ id: `q-${n}`, payload: { n: 400 + n } })),
    );
    for (const sql of statements) {
      const whole = await rowsOf(server, sql);
      const rows: JsonRow[] = [];
      let cursor: string | undefined;
      for (let page = 0; page === 0 || cursor; page += 1) {
        const { json } = expectStatus(await query(sql, { limit: 20, ...(cursor ? { cursor } : {}) }), 200);
        rows.push(...(json.rows as JsonRow[]));
        expect(json.has_more).toBe(Boolean(json.next_cursor));
        expect(json.row_count).toBe(json.rows.length);
        cursor = json.next_cursor || undefined;
        await write(server, 'paged', `late-${page}`, { n: page });
        await call(server, 'DELETE', '/v1/data', { table: 'paged', id: `p-${page}`, soft_delete: true });
        if (page === 3) await flush(server, 'paged');
      }
      const inAnyOrder = (all: JsonRow[]): string[] => all.map((row) => JSON.stringify(row)).sort();
      if (sql.includes('ORDER BY')) expect(rows).toEqual(whole);
      else expect(inAnyOrder(rows)).toEqual(inAnyOrder(whole));
      expectSuccess(
        await call(server, 'POST', '/v1/data/restore', { table: 'paged', ids: Array.from({ length: 100 }, (_, page) => `p-${page}`) }),
      );
    }
  });

  test('a page is 1,000 rows unless told otherwise, 10,000 at most; an empty cursor is none; the same cursor gives the same page again', async () => {
    const sql = 'SELECT range AS n FROM range(12000) ORDER BY n';
    const first = expectStatus(await query(sql, { cursor: '' }), 200).json;
    expect([first.row_count, first.has_more]).toEqual([1_000, true]);
    expect(expectStatus(await query(sql, { limit: 10_000 }), 200).json).toMatchObject({ row_count: 10_000, has_more: true });
    const again = [await query(sql, { cursor: first.next_cursor }), await query(sql, { cursor: first.next_cursor })].map(
      (answer) => expectStatus(answer, 200).json.rows as JsonRow[],
    );
    expect(again[0]![0]).toEqual({ n: 1_000 });
    expect(again[1]).toEqual(again[0]);
    expect(expectStatus(await query('SELECT n FROM events ORDER BY n', { limit: 250 }), 200).json).toMatchObject({
      row_count: 250,
      has_more: false,
    });
  });

  test('an expired cursor is refused by name', async () => {
    const other = await startOther({ config: { log: { file: '' }, query: { cursor_ttl_seconds: 1 } } });
    const sql = 'SELECT range AS n FROM range(100)';
    const { next_cursor: cursor } = (await call(other, 'POST', '/v1/query', { sql, limit: 10 })).json;
    const refused = await eventually(
      'the cursor expires',
      () => call(other, 'POST', '/v1/query', { sql, limit: 10, cursor }),
      (answer) => answer.status !== 200,
      20_000,
    );
    expectError(refused, 400, 'INVALID_ARGUMENT', /cursor.*expired/i);
  });

  test('a result is never stale: the same question sees each new row, delete and dropped table', async () => {
    const sql = 'SELECT count(*) AS c, max(n) AS m FROM fresh';
    await write(server, 'fresh', 'a', { n: 1 });
    for (const [change, expected] of [
      [() => Promise.resolve(), { c: 1, m: 1 }],
      [() => write(server, 'fresh', 'b', { n: 2 }), { c: 2, m: 2 }],
      [() => flush(server, 'fresh'), { c: 2, m: 2 }],
      [() => call(server, 'DELETE', '/v1/data', { table: 'fresh', id: 'b', soft_delete: false }), { c: 1, m: 1 }],
      [() => call(server, 'PUT', '/v1/data', { table: 'fresh', id: 'a', payload: { n: 5 } }), { c: 1, m: 5 }],
    ] as const) {
      await change();
      for (let time = 0; time < 3; time += 1) expect(await rowsOf(server, sql)).toEqual([expected]);
    }
    await call(server, 'DELETE', '/v1/tables/fresh?cascade=true');
    expect((await query(sql)).status).toBe(404);
  });

  test('as_of: a version, and an instant', async () => {
    await write(server, 'travelled', 'a', { n: 1 });
    await flush(server, 'travelled');
    const version = await latestVersion('travelled');
    await write(server, 'travelled', 'b', { n: 2 });
    await call(server, 'DELETE', '/v1/data', { table: 'travelled', id: 'a', soft_delete: false });
    await flush(server, 'travelled');
    const then = expectStatus(await query('SELECT id, n FROM travelled', { as_of: version.version }), 200).json.rows;
    expect(then).toEqual([{ id: 'a', n: 1 }]);
    expect(await rowsOf(server, 'SELECT id, n FROM travelled')).toEqual([{ id: 'b', n: 2 }]);
    expect(expectStatus(await query('SELECT id, n FROM travelled', { as_of: version.timestamp }), 200).json.rows).toEqual([
      { id: 'a', n: 1 },
    ]);
    const never = await query('SELECT * FROM travelled', { as_of: 999_999 });
    expect([400, 404]).toContain(never.status);
    expect(never.json.message).toMatch(/999999/);
  });

  async function latestVersion(table: string): Promise<{ version: number; timestamp: string }> {
    const { json } = expectStatus(await call(server, 'GET', `/v1/tables/${table}/history`), 200);
    const versions = (json.versions ?? json.history) as { version: number; timestamp: string }[];
    for (const each of versions) expect(each.timestamp).toMatch(RFC3339);
    return versions.reduce((newest, each) => (each.version > newest.version ? each : newest));
  }
});

describe('whole results in other formats', () => {
  const ROWS = 25_000;
  const sql = 'SELECT id, timestamp, n, half, word, yes FROM exported ORDER BY n';

  beforeAll(async () => {
    const rows = Array.from({ length: ROWS }, (_, n) =>
      JSON.stringify({
        id: `x-${n}`,
        timestamp: '2024-01-01T10:00:00.000001Z',
        n,
        half: n / 2 + 0.25,
        word: n % 10 === 0 ? null : `w "${n}", ü\n`,
        yes: n % 2 === 0,
      }),
    );
    await bulk('exported', rows.join('\n'));
  });

  async function exportAs(accept: string): Promise<Buffer> {
    const response = await fetch(`${server.rest}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept },
      body: JSON.stringify({ sql }),
    });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toContain(accept);
    return Buffer.from(await response.arrayBuffer());
  }

  test('NDJSON, and back in', async () => {
    const text = (await exportAs(NDJSON)).toString();
    const rows = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JsonRow);
    expect(rows).toHaveLength(ROWS);
    expect(rows[1]).toEqual({ id: 'x-1', timestamp: '2024-01-01T10:00:00.000001Z', n: 1, half: 0.75, word: 'w "1", ü\n', yes: false });
    expect(rows[10]!['word']).toBe(null);
    await bulk('exported_again', text);
    const different =
      'SELECT count(*) AS different FROM (SELECT id, timestamp, n, half, word, yes FROM exported EXCEPT ALL SELECT id, timestamp, n, half, word, yes FROM exported_again)';
    expect(await rowsOf(server, different)).toEqual([{ different: 0 }]);
    expect(await countOf(server, 'exported_again')).toBe(ROWS);
  });

  test('CSV', async () => {
    const file = path.join(temporaryDirectory('export'), 'rows.csv');
    writeFileSync(file, await exportAs('text/csv'));
    const rows = await duckdb(
      `SELECT count(*)::INT AS rows, sum(n)::INT AS total, count(word)::INT AS words, count(DISTINCT id)::INT AS ids FROM read_csv('${file}', header = true)`,
    );
    expect(rows).toEqual([{ rows: ROWS, total: (ROWS * (ROWS - 1)) / 2, words: ROWS - ROWS / 10, ids: ROWS }]);
  });

  test('Parquet', async () => {
    const bytes = await exportAs(PARQUET);
    const file = path.join(temporaryDirectory('export'), 'rows.parquet');
    writeFileSync(file, bytes);
    const [row] = await duckdb(
      `SELECT count(*)::INT AS rows, sum(n)::INT AS total, any_value(typeof(n)) AS kind FROM read_parquet('${file}')`,
    );
    expect(row).toEqual({ rows: ROWS, total: (ROWS * (ROWS - 1)) / 2, kind: 'BIGINT' });
  });

  // In the contract, and not built yet.

  test('an empty result in each format', async () => {
    for (const accept of [NDJSON, 'text/csv', PARQUET]) {
      const answer = await query('SELECT id, n FROM exported WHERE n < 0', {}, { accept });
      expectThat(answer.status, accept).toBe(200);
      if (accept === NDJSON) expect(answer.text.trim()).toBe('');
      if (accept === 'text/csv') expect(answer.text.trim()).toBe('id,n');
    }
  });

  test('an error before the first byte is a plain error, whatever the format asked for', async () => {
    for (const accept of [NDJSON, 'text/csv', PARQUET]) {
      expectError(await query('SELECT colour FROM exported', {}, { accept }), 400, 'INVALID_ARGUMENT', /colour/);
      expectError(await query('SELECT * FROM nowhere', {}, { accept }), 404, 'NOT_FOUND', /nowhere/);
    }
  });

  test('an error after the first bytes cuts the answer: it never looks complete', async () => {
    const failing = `SELECT n, CASE WHEN n = ${ROWS - 1} THEN ('x' || id)::BIGINT ELSE n END AS m FROM exported ORDER BY n`;
    const unordered = `SELECT CASE WHEN range = 4999999 THEN ('x' || range)::BIGINT ELSE range END AS m FROM range(5000000)`;
    for (const text of [failing, unordered]) {
      const outcome = await fetch(`${server.rest}/v1/query`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: NDJSON },
        body: JSON.stringify({ sql: text }),
      })
        .then(async (response) => ({ status: response.status, body: await response.text() }))
        .catch((error: unknown) => ({ status: 0, body: String(error) }));
      expectThat(outcome.status, outcome.body.slice(0, 200)).not.toBe(200);
    }
  });
});

describe('running queries', () => {
  /** Runs for ages, yet can be interrupted. */
  const ENDLESS = 'SELECT count(*) AS marked_endless FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';
  const running = async (): Promise<JsonRow[]> => expectStatus(await call(server, 'GET', '/v1/queries'), 200).json.queries as JsonRow[];
  const endless = async (): Promise<JsonRow[]> => (await running()).filter((each) => String(each['sql']).includes('marked_endless'));

  test('are listed, and end with CANCELLED when killed', async () => {
    const answer = query(ENDLESS);
    const [found] = await eventually('the query is listed', endless, (list) => list.length === 1);
    const id = (found!['query_id'] ?? found!['id']) as string;
    expectSuccess(await call(server, 'DELETE', `/v1/queries/${id}`));
    expectError(await answer, 499, 'CANCELLED', /cancel|kill|stopped/i);
    await eventually('the list is empty', endless, (list) => list.length === 0);
    expectError(await call(server, 'DELETE', `/v1/queries/${id}`), 404, 'NOT_FOUND', /quer/i);
  });

  test('are ended when the client goes away', async () => {
    const leaving = new AbortController();
    const answer = fetch(`${server.rest}/v1/query`, {
      method: 'POST',
      signal: leaving.signal,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql: ENDLESS }),
    }).catch(() => undefined);
    await eventually('the query is listed', endless, (list) => list.length === 1);
    leaving.abort();
    await answer;
    await eventually('the query is ended', endless, (list) => list.length === 0, 10_000);
  });

  test('are ended at whatever instant the client goes away', async () => {
    const other = await startOther();
    for (let afterMs = 0; afterMs < 20; afterMs += 1) {
      const leaving = AbortSignal.timeout(afterMs);
      const body = JSON.stringify({ sql: ENDLESS });
      await fetch(`${other.rest}/v1/query`, {
        method: 'POST',
        signal: leaving,
        headers: { 'content-type': 'application/json' },
        body,
      }).catch(() => undefined);
    }
    const left = async (): Promise<JsonRow[]> => (await call(other, 'GET', '/v1/queries')).json.queries as JsonRow[];
    await eventually('every query is ended', left, (list) => list.length === 0, 10_000);
  });

  test('are ended at whatever instant their deadline comes', async () => {
    const other = await startOther();
    for (let timeout_ms = 1; timeout_ms <= 15; timeout_ms += 1) {
      const answer = await call(other, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms });
      expectError(answer, 504, 'DEADLINE_EXCEEDED', new RegExp(`\\b${timeout_ms}\\b`));
    }
  });

  test('past the queue: 429 with Retry-After, and the server goes on', async () => {
    const narrow = await startOther({ config: { log: { file: '' }, query: { concurrency_max: 1, queue_max: 2 } } });
    const ask = (): Promise<Answer> => call(narrow, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: 1_500 });
    const answers = await Promise.all(Array.from({ length: 10 }, ask));
    const refused = answers.filter((answer) => answer.status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(6);
    for (const answer of refused) {
      expectError(answer, 429, 'RESOURCE_EXHAUSTED', /quer/i);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    for (const answer of answers) expect([429, 504]).toContain(answer.status);
    expect(await valueOf(narrow, 'SELECT 1')).toBe(1);
  });
});
