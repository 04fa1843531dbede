/**
 * The doors themselves, REST and gRPC: TLS with and without certificates of clients, configurations that stop the start, what browsers are told
 * (security headers, Swagger UI, CORS), who may ask reflection and health, and how often one may ask at all.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import helmet from 'helmet';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { gzipSync } from 'node:zlib';
import { expectSoftly, expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcAnswer, type GrpcConnection, PROTO_FILE } from './support/grpc-client.js';
import { checkHealth, listServices, watchHealth } from './support/grpc-services.js';
import { isAllowed, pageSources } from './support/page-sources.js';
import { type RawAnswer, type RawRequest, sendRaw } from './support/raw-request.js';
import { eventually, expectStatus, expectSuccess, type JsonRow, write } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';
import { type Certificate, type ClientTls, grpcChannel, issueCertificate, makeAuthority, writeFiles } from './support/tls.js';

const ADMIN_SECRET = 'the-secret-of-the-administrator';
const ADMIN = { 'x-api-key': 'admin', 'x-api-secret': ADMIN_SECRET };
const AUTH = { mode: 'api_key', admin_secret: ADMIN_SECRET };
const SERVICE = 'miniodb.v1.MinIODBService';
const ORIGIN = 'https://app.example.com';
const HAS_IPV6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));

/** Runs with a server of its own. */
async function withServer(config: JsonRow, use: (server: RunningServer) => Promise<void>, env: Record<string, string> = {}): Promise<void> {
  const server = await startServer({ config, env });
  try {
    await use(server);
  } finally {
    await server.kill();
  }
}

/** What a server prints that must not start. */
async function refusalOf(config: JsonRow): Promise<string> {
  const started = await startServer({ config }).catch((error: unknown) => error as Error);
  if (started instanceof Error) return started.message;
  await started.kill();
  throw new Error(`the server started: ${started.output()}`);
}

/** `OK`, or the name of the failure. */
function nameOf(answer: GrpcAnswer): string {
  return answer.ok ? 'OK' : (grpcStatus[answer.status] ?? String(answer.status));
}

async function overGrpc(server: RunningServer, use: (grpc: GrpcConnection) => Promise<GrpcAnswer>, tls?: ClientTls): Promise<GrpcAnswer> {
  const grpc = connectGrpc(server, SERVICE, PROTO_FILE, tls && grpcChannel(tls));
  try {
    return await use(grpc);
  } finally {
    grpc.close();
  }
}

/** Status of a REST answer, or 'closed' where there was none. */
function restStatus(server: { readonly rest: string }, request: RawRequest): Promise<number | string> {
  return sendRaw(server, request).then(
    ({ status }) => status,
    (error: Error) => (error.message.startsWith('no answer') ? 'closed' : Promise.reject(error)),
  );
}

/** What a server answers to these bytes until it closes the connection. */
async function sendText(server: { readonly rest: string }, text: string): Promise<string> {
  const { hostname, port } = new URL(server.rest);
  const socket = createConnection({ host: hostname, port: Number(port) });
  let answer = '';
  socket.on('data', (part) => (answer += part.toString()));
  // A server may close before it has read the whole of what it refuses.
  socket.on('error', () => undefined);
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

describe('TLS', () => {
  let authority: Certificate;
  let own: Certificate;
  let server: RunningServer;

  beforeAll(async () => {
    authority = await makeAuthority('Authority of the server');
    own = await issueCertificate(authority, 'miniodb');
    const { cert, key } = writeFiles({ cert: own.cert, key: own.key });
    server = await startServer({ config: { tls: { cert_file: cert, key_file: key } } });
  });
  afterAll(() => server?.kill());

  it('is what REST answers over, and nothing else', async () => {
    expect(server.rest).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const request = { method: 'GET', path: '/v1/health' };
    expect(await restStatus(server, { ...request, tls: { ca: authority.cert } })).toBe(200);
    expect(await restStatus({ rest: server.rest.replace('https:', 'http:') }, request)).toBe('closed');
    // The certificate is the one of the files: who trusts another authority does not take it.
    expect(await restStatus(server, { ...request, tls: { ca: (await makeAuthority('Another')).cert } })).toBe('closed');
  });

  it('is what gRPC answers over, and nothing else', async () => {
    const health = (grpc: GrpcConnection): Promise<GrpcAnswer> => grpc.unary('HealthCheck', {});
    expect(nameOf(await overGrpc(server, health, { ca: authority.cert }))).toBe('OK');
    expect(nameOf(await overGrpc(server, health))).toBe('UNAVAILABLE');
    expect(nameOf(await overGrpc(server, health, { ca: (await makeAuthority('Another')).cert }))).toBe('UNAVAILABLE');
  });

  it('is remembered by browsers', async () => {
    const { headers } = await sendRaw(server, { method: 'GET', path: '/v1/health', tls: { ca: authority.cert } });
    expect(headers).toMatchObject(helmetHeaders(true));
    expect(headers['strict-transport-security']).toMatch(/^max-age=31536000\b/);
    expect(headers['content-security-policy']).toContain('upgrade-insecure-requests');
  });

  describe('with certificates of clients', () => {
    let clientAuthority: Certificate;
    let guarded: RunningServer;

    beforeAll(async () => {
      clientAuthority = await makeAuthority('Authority of the clients');
      const files = writeFiles({
        cert: own.cert,
        key: own.key,
        authority: clientAuthority.cert,
      });
      guarded = await startServer({ config: { tls: { cert_file: files.cert, key_file: files.key, client_ca_file: files.authority } } });
    });
    afterAll(() => guarded?.kill());

    const body = JSON.stringify({ table: 'doors', id: 'by-rest', payload: {} });
    const overRest = (tls: ClientTls): Promise<number | string> =>
      restStatus(guarded, { method: 'POST', path: '/v1/data', headers: { 'content-type': 'application/json' }, body, tls });
    const byGrpc = async (tls?: ClientTls): Promise<string> =>
      nameOf(await overGrpc(guarded, (grpc) => grpc.unary('WriteData', { table: 'doors', data: { id: 'by-grpc' } }), tls));
    const query = (tls: ClientTls, sql: string): Promise<RawAnswer> =>
      sendRaw(guarded, {
        method: 'POST',
        path: '/v1/query',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ sql }),
        tls,
      });

    it('lets nobody else in, through neither door', async () => {
      const strangers: Record<string, Certificate | undefined> = {
        'without a certificate': undefined,
        'with one of another authority': await issueCertificate(await makeAuthority('Another'), 'client'),
        'with one of an authority of the same name': await issueCertificate(await makeAuthority('Authority of the clients'), 'client'),
        'with one that signed itself': await makeAuthority('client'),
        "with one of the server's authority": await issueCertificate(authority, 'client'),
        'with one that has ended': await issueCertificate(clientAuthority, 'client', new Date(Date.now() - 60_000)),
      };
      for (const [who, certificate] of Object.entries(strangers)) {
        const tls = { ca: authority.cert, ...certificate };
        expectThat(await overRest(tls), `${who}, REST`).toBe('closed');
        expectThat(await byGrpc(tls), `${who}, gRPC`).toBe('UNAVAILABLE');
      }
      expect(await byGrpc()).toBe('UNAVAILABLE');
      const known = { ca: authority.cert, ...(await issueCertificate(clientAuthority, 'client')) };
      // Nothing of what they sent was taken.
      expect((await query(known, 'SELECT * FROM doors')).status).toBe(404);
    });

    it('lets those of the authority in, through both doors', async () => {
      const known = { ca: authority.cert, ...(await issueCertificate(clientAuthority, 'client')) };
      expect(await overRest(known)).toBe(200);
      expect(await byGrpc(known)).toBe('OK');
      expect(JSON.parse((await query(known, 'SELECT id FROM doors ORDER BY id')).text)).toMatchObject({
        rows: [{ id: 'by-grpc' }, { id: 'by-rest' }],
      });
    });

    it.each([
      ['', '\n'],
      [' without a line between them', ''],
    ])('takes several authorities from one file%s', async (_how, between) => {
      const authorities = authority.cert.trimEnd() + between + clientAuthority.cert;
      const files = writeFiles({ cert: own.cert, key: own.key, authorities });
      const tls = { cert_file: files.cert, key_file: files.key, client_ca_file: files.authorities };
      await withServer({ tls }, async (several) => {
        for (const issuer of [authority, clientAuthority]) {
          const known = { ca: authority.cert, ...(await issueCertificate(issuer, 'client')) };
          expect(await restStatus(several, { method: 'GET', path: '/v1/health', tls: known })).toBe(200);
          expect(nameOf(await overGrpc(several, (grpc) => grpc.unary('HealthCheck', {}), known))).toBe('OK');
        }
      });
    });
  });

  describe('that cannot be stops the start and names the setting:', () => {
    let files: Record<'cert' | 'key' | 'otherKey' | 'text' | 'torn', string>;
    beforeAll(async () => {
      const { key: otherKey } = await issueCertificate(authority, 'other');
      const torn = authority.cert.replace(/\n[^\n]{20}/, '\n');
      files = writeFiles({ cert: own.cert, key: own.key, otherKey, text: 'no certificate\n', torn });
    });

    it.each([
      ['a certificate without its key', () => ({ cert_file: files.cert }), /tls\b.*key_file/],
      ['a key without its certificate', () => ({ key_file: files.key }), /tls\b.*cert_file/],
      ['authorities of clients without a certificate', () => ({ client_ca_file: files.cert }), /tls\.client_ca_file\b/],
      ['no such certificate', () => ({ cert_file: '/nowhere/cert', key_file: files.key }), /tls\.cert_file\b.*\/nowhere\/cert/],
      ['no such key', () => ({ cert_file: files.cert, key_file: '/nowhere/key' }), /tls\.key_file\b.*\/nowhere\/key/],
      [
        'no such authorities',
        () => ({ cert_file: files.cert, key_file: files.key, client_ca_file: '/nowhere/ca' }),
        /tls\.client_ca_file\b.*\/nowhere\/ca/,
      ],
      ['no PEM', () => ({ cert_file: files.text, key_file: files.key }), /tls\.cert_file\b.*not PEM/],
      ["another certificate's key", () => ({ cert_file: files.cert, key_file: files.otherKey }), /tls\.cert_file\b.*tls\.key_file\b/],
      ['torn authorities', () => ({ cert_file: files.cert, key_file: files.key, client_ca_file: files.torn }), /tls\.client_ca_file\b/],
      [
        'a key where authorities belong',
        () => ({ cert_file: files.cert, key_file: files.key, client_ca_file: files.key }),
        /tls\.client_ca_file\b/,
      ],
    ])('%s', async (_what, tls, message) => {
      expect(await refusalOf({ tls: tls() })).toMatch(message);
    });
  });
});

describe('address', () => {
  // None of these is an address of this machine: even a server that wanted to could not listen there.
  it.each(['192.0.2.1', '2001:db8::1', 'miniodb.invalid'])('%s is refused while nobody has to say who they are', async (host) => {
    const refusal = await refusalOf({ server: { host } });
    expect(refusal).toContain('The configuration cannot be used');
    expect(refusal).toMatch(/server\.host.*auth\.mode/);
  });

  (HAS_IPV6 ? it : it.skip)('::1 is loopback, too: both doors answer there, and count a caller as the same', async () => {
    await withServer({ server: { host: '::1' }, rate_limits: { queries_per_minute: 2 } }, async (server) => {
      const { port } = new URL(server.rest);
      const ask = (): Promise<Answer> => call({ rest: `http://[::1]:${port}` }, 'POST', '/v1/query', { sql: 'SELECT 1' });
      const askGrpc = (): Promise<GrpcAnswer> => overGrpc(server, (grpc) => grpc.unary('QueryData', { sql: 'SELECT 1' }));
      expect([(await ask()).status, nameOf(await askGrpc())]).toEqual([200, 'OK']);
      expect([(await ask()).status, nameOf(await askGrpc())]).toEqual([429, 'RESOURCE_EXHAUSTED']);
    });
  });
});

/** What helmet itself sets, asked for as its users do. */
function helmetHeaders(isSecure: boolean): Record<string, string> {
  const headers: Record<string, string> = {};
  const response = {
    setHeader: (name: string, value: string) => (headers[name.toLowerCase()] = value),
    removeHeader: () => undefined,
  } as unknown as ServerResponse;
  helmet()({} as IncomingMessage, response, () => undefined);
  if (isSecure) return headers;
  // Without TLS a browser must not be sent to https.
  delete headers['strict-transport-security'];
  headers['content-security-policy'] = headers['content-security-policy']?.replace(';upgrade-insecure-requests', '') ?? '';
  return headers;
}

describe('what browsers are told', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({ config: { auth: AUTH, rate_limits: { logins_per_minute: 1 }, limits: { body_bytes_max: 1_024 } } });
  });
  afterAll(() => server?.kill());

  it('is what helmet says, with answers of every kind', async () => {
    const json = { ...ADMIN, 'content-type': 'application/json' };
    const login = { method: 'POST', path: '/v1/auth/token', headers: json, body: JSON.stringify({ api_key: 'a', secret: 'b' }) };
    await sendRaw(server, login);
    const select = JSON.stringify({ sql: 'SELECT 1 AS x' });
    const kinds: [string, number, RawRequest][] = [
      ['health', 200, { method: 'GET', path: '/v1/health' }],
      ['HEAD', 200, { method: 'HEAD', path: '/v1/health' }],
      ['metrics', 200, { method: 'GET', path: '/metrics' }],
      ['a page of rows', 200, { method: 'POST', path: '/v1/query', headers: json, body: select }],
      ['a stream of rows', 200, { method: 'POST', path: '/v1/query', headers: { ...json, accept: 'text/csv' }, body: select }],
      ['Swagger UI', 200, { method: 'GET', path: '/api-docs' }],
      ['a script of it', 200, { method: 'GET', path: '/api-docs/swagger-ui-bundle.js' }],
      ['OpenAPI', 200, { method: 'GET', path: '/api-docs-json' }],
      ['no JSON', 400, { method: 'POST', path: '/v1/query', headers: json, body: '{' }],
      ['no path', 400, { method: 'GET', path: '/%zz' }],
      ['no credentials', 401, { method: 'GET', path: '/v1/tables' }],
      ['a name too long', 400, { method: 'GET', path: `/v1/tables/${'x'.repeat(5_000)}`, headers: ADMIN }],
      ['no route', 404, { method: 'GET', path: '/nowhere' }],
      ['no table', 404, { method: 'GET', path: '/v1/tables/nowhere', headers: ADMIN }],
      ['no such method', 405, { method: 'DELETE', path: '/v1/query' }],
      ['too large', 413, { method: 'POST', path: '/v1/query', headers: json, body: JSON.stringify({ sql: ' '.repeat(2_000) }) }],
      ['no such type', 415, { method: 'POST', path: '/v1/query', headers: { ...ADMIN, 'content-type': 'text/plain' }, body: 'x' }],
      ['too often', 429, login],
    ];
    const expected = helmetHeaders(false);
    expect(Object.keys(expected).length).toBeGreaterThan(8);
    for (const [what, status, request] of kinds) {
      const { headers, ...answer } = await sendRaw(server, request);
      expectSoftly(answer.status, what).toBe(status);
      expectSoftly(headers, what).toMatchObject(expected);
      for (const name of ['strict-transport-security', 'x-powered-by', 'server']) expectSoftly(headers, what).not.toHaveProperty(name);
      expectSoftly(headers['x-request-id'], what).toMatch(/^[\w-]{36}$/);
    }
  });

  it('lets Swagger UI load and run what its page names', async () => {
    const page = new URL('/api-docs', server.rest);
    const { headers, text } = await call(server, 'GET', '/api-docs');
    const policy = headers.get('content-security-policy') ?? '';
    const sources = pageSources(text, page);
    expect(sources.map(({ url }) => url?.pathname)).toEqual(
      expect.arrayContaining(['/api-docs/swagger-ui-bundle.js', '/api-docs/swagger-ui-init.js', '/api-docs/swagger-ui.css', undefined]),
    );
    expect(sources.filter((source) => !isAllowed(policy, source, page)).map(({ markup }) => markup)).toEqual([]);
    // Browsers take a script only as what it is said to be: nosniff.
    for (const { url, directives } of sources.filter((source) => source.url)) {
      const { status, headers: own } = await call({ rest: '' }, 'GET', String(url));
      const type = { 'script-src-elem': /javascript/, 'style-src-elem': /text\/css/, 'img-src': /image\// }[directives[0] ?? ''];
      expectThat(`${status} ${own.get('content-type')}`, url?.pathname).toMatch(new RegExp(`^200 .*${type?.source}`));
    }
    // The check itself tells good from bad.
    const [bad] = pageSources('<script>run()</script>', page);
    expect(bad && isAllowed(policy, bad, page)).toBe(false);
    const [foreign] = pageSources('<script src="https://example.com/x.js"></script>', page);
    expect(foreign && isAllowed(policy, foreign, page)).toBe(false);
  });
});

describe('pages of other origins', () => {
  const get = (server: RunningServer, origin: string, path = '/v1/health'): Promise<RawAnswer> =>
    sendRaw(server, { method: 'GET', path, headers: { origin } });
  const preflight = (server: RunningServer, origin: string): Promise<RawAnswer> =>
    sendRaw(server, {
      method: 'OPTIONS',
      path: '/v1/data',
      headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type,authorization' },
    });
  const listOf = (header: string | undefined): string[] => (header ?? '').toLowerCase().split(/\s*,\s*/);

  it('may use nothing where none is listed', async () => {
    await withServer({}, async (server) => {
      const answers = [
        await get(server, ORIGIN),
        await preflight(server, ORIGIN),
        await get(server, server.rest),
        await get(server, 'null'),
      ];
      for (const { headers } of answers) expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
    });
  });

  it('may use REST when they are listed, and see failures as well', async () => {
    const config = { server: { cors_origins: ['https://other.example.com', ORIGIN] }, auth: AUTH, rate_limits: { logins_per_minute: 1 } };
    await withServer(config, async (server) => {
      const before = await preflight(server, ORIGIN);
      expect(before.status).toBe(204);
      expect(before.headers['access-control-allow-origin']).toBe(ORIGIN);
      expect(listOf(before.headers['access-control-allow-methods'])).toEqual(expect.arrayContaining(['put', 'patch', 'delete', 'post']));
      expect(listOf(before.headers['access-control-allow-headers'])).toEqual(expect.arrayContaining(['content-type', 'authorization']));
      const login = { method: 'POST', path: '/v1/auth/token', headers: { origin: ORIGIN, 'content-type': 'application/json' }, body: '{}' };
      await sendRaw(server, login);
      const answers: [number, RawAnswer][] = [
        [200, await get(server, ORIGIN)],
        [401, await get(server, ORIGIN, '/v1/tables')],
        [404, await get(server, ORIGIN, '/nowhere')],
        [405, await get(server, ORIGIN, '/v1/query')],
        [429, await sendRaw(server, login)],
      ];
      for (const [status, { headers, ...answer }] of answers) {
        expectSoftly(answer.status).toBe(status);
        expectSoftly(headers['access-control-allow-origin'], `${status}`).toBe(ORIGIN);
        expectSoftly(listOf(headers['access-control-expose-headers']), `${status}`).toEqual(
          expect.arrayContaining(['x-request-id', 'retry-after']),
        );
        // What is stored for one origin must not be given to another.
        expectSoftly(listOf(headers.vary), `${status}`).toContain('origin');
        if (status === 429) expectSoftly(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
      }
    });
  });

  it('may not when they are not listed, however alike', async () => {
    await withServer({ server: { cors_origins: [ORIGIN] } }, async (server) => {
      const others = [
        'https://example.com',
        'http://app.example.com',
        `${ORIGIN}:8443`,
        `${ORIGIN}.evil.org`,
        'https://xapp.example.com',
        'null',
      ];
      for (const origin of others)
        for (const { headers } of [await get(server, origin), await preflight(server, origin)])
          expectThat(headers['access-control-allow-origin'], origin).toBeUndefined();
    });
  });

  it('may all with *, but not with what a browser keeps of its user', async () => {
    await withServer({ server: { cors_origins: ['*'] } }, async (server) => {
      for (const { headers } of [await get(server, ORIGIN), await preflight(server, 'https://example.com')]) {
        expect(headers['access-control-allow-origin']).toBe('*');
        expect(headers).not.toHaveProperty('access-control-allow-credentials');
      }
    });
  });

  it('are named as origins: anything else stops the start', async () => {
    expect(await refusalOf({ server: { cors_origins: [`${ORIGIN}/page`] } })).toContain('server.cors_origins');
  });
});

describe('reflection and health of gRPC', () => {
  const names = (answer: GrpcAnswer): string[] =>
    answer.ok
      ? ((answer.response['messages'] as JsonRow[])[0]?.['list_services_response'].service as JsonRow[]).map(({ name }) => name as string)
      : [nameOf(answer)];
  /** The product's own service, which they must not change: closed to strangers but for HealthCheck. */
  const expectOwnServiceClosed = async (server: RunningServer): Promise<void> => {
    const ask = async (method: string, headers?: Record<string, string>): Promise<string> =>
      nameOf(await overGrpc(server, (grpc) => grpc.unary(method, { sql: 'SELECT 1' }, headers)));
    const stream = await overGrpc(server, (grpc) => grpc.drain('StreamQuery', { sql: 'SELECT 1' }));
    expect(stream).toMatchObject({ ok: false, status: grpcStatus.UNAUTHENTICATED, errorCode: 'UNAUTHENTICATED' });
    expect(await Promise.all([ask('QueryData'), ask('QueryData', ADMIN), ask('HealthCheck')])).toEqual(['UNAUTHENTICATED', 'OK', 'OK']);
  };

  it('are open to everybody unless it is said otherwise', async () => {
    await withServer({ auth: AUTH }, async (server) => {
      expect(await checkHealth(server)).toMatchObject({ response: { status: 'SERVING' } });
      expect(await watchHealth(server)).toBe('SERVING');
      for (const version of ['v1', 'v1alpha'] as const)
        expectThat(names(await listServices(server, version)), version).toEqual(
          expect.arrayContaining([SERVICE, 'miniodb.v1.AuthService']),
        );
      await expectOwnServiceClosed(server);
    });
  });

  it('ask for credentials when they are guarded', async () => {
    await withServer({ auth: AUTH, server: { grpc_services: 'guarded' } }, async (server) => {
      const wrong = { ...ADMIN, 'x-api-secret': 'wrong' };
      for (const headers of [undefined, wrong, { authorization: 'Bearer x' }]) {
        expect(nameOf(await checkHealth(server, headers))).toBe('UNAUTHENTICATED');
        await expect(watchHealth(server, headers)).rejects.toMatchObject({ code: grpcStatus.UNAUTHENTICATED });
        for (const version of ['v1', 'v1alpha'] as const)
          expect(names(await listServices(server, version, headers))).toEqual(['UNAUTHENTICATED']);
        // A right one in between: wrong ones in a row are counted.
        expect(nameOf(await checkHealth(server, ADMIN))).toBe('OK');
      }
      const { access_token: token } = expectStatus(
        await call(server, 'POST', '/v1/auth/token', { api_key: 'admin', secret: ADMIN_SECRET }),
        200,
      ).json as JsonRow;
      for (const headers of [ADMIN, { authorization: `Bearer ${token as string}` }]) {
        expect(await checkHealth(server, headers)).toMatchObject({ response: { status: 'SERVING' } });
        expect(await watchHealth(server, headers)).toBe('SERVING');
        for (const version of ['v1', 'v1alpha'] as const) expect(names(await listServices(server, version, headers))).toContain(SERVICE);
      }
      await expectOwnServiceClosed(server);
    });
  });

  it('are no place to try secrets', async () => {
    const config = { auth: { ...AUTH, failures_max: 3 }, server: { grpc_services: 'guarded' } };
    await withServer(config, async (server) => {
      const attempts: string[] = [];
      for (let attempt = 0; attempt < 4; attempt++)
        attempts.push(nameOf(await checkHealth(server, { 'x-api-key': 'admin', 'x-api-secret': `guess ${attempt}` })));
      expect(attempts).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED', 'UNAUTHENTICATED', 'RESOURCE_EXHAUSTED']);
      // The same count stands before the other door, and right ones pass.
      expect((await call(server, 'GET', '/v1/tables', undefined, { ...ADMIN, 'x-api-secret': 'guess' })).status).toBe(429);
      expect((await call(server, 'GET', '/v1/tables', undefined, ADMIN)).status).toBe(200);
    });
  });
});

describe('a request that HTTP itself does not allow', () => {
  it.each([
    ['no HTTP at all', 'hello\r\n\r\n', /not a valid HTTP request/],
    ['another version', 'GET /v1/health HTTP/3.7\r\nhost: a\r\n\r\n', /not a valid HTTP request/],
    ['headers without end', `GET /v1/health HTTP/1.1\r\nhost: a\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`, /too long/],
    ['no Host', 'GET /v1/health HTTP/1.1\r\nconnection: close\r\n\r\n', /Host header is missing/],
    ['an unknown Expect', 'GET /v1/health HTTP/1.1\r\nhost: a\r\nexpect: tea\r\nconnection: close\r\n\r\n', /Expect: tea cannot be met/],
    [
      'a body after an unknown Expect',
      'POST /v1/data HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 2\r\n\r\n{}',
      /Expect: tea cannot be met/,
    ],
  ])('is refused like any other: %s', async (_name, request, says) => {
    await withServer({}, async (server) => {
      const [head = '', body = ''] = (await sendText(server, request)).split('\r\n\r\n');
      expect(head).toMatch(/^HTTP\/1\.1 400 /);
      expect(head).toMatch(/^connection: close$/im);
      const error = JSON.parse(body) as JsonRow;
      expect(error).toMatchObject({ error: 'INVALID_ARGUMENT', code: 400, message: expect.stringMatching(says) });
      expect(head.split('\r\n').map((line) => line.toLowerCase())).toContain(`x-request-id: ${error['request_id']}`);
    });
  });
});

describe('connections', () => {
  it('past server.connections_max are closed as they come, and taken again when others have gone', async () => {
    await withServer({ server: { connections_max: 2 } }, async (server) => {
      const { hostname, port } = new URL(server.rest);
      const connect = async (): Promise<Socket> => {
        const socket = createConnection(Number(port), hostname);
        socket.on('error', () => undefined);
        await once(socket, 'connect');
        return socket;
      };
      const held = [await connect(), await connect()];
      // The server has taken them once it answers on each.
      for (const socket of held) {
        socket.write('GET /v1/health/live HTTP/1.1\r\nhost: x\r\n\r\n');
        await once(socket, 'data');
      }
      await once(await connect(), 'close');
      held[0]?.destroy();
      await eventually(
        'a connection is taken again',
        () => restStatus(server, { method: 'GET', path: '/v1/health/live' }),
        (status) => status === 200,
      );
      expect(server.output()).toContain('server.connections_max');
      held[1]?.destroy();
    });
  });
});

describe('open files', () => {
  it('that are fewer than idle connections do not end the server, which answers again when they have gone', async () => {
    const server = await startServer({ openFilesMax: 1_024, config: { auth: AUTH } });
    const grpc = connectGrpc(server, SERVICE);
    try {
      const idle: Socket[] = [];
      for (const [host, port] of [new URL(server.rest), new URL(`http://${server.grpc}`)].map(
        ({ hostname, port }) => [hostname, port] as const,
      ))
        for (let count = 0; count < 700; count += 1) {
          const socket = createConnection(Number(port), host);
          socket.on('error', () => undefined);
          idle.push(socket);
        }
      await eventually(
        'connections beyond what files leave are closed',
        () => idle.filter(({ destroyed }) => destroyed).length,
        (closed) => closed >= 700,
      );
      expect(idle.filter(({ destroyed }) => !destroyed).length).toBeGreaterThan(300);
      expect(server.output()).toContain('limit of open files');
      for (const socket of idle) socket.destroy();
      await eventually(
        'REST answers',
        () => restStatus(server, { method: 'GET', path: '/v1/tables', headers: ADMIN }),
        (status) => status === 200,
      );
      await eventually(
        'gRPC answers',
        () => grpc.unary('HealthCheck', {}),
        ({ ok }) => ok,
      );
      expectSuccess(await call(server, 'POST', '/v1/data', { table: 'after', id: 'a', payload: { v: 1 } }, ADMIN));
      expectSuccess(await call(server, 'POST', '/v1/tables/after/flush', undefined, ADMIN));
    } finally {
      grpc.close();
      await server.kill();
    }
  });

  it('that are too few are named at the start', async () => {
    await expect(startServer({ openFilesMax: 500 })).rejects.toThrow(
      /limit of open files is 500 \(ulimit -n\); the server needs at least 768/,
    );
  });
});

/** Sends a head that promises a body, and what comes of it; what was sent stays open. */
async function promiseBody(server: RunningServer, route: string, headers: Record<string, string>, body = ''): Promise<Promised> {
  const { hostname, port } = new URL(server.rest);
  const socket = createConnection(Number(port), hostname);
  const promised: Promised = { socket, answer: '', isClosed: false };
  socket.on('error', () => undefined);
  socket.on('data', (bytes: Buffer) => (promised.answer += bytes.toString()));
  socket.once('close', () => (promised.isClosed = true));
  await once(socket, 'connect');
  const lines = Object.entries({ host: 'x', 'content-type': 'application/json', ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.write(`${route} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  return promised;
}

interface Promised {
  readonly socket: Socket;
  answer: string;
  isClosed: boolean;
}

describe('bodies', () => {
  const LARGE = { 'content-length': String(15 * 1_024 * 1_024) };

  it('are not waited for where the caller may not ask, or nobody may', async () => {
    await withServer({ auth: AUTH }, async (server) => {
      const { secret } = expectSuccess(await call(server, 'POST', '/v1/auth/keys', { api_key: 'reads', role: 'reader' }, ADMIN))
        .json as JsonRow;
      const reader = { 'x-api-key': 'reads', 'x-api-secret': String(secret) };
      for (const [route, headers, expected] of [
        ['POST /v1/query', {}, /^HTTP\/1.1 401 .*www-authenticate: Bearer.*"UNAUTHENTICATED"/is],
        ['POST /v1/query', { 'transfer-encoding': 'chunked' }, /^HTTP\/1.1 401 /],
        ['POST /v1/query', { 'content-length': '5000', 'content-encoding': 'gzip' }, /^HTTP\/1.1 401 /],
        ['POST /v1/data', { ...reader }, /^HTTP\/1.1 403 .*"PERMISSION_DENIED"/s],
        ['POST /v1/auth/keys', { ...reader }, /^HTTP\/1.1 403 /],
        ['DELETE /v1/auth/token', {}, /^HTTP\/1.1 401 /],
        ['POST /v1/nothing', {}, /^HTTP\/1.1 404 .*no route for POST \/v1\/nothing/s],
        ['POST /v1/tables/x', {}, /^HTTP\/1.1 405 /],
        ['POST /v1/auth/token', {}, /^HTTP\/1.1 413 /],
        ['POST /v1/auth/refresh', {}, /^HTTP\/1.1 413 /],
      ] as const) {
        const isChunked = 'transfer-encoding' in headers;
        const promised = await promiseBody(
          server,
          route,
          isChunked ? headers : { ...LARGE, ...headers },
          isChunked ? '4\r\n[{},\r\n' : '[{},',
        );
        await eventually(
          `${route} is answered`,
          () => promised.answer,
          (answer) => expected.test(answer),
        );
        promised.socket.destroy();
      }
      expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT 1' }, reader), 200);
    });
  });

  it('that anybody may send are small, also when they are unpacked', async () => {
    await withServer({ auth: AUTH }, async (server) => {
      const ask = async (body: Buffer): Promise<number> => {
        const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
        return (await fetch(`${server.rest}/v1/auth/token`, { method: 'POST', headers, body: new Uint8Array(body) })).status;
      };
      const login = JSON.stringify({ api_key: 'admin', api_secret: 'wrong' });
      expect(await ask(gzipSync(login))).toBe(401);
      expect(await ask(gzipSync(login + ' '.repeat(65_536)))).toBe(413);
    });
  });

  it('that stall or drip are cut off, and slow ones are taken', async () => {
    await withServer({ server: { body_idle_seconds: 1 } }, async (server) => {
      const ndjson = { 'content-type': 'application/x-ndjson', 'transfer-encoding': 'chunked' };
      const stalled = await promiseBody(server, 'POST /v1/query', LARGE, '{"sql":');
      const stalledBulk = await promiseBody(server, 'POST /v1/data/bulk?table=slow', ndjson, '5\r\n{"id"\r\n');
      const dripping = await promiseBody(server, 'POST /v1/query', LARGE);
      const steady = await promiseBody(server, 'POST /v1/data/bulk?table=slow', ndjson);
      const line = `${JSON.stringify({ id: 'a', text: 'x'.repeat(80) })}\n`;
      const chunk = `${line.length.toString(16)}\r\n${line}\r\n`;
      let sent = 0;
      const drip = setInterval(() => {
        if (!dripping.isClosed) dripping.socket.write('x');
        if (sent < 20) steady.socket.write((sent += 1) < 20 ? chunk : '0\r\n\r\n');
      }, 150);
      try {
        for (const [what, promised] of Object.entries({ stalled, stalledBulk, dripping }))
          await eventually(
            `${what} is closed`,
            () => promised.isClosed,
            (isClosed) => isClosed,
          );
        await eventually(
          'the slow one is answered',
          () => steady.answer,
          (answer) => /^HTTP\/1.1 200 .*"count":19|"inserted":19/s.test(answer),
        );
      } finally {
        clearInterval(drip);
      }
      expect(server.output()).toContain('server.body_idle_seconds');
    });
  });
});

describe('rate limits', () => {
  const SELECT = { sql: 'SELECT 1 AS x' };
  const query = (server: RunningServer, headers: Record<string, string> = {}): Promise<Answer> =>
    call(server, 'POST', '/v1/query', SELECT, headers);
  const queryGrpc = (server: RunningServer, headers?: Record<string, string>): Promise<GrpcAnswer> =>
    overGrpc(server, (grpc) => grpc.unary('QueryData', SELECT, headers));
  const streamGrpc = (server: RunningServer, headers?: Record<string, string>): Promise<GrpcAnswer> =>
    overGrpc(server, (grpc) => grpc.drain('StreamQuery', SELECT, headers));
  const expectRefused = (answer: Answer | GrpcAnswer, ...parts: readonly string[]): void => {
    const isRest = 'headers' in answer;
    if (isRest) expect(answer).toMatchObject({ status: 429, json: { error: 'RESOURCE_EXHAUSTED' } });
    else expect(answer).toMatchObject({ ok: false, status: grpcStatus.RESOURCE_EXHAUSTED, errorCode: 'RESOURCE_EXHAUSTED' });
    const { message, retryAfter } = isRest
      ? { message: answer.json.message as string, retryAfter: answer.headers.get('retry-after') }
      : (answer as { message: string; retryAfter?: string });
    expect(retryAfter).toMatch(/^\d+$/);
    expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(retryAfter)).toBeLessThanOrEqual(60);
    for (const part of parts) expect(message).toContain(part);
  };

  it('count the queries of a key, whatever it shows and through whichever door it comes', async () => {
    await withServer({ auth: AUTH, rate_limits: { queries_per_minute: 6 } }, async (server) => {
      const makeKey = async (): Promise<Record<string, string>> => {
        const { api_key: key, secret } = expectSuccess(await call(server, 'POST', '/v1/auth/keys', { role: 'writer' }, ADMIN))
          .json as JsonRow;
        return { 'x-api-key': key as string, 'x-api-secret': secret as string };
      };
      const [mine, other] = [await makeKey(), await makeKey()];
      const login = await call(server, 'POST', '/v1/auth/token', { api_key: mine['x-api-key'], secret: mine['x-api-secret'] });
      const bearer = { authorization: `Bearer ${expectStatus(login, 200).json.access_token as string}` };
      // Somebody who only says that it is this key takes nothing from it.
      expect((await query(server, { ...mine, 'x-api-secret': 'wrong' })).status).toBe(401);
      expectStatus(await query(server, mine), 200);
      expectStatus(await query(server, { ...mine, accept: 'application/x-ndjson' }), 200);
      expectStatus(await query(server, bearer), 200);
      expect(nameOf(await queryGrpc(server, mine))).toBe('OK');
      expect(nameOf(await queryGrpc(server, bearer))).toBe('OK');
      expect(await streamGrpc(server, mine)).toMatchObject({ ok: true, response: { messages: [{}] } });
      const refused = [
        await query(server, mine),
        await query(server, bearer),
        await query(server, { ...mine, accept: 'text/csv' }),
        await queryGrpc(server, mine),
        await streamGrpc(server, mine),
        await streamGrpc(server, bearer),
      ];
      for (const answer of refused) expectRefused(answer, 'rate_limits.queries_per_minute', `key ${mine['x-api-key']}`, '6');
      // Others go on, and so does everything else of this key.
      for (const headers of [other, ADMIN]) expectStatus(await query(server, headers), 200);
      expect(nameOf(await queryGrpc(server, other))).toBe('OK');
      for (let id = 0; id < 8; id++)
        expectSuccess(await call(server, 'POST', '/v1/data', { table: 'written', id: `r${id}`, payload: {} }, mine));
      const written = await overGrpc(server, (grpc) => grpc.unary('WriteData', { table: 'written', data: { id: 'g' } }, mine));
      expect(nameOf(written)).toBe('OK');
      expectStatus(await call(server, 'GET', '/v1/tables', undefined, mine), 200);
      expectRefused(await query(server, mine));
    });
  });

  it('count the queries of an address where nobody says who they are', async () => {
    await withServer({ rate_limits: { queries_per_minute: 3 } }, async (server) => {
      expectStatus(await query(server), 200);
      expect([nameOf(await queryGrpc(server)), nameOf(await streamGrpc(server))]).toEqual(['OK', 'OK']);
      const claims: Record<string, string>[] = [
        {},
        { 'x-api-key': 'another' },
        { 'x-forwarded-for': '10.1.2.3' },
        { forwarded: 'for=10.1.2.3' },
      ];
      for (const headers of claims) {
        const parts = ['rate_limits.queries_per_minute', 'address 127.0.0.1'];
        expectRefused(await query(server, headers), ...parts);
        expectRefused(await queryGrpc(server, headers), ...parts);
        expectRefused(await streamGrpc(server, headers), ...parts);
      }
      await write(server, 'written', 'a');
      const headers = { 'content-type': 'application/json' };
      const elsewhere = { method: 'POST', path: '/v1/query', headers, body: JSON.stringify(SELECT), localAddress: '127.0.0.2' };
      expect((await sendRaw(server, elsewhere)).status).toBe(200);
    });
  });

  it('are not there when they are 0', async () => {
    await withServer({ auth: AUTH, rate_limits: { queries_per_minute: 0, logins_per_minute: 0 } }, async (server) => {
      for (let turn = 0; turn < 130; turn++) {
        const answer = await call(server, 'POST', '/v1/auth/token', { api_key: 'admin', secret: ADMIN_SECRET });
        if (answer.status !== 200) throw new Error(`login ${turn}: ${answer.text}`);
      }
    });
  });

  it('count the logins of an address, right and wrong, and its refreshes', async () => {
    const config = { auth: { ...AUTH, failures_max: 1_000 }, rate_limits: { logins_per_minute: 7 } };
    await withServer(config, async (server) => {
      const auth = connectGrpc(server, 'miniodb.v1.AuthService');
      try {
        const right = { api_key: 'admin', secret: ADMIN_SECRET };
        const wrong = { api_key: 'admin', secret: 'wrong' };
        const logIn = (body: JsonRow): Promise<Answer> => call(server, 'POST', '/v1/auth/token', body);
        const refresh = (token: unknown): Promise<Answer> => call(server, 'POST', '/v1/auth/refresh', { refresh_token: token });
        const first = expectStatus(await logIn(right), 200).json as JsonRow;
        expectStatus(await logIn(wrong), 401);
        expectStatus(await logIn({ api_key: 'nobody', secret: 'wrong' }), 401);
        const second = expectStatus(await refresh(first['refresh_token']), 200).json as JsonRow;
        expectStatus(await refresh('wrong'), 401);
        expect(nameOf(await auth.unary('GetToken', wrong))).toBe('UNAUTHENTICATED');
        expect(nameOf(await auth.unary('RefreshToken', { refresh_token: second['refresh_token'] }))).toBe('OK');
        const refused = [
          await logIn(right),
          await logIn(wrong),
          await refresh(second['refresh_token']),
          await call(server, 'POST', '/v1/auth/token', right, { 'x-forwarded-for': '10.1.2.3', ...ADMIN }),
          await auth.unary('GetToken', right),
          await auth.unary('RefreshToken', { refresh_token: second['refresh_token'] }, ADMIN),
        ];
        for (const answer of refused) expectRefused(answer, 'rate_limits.logins_per_minute', 'address 127.0.0.1', '7');
        // Who is in already stays in.
        expectStatus(await query(server, { authorization: `Bearer ${second['access_token'] as string}` }), 200);
        expectStatus(await query(server, ADMIN), 200);
        const headers = { 'content-type': 'application/json' };
        const elsewhere = { method: 'POST', path: '/v1/auth/token', headers, body: JSON.stringify(right), localAddress: '127.0.0.2' };
        expect((await sendRaw(server, elsewhere)).status).toBe(200);
      } finally {
        auth.close();
      }
    });
  });
});
