/**
 * The object store hangs, or refuses connections, while clients write. What the server acknowledged is in its write-ahead log, so an outage may
 * delay flushes and in the end refuse writes (429, when the log is full), but it loses nothing, doubles nothing and answers no 500.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type ObjectStoreServer, startObjectStore } from './servers/radosgw.js';
import { expectThat } from './support/expectations.js';
import { createTable, eventually, expectStatus, expectSuccess, tableInfo, valueOf } from './support/requests.js';
import { type Answer, type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';

const TABLE = 'outage_rows';
const WRITE_MS_MAX = 2_000;
const FLUSH_MS_MAX = 60_000;
const HEALTH_MS_MAX = 40_000;
const RECOVERY_MS_MAX = 60_000;
const MIB = 1_024 * 1_024;

let store: ObjectStoreServer;
let server: RunningServer | undefined;
/** What must be there: the value `n` of each id that was acknowledged and not deleted. */
let expected: Map<string, number>;
let start: () => Promise<void>;

beforeAll(async () => {
  store = await startObjectStore();
});

afterAll(() => store.stop());

afterEach(async () => {
  await server?.kill();
  server = undefined;
  // For the next test, whatever this one left behind.
  store.resume();
  await store.restart();
});

describe('an object store that hangs', () => {
  it('delays flushes and nothing else', async () => {
    await begin({}, { flush_interval_seconds: 3_600 });
    await writeRows('flushed', 50);
    expectSuccess(await flush());

    store.pause();
    await writeRows('first', 10);
    const flushing = timed(flush);
    const asking = timed(() => call(running(), 'GET', '/v1/health'));
    for (let round = 0; round < 20; round += 1) {
      await writeRows(`during${round}`, 1);
      expect(await valueOf(running(), `SELECT count(*) FROM ${TABLE}`)).toBe(expected.size);
    }
    expect(await valueOf(running(), `SELECT sum(n) FROM ${TABLE} WHERE id LIKE 'flushed-%'`)).toBe((49 * 50) / 2);
    await deleteRow('flushed-7');
    expect(await valueOf(running(), `SELECT count(*) FROM ${TABLE} WHERE id = 'flushed-7'`)).toBe(0);

    const health = await asking;
    expectThat(health.ms, 'milliseconds of GET /v1/health').toBeLessThan(HEALTH_MS_MAX);
    expect(health.answer.json.details.object_store).toMatch(/^unhealthy/);
    expect(health.answer.status).toBe(503);
    const refused = await flushing;
    expectThat(refused.ms, 'milliseconds of a flush').toBeLessThan(FLUSH_MS_MAX);
    expectRefusal(refused.answer, 503, 'UNAVAILABLE');
    await writeRows('late', 10);
    await expectExactRows();

    store.resume();
    await eventually('a flush after the outage', flush, (answer) => answer.status === 200, RECOVERY_MS_MAX);
    await expectExactRows();
    expect((await tableInfo(running(), TABLE))['stats'].buffered_records).toBe(0);
    await killAndStart();
    await expectExactRows();
  });

  it('ends in 429 when the write-ahead log is full, and writes go on after it', async () => {
    await begin({ wal: { bytes_max: 4 * MIB, segment_bytes: MIB } }, { flush_interval_seconds: 1 });
    await writeRows('flushed', 5);
    expectSuccess(await flush());

    store.pause();
    const filler = 'x'.repeat(MIB / 10);
    let refusal: Answer | undefined;
    for (let row = 0; !refusal && row < 100; row += 1) refusal = await writeRow(`filler-${row}`, row, filler);
    expectThat(refusal, 'a refusal before 10 MiB were taken').toBeDefined();
    if (refusal) expectRefusal(refusal, 429, 'RESOURCE_EXHAUSTED');
    await expectExactRows();

    store.resume();
    const attempt = (): Promise<Answer | undefined> => writeRow('after', 1, filler);
    await eventually('a write after the outage', attempt, (refused) => refused === undefined, RECOVERY_MS_MAX);
    await killAndStart();
    await expectExactRows();
    await eventually('a flush after the outage', flush, (answer) => answer.status === 200, RECOVERY_MS_MAX);
    await expectExactRows();
  });
});

describe('an object store that refuses connections', () => {
  it('loses and doubles no row of a stream of writes', async () => {
    await begin({}, { flush_interval_seconds: 1 });
    let isOver = false;
    const stream = (async () => {
      for (let batch = 0; !isOver; batch += 1) await writeRows(`batch${batch}`, 5);
    })();
    try {
      for (let outage = 0; outage < 3; outage += 1) {
        const before = await rowsInFiles();
        await eventually('a flush by age', rowsInFiles, (rows) => rows > before, RECOVERY_MS_MAX);
        await store.killGateway();
        const taken = expected.size;
        const logged = running().output().length;
        await eventually(
          '200 rows during the outage',
          () => expected.size - taken,
          (rows) => rows >= 200,
        );
        await eventually(
          'a failed flush',
          () => running().output().slice(logged),
          (text) => text.includes('flush failed'),
          45_000,
        );
        await store.restart();
      }
    } finally {
      isOver = true;
      await stream;
    }
    await eventually('a flush after the outage', flush, (answer) => answer.status === 200, RECOVERY_MS_MAX);
    await expectExactRows();
    await killAndStart();
    await expectExactRows();
  });
});

function running(): RunningServer {
  if (!server) throw new Error('the server is not running');
  return server;
}

/** A server of its own bucket, with the table. */
async function begin(config: Record<string, unknown>, tableConfig: Record<string, unknown>): Promise<void> {
  const dataDir = temporaryDirectory('outage');
  const env = {
    STORAGE: 'minio',
    MINIO_ENDPOINT: `${store.host}:${store.port}`,
    MINIO_ACCESS_KEY: store.accessKey,
    MINIO_SECRET_KEY: store.secretKey,
    MINIO_BUCKET: `outage-${randomUUID()}`,
    REDIS_MODE: 'none',
  };
  expected = new Map();
  start = async () => {
    server = await startServer({ dataDir, env, config: { log: { level: 'warn', file: '' }, ...config } });
  };
  await start();
  await createTable(running(), TABLE, tableConfig);
  // The columns of the table, so that no later write needs the store.
  expect(await writeRow('columns', 0, '')).toBeUndefined();
}

async function killAndStart(): Promise<void> {
  await running().kill();
  await start();
}

async function timed(ask: () => Promise<Answer>): Promise<{ answer: Answer; ms: number }> {
  const startedMs = performance.now();
  const answer = await ask();
  return { answer, ms: performance.now() - startedMs };
}

async function writeRows(prefix: string, count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, row) => ({ id: `${prefix}-${row}`, payload: { n: row } }));
  const { answer, ms } = await timed(() => call(running(), 'POST', '/v1/data', { table: TABLE, records }));
  expectSuccess(answer);
  expectThat(ms, 'milliseconds of a write').toBeLessThan(WRITE_MS_MAX);
  for (const { id, payload } of records) expected.set(id, payload.n);
}

/** @returns the refusal, which may only be a 429, or undefined when the row was taken */
async function writeRow(id: string, n: number, filler: string): Promise<Answer | undefined> {
  const { answer, ms } = await timed(() => call(running(), 'POST', '/v1/data', { table: TABLE, id, payload: { n, filler } }));
  expectThat(ms, 'milliseconds of a write').toBeLessThan(WRITE_MS_MAX);
  if (answer.status === 429) return answer;
  expectSuccess(answer);
  expected.set(id, n);
  return undefined;
}

async function deleteRow(id: string): Promise<void> {
  const { answer, ms } = await timed(() => call(running(), 'DELETE', '/v1/data', { table: TABLE, id, soft_delete: false }));
  expect(expectSuccess(answer).json.deleted_count).toBe(1);
  expectThat(ms, 'milliseconds of a delete').toBeLessThan(WRITE_MS_MAX);
  expected.delete(id);
}

function flush(): Promise<Answer> {
  return call(running(), 'POST', `/v1/tables/${TABLE}/flush`);
}

/** Rows that are in data files. */
async function rowsInFiles(): Promise<number> {
  const { stats } = await tableInfo(running(), TABLE);
  return stats.record_count - stats.buffered_records;
}

function expectRefusal(answer: Answer, status: number, error: string): void {
  expectThat({ status: answer.status, error: answer.json?.error }, answer.text).toEqual({ status, error });
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
}

async function expectExactRows(): Promise<void> {
  const answer = await call(running(), 'POST', '/v1/query', { sql: `SELECT id, n FROM ${TABLE}` }, { accept: 'application/x-ndjson' });
  const lines = expectStatus(answer, 200)
    .text.split('\n')
    .filter((line) => line !== '');
  const found = lines.map((line) => JSON.parse(line) as { id: string; n: number }).map(({ id, n }) => `${id}=${n}`);
  const wanted = [...expected].map(([id, n]) => `${id}=${n}`);
  expect(found.sort()).toEqual(wanted.sort());
}
