/**
 * What operations cost in requests to the object store, which are paid for one by one and take their time: counted by the server itself
 * (`minio_stats` of /v1/status) and on the wire, by a proxy that also sees the keys. Both must agree.
 *
 * Nothing happens by itself here: no flushes by age, no checkpoints, no compaction, no backups. What is left is what each operation needs.
 */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type FaultyProxy, type RequestKind, startFaultyProxy } from './servers/faulty-proxy.js';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import {
  createTable,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  tableInfo,
  valueOf,
  write,
  writeBatch,
} from './support/requests.js';
import { type RunningServer, call, startServer } from './support/server.js';
import { sharedBucketEnvironment } from './support/shared-bucket.js';

const CONFIG = {
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 86_400 },
  maintenance: { interval_seconds: 3_600, compaction: false, checkpoint_commits: 10_000 },
  backup: { metadata_interval_minutes: 0 },
};
const KINDS: readonly RequestKind[] = ['PUT', 'GET', 'HEAD', 'LIST', 'DELETE', 'POST'];
/** GET /v1/status asks the store whether it answers, at most once a second: one GET of a key that does not exist. */
const HEALTH_KEY = '_catalogue/health-check';
const COMMIT = expect.stringMatching(/^PUT \w+\/_delta_log\/\d{20}\.json$/);
const VECTORS = expect.stringMatching(/^PUT \w+\/deletion_vector_[0-9a-f-]{36}\.bin$/);
const DATA_FILE = expect.stringMatching(/^PUT \w+\/shard-0\/\d{4}-\d\d-\d\d\/part-[^/]+\.parquet$/);
const DAYS = 6;
const ROWS_PER_DAY = 50;
const WARM_QUERIES = 20;
const MEASUREMENTS_MAX = 5;
const IDLE_MS = 3_000;
const HEALTH_KEPT_MS = 1_200;

let store: TestObjectStore;
let proxy: FaultyProxy;
let redis: RedisServer;
let server: RunningServer;
let env: Record<string, string>;

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
  proxy = await startFaultyProxy(store);
  env = { ...sharedBucketEnvironment(store, redis, `requests-${randomUUID()}`), MINIO_ENDPOINT: proxy.endpoint, REDIS_MODE: 'none' };
  server = await startServer({ config: CONFIG, env });
});

afterAll(async () => {
  await server?.kill();
  await proxy?.stop();
  await Promise.all([closeTestServers(), redis?.stop()]);
});

describe('writing', () => {
  it('a write needs no request, whatever it brings', async () => {
    await createTable(server, 'written');
    const requests = await requestsOf(async () => {
      await write(server, 'written', 'a', { n: 1 });
      await writeBatch(
        server,
        'written',
        range(50).map((n) => ({ id: `b-${n}`, payload: { n, later: 'x' } })),
      );
      expectSuccess(await call(server, 'PUT', '/v1/data', { table: 'written', id: 'a', payload: { n: 2 } }));
      await remove('written', ['b-1', 'b-2']);
      expect(await valueOf(server, 'SELECT count(*) FROM written')).toBe(49);
    });
    expect(requests).toEqual([]);
  });

  it('a flush is two PUTs: a data file and its commit', async () => {
    await createTable(server, 'flushed');
    for (const round of range(5)) {
      await writeBatch(
        server,
        'flushed',
        range(20).map((n) => ({ id: `r-${round}-${n}`, payload: { n } })),
      );
      expect(await requestsOf(() => flush(server, 'flushed'))).toEqual([DATA_FILE, COMMIT]);
    }
    expectThat(await requestsOf(() => flush(server, 'flushed')), 'nothing to flush').toEqual([]);
  });

  it('a bulk load is two PUTs as well, at its flush', async () => {
    const body = range(30_000).map((n) => `{"id":"row-${n}","n":${n},"text":"${'x'.repeat(80)}"}\n`);
    await createTable(server, 'bulk_loaded');
    const bulk = await requestsOf(async () => {
      expectSuccess(
        await call(server, 'POST', '/v1/data/bulk?table=bulk_loaded', body.join(''), { 'content-type': 'application/x-ndjson' }),
      );
    });
    expect(bulk).toEqual([]);
    expect(await requestsOf(() => flush(server, 'bulk_loaded'))).toEqual([DATA_FILE, COMMIT]);
  });

  it('a flush of deletes is two PUTs, whatever the number of files; the first one of a table also makes the empty file that ClickHouse needs', async () => {
    await createTable(server, 'deleted');
    await writeBatch(
      server,
      'deleted',
      range(100).map((n) => ({ id: `row-${n}`, payload: { n } })),
    );
    await flush(server, 'deleted');
    expectThat(await requestsOf(() => remove('deleted', ['row-1', 'row-2'])), 'the delete itself').toEqual([]);
    const first = await requestsOf(() => flush(server, 'deleted'));
    expect(first.filter((request) => !request.includes('/empty.parquet'))).toEqual([VECTORS, COMMIT]);
    console.log(`the first flush of deletes of a table: ${first.join(', ')}`);
    await remove('deleted', ['row-3', 'row-4']);
    expect(await requestsOf(() => flush(server, 'deleted'))).toEqual([VECTORS, COMMIT]);
    await remove('deleted', ['row-5']);
    await write(server, 'deleted', 'new', { n: 1 });
    expect(await requestsOf(() => flush(server, 'deleted'))).toEqual([DATA_FILE, VECTORS, COMMIT]);
    await remove('deleted', ['row-6', 'new']);
    expectThat(await requestsOf(() => flush(server, 'deleted')), 'rows of two files').toEqual([VECTORS, COMMIT]);
  });
});

describe('reading', () => {
  /** Each day is a file. */
  const files: string[] = [];

  beforeAll(async () => {
    await createTable(server, 'days');
    for (const day of range(DAYS)) {
      const records = range(ROWS_PER_DAY).map((n) => ({ id: `d${day}-${n}`, timestamp: instant(day, n), payload: { day, n } }));
      await writeBatch(server, 'days', records);
      const [file = ''] = await requestsOf(() => flush(server, 'days'));
      files.push(file.slice('PUT '.length));
    }
  });

  it('what this server flushed itself it reads without a request', async () => {
    expect(await requestsOf(() => askWarm())).toEqual([]);
  });

  it('a start fetches no data file', async () => {
    await server.kill();
    proxy.forgetRequests();
    await startAgain();
    const seen = proxy.requests.map(({ kind, key }) => `${kind} ${key}`);
    console.log(`a start with ${await tableCount()} tables: ${JSON.stringify(countsOf(seen))}`);
    expect(seen.filter((request) => request.includes('/part-'))).toEqual([]);
  });

  it('after a start with its cache, a server asks for nothing', async () => {
    expect(await requestsOf(() => askWarm())).toEqual([]);
  });

  it('a cold query GETs exactly the files of the table, each once; then queries need no request', async () => {
    await startCold();
    const cold = await requestsOf(async () => {
      expect(await valueOf(server, 'SELECT sum(n) FROM days')).toBe((DAYS * ROWS_PER_DAY * (ROWS_PER_DAY - 1)) / 2);
    });
    expect(cold.sort()).toEqual(files.map((file) => `GET ${file}`).sort());
    expect(await requestsOf(() => askWarm())).toEqual([]);
  });

  it('many at once that want the same cold files GET each once', async () => {
    await startCold();
    const requests = await requestsOf(() => Promise.all(range(8).map(() => valueOf(server, 'SELECT sum(n) FROM days'))));
    expect(requests.sort()).toEqual(files.map((file) => `GET ${file}`).sort());
  });

  it('what the log tells needs no file; a filter on time, a column or ids fetches only files that may hold matches, and so does an update', async () => {
    await startCold();
    const about = async (): Promise<void> => void expect((await tableInfo(server, 'days'))['stats'].record_count).toBe(DAYS * ROWS_PER_DAY);
    expect(await requestsOf(about)).toEqual([]);
    const counted = (where: string) => (): Promise<unknown> => valueOf(server, `SELECT count(*) FROM days WHERE ${where}`);
    const inTime = counted(`"timestamp" >= '2024-03-03' AND "timestamp" < '2024-03-05'`);
    await expectFetches(inTime, [2, 3]);
    await expectFetches(inTime, []);
    await expectFetches(counted('day = 4'), [4]);
    await expectFetches(counted(`id = 'd1-7'`), [1]);
    const record = { table: 'days', id: 'd5-5', timestamp: instant(5, 5), payload: { day: 5, n: 5 } };
    await expectFetches(async () => expectSuccess(await call(server, 'PUT', '/v1/data', record)), [5]);
    await expectFetches(() => remove('days', ['d5-5']), []);
    await expectFetches(counted('true'), [0]);
  });

  /** Exactly the files of these days. */
  async function expectFetches(work: () => Promise<unknown>, days: readonly number[]): Promise<void> {
    expect((await requestsOf(work)).sort()).toEqual(days.map((day) => `GET ${files[day]}`).sort());
  }
});

describe('looking after it', () => {
  it.each(['/v1/health', '/v1/health/ready', '/v1/status'])(
    'GET %s asks the store once, and nothing for others within a second',
    async (where) => {
      const ask = async (): Promise<void> => void expectStatus(await call(server, 'GET', where), 200);
      await pause(HEALTH_KEPT_MS);
      proxy.forgetRequests();
      await ask();
      await Promise.all([ask(), ask(), ask()]);
      expect(proxy.requests.map(({ kind, key }) => `${kind} ${key}`)).toEqual([`GET ${HEALTH_KEY}`]);
    },
  );

  it.each(['/v1/health/live', '/v1/queries'])('GET %s asks it nothing', async (where) => {
    expect(await requestsOf(async () => void expectStatus(await call(server, 'GET', where), 200))).toEqual([]);
  });

  it('the list of tables reads the files in which rows are hidden, and no other, until they are on the disk', async () => {
    const list = async (): Promise<void> => void expectStatus(await call(server, 'GET', '/v1/tables'), 200);
    const isOfDeleted = expect.stringMatching(/^GET deleted\/shard-0\/.*\/part-[^/]+\.parquet$/);
    expect(await requestsOf(list)).toEqual([isOfDeleted, isOfDeleted]);
    expect(await requestsOf(list)).toEqual([]);
  });

  it('a scrape of /metrics asks it once at most', async () => {
    const requests = await requestsOf(async () => void expectStatus(await call(server, 'GET', '/metrics'), 200));
    console.log(`a scrape of /metrics: ${requests.join(', ') || 'no request'}`);
    expect([[], [`GET ${HEALTH_KEY}`]]).toContainEqual(requests);
  });
});

describe('doing nothing', () => {
  it('costs nothing without Redis', async () => {
    expect(await requestsOf(() => pause(IDLE_MS))).toEqual([]);
  });

  it('is a look into the catalogue and one at each table with Redis, every poll_seconds', async () => {
    const tables = await tableCount();
    await server.kill();
    const config = { ...CONFIG, redis: { poll_seconds: 1, heartbeat_seconds: 1 } };
    server = await startServer({ dataDir: server.dataDir, config, env: { ...env, REDIS_MODE: 'standalone' } });
    const requests = await requestsOf(() => pause(IDLE_MS), MEASUREMENTS_MAX);
    const looks = requests.filter((request) => request === 'LIST _catalogue/').length;
    console.log(`idle with Redis for ${IDLE_MS} ms, ${tables} tables, poll_seconds 1: ${JSON.stringify(countsOf(requests))}`);
    const nextVersions = requests.filter((request) => /^GET \w+\/_delta_log\/\d{20}\.json$/.test(request)).length;
    expectThat(looks + nextVersions, 'and no other request').toBe(requests.length);
    // A look may be under way at either end.
    expect(looks).toBeGreaterThan(0);
    expectThat(looks, 'looks into the catalogue').toBeLessThanOrEqual(IDLE_MS / 1_000 + 1);
    expectThat(nextVersions, 'looks at tables').toBeLessThanOrEqual((IDLE_MS / 1_000 + 1) * tables);
  });
});

/* ------------------------------------------------------------------------------------------------------------------ counting */

/**
 * Requests while `work` runs, as `KIND key` in the order in which they came; the server's own count must say the same.
 * @param measurements how often this is tried where the server looks around by itself: it may do so while it is asked for its count
 */
async function requestsOf(work: () => Promise<unknown>, measurements = 1): Promise<string[]> {
  const before = await ownCounts();
  proxy.forgetRequests();
  await work();
  const seen = proxy.requests.map(({ kind, key }) => `${kind} ${key}`);
  const after = await ownCounts();
  const own = Object.fromEntries(KINDS.map((kind) => [kind, (after[kind] ?? 0) - (before[kind] ?? 0)]));
  const asking = proxy.requests.slice(seen.length).map(({ kind, key }) => `${kind} ${key}`);
  const isAlone = asking.length === 0 || (asking.length === 1 && asking[0] === `GET ${HEALTH_KEY}`);
  if (!isAlone && measurements > 1) return requestsOf(work, measurements - 1);
  expectThat(isAlone, `asking for minio_stats: ${asking.join()}`).toBe(true);
  expectThat(own, 'minio_stats').toEqual(countsOf([...seen, ...asking]));
  return seen;
}

async function ownCounts(): Promise<Record<string, number>> {
  const { minio_stats: stats } = expectStatus(await call(server, 'GET', '/v1/status'), 200).json as { minio_stats: Record<string, number> };
  return Object.fromEntries(KINDS.map((kind) => [kind, stats[`${kind.toLowerCase()}_requests`] ?? 0]));
}

function countsOf(requests: readonly string[]): Record<string, number> {
  return Object.fromEntries(KINDS.map((kind) => [kind, requests.filter((request) => request.startsWith(`${kind} `)).length]));
}

/* ------------------------------------------------------------------------------------------------------------------ the work */

/** Different queries, none of which can be answered by the one before. */
async function askWarm(): Promise<void> {
  for (const n of range(WARM_QUERIES)) {
    const sql = `SELECT count(*) AS matches, max("timestamp") AS newest, min(id) AS first FROM days WHERE n >= ${n} OR day = ${n % DAYS}`;
    const { rows } = expectStatus(await call(server, 'POST', '/v1/query', { sql }), 200).json as { rows: JsonRow[] };
    expect(rows[0]?.['matches']).toBe(DAYS * (ROWS_PER_DAY - n) + n);
  }
}

async function startAgain(): Promise<void> {
  server = await startServer({ dataDir: server.dataDir, config: CONFIG, env });
}

/** With the write-ahead log it had and without its cache. */
async function startCold(): Promise<void> {
  await server.kill();
  rmSync(path.join(server.dataDir, 'cache'), { recursive: true, force: true });
  await startAgain();
}

async function tableCount(): Promise<number> {
  return expectStatus(await call(server, 'GET', '/v1/tables'), 200).json.total as number;
}

async function remove(table: string, ids: readonly string[]): Promise<void> {
  const answer = expectStatus(await call(server, 'DELETE', '/v1/data', { table, ids, soft_delete: false }), 200);
  expect(answer.json.deleted_count).toBe(ids.length);
}

function instant(day: number, minute: number): string {
  return new Date(Date.UTC(2024, 2, 1 + day, 12, minute)).toISOString();
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
