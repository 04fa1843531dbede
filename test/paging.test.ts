/**
 * Pages: the pages of one result never overlap, miss or disagree, whatever happens to the tables between them, and a cursor
 * that this server did not give for this very query is refused with its reason.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection, type GrpcMessage, plainOf, responseOf } from './support/grpc-client.js';
import { eventually } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

const ROWS = 3_000;
const FILES = 3;
const GROUPS = 700;
const QUIET = { tables: { flush_interval_seconds: 3600 }, maintenance: { interval_seconds: 3600 } } as const;

const seed = seedOfThisRun();
const random = new SeededRandom(seed);
let server: RunningServer;
let grpc: GrpcConnection;
let lastNumber = ROWS;

type Row = Readonly<Record<string, unknown>>;

interface Page {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly Row[];
  readonly row_count: number;
  readonly has_more: boolean;
  readonly next_cursor: string;
}

beforeAll(async () => {
  console.log(`paging: SEED=${seed} replays this run`);
  server = await startServer({ config: QUIET });
  grpc = connectGrpc(server);
  await fillTables(server);
});

afterAll(async () => {
  grpc?.close();
  await server?.stop();
});

describe('pages of one result', () => {
  const queries: readonly (readonly [string, string])[] = [
    ['rows without an order', 'SELECT seq, n, "timestamp" FROM readings'],
    ['everything, FROM first', 'FROM readings'],
    ['a filter', 'SELECT seq FROM readings WHERE n % 3 <> 1'],
    ['an order with ties', 'SELECT n, seq FROM readings ORDER BY n'],
    ['a LIMIT without an order', 'SELECT seq FROM readings LIMIT 1234'],
    ['an aggregate', 'SELECT grp, count(*) AS c, sum(n) AS s, max(seq) AS m FROM readings GROUP BY grp'],
    ['distinct values', 'SELECT DISTINCT grp, n % 5 AS k FROM readings'],
    ['a join', 'SELECT r.seq, s.label FROM readings r JOIN sites s ON r.grp = s.grp'],
    ['a self join', 'SELECT a.seq AS x, b.seq AS y FROM readings a JOIN readings b ON a.grp = b.grp AND a.seq < b.seq'],
    ['random numbers', 'SELECT seq, random() AS r FROM readings'],
    ['a random order', 'SELECT seq FROM readings ORDER BY random()'],
    ['a sample', 'SELECT seq FROM readings USING SAMPLE 40 PERCENT (bernoulli)'],
    ['random ids and the time', 'SELECT seq, gen_random_uuid() AS u, now() AS t FROM readings'],
    ['a macro that reads the clock', 'SELECT seq, ago(INTERVAL 1 DAY) AS t FROM readings'],
    ['a window', 'SELECT seq, row_number() OVER () AS r FROM readings'],
    ['a union', 'SELECT seq FROM readings UNION ALL SELECT seq + 1000000 FROM readings'],
    ['generated rows', 'SELECT * FROM range(3500)'],
  ];

  it.each(queries)('stays one result while the tables change: %s', async (_label, sql) => {
    const limit = random.integer(150, 900);
    const first = await page(sql, { limit });
    const pages = [first];
    const cursors: string[] = [];
    for (let last = first; last.has_more;) {
      await changeTables();
      cursors.push(last.next_cursor);
      last = await page(sql, { limit, cursor: last.next_cursor });
      pages.push(last);
      expectThat(pages.length, `SEED=${seed}: the result has no end`).toBeLessThan(200);
    }
    expectWholePages(pages, limit);
    await expectSamePagesAgain(sql, limit, cursors, pages);
  });

  it.each([
    ['rows', 'SELECT seq FROM readings', 'SELECT count(*) AS c, count(DISTINCT seq) AS d FROM readings'],
    ['groups', 'SELECT DISTINCT grp AS seq FROM readings', 'SELECT count(DISTINCT grp) AS c, count(DISTINCT grp) AS d FROM readings'],
    [
      'joined rows',
      'SELECT r.seq AS seq FROM readings r JOIN sites s ON r.grp = s.grp',
      'SELECT count(*) AS c, count(DISTINCT r.seq) AS d FROM readings r JOIN sites s ON r.grp = s.grp',
    ],
  ])('holds exactly the rows of the moment of its first page: %s', async (_label, sql, countSql) => {
    const { c: expectedCount } = (await page(countSql)).rows[0] ?? {};
    const whole = await page(sql, { limit: 10_000 });
    const expected = new Set(whole.rows.map((row) => row['seq']));
    const pages = await allPages(sql, 333, changeTables);
    const seen = pages.flatMap((one) => one.rows.map((row) => row['seq']));
    expectThat(seen.length, `SEED=${seed}`).toBe(expectedCount);
    expect(new Set(seen)).toEqual(expected);
  });

  it('keeps several results apart that are read in turns', async () => {
    const readers = ['SELECT seq FROM readings', 'SELECT seq FROM readings WHERE n > 10', 'SELECT -seq AS seq FROM readings'].map(
      (sql) => ({
        sql,
        pages: [] as Page[],
      }),
    );
    for (let round = 0; round < 100; round++) {
      for (const reader of random.shuffled(readers)) {
        const last = reader.pages.at(-1);
        if (last?.has_more === false) continue;
        reader.pages.push(await page(reader.sql, { limit: 400, cursor: last?.next_cursor }));
        await changeTables();
      }
    }
    for (const { pages } of readers) {
      expectWholePages(pages, 400);
      const seen = pages.flatMap((one) => one.rows.map((row) => row['seq']));
      expectThat(new Set(seen).size, `SEED=${seed}`).toBe(seen.length);
    }
  });

  it('gives the same page to readers that ask for it at once', async () => {
    const sql = 'SELECT seq, random() AS r FROM readings';
    const first = await page(sql, { limit: 200 });
    const second = await Promise.all(Array.from({ length: 8 }, () => page(sql, { limit: 200, cursor: first.next_cursor })));
    for (const one of second) expect(one.rows).toEqual(second[0]?.rows);
  });

  it('keeps its pages when the page size changes on the way', async () => {
    const sql = 'SELECT seq FROM readings';
    const pages: Page[] = [await page(sql, { limit: 100 })];
    for (const limit of [250, 7, 1_000, 10_000]) {
      pages.push(await page(sql, { limit, cursor: pages.at(-1)?.next_cursor }));
      await changeTables();
    }
    expect(pages.at(-1)?.has_more).toBe(false);
    const seen = pages.flatMap((one) => one.rows.map((row) => row['seq']));
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('ends without a cursor when the last page is full, and when there are no rows', async () => {
    const pages = await allPages('SELECT * FROM range(1000)', 250, async () => undefined);
    expect(pages.map((one) => one.row_count)).toEqual([250, 250, 250, 250]);
    for (const last of [pages.at(-1), await page('SELECT * FROM readings WHERE false')]) {
      expect(last?.has_more).toBe(false);
      expect(last?.next_cursor ?? '').toBe('');
    }
  });

  it('has 1,000 rows in a page by default', async () => {
    const one = await page('SELECT * FROM range(1001)');
    expect([one.row_count, one.has_more]).toEqual([1000, true]);
    const other = await page('SELECT * FROM range(1000)');
    expect([other.row_count, other.has_more]).toEqual([1000, false]);
  });

  it.each([
    ['params', { sql: 'SELECT seq, grp FROM readings WHERE n > $1 ORDER BY n, seq', params: [5] }],
    ['params, as they are stored', { sql: 'SELECT seq FROM readings WHERE n > $least', params: { least: 5 } }],
    ['as_of', { sql: 'SELECT seq FROM readings ORDER BY seq DESC', as_of: FILES }],
    ['a WITH clause', { sql: 'WITH few AS (SELECT DISTINCT grp FROM readings) SELECT grp FROM few' }],
    ['a comment behind its end', { sql: 'SELECT seq FROM readings ORDER BY n; -- all of them' }],
  ])('go on by the cursor alone after a statement with %s', async (_label, request) => {
    const first = await call(server, 'POST', '/v1/query', { ...request, limit: 300 });
    expectThat(first.json.has_more, first.text.slice(0, 500)).toBe(true);
    const cursor: string = first.json.next_cursor;
    const whole = await call(server, 'POST', '/v1/query', { ...request, limit: 300, cursor });
    await changeTables();
    for (const rest of [{}, { sql: '' }, { sql: ' ' }, { sql: null }]) {
      const alone = await call(server, 'POST', '/v1/query', { ...rest, limit: 300, cursor });
      expectThat(alone.json.rows, alone.text.slice(0, 500)).toEqual(whole.json.rows);
    }
    const message = expectRefused(await ask('SELECT 1', { limit: 300, cursor }), /cursor/i);
    expect(message).toContain('the cursor alone');
  });

  it('go on over gRPC by a cursor of REST alone, in pages and as a stream', async () => {
    const sql = 'SELECT grp, count(*) AS c FROM readings GROUP BY grp ORDER BY c, grp';
    const whole = await page(sql, { limit: 10_000 });
    const first = await page(sql, { limit: 100 });
    const second = await responseOf(grpc.unary('QueryData', { cursor: first.next_cursor, limit: 100 }));
    expect(JSON.parse(second['result_json'] as string)).toEqual(whole.rows.slice(100, 200));
    const rest = await responseOf(grpc.drain('StreamQuery', { cursor: second['next_cursor'], batch_size: 200 }));
    const records = (rest['messages'] as GrpcMessage[]).flatMap((message) => message['records'] as GrpcMessage[]);
    expect(records.map((record) => plainOf(record['payload'] as GrpcMessage))).toEqual(whole.rows.slice(200));
  });

  it('are listed under the statement of the caller when they go on by the cursor alone', async () => {
    const sql = 'SELECT seq FROM readings ORDER BY n, seq';
    const { next_cursor: cursor } = await page(sql, { limit: 1 });
    const busy = new AbortController();
    const seen = await Promise.race([
      (async () => {
        while (!busy.signal.aborted) await call(server, 'POST', '/v1/query', { cursor, limit: 1_000 });
        return [];
      })(),
      eventually(
        'a continuation is listed',
        async () => (await call(server, 'GET', '/v1/queries')).json.queries as Row[],
        (queries) => queries.length > 0,
      ),
    ]).finally(() => busy.abort());
    expect(seen.map((query) => query['sql'])).toEqual([sql]);
  });

  it('binds its params on every page', async () => {
    const sql = 'SELECT seq FROM readings WHERE n > $1 AND grp <> $2';
    const params = [5, 'g1'];
    const first = await page(sql, { limit: 300, params });
    await changeTables();
    const second = await page(sql, { limit: 300, params, cursor: first.next_cursor });
    expect(second.row_count).toBe(300);
    const seen = [...first.rows, ...second.rows].map((row) => row['seq']);
    expect(new Set(seen).size).toBe(600);
  });
});

describe('cursors that are refused', () => {
  const sql = 'SELECT seq FROM readings WHERE n > $1';
  const params = [3];

  it('refuses a forged one, whichever character was changed', async () => {
    const { next_cursor: cursor } = await page(sql, { limit: 100, params });
    // The last character may hold bits that mean nothing, so a change there need not be a forgery.
    for (let index = 0; index < cursor.length - 1; index += 3) {
      const other = cursor[index] === 'A' ? 'B' : 'A';
      const forged = cursor.slice(0, index) + other + cursor.slice(index + 1);
      expectRefused(await ask(sql, { limit: 100, params, cursor: forged }), /cursor/i, `character ${index} of ${cursor}`);
    }
  });

  it.each([
    ['a word', 'nonsense'],
    ['base64 of nothing', Buffer.from('{}').toString('base64url')],
    ['a JSON text', '{"offset":100}'],
    ['a number in it', '100'],
    ['a very long one', 'A'.repeat(100_000)],
    ['not ASCII', 'zażółć'],
    ['a path', '../../etc/passwd'],
  ])('refuses %s', async (_label, cursor) => {
    expectRefused(await ask(sql, { limit: 100, params, cursor }), /cursor/i);
  });

  it.each([
    ['a number', 5],
    ['an object', {}],
    ['true', true],
    ['a list', ['x']],
  ])('refuses a cursor that is %s', async (_label, cursor) => {
    expectRefused(await ask(sql, { limit: 100, params, cursor }), /cursor/i);
  });

  it('refuses a truncated one', async () => {
    const { next_cursor: cursor } = await page(sql, { limit: 100, params });
    for (const length of [1, 8, Math.floor(cursor.length / 2), cursor.length - 4]) {
      expectRefused(await ask(sql, { limit: 100, params, cursor: cursor.slice(0, length) }), /cursor/i);
    }
  });

  it('refuses a foreign one: of another statement, of other params', async () => {
    const { next_cursor: cursor } = await page(sql, { limit: 100, params });
    expectRefused(await ask('SELECT seq FROM readings WHERE n < $1', { limit: 100, params, cursor }), /cursor/i);
    expectRefused(await ask(sql, { limit: 100, params: [4], cursor }), /cursor/i);
    expectRefused(await ask('SELECT seq FROM readings', { limit: 100, cursor }), /cursor/i);
    expect((await page(sql, { limit: 100, params, cursor })).row_count).toBe(100);
  });

  it('refuses one of another server', async () => {
    const stranger = await startServer({ config: QUIET });
    try {
      await fillTables(stranger);
      const answer = await call(stranger, 'POST', '/v1/query', { sql, params, limit: 100 });
      expectThat(answer.json.has_more, answer.text).toBe(true);
      expectRefused(await ask(sql, { limit: 100, params, cursor: answer.json.next_cursor }), /cursor/i);
    } finally {
      await stranger.stop();
    }
  });

  it('says why: forged, foreign and expired are told apart', async () => {
    const forgetful = await startServer({ config: { ...QUIET, query: { cursor_ttl_seconds: 1 } } });
    try {
      await fillTables(forgetful);
      const first = await call(forgetful, 'POST', '/v1/query', { sql, params, limit: 100 });
      const cursor: string = first.json.next_cursor;
      const again = (body: object): Promise<Answer> => call(forgetful, 'POST', '/v1/query', { sql, params, limit: 100, cursor, ...body });
      const forged = expectRefused(
        await again({ cursor: `${cursor.slice(0, 10)}${cursor[10] === 'A' ? 'B' : 'A'}${cursor.slice(11)}` }),
        /cursor/i,
      );
      const foreign = expectRefused(await again({ sql: 'SELECT seq FROM readings', params: undefined }), /cursor/i);
      const expired = await untilRefused(() => again({}));
      expectRefused(expired, /expired/i);
      expect(new Set([forged, foreign, expired.json.message]).size).toBe(3);
    } finally {
      await forgetful.stop();
    }
  });
});

describe('page sizes', () => {
  it.each([[0], [-1], [10_001], [1.5], ['ten'], [true], [[5]], [1e12]])('refuses limit %j', async (limit) => {
    const answer = await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM readings', limit });
    expectRefused(answer, /limit/i);
  });

  it.each([1, 10_000])('takes limit %j', async (limit) => {
    const one = await page('SELECT * FROM range(20000)', { limit });
    expect([one.row_count, one.rows.length, one.has_more]).toEqual([limit, limit, true]);
  });
});

// ---- asking -----------------------------------------------------------------------------------------------------------

interface PageRequest {
  readonly limit?: number;
  readonly cursor?: unknown;
  readonly params?: readonly unknown[];
}

function ask(sql: string, request: PageRequest = {}): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql, ...request });
}

async function page(sql: string, request: PageRequest = {}): Promise<Page> {
  const answer = await ask(sql, request);
  expectThat(answer.status, `SEED=${seed} ${sql}: ${answer.text.slice(0, 500)}`).toBe(200);
  return answer.json as Page;
}

async function allPages(sql: string, limit: number, between: () => Promise<void>): Promise<Page[]> {
  const pages = [await page(sql, { limit })];
  for (let last = pages[0]; last?.has_more; last = pages.at(-1)) {
    await between();
    pages.push(await page(sql, { limit, cursor: last.next_cursor }));
  }
  return pages;
}

/** Asks until the answer is not 200 any more; a cursor of one second is old after a few of these. */
async function untilRefused(send: () => Promise<Answer>): Promise<Answer> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const answer = await send();
    if (answer.status !== 200 || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function expectRefused(answer: Answer, reason: RegExp, label = ''): string {
  expectThat(answer.status, `${label} ${answer.text.slice(0, 500)}`).toBe(400);
  expectThat(answer.json.error, answer.text).toBe('INVALID_ARGUMENT');
  expect(answer.json.message).toMatch(reason);
  return answer.json.message;
}

function expectWholePages(pages: readonly Page[], limit: number): void {
  for (const one of pages) {
    expect(one.row_count).toBe(one.rows.length);
    expect(one.columns).toEqual(pages[0]?.columns);
  }
  expectThat(
    pages.slice(0, -1).every((one) => one.row_count === limit),
    `SEED=${seed}: a page before the last is not full`,
  ).toBe(true);
  const texts = pages.flatMap((one) => one.rows.map((row) => JSON.stringify(row)));
  expectThat(new Set(texts).size, `SEED=${seed}: a row is in two pages`).toBe(texts.length);
}

/** Every cursor once more, in another order, after all the changes. */
async function expectSamePagesAgain(sql: string, limit: number, cursors: readonly string[], pages: readonly Page[]): Promise<void> {
  for (const index of random.shuffled([...cursors.keys()])) {
    const again = await page(sql, { limit, cursor: cursors[index] });
    const before = pages[index + 1]?.rows.map((row) => JSON.stringify(row)) ?? [];
    const changed = again.rows.map((row) => JSON.stringify(row)).filter((text, at) => text !== before[at]);
    expectThat(changed.slice(0, 3), `SEED=${seed}: page ${index + 1}, read again, differs in ${changed.length} rows`).toEqual([]);
    expect(again.rows.length).toBe(before.length);
    const alone = await call(server, 'POST', '/v1/query', { limit, cursor: cursors[index] });
    expectThat(alone.json.rows, `SEED=${seed}: page ${index + 1} by its cursor alone: ${alone.text.slice(0, 500)}`).toEqual(again.rows);
  }
}

// ---- the tables -------------------------------------------------------------------------------------------------------

/** Three thousand rows in three files and the buffer; `seq` differs in each row. */
async function fillTables(target: RunningServer): Promise<void> {
  for (let file = 0; file <= FILES; file++) {
    const count = ROWS / (FILES + 1);
    await write(
      target,
      'readings',
      Array.from({ length: count }, (_unused, index) => reading(file * count + index)),
    );
    if (file < FILES) await change(target, 'POST', '/v1/tables/readings/flush');
  }
  const groups = Array.from({ length: GROUPS }, (_unused, index) => ({
    id: `s${index}`,
    timestamp: '2024-01-01T00:00:00Z',
    payload: { grp: `g${index}`, label: `label ${index}` },
  }));
  await write(target, 'sites', groups);
}

function reading(seq: number): object {
  return {
    id: `r${seq}`,
    timestamp: new Date(Date.UTC(2024, 0, 1) + seq * 60_000).toISOString(),
    payload: { seq, n: seq % 50, grp: `g${seq % GROUPS}`, text: 'x'.repeat(seq % 40) },
  };
}

/** Always a delete (it changes what a stored file shows), and one or two other changes. The number of rows stays about the same. */
async function changeTables(): Promise<void> {
  const changes: readonly (() => Promise<unknown>)[] = [
    () =>
      write(
        server,
        'readings',
        Array.from({ length: 20 }, () => reading(lastNumber++)),
      ),
    () => change(server, 'DELETE', '/v1/data', { table: 'readings', ids: someIds(5), soft_delete: true }),
    () => change(server, 'PUT', '/v1/data', { table: 'readings', ...reading(lastNumber++) }),
    () => change(server, 'POST', '/v1/tables/readings/flush'),
    () => change(server, 'POST', '/v1/tables/readings/compact'),
    () => change(server, 'POST', '/v1/tables/sites/flush'),
    () => change(server, 'POST', '/v1/tables/readings/vacuum'),
  ];
  await change(server, 'DELETE', '/v1/data', { table: 'readings', ids: someIds(8), soft_delete: false });
  await Promise.all(random.pickSome(changes, 1, 2).map((apply) => apply()));
}

function someIds(count: number): string[] {
  return Array.from({ length: count }, () => `r${random.integer(0, lastNumber)}`);
}

async function write(target: RunningServer, table: string, records: readonly object[]): Promise<void> {
  await change(target, 'POST', '/v1/data', { table, records });
}

async function change(target: RunningServer, method: string, path: string, body?: object): Promise<void> {
  const answer = await call(target, method, path, body);
  expectThat(answer.status, `SEED=${seed} ${method} ${path}: ${answer.text.slice(0, 500)}`).toBe(200);
}
