/**
 * The audit log: one line for each request of REST and gRPC, refused ones too, that says who asked for what and what came of it; no value of a row, no id
 * of a row, no literal of a statement, no secret and no token in it; when there is a log at all; the last lines of a stop; files of bounded size.
 */
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type AuditLine, auditFiles, auditLines, auditLinesOf, auditText } from './support/audit-lines.js';
import { expectSoftly, expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcAnswer, type GrpcConnection, type GrpcMessage } from './support/grpc-client.js';
import { eventually, expectSuccess, type JsonRow } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';

/** Stands in every value, id, literal and secret that is sent, and must not stand in the log. */
const MARK = 'zq9marker';
const NUMBER_MARK = '424242427';
/** The same for the tests that look at one line each, so that one leak fails one test. */
const OTHER_MARK = 'zq8other';
const ADMIN_SECRET = `${MARK}-of-the-administrator`;
const ADMIN = { 'x-api-key': 'admin', 'x-api-secret': ADMIN_SECRET };
const AUTH = { mode: 'api_key', admin_secret: ADMIN_SECRET, jwt_secret: `${MARK}-that-is-at-least-thirty-two-characters` };
const QUIET = {
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 3_600 },
  backup: { metadata_interval_minutes: 0 },
  maintenance: { compaction: false },
};
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

type Headers = Record<string, string>;
type Outcome = Answer | GrpcAnswer;
/** What a line must say, besides what every line says. */
type Expected = Partial<AuditLine> & Pick<AuditLine, 'method'>;

interface Asked {
  readonly what: string;
  readonly door: 'rest' | 'grpc';
  readonly requestId: string;
  readonly outcome: Outcome;
  readonly expected: Expected;
}

let server: RunningServer;
let grpc: GrpcConnection;
let tokens: GrpcConnection;
let file: string;

beforeAll(async () => {
  file = path.join(temporaryDirectory('audit'), 'logs', 'audit.log');
  server = await startServer({ config: { ...QUIET, auth: AUTH, audit: { file } } });
  grpc = connectGrpc(server);
  tokens = connectGrpc(server, 'miniodb.v1.AuthService');
});

afterAll(async () => {
  grpc?.close();
  tokens?.close();
  await server?.kill();
});

async function makeKey(settings: JsonRow): Promise<Headers> {
  const { api_key: key, secret } = expectSuccess(await call(server, 'POST', '/v1/auth/keys', settings, ADMIN)).json as JsonRow;
  secrets.push(secret as string);
  return { 'x-api-key': key as string, 'x-api-secret': secret as string };
}

/** Secrets and tokens that the server has made. */
const secrets: string[] = [];
let asked = 0;

function newRequestId(): string {
  asked += 1;
  return `audit-${String(asked).padStart(4, '0')}`;
}

/** Sends a request under an id of its own. */
async function rest(
  what: string,
  expected: Expected,
  [method, route, body]: readonly [string, string, unknown?],
  headers: Headers = ADMIN,
): Promise<Asked> {
  const requestId = newRequestId();
  const outcome = await call(server, method, route, body, { 'x-request-id': requestId, ...headers });
  return { what: `REST: ${what}`, door: 'rest', requestId, outcome, expected };
}

async function unary(what: string, expected: Expected, [method, request]: readonly [string, GrpcMessage], headers: Headers = ADMIN) {
  const requestId = newRequestId();
  const connection = method.endsWith('Token') ? tokens : grpc;
  const outcome = await connection.unary(method, request, { 'x-request-id': requestId, ...headers });
  return { what: `gRPC: ${what}`, door: 'grpc', requestId, outcome, expected } satisfies Asked;
}

async function upload(what: string, expected: Expected, method: string, messages: GrpcMessage[], headers: Headers = ADMIN) {
  const requestId = newRequestId();
  const { call: stream, answer } = grpc.upload(method, { 'x-request-id': requestId, ...headers });
  stream.on('error', () => undefined);
  for (const message of messages) stream.write(message);
  stream.end();
  return { what: `gRPC: ${what}`, door: 'grpc', requestId, outcome: await answer, expected } satisfies Asked;
}

async function download(what: string, expected: Expected, request: GrpcMessage, headers: Headers = ADMIN) {
  const requestId = newRequestId();
  const stream = grpc.download('StreamQuery', request, { 'x-request-id': requestId, ...headers });
  const outcome = await new Promise<GrpcAnswer>((resolve) => {
    stream.on('error', (error: Error & { code?: number }) =>
      resolve({
        ok: false,
        status: error.code ?? -1,
        message: error.message,
        errorCode: undefined,
        requestId: undefined,
        retryAfter: undefined,
      }),
    );
    stream.on('data', () => undefined);
    stream.on('end', () => resolve({ ok: true, response: {} }));
  });
  return { what: `gRPC: ${what}`, door: 'grpc', requestId, outcome, expected } satisfies Asked;
}

const id = (name: string): string => `${MARK}-id-${name}`;
const struct = (fields: Record<string, string>): GrpcMessage => ({
  fields: Object.fromEntries(Object.entries(fields).map(([name, stringValue]) => [name, { stringValue }])),
});
const LITERALS = `'${MARK}' <> e'${MARK}\\'${MARK}' AND $$${MARK}$$ <> $tag$${MARK}$tag$ AND ${NUMBER_MARK} > 0 /* ${MARK} */ -- ${MARK}`;

/** Asks for everything there is, once. The answer of each is looked at beside its line. */
async function askForEverything(): Promise<Asked[]> {
  const all: Asked[] = [];
  const ask = async (request: Promise<Asked>): Promise<any> => {
    const made = await request;
    all.push(made);
    return 'json' in made.outcome ? made.outcome.json : 'response' in made.outcome ? made.outcome.response : undefined;
  };
  const ok = (method: string, ...tables: string[]): Expected => ({ method, tables, result: 'OK', principal: 'admin' });
  const payload = { secret_text: MARK, secret_number: Number(NUMBER_MARK) };

  await ask(rest('a table that is made', ok('create_table', 'a'), ['POST', '/v1/tables', { table_name: 'a' }]));
  await ask(rest('a write', ok('write', 'a'), ['POST', '/v1/data', { table: 'a', id: id('1'), payload }]));
  await ask(rest('a batch', ok('write', 'a'), ['POST', '/v1/data', { table: 'a', records: [{ id: id('2'), payload }] }]));
  const lines = `${JSON.stringify({ id: id('3'), ...payload })}\n`;
  const bulk = { ...ADMIN, 'content-type': 'application/x-ndjson' };
  await ask(rest('a bulk body of lines', ok('bulk_write', 'a'), ['POST', '/v1/data/bulk?table=a', lines], bulk));
  const array = JSON.stringify([{ id: id('4'), ...payload }]);
  await ask(rest('a bulk body that is an array', ok('bulk_write', 'a'), ['POST', '/v1/data/bulk?table=a', array]));
  await ask(rest('an update', ok('update', 'a'), ['PUT', '/v1/data', { table: 'a', id: id('1'), payload }]));
  await ask(rest('a delete', ok('delete', 'a'), ['DELETE', '/v1/data', { table: 'a', id: id('1'), soft_delete: true }]));
  await ask(rest('a restore of rows', ok('restore_rows', 'a'), ['POST', '/v1/data/restore', { table: 'a', ids: [id('1')] }]));
  const sql = `SELECT * FROM a WHERE ${LITERALS}`;
  await ask(rest('a query', ok('query', 'a'), ['POST', '/v1/query', { sql }]));
  const withParameter = { sql: 'SELECT * FROM a WHERE id = $1', params: [id('1')] };
  await ask(rest('a query with parameters', ok('query', 'a'), ['POST', '/v1/query', withParameter]));
  const ndjson = { ...ADMIN, accept: 'application/x-ndjson' };
  await ask(rest('a query whose result is a stream', ok('query', 'a'), ['POST', '/v1/query', { sql }], ndjson));
  const twice = { sql: `SELECT * FROM a JOIN b USING (id) WHERE ${LITERALS}` };
  await call(server, 'POST', '/v1/tables', { table_name: 'b' }, ADMIN);
  await ask(rest('a query of two tables', ok('query', 'a', 'b'), ['POST', '/v1/query', twice]));
  await ask(rest('a list of queries', ok('list_queries'), ['GET', '/v1/queries']));
  const nothing = { ...ok('stop_query'), result: 'NOT_FOUND', target: 'no-such-query' };
  await ask(rest('a query that is to be stopped', nothing, ['DELETE', '/v1/queries/no-such-query']));
  await ask(rest('a list of tables', ok('list_tables'), ['GET', '/v1/tables']));
  await ask(rest('a look at a table', ok('get_table', 'a'), ['GET', '/v1/tables/a']));
  await ask(rest('a change of a table', ok('configure_table', 'a'), ['PATCH', '/v1/tables/a', { config: { buffer_size: 500 } }]));
  await ask(rest('a flush', ok('flush', 'a'), ['POST', '/v1/tables/a/flush']));
  await ask(rest('a compaction', ok('compact', 'a'), ['POST', '/v1/tables/a/compact']));
  await ask(rest('a vacuum', ok('vacuum', 'a'), ['POST', '/v1/tables/a/vacuum']));
  await ask(rest('the history of a table', ok('table_history', 'a'), ['GET', '/v1/tables/a/history']));
  await ask(rest('a table that goes', ok('delete_table', 'b'), ['DELETE', '/v1/tables/b?cascade=true']));

  const backup = await ask(rest('a backup', ok('create_backup'), ['POST', '/v1/backups', { tables: ['a'] }]));
  const backupId = backup.backup_id as string;
  await ask(rest('a list of backups', ok('list_backups'), ['GET', '/v1/backups']));
  const part = { backup_id: backupId, table: 'a', target_table: 'a2', id_range: { ids: [id('1')] } };
  await ask(rest('a recovery', { ...ok('recover', 'a'), target: backupId }, ['POST', '/v1/recover', part]));
  await ask(rest('a backup that goes', { ...ok('delete_backup'), target: backupId }, ['DELETE', `/v1/backups/${backupId}`]));
  const metadata = await ask(rest('a metadata backup', ok('backup_metadata'), ['POST', '/v1/metadata/backup', { force: true }]));
  const backupFile = `${String(metadata.backup_id)}.json`;
  const restore = { backup_file: backupFile, dry_run: true };
  await ask(rest('a metadata restore', { ...ok('restore_metadata'), target: backupFile }, ['POST', '/v1/metadata/restore', restore]));
  await ask(rest('a list of metadata backups', ok('list_metadata_backups'), ['GET', '/v1/metadata/backups']));
  await ask(rest('the state of metadata backups', ok('metadata_status'), ['GET', '/v1/metadata/status']));

  const key = (method: string): Expected => ({ ...ok(method), target: 'sensor-1' });
  const newKey = { api_key: 'sensor-1', role: 'reader', grants: [{ tables: 'a', access: 'read', rows: `secret_text = '${MARK}'` }] };
  const made = await ask(rest('a key that is made', key('create_api_key'), ['POST', '/v1/auth/keys', newKey]));
  await ask(rest('a list of keys', ok('list_api_keys'), ['GET', '/v1/auth/keys']));
  await ask(rest('a look at a key', key('get_api_key'), ['GET', '/v1/auth/keys/sensor-1']));
  await ask(rest('a change of a key', key('change_api_key'), ['PATCH', '/v1/auth/keys/sensor-1', { grants: null }]));
  const rotated = await ask(rest('another secret for a key', key('rotate_api_key'), ['POST', '/v1/auth/keys/sensor-1/rotate']));
  const { principal: _nobody, ...login } = key('get_token');
  const { principal: _none, ...refresh } = ok('refresh_token');
  const body = { api_key: 'sensor-1', secret: rotated.secret as string };
  const first = await ask(rest('a login', login, ['POST', '/v1/auth/token', body], {}));
  const pair = { refresh_token: first.refresh_token as string };
  const next = await ask(rest('the next tokens', refresh, ['POST', '/v1/auth/refresh', pair], {}));
  const bearer = { authorization: `Bearer ${String(next.access_token)}` };
  const byToken = { ...ok('query', 'a'), principal: 'sensor-1' };
  await ask(rest('a query by token', byToken, ['POST', '/v1/query', { sql: 'SELECT * FROM a' }], bearer));
  const end = { ...ok('revoke_token'), principal: 'sensor-1' };
  await ask(rest('the end of a login', end, ['DELETE', '/v1/auth/token', {}], bearer));

  const data = { id: id('g'), payload: struct({ secret_text: MARK }) };
  await ask(unary('a table that is made', ok('create_table', 'g'), ['CreateTable', { table_name: 'g' }]));
  await ask(unary('a write', ok('write', 'g'), ['WriteData', { table: 'g', data }]));
  const streamed = [{ table: 'g', records: [data] }, { records: [data] }];
  await ask(upload('a stream of writes', ok('stream_write', 'g'), 'StreamWrite', streamed));
  const bytes = [
    { table: 'g', format: 'ndjson', data: Buffer.from(`{"id":"${id('5')}",`) },
    { data: Buffer.from(`"secret_text":"${MARK}"}\n`) },
  ];
  await ask(upload('a bulk body', ok('bulk_write', 'g'), 'BulkWrite', bytes));
  await ask(unary('an update', ok('update', 'g'), ['UpdateData', { table: 'g', ...data }]));
  await ask(unary('a delete', ok('delete', 'g'), ['DeleteData', { table: 'g', id: data.id }]));
  const ofG = `SELECT * FROM g WHERE ${LITERALS}`;
  await ask(unary('a query', ok('query', 'g'), ['QueryData', { sql: ofG }]));
  await ask(download('a query whose result is a stream', ok('stream_query', 'g'), { sql: ofG }));
  await ask(unary('a list of tables', ok('list_tables'), ['ListTables', {}]));
  await ask(unary('a look at a table', ok('get_table', 'g'), ['GetTable', { table_name: 'g' }]));
  const byGrpc = await ask(unary('a metadata backup', ok('backup_metadata'), ['BackupMetadata', { force: true }]));
  const fileByGrpc = `${String(byGrpc.backup_id)}.json`;
  const restored = { ...ok('restore_metadata'), target: fileByGrpc };
  await ask(unary('a metadata restore', restored, ['RestoreMetadata', { backup_file: fileByGrpc, dry_run: true }]));
  await ask(unary('a list of metadata backups', ok('list_metadata_backups'), ['ListBackups', {}]));
  await ask(unary('the state of metadata backups', ok('metadata_status'), ['GetMetadataStatus', {}]));
  await ask(unary('a table that goes', ok('delete_table', 'g'), ['DeleteTable', { table_name: 'g', cascade: true }]));
  const second = await ask(unary('a login', login, ['GetToken', body], {}));
  const third = await ask(unary('the next tokens', refresh, ['RefreshToken', { refresh_token: second.refresh_token }], {}));
  const lastBearer = { authorization: `Bearer ${String(third.access_token)}` };
  await ask(unary('the end of a login', end, ['RevokeToken', { token: third.access_token }], lastBearer));
  await ask(rest('a key that goes', key('remove_api_key'), ['DELETE', '/v1/auth/keys/sensor-1']));
  for (const answer of [made, rotated, first, next, second, third])
    for (const name of ['secret', 'access_token', 'refresh_token']) if (answer[name]) secrets.push(answer[name] as string);
  return all;
}

async function askForWhatIsRefused(): Promise<Asked[]> {
  const reader = await makeKey({ api_key: 'a-reader', role: 'reader', grants: [{ tables: 'a', access: 'read' }] });
  const writer = await makeKey({ api_key: 'a-writer', role: 'writer', grants: [{ tables: 'a', access: 'read_write' }] });
  const { access_token: token } = expectSuccess(
    await call(server, 'POST', '/v1/auth/token', { api_key: 'a-reader', secret: reader['x-api-secret'] }),
  ).json as JsonRow;
  secrets.push(token as string);
  const wrong = { 'x-api-key': 'admin', 'x-api-secret': `${MARK}-wrong` };
  const refused = (method: string, result: string, tables: string[], principal?: string): Expected => ({
    method,
    result,
    tables,
    ...(principal === undefined ? {} : { principal }),
  });
  const write = { table: 'a', id: id('r'), payload: { secret_text: MARK } };
  const foreign = { ...write, table: 'foreign' };
  const data = { id: id('r'), payload: struct({ secret_text: MARK }) };
  const sql = `SELECT * FROM a WHERE secret_text = '${MARK}'`;
  const shown = (expected: Expected, key: string): Expected => ({ ...expected, key_shown: key });
  return [
    await rest('a wrong secret', shown(refused('write', 'UNAUTHENTICATED', ['a']), 'admin'), ['POST', '/v1/data', write], wrong),
    await rest('no credentials', refused('query', 'UNAUTHENTICATED', []), ['POST', '/v1/query', { sql }], {}),
    await rest('a token that is none', refused('query', 'UNAUTHENTICATED', []), ['POST', '/v1/query', { sql }], {
      authorization: `Bearer ${MARK}.${MARK}.${MARK}`,
    }),
    await rest(
      'a login with a wrong secret',
      { ...refused('get_token', 'UNAUTHENTICATED', []), target: 'admin' },
      ['POST', '/v1/auth/token', { api_key: 'admin', secret: `${MARK}-wrong` }],
      {},
    ),
    await rest('a role that is too low', refused('write', 'PERMISSION_DENIED', ['a'], 'a-reader'), ['POST', '/v1/data', write], reader),
    await rest('a role that is too low, by token', refused('write', 'PERMISSION_DENIED', ['a'], 'a-reader'), ['POST', '/v1/data', write], {
      authorization: `Bearer ${String(token)}`,
    }),
    await rest('a foreign table', refused('write', 'PERMISSION_DENIED', ['foreign'], 'a-writer'), ['POST', '/v1/data', foreign], writer),
    await rest('a bad value', refused('write', 'INVALID_ARGUMENT', ['a'], 'admin'), [
      'POST',
      '/v1/data',
      { table: 'a', id: id('bad'), payload: { secret_text: MARK }, timestamp: `${MARK} o'clock` },
    ]),
    await rest('a body that is no JSON', { method: 'write', result: 'INVALID_ARGUMENT', tables: [] }, [
      'POST',
      '/v1/data',
      `{"table":"a","id":"${MARK}`,
    ]),
    await rest('a statement that is none', refused('query', 'INVALID_ARGUMENT', [], 'admin'), [
      'POST',
      '/v1/query',
      { sql: `SELECT * FROM a WHERE id = '${MARK}' AND name = '${MARK}` },
    ]),
    await rest('a table that there is not', refused('get_table', 'NOT_FOUND', ['nowhere'], 'admin'), ['GET', '/v1/tables/nowhere']),
    await rest('a query of a table that there is not', { method: 'query', result: 'NOT_FOUND', principal: 'admin' }, [
      'POST',
      '/v1/query',
      { sql: `SELECT * FROM nowhere WHERE id = '${MARK}'` },
    ]),
    await rest(
      'a format that is not taken',
      refused('bulk_write', 'UNSUPPORTED_MEDIA_TYPE', ['a'], 'admin'),
      ['POST', '/v1/data/bulk?table=a', MARK],
      {
        ...ADMIN,
        'content-type': 'text/plain',
      },
    ),
    await unary('a wrong secret', shown(refused('write', 'UNAUTHENTICATED', ['a']), 'admin'), ['WriteData', { table: 'a', data }], wrong),
    await unary('no credentials', refused('query', 'UNAUTHENTICATED', []), ['QueryData', { sql }], {}),
    await unary(
      'a role that is too low',
      refused('write', 'PERMISSION_DENIED', ['a'], 'a-reader'),
      ['WriteData', { table: 'a', data }],
      reader,
    ),
    await unary(
      'a foreign table',
      refused('write', 'PERMISSION_DENIED', ['foreign'], 'a-writer'),
      ['WriteData', { table: 'foreign', data }],
      writer,
    ),
    await unary('a bad table name', refused('write', 'INVALID_ARGUMENT', ['no name'], 'admin'), ['WriteData', { table: 'no name', data }]),
    await unary('a table that there is not', refused('get_table', 'NOT_FOUND', ['nowhere'], 'admin'), [
      'GetTable',
      { table_name: 'nowhere' },
    ]),
    await upload('a stream of writes without credentials', refused('stream_write', 'UNAUTHENTICATED', []), 'StreamWrite', [], {}),
    await upload('a stream of writes into a bad name', { ...refused('stream_write', 'INVALID_ARGUMENT', [], 'admin') }, 'StreamWrite', [
      { table: '', records: [data] },
    ]),
    await download('a stream query without credentials', refused('stream_query', 'UNAUTHENTICATED', []), { sql }, {}),
    await download(
      'a stream query of a table that there is not',
      { method: 'stream_query', result: 'NOT_FOUND', principal: 'admin' },
      {
        sql: `SELECT * FROM nowhere WHERE id = '${MARK}'`,
      },
    ),
  ];
}

function wasRefused(outcome: Outcome): boolean {
  return 'ok' in outcome ? !outcome.ok : outcome.status >= 400;
}

/** Every request, with its lines. */
async function linesOf(requests: readonly Asked[]): Promise<ReadonlyMap<Asked, AuditLine[]>> {
  const last = requests.at(-1);
  if (!last) throw new Error('nothing was asked');
  await auditLinesOf(file, last.requestId);
  const lines = auditLines(file);
  return new Map(requests.map((request) => [request, lines.filter(({ request_id: requestId }) => requestId === request.requestId)]));
}

function expectLines(lines: ReadonlyMap<Asked, AuditLine[]>): void {
  for (const [{ what, door, requestId, outcome, expected }, found] of lines) {
    const told = `${what}: ${'text' in outcome ? outcome.text.slice(0, 500) : JSON.stringify(outcome).slice(0, 500)}`;
    expectSoftly(found.length, told).toBe(1);
    const [line] = found;
    if (!line) continue;
    expectSoftly(line, told).toMatchObject({ ...expected, door, request_id: requestId });
    expectSoftly('principal' in line, `${told}: a principal`).toBe('principal' in expected);
    expectSoftly('sql' in line, `${told}: a statement`).toBe(expected.method.endsWith('query') && expected.method !== 'stop_query');
    expectSoftly(line.time).toMatch(INSTANT);
    expectSoftly(Math.abs(Date.parse(line.time) - Date.now())).toBeLessThan(120_000);
    expectSoftly(line.address).toBe('127.0.0.1');
    expectSoftly(line.duration_ms).toBeGreaterThanOrEqual(0);
    expectSoftly(wasRefused(outcome), told).toBe(line.result !== 'OK');
    if ('headers' in outcome) expectSoftly(outcome.headers.get('x-request-id'), told).toBe(requestId);
    if ('json' in outcome && outcome.json?.error !== undefined) expectSoftly(line.result, told).toBe(outcome.json.error);
    if ('ok' in outcome && !outcome.ok && outcome.errorCode !== undefined) expectSoftly(line.result, told).toBe(outcome.errorCode);
  }
}

describe('a line of the audit log', () => {
  it('is left by each request that is answered, one and no more', async () => {
    expectLines(await linesOf(await askForEverything()));
  });

  it('is left by each request that is refused, one and no more', async () => {
    expectLines(await linesOf(await askForWhatIsRefused()));
  });

  it('has the request id that the server made, where the caller gave none', async () => {
    const answer = await call(server, 'GET', '/v1/tables', undefined, ADMIN);
    expect(await auditLinesOf(file, answer.headers.get('x-request-id') ?? '')).toHaveLength(1);
  });

  it('has the statement of a query without its values', async () => {
    const { requestId } = await rest('a query', { method: 'query' }, [
      'POST',
      '/v1/query',
      { sql: `SELECT id, 'x' AS "a name" FROM a WHERE secret_text = '${MARK}' LIMIT 3` },
    ]);
    const [line] = await auditLinesOf(file, requestId);
    expect(line?.sql).toBe('SELECT id, ? AS "a name" FROM a WHERE secret_text = ? LIMIT ?');
  });

  it.each([
    ['comments in comments', `/* one /* two */ ${OTHER_MARK} */ SELECT id FROM a`],
    ['a text with escapes right behind a number', `SELECT id FROM a WHERE 1=0or'x'<>e'\\' ${OTHER_MARK}'`],
    ['a text with escapes right behind a number that could have an exponent', `SELECT 1e'\\' ${OTHER_MARK}'`],
    ['a text that goes on in the next line', `SELECT id FROM a WHERE id = 'x'\n'${OTHER_MARK}'`],
    ['a text between dollars', `SELECT id FROM a WHERE id = $a$ $b$ ${OTHER_MARK} $a$`],
    ['a text with quotes in it', `SELECT id FROM a WHERE id = 'it''s ${OTHER_MARK}'`],
    ['a text that does not end', `SELECT id FROM a WHERE id = '${OTHER_MARK}`],
    ['a comment that does not end', `SELECT id FROM a /* ${OTHER_MARK}`],
  ])('never has what stands in %s', async (_what, sql) => {
    const { requestId } = await rest('a query', { method: 'query' }, ['POST', '/v1/query', { sql }]);
    const [line] = await auditLinesOf(file, requestId);
    expect(line?.sql).not.toContain(OTHER_MARK);
  });

  it('never takes a field of a row for the name of a table', async () => {
    const row = { id: id('flat'), name: `${OTHER_MARK} of a person`, payload: { secret_text: OTHER_MARK } };
    const { requestId, outcome } = await rest('a row without a table', { method: 'write' }, ['POST', '/v1/data', row]);
    expect(wasRefused(outcome)).toBe(true);
    expect(JSON.stringify(await auditLinesOf(file, requestId))).not.toContain(OTHER_MARK);
  });

  it('does not take the label of a key for the name of a table', async () => {
    const body = { api_key: 'labelled', name: 'a', role: 'reader' };
    const { requestId, outcome } = await rest('a key with a label', { method: 'create_api_key' }, ['POST', '/v1/auth/keys', body]);
    secrets.push((outcome as Answer).json.secret as string);
    const [line] = await auditLinesOf(file, requestId);
    expect(line).toMatchObject({ target: 'labelled', tables: [] });
  });

  it('names the key that was made under a name that the server chose', async () => {
    const { requestId, outcome } = await rest('a key', { method: 'create_api_key' }, ['POST', '/v1/auth/keys', { role: 'reader' }]);
    const { api_key: key, secret } = (outcome as Answer).json as JsonRow;
    secrets.push(secret as string);
    const [line] = await auditLinesOf(file, requestId);
    expect(line?.target).toBe(key);
  });

  describe('of a client that goes away before the end of its answer', () => {
    const sql = 'SELECT id, pad FROM wide';

    beforeAll(async () => {
      const pad = 'x'.repeat(1_000);
      const rows = Array.from({ length: 40_000 }, (_, n) => JSON.stringify({ id: `r${n}`, pad })).join('\n');
      const bulk = { ...ADMIN, 'content-type': 'application/x-ndjson' };
      expectSuccess(await call(server, 'POST', '/v1/data/bulk?table=wide', rows, bulk));
    });

    const leavers: readonly (readonly [string, string, (requestId: string) => Promise<void>])[] = [
      ['a stream of REST', 'query', leaveResult],
      ['StreamQuery', 'stream_query', leaveStreamQuery],
      ['StreamWrite', 'stream_write', leaveStreamWrite],
    ];

    it.each(leavers)('is there, once, and says so: %s', async (_what, method, leave) => {
      const requestId = newRequestId();
      await leave(requestId);
      const lines = await auditLinesOf(file, requestId);
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatchObject({ method, principal: 'admin' });
      // Node's client ends its side of a stream before it resets it: a StreamWrite may look as if it had come to its end.
      expect(['INCOMPLETE', 'CANCELLED', ...(method === 'stream_write' ? ['OK'] : [])]).toContain(lines[0]?.result);
    });

    async function leaveResult(requestId: string): Promise<void> {
      const gone = new AbortController();
      const response = await fetch(`${server.rest}/v1/query`, {
        method: 'POST',
        headers: { ...ADMIN, 'content-type': 'application/json', accept: 'application/x-ndjson', 'x-request-id': requestId },
        body: JSON.stringify({ sql }),
        signal: gone.signal,
      });
      await response.body?.getReader().read();
      gone.abort();
    }

    async function leaveStreamQuery(requestId: string): Promise<void> {
      const stream = grpc.download('StreamQuery', { sql, batch_size: 10 }, { ...ADMIN, 'x-request-id': requestId });
      stream.on('error', () => undefined);
      await once(stream, 'data');
      stream.cancel();
    }

    async function leaveStreamWrite(requestId: string): Promise<void> {
      const { call: stream } = grpc.upload('StreamWrite', { ...ADMIN, 'x-request-id': requestId });
      stream.on('error', () => undefined);
      stream.write({ table: 'wide', records: [{ id: 'one-more', payload: struct({ pad: MARK }) }] });
      const asking = { sql: "SELECT id FROM wide WHERE id = 'one-more'" };
      await eventually(
        'the record of the stream is there',
        async () => (await call(server, 'POST', '/v1/query', asking, ADMIN)).json?.rows.length as number,
        (count) => count === 1,
      );
      stream.cancel();
    }
  });

  it('is not left by health, status and metrics', async () => {
    const requestIds: string[] = [];
    for (const route of [
      '/v1/health',
      '/v1/health/live',
      '/v1/health/ready',
      '/v1/status',
      '/v1/stats',
      '/v1/metrics',
      '/metrics',
      '/api-docs-json',
    ])
      requestIds.push((await rest('a look', { method: '' }, ['GET', route])).requestId);
    for (const method of ['HealthCheck', 'GetStatus', 'GetMetrics'])
      requestIds.push((await unary('a look', { method: '' }, [method, {}])).requestId);
    const { requestId } = await rest('a list of tables', { method: 'list_tables' }, ['GET', '/v1/tables']);
    await auditLinesOf(file, requestId);
    expect(auditLines(file).filter((line) => requestIds.includes(line.request_id))).toEqual([]);
  });

  it('has no value or id of a row, no literal, no secret and no token: they are nowhere in the file', () => {
    const lines = auditText(file).split('\n');
    expect(lines.length).toBeGreaterThan(100);
    // Lines of tests above that fail by themselves are theirs.
    expect(secrets.length).toBeGreaterThan(10);
    for (const secret of [MARK, NUMBER_MARK, ...secrets]) {
      const found = lines.filter((line) => line.includes(secret));
      expectSoftly(found, `${secret.slice(0, 20)}…`).toEqual([]);
    }
  });
});

describe('a caller that is refused for asking too often', () => {
  it('leaves its line, over both doors', async () => {
    const log = path.join(temporaryDirectory('audit'), 'audit.log');
    const limits = { queries_per_minute: 2, logins_per_minute: 1 };
    const limited = await startServer({ config: { ...QUIET, auth: AUTH, audit: { file: log }, rate_limits: limits } });
    const connection = connectGrpc(limited);
    try {
      const query = (requestId: string): Promise<Answer> =>
        call(limited, 'POST', '/v1/query', { sql: 'SELECT 1' }, { ...ADMIN, 'x-request-id': requestId });
      const logIn = (requestId: string): Promise<Answer> =>
        call(limited, 'POST', '/v1/auth/token', { api_key: 'admin', secret: ADMIN_SECRET }, { 'x-request-id': requestId });
      const statuses = [await query('q1'), await query('q2'), await query('q3'), await logIn('l1'), await logIn('l2')];
      expect(statuses.map(({ status }) => status)).toEqual([200, 200, 429, 200, 429]);
      const answer = await connection.unary('QueryData', { sql: 'SELECT 1' }, { ...ADMIN, 'x-request-id': 'g1' });
      expect(answer).toMatchObject({ ok: false, errorCode: 'RESOURCE_EXHAUSTED' });
      await auditLinesOf(log, 'g1');
      const lines = auditLines(log).map(({ request_id: requestId, principal, door, method, result }) => ({
        requestId,
        principal,
        door,
        method,
        result,
      }));
      const line = (requestId: string, method: string, result: string, door = 'rest', principal: string | undefined = 'admin') => ({
        requestId,
        principal,
        door,
        method,
        result,
      });
      expect(lines).toEqual([
        line('q1', 'query', 'OK'),
        line('q2', 'query', 'OK'),
        line('q3', 'query', 'RESOURCE_EXHAUSTED'),
        { ...line('l1', 'get_token', 'OK'), principal: undefined },
        { ...line('l2', 'get_token', 'RESOURCE_EXHAUSTED'), principal: undefined },
        line('g1', 'query', 'RESOURCE_EXHAUSTED', 'grpc'),
      ]);
    } finally {
      connection.close();
      await limited.kill();
    }
  });
});

describe('the file', () => {
  const listTables = (of: RunningServer, requestId: string, headers: Headers = {}): Promise<Answer> =>
    call(of, 'GET', '/v1/tables', undefined, { ...headers, 'x-request-id': requestId });

  it.each([
    ['auto', 'disabled', false],
    ['off', 'api_key', false],
    ['on', 'disabled', true],
    ['auto', 'api_key', true],
  ] as const)('with audit.mode %s and auth.mode %s: there is one: %s', async (mode, authMode, isThere) => {
    const log = path.join(temporaryDirectory('audit'), 'deep', 'folder', 'audit.log');
    const auth = authMode === 'disabled' ? {} : { auth: AUTH };
    const own = await startServer({ config: { ...QUIET, ...auth, audit: { mode, file: log } } });
    try {
      expectSuccess(await listTables(own, 'only-one', ADMIN));
    } finally {
      expect(await own.stop()).toBe(0);
    }
    expect(existsSync(log)).toBe(isThere);
    if (isThere)
      expect(auditLines(log)).toMatchObject([
        { request_id: 'only-one', principal: authMode === 'disabled' ? 'system' : 'admin', result: 'OK' },
      ]);
  });

  it('has the last lines after SIGTERM, and those of requests that were under way; a new start goes on behind them', async () => {
    const log = path.join(temporaryDirectory('audit'), 'audit.log');
    const config = { ...QUIET, audit: { mode: 'on', file: log } };
    const own = await startServer({ config });
    const ids = Array.from({ length: 40 }, (_, n) => `last-${n}`);
    for (const requestId of ids) expectSuccess(await listTables(own, requestId));
    const underWay = Array.from({ length: 20 }, (_, n) =>
      call(own, 'POST', '/v1/query', { sql: 'SELECT sum(range) FROM range(3000000)' }, { 'x-request-id': `under-way-${n}` }),
    );
    const answered = Promise.allSettled(underWay);
    expect(await own.stop()).toBe(0);
    const got = (await answered).flatMap((one) => (one.status === 'fulfilled' ? [one.value.headers.get('x-request-id') ?? ''] : []));
    const written = auditLines(log).map(({ request_id: requestId }) => requestId);
    expect(written.slice(0, ids.length)).toEqual(ids);
    expect(written.filter((requestId) => got.includes(requestId)).sort()).toEqual(got.sort());
    const again = await startServer({ config });
    expectSuccess(await listTables(again, 'after'));
    expect(await again.stop()).toBe(0);
    const later = auditLines(log).map(({ request_id: requestId }) => requestId);
    expect(later).toEqual([...written, 'after']);
  });

  it('is exchanged when it is full: few files of bounded size, with the newest lines', async () => {
    const [bytesMax, filesKept, blockBytes, requests] = [65_536, 2, 65_536, 3_000];
    const log = path.join(temporaryDirectory('audit'), 'audit.log');
    const own = await startServer({
      config: { ...QUIET, audit: { mode: 'on', file: log, file_bytes_max: bytesMax, files_kept: filesKept } },
    });
    const inBlock = 50;
    for (let n = 0; n < requests; n += inBlock)
      await Promise.all(Array.from({ length: inBlock }, async (_, more) => expectSuccess(await listTables(own, `request-${n + more}`))));
    expect(await own.stop()).toBe(0);
    const files = auditFiles(log);
    expect(files.map((name) => path.basename(name))).toEqual(['audit.log.2', 'audit.log.1', 'audit.log']);
    for (const name of files) expectThat(statSync(name).size, name).toBeLessThanOrEqual(bytesMax + blockBytes);
    const numbers = auditLines(log).map(({ request_id: requestId }) => Number(requestId.replace('request-', '')));
    expect(numbers.length).toBeGreaterThan(300);
    expect(new Set(numbers).size).toBe(numbers.length);
    // What is kept is the end of the log, without a gap; requests of one block come in any order.
    const expected = Array.from({ length: numbers.length }, (_, n) => requests - numbers.length + n);
    const isOfTheEnd = numbers.filter((number) => number >= (expected[0] ?? 0) - inBlock);
    expect(isOfTheEnd.length).toBe(numbers.length);
    expect([...numbers].sort((a, b) => a - b).slice(inBlock)).toEqual(expected.slice(inBlock));
  });
});
