/**
 * The OpenAPI document is what people and generated clients go by, so it has to be complete, and true of what the server answers. Every example in it is
 * sent as it stands; then thousands of requests that it allows, and such that it does not, drawn from a seed. Whatever comes back must be an answer that
 * the document has: its status, its content type, each field of its body. A failing run prints the seed; SEED=... repeats it.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { QUIET } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { AnswerJudge } from './support/openapi-answers.js';
import {
  type Content,
  type OpenApiDocument,
  type Operation,
  operationsOf,
  parametersIn,
  type Schema,
  servedDocument,
} from './support/openapi-document.js';
import { broken, trippedBodies } from './support/openapi-faults.js';
import { type DrawnRequest, type KnownValues, RequestGenerator, toRaw } from './support/openapi-values.js';
import { type RawAnswer, type RawRequest, sendRaw } from './support/raw-request.js';
import { eventually, expectSuccess, type JsonRow } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { call, type RunningServer, startServer } from './support/server.js';

const COMMITTED = fileURLToPath(new URL('../docs/openapi.json', import.meta.url));
/** For each operation; more with OPENAPI_REQUESTS=... */
const REQUESTS = Number(process.env['OPENAPI_REQUESTS'] ?? 32);
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'];

/** The contract's operations. The document may have more. */
const CONTRACT = [
  ...['POST', 'PUT', 'DELETE'].map((method) => `${method} /v1/data`),
  ...['POST /v1/data/bulk', 'POST /v1/data/restore', 'POST /v1/query', 'GET /v1/queries', 'DELETE /v1/queries/{id}'],
  ...['POST /v1/tables', 'GET /v1/tables'],
  ...['GET', 'PATCH', 'DELETE'].map((method) => `${method} /v1/tables/{name}`),
  ...['POST /v1/tables/{name}/flush', 'POST /v1/tables/{name}/compact', 'GET /v1/tables/{name}/history'],
  ...['POST /v1/metadata/backup', 'POST /v1/metadata/restore', 'GET /v1/metadata/backups', 'GET /v1/metadata/status'],
  ...['POST /v1/backups', 'GET /v1/backups', 'DELETE /v1/backups/{id}', 'POST /v1/recover'],
  ...[
    'GET /v1/health',
    'GET /v1/health/live',
    'GET /v1/health/ready',
    'GET /v1/status',
    'GET /v1/stats',
    'GET /v1/metrics',
    'GET /metrics',
  ],
  ...['POST /v1/auth/token', 'POST /v1/auth/refresh', 'DELETE /v1/auth/token', 'POST /v1/auth/keys', 'GET /v1/auth/keys'],
  ...['GET', 'PATCH', 'DELETE'].map((method) => `${method} /v1/auth/keys/{api_key}`),
  'POST /v1/auth/keys/{api_key}/rotate',
];

/** The server that is swept has no authentication, so that no request locks the others out. */
const TOKENS = ['POST /v1/auth/token', 'POST /v1/auth/refresh', 'DELETE /v1/auth/token'];

/** What has to be done before the others, and what takes away what they need. The rest goes between, in the document's order. */
const FIRST = [
  'POST /v1/auth/keys',
  'POST /v1/tables',
  'POST /v1/data',
  'POST /v1/data/bulk',
  'POST /v1/metadata/backup',
  'POST /v1/backups',
];
const LAST = [
  'DELETE /v1/data',
  'POST /v1/data/restore',
  'DELETE /v1/backups/{id}',
  'DELETE /v1/tables/{name}',
  'DELETE /v1/auth/keys/{api_key}',
];

/** Runs for ages, yet can be interrupted. */
const ENDLESS = 'SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';

/** Names of what is there, and of what is not. */
const KNOWN: KnownValues = {
  table: ['users', 'users', 'products', 'USERS', 'made_by_a_write', 'select'],
  table_name: ['users', 'products', 'orders', 't1', 't2', 'group'],
  target_table: ['users_recovered', 'users'],
  name: ['users', 'users', 'products', 'no_such_table'],
  api_key: ['dashboard-1', 'dashboard-2', 'admin'],
  rows: ["country = 'DE'", 'true', 'age > 30 AND', "read_text('/etc/passwd') IS NULL"],
  id: ['user-123', 'user-124', 'product-1'],
  ids: [['user-123'], ['user-123', 'user-124'], ['nobody']],
  sql: [
    'SELECT * FROM users',
    'SELECT count(*) AS n FROM users',
    'FROM products',
    'SELECT 1 AS a, NULL AS b, 1e400::DOUBLE AS c, 170141183460469231731687303715884105727::HUGEINT AS d',
    'SELECT i, repeat($1, 10) AS r FROM range(50) t(i)',
    'SELECT * FROM no_such_table',
    'SELEC',
    "SELECT read_text('/etc/passwd')",
    'DROP TABLE users',
  ],
  cursor: [''],
  as_of: [0, 1, '0', '2099-01-01T00:00:00Z', '1999-01-01T00:00:00Z'],
  backup_id: ['', 'data_20240115_103000'],
  node_id: ['', 'nobody'],
  backup_file: ['', 'backup_*.json', 'backup_20240115_103000.json'],
  table_pattern: ['users', 'u*', '[a-u]*', '{users,products}'],
  tables: [['users'], ['*'], ['no_such_table']],
  start_date: ['2024-01-01', '2024-01-01T00:00:00Z'],
  end_date: ['2024-01-02', '2099-01-01T00:00:00+02:00'],
  timeout_ms: [1, 1_000, 30_000],
  sort_by: [['id'], ['timestamp', 'id']],
  pattern: ['[a-z]+', 'user*'],
  allowed_chars: ['a-z0-9-'],
};

let server: RunningServer;
let document: OpenApiDocument;
let operations: Operation[];
let judge: AnswerJudge;

beforeAll(async () => {
  server = await startServer({ config: { ...QUIET, limits: { body_bytes_max: 262_144 } } });
  document = await servedDocument(server);
  operations = operationsOf(document);
  judge = new AnswerJudge(document);
});

afterAll(async () => {
  await server?.stop();
});

/** What the others need: two tables with rows in them. */
async function seed(): Promise<void> {
  const records = ['user-123', 'user-124'].map((id, index) => ({ id, timestamp: '2024-01-01T10:00:00Z', payload: { age: 30 + index } }));
  for (const table of ['users', 'products']) {
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: table, if_not_exists: true }));
    await call(server, 'PUT', '/v1/data', { table, id: 'user-123', payload: { age: 30 } });
  }
  await call(server, 'POST', '/v1/data', { table: 'users', records });
  await call(server, 'POST', '/v1/auth/keys', { api_key: 'dashboard-1', role: 'reader' });
}

function shown(request: RawRequest): string {
  const { method, path, headers, body } = request;
  return JSON.stringify({ method, path, headers, body: typeof body === 'string' ? body : body?.toString('latin1') }).slice(0, 1_500);
}

/* ---------------------------------------------------------------------------------------------------------- the document */

test('docs/openapi.json is the document that the server serves', () => {
  const committed = JSON.parse(readFileSync(COMMITTED, 'utf8')) as unknown;
  expectThat(committed, 'docs/openapi.json differs from what the built server serves: run "npm run openapi" and commit the file').toEqual(
    document,
  );
});

describe('the document', () => {
  test('has every operation of the contract', () => {
    expect(operations.map(({ name }) => name)).toEqual(expect.arrayContaining(CONTRACT));
  });

  test('says of every operation what it takes and what it answers', () => {
    expect(operations.flatMap(gapsIn)).toEqual([]);
  });

  test('has examples that fit their schemas', () => {
    const faults = operations.flatMap((operation) =>
      Object.entries(operation.body).flatMap(([type, content]) => exampleFaults(operation, type, content)),
    );
    const inSchemas = Object.entries(document.components.schemas).flatMap(([name, { properties = {} }]) =>
      Object.entries(properties).flatMap(([field, schema]) =>
        schema.example === undefined ? [] : (judge.schemaFault(['components', 'schemas', name, 'properties', field], schema.example) ?? []),
      ),
    );
    expect([...faults, ...inSchemas]).toEqual([]);
  });
});

function gapsIn(operation: Operation): string[] {
  const { name, summary, parameters, body, responses } = operation;
  const gaps: string[] = [];
  const unless = (isThere: boolean, gap: string): void => void (isThere || gaps.push(`${name}: ${gap}`));
  unless(summary !== '', 'no summary');
  unless('200' in responses, 'no success');
  unless('500' in responses && '503' in responses, 'no 500 or 503');
  for (const { name: parameter, schema, in: place, description } of parameters) {
    unless(schema.type !== undefined || schema.oneOf !== undefined, `parameter ${parameter} has no type`);
    unless(place !== 'header' || description !== undefined, `header ${parameter} has no description`);
    unless(!/^(accept|content-type|authorization)$/i.test(parameter), `header ${parameter} is not for parameters`);
  }
  for (const [type, { schema = {}, examples = {} }] of Object.entries(body)) {
    unless(schema.$ref !== undefined || schema.type !== undefined, `the body as ${type} has no schema`);
    unless(schema.format === 'binary' || Object.keys(examples).length > 0, `the body as ${type} has no example`);
  }
  if (operation.method !== 'GET')
    for (const status of ['400', '413', '415']) unless(status in responses, `no ${status}, which any body may get`);
  if (operation.path.includes('{'))
    for (const status of ['400', '404']) unless(status in responses, `no ${status}, which any name may get`);
  for (const [status, { content = {}, headers = {}, description }] of Object.entries(responses)) {
    const schemas = Object.values(content).map(({ schema }) => schema);
    unless(schemas.length > 0 && schemas.every((schema) => schema !== undefined), `${status} has no schema`);
    if (status === '200') continue;
    const isHealth = name.startsWith('GET /v1/health') && status === '503';
    unless(isHealth || description !== '', `${status} has no description`);
    unless(isHealth || schemas[0]?.$ref?.endsWith('/ErrorDto') === true, `${status} has another body than ErrorDto`);
    unless(isHealth || !['429', '503'].includes(status) || 'Retry-After' in headers, `${status} without Retry-After`);
  }
  return gaps;
}

function exampleFaults({ name, path, method }: Operation, type: string, { examples = {} }: Content): string[] {
  const place = ['paths', path, method.toLowerCase(), 'requestBody', 'content', type, 'schema'];
  return Object.entries(examples).flatMap(([title, { value }]) => {
    const fault = judge.schemaFault(place, value);
    return fault === undefined ? [] : `${name}, ${type}, ${title}: ${fault}`;
  });
}

/* ---------------------------------------------------------------------------------------------------------- its examples */

test('every example works as it stands', async () => {
  const rank = ({ name }: Operation): number =>
    FIRST.includes(name) ? FIRST.indexOf(name) - 100 : LAST.includes(name) ? 100 + LAST.indexOf(name) : 0;
  const inOrder = [...operations].sort((left, right) => rank(left) - rank(right));
  expect(inOrder.slice(0, FIRST.length).map(({ name }) => name)).toEqual(FIRST);
  const faults: string[] = [];
  for (const operation of inOrder.filter(({ name }) => !TOKENS.includes(name))) {
    const path = await namesInPath(operation);
    for (const request of examplesOf(operation, path)) {
      const answer = await sendRaw(server, request);
      const fault = answer.status > 299 ? `${answer.status} ${answer.text}` : judge.faultOf(operation, answer);
      if (fault !== undefined) faults.push(`${operation.name}: ${shown(request)} got ${fault.slice(0, 500)}`);
    }
  }
  expect(faults).toEqual([]);
});

/** The documented names, or where it cannot know one that there is. */
async function namesInPath({ name, parameters }: Operation): Promise<Record<string, string>> {
  if (name === 'DELETE /v1/queries/{id}') {
    void call(server, 'POST', '/v1/query', { sql: ENDLESS });
    const list = async (): Promise<JsonRow[]> => (await call(server, 'GET', '/v1/queries')).json.queries as JsonRow[];
    const [running] = await eventually('a query runs', list, (queries) => queries.length > 0);
    return { id: String(running?.['query_id']) };
  }
  if (name === 'DELETE /v1/backups/{id}') return { id: String((await call(server, 'GET', '/v1/backups')).json.backups[0].backup_id) };
  return Object.fromEntries(parameters.filter((each) => each.in === 'path').map((each) => [each.name, String(each.schema.example)]));
}

/** Each body with the parameters that are needed; all parameters at once; each format of the answer. */
function examplesOf(operation: Operation, path: Record<string, string>): RawRequest[] {
  const parametersOf = (isWanted: (schema: Schema, isRequired: boolean) => boolean): [string, string][] =>
    parametersIn(operation, 'query')
      .filter(({ schema, required = false }) => isWanted(schema, required))
      .map(({ name, schema }) => [name, String(schema.example)]);
  const needed = parametersOf((_schema, isRequired) => isRequired);
  const all = parametersOf(({ example }) => example !== undefined);
  const bodies = Object.entries(operation.body).flatMap(([mediaType, { examples = {} }]) =>
    Object.values(examples).map(({ value }) => ({ mediaType, body: value })),
  );
  const requests: DrawnRequest[] = bodies.map((body) => ({ path, query: needed, headers: {}, ...body }));
  const [first] = bodies;
  if (all.length > needed.length) requests.push({ path, query: all, headers: {}, ...(operation.isBodyRequired ? first : {}) });
  const formats = Object.keys(operation.responses['200']?.content ?? {});
  if (formats.length > 1) requests.push(...formats.map((accept) => ({ path, query: needed, headers: { accept }, ...first })));
  if (requests.length === 0) requests.push({ path, query: needed, headers: {} });
  return requests.map((request) => toRaw(operation, request));
}

test('the examples of tokens work where there is authentication', async () => {
  const guarded = await startServer({ config: { ...QUIET, auth: { mode: 'api_key', admin_secret: 'the-secret-of-the-key' } } });
  try {
    let headers: Record<string, string> = {};
    let pair: JsonRow = {};
    for (const operation of TOKENS.flatMap((name) => operations.filter((each) => each.name === name))) {
      const [example] = Object.values(operation.body['application/json']?.examples ?? {}) as { value: JsonRow }[];
      const body = { ...example?.value };
      if ('refresh_token' in body) body['refresh_token'] = pair['refresh_token'];
      const raw = toRaw(operation, { path: {}, query: [], headers, mediaType: 'application/json', body });
      const answer = await sendRaw(guarded, raw);
      expectThat(`${answer.status} ${judge.faultOf(operation, answer) ?? ''}`, operation.name).toBe('200 ');
      pair = JSON.parse(answer.text) as JsonRow;
      if ('access_token' in pair) headers = { authorization: `Bearer ${String(pair['access_token'])}` };
    }
    // The login has ended.
    for (const operation of operations) {
      const { name, method, path, isOpen } = operation;
      const closed = await sendRaw(guarded, { method, path: path.replace(/\{\w+\}/, 'users'), headers });
      expectThat(closed.status === 401, `${name}: ${closed.status}`).toBe(!isOpen && path !== '/metrics');
      expectThat(judge.faultOf(operation, closed), name).toBeUndefined();
    }
  } finally {
    await guarded.stop();
  }
});

test('a result comes in the format that was asked for', async () => {
  const operation = operations.find(({ name }) => name === 'POST /v1/query');
  for (const accept of Object.keys(operation?.responses['200']?.content ?? {})) {
    const answer = await call(server, 'POST', '/v1/query', { sql: 'SELECT 1 AS a' }, { accept });
    expect(answer.headers.get('content-type')?.split(';')[0]).toBe(accept);
    expectThat(answer.headers.has('x-query-id'), accept).toBe(accept !== 'application/json');
  }
});

/* ---------------------------------------------------------------------------------------------------------- random requests */

interface Sweep {
  readonly faults: string[];
  readonly statuses: Map<string, Map<number, number>>;
}

/** Sends requests of every operation and judges each answer. */
async function sweep(
  seedNumber: number,
  draw: (operation: Operation, generator: RequestGenerator, random: SeededRandom) => SweepRequest,
): Promise<Sweep> {
  const random = new SeededRandom(seedNumber);
  const faults: string[] = [];
  const statuses = new Map<string, Map<number, number>>();
  for (const operation of operations) {
    // Of its own, so that a longer run begins with the requests of a shorter one.
    const own = random.fork();
    const generator = new RequestGenerator(document, KNOWN, own);
    for (let count = 0; count < requestsOf(operation); count += 1) {
      if (count % 20 === 0) await seed();
      const request = draw(operation, generator, own);
      const answer = await sendRaw(server, request.raw);
      const fault = faultOf(operation, request, answer);
      if (fault !== undefined) faults.push(`${operation.name}, ${request.what}: ${shown(request.raw)} got ${fault}`);
      const counts = statuses.get(operation.name) ?? new Map<number, number>();
      statuses.set(operation.name, counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1));
    }
  }
  const byHundred = new Map<number, number>();
  for (const [status, count] of [...statuses.values()].flatMap((counts) => [...counts]))
    byHundred.set(Math.floor(status / 100), (byHundred.get(Math.floor(status / 100)) ?? 0) + count);
  const figures = [...byHundred].sort(([left], [right]) => left - right).map(([hundred, count]) => `${count} times ${hundred}xx`);
  console.log(`sweep of ${operations.length} operations: ${figures.join(', ')}; ${faults.length} faults`);
  return { faults, statuses };
}

/** Backups cost a hundred times as much as others, listing them costs by their number, and there is one name for each second. */
function requestsOf({ path }: Operation): number {
  return /backup|recover/.test(path) ? Math.ceil(REQUESTS / 4) : REQUESTS;
}

interface SweepRequest {
  readonly raw: RawRequest;
  readonly what: string;
  readonly isHopeless: boolean;
}

function faultOf(operation: Operation, { isHopeless }: SweepRequest, answer: RawAnswer): string | undefined {
  const seen = `${answer.status} ${answer.text.slice(0, 500)}`;
  if (answer.status >= 500 && answer.status !== 504) return seen;
  if (isHopeless && answer.status < 400) return `${seen}, which is no refusal`;
  const fault = judge.faultOf(operation, answer);
  return fault === undefined ? undefined : `${fault}: ${seen}`;
}

function total({ statuses }: Sweep): number {
  return [...statuses.values()].flatMap((counts) => [...counts.values()]).reduce((sum, count) => sum + count, 0);
}

test('no field of a body trips the server up', async () => {
  const faults: string[] = [];
  let count = 0;
  for (const operation of operations) {
    for (const body of trippedBodies(document, operation)) {
      if (count++ % 20 === 0) await seed();
      const raw = { ...toRaw(operation, { path: { name: 'users' }, query: [], headers: { 'content-type': 'application/json' } }), body };
      const fault = faultOf(operation, { raw, what: 'a field', isHopeless: false }, await sendRaw(server, raw));
      if (fault !== undefined) faults.push(`${operation.name}: ${shown(raw)} got ${fault}`);
    }
  }
  expect(faults.slice(0, 20)).toEqual([]);
  expect(count).toBeGreaterThan(800);
});

describe('random requests', () => {
  const seedNumber = seedOfThisRun();

  test('that the schemas allow get answers that are documented', async () => {
    const seen = await sweep(seedNumber, (operation, generator) => ({
      raw: toRaw(operation, generator.draw(operation)),
      what: 'valid',
      isHopeless: false,
    }));
    expectThat(seen.faults.slice(0, 20), `SEED=${seedNumber}`).toEqual([]);
    expect(total(seen)).toBe(operations.reduce((sum, operation) => sum + requestsOf(operation), 0));
    const neverSuccessful = [...seen.statuses].filter(([, counts]) => !counts.has(200)).map(([name]) => name);
    // Nothing of that name runs or is there.
    expectThat(neverSuccessful.sort(), `SEED=${seedNumber}`).toEqual(
      [...TOKENS, 'DELETE /v1/backups/{id}', 'DELETE /v1/queries/{id}'].sort(),
    );
  });

  test('that are broken are refused as documented, or do no harm', async () => {
    const seen = await sweep(seedNumber, (operation, generator, random) => {
      const { fault, isHopeless, ...raw } = broken(operation, generator.draw(operation), random);
      return { raw, what: fault, isHopeless };
    });
    expectThat(seen.faults.slice(0, 20), `SEED=${seedNumber}`).toEqual([]);
    const neverRefused = [...seen.statuses]
      .filter(([, counts]) => [...counts.keys()].every((status) => status < 400))
      .map(([name]) => name);
    expectThat(
      neverRefused.every((name) => name.startsWith('GET ')),
      neverRefused.join(),
    ).toBe(true);
  });
});

/* ---------------------------------------------------------------------------------------------------------- no operation */

test('another method of a path is refused with those it has', async () => {
  const faults: string[] = [];
  for (const path of Object.keys(document.paths)) {
    const documented = operations.filter((operation) => operation.path === path).map(({ method }) => method);
    const allowed = [...documented, ...(documented.includes('GET') ? ['HEAD'] : [])].sort().join(', ');
    for (const method of METHODS.filter((each) => !documented.includes(each))) {
      const answer = await sendRaw(server, { method, path: path.replace(/\{\w+\}/, 'users') });
      const fault = judge.errorFaultOf(answer) ?? (answer.status === 405 ? undefined : `HTTP ${answer.status}`);
      // The path of another operation may fit as well: DELETE /v1/data/bulk has none.
      if (fault !== undefined || answer.headers.allow !== allowed)
        faults.push(`${method} ${path}: ${fault ?? ''} Allow: ${answer.headers.allow ?? '(none)'}, documented ${allowed}`);
    }
  }
  expect(faults).toEqual([]);
});

test('HEAD is answered where GET is, without a body', async () => {
  await seed();
  for (const { path } of operations.filter(({ method }) => method === 'GET')) {
    const answer = await sendRaw(server, { method: 'HEAD', path: path.replace('{name}', 'users').replace('{api_key}', 'dashboard-1') });
    expect({ path, status: answer.status, text: answer.text }).toEqual({ path, status: 200, text: '' });
  }
});

const UNKNOWN_PATHS = [
  '/v1',
  '/v1/',
  '/v2/data',
  '/v1/data/',
  '/v1/dat',
  '/V1/data',
  '/v1/tables//flush',
  '/v1/tables/users/flush/now',
  '/v1/../etc/passwd',
];
const UNREADABLE_PATHS = [
  '/v1/tables/%',
  '/v1/tables/%ZZ',
  '/v1/tables/%FF',
  '/%C3%28',
  '/v1/tables/\xff',
  `/v1/tables/${'x'.repeat(3_000)}`,
];

test('unknown and unreadable paths are refused', async () => {
  const faults: string[] = [];
  for (const path of [...UNKNOWN_PATHS, ...UNREADABLE_PATHS]) {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await sendRaw(server, { method, path });
      const isRight = UNKNOWN_PATHS.includes(path) ? answer.status === 404 : [400, 404, 405].includes(answer.status);
      const fault = judge.errorFaultOf(answer) ?? (isRight ? undefined : `HTTP ${answer.status}`);
      if (fault !== undefined) faults.push(`${method} ${path.slice(0, 100)}: ${fault} ${answer.text.slice(0, 200)}`);
    }
  }
  expect(faults).toEqual([]);
});

test('the server took no harm', async () => {
  // What it names itself is no fault of its own: a table may be dropped while it is flushed, and too many backups be asked for.
  const lines = server.output().match(/^.*"level":"(?:ERROR|FATAL)".*$/gm) ?? [];
  expect(lines.filter((line) => !line.includes('"type":"AppError"'))).toEqual([]);
  const health = await call(server, 'GET', '/v1/health');
  expect({ status: health.status, health: health.json.status }).toEqual({ status: 200, health: 'healthy' });
});
