/**
 * Who may use the server: every route of REST and gRPC closed without credentials, tokens that do not count, roles, grants by table, rows that are not
 * there for a key, and changes that count from the next request on.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection, serviceMethods } from './support/grpc-client.js';
import { eventually, expectStatus, expectSuccess, type JsonRow } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';

const ADMIN_SECRET = 'the-secret-of-the-administrator';
const JWT_SECRET = 'a-secret-of-at-least-thirty-two-characters';
const ADMIN = { 'x-api-key': 'admin', 'x-api-secret': ADMIN_SECRET };
const AUTH = { mode: 'api_key', admin_secret: ADMIN_SECRET, jwt_secret: JWT_SECRET, lock_seconds: 2, failures_max: 5 };
const TABLES = { flush_interval_seconds: 3_600 };
/** Routes that ask nobody who they are. */
const OPEN = [
  'GET /v1/health',
  'GET /v1/health/live',
  'GET /v1/health/ready',
  'GET /metrics',
  'POST /v1/auth/token',
  'POST /v1/auth/refresh',
];
const OPEN_GRPC = ['HealthCheck', 'GetToken', 'RefreshToken'];

let server: RunningServer;
let grpc: GrpcConnection;

beforeAll(async () => {
  server = await startServer({ config: { auth: AUTH, tables: TABLES } });
  grpc = connectGrpc(server);
});

afterAll(async () => {
  grpc?.close();
  await server?.kill();
});

interface Key {
  readonly api_key: string;
  readonly secret: string;
}

async function makeKey(settings: JsonRow, of: RunningServer = server): Promise<Key> {
  return expectSuccess(await call(of, 'POST', '/v1/auth/keys', settings, ADMIN)).json as Key;
}

function as({ api_key: key, secret }: Key): Record<string, string> {
  return { 'x-api-key': key, 'x-api-secret': secret };
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

async function logIn({ api_key: key, secret }: Key, of: RunningServer = server): Promise<JsonRow> {
  return expectStatus(await call(of, 'POST', '/v1/auth/token', { api_key: key, secret }), 200).json as JsonRow;
}

function query(sql: string, headers: Record<string, string>, more: JsonRow = {}): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql, ...more }, headers);
}

async function post(table: string, records: readonly JsonRow[], headers: Record<string, string> = ADMIN): Promise<Answer> {
  return call(server, 'POST', '/v1/data', { table, records }, headers);
}

describe('without credentials', () => {
  it('every route is closed but those that are meant to be open', async () => {
    const { paths } = (await call(server, 'GET', '/api-docs-json')).json as { paths: Record<string, Record<string, unknown>> };
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(routes.length).toBeGreaterThan(35);
    const answers = await Promise.all(
      routes.map(async (route) => {
        const [method = '', path = ''] = route.split(' ');
        const { status, json, headers } = await call(server, method, path.replaceAll(/\{\w+\}/g, 'x'), method === 'GET' ? undefined : {});
        return { route, status, error: json?.error as string | undefined, asks: headers.get('www-authenticate') };
      }),
    );
    const closed = answers.filter(({ status }) => status === 401);
    expect(routes.filter((route) => !closed.some((answer) => answer.route === route)).sort()).toEqual([...OPEN].sort());
    expect(new Set(closed.map(({ error, asks }) => `${error} ${asks}`))).toEqual(new Set(['UNAUTHENTICATED Bearer realm="MinIODB"']));
  });

  it('every method of gRPC is closed but those that are meant to be open', async () => {
    const auth = connectGrpc(server, 'miniodb.v1.AuthService');
    try {
      for (const [connection, service] of [
        [grpc, 'miniodb.v1.MinIODBService'],
        [auth, 'miniodb.v1.AuthService'],
      ] as const) {
        for (const { name, requestStream, responseStream } of serviceMethods(service)) {
          const answer = requestStream
            ? await uploadNothing(connection, name)
            : responseStream
              ? await failureOf(connection, name)
              : await connection.unary(name, {});
          const isClosed = !answer.ok && answer.status === grpcStatus.UNAUTHENTICATED && answer.message.includes('credentials are missing');
          expectThat(isClosed, `${service}.${name}: ${JSON.stringify(answer)}`).toBe(!OPEN_GRPC.includes(name));
        }
      }
    } finally {
      auth.close();
    }
  });

  it('metrics are closed where the configuration says so', async () => {
    const closed = await startServer({ config: { auth: { ...AUTH, open_metrics: false } } });
    try {
      expect((await call(closed, 'GET', '/metrics')).status).toBe(401);
      expect((await call(closed, 'GET', '/metrics', undefined, ADMIN)).status).toBe(200);
      expect((await call(closed, 'GET', '/v1/health')).status).toBe(200);
    } finally {
      await closed.kill();
    }
  });

  it('a header that is no token is told what one looks like', async () => {
    for (const authorization of ['Basic YTpi', 'Bearer', 'Bearer a b', 'token']) {
      const answer = await call(server, 'GET', '/v1/tables', undefined, { authorization });
      expectThat(answer.status, authorization).toBe(401);
    }
  });
});

async function uploadNothing(connection: GrpcConnection, method: string): ReturnType<GrpcConnection['unary']> {
  const { call: upload, answer } = connection.upload(method);
  upload.on('error', () => undefined);
  upload.end();
  return answer;
}

function failureOf(connection: GrpcConnection, method: string): Promise<{ ok: boolean; status: number; message: string }> {
  return new Promise((resolve) => {
    const stream = connection.download(method, { sql: 'SELECT 1' });
    stream.on('error', (error: Error & { code?: number }) => resolve({ ok: false, status: error.code ?? -1, message: error.message }));
    stream.on('data', () => undefined);
    stream.on('end', () => resolve({ ok: true, status: 0, message: '' }));
  });
}

describe('API key', () => {
  it('is shown with its secret once, and kept as a hash', async () => {
    const key = await makeKey({ api_key: 'shown-once', name: 'a sensor', role: 'writer' });
    expect(key).toMatchObject({ api_key: 'shown-once', name: 'a sensor', role: 'writer', grants: null, expires_at: null, disabled: false });
    expect(key.secret).toMatch(/^[\w-]{43}$/);
    const others = [
      await call(server, 'GET', '/v1/auth/keys', undefined, ADMIN),
      await call(server, 'GET', '/v1/auth/keys/shown-once', undefined, ADMIN),
    ];
    for (const { status, text } of others) {
      expect(status).toBe(200);
      expect(text).not.toContain(key.secret);
      expect(text).not.toMatch(/hash/i);
    }
    expect((await call(server, 'POST', '/v1/auth/keys', { api_key: 'shown-once', role: 'reader' }, ADMIN)).status).toBe(409);
    expect((await call(server, 'GET', '/v1/auth/keys/nobody', undefined, ADMIN)).status).toBe(404);
  });

  it.each([
    [{ role: 'king' }, 'role'],
    [{ role: 'reader', api_key: 'a b' }, 'api_key'],
    [{ role: 'reader', grants: [{ tables: 'a*', access: 'all' }] }, 'access'],
    [{ role: 'reader', grants: [{ tables: 'a', access: 'write', rows: 'true' }] }, 'grants'],
    [{ role: 'reader', expires_at: 'tomorrow' }, 'expires_at'],
    [{ role: 'reader', secret: 'mine' }, 'secret'],
  ])('with %j is refused by name', async (settings, field) => {
    const answer = expectStatus(await call(server, 'POST', '/v1/auth/keys', settings, ADMIN), 400);
    expect(JSON.stringify(answer.json.details)).toContain(field);
  });

  it.each([
    'country = ',
    'true) OR (true',
    'true) AND (true',
    'id) = (id',
    'true) UNION SELECT 1 FROM t WHERE (true',
    'true; SELECT 1',
    'id IN (SELECT id FROM other)',
    'EXISTS (SELECT 1)',
    'random() > 0.5',
    'now() > timestamp',
    'row_number() OVER () = 1',
    "getenv('HOME') = ''",
    'id = $1',
    'true) LIMIT 5 --',
  ])('must not have %j for rows', async (rows) => {
    const grants = [{ tables: 't', access: 'read', rows }];
    const answer = expectStatus(await call(server, 'POST', '/v1/auth/keys', { role: 'reader', grants }, ADMIN), 400);
    expect(answer.json.message).toContain('rows must be a condition');
  });

  it.each([
    "country = 'DE'",
    'NOT hidden',
    'a IS NULL OR b > 1',
    "name LIKE 'a%' -- a comment",
    'x BETWEEN 1 AND 2',
    'true',
    "lower(name) IN ('a', 'b')",
    "tags->>'k' = 'v'",
  ])('may have %j for rows', async (rows) => {
    const key = await makeKey({ role: 'reader', grants: [{ tables: 't', access: 'read', rows }] });
    expect(key).toMatchObject({ grants: [{ tables: 't', access: 'read', rows }] });
  });

  it('counts no more once it is disabled, has another secret, is past its end or is removed', async () => {
    const key = await makeKey({ role: 'reader' });
    const path = `/v1/auth/keys/${key.api_key}`;
    const { access_token: token } = await logIn(key);
    const statuses = async (secret = key.secret): Promise<number[]> => [
      (await call(server, 'GET', '/v1/tables', undefined, as({ ...key, secret }))).status,
      (await call(server, 'GET', '/v1/tables', undefined, bearer(token as string))).status,
    ];
    expect(await statuses()).toEqual([200, 200]);
    expectSuccess(await call(server, 'PATCH', path, { disabled: true }, ADMIN));
    expect(await statuses()).toEqual([401, 401]);
    expectSuccess(await call(server, 'PATCH', path, { disabled: false }, ADMIN));
    expect(await statuses()).toEqual([200, 200]);
    expectSuccess(await call(server, 'PATCH', path, { expires_at: new Date(Date.now() - 1).toISOString() }, ADMIN));
    expect(await statuses()).toEqual([401, 401]);
    expectSuccess(await call(server, 'PATCH', path, { expires_at: '2999-01-01T00:00:00Z' }, ADMIN));
    const { secret } = expectSuccess(await call(server, 'POST', `${path}/rotate`, undefined, ADMIN)).json as Key;
    expect(await statuses()).toEqual([401, 401]);
    expect(await statuses(secret)).toEqual([200, 401]);
    expectSuccess(await call(server, 'DELETE', path, undefined, ADMIN));
    expect(await statuses(secret)).toEqual([401, 401]);
    expect((await call(server, 'DELETE', path, undefined, ADMIN)).status).toBe(404);
    // One of the same name is another key.
    const again = await makeKey({ api_key: key.api_key, role: 'reader' });
    expect((await call(server, 'GET', '/v1/tables', undefined, bearer(token as string))).status).toBe(401);
    expect((await call(server, 'GET', '/v1/tables', undefined, as(again))).status).toBe(200);
  });

  it('of the configuration is changed in the configuration', async () => {
    for (const [method, path] of [
      ['PATCH', '/v1/auth/keys/admin'],
      ['POST', '/v1/auth/keys/admin/rotate'],
      ['DELETE', '/v1/auth/keys/admin'],
    ] as const) {
      const answer = expectStatus(await call(server, method, path, method === 'PATCH' ? { role: 'reader' } : undefined, ADMIN), 409);
      expect(answer.json.message).toContain('auth.admin_key');
    }
  });

  it('is not asked about wrong secrets for a while after too many, and right ones pass all the time', async () => {
    const other = await startServer({ config: { auth: AUTH, rate_limits: { logins_per_minute: 0 } } });
    const otherGrpc = connectGrpc(other);
    try {
      const named = await makeKey({ role: 'reader' }, other);
      const logInWith = (api_key: string, secret: string): Promise<Answer> => call(other, 'POST', '/v1/auth/token', { api_key, secret });
      const wrong = await Promise.all(Array.from({ length: 5 }, (_, index) => logInWith(index < 3 ? 'admin' : 'nobody', 'wrong')));
      expect(wrong.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401]);
      const locked = await logInWith('admin', 'wrong');
      expect(locked.status).toBe(429);
      expect(Number(locked.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      for (const key of [{ api_key: 'admin', secret: ADMIN_SECRET }, named]) {
        for (let wrongs = 0; wrongs < 7; wrongs += 1) await logInWith(key.api_key, 'wrong');
        expect((await logInWith(key.api_key, 'wrong')).status).toBe(429);
        expect((await call(other, 'GET', '/v1/tables', undefined, as(key))).status).toBe(200);
        for (let wrongs = 0; wrongs < 7; wrongs += 1) await logInWith(key.api_key, 'wrong');
        expect((await logInWith(key.api_key, key.secret)).status).toBe(200);
        for (let wrongs = 0; wrongs < 7; wrongs += 1) await logInWith(key.api_key, 'wrong');
        expect((await otherGrpc.unary('ListTables', {}, as(key))).ok).toBe(true);
      }
      for (let wrongs = 0; wrongs < 7; wrongs += 1) await logInWith('admin', 'wrong');
      await eventually(
        'wrong ones are asked about again',
        () => logInWith('nobody', 'wrong'),
        ({ status }) => status === 401,
        10_000,
      );
    } finally {
      otherGrpc.close();
      await other.kill();
    }
  });
});

/** A token as anybody could write it. */
function forged(claims: JsonRow, header: JsonRow = {}, secret = JWT_SECRET): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const head = { alg: 'HS256', typ: 'JWT', kid: 'configured', ...header };
  const now = Math.floor(Date.now() / 1_000);
  const payload = {
    iss: 'miniodb',
    aud: 'miniodb',
    sub: 'admin',
    jti: randomUUID(),
    login: randomUUID(),
    kind: 'access',
    iat: now,
    exp: now + 60,
    ...claims,
  };
  const text = `${encode(head)}.${encode(payload)}`;
  if (head.alg === 'none') return `${text}.`;
  return `${text}.${createHmac(head.alg === 'HS512' ? 'sha512' : 'sha256', secret)
    .update(text)
    .digest('base64url')}`;
}

function claimsOf(token: string): JsonRow {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as JsonRow;
}

describe('token', () => {
  const statusOf = async (token: string): Promise<number> => (await call(server, 'GET', '/v1/tables', undefined, bearer(token))).status;
  const grpcStatusOf = async (token: string): Promise<string | undefined> => {
    const answer = await grpc.unary('ListTables', {}, bearer(token));
    return answer.ok ? 'OK' : grpcStatus[answer.status];
  };

  it('opens what its key opens, over REST and gRPC', async () => {
    const tokens = expectStatus(await call(server, 'POST', '/v1/auth/token', { api_key: 'admin', api_secret: ADMIN_SECRET }), 200)
      .json as JsonRow;
    expect(tokens).toMatchObject({ token_type: 'Bearer', expires_in: 3_600 });
    expect(await statusOf(tokens['access_token'] as string)).toBe(200);
    const auth = connectGrpc(server, 'miniodb.v1.AuthService');
    const answer = await auth.unary('GetToken', { api_key: 'admin', secret: ADMIN_SECRET });
    auth.close();
    if (!answer.ok) throw new Error(answer.message);
    expect(answer.response).toMatchObject({ token_type: 'Bearer', expires_in: '3600' });
    expect(await grpcStatusOf(answer.response['access_token'] as string)).toBe('OK');
  });

  it('is refused when it was forged, changed, meant for others, or is of another kind', async () => {
    const { access_token: access, refresh_token: refresh } = await logIn({ api_key: 'admin', secret: ADMIN_SECRET });
    const { gen } = claimsOf(access as string);
    expect(await statusOf(forged({ gen }))).toBe(200);
    const [head = '', , signature = ''] = (access as string).split('.');
    const now = Math.floor(Date.now() / 1_000);
    const hostile: Record<string, string> = {
      'signed with another secret': forged({ gen }, {}, 'another-secret-of-thirty-two-characters'),
      'not signed': forged({ gen }, { alg: 'none' }),
      'signed otherwise': forged({ gen }, { alg: 'HS512' }),
      'of an unknown key': forged({ gen }, { kid: 'other' }),
      'without a key': forged({ gen }, { kid: undefined }),
      'for another audience': forged({ gen, aud: 'others' }),
      'of another issuer': forged({ gen, iss: 'others' }),
      expired: forged({ gen, exp: now - 1 }),
      'without an end': forged({ gen, exp: undefined }),
      'not yet': forged({ gen, nbf: now + 600 }),
      'of another generation': forged({ gen: 1 }),
      'of nobody': forged({ gen, sub: 'nobody' }),
      'with changed claims': `${head}.${Buffer.from(JSON.stringify({ ...claimsOf(access as string), sub: 'other' })).toString('base64url')}.${signature}`,
      'for refreshing': refresh as string,
      nothing: 'x',
    };
    for (const [what, token] of Object.entries(hostile)) {
      expectThat(await statusOf(token), what).toBe(401);
      expectThat(await grpcStatusOf(token), what).toBe('UNAUTHENTICATED');
    }
  });

  it('ends by itself', async () => {
    const brief = await startServer({ config: { auth: { ...AUTH, access_token_seconds: 1 } } });
    try {
      const { access_token: token } = await logIn({ api_key: 'admin', secret: ADMIN_SECRET }, brief);
      const ask = (): Promise<Answer> => call(brief, 'GET', '/v1/tables', undefined, bearer(token as string));
      expect((await ask()).status).toBe(200);
      const refused = await eventually('it has expired', ask, ({ status }) => status !== 200, 5_000);
      expect(refused.json).toMatchObject({ error: 'UNAUTHENTICATED', message: expect.stringContaining('expired') });
    } finally {
      await brief.kill();
    }
  });

  it('is exchanged once; used twice, its login ends', async () => {
    const first = await logIn({ api_key: 'admin', secret: ADMIN_SECRET });
    const refresh = (token: unknown): Promise<Answer> => call(server, 'POST', '/v1/auth/refresh', { refresh_token: token });
    const second = expectStatus(await refresh(first['refresh_token']), 200).json as JsonRow;
    expect(await statusOf(second['access_token'] as string)).toBe(200);
    expect((await refresh(second['access_token'])).status).toBe(401);
    expect((await refresh(first['refresh_token'])).status).toBe(401);
    expect(await statusOf(second['access_token'] as string)).toBe(401);
    expect((await refresh(second['refresh_token'])).status).toBe(401);
    // Of many at once, one is the first.
    const third = await logIn({ api_key: 'admin', secret: ADMIN_SECRET });
    const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(third['refresh_token'])));
    expect(answers.filter(({ status }) => status === 200).length).toBeLessThanOrEqual(1);
  });

  it('counts no more once it is revoked, also after a restart', async () => {
    const dataDir = temporaryDirectory('revoked');
    const settings = { dataDir, config: { auth: { ...AUTH, jwt_secret: '' } } };
    let own = await startServer(settings);
    try {
      const logins = await Promise.all([1, 2, 3].map(() => logIn({ api_key: 'admin', secret: ADMIN_SECRET }, own)));
      const [revoked, other, byGrpc] = logins.map((tokens) => tokens['access_token'] as string);
      const ask = async (token = ''): Promise<number> => (await call(own, 'GET', '/v1/tables', undefined, bearer(token))).status;
      expectSuccess(await call(own, 'DELETE', '/v1/auth/token', undefined, bearer(revoked ?? '')));
      const auth = connectGrpc(own, 'miniodb.v1.AuthService');
      expect((await auth.unary('RevokeToken', { token: byGrpc }, bearer(other ?? ''))).ok).toBe(true);
      auth.close();
      expect(await Promise.all([ask(revoked), ask(other), ask(byGrpc)])).toEqual([401, 200, 401]);
      expect((await call(own, 'POST', '/v1/auth/refresh', { refresh_token: logins[0]?.['refresh_token'] })).status).toBe(401);
      await own.kill();
      own = await startServer(settings);
      expect(await Promise.all([ask(revoked), ask(other), ask(byGrpc)])).toEqual([401, 200, 401]);
    } finally {
      await own.kill();
    }
  });

  it('of somebody else is not ended by a key that is no administrator', async () => {
    const key = await makeKey({ role: 'reader' });
    const { access_token: token } = await logIn({ api_key: 'admin', secret: ADMIN_SECRET });
    expect((await call(server, 'DELETE', '/v1/auth/token', { token }, as(key))).status).toBe(403);
    expect(await statusOf(token as string)).toBe(200);
  });

  it('is taken while its signing key is exchanged, and not after', async () => {
    const dataDir = temporaryDirectory('keys');
    const [first, second] = ['first:0123456789012345678901234567890123', 'second:abcdefghijabcdefghijabcdefghijabcd'];
    const withKeys = (...keys: readonly string[]): Promise<RunningServer> =>
      startServer({ dataDir, config: { auth: { ...AUTH, mode: 'jwt', jwt_secret: '', jwt_keys: keys } } });
    let own = await withKeys(first);
    const tokens = [(await logIn({ api_key: 'admin', secret: ADMIN_SECRET }, own))['access_token'] as string];
    const ask = (): Promise<number[]> =>
      Promise.all(tokens.map(async (token) => (await call(own, 'GET', '/v1/tables', undefined, bearer(token))).status));
    await own.stop();
    own = await withKeys(second, first);
    tokens.push((await logIn({ api_key: 'admin', secret: ADMIN_SECRET }, own))['access_token'] as string);
    expect(await ask()).toEqual([200, 200]);
    // In mode jwt a key alone opens nothing.
    expect((await call(own, 'GET', '/v1/tables', undefined, ADMIN)).status).toBe(401);
    await own.stop();
    own = await withKeys(second);
    expect(await ask()).toEqual([401, 200]);
    await own.kill();
  });
});

describe('roles and grants', () => {
  let reader: Key;
  let writer: Key;
  let sensor: Key;

  beforeAll(async () => {
    expectSuccess(await post('open_one', [{ id: 'a', payload: { v: 1 } }]));
    expectSuccess(await post('secret_one', [{ id: 'a', payload: { v: 1 } }]));
    reader = await makeKey({ role: 'reader', grants: [{ tables: 'open_*', access: 'read' }] });
    writer = await makeKey({ role: 'writer', grants: [{ tables: '{open,made}_*', access: 'read_write' }] });
    sensor = await makeKey({ role: 'writer', grants: [{ tables: 'open_*', access: 'write' }] });
  });

  it('let each principal do what it may and nothing else', async () => {
    const attempts: [string, Key, Promise<Answer>, number][] = [
      ['reads', reader, query('SELECT * FROM open_one', as(reader)), 200],
      ['names it otherwise', reader, query('SELECT * FROM OPEN_ONE', as(reader)), 200],
      ['reads another', reader, query('SELECT * FROM secret_one', as(reader)), 403],
      ['reads one that is not there', reader, query('SELECT * FROM nowhere', as(reader)), 403],
      ['reads one that is not there', writer, query('SELECT * FROM open_nowhere', as(writer)), 404],
      ['hides it in a subquery', reader, query('SELECT (SELECT max(v) FROM secret_one) FROM open_one', as(reader)), 403],
      ['hides it in a join', reader, query('SELECT * FROM open_one JOIN secret_one USING (id)', as(reader)), 403],
      ['names a CTE like it', reader, query('WITH secret_one AS (SELECT 1 AS v) SELECT * FROM secret_one', as(reader)), 200],
      ['reads it behind a CTE of its name', reader, query('WITH x AS (FROM secret_one), secret_one AS (SELECT 1) FROM x', as(reader)), 403],
      ['describes', reader, call(server, 'GET', '/v1/tables/open_one', undefined, as(reader)), 200],
      ['describes another', reader, call(server, 'GET', '/v1/tables/secret_one', undefined, as(reader)), 403],
      ['history', reader, call(server, 'GET', '/v1/tables/secret_one/history', undefined, as(reader)), 403],
      ['writes', reader, post('open_one', [{ id: 'x' }], as(reader)), 403],
      ['deletes', reader, call(server, 'DELETE', '/v1/data', { table: 'open_one', id: 'x' }, as(reader)), 403],
      ['creates', reader, call(server, 'POST', '/v1/tables', { table_name: 'open_two' }, as(reader)), 403],
      ['drops', reader, call(server, 'DELETE', '/v1/tables/open_one?cascade=true', undefined, as(reader)), 403],
      ['flushes', reader, call(server, 'POST', '/v1/tables/open_one/flush', undefined, as(reader)), 403],
      ['backs up', writer, call(server, 'POST', '/v1/backups', {}, as(writer)), 403],
      ['recovers', writer, call(server, 'POST', '/v1/recover', {}, as(writer)), 403],
      ['makes keys', writer, call(server, 'POST', '/v1/auth/keys', { role: 'admin' }, as(writer)), 403],
      ['sees the state', writer, call(server, 'GET', '/v1/status', undefined, as(writer)), 403],
      ['writes', writer, post('open_one', [{ id: 'b', payload: { v: 2 } }], as(writer)), 200],
      ['makes a table by writing', writer, post('made_one', [{ id: 'b' }], as(writer)), 200],
      ['makes one elsewhere', writer, post('elsewhere', [{ id: 'b' }], as(writer)), 403],
      ['creates elsewhere', writer, call(server, 'POST', '/v1/tables', { table_name: 'elsewhere' }, as(writer)), 403],
      ['updates elsewhere', writer, call(server, 'PUT', '/v1/data', { table: 'secret_one', id: 'a', payload: {} }, as(writer)), 403],
      ['restores elsewhere', writer, call(server, 'POST', '/v1/data/restore', { table: 'secret_one', id: 'a' }, as(writer)), 403],
      [
        'bulk elsewhere',
        writer,
        call(server, 'POST', '/v1/data/bulk?table=secret_one', '{"id":"x"}', { ...as(writer), 'content-type': 'application/x-ndjson' }),
        403,
      ],
      ['configures elsewhere', writer, call(server, 'PATCH', '/v1/tables/secret_one', { config: { retention_days: 1 } }, as(writer)), 403],
      ['compacts', writer, call(server, 'POST', '/v1/tables/open_one/compact', undefined, as(writer)), 200],
      ['vacuums elsewhere', writer, call(server, 'POST', '/v1/tables/secret_one/vacuum', undefined, as(writer)), 403],
      ['writes', sensor, post('open_one', [{ id: 'c', payload: { v: 3 } }], as(sensor)), 200],
      ['reads what it writes', sensor, query('SELECT * FROM open_one', as(sensor)), 403],
    ];
    for (const [what, { api_key: key }, answer, status] of attempts)
      expectThat(`${what}: ${(await answer).status}`, `${key} ${(await answer).text}`).toBe(`${what}: ${status}`);
  });

  it('show each principal its own tables', async () => {
    const names = async (key: Key): Promise<string[]> =>
      ((await call(server, 'GET', '/v1/tables', undefined, as(key))).json.tables as JsonRow[]).map((table) => table['name'] as string);
    expect(await names(reader)).toEqual(['open_one']);
    expect(await names(writer)).toEqual(['made_one', 'open_one']);
    expect(await names(sensor)).toEqual(['open_one']);
  });

  it('stand before the glob of a list, which is answered at once whatever it is', async () => {
    expectSuccess(await post('sensor_data_2024', [{ id: 'a', payload: { v: 1 } }]));
    const nobody = await makeKey({ role: 'reader', grants: [] });
    for (const headers of [as(nobody), ADMIN]) {
      for (const glob of [`${'?(*)'.repeat(30)}Z`, `${'?(a)'.repeat(60)}b`, `${'*a'.repeat(60)}Z`]) {
        const path = `/v1/tables?pattern=${encodeURIComponent(glob)}`;
        expect(expectStatus(await call(server, 'GET', path, undefined, headers), 200).json).toMatchObject({ tables: [] });
      }
    }
  });

  it('are the same over gRPC', async () => {
    const statusOf = async (method: string, request: JsonRow, key: Key): Promise<string | undefined> => {
      const answer = await grpc.unary(method, request, as(key));
      return answer.ok ? 'OK' : grpcStatus[answer.status];
    };
    expect(await statusOf('QueryData', { sql: 'SELECT * FROM open_one' }, reader)).toBe('OK');
    expect(await statusOf('QueryData', { sql: 'SELECT * FROM secret_one' }, reader)).toBe('PERMISSION_DENIED');
    expect(await statusOf('WriteData', { table: 'open_one', data: { id: 'x' } }, reader)).toBe('PERMISSION_DENIED');
    expect(await statusOf('WriteData', { table: 'secret_one', data: { id: 'x' } }, writer)).toBe('PERMISSION_DENIED');
    expect(await statusOf('DeleteTable', { table_name: 'secret_one', cascade: true }, writer)).toBe('PERMISSION_DENIED');
    expect(await statusOf('GetTable', { table_name: 'secret_one' }, reader)).toBe('PERMISSION_DENIED');
    expect(await statusOf('GetStatus', {}, reader)).toBe('PERMISSION_DENIED');
    expect(await statusOf('BackupMetadata', {}, writer)).toBe('PERMISSION_DENIED');
    const { call: upload, answer } = grpc.upload('StreamWrite', as(writer));
    upload.on('error', () => undefined);
    upload.end({ table: 'secret_one', records: [{ id: 'x' }] });
    expect(await answer).toMatchObject({ ok: false, status: grpcStatus.PERMISSION_DENIED });
  });

  it('count at once for a token that is out already', async () => {
    const key = await makeKey({ role: 'reader', grants: [{ tables: 'open_one', access: 'read' }] });
    const { access_token: token } = await logIn(key);
    const ask = async (): Promise<number> => (await query('SELECT id FROM open_one', bearer(token as string))).status;
    const page = expectStatus(await query('SELECT id FROM open_one', bearer(token as string), { limit: 1 }), 200).json as JsonRow;
    expect(await ask()).toBe(200);
    expectSuccess(await call(server, 'PATCH', `/v1/auth/keys/${key.api_key}`, { grants: [] }, ADMIN));
    expect(await ask()).toBe(403);
    expect((await query('', bearer(token as string), { cursor: page['next_cursor'] })).status).toBe(400);
  });

  it('give each key idempotency keys of its own, through both doors and over a restart', async () => {
    const settings = { dataDir: temporaryDirectory('own-keys'), config: { auth: AUTH, tables: TABLES } };
    let own = await startServer(settings);
    try {
      const [one, two] = await Promise.all([makeKey({ role: 'writer' }, own), makeKey({ role: 'writer' }, own)]);
      const write = async (key: Key, v: number): Promise<Answer> =>
        call(own, 'POST', '/v1/data', { table: 'shared', id: 'a', payload: { v } }, { ...as(key), 'idempotency-key': 'the-same' });
      const first = expectSuccess(await write(one, 1)).json as JsonRow;
      const second = expectSuccess(await write(two, 1)).json as JsonRow;
      expect(second['lsn']).not.toBe(first['lsn']);
      expect((await write(one, 2)).json).toMatchObject({ error: 'CONFLICT', message: expect.stringMatching(/"the-same"/) });
      const ownGrpc = connectGrpc(own);
      const data = { id: 'b', payload: { fields: { v: { numberValue: 1 } } } };
      for (const key of [one, two])
        expect((await ownGrpc.unary('WriteData', { table: 'by_grpc', data }, { ...as(key), 'idempotency-key': 'again' })).ok).toBe(true);
      ownGrpc.close();
      // Once from the log, once from what was saved before it was trimmed.
      for (const isFlushed of [false, true]) {
        if (isFlushed) expectSuccess(await call(own, 'POST', '/v1/tables/shared/flush', undefined, ADMIN));
        await own.kill();
        own = await startServer(settings);
        expect((expectSuccess(await write(one, 1)).json as JsonRow)['lsn']).toBe(first['lsn']);
        expect((expectSuccess(await write(two, 1)).json as JsonRow)['lsn']).toBe(second['lsn']);
      }
      for (const table of ['shared', 'by_grpc']) {
        const count = await call(own, 'POST', '/v1/query', { sql: `SELECT count(*) AS n FROM ${table}` }, ADMIN);
        expect((expectStatus(count, 200).json as { rows: JsonRow[] }).rows).toEqual([{ n: 2 }]);
      }
    } finally {
      await own.kill();
    }
  });

  it('keep queries and pages of others out of sight', async () => {
    const page = expectStatus(await query('SELECT id FROM open_one', as(writer), { limit: 1 }), 200).json as JsonRow;
    const stolen = await query('', as(reader), { cursor: page['next_cursor'] });
    expect(stolen.json).toMatchObject({ error: 'INVALID_ARGUMENT', message: expect.stringContaining('another caller') });
    const slow = query('SELECT count(*) FROM open_one, range(30000000) a, range(3000) b', as(writer), { timeout_ms: 20_000 });
    const listed = await eventually(
      'the query is listed',
      async () => (await call(server, 'GET', '/v1/queries', undefined, ADMIN)).json.queries as JsonRow[],
      (queries) => queries.length > 0,
    );
    expect(listed[0]).toMatchObject({ principal: writer.api_key });
    expect((await call(server, 'GET', '/v1/queries', undefined, as(reader))).json.queries).toEqual([]);
    const path = `/v1/queries/${String(listed[0]?.['query_id'])}`;
    expect((await call(server, 'DELETE', path, undefined, as(reader))).status).toBe(404);
    expect((await call(server, 'DELETE', path, undefined, as(writer))).status).toBe(200);
    expect((await slow).status).toBe(499);
  });
});
