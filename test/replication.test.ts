/**
 * A second bucket as the copy of the first: it follows, catches up after outages, gives its files while the first store is away, and a server that is
 * pointed at it finds every table.
 */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import type { Client } from 'minio';
import { type FaultyProxy, startFaultyProxy } from './servers/faulty-proxy.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import { createTable, eventually, expectSuccess, flush, type JsonRow, rowsOf, writeBatch } from './support/requests.js';
import { call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';

const TABLE = 'copied';
const EVERYTHING = `SELECT * FROM ${TABLE} ORDER BY ALL`;
const QUERY_MS_MAX = 20_000;
const CONFIG = {
  log: { level: 'warn', file: '' },
  tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 },
  maintenance: { interval_seconds: 3_600, orphan_age_hours: 0, time_travel_hours: 0 },
  minio: { idle_timeout_ms: 500, deadline_ms: 1_500 },
  minio_backup: { idle_timeout_ms: 500, deadline_ms: 1_500 },
};

let store: TestObjectStore;
let first: FaultyProxy;
let second: FaultyProxy;
let buckets: { tables: string; copy: string };
let dataDir: string;
let server: RunningServer;
let written = 0;

beforeAll(async () => {
  store = await testObjectStore();
  const { hostname, port } = new URL(store.endpoint);
  first = await startFaultyProxy({ host: hostname, port: Number(port) });
  second = await startFaultyProxy({ host: hostname, port: Number(port) });
});

afterAll(async () => {
  await first.stop();
  await second.stop();
  await closeTestServers();
});

beforeEach(async () => {
  buckets = { tables: await store.newBucket(), copy: await store.newBucket() };
  dataDir = temporaryDirectory('replication');
  server = await start(dataDir, buckets.tables, buckets.copy);
  await createTable(server, TABLE);
});

afterEach(async () => {
  first.heal();
  second.heal();
  await server.kill();
});

function start(directory: string, bucket: string, copy: string | undefined): Promise<RunningServer> {
  const keys = (prefix: string): Record<string, string> => ({
    [`${prefix}_ACCESS_KEY`]: store.accessKey,
    [`${prefix}_SECRET_KEY`]: store.secretKey,
  });
  const backup = copy === undefined ? {} : { MINIO_BACKUP_ENDPOINT: second.endpoint, MINIO_BACKUP_BUCKET: copy, ...keys('MINIO_BACKUP') };
  return startServer({
    dataDir: directory,
    config: CONFIG,
    env: { STORAGE: 'minio', MINIO_ENDPOINT: first.endpoint, MINIO_BUCKET: bucket, ...keys('MINIO'), ...backup },
  });
}

async function writeRows(count: number): Promise<void> {
  const records = Array.from({ length: count }, () => {
    written += 1;
    return { id: `row-${written}`, timestamp: 1_700_000_000_000 + written, payload: { n: written, note: `note ${written % 7}` } };
  });
  await writeBatch(server, TABLE, records);
}

async function replication(): Promise<JsonRow> {
  return (await call(server, 'GET', '/v1/status')).json['replication_stats'] as JsonRow;
}

async function expectCaughtUp(): Promise<void> {
  await eventually('the copy has caught up', replication, ({ tables_behind: behind, lag_seconds: lag }) => behind === 0 && lag === 0);
}

async function keysOf(client: Client, bucket: string, prefix: string): Promise<Map<string, string>> {
  const keys = new Map<string, string>();
  for await (const { name, etag } of client.listObjectsV2(bucket, prefix, true) as AsyncIterable<{ name: string; etag: string }>)
    keys.set(name, etag);
  return keys;
}

/** The logs are the same byte for byte, and the copy has every file that the table needs. */
async function expectSameTables(): Promise<void> {
  const commits = (keys: Map<string, string>): [string, string][] => [...keys].filter(([key]) => key.endsWith('.json'));
  for (const prefix of [`${TABLE}/_delta_log/`, '_catalogue/'])
    expectThat(commits(await keysOf(store.client, buckets.copy, prefix)), prefix).toEqual(
      commits(await keysOf(store.client, buckets.tables, prefix)),
    );
}

it('tells Prometheus how far it is behind', async () => {
  await writeRows(10);
  await flush(server, TABLE);
  await expectCaughtUp();
  const { text } = await call(server, 'GET', '/metrics');
  expect(text).toContain(`# HELP miniodb_replication_lag_seconds Age of the oldest commit that the backup bucket does not have yet
# TYPE miniodb_replication_lag_seconds gauge
miniodb_replication_lag_seconds{node="node-1"} 0
`);
});

it('is the whole set of tables for a server that is pointed at it', async () => {
  await writeRows(500);
  await flush(server, TABLE);
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table: TABLE, ids: [`row-${written}`, `row-${written - 1}`] }));
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table: TABLE, id: `row-${written - 2}`, soft_delete: true }));
  await flush(server, TABLE);
  await writeRows(300);
  await flush(server, TABLE);
  expectSuccess(await call(server, 'POST', `/v1/tables/${TABLE}/compact`));
  expectSuccess(await call(server, 'PUT', '/v1/data', { table: TABLE, id: `row-${written}`, payload: { n: -1 }, timestamp: 0 }));
  await flush(server, TABLE);
  await expectCaughtUp();
  await expectSameTables();
  const rows = await rowsOf(server, EVERYTHING);
  const restorable = `row-${written - 302}`;
  await server.stop();

  server = await start(temporaryDirectory('replication'), buckets.copy, undefined);
  expect(await rowsOf(server, EVERYTHING)).toEqual(rows);
  const restored = await call(server, 'POST', '/v1/data/restore', { table: TABLE, id: restorable });
  expect(expectSuccess(restored).json).toMatchObject({ restored_count: 1 });
}, 60_000);

it('catches up when the backup store comes back, also after a restart', async () => {
  await writeRows(10);
  await flush(server, TABLE);
  await expectCaughtUp();
  second.inject({ key: /./, at: 'before-request', effect: 'hang' });
  for (let commit = 0; commit < 3; commit += 1) {
    await writeRows(10);
    await flush(server, TABLE);
  }
  const behind = await eventually('a failure that is told', replication, ({ failures }) => failures > 0);
  expect(behind).toMatchObject({ enabled: 1, tables_behind: 1 });
  expect(behind['lag_seconds']).toBeGreaterThan(0);
  const health = await call(server, 'GET', '/v1/health');
  expect(health.json).toMatchObject({ status: 'degraded', details: { backup_store: expect.stringMatching(/^degraded: /) } });

  await server.kill();
  second.heal();
  server = await start(dataDir, buckets.tables, buckets.copy);
  await expectCaughtUp();
  await expectSameTables();
  expect((await call(server, 'GET', '/v1/health')).json.details).toMatchObject({ backup_store: 'healthy' });
}, 90_000);

it('gives the files that the first store cannot give, and never takes a write', async () => {
  await writeRows(200);
  await flush(server, TABLE);
  await writeRows(200);
  await flush(server, TABLE);
  await expectCaughtUp();
  const rows = await rowsOf(server, EVERYTHING);
  await server.kill();
  rmSync(path.join(dataDir, 'cache'), { recursive: true });
  server = await start(dataDir, buckets.tables, buckets.copy);
  // Down to what a start needs: every data file has to be fetched.
  first.inject({ key: /\.parquet$/, kinds: ['GET'], at: 'before-request', effect: 'cut' });
  const startedMs = performance.now();
  expect(await rowsOf(server, EVERYTHING)).toEqual(rows);
  expect(performance.now() - startedMs).toBeLessThan(QUERY_MS_MAX);
  expect((await replication())['fallback_reads']).toBe(2);

  const outage = first.inject({ key: /./, at: 'before-request', effect: 'cut' });
  const before = await keysOf(store.client, buckets.copy, `${TABLE}/`);
  await writeRows(50);
  expect((await call(server, 'POST', `/v1/tables/${TABLE}/flush`)).status).toBe(503);
  expect(await rowsOf(server, `SELECT count(*) AS n FROM ${TABLE}`)).toEqual([{ n: 450 }]);
  expect(await keysOf(store.client, buckets.copy, `${TABLE}/`)).toEqual(before);
  outage.end();
  first.heal();
  await eventually(
    'a flush after the outage',
    () => call(server, 'POST', `/v1/tables/${TABLE}/flush`),
    ({ status }) => status === 200,
  );
  expect(await rowsOf(server, `SELECT count(*) AS n, count(DISTINCT id) AS ids FROM ${TABLE}`)).toEqual([{ n: 450, ids: 450 }]);
  await expectCaughtUp();
  await expectSameTables();
}, 90_000);

it('follows a table that is dropped and made anew', async () => {
  await writeRows(20);
  await flush(server, TABLE);
  await expectCaughtUp();
  expectSuccess(await call(server, 'DELETE', `/v1/tables/${TABLE}?cascade=true`));
  for (const bucket of [buckets.tables, buckets.copy])
    await eventually(
      `the dropped table is gone from ${bucket}`,
      () => keysOf(store.client, bucket, `${TABLE}/`),
      ({ size }) => size === 0,
    );
  // While nobody looks at the copy: the next table of this name meets what is left of the last one.
  await createTable(server, TABLE);
  await writeRows(5);
  await flush(server, TABLE);
  await expectCaughtUp();
  await expectSameTables();
  const rows = await rowsOf(server, EVERYTHING);
  await server.stop();
  server = await start(temporaryDirectory('replication'), buckets.copy, undefined);
  expect(await rowsOf(server, EVERYTHING)).toEqual(rows);
}, 60_000);

it('goes on from a checkpoint when the commits after its own were cleaned up', async () => {
  await server.stop();
  // Without a copy for a while.
  server = await startWithoutCopy();
  for (let commit = 0; commit < 6; commit += 1) {
    await writeRows(10);
    await flush(server, TABLE);
  }
  await eventually(
    'the log begins with a checkpoint',
    async () => {
      await writeRows(1);
      await flush(server, TABLE);
      expectSuccess(await call(server, 'POST', `/v1/tables/${TABLE}/vacuum`));
      return keysOf(store.client, buckets.tables, `${TABLE}/_delta_log/`);
    },
    (keys) => !keys.has(`${TABLE}/_delta_log/${'0'.repeat(19)}2.json`),
  );
  const rows = await rowsOf(server, EVERYTHING);
  await server.stop();
  server = await start(dataDir, buckets.tables, buckets.copy);
  await expectCaughtUp();
  await server.stop();
  server = await start(temporaryDirectory('replication'), buckets.copy, undefined);
  expect(await rowsOf(server, EVERYTHING)).toEqual(rows);
}, 60_000);

function startWithoutCopy(): Promise<RunningServer> {
  return startServer({
    dataDir,
    config: { ...CONFIG, maintenance: { ...CONFIG.maintenance, interval_seconds: 0.2, checkpoint_commits: 2, compaction: false } },
    env: {
      STORAGE: 'minio',
      MINIO_ENDPOINT: first.endpoint,
      MINIO_BUCKET: buckets.tables,
      MINIO_ACCESS_KEY: store.accessKey,
      MINIO_SECRET_KEY: store.secretKey,
    },
  });
}
