/**
 * The disk of a server is lost: write-ahead log, cache, everything below its data directory. A server that starts on an empty directory with the same
 * bucket has all that was flushed: tables and settings, rows, deletes, soft-deleted rows to restore, every version back in time. It goes on writing.
 * So it is without Redis, with Redis, and when Redis is emptied as well, for nothing in Redis is ever asked back.
 *
 * What was acknowledged and not flushed is gone with the disk; `?ack=flushed` is for writes that must not be.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, objectStoreClient, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { textOf } from './support/backups.js';
import { readTableInBucket } from './support/bucket-table.js';
import { expectThat } from './support/expectations.js';
import {
  createTable,
  eventually,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  tableInfo,
  valueOf,
  write,
  writeBatch,
} from './support/requests.js';
import { goOnWriting, makeRichTable, restoreSoftRows, type RichTable } from './support/rich-table.js';
import { type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';
import { sharedBucketEnvironment } from './support/shared-bucket.js';
import { bucketObjects } from './support/table-objects.js';

/** Flushes and compactions are asked for; checkpoints come by themselves. */
const CONFIG = {
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 86_400 },
  maintenance: { interval_seconds: 0.2, compaction: false, checkpoint_commits: 3 },
  redis: { heartbeat_seconds: 1 },
  backup: { metadata_interval_minutes: 0 },
};
const SCATTERED_ROWS = 4_000;
const SETTINGS = { flush_interval_seconds: 3_600, retention_days: 4_000, backup_enabled: true, properties: { owner: 'ü', level: '1' } };

let store: TestObjectStore;
let redis: RedisServer;
let server: RunningServer | undefined;

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
});

afterEach(async () => {
  await server?.kill();
  server = undefined;
});

afterAll(async () => {
  await Promise.all([closeTestServers(), redis?.stop()]);
});

describe('a lost disk', () => {
  it.each([
    ['without Redis', { REDIS_MODE: 'none' }, false],
    ['with Redis', {}, false],
    ['with Redis, which is emptied at the same time', {}, true],
  ] as const)('%s: everything flushed is back, and writing goes on', async (_title, redisEnvironment, isRedisEmptied) => {
    const bucket = `disk-${randomUUID()}`;
    const node = new DiskNode({ ...sharedBucketEnvironment(store, redis, bucket), ...redisEnvironment });
    const rich = await fill(await node.start());
    const before = await everythingOf(node.running());
    // With no new column: where nodes share a bucket, those are committed at once.
    await write(node.running(), 'again', 'never-flushed', { n: 1 });

    await node.loseDisk();
    if (isRedisEmptied) await emptyRedis();
    const restarted = await node.start();
    expectThat(await everythingOf(restarted), 'without what was not flushed').toEqual(before);
    const { status, details } = (await call(restarted, 'GET', '/v1/health')).json as { status: string; details: Record<string, string> };
    expect(status).toBe('degraded');
    expectThat(details['former_log'], 'the log that was lost is named, with what the tables have of it').toMatch(
      /another write-ahead log, [0-9a-f-]{36} with LSN 8589934593 to 17179869184, .*up to LSN \d+/,
    );
    expect(restarted.output()).toContain(details['former_log']?.replace('degraded: ', ''));

    await restoreAndGoOn(restarted, rich);
    const later = await everythingOf(restarted);
    await node.loseDisk();
    expectThat(await everythingOf(await node.start()), 'after the disk was lost once more').toEqual(later);
    await expectSoundBucket(node.running(), bucket);
    if (!('REDIS_MODE' in redisEnvironment)) await expectNamesInRedis(Object.keys(later));
  });
});

/** A server on a directory that can be lost. */
class DiskNode {
  readonly #dataDir = temporaryDirectory('disk');

  constructor(private readonly env: Record<string, string>) {}

  async start(): Promise<RunningServer> {
    server = await startServer({ dataDir: this.#dataDir, env: this.env, config: CONFIG });
    return server;
  }

  running(): RunningServer {
    if (!server) throw new Error('the server is not running');
    return server;
  }

  /** SIGKILL, and nothing is left of what it had on the disk. */
  async loseDisk(): Promise<void> {
    await this.running().kill();
    expectThat(existsSync(path.join(this.#dataDir, 'wal')), 'there was a write-ahead log').toBe(true);
    for (const name of readdirSync(this.#dataDir)) rmSync(path.join(this.#dataDir, name), { recursive: true, force: true });
  }
}

/* ---------------------------------------------------------------------------------------------------- what is there before */

/** Tables of every kind, with something in them that only the bucket can know afterwards. */
async function fill(on: RunningServer): Promise<RichTable> {
  const rich = await makeRichTable(on, 'rich', { ...SETTINGS, properties: { owner: 'ü' } });
  expectSuccess(await call(on, 'PATCH', '/v1/tables/rich', { config: { properties: { owner: 'ü', changed: 'yes' } } }));
  await fillUpsert(on);
  await fillById(on);
  await fillScattered(on);
  await fillDeclared(on);
  await createTable(on, 'emptied', SETTINGS);
  // A table of the same name was here before, and its rows must not come back.
  await write(on, 'dropped', 'old', { n: 1 });
  await flush(on, 'dropped');
  expectSuccess(await call(on, 'DELETE', '/v1/tables/dropped?cascade=true'));
  await write(on, 'again', 'old', { n: 1 });
  await flush(on, 'again');
  expectSuccess(await call(on, 'DELETE', '/v1/tables/again?cascade=true'));
  await createTable(on, 'again');
  // Without another request for a flush.
  expectSuccess(await call(on, 'POST', '/v1/data?ack=flushed', { table: 'again', id: 'new', payload: { n: 2 } }));
  return rich;
}

async function fillUpsert(on: RunningServer): Promise<void> {
  await createTable(on, 'latest', { write_mode: 'upsert' });
  for (const round of [1, 2, 3]) {
    await writeBatch(
      on,
      'latest',
      range(20).map((n) => ({ id: `key-${n % (8 + round)}`, payload: { round, n } })),
    );
    await flush(on, 'latest');
  }
  await remove(on, 'latest', ['key-1', 'key-2'], true);
  await remove(on, 'latest', ['key-3'], false);
  await flush(on, 'latest');
}

async function fillById(on: RunningServer): Promise<void> {
  await createTable(on, 'by_id', { layout: 'id' });
  await writeBatch(
    on,
    'by_id',
    range(60).map((n) => ({ id: `sensor-${n % 5}`, payload: { n } })),
  );
  await flush(on, 'by_id');
  await remove(on, 'by_id', ['sensor-2'], false);
  await flush(on, 'by_id');
}

/** A bulk file, and so many deletes in it that their vector is an object of its own. */
async function fillScattered(on: RunningServer): Promise<void> {
  const lines = range(SCATTERED_ROWS).map((n) => `{"id":"row-${n}","n":${n}}${' '.repeat(600)}\n`);
  const answer = await call(on, 'POST', '/v1/data/bulk?table=scattered', lines.join(''), { 'content-type': 'application/x-ndjson' });
  expectSuccess(answer);
  await flush(on, 'scattered');
  await remove(
    on,
    'scattered',
    range(SCATTERED_ROWS)
      .filter((n) => (n * 7) % 11 < 3)
      .map((n) => `row-${n}`),
    false,
  );
  await remove(
    on,
    'scattered',
    range(SCATTERED_ROWS)
      .filter((n) => (n * 7) % 11 === 4)
      .map((n) => `row-${n}`),
    true,
  );
  await flush(on, 'scattered');
}

async function fillDeclared(on: RunningServer): Promise<void> {
  const schema = [
    { name: 'price', type: 'DECIMAL(12,2)' },
    { name: 'day', type: 'DATE' },
    { name: 'moment', type: 'TIMESTAMPTZ' },
    { name: 'small', type: 'INTEGER' },
  ];
  expectSuccess(await call(on, 'POST', '/v1/tables', { table_name: 'declared', schema, config: SETTINGS }));
  await write(on, 'declared', 'a', { price: 1.25, day: '2024-02-29', moment: '2024-03-31T01:30:00.000001+01:00', small: -1 });
  await flush(on, 'declared');
}

/* ------------------------------------------------------------------------------------------------------------ comparing */

/** All that requests tell of all tables, as text where digits matter. */
async function everythingOf(on: RunningServer): Promise<Record<string, JsonRow>> {
  const { tables } = expectStatus(await call(on, 'GET', '/v1/tables'), 200).json as { tables: JsonRow[] };
  const everything: Record<string, JsonRow> = {};
  for (const { name } of tables) everything[name] = await everythingOfTable(on, name as string);
  return everything;
}

async function everythingOfTable(on: RunningServer, name: string): Promise<JsonRow> {
  // The time of the last write is that of the last commit after a restart.
  const { last_write: _lastWrite, ...info } = await tableInfo(on, name);
  const history = (expectStatus(await call(on, 'GET', `/v1/tables/${name}/history`), 200).json.history ?? []) as JsonRow[];
  const versions = history.map(({ version }) => version as number);
  return {
    ...info,
    rows: await textOf(on, name),
    history,
    asOfVersion: await Promise.all(versions.map((version) => rowsAsOf(on, name, version))),
    asOfInstant: await Promise.all(history.slice(-2).map(({ timestamp }) => rowsAsOf(on, name, timestamp as string))),
  };
}

async function rowsAsOf(on: RunningServer, name: string, asOf: number | string): Promise<unknown> {
  const body = { sql: `SELECT count(*) AS n, md5(string_agg(t::VARCHAR, ',' ORDER BY t::VARCHAR)) AS hash FROM "${name}" t`, as_of: asOf };
  return (expectStatus(await call(on, 'POST', '/v1/query', body), 200).json as JsonRow)['rows'];
}

/* ---------------------------------------------------------------------------------------------------------- what goes on */

async function restoreAndGoOn(on: RunningServer, rich: RichTable): Promise<void> {
  expect(await restoreSoftRows(on, rich)).toBe(rich.softText);
  const gone = await goOnWriting(on, rich, 'after-loss');
  const ids = (await rowsOf(on, `SELECT id FROM rich`)).map(({ id }) => id as string);
  expect(ids.filter((id) => gone.includes(id))).toEqual([]);
  expect(ids).toContain('new-after-loss-2');

  const restored = await call(on, 'POST', '/v1/data/restore', { table: 'latest', ids: ['key-1', 'key-2', 'key-3'] });
  expectThat(expectSuccess(restored).json.restored_count, 'soft-deleted keys; the hard-deleted one stays away').toBe(2);
  await write(on, 'latest', 'key-5', { round: 9, n: 9 });
  expect(await valueOf(on, `SELECT count(*) FROM latest WHERE id = 'key-5'`)).toBe(1);
  expect(await valueOf(on, `SELECT round FROM latest WHERE id = 'key-5'`)).toBe(9);

  const softIds = range(SCATTERED_ROWS)
    .filter((n) => (n * 7) % 11 === 4)
    .map((n) => `row-${n}`);
  const scattered = await call(on, 'POST', '/v1/data/restore', { table: 'scattered', ids: softIds });
  expect(expectSuccess(scattered).json.restored_count).toBe(softIds.length);
  await remove(
    on,
    'scattered',
    ['row-1', 'row-2'].filter((id) => !softIds.includes(id)),
    false,
  );
  await write(on, 'by_id', 'sensor-1', { n: 1_000 });
  await write(on, 'declared', 'b', { price: -0.01, day: '2099-12-31', small: 1 });
  await write(on, 'emptied', 'first', { n: 1 });
  await write(on, 'dropped', 'new', { n: 3 });
  expect(await rowsOf(on, 'SELECT id FROM dropped')).toEqual([{ id: 'new' }]);
  for (const name of ['rich', 'latest', 'scattered', 'by_id', 'declared', 'emptied', 'dropped', 'again']) await flush(on, name);
  expectSuccess(await call(on, 'POST', '/v1/tables/scattered/compact'));
}

async function remove(on: RunningServer, table: string, ids: readonly string[], soft: boolean): Promise<void> {
  expectStatus(await call(on, 'DELETE', '/v1/data', { table, ids, soft_delete: soft }), 200);
}

/** Past the server: the log of every table has no gap, and names each file once and only such as are there. */
async function expectSoundBucket(on: RunningServer, bucket: string): Promise<void> {
  const client = objectStoreClient(store);
  for (const name of ['latest', 'by_id', 'scattered', 'emptied']) {
    const { location, stats } = await tableInfo(on, name);
    const directory = (location as string).slice(`s3://${bucket}/`.length);
    const found = await readTableInBucket(bucketObjects(client, bucket, directory));
    expectThat(found.rowCount, `rows of ${name} by its log`).toBe(stats.record_count);
    expectThat(found.orphans, `files of ${name} that no version names`).toEqual([]);
  }
}

async function withRedis<T>(use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(redis.url);
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

function emptyRedis(): Promise<unknown> {
  return withRedis((client) => client.flushall());
}

/** What people read in Redis comes back by itself. */
async function expectNamesInRedis(names: readonly string[]): Promise<void> {
  const listed = (): Promise<string[]> => withRedis((client) => client.smembers('tables:list'));
  await eventually('tables:list', listed, (found) => found.sort().join() === [...names].sort().join());
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
