/**
 * What the gRPC interface promises: every rpc, the field numbers that other people's clients were built with, streams that push back and can
 * be resumed, reflection and health, and the same errors as REST. The client is made from the proto file, as a user's would be.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ClientReadableStream, type ServiceError, status as grpcStatus } from '@grpc/grpc-js';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { once } from 'node:events';
import protobuf from 'protobufjs';
import { expectThat } from './support/expectations.js';
import {
  connectGrpc,
  failureOf,
  type GrpcAnswer,
  type GrpcConnection,
  type GrpcFailure,
  type GrpcMessage,
  plainOf,
  PROTO_FILE,
  responseOf,
  structOf,
  timestampOf,
} from './support/grpc-client.js';
import {
  countOf,
  createTable,
  eventually,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  tableInfo,
  write,
  writeBatch,
} from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

let server: RunningServer;
let grpc: GrpcConnection;

beforeAll(async () => {
  server = await startServer({ config: { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } } });
  grpc = connectGrpc(server);
});

afterAll(async () => {
  grpc?.close();
  await server?.stop();
});

function expectFailure(answer: GrpcAnswer, status: number, code: string, says: RegExp): GrpcFailure {
  if (answer.ok) throw new Error(`accepted: ${JSON.stringify(answer.response)}`);
  expectThat({ status: grpcStatus[answer.status], code: answer.errorCode }, JSON.stringify(answer)).toEqual({
    status: grpcStatus[status],
    code,
  });
  expect(answer.message).toMatch(says);
  expect(answer.requestId).toMatch(/^\S+$/);
  return answer;
}

/* -------------------------------------------------------------------------------------------------------- field numbers */

/** `name:type` by number, as published; a `*` is repeated, `map<..>` a map. Nothing here may ever change; new fields take new numbers. */
const PUBLISHED: Readonly<Record<string, string>> = {
  DataRecord: '1 id string, 2 timestamp google.protobuf.Timestamp, 3 payload google.protobuf.Struct',
  WriteDataRequest: '1 table string, 2 data DataRecord',
  WriteDataResponse: '1 success bool, 2 message string, 3 node_id string',
  QueryDataRequest: '1 sql string, 2 limit int32, 3 cursor string',
  QueryDataResponse: '1 result_json string, 2 has_more bool, 3 next_cursor string',
  UpdateDataRequest: '1 table string, 2 id string, 3 payload google.protobuf.Struct, 4 timestamp google.protobuf.Timestamp',
  UpdateDataResponse: '1 success bool, 2 message string, 3 node_id string',
  DeleteDataRequest: '1 table string, 2 id string, 3 soft_delete bool',
  DeleteDataResponse: '1 success bool, 2 message string, 3 deleted_count int32',
  StreamWriteRequest: '1 records DataRecord*, 2 table string',
  StreamWriteResponse: '1 success bool, 2 records_count int64, 3 errors string*',
  StreamQueryRequest: '1 sql string, 2 batch_size int32, 3 cursor string',
  StreamQueryResponse: '1 records DataRecord*, 2 has_more bool, 3 cursor string',
  TableConfig:
    '1 buffer_size int32, 2 flush_interval_seconds int32, 3 retention_days int32, 4 backup_enabled bool, 5 properties map<string,string>, 6 id_strategy string, 7 id_prefix string, ' +
    '8 auto_generate_id bool, 9 id_validation IDValidationRules',
  IDValidationRules: '1 max_length int32, 2 pattern string, 3 allowed_chars string',
  CreateTableRequest: '1 table_name string, 2 config TableConfig, 3 if_not_exists bool',
  CreateTableResponse: '1 success bool, 2 message string',
  ListTablesRequest: '1 pattern string',
  ListTablesResponse: '1 tables TableInfo*, 2 total int32',
  TableInfo:
    '1 name string, 2 config TableConfig, 3 created_at google.protobuf.Timestamp, 4 last_write google.protobuf.Timestamp, 5 status string, 6 stats TableStats',
  TableStats:
    '1 record_count int64, 2 file_count int64, 3 size_bytes int64, 4 oldest_record google.protobuf.Timestamp, 5 newest_record google.protobuf.Timestamp',
  GetTableRequest: '1 table_name string',
  GetTableResponse: '1 table_info TableInfo',
  DeleteTableRequest: '1 table_name string, 2 if_exists bool, 3 cascade bool',
  DeleteTableResponse: '1 success bool, 2 message string, 3 files_deleted int32',
  BackupMetadataRequest: '1 force bool',
  BackupMetadataResponse: '1 success bool, 2 message string, 3 backup_id string, 4 timestamp google.protobuf.Timestamp',
  RestoreMetadataRequest:
    '1 backup_file string, 2 from_latest bool, 3 dry_run bool, 4 overwrite bool, 5 validate bool, 6 parallel bool, 7 filters map<string,string>, 8 key_patterns string*',
  RestoreMetadataResponse:
    '1 success bool, 2 message string, 3 backup_file string, 4 entries_total int32, 5 entries_ok int32, 6 entries_skipped int32, 7 entries_error int32, 8 duration string, ' +
    '9 errors string*, 10 details map<string,string>',
  ListBackupsRequest: '1 days int32',
  ListBackupsResponse: '1 backups BackupInfo*, 2 total int32',
  BackupInfo:
    '1 object_name string, 2 node_id string, 3 timestamp google.protobuf.Timestamp, 4 size int64, 5 last_modified google.protobuf.Timestamp',
  GetMetadataStatusResponse:
    '1 node_id string, 2 backup_status map<string,string>, 3 last_backup google.protobuf.Timestamp, 4 next_backup google.protobuf.Timestamp, 5 health_status string',
  HealthCheckResponse: '1 status string, 2 timestamp google.protobuf.Timestamp, 3 version string, 4 details map<string,string>',
  GetStatusResponse:
    '1 timestamp google.protobuf.Timestamp, 2 buffer_stats map<string,int64>, 3 redis_stats map<string,int64>, 4 minio_stats map<string,int64>, 5 nodes NodeInfo*, 6 total_nodes int32',
  NodeInfo: '1 id string, 2 status string, 3 type string, 4 address string, 5 last_seen int64',
  GetMetricsResponse:
    '1 timestamp google.protobuf.Timestamp, 2 performance_metrics map<string,double>, 3 resource_usage map<string,int64>, 4 system_info map<string,string>',
  GetTokenRequest: '1 api_key string, 2 secret string',
  GetTokenResponse: '1 access_token string, 2 refresh_token string, 3 expires_in int64, 4 token_type string',
  RefreshTokenRequest: '1 refresh_token string',
  RefreshTokenResponse: '1 access_token string, 2 refresh_token string, 3 expires_in int64, 4 token_type string',
  RevokeTokenRequest: '1 token string',
  RevokeTokenResponse: '1 success bool, 2 message string',
};

const RPCS = [
  'WriteData',
  'QueryData',
  'UpdateData',
  'DeleteData',
  'StreamWrite',
  'StreamQuery',
  'CreateTable',
  'ListTables',
  'GetTable',
  'DeleteTable',
  'BackupMetadata',
  'RestoreMetadata',
  'ListBackups',
  'GetMetadataStatus',
  'HealthCheck',
  'GetStatus',
  'GetMetrics',
];

describe('the proto file', () => {
  const { root, package: packageName } = protobuf.parse(readFileSync(PROTO_FILE, 'utf8'), { keepCase: true });
  const typeOf = (name: string): protobuf.Type => root.lookupType(`miniodb.v1.${name}`);

  function describeField(field: protobuf.Field): string {
    const type = field.type.replace(/^\.?miniodb\.v1\./, '');
    const text = field instanceof protobuf.MapField ? `map<${field.keyType},${type}>` : `${type}${field.repeated ? '*' : ''}`;
    return `${field.id} ${field.name} ${text}`;
  }

  test('is package miniodb.v1, proto3', () => {
    expect(packageName).toBe('miniodb.v1');
    expect(readFileSync(PROTO_FILE, 'utf8')).toMatch(/^syntax = "proto3";/m);
  });

  test.each(Object.entries(PUBLISHED))('%s has its published fields and numbers', (name, published) => {
    const fields = new Set(typeOf(name).fieldsArray.map(describeField));
    for (const field of published.split(/, (?=\d)/)) expectThat(fields, [...fields].join(', ')).toContain(field);
  });

  test('has every rpc, with its streams', () => {
    const { methods } = root.lookupService('miniodb.v1.MinIODBService');
    expect(Object.keys(methods)).toEqual(expect.arrayContaining(RPCS));
    for (const [name, method] of Object.entries(methods)) {
      expect([name, Boolean(method.requestStream), Boolean(method.responseStream)]).toEqual([
        name,
        ['StreamWrite', 'BulkWrite'].includes(name),
        name === 'StreamQuery',
      ]);
      expect([`${name}Request`, `${name}Response`]).toEqual(
        [method.requestType, method.responseType].map((type) => type.replace(/^\.?miniodb\.v1\./, '')),
      );
    }
    expect(Object.keys(root.lookupService('miniodb.v1.AuthService').methods)).toEqual(
      expect.arrayContaining(['GetToken', 'RefreshToken', 'RevokeToken']),
    );
  });
});

/* ------------------------------------------------------------------------------------------------------------- one by one */

describe('WriteData, QueryData, UpdateData, DeleteData', () => {
  const record = (id: string, payload: JsonRow, timestamp = '2024-01-01T10:00:00Z'): GrpcMessage => ({
    id,
    timestamp: timestampOf(timestamp),
    payload: structOf(payload),
  });
  const resultOf = async (sql: string): Promise<JsonRow[]> =>
    JSON.parse((await responseOf(grpc.unary('QueryData', { sql })))['result_json'] as string) as JsonRow[];

  test('a written row is there for both doors', async () => {
    const answer = await responseOf(
      grpc.unary('WriteData', {
        table: 'g_write',
        data: record('a', { name: 'Ada', age: 36, score: 1.5, ok: true, tags: ['x', { y: null }], none: null }),
      }),
    );
    expect(answer).toMatchObject({ success: true, node_id: expect.stringMatching(/\S/), message: expect.any(String) });
    const expected = { id: 'a', timestamp: '2024-01-01T10:00:00.000000Z', name: 'Ada', age: 36, score: 1.5, ok: true };
    expect((await resultOf('SELECT * EXCLUDE tags FROM g_write'))[0]).toEqual(expected);
    expect((await rowsOf(server, 'SELECT * EXCLUDE tags FROM g_write'))[0]).toEqual(expected);
  });

  test('whole numbers of a Struct fit a BIGINT column, and a column made by them takes fractions later', async () => {
    await write(server, 'g_numbers', 'rest', { n: 1 });
    await responseOf(grpc.unary('WriteData', { table: 'g_numbers', data: record('grpc', { n: 2 }) }));
    await responseOf(grpc.unary('WriteData', { table: 'g_numbers', data: record('half', { n: 2.5, fresh: 3 }) }));
    await responseOf(grpc.unary('WriteData', { table: 'g_numbers', data: record('more', { fresh: 3.5 }) }));
    expect(await rowsOf(server, 'SELECT sum(n) AS n, sum(fresh) AS fresh FROM g_numbers')).toEqual([{ n: 5.5, fresh: 6.5 }]);
  });

  test('an empty id is generated by the strategy of the table; microseconds are kept', async () => {
    await createTable(server, 'g_ids', { id_strategy: 'uuid' });
    await responseOf(
      grpc.unary('WriteData', {
        table: 'g_ids',
        data: { payload: structOf({ n: 1 }), timestamp: { seconds: '1704103200', nanos: 123_456_000 } },
      }),
    );
    const [row = {}] = await rowsOf(server, 'SELECT * FROM g_ids');
    expect(row['id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(row['timestamp']).toBe('2024-01-01T10:00:00.123456Z');
  });

  test('the metadata idempotency-key works like the header', async () => {
    const request = { table: 'g_once', data: record('a', { n: 1 }) };
    const first = await responseOf(grpc.unary('WriteData', request, { 'idempotency-key': 'g-1' }));
    expect(await responseOf(grpc.unary('WriteData', request, { 'idempotency-key': 'g-1' }))).toEqual(first);
    expect(await countOf(server, 'g_once')).toBe(1);
    const other = await grpc.unary('WriteData', { table: 'g_once', data: record('a', { n: 2 }) }, { 'idempotency-key': 'g-1' });
    expectFailure(other, grpcStatus.ABORTED, 'CONFLICT', /idempotency/i);
    expect(await countOf(server, 'g_once')).toBe(1);
  });

  test('QueryData pages with limit and cursor; integers keep their digits in the text', async () => {
    await writeBatch(
      server,
      'g_pages',
      Array.from({ length: 25 }, (_, n) => ({ id: `p-${n}`, payload: { n } })),
    );
    const sql = 'SELECT n FROM g_pages ORDER BY n';
    const seen: number[] = [];
    let cursor = '';
    do {
      const page = await responseOf(grpc.unary('QueryData', { sql, limit: 10, cursor }));
      seen.push(...(JSON.parse(page['result_json']) as { n: number }[]).map((row) => row.n));
      cursor = page['next_cursor'] as string;
      expect(page['has_more']).toBe(cursor !== '');
      await write(server, 'g_pages', `late-${seen.length}`, { n: 0 });
    } while (cursor !== '');
    expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => n));
    const big = await responseOf(grpc.unary('QueryData', { sql: 'SELECT 9223372036854775807 AS n' }));
    expect(big['result_json']).toMatch(/"n":\s*9223372036854775807\D/);
  });

  test('UpdateData replaces, DeleteData answers the exact count', async () => {
    for (const n of [1, 2]) await write(server, 'g_change', 'a', { n });
    const updated = await responseOf(
      grpc.unary('UpdateData', { table: 'g_change', id: 'a', payload: structOf({ n: 3 }), timestamp: timestampOf('2024-02-02T00:00:00Z') }),
    );
    expect(updated).toMatchObject({ success: true, node_id: expect.stringMatching(/\S/) });
    expect(await rowsOf(server, 'SELECT * FROM g_change')).toEqual([{ id: 'a', timestamp: '2024-02-02T00:00:00.000000Z', n: 3 }]);
    await write(server, 'g_change', 'a', { n: 4 });
    expect(await responseOf(grpc.unary('DeleteData', { table: 'g_change', id: 'a', soft_delete: true }))).toMatchObject({
      success: true,
      deleted_count: 2,
    });
    expect(await countOf(server, 'g_change')).toBe(0);
    expect(expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: 'g_change', id: 'a' })).json.restored_count).toBe(2);
    expect(await responseOf(grpc.unary('DeleteData', { table: 'g_change', id: 'a' }))).toMatchObject({ success: true, deleted_count: 2 });
    expect(await responseOf(grpc.unary('DeleteData', { table: 'g_change', id: 'a' }))).toMatchObject({ deleted_count: 0 });
  });
});

describe('tables', () => {
  const config = {
    buffer_size: 1_234,
    flush_interval_seconds: 45,
    retention_days: 7,
    backup_enabled: true,
    properties: { owner: 'me' },
    id_strategy: 'custom',
    id_prefix: 'p-',
    auto_generate_id: true,
    id_validation: { max_length: 50, pattern: '^[a-z0-9-]+$', allowed_chars: '' },
  };

  test('CreateTable, GetTable, ListTables, DeleteTable', async () => {
    expect(await responseOf(grpc.unary('CreateTable', { table_name: 'g_table', config }))).toMatchObject({ success: true });
    expectFailure(await grpc.unary('CreateTable', { table_name: 'g_table' }), grpcStatus.ALREADY_EXISTS, 'ALREADY_EXISTS', /g_table/);
    expect(await responseOf(grpc.unary('CreateTable', { table_name: 'g_table', if_not_exists: true }))).toMatchObject({ success: true });
    const { table_info: info } = await responseOf(grpc.unary('GetTable', { table_name: 'g_table' }));
    expect(info).toMatchObject({ name: 'g_table', config });
    expect(Math.abs(Number(info.created_at.seconds) * 1_000 - Date.now())).toBeLessThan(60_000);
    await write(server, 'g_table', 'x-1', { n: 1 }, '2024-01-01T00:00:00Z');
    await write(server, 'g_table', 'x-2', { n: 2 }, '2024-01-02T00:00:00Z');
    await flush(server, 'g_table');
    const after = (await responseOf(grpc.unary('GetTable', { table_name: 'g_table' })))['table_info'];
    expect(after.stats).toMatchObject({
      record_count: '2',
      oldest_record: { seconds: '1704067200', nanos: 0 },
      newest_record: { seconds: '1704153600', nanos: 0 },
    });
    expect(Number(after.stats.file_count)).toBeGreaterThanOrEqual(1);
    expect(Number(after.stats.size_bytes)).toBeGreaterThan(0);
    expect(Math.abs(Number(after.last_write.seconds) * 1_000 - Date.now())).toBeLessThan(60_000);
    const listed = await responseOf(grpc.unary('ListTables', { pattern: 'g_tab*' }));
    expect([listed['total'], listed['tables'].map((table: GrpcMessage) => table['name'] as string)]).toEqual([1, ['g_table']]);
    expectFailure(await grpc.unary('DeleteTable', { table_name: 'g_table' }), grpcStatus.ABORTED, 'CONFLICT', /cascade/);
    expect((await responseOf(grpc.unary('DeleteTable', { table_name: 'g_table', cascade: true })))['files_deleted']).toBeGreaterThanOrEqual(
      1,
    );
    expectFailure(await grpc.unary('GetTable', { table_name: 'g_table' }), grpcStatus.NOT_FOUND, 'NOT_FOUND', /g_table/);
    expect(await responseOf(grpc.unary('DeleteTable', { table_name: 'g_table', if_exists: true }))).toMatchObject({
      success: true,
      files_deleted: 0,
    });
  });

  test('a configuration without a value takes the default, as over REST', async () => {
    await responseOf(grpc.unary('CreateTable', { table_name: 'g_default' }));
    await createTable(server, 'r_default');
    expect((await tableInfo(server, 'g_default'))['config']).toEqual((await tableInfo(server, 'r_default'))['config']);
  });
});

describe('monitoring', () => {
  test('HealthCheck, GetStatus and GetMetrics', async () => {
    const health = await responseOf(grpc.unary('HealthCheck', {}));
    expect(health).toMatchObject({ status: expect.stringMatching(/\S/), version: expect.stringMatching(/\S/) });
    expect(Object.keys(health['details'] as object).length).toBeGreaterThan(0);
    expect(Math.abs(Number(health['timestamp'].seconds) * 1_000 - Date.now())).toBeLessThan(60_000);
    const status = await responseOf(grpc.unary('GetStatus', {}));
    expect(status).toMatchObject({
      total_nodes: 1,
      nodes: [{ id: expect.stringMatching(/\S/), status: expect.stringMatching(/\S/) }],
    });
    expect(Object.keys(status['buffer_stats'] as object).length).toBeGreaterThan(0);
    const metrics = await responseOf(grpc.unary('GetMetrics', {}));
    for (const key of ['performance_metrics', 'resource_usage', 'system_info'])
      expectThat(Object.keys(metrics[key] as object).length, key).toBeGreaterThan(0);
  });

  test('the standard health service says SERVING', async () => {
    const file = path.join(
      path.dirname(createRequire(import.meta.url).resolve('grpc-health-check/package.json')),
      'proto/health/v1/health.proto',
    );
    const health = connectGrpc(server, 'grpc.health.v1.Health', file);
    expect(await responseOf(health.unary('Check', {}))).toMatchObject({ status: 'SERVING' });
    health.close();
  });

  test.each(['v1', 'v1alpha'])('reflection (%s) lists the services and gives their descriptors', async (version) => {
    const file = path.join(
      path.dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json')),
      `build/proto/grpc/reflection/${version}/reflection.proto`,
    );
    const { root } = protobuf.parse(readFileSync(file, 'utf8'), { keepCase: true });
    const answers = await reflect(`grpc.reflection.${version}`, root, [
      { list_services: '*' },
      { file_containing_symbol: 'miniodb.v1.MinIODBService' },
    ]);
    const services = (answers[0]!['list_services_response'].service as { name: string }[]).map((service) => service.name);
    expect(services).toEqual(expect.arrayContaining(['miniodb.v1.MinIODBService', 'miniodb.v1.AuthService']));
    expect(answers[1]!['file_descriptor_response'].file_descriptor_proto.length).toBeGreaterThanOrEqual(1);
  });
});

/** Asks the reflection service, which is a stream in both directions, one question after the other. */
async function reflect(packageName: string, root: protobuf.Root, questions: readonly GrpcMessage[]): Promise<GrpcMessage[]> {
  const { Client, credentials } = await import('@grpc/grpc-js');
  const client = new Client(server.grpc.replace(/^\w+:\/\//, ''), credentials.createInsecure());
  const [request, response] = [
    root.lookupType(`${packageName}.ServerReflectionRequest`),
    root.lookupType(`${packageName}.ServerReflectionResponse`),
  ];
  const stream = client.makeBidiStreamRequest(
    `/${packageName}.ServerReflection/ServerReflectionInfo`,
    (question: GrpcMessage) => Buffer.from(request.encode(request.fromObject(question)).finish()),
    (bytes: Buffer) => response.toObject(response.decode(bytes), { defaults: true }),
  );
  const answers: GrpcMessage[] = [];
  for (const question of questions) {
    stream.write(question);
    const [answer] = (await once(stream, 'data')) as [GrpcMessage];
    answers.push(answer);
  }
  stream.end();
  await once(stream, 'end');
  client.close();
  return answers;
}

/* ---------------------------------------------------------------------------------------------------------------- streams */

describe('StreamWrite', () => {
  const recordsFrom = (first: number, count: number, filler = ''): GrpcMessage[] =>
    Array.from({ length: count }, (_, index) => ({ id: `s-${first + index}`, payload: structOf({ n: first + index, filler }) }));

  test('stores what is good, names what is not by its place in the stream, and never counts a failure', async () => {
    const { call: stream, answer } = grpc.upload('StreamWrite');
    stream.write({ table: 'g_stream', records: recordsFrom(0, 10) });
    stream.write({
      table: 'g_stream',
      records: [...recordsFrom(10, 2), { id: 'not\x7fgood', payload: structOf({ n: 1 }) }, { id: 's-x', payload: structOf({ n: 'text' }) }],
    });
    stream.write({ table: 'g_stream', records: recordsFrom(12, 5) });
    stream.end();
    const settled = await responseOf(answer);
    expect(settled).toMatchObject({ success: false, records_count: '17' });
    expect(settled['errors']).toEqual([expect.stringMatching(/\b12\b.*\bid\b/), expect.stringMatching(/\b13\b.*\bn\b.*BIGINT/)]);
    expect(await rowsOf(server, 'SELECT count(*) AS c, sum(n) AS s FROM g_stream')).toEqual([{ c: 17, s: 136 }]);
  });

  test('all good is success; an empty stream is success with nothing; messages may name different tables', async () => {
    const { call: stream, answer } = grpc.upload('StreamWrite');
    stream.write({ table: 'g_left', records: recordsFrom(0, 3) });
    stream.write({ table: 'g_right', records: recordsFrom(0, 4) });
    stream.end();
    expect(await responseOf(answer)).toMatchObject({ success: true, records_count: '7', errors: [] });
    expect([await countOf(server, 'g_left'), await countOf(server, 'g_right')]).toEqual([3, 4]);
    const empty = grpc.upload('StreamWrite');
    empty.call.end();
    expect(await responseOf(empty.answer)).toMatchObject({ records_count: '0', errors: [] });
  });

  test('a message without a table is told of, and the server lives on', async () => {
    const { call: stream, answer } = grpc.upload('StreamWrite');
    stream.on('error', () => undefined);
    stream.write({ records: recordsFrom(0, 1) });
    stream.end();
    const settled = await answer;
    if (settled.ok) {
      expect(settled.response).toMatchObject({ success: false, records_count: '0' });
      expect(settled.response['errors'][0]).toMatch(/table/);
    } else expectFailure(settled, grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /table/);
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
  });

  test('a client that goes away in the middle leaves no half message behind', async () => {
    const { call: stream, answer } = grpc.upload('StreamWrite');
    stream.on('error', () => undefined);
    stream.write({ table: 'g_left_early', records: recordsFrom(0, 100) });
    await eventually(
      'the first message is stored',
      async () => (await call(server, 'GET', '/v1/tables/g_left_early')).json.table_info?.stats.record_count,
      (count) => count === 100,
    );
    stream.cancel();
    expect((await answer).ok).toBe(false);
    expect(await countOf(server, 'g_left_early')).toBe(100);
  });
});

describe('StreamQuery', () => {
  interface Batch {
    readonly records: GrpcMessage[];
    readonly has_more: boolean;
    readonly cursor: string;
  }

  /** Reads batches until the stream ends, or until `enough` of them have come (then the call is cancelled). */
  async function read(stream: ClientReadableStream<GrpcMessage>, enough = Infinity): Promise<Batch[]> {
    const batches: Batch[] = [];
    try {
      for await (const batch of stream) {
        batches.push(batch as Batch);
        if (batches.length >= enough) break;
      }
    } finally {
      stream.on('error', () => undefined);
      stream.cancel();
    }
    return batches;
  }

  const plain = (batches: readonly Batch[]): JsonRow[] =>
    batches.flatMap((batch) =>
      batch.records.map((record) => ({ id: record['id'] as string, ...plainOf(record['payload'] as GrpcMessage) })),
    );

  beforeAll(async () => {
    const records = Array.from({ length: 1_000 }, (_, n) => ({
      id: `q-${n}`,
      timestamp: '2024-01-01T10:00:00.5Z',
      payload: { n, half: n / 2 + 0.25, s: n % 2 ? 'odd' : null, yes: n % 2 === 0 },
    }));
    await writeBatch(server, 'g_query', records);
  });

  test('gives records in batches of batch_size, the last without has_more', async () => {
    const batches = await read(grpc.download('StreamQuery', { sql: 'SELECT * FROM g_query ORDER BY n', batch_size: 300 }));
    expect(batches.map((batch) => [batch.records.length, batch.has_more])).toEqual([
      [300, true],
      [300, true],
      [300, true],
      [100, false],
    ]);
    expect(batches[0]!.records[0]).toMatchObject({ id: 'q-0', timestamp: { seconds: '1704103200', nanos: 500_000_000 } });
    const rows = plain(batches);
    expect(rows.slice(0, 2)).toEqual([
      { id: 'q-0', n: 0, half: 0.25, s: null, yes: true },
      { id: 'q-1', n: 1, half: 0.75, s: 'odd', yes: false },
    ]);
    expect(rows.map((row) => row['n'] as number)).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  });

  test('a query without id and timestamp gives its columns in the payload', async () => {
    const batches = await read(
      grpc.download('StreamQuery', { sql: 'SELECT yes, count(*) AS c, sum(half) AS h FROM g_query GROUP BY yes ORDER BY c, yes' }),
    );
    expect(plain(batches).map((row) => ({ yes: row['yes'] as boolean, c: Number(row['c']) }))).toEqual([
      { yes: false, c: 500 },
      { yes: true, c: 500 },
    ]);
  });

  test('an empty result ends without records', async () => {
    const batches = await read(grpc.download('StreamQuery', { sql: 'SELECT * FROM g_query WHERE n < 0' }));
    expect(plain(batches)).toEqual([]);
    expect(batches.every((batch) => !batch.has_more)).toBe(true);
  });

  test('can be resumed by the cursor of any batch, on the same snapshot', async () => {
    for (const sql of ['SELECT * FROM g_resumed ORDER BY n', 'SELECT * FROM g_resumed']) {
      await writeBatch(
        server,
        'g_resumed',
        Array.from({ length: 600 }, (_, n) => ({ id: `q-${n}`, payload: { n } })),
      );
      const expected = (await rowsOf(server, 'SELECT n FROM g_resumed ORDER BY n')).map((row) => row['n'] as number);
      const seen: number[] = [];
      let cursor = '';
      for (let round = 0; round < 20; round += 1) {
        const batches = await read(grpc.download('StreamQuery', { sql, batch_size: 100, cursor }), 2);
        seen.push(...plain(batches).map((row) => row['n'] as number));
        const last = batches.at(-1);
        if (!last?.has_more) break;
        cursor = last.cursor;
        await write(server, 'g_resumed', 'late', { n: -1 - round });
        await call(server, 'DELETE', '/v1/data', { table: 'g_resumed', id: `q-${599 - round}`, soft_delete: false });
        if (round === 1) await flush(server, 'g_resumed');
      }
      expect(seen.sort((a, b) => a - b)).toEqual(expected);
      expectSuccess(await call(server, 'DELETE', '/v1/tables/g_resumed?cascade=true'));
    }
  });

  test('errors carry the contract code, before the first batch and after it', async () => {
    const failure = async (sql: string): Promise<GrpcFailure> => {
      const stream = grpc.download('StreamQuery', { sql, batch_size: 100 });
      return read(stream).then(
        () => Promise.reject(new Error(`${sql} ended well`)),
        (error: unknown) => failureOf(error as ServiceError),
      );
    };
    expectFailure(await failure('SELECT * FROM nowhere'), grpcStatus.NOT_FOUND, 'NOT_FOUND', /nowhere/);
    expectFailure(await failure('SELECT colour FROM g_query'), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /colour/);
    expectFailure(
      await failure(`SELECT CASE WHEN range = 999999 THEN ('x' || range)::BIGINT ELSE range END AS n FROM range(1000000)`),
      grpcStatus.INVALID_ARGUMENT,
      'INVALID_ARGUMENT',
      /convert/i,
    );
  });

  test('a cancelled stream ends its query', async () => {
    const sql = 'SELECT count(*) AS cancelled_stream FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';
    const listed = async (): Promise<JsonRow[]> =>
      ((await call(server, 'GET', '/v1/queries')).json.queries as JsonRow[]).filter((each) =>
        String(each['sql']).includes('cancelled_stream'),
      );
    const stream = grpc.download('StreamQuery', { sql });
    stream.on('error', () => undefined);
    await eventually('the query runs', listed, (queries) => queries.length === 1);
    stream.cancel();
    await eventually('the query is gone', listed, (queries) => queries.length === 0, 10_000);
  });
});

/* ----------------------------------------------------------------------------------------------------------------- errors */

describe('errors', () => {
  test('both doors give the same code and the same message for the same mistake', async () => {
    await write(server, 'g_errors', 'a', { age: 1 });
    const pairs: [string, GrpcMessage, string, string, unknown][] = [
      ['QueryData', { sql: 'SELECT * FROM nowhere' }, 'POST', '/v1/query', { sql: 'SELECT * FROM nowhere' }],
      ['QueryData', { sql: 'SELECT FROM WHERE' }, 'POST', '/v1/query', { sql: 'SELECT FROM WHERE' }],
      ['QueryData', { sql: 'DROP TABLE g_errors' }, 'POST', '/v1/query', { sql: 'DROP TABLE g_errors' }],
      [
        'WriteData',
        { table: 'g_errors', data: { id: 'a\x7fb', payload: structOf({}) } },
        'POST',
        '/v1/data',
        { table: 'g_errors', data: { id: 'a\x7fb', payload: {} } },
      ],
      [
        'WriteData',
        { table: 'g_errors', data: { id: 'a', payload: structOf({ age: 'x' }) } },
        'POST',
        '/v1/data',
        { table: 'g_errors', data: { id: 'a', payload: { age: 'x' } } },
      ],
      ['DeleteData', { table: 'nowhere', id: 'a' }, 'DELETE', '/v1/data', { table: 'nowhere', id: 'a' }],
      ['GetTable', { table_name: 'nowhere' }, 'GET', '/v1/tables/nowhere', undefined],
      ['CreateTable', { table_name: 'g_errors' }, 'POST', '/v1/tables', { table_name: 'g_errors' }],
      ['DeleteTable', { table_name: 'g_errors' }, 'DELETE', '/v1/tables/g_errors', undefined],
    ];
    for (const [rpc, message, method, url, body] of pairs) {
      const [overGrpc, overRest] = [await grpc.unary(rpc, message), await call(server, method, url, body)];
      if (overGrpc.ok) throw new Error(`${rpc} ${JSON.stringify(message)} was accepted`);
      expectThat({ code: overGrpc.errorCode, message: overGrpc.message }, rpc).toEqual({
        code: overRest.json.error,
        message: overRest.json.message,
      });
    }
  });

  test.each([
    ['GetToken', { api_key: 'a', secret: 'b' }],
    ['RefreshToken', { refresh_token: 'a' }],
    ['RevokeToken', { token: 'a' }],
  ])('AuthService.%s, where nobody has to log in, says so', async (method, request) => {
    const auth = connectGrpc(server, 'miniodb.v1.AuthService');
    const answer = await auth.unary(method, request);
    auth.close();
    expect(answer).toMatchObject({
      ok: false,
      status: grpcStatus.INVALID_ARGUMENT,
      message: expect.stringContaining('auth.mode'),
    });
  });
});
