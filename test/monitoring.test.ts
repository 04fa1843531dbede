/**
 * What watches the server: every metric of the contract is there with exactly its labels and moves when it should; Prometheus takes the rules and
 * the configuration of deploy/monitoring, and every expression of the dashboard has an answer when it scrapes a server at work.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { load } from 'js-yaml';
import { runProgram } from './servers/child-process.js';
import { type PrometheusSample, type PrometheusServer, startPrometheus } from './servers/prometheus.js';
import { backUp, backUpMetadata, restoreMetadata } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection, structOf } from './support/grpc-client.js';
import { metric, movedBy, type Sample, scrape, seriesOf, valuesOf } from './support/metrics.js';
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
import { call } from './support/server.js';
import { startWatchedServer, type WatchedServer } from './support/watched-server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const MONITORING = path.join(REPOSITORY, 'deploy', 'monitoring');
/** Every `# HELP` and `# TYPE` line of a server without a backup bucket, sorted. */
const DECLARED_METRICS = path.join(REPOSITORY, 'test', 'fixtures', 'metrics.txt');
const NODE = 'node-7';
const BUFFER_SIZE = 1_000;
const SCRAPE_SECONDS = 1;
/** Of the health score. */
const ALERT_BELOW = 70;

const textOf = (file: string): string => readFileSync(path.join(MONITORING, file), 'utf8');

/** Section 4 of the contract. */
const METRICS: Readonly<Record<string, readonly string[]>> = {
  miniodb_requests_total: ['method', 'status', 'table'],
  miniodb_requests_duration_seconds: ['method', 'table'],
  miniodb_buffer_size_bytes: ['node', 'table'],
  miniodb_storage_objects_total: ['bucket', 'table'],
  miniodb_write_operations_total: ['table', 'status'],
  miniodb_update_operations_total: ['table', 'status'],
  miniodb_delete_operations_total: ['table', 'status'],
  miniodb_query_operations_total: ['table', 'status'],
  miniodb_stream_write_records_total: ['table', 'status'],
  miniodb_stream_query_batches_total: ['table', 'status'],
  miniodb_stream_query_records_total: ['table'],
  miniodb_table_record_count: ['table'],
  miniodb_table_file_count: ['table'],
  miniodb_table_size_bytes: ['table'],
  miniodb_table_buffer_utilization: ['table'],
  miniodb_redis_pool_active_connections: ['node'],
  miniodb_redis_pool_idle_connections: ['node'],
  miniodb_minio_pool_active_connections: ['node'],
  miniodb_minio_pool_idle_connections: ['node'],
  miniodb_backup_operations_total: ['status'],
  miniodb_restore_operations_total: ['status'],
  miniodb_backup_size_bytes: ['backup_id'],
  miniodb_backup_duration_seconds: ['type'],
  miniodb_cache_hits_total: ['cache_type', 'table'],
  miniodb_cache_misses_total: ['cache_type', 'table'],
  miniodb_cache_hit_ratio: ['cache_type'],
  miniodb_query_success_rate: ['table'],
  miniodb_system_health_score: [],
  miniodb_memory_usage_bytes: ['component'],
  miniodb_cpu_usage_percent: ['component'],
};

let server: WatchedServer;
let grpc: GrpcConnection;
/** It takes some seconds before it scrapes for the first time, hence before it is needed. */
let prometheus: PrometheusServer;

beforeAll(async () => {
  server = await startWatchedServer(NODE);
  grpc = connectGrpc(server);
  const shipped = load(textOf('prometheus.yml')) as { global: JsonRow; rule_files: string[]; scrape_configs: JsonRow[] };
  const [job] = shipped.scrape_configs;
  prometheus = await startPrometheus({
    ...shipped,
    global: { scrape_interval: `${SCRAPE_SECONDS}s`, evaluation_interval: `${SCRAPE_SECONDS}s` },
    rule_files: shipped.rule_files.map((file) => path.join(MONITORING, file)),
    scrape_configs: [{ ...job, static_configs: [{ targets: [new URL(server.rest).host] }] }],
  });
});

afterAll(async () => {
  grpc?.close();
  await prometheus?.stop();
  await server?.end();
});

/* ---------------------------------------------------------------------------------------------------------------- metrics */

describe('metrics move when they should, and nothing else does:', () => {
  const request = (method: string, table: string, status = 'success', count = 1): Record<string, number> => ({
    [`miniodb_requests_total{method="${method}",status="${status}",table="${table}"}`]: count,
    [`miniodb_requests_duration_seconds_count{method="${method}",table="${table}"}`]: count,
  });
  const anyNumber: unknown = expect.any(Number);
  const operation = (kind: string, table: string, status = 'success', count = 1): Record<string, number> => ({
    [`miniodb_${kind}_operations_total{status="${status}",table="${table}"}`]: count,
  });
  const buffered = (table: string, rows: number): Record<string, unknown> => ({
    [`miniodb_table_record_count{table="${table}"}`]: rows,
    [`miniodb_table_buffer_utilization{table="${table}"}`]: expect.closeTo(rows / BUFFER_SIZE, 9),
    [`miniodb_buffer_size_bytes{node="${NODE}",table="${table}"}`]: anyNumber,
  });
  const cacheOf = (hits: number, misses: number, table = 'w'): Record<string, number> => ({
    ...(hits === 0 ? {} : { [`miniodb_cache_hits_total{cache_type="result",table="${table}"}`]: hits }),
    ...(misses === 0 ? {} : { [`miniodb_cache_misses_total{cache_type="result",table="${table}"}`]: misses }),
  });
  const without = (moved: Record<string, number>, ...patterns: readonly RegExp[]): Record<string, number> =>
    Object.fromEntries(Object.entries(moved).filter(([series]) => !patterns.some((pattern) => pattern.test(series))));
  /** Shares of everything since the start: whether an action moves them depends on all that was before. */
  const settled = (moved: Record<string, number>): Record<string, number> => without(moved, /hit_ratio/, /health_score/);

  test('a record, a batch, a bulk body', async () => {
    await createTable(server, 'w', { buffer_size: BUFFER_SIZE });
    expect(await movedBy(server, () => write(server, 'w', 'a', { n: 1 }))).toEqual({
      ...request('write', 'w'),
      ...operation('write', 'w'),
      ...buffered('w', 1),
    });
    const records = [2, 3, 4].map((n) => ({ id: `b${n}`, payload: { n } }));
    // Whatever case the table is written in, it has one name.
    expect(await movedBy(server, () => writeBatch(server, 'W', records))).toEqual({
      ...request('write', 'w'),
      ...operation('write', 'w'),
      ...buffered('w', 3),
    });
    expect(await movedBy(server, () => bulk('w', '{"id":"c","n":5}\n{"id":"d","n":6}\n'))).toEqual({
      ...request('bulk_write', 'w'),
      ...operation('write', 'w'),
      ...buffered('w', 2),
    });
    expect(await movedBy(server, () => call(server, 'POST', '/v1/data', { table: 'w', id: 'e', payload: { n: 'six' } }))).toEqual({
      ...request('write', 'w', 'error'),
      ...operation('write', 'w', 'error'),
    });
  });

  test('an update, a delete, and those that fail', async () => {
    const update = (n: unknown) => call(server, 'PUT', '/v1/data', { table: 'w', id: 'a', payload: { n } });
    expect(without(await movedBy(server, () => update(7)), /buffer/)).toEqual({ ...request('update', 'w'), ...operation('update', 'w') });
    expect(await movedBy(server, () => update('seven'))).toEqual({
      ...request('update', 'w', 'error'),
      ...operation('update', 'w', 'error'),
    });
    const remove = (id: string) => call(server, 'DELETE', '/v1/data', { table: 'w', id, soft_delete: false });
    expect(without(await movedBy(server, () => remove('b2')), /buffer/)).toEqual({
      ...request('delete', 'w'),
      ...operation('delete', 'w'),
      'miniodb_table_record_count{table="w"}': -1,
    });
    const unclear = () => call(server, 'DELETE', '/v1/data', { table: 'w', id: 'a', soft_delete: 'perhaps' });
    expect(await movedBy(server, unclear)).toEqual(request('delete', 'w', 'error'));
  });

  test('a query, its answer again, one that fails, one of two tables, one of none', async () => {
    await write(server, 'v', 'a', { n: 1 });
    const success = 'miniodb_query_success_rate{table="w"}';
    const sum = () => rowsOf(server, 'SELECT sum(n) FROM w');
    expect(settled(await movedBy(server, sum))).toEqual({
      ...request('query', 'w'),
      ...operation('query', 'w'),
      ...cacheOf(0, 1),
      [success]: 1,
    });
    expect(settled(await movedBy(server, sum))).toEqual({ ...request('query', 'w'), ...operation('query', 'w'), ...cacheOf(1, 0) });
    // Whatever case the table is written in, and wherever the answer comes from, it has one name.
    const inCapitals = () => rowsOf(server, 'SELECT sum(n) FROM W');
    await inCapitals();
    expect(settled(await movedBy(server, inCapitals))).toEqual({ ...request('query', 'w'), ...operation('query', 'w'), ...cacheOf(1, 0) });
    expect(settled(await movedBy(server, () => call(server, 'POST', '/v1/query', { sql: 'SELECT nothing FROM w' })))).toEqual({
      ...request('query', 'w', 'error'),
      ...operation('query', 'w', 'error'),
      ...cacheOf(0, 1),
      [success]: expect.closeTo(-1 / 5, 9),
    });
    expect(settled(await movedBy(server, () => rowsOf(server, 'SELECT * FROM w JOIN v USING (n)')))).toEqual({
      ...request('query', ''),
      ...operation('query', 'w'),
      ...operation('query', 'v'),
      ...cacheOf(0, 1, ''),
      [success]: expect.closeTo(5 / 6 - 4 / 5, 9),
      'miniodb_query_success_rate{table="v"}': 1,
    });
    expect(settled(await movedBy(server, () => rowsOf(server, 'SELECT 1')))).toMatchObject(request('query', ''));
  });

  test('streams of writes and queries over gRPC', async () => {
    const records = [1, 2, 3].map((n) => ({ id: `s${n}`, payload: structOf({ n }) }));
    const bad = { id: 'not an\x7fid', payload: structOf({ n: 4 }) };
    const upload = async (): Promise<void> => {
      const { call: stream, answer } = grpc.upload('StreamWrite');
      stream.write({ table: 'w', records: [...records, bad] });
      stream.end();
      expect((await answer).ok).toBe(true);
    };
    expect(await movedBy(server, upload)).toEqual({
      ...request('stream_write', 'w'),
      ...operation('write', 'w'),
      ...buffered('w', 3),
      'miniodb_stream_write_records_total{status="success",table="w"}': 3,
      'miniodb_stream_write_records_total{status="error",table="w"}': 1,
    });
    const download = async (): Promise<void> => {
      let count = 0;
      for await (const message of grpc.download('StreamQuery', { sql: 'SELECT * FROM w', batch_size: 4 }))
        count += (message as { records: unknown[] }).records.length;
      expect(count).toBe(8);
    };
    expect(settled(await movedBy(server, download))).toEqual({
      ...request('stream_query', 'w'),
      ...operation('query', 'w'),
      'miniodb_stream_query_batches_total{status="success",table="w"}': 2,
      'miniodb_stream_query_records_total{table="w"}': 8,
      'miniodb_query_success_rate{table="w"}': anyNumber,
    });
  });

  test('the same requests over gRPC', async () => {
    const record = { id: 'g', timestamp: { seconds: 1_700_000_000, nanos: 0 }, payload: structOf({ n: 9 }) };
    expect(await movedBy(server, () => grpc.unary('WriteData', { table: 'w', data: record }))).toMatchObject(request('write', 'w'));
    expect(await movedBy(server, () => grpc.unary('QueryData', { sql: 'SELECT count(*) FROM w' }))).toMatchObject(request('query', 'w'));
    expect(await movedBy(server, () => grpc.unary('GetTable', { table_name: 'w' }))).toEqual(request('get_table', 'w'));
    expect(await movedBy(server, () => grpc.unary('DeleteData', { table: 'nowhere', id: 'a' }))).toEqual(request('delete', '', 'error'));
  });

  test('a flush', async () => {
    const { buffered_records: rows } = (await tableInfo(server, 'w'))['stats'] as JsonRow;
    const bytes = await metric(server, `miniodb_buffer_size_bytes{node="${NODE}",table="w"}`);
    expect(await metric(server, 'miniodb_table_unflushed_seconds{table="w"}')).toBeGreaterThan(0);
    expect(await metric(server, `miniodb_wal_size_bytes{node="${NODE}"}`)).toBeGreaterThan(0);
    expect(await movedBy(server, () => flush(server, 'w'))).toEqual({
      ...request('flush', 'w'),
      [`miniodb_buffer_size_bytes{node="${NODE}",table="w"}`]: -(bytes ?? 0),
      'miniodb_table_buffer_utilization{table="w"}': expect.closeTo(-(rows as number) / BUFFER_SIZE, 9),
      'miniodb_table_file_count{table="w"}': 1,
      [`miniodb_storage_objects_total{bucket="${server.bucket}",table="w"}`]: 1,
    });
    const { size_bytes: size } = (await tableInfo(server, 'w'))['stats'] as JsonRow;
    expect(size).toBeGreaterThan(0);
    const values = await valuesOf(server);
    expect(values.get('miniodb_table_size_bytes{table="w"}')).toBe(size);
    expect(values.get('miniodb_table_unflushed_seconds{table="w"}')).toBe(0);
    expect(values.get(`miniodb_object_store_requests_total{kind="put",node="${NODE}"}`)).toBeGreaterThan(1);
    expect(values.get(`miniodb_redis_calls_total{node="${NODE}",status="success"}`)).toBeGreaterThan(0);
  });

  test('a file that has to be fetched, and one that is there', async () => {
    const other = await server.startOther('node-8');
    try {
      const ask = () => call(other, 'POST', '/v1/query', { sql: 'SELECT sum(n) FROM w' }, { 'cache-control': 'no-cache' });
      const files = async (action: () => Promise<unknown>): Promise<Record<string, number>> =>
        Object.fromEntries(Object.entries(await movedBy(other, action)).filter(([series]) => series.includes('cache_type="file"')));
      expect(await files(ask)).toEqual({ 'miniodb_cache_misses_total{cache_type="file",table="w"}': 1 });
      expect(await files(ask)).toEqual({
        'miniodb_cache_hits_total{cache_type="file",table="w"}': 1,
        'miniodb_cache_hit_ratio{cache_type="file"}': 0.5,
      });
    } finally {
      // Not killed: a backup would wait for its rows.
      await other.stop();
    }
  });

  test('backups and restores, of metadata and of data', async () => {
    let [metadataId, dataId] = ['', ''];
    expect(
      await movedBy(server, async () => (metadataId = (await backUpMetadata(server, { force: true }))['backup_id'] as string)),
    ).toEqual({
      ...request('backup_metadata', ''),
      'miniodb_backup_operations_total{status="success"}': 1,
      [`miniodb_backup_size_bytes{backup_id="${metadataId}"}`]: anyNumber,
    });
    const made = await movedBy(
      server,
      async () => (dataId = (await backUp(server, { tables: ['w'], type: 'full' }))['backup_id'] as string),
    );
    expect(without(made, /cache_type="file"/)).toEqual({
      ...request('create_backup', ''),
      'miniodb_backup_operations_total{status="success"}': 1,
      [`miniodb_backup_size_bytes{backup_id="${dataId}"}`]: anyNumber,
    });
    expect(made[`miniodb_backup_size_bytes{backup_id="${dataId}"}`]).toBeGreaterThan(0);
    const values = await valuesOf(server);
    for (const type of ['metadata', 'full']) expect(values.get(`miniodb_backup_duration_seconds{type="${type}"}`)).toBeGreaterThan(0);
    const restored = await movedBy(server, () => restoreMetadata(server, { from_latest: true, overwrite: true }));
    expect(restored).toEqual({ ...request('restore_metadata', ''), 'miniodb_restore_operations_total{status="success"}': 1 });
    const missing = await movedBy(server, () => restoreMetadata(server, { backup_file: 'backup_20000101_000000.json' }));
    expect(missing).toEqual({ ...request('restore_metadata', '', 'error'), 'miniodb_restore_operations_total{status="error"}': 1 });
  });

  test('memory and processors', async () => {
    const memory = (component: string) => metric(server, `miniodb_memory_usage_bytes{component="${component}"}`);
    const before = (await memory('buffer')) ?? Number.NaN;
    await writeBatch(
      server,
      'v',
      Array.from({ length: 2_000 }, (_, n) => ({ id: `m${n}`, payload: { n, text: 'x'.repeat(500) } })),
    );
    expect(((await memory('buffer')) ?? 0) - before).toBeGreaterThan(500_000);
    expect(await memory('process')).toBeGreaterThan(50_000_000);
    expect(await memory('query_engine')).toBeGreaterThan(500_000);
    const busy = call(server, 'POST', '/v1/query', {
      sql: 'SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8',
      timeout_ms: 10_000,
    });
    const cpu = (component: string) => metric(server, `miniodb_cpu_usage_percent{component="${component}"}`);
    await eventually(
      'the engine is seen at work',
      () => cpu('query_engine'),
      (percent) => (percent ?? 0) > 20,
      10_000,
    );
    expect(await cpu('process')).toBeGreaterThanOrEqual((await cpu('query_engine')) ?? Number.NaN);
    const { queries } = expectStatus(await call(server, 'GET', '/v1/queries'), 200).json as { queries: { query_id: string }[] };
    for (const { query_id: id } of queries) await call(server, 'DELETE', `/v1/queries/${id}`);
    expectStatus(await busy, 499);
  });
});

describe('metrics of what is away:', () => {
  const pool = (name: string) => async (): Promise<readonly (number | undefined)[]> => {
    const values = await valuesOf(server);
    return ['active', 'idle'].map((which) => values.get(`miniodb_${name}_pool_${which}_connections{node="${NODE}"}`));
  };

  const health = () => metric(server, 'miniodb_system_health_score');

  test('a connection that waits for Redis is at work', async () => {
    const connections = await eventually('nothing is asked of Redis', pool('redis'), ([active]) => active === 0);
    expect(connections).toEqual([0, 1]);
    server.redis.pause();
    let compaction: Promise<unknown> | undefined;
    try {
      compaction = call(server, 'POST', '/v1/tables/w/compact');
      await eventually('it waits', pool('redis'), ([active, idle]) => active === 1 && idle === 0);
    } finally {
      server.redis.resume();
      await compaction;
    }
    await eventually('it waits no more', pool('redis'), ([active, idle]) => active === 0 && idle === 1);
  });

  test('connections that wait for the object store are at work; a scrape is answered all the same, and health is low', async () => {
    expect(await health()).toBeGreaterThan(90);
    server.store.pause();
    let flushing: Promise<unknown> | undefined;
    try {
      flushing = call(server, 'POST', '/v1/tables/v/flush');
      const [active = 0, idle = 0] = await eventually('it waits', pool('minio'), ([count = 0]) => count > 0);
      expect(active + idle).toBe(server.connectionsMax);
      await eventually('health is low', health, (score) => (score ?? 100) < ALERT_BELOW);
    } finally {
      server.store.resume();
      await flushing;
    }
    await eventually('health is as before', health, (score) => (score ?? 0) >= ALERT_BELOW);
    await eventually('all are free', pool('minio'), ([count, free]) => count === 0 && free === server.connectionsMax);
  });

  test('a backup that fails', async () => {
    await server.store.killGateway();
    try {
      const moved = await movedBy(server, () => call(server, 'POST', '/v1/metadata/backup', { force: true }));
      expect(moved).toMatchObject({
        'miniodb_requests_total{method="backup_metadata",status="error",table=""}': 1,
        'miniodb_backup_operations_total{status="error"}': 1,
      });
      expect(await metric(server, `miniodb_object_store_failed_requests_total{node="${NODE}"}`)).toBeGreaterThan(0);
    } finally {
      await server.store.restart();
    }
    expectSuccess(await call(server, 'POST', '/v1/metadata/backup', { force: true }));
  });
});

describe('names, types and help texts', () => {
  test('are those that dashboards were made for: nothing is renamed, nothing is lost', async () => {
    const { text } = expectStatus(await call(server, 'GET', '/metrics'), 200);
    const declared = text.split('\n').filter((line) => line.startsWith('# '));
    expect(declared.sort()).toEqual(readFileSync(DECLARED_METRICS, 'utf8').trim().split('\n'));
  });
});

describe('labels', () => {
  test('each metric of the contract has exactly its own', async () => {
    const samples = await scrape(server);
    for (const [name, labels] of Object.entries(METRICS)) {
      const ours = samples.filter((sample) => sample.name.replace(/_(bucket|sum|count)$/, '') === name || sample.name === name);
      expectThat(ours.length, `${name} is there`).toBeGreaterThan(0);
      for (const { labels: found } of ours)
        expectThat(
          Object.keys(found)
            .filter((label) => label !== 'le' || !name.endsWith('_seconds'))
            .sort(),
          name,
        ).toEqual([...labels].sort());
    }
    expect(samples.find(({ name }) => name === 'miniodb_requests_duration_seconds_bucket')?.labels).toHaveProperty('le');
  });

  test('a table that does not exist makes none, however it is asked for', async () => {
    const ghost = 'ghost_table';
    const ask: readonly (readonly [string, string, unknown?])[] = [
      ['POST', '/v1/query', { sql: `SELECT * FROM ${ghost}` }],
      ['POST', '/v1/query', { sql: `SELECT * FROM w, ${ghost}` }],
      ['DELETE', '/v1/data', { table: ghost, id: 'a' }],
      ['DELETE', `/v1/data?table=${ghost}&id=a`],
      ['POST', '/v1/data/restore', { table: ghost, id: 'a' }],
      ['POST', '/v1/data', { table: ghost, id: 'not an\x7fid', payload: {} }],
      ['PUT', '/v1/data', { table: ghost, id: 'not an\x7fid', payload: {} }],
      ['GET', `/v1/tables/${ghost}`],
      ['PATCH', `/v1/tables/${ghost}`, { config: { buffer_size: 5 } }],
      ['DELETE', `/v1/tables/${ghost}?cascade=true`],
      ['POST', `/v1/tables/${ghost}/flush`],
      ['POST', `/v1/recover`, { table: ghost }],
      ['POST', '/v1/backups', { tables: [ghost] }],
      ['POST', '/v1/tables', { table_name: `${ghost}!` }],
    ];
    const errors = async () => sum(await scrape(server), 'miniodb_requests_total', { status: 'error' });
    const before = await errors();
    for (const [method, target, body] of ask) {
      const { status } = await call(server, method, target, body);
      expectThat(status, `${method} ${target}`).toBeGreaterThanOrEqual(400);
    }
    expect((await grpc.unary('GetTable', { table_name: ghost })).ok).toBe(false);
    expect(await errors()).toBe(before + ask.length + 1);
    const tables = new Set((await scrape(server)).map(({ labels }) => labels['table'] ?? ''));
    expect([...tables].sort()).toEqual(['', 'v', 'w']);
  });

  test('a table that is dropped takes its own with it', async () => {
    await write(server, 'passing', 'a', { n: 1 });
    await rowsOf(server, 'SELECT * FROM passing');
    const labelled = async () => (await scrape(server)).filter(({ labels }) => labels['table'] === 'passing').map(seriesOf);
    expect((await labelled()).length).toBeGreaterThan(5);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/passing?cascade=true'));
    expect(await labelled()).toEqual([]);
    // Another table, whose name differs in case only.
    await write(server, 'Passing', 'a', { n: 1 });
    expect(await labelled()).toEqual([]);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/passing?cascade=true'));
  });

  test('every route but those for looking after the server is counted', async () => {
    const { paths } = expectStatus(await call(server, 'GET', '/api-docs-json'), 200).json as { paths: Record<string, JsonRow> };
    const routes = Object.entries(paths).flatMap(([route, methods]) => Object.keys(methods).map((method) => ({ method, route })));
    const watching = /^\/(metrics|v1\/(health|status|stats|metrics))/;
    const total = async () => sum(await scrape(server), 'miniodb_requests_total', {});
    for (const { method, route } of routes) {
      const before = await total();
      // Nothing that a route would take: no table has this name, and no body this key.
      const body = method === 'get' ? undefined : { no_such_key: 1 };
      await call(server, method.toUpperCase(), route.replace(/\{\w+\}/g, 'no_such_thing'), body);
      expectThat((await total()) - before, `${method} ${route}`).toBe(watching.test(route) ? 0 : 1);
    }
    expect(routes.length).toBeGreaterThan(20);
  });
});

/* ------------------------------------------------------------------------------------------------------ rules and dashboard */

interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly description: string;
  readonly datasource: { readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[];
}

interface Dashboard {
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string; readonly query: unknown }[] };
}

const [rules] = (load(textOf('alerts.yml')) as { groups: { name: string; rules: AlertRule[] }[] }).groups;
const dashboard = JSON.parse(textOf('dashboard.json')) as Dashboard;
const expressions = dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));

describe('the alert rules', () => {
  const ruleFile = path.join(MONITORING, 'alerts.yml');

  test('are valid, and so is the configuration', async () => {
    await runProgram('promtool', ['check', 'rules', ruleFile]);
    await runProgram('promtool', ['check', 'config', path.join(MONITORING, 'prometheus.yml')]);
  });

  test('fire above their thresholds and not at them', async () => {
    await runProgram('promtool', ['test', 'rules', path.join(REPOSITORY, 'test', 'monitoring', 'alert-cases.yml')]);
  });

  test('are those of the contract, each with what to do', () => {
    expect(rules?.name).toBe('miniodb');
    const found = rules?.rules.map(({ alert, expr, for: duration, labels }) => [alert, thresholdOf(expr), duration, labels.severity]);
    expect(found).toEqual([
      ['MinIODBHighErrorRate', '> 0.1', '2m', 'warning'],
      ['MinIODBLowHealthScore', '< 70', '5m', 'critical'],
      ['MinIODBBackupFailed', '> 0', '1m', 'warning'],
      ['MinIODBConnectionPoolExhausted', '> 0.9', '5m', 'critical'],
    ]);
    for (const { alert, annotations } of rules?.rules ?? []) {
      expectThat(annotations.summary, alert).toMatch(/MinIODB/);
      expectThat(annotations.description.length, alert).toBeGreaterThan(80);
    }
  });

  function thresholdOf(expression: string): string | undefined {
    return / ([<>]=? [\d.]+)\s*$/.exec(expression)?.[1];
  }
});

describe('the dashboard', () => {
  test('has the panels of the contract, and not too many others', () => {
    const titles = dashboard.panels.map(({ title }) => title);
    for (const title of [
      'Write TPS',
      'Query response time (p95)',
      'Storage by table',
      'Connection pool use',
      'Health score',
      'Backup success rate',
    ])
      expect(titles).toContain(title);
    expect(titles.length).toBeLessThanOrEqual(14);
    expect(new Set(titles).size).toBe(titles.length);
    for (const { title, description, targets } of dashboard.panels) {
      expectThat(description, title).not.toBe('');
      expectThat(targets.length, title).toBeGreaterThan(0);
    }
  });

  test('is one that Grafana takes: its data source is a variable, and panels have their own ids and places', () => {
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(39);
    expect(dashboard.templating.list).toContainEqual(
      expect.objectContaining({ name: 'DS_PROMETHEUS', type: 'datasource', query: 'prometheus' }),
    );
    const sources = dashboard.panels.flatMap(({ datasource, targets }) => [datasource, ...targets.map((target) => target.datasource)]);
    expect(new Set(sources.map(({ uid }) => uid))).toEqual(new Set(['${DS_PROMETHEUS}']));
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
    );
    expectThat(new Set(cells).size, 'no panel lies over another').toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos: { x, w } }) => x + w))).toBeLessThanOrEqual(24);
  });

  test('and the alerts ask for metrics that there are, by labels that they have', async () => {
    const samples = await scrape(server);
    const labelsOf = new Map<string, Set<string>>();
    for (const { name, labels } of samples) labelsOf.set(name, new Set([...(labelsOf.get(name) ?? []), ...Object.keys(labels)]));
    const asked = [...expressions.map(({ expr }) => expr), ...(rules?.rules.map(({ expr }) => expr) ?? [])];
    for (const expression of asked) {
      const names = expression.match(/miniodb_\w+/g) ?? [];
      expectThat(names.length, expression).toBeGreaterThan(0);
      for (const name of names) expectThat([...labelsOf.keys()], expression).toContain(name);
      const given = new Set(['instance', 'job', ...names.flatMap((name) => [...(labelsOf.get(name) ?? [])])]);
      const used = [...expression.matchAll(/(\w+)=~?"|by \(([^)]*)\)/g)].flatMap(([, label, list]) => label ?? list?.split(/, */) ?? []);
      for (const label of used) expectThat([...given], `${expression}: ${label}`).toContain(label);
    }
  });
});

describe('Prometheus', () => {
  let isLoaded = true;
  let loading: Promise<void>;

  beforeAll(() => {
    loading = keepBusy();
    // Looked at in the end.
    loading.catch(() => undefined);
  });

  afterAll(async () => {
    isLoaded = false;
    await loading;
  });

  /** A little of everything, again and again. */
  async function keepBusy(): Promise<void> {
    for (let round = 0; isLoaded; round += 1) {
      await write(server, 'w', `load-${round}`, { n: round });
      await bulk('w', `{"id":"bulk-${round}","n":${round}}\n`);
      await valueOf(server, 'SELECT count(*) FROM w');
      await valueOf(server, 'SELECT count(*) FROM v');
      await call(server, 'POST', '/v1/query', { sql: 'SELECT nothing FROM w' });
      await flush(server, 'w');
      await backUpMetadata(server, { force: true });
    }
  }

  /** As Grafana asks it, for a window of five scrapes. */
  function filledIn(expression: string): string {
    return expression.replaceAll('$__rate_interval', `${5 * SCRAPE_SECONDS}s`).replaceAll('$instance', '.*');
  }

  test('scrapes the server by the configuration that is shipped', async () => {
    const up = await eventually(
      'the server is scraped',
      () => prometheus.query('up{job="miniodb"}'),
      ([sample]) => sample?.value === 1,
    );
    expect(up).toHaveLength(1);
  });

  test.each(expressions)('has an answer for "$title": $expr', async ({ expr }) => {
    await eventually(
      expr,
      () => prometheus.query(filledIn(expr)),
      (samples) => samples.some(({ value }) => Number.isFinite(value)),
    );
  });

  /** What the first expression of a panel comes to once it is as wanted; the load may not have been scraped yet. */
  function panelShows(title: string, isTrue: (samples: readonly PrometheusSample[]) => boolean): Promise<readonly PrometheusSample[]> {
    const { expr = '' } = expressions.find((each) => each.title === title) ?? {};
    return eventually(`panel "${title}"`, () => prometheus.query(filledIn(expr)), isTrue, 10_000);
  }

  const valueFor = (samples: readonly PrometheusSample[], label: string, text: string): number | undefined =>
    samples.find(({ labels }) => labels[label] === text)?.value;

  test('has true answers', async () => {
    await panelShows('Backup success rate', ([sample]) => sample !== undefined && sample.value > 0 && sample.value <= 1);
    await panelShows('Query response time (p95)', ([sample]) => sample !== undefined && sample.value > 0 && sample.value < 10);
    await panelShows('Errors', (samples) => (valueFor(samples, 'method', 'query') ?? 0) > 0);
    await panelShows('Write TPS', (samples) => (valueFor(samples, 'table', 'w') ?? 0) > 0);
    await panelShows('Health score', ([sample]) => sample !== undefined && sample.value > ALERT_BELOW && sample.value <= 100);
    await panelShows('Connection pool use', (samples) => samples.length === 1 && samples.every(({ value }) => value >= 0 && value <= 1));
    const sizes = await panelShows('Storage by table', (samples) => (valueFor(samples, 'table', 'w') ?? 0) > 500);
    expect(sizes.map(({ labels }) => labels['table']).sort()).toEqual(['v', 'w']);
  });

  test('evaluates every alert, whose expression has an answer without its threshold', async () => {
    const found = await eventually(
      'the rules are evaluated',
      () => prometheus.rules(),
      (list) => list.length > 0 && list.every(({ health }) => health !== 'unknown'),
    );
    expect(found.map(({ name, health, lastError }) => ({ name, health, lastError: lastError ?? '' }))).toEqual(
      rules?.rules.map(({ alert }) => ({ name: alert, health: 'ok', lastError: '' })),
    );
    for (const { alert, expr } of rules?.rules ?? []) {
      const samples = await prometheus.query(expr.replace(/ [<>]=? [\d.]+/g, ''));
      expectThat(
        samples.some(({ value }) => Number.isFinite(value)),
        alert,
      ).toBe(true);
    }
  });
});

async function bulk(table: string, lines: string): Promise<void> {
  expectSuccess(await call(server, 'POST', `/v1/data/bulk?table=${table}`, lines, { 'content-type': 'application/x-ndjson' }));
}

/** Of all series of a metric that have these labels. */
function sum(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>>): number {
  const has = (sample: Sample): boolean => Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  return samples.filter((sample) => sample.name === name && has(sample)).reduce((total, { value }) => total + value, 0);
}
