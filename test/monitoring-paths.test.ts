/**
 * What an operator types: the JSON paths of /v1/health, /v1/status, /v1/stats and /v1/metrics hold true figures, looking changes nothing, and the log
 * can be searched for errors, tables, queries, backups and restores.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { objectStoreClient } from './servers/shared-servers.js';
import { backUp, backUpMetadata, QUIET, recover, restoreMetadata } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection } from './support/grpc-client.js';
import {
  createTable,
  eventually,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  memoryOf,
  rowsOf,
  tableInfo,
  write,
  writeBatch,
} from './support/requests.js';
import { call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';
import { startWatchedServer, type WatchedServer } from './support/watched-server.js';

const NODE = 'node-7';
const ENDLESS = 'SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';

describe('figures', () => {
  let server: WatchedServer;
  let grpc: GrpcConnection;

  beforeAll(async () => {
    server = await startWatchedServer(NODE);
    grpc = connectGrpc(server);
  });

  afterAll(async () => {
    grpc?.close();
    await server?.end();
  });

  const read = async (route: string): Promise<any> => expectStatus(await call(server, 'GET', route), 200).json;
  const ask = (sql: string) => call(server, 'POST', '/v1/query', { sql });

  test('/v1/health: status, time, version, and each component', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
    const { timestamp, ...health } = await read('/v1/health');
    expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(10_000);
    const healthy = { query_engine: 'healthy', object_store: 'healthy', read_path: 'healthy', write_path: 'healthy', redis: 'healthy' };
    expect(health).toEqual({ status: 'healthy', version, details: healthy });
    expect(await read('/v1/health/live')).toEqual({ status: 'ok', info: {}, error: {}, details: {} });
    expect(await read('/v1/health/ready')).toMatchObject({
      status: 'ok',
      error: {},
      details: { read_path: { status: 'up' }, write_path: { status: 'up' } },
    });
    const status = await read('/v1/status');
    expect([status.health_status, status.components]).toEqual(['healthy', healthy]);
    expect((await read('/v1/stats')).health_status).toBe('healthy');
    expect((await grpc.unary('HealthCheck', {})).ok).toBe(true);
  });

  test('buffer_stats: rows and bytes that are not in a data file, and the write-ahead log that has them', async () => {
    await createTable(server, 'b');
    const before = (await read('/v1/status')).buffer_stats as JsonRow;
    expect(before).toMatchObject({ tables: 1, buffered_rows: 0, buffered_bytes: 0 });
    await writeBatch(
      server,
      'b',
      Array.from({ length: 25 }, (_, n) => ({ id: `r${n}`, payload: { n, text: 'x'.repeat(200) } })),
    );
    await write(server, 'b', 'one', { n: 1 });
    const filled = (await read('/v1/status')).buffer_stats as JsonRow;
    expect(filled).toMatchObject({ tables: 1, buffered_rows: 26 });
    expect(filled['buffered_bytes']).toBeGreaterThan(25 * 200);
    expect(filled['buffered_bytes']).toBeLessThan(filled['buffer_bytes_max'] as number);
    expect((filled['wal_bytes'] as number) - (before['wal_bytes'] as number)).toBeGreaterThan(25 * 200);
    expect(filled['wal_bytes']).toBeLessThan(filled['wal_bytes_max'] as number);
    expect((filled['visible_lsn'] as number) - (before['visible_lsn'] as number)).toBe(26);
    expect((await read('/v1/stats')).buffer_stats).toEqual(filled);
    await flush(server, 'b');
    expect((await read('/v1/status')).buffer_stats).toMatchObject({ buffered_rows: 0, buffered_bytes: 0 });
  });

  test('minio_stats: data files and their bytes, requests, connections, cache', async () => {
    const { file_count: files, size_bytes: bytes } = (await tableInfo(server, 'b'))['stats'] as JsonRow;
    const before = (await read('/v1/status')).minio_stats as JsonRow;
    expect(before).toMatchObject({ enabled: 1, objects: files, bytes, failed_requests: 0, active_connections: 0 });
    expect(files).toBe(1);
    await write(server, 'b', 'two', { n: 2 });
    await flush(server, 'b');
    const after = (await read('/v1/status')).minio_stats as JsonRow;
    expect(after['objects']).toBe(2);
    // A data file and a commit.
    expect((after['put_requests'] as number) - (before['put_requests'] as number)).toBe(2);
    expect((after['sent_bytes'] as number) - (before['sent_bytes'] as number)).toBeGreaterThan(500);
    expect(after['cache_files']).toBe(2);
    expect(after['cache_bytes']).toBe(after['bytes']);
  });

  test('redis_stats: whether it answers, calls and connections', async () => {
    // A heartbeat may be under way.
    const before = await eventually(
      'a connection to Redis without work',
      async () => (await read('/v1/status')).redis_stats as JsonRow,
      ({ active_connections: active }) => active === 0,
    );
    expect(before).toMatchObject({ enabled: 1, reachable: 1, failed_calls: 0, idle_connections: 1 });
    expectSuccess(await call(server, 'POST', '/v1/tables/b/compact'));
    const after = (await read('/v1/status')).redis_stats as JsonRow;
    expect(after['calls']).toBeGreaterThan(before['calls'] as number);
  });

  test('query_engine_stats and query_metrics: queries that succeeded and failed, how long they took, and what runs', async () => {
    const before = (await read('/v1/status')).query_engine_stats as JsonRow;
    for (let n = 0; n < 3; n += 1) expectStatus(await ask(`SELECT ${n} FROM b`), 200);
    expectStatus(await ask('SELECT nothing FROM b'), 400);
    expectStatus(await ask('SELECT * FROM nowhere'), 404);
    expectStatus(await ask('SELEKT'), 400);
    const after = (await read('/v1/status')).query_engine_stats as JsonRow;
    const grown = (name: string): number => (after[name] as number) - (before[name] as number);
    expect({ succeeded: grown('succeeded'), failed: grown('failed') }).toEqual({ succeeded: 3, failed: 3 });
    expect(after).toMatchObject({ running: 0, waiting: 0, refused: 0, concurrency_max: 8, open_cursors: 0 });
    const { query_metrics: metrics, performance_metrics: performance } = await read('/v1/metrics');
    const { succeeded, failed } = after as { succeeded: number; failed: number };
    expect(metrics).toMatchObject({ succeeded, failed, success_rate: succeeded / (succeeded + failed) });
    const { duration_ms_p50: p50, duration_ms_p95: p95, duration_ms_p99: p99 } = metrics as Record<string, number>;
    expect(p50).toBeLessThanOrEqual(p95 ?? Number.NaN);
    expect(p95).toBeLessThanOrEqual(p99 ?? Number.NaN);
    expect(performance).toMatchObject({ query_duration_ms_p50: p50, query_duration_ms_p95: p95, query_duration_ms_p99: p99 });
    expect(performance.event_loop_delay_ms_p99).toBeGreaterThan(0);
    expect((await read('/v1/stats')).query_engine_stats).toMatchObject({ succeeded, failed });
  });

  test('a stream of a query counts once', async () => {
    const { succeeded } = (await read('/v1/metrics')).query_metrics as { succeeded: number };
    for await (const message of grpc.download('StreamQuery', { sql: 'SELECT * FROM b', batch_size: 10 }))
      expect(message).toHaveProperty('records');
    expect((await read('/v1/metrics')).query_metrics.succeeded).toBe(succeeded + 1);
    expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM b' }, { accept: 'text/csv' }), 200);
    // The last byte of a stream may come before its query has ended.
    await eventually(
      'the other stream is counted',
      async () => (await read('/v1/metrics')).query_metrics.succeeded as number,
      (count) => count === succeeded + 2,
      3_000,
    );
  });

  test('a query that runs is seen, in the pool of connections too, and one that is slow shows in the percentiles', async () => {
    const slow = call(server, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: 1_000 });
    await eventually(
      'it runs',
      async () => (await read('/v1/metrics')).connection_pool_metrics.queries_running as number,
      (running) => running === 1,
    );
    expect((await read('/v1/status')).query_engine_stats.running).toBe(1);
    expectStatus(await slow, 504);
    const { connection_pool_metrics: pools, query_metrics: queries } = await read('/v1/metrics');
    expect(pools).toEqual({
      queries_running: 0,
      queries_max: 8,
      redis_active_connections: 0,
      redis_idle_connections: 1,
      minio_active_connections: 0,
      minio_idle_connections: server.connectionsMax,
    });
    expect(queries.duration_ms_p99).toBeGreaterThanOrEqual(1_000);
  });

  test('cache_metrics: hits, misses and their share, of answers and of files', async () => {
    const before = (await read('/v1/metrics')).cache_metrics.result as JsonRow;
    for (let n = 0; n < 4; n += 1) expectStatus(await ask('SELECT sum(n) AS cached FROM b'), 200);
    const { result, file } = (await read('/v1/metrics')).cache_metrics as { result: JsonRow; file: JsonRow };
    expect((result['misses'] as number) - (before['misses'] as number)).toBe(1);
    expect((result['hits'] as number) - (before['hits'] as number)).toBe(3);
    const [hits, misses] = [result['hits'] as number, result['misses'] as number];
    expect(result['hit_ratio']).toBe(hits / (hits + misses));
    expect((result['entries'] as number) - (before['entries'] as number)).toBe(1);
    expect(file).toMatchObject({ entries: (await read('/v1/status')).minio_stats.cache_files, misses: 0, hit_ratio: 1 });
    const page = expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM b', limit: 5 }), 200).json;
    expect(page.has_more).toBe(true);
    expect((await read('/v1/metrics')).cache_metrics.open_cursors).toBeGreaterThan(0);
  });

  test('memory_usage, resource_usage and system_info are those of the process', async () => {
    const { memory_usage: memory, resource_usage: resources, system_info: system } = await read('/v1/metrics');
    expect(memory.rss_bytes / memoryOf(server.pid)).toBeCloseTo(1, 0);
    expect(memory.heap_bytes).toBeGreaterThan(1_000_000);
    expect(memory.heap_bytes).toBeLessThan(memory.rss_bytes);
    expect(memory.engine_bytes).toBeLessThan(memory.engine_bytes_max);
    expect(system).toMatchObject({
      node_version: process.version,
      platform: process.platform,
      arch: process.arch,
      pid: String(server.pid),
    });
    expect(resources.cpu_user_ms).toBeGreaterThan(100);
    expect(resources.uptime_seconds).toBeGreaterThan(0);
  });

  test('nodes, and how often metrics are collected', async () => {
    const status = await read('/v1/status');
    expect(status).toMatchObject({ node_id: NODE, total_nodes: 1 });
    expect(status.nodes).toEqual([{ id: NODE, status: 'active', type: 'all', address: server.rest, last_seen: expect.any(Number) }]);
    expect(Math.abs(status.nodes[0].last_seen * 1_000 - Date.now())).toBeLessThan(60_000);
    const { scrapes } = status.metrics_collection_stats;
    expectStatus(await call(server, 'GET', '/metrics'), 200);
    expect((await read('/v1/status')).metrics_collection_stats).toEqual({
      scrapes: scrapes + 1,
      maintenance_rounds: expect.any(Number),
    });
    const other = await server.startOther('node-8');
    try {
      const both = await eventually(
        'the other node is seen',
        () => read('/v1/status'),
        ({ total_nodes: count }) => count === 2,
      );
      expect(both.nodes.map(({ id }: JsonRow) => id as string).sort()).toEqual([NODE, 'node-8']);
    } finally {
      await other.kill();
    }
  });

  test('tables: configuration and statistics by the paths of the documentation', async () => {
    const { tables, total } = await read('/v1/tables');
    expect(total).toBe(tables.length);
    const listed = tables.find(({ name }: JsonRow) => name === 'b');
    const { table_info: info } = await read('/v1/tables/b');
    const { objects } = (await read('/v1/status')).minio_stats as JsonRow;
    expect(info.stats).toMatchObject({ record_count: 27, file_count: objects, buffered_records: 0 });
    expect(info.config.buffer_size).toBeGreaterThan(0);
    expect([listed.config, listed.stats]).toEqual([info.config, info.stats]);
    const config = (await server.redis.ask('HGETALL', 'table:b:config')) as string[];
    expect(config.length).toBeGreaterThan(0);
  });

  test('looking changes nothing: neither objects, nor keys of Redis, nor figures', async () => {
    const routes = [
      ...['/v1/health', '/v1/health/live', '/v1/health/ready', '/v1/status', '/v1/stats', '/v1/metrics', '/metrics'],
      ...[
        '/v1/tables',
        '/v1/tables/b',
        '/v1/tables/b/history',
        '/v1/queries',
        '/v1/backups',
        '/v1/metadata/backups',
        '/v1/metadata/status',
      ],
    ];
    /** What may differ from one look to the next: times, and what the look itself cost. */
    const isOwnTrace = /timestamp|last_seen|_requests$|_bytes_?|calls|scrapes|uptime|cpu_|_ms|maintenance_rounds|memory/;
    const figures = async (): Promise<unknown> => {
      const { status, stats, metrics } = {
        status: await read('/v1/status'),
        stats: await read('/v1/stats'),
        metrics: await read('/v1/metrics'),
      };
      return JSON.parse(JSON.stringify({ status, stats, metrics }, (key, value: unknown) => (isOwnTrace.test(key) ? undefined : value)));
    };
    const objects = async (): Promise<readonly string[]> => {
      const found: string[] = [];
      const listed = objectStoreClient(server.store).listObjectsV2(server.bucket, '', true) as AsyncIterable<{
        name: string;
        etag: string;
      }>;
      for await (const { name, etag } of listed) found.push(`${name} ${etag}`);
      return found.sort();
    };
    const keys = async (): Promise<unknown> => ((await server.redis.ask('KEYS', '*')) as string[]).sort();
    const state = async (): Promise<unknown> => ({ figures: await figures(), objects: await objects(), keys: await keys() });
    const before = await state();
    for (const route of [...routes, ...routes]) expectStatus(await call(server, 'GET', route), 200);
    for (const method of ['HealthCheck', 'GetStatus', 'GetMetrics', 'ListTables', 'ListBackups', 'GetMetadataStatus'])
      expectThat((await grpc.unary(method, {})).ok, method).toBe(true);
    expect(await state()).toEqual(before);
  });

  test('health_score: 100 when all is well, less for a component that does not work and for queries that the server fails, not for those of clients', async () => {
    const fresh = await server.startOther('node-9');
    try {
      const score = async (): Promise<number> => expectStatus(await call(fresh, 'GET', '/v1/metrics'), 200).json.health_score as number;
      expect(await score()).toBe(100);
      await server.redis.kill();
      await eventually('a component is away', score, (value) => value < 95);
      const { status, details } = expectStatus(await call(fresh, 'GET', '/v1/health'), 200).json;
      expect(status).toBe('degraded');
      expect(details.redis).toMatch(/^degraded/);
      await server.redis.restart();
      await eventually('it is back', score, (value) => value === 100);
      for (let n = 0; n < 3; n += 1) expectStatus(await call(fresh, 'POST', '/v1/query', { sql: 'SELECT * FROM nowhere' }), 404);
      expect(await score()).toBe(100);
      await server.store.killGateway();
      expectStatus(await call(fresh, 'POST', '/v1/query', { sql: 'SELECT * FROM b' }), 503);
      await server.store.restart();
      // A quarter of a third is gone.
      await eventually('only the queries are not all well', score, (value) => value === 92);
    } finally {
      await fresh.kill();
    }
  });
});

describe('the log', () => {
  const SLOW_MS = 300;
  let server: RunningServer;
  let grpc: GrpcConnection;
  let file: string;

  beforeAll(async () => {
    file = path.join(temporaryDirectory('log'), 'logs', 'miniodb.log');
    server = await startServer({ config: { ...QUIET, log: { file, slow_query_ms: SLOW_MS } } });
    grpc = connectGrpc(server);
    await write(server, 'l', 'a', { n: 1 });
    await flush(server, 'l');
  });

  afterAll(async () => {
    grpc?.close();
    await server?.kill();
  });

  /** The lines that an action writes, as grep would see them; some come a moment after the answer. */
  async function linesOf(action: () => Promise<unknown>, ...wanted: readonly RegExp[]): Promise<readonly string[]> {
    const from = readFileSync(file, 'utf8').length;
    await action();
    const isThere = (lines: readonly string[]): boolean => wanted.every((pattern) => lines.some((line) => pattern.test(line)));
    return eventually(
      `lines with ${wanted.join(' and ')}`,
      () => readFileSync(file, 'utf8').slice(from).split('\n').slice(0, -1),
      isThere,
      3_000,
    );
  }

  const query = (sql: string, headers: Record<string, string> = {}) => call(server, 'POST', '/v1/query', { sql }, headers);

  test.each<readonly [string, () => Promise<unknown>]>([
    ['a table that is created', () => createTable(server, 'l2')],
    ['one that is created by its first write', () => write(server, 'l3', 'a', { n: 1 })],
    ['a flush', () => write(server, 'l2', 'a', { n: 1 }).then(() => flush(server, 'l2'))],
    ['a change of the configuration', () => call(server, 'PATCH', '/v1/tables/l2', { config: { buffer_size: 5_000 } }).then(expectSuccess)],
    [
      'a compaction',
      () =>
        write(server, 'l2', 'b', { n: 1 })
          .then(() => flush(server, 'l2'))
          .then(() => compact('l2')),
    ],
    ['a table that is dropped', () => call(server, 'DELETE', '/v1/tables/l2?cascade=true').then(expectSuccess)],
    ['a query', () => query('SELECT count(*) FROM l')],
    ['a data backup', () => backUp(server, { tables: ['l'] })],
    ['a recovery', () => recover(server, { table: 'l', force_overwrite: true }).then(expectSuccess)],
  ])('says table:NAME for %s', async (_what, action) => {
    await linesOf(action, /"msg":"[^"]*table:l\d?\b/);
  });

  const compact = async (table: string): Promise<void> => {
    expectSuccess(await call(server, 'POST', `/v1/tables/${table}/compact`));
  };

  test.each<readonly [string, () => Promise<unknown>]>([
    ['a page', () => query('SELECT n FROM l')],
    ['an answer that was kept', () => query('SELECT n FROM l')],
    ['a stream', () => query('SELECT * FROM l', { accept: 'application/x-ndjson' })],
    ['gRPC', () => grpc.unary('QueryData', { sql: 'SELECT n + 1 FROM l' })],
    ['a query that fails', () => query('SELECT nothing FROM l')],
  ])('says "query duration" for %s', async (_what, action) => {
    const lines = await linesOf(action, /query duration \d+ ms/);
    expect(lines.filter((line) => line.includes('slow query'))).toEqual([]);
  });

  test('says "slow query" with the statement, and "query duration" in the same line', async () => {
    const [line = ''] = await linesOf(() => call(server, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: SLOW_MS + 200 }), /slow query/);
    // Without the values in it.
    expect(JSON.parse(line)).toMatchObject({
      level: 'WARN',
      sql: ENDLESS.replace(/\b\d+\b/g, '?'),
      msg: expect.stringMatching(/query duration \d+ ms/),
    });
  });

  test('says "backup" for each that is made, and "restore" for each restore and recovery', async () => {
    const metadata: { id?: unknown } = {};
    await linesOf(
      async () => (metadata.id = (await backUpMetadata(server, { force: true }))['backup_id']),
      /"msg":"metadata backup backup_\d+_\d+ written/,
    );
    const data: { id?: unknown } = {};
    await linesOf(
      async () => (data.id = (await backUp(server, { tables: ['l'] }))['backup_id']),
      /"msg":"data backup data_\d+_\d+ written/,
    );
    await linesOf(
      () => restoreMetadata(server, { backup_file: `${String(metadata.id)}.json`, overwrite: true }).then(expectSuccess),
      /"msg":"[^"]*restore/,
    );
    await linesOf(
      () => recover(server, { backup_id: data.id, table: 'l', force_overwrite: true }).then(expectSuccess),
      /"msg":"[^"]*restore/,
    );
    await linesOf(() => call(server, 'DELETE', `/v1/backups/${String(data.id)}`).then(expectSuccess), /"msg":"[^"]*backup/);
  });

  test('says "restore" for one that fails', async () => {
    await linesOf(() => restoreMetadata(server, { backup_file: 'backup_20000101_000000.json' }), /"msg":"[^"]*restore/);
  });

  describe('has level ERROR for', () => {
    const objects = (): string => path.join(server.dataDir, 'objects');

    /** A file where the server wants a folder: nothing below it can be read or written, not even by root. */
    async function whileBlocked(name: string, action: () => Promise<unknown>): Promise<void> {
      const [folder, aside] = [path.join(objects(), name), path.join(objects(), `${name}-aside`)];
      const isThere = existsSync(folder);
      if (isThere) renameSync(folder, aside);
      writeFileSync(folder, '');
      try {
        await action();
      } finally {
        rmSync(folder);
        if (isThere) renameSync(aside, folder);
      }
    }

    test('a metadata backup that fails', async () => {
      await linesOf(
        () => whileBlocked('backups', async () => expectStatus(await call(server, 'POST', '/v1/metadata/backup', { force: true }), 503)),
        /"level":"ERROR".*"msg":"[^"]*backup/,
      );
    });

    test('a data backup that fails', async () => {
      await linesOf(
        () => whileBlocked('backups', async () => expectStatus(await call(server, 'POST', '/v1/backups', { tables: ['l'] }), 503)),
        /"level":"ERROR".*"msg":"[^"]*backup/,
      );
    });

    test('a flush that fails by itself', async () => {
      await createTable(server, 'blocked', { buffer_size: 1 });
      await whileBlocked('blocked', async () => {
        await linesOf(() => write(server, 'blocked', 'a', { n: 1 }), /"level":"ERROR".*"msg":"[^"]*table:blocked\b/);
      });
      expect(await rowsOf(server, 'SELECT n FROM blocked')).toEqual([{ n: 1 }]);
    });
  });
});
