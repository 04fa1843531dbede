/**
 * A table of malformed requests, over REST and gRPC, each with the status, the code and a word of the message it must be answered with.
 *
 * Besides each answer, what counts is what stays as it was: after all of them, and after twenty more rounds, the same process is alive, no
 * answer was a 5xx, its memory is bounded, no table or column has appeared and no row has changed. The table is data: add a case as a line.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ServiceError, status as grpcStatus } from '@grpc/grpc-js';
import { gzipSync } from 'node:zlib';
import protobuf from 'protobufjs';
import { expectThat } from './support/expectations.js';
import {
  connectGrpc,
  failureOf,
  type GrpcAnswer,
  type GrpcConnection,
  type GrpcMessage,
  structOf,
  timestampOf,
} from './support/grpc-client.js';
import { type RawAnswer, sendRaw } from './support/raw-request.js';
import { countOf, createTable, expectStatus, memoryOf, rowsOf, tableInfo, write } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const MIB = 1_024 * 1_024;
const BODY_BYTES_MAX = MIB;
const BATCH_RECORDS_MAX = 1_000;
const COLUMNS_MAX = 40;
const IDS_MAX = 500;
const ROUNDS = 20;
/** The heap of Node breathes by some tens of MB; a leak of one body per round in a few cases would already be past this. */
const MEMORY_GROWTH_BYTES_MAX = 96 * MIB;

/* ------------------------------------------------------------------------------------------------- the tables of cases */

interface Expected {
  readonly status: number;
  readonly code: string;
  /** What the message must say, so that the caller knows what to mend. */
  readonly says: RegExp;
}

interface RestCase extends Expected {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text and bytes go out as they are; anything else as JSON. A function makes it when it is needed (large bodies). */
  readonly body?: unknown;
}

interface GrpcCase {
  readonly name: string;
  readonly method: string;
  readonly request?: GrpcMessage;
  /** Sent instead of a message. */
  readonly bytes?: Uint8Array;
  readonly status: number;
  /** undefined: grpc-js refuses it before any code of the server can set a trailer. */
  readonly code: string | undefined;
  readonly says: RegExp;
}

/** Most answers. */
function invalid(says: RegExp): Expected {
  return { status: 400, code: 'INVALID_ARGUMENT', says };
}

function notFound(says: RegExp): Expected {
  return { status: 404, code: 'NOT_FOUND', says };
}

function methodNotAllowed(says: RegExp): Expected {
  return { status: 405, code: 'METHOD_NOT_ALLOWED', says };
}

const UNSUPPORTED_MEDIA_TYPE = (says: RegExp): Expected => ({ status: 415, code: 'UNSUPPORTED_MEDIA_TYPE', says });
const TOO_LARGE: Expected = { status: 413, code: 'PAYLOAD_TOO_LARGE', says: /large|limit|max/i };

function post(name: string, path: string, body: unknown, expected: Expected, headers: Record<string, string> = {}): RestCase {
  return { name, method: 'POST', path, body, headers: { 'content-type': 'application/json', ...headers }, ...expected };
}

function withBody(method: string, name: string, path: string, body: unknown, expected: Expected): RestCase {
  return { name, method, path, body, headers: { 'content-type': 'application/json' }, ...expected };
}

function bare(name: string, method: string, path: string, expected: Expected): RestCase {
  return { name, method, path, ...expected };
}

const record = (payload: unknown): unknown => ({ table: 'people', id: 'bad-1', payload });
const payloadText = (payload: string): string => `{"table":"people","id":"bad-1","payload":${payload}}`;
const ndjson = { 'content-type': 'application/x-ndjson' };
const goodLine = '{"id":"bad-bulk","timestamp":"2024-01-01T00:00:00Z","age":1}';

const bodies: readonly RestCase[] = [
  post('an empty body', '/v1/data', '', invalid(/body|JSON/i)),
  post('a JSON text that ends early', '/v1/data', '{"table":', invalid(/JSON/)),
  post('something behind the JSON text', '/v1/data', `${payloadText('{}')} x`, invalid(/JSON/)),
  post('single quotes', '/v1/data', `{'table':'people'}`, invalid(/JSON/)),
  post('NaN as a bare word', '/v1/data', payloadText('{"score":NaN}'), invalid(/JSON/)),
  post('Infinity as a bare word', '/v1/data', payloadText('{"score":-Infinity}'), invalid(/JSON/)),
  post('a number with a leading zero', '/v1/data', payloadText('{"age":012}'), invalid(/JSON/)),
  post('an array instead of an object', '/v1/data', '[]', invalid(/object|table/i)),
  post('null instead of an object', '/v1/data', 'null', invalid(/object|body/i)),
  post('a string instead of an object', '/v1/data', '"people"', invalid(/object/i)),
  post('a number instead of an object', '/v1/data', '12', invalid(/object/i)),
  post('bytes that are not UTF-8', '/v1/data', Buffer.from(payloadText('{"name":"\xff\xfe"}'), 'latin1'), invalid(/UTF-8/i)),
  post('a UTF-8 sequence cut short', '/v1/data', Buffer.from(payloadText('{"name":"\xe2\x82"}'), 'latin1'), invalid(/UTF-8/i)),
  post('65 levels of arrays', '/v1/data', payloadText(`{"tags":${'['.repeat(65)}${']'.repeat(65)}}`), invalid(/deep|nest/i)),
  post(
    '100,000 levels of arrays',
    '/v1/data',
    () => payloadText(`{"tags":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
    invalid(/deep|nest/i),
  ),
  post(
    '100,000 levels of objects',
    '/v1/data',
    () => payloadText(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`),
    invalid(/deep|nest/i),
  ),
  post(
    '100,000 levels of arrays in a query',
    '/v1/query',
    () => `{"sql":"SELECT 1","params":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    invalid(/deep|nest/i),
  ),
  post('a body over the limit', '/v1/data', () => JSON.stringify(record({ name: 'x'.repeat(BODY_BYTES_MAX) })), TOO_LARGE),
  post('a query over the limit', '/v1/query', () => JSON.stringify({ sql: `SELECT '${'x'.repeat(BODY_BYTES_MAX)}'` }), TOO_LARGE),
  post('no content type we know', '/v1/data', 'table=people', UNSUPPORTED_MEDIA_TYPE(/content-type|media type/i), {
    'content-type': 'application/x-www-form-urlencoded',
  }),
  post('plain text', '/v1/data', payloadText('{}'), UNSUPPORTED_MEDIA_TYPE(/content-type|media type/i), { 'content-type': 'text/plain' }),
  post('a content type that is no content type', '/v1/query', '{"sql":"SELECT 1"}', UNSUPPORTED_MEDIA_TYPE(/content-type|media type/i), {
    'content-type': ';;;',
  }),
  post('an unknown content encoding', '/v1/data/bulk?table=people', goodLine, UNSUPPORTED_MEDIA_TYPE(/encoding/i), {
    ...ndjson,
    'content-encoding': 'bogus',
  }),
  post('gzip that is not gzip', '/v1/data/bulk?table=people', goodLine, invalid(/gzip|body could not be read/i), {
    ...ndjson,
    'content-encoding': 'gzip',
  }),
  post(
    'gzip that ends early',
    '/v1/data/bulk?table=people',
    gzipSync(`${goodLine}\n`.repeat(1_000)).subarray(0, 60),
    invalid(/gzip|body could not be read/i),
    { ...ndjson, 'content-encoding': 'gzip' },
  ),
  post(
    'a record in an unknown packing',
    '/v1/data',
    gzipSync(goodLine),
    UNSUPPORTED_MEDIA_TYPE(/Content-Encoding lzw.*gzip, deflate, br, zstd/),
    {
      'content-encoding': 'lzw',
    },
  ),
  post('a packed body that is no JSON', '/v1/data', gzipSync('{"table":'), invalid(/JSON/), { 'content-encoding': 'gzip' }),
  post('a packed body that is nested too deeply', '/v1/data', gzipSync('['.repeat(50_000)), invalid(/nested/), {
    'content-encoding': 'gzip',
  }),
  post(
    'a small body that unpacks to more than the limit',
    '/v1/data',
    gzipSync(' '.repeat(BODY_BYTES_MAX + 1)),
    { ...TOO_LARGE, says: /unpacked/ },
    {
      'content-encoding': 'gzip',
    },
  ),
  post('a record in a damaged packing', '/v1/data', gzipSync(goodLine).subarray(0, 30), invalid(/unpacked/), {
    'content-encoding': 'gzip',
  }),
];

const records: readonly RestCase[] = [
  post('no table', '/v1/data', { id: 'bad-1', payload: {} }, invalid(/table/)),
  post('a table that is a number', '/v1/data', { table: 7, id: 'bad-1', payload: {} }, invalid(/table/)),
  post('a table that is null', '/v1/data', { table: null, id: 'bad-1', payload: {} }, invalid(/table/)),
  ...['', '1people', 'peo ple', 'people;drop', '../etc', 'people\u0000', 'naïve', '_people', 'a'.repeat(65), 'people"', 'p.q'].map(
    (table) => post(`the table name ${JSON.stringify(table)}`, '/v1/data', { table, id: 'bad-1', payload: {} }, invalid(/table/)),
  ),
  ...['', '\u0000', 'a\u007fb', 'a\u2028b', 'é'.repeat(128), 'a\n', 'a'.repeat(256)].map((id) =>
    post(`the id ${JSON.stringify(id)}`, '/v1/data', { table: 'people', id, payload: {} }, invalid(/\bid\b/)),
  ),
  post('an id that is a fraction', '/v1/data', { table: 'people', id: 12.5, payload: {} }, invalid(/\bid\b/)),
  post('an id that is an object', '/v1/data', { table: 'people', id: {}, payload: {} }, invalid(/\bid\b/)),
  post('an id with a lone surrogate', '/v1/data', '{"table":"people","id":"a\\ud83e","payload":{}}', invalid(/\bid\b|surrogate|unicode/i)),
  ...[
    'yesterday',
    '',
    '2024-01',
    '2024-01-01T10',
    '2024-13-01T00:00:00Z',
    '2024-02-30T00:00:00Z',
    '2024-01-01T25:00:00Z',
    '2024-01-01T00:00:00+99:00',
    '294999-01-01T00:00:00Z',
    true,
    {},
    [],
    1e300,
    1e19,
    'now()',
  ].map((timestamp) =>
    post(
      `the timestamp ${JSON.stringify(timestamp)}`,
      '/v1/data',
      { table: 'people', id: 'bad-1', timestamp, payload: {} },
      invalid(/timestamp/),
    ),
  ),
  post('a payload that is text', '/v1/data', record('age=3'), invalid(/payload/)),
  post('a payload that is an array', '/v1/data', record([1]), invalid(/payload/)),
  post('a payload that is a number', '/v1/data', record(3), invalid(/payload/)),
  post('an unknown member', '/v1/data', { table: 'people', id: 'bad-1', payload: {}, colour: 'red' }, invalid(/colour/)),
  post('an unknown member of data', '/v1/data', { table: 'people', data: { id: 'bad-1', payload: {}, colour: 'red' } }, invalid(/colour/)),
  post(
    'an unknown member of a record',
    '/v1/data',
    { table: 'people', records: [{ id: 'bad-1', payload: {}, colour: 'red' }] },
    invalid(/colour/),
  ),
  post('data and records', '/v1/data', { table: 'people', data: { id: 'bad-1', payload: {} }, records: [] }, invalid(/data|records/)),
  post('data and a flat id', '/v1/data', { table: 'people', id: 'bad-2', data: { id: 'bad-1', payload: {} } }, invalid(/data|\bid\b/)),
  post('data that is an array', '/v1/data', { table: 'people', data: [] }, invalid(/data/)),
  post('records that are an object', '/v1/data', { table: 'people', records: {} }, invalid(/records/)),
  post('no records', '/v1/data', { table: 'people', records: [] }, invalid(/records/)),
  post(
    'a record that is no object',
    '/v1/data',
    { table: 'people', records: [{ id: 'bad-1', payload: {} }, 5] },
    invalid(/records?\b.*1|1.*records?\b/),
  ),
  post(
    'one bad record of three',
    '/v1/data',
    {
      table: 'people',
      records: [
        { id: 'bad-1', payload: {} },
        { id: 'bad\x7f2', payload: {} },
        { id: 'bad-3', payload: {} },
      ],
    },
    invalid(/\bid\b/),
  ),
  post(
    'one value of three that does not fit',
    '/v1/data',
    { table: 'people', records: [1, 2, 'x'].map((age, index) => ({ id: `bad-${index}`, payload: { age } })) },
    invalid(/age/),
  ),
  post(
    'more records than a batch may have',
    '/v1/data',
    () => ({ table: 'people', records: Array.from({ length: BATCH_RECORDS_MAX + 1 }, () => ({ id: 'bad-1' })) }),
    {
      status: 413,
      code: 'PAYLOAD_TOO_LARGE',
      says: /records/,
    },
  ),
  post('ack with a word that is none', '/v1/data?ack=sometime', record({}), invalid(/ack/)),
  post('an unknown query parameter', '/v1/data?akc=flushed', record({}), invalid(/akc/)),
  post('an idempotency key of 10,000 characters', '/v1/data', record({}), invalid(/idempotency/i), {
    'idempotency-key': 'k'.repeat(10_000),
  }),
];

const values: readonly RestCase[] = [
  ...['', 'a b', 'a,b', 'a;b', 'a{b', 'a}b', 'a(b', 'a)b', 'a\tb', 'a\nb', 'a=b', 'a"b', 'c'.repeat(256)].map((name) =>
    post(`the field name ${JSON.stringify(name)}`, '/v1/data', record({ [name]: 1 }), invalid(/field|column/i)),
  ),
  ...['id', 'ID', 'timestamp', 'TimeStamp', '_lsn', '_LSN'].map((name) =>
    post(`the reserved field ${name}`, '/v1/data', record({ [name]: 1 }), invalid(new RegExp(name, 'i'))),
  ),
  post('a field name with a lone surrogate', '/v1/data', payloadText('{"a\\udc00":1}'), invalid(/surrogate|unicode|field/i)),
  post('two spellings of one field', '/v1/data', record({ age: 1, Age: 2 }), invalid(/age/i)),
  post('text in a BIGINT', '/v1/data', record({ age: 'thirty' }), invalid(/column age is BIGINT, got "thirty"/)),
  post('digits as text in a BIGINT', '/v1/data', record({ age: '30' }), invalid(/age.*BIGINT/)),
  post('a boolean in a BIGINT', '/v1/data', record({ age: true }), invalid(/age.*BIGINT/)),
  post('an object in a BIGINT', '/v1/data', record({ age: { years: 3 } }), invalid(/age.*BIGINT/)),
  post(
    '2^63 in a BIGINT',
    '/v1/data',
    payloadText('{"age":9223372036854775808}'),
    invalid(/age.*9223372036854775808|9223372036854775808.*age/),
  ),
  post('-2^63-1 in a BIGINT', '/v1/data', payloadText('{"age":-9223372036854775809}'), invalid(/age/)),
  post('40 digits in a BIGINT', '/v1/data', payloadText(`{"age":${'9'.repeat(40)}}`), invalid(/age/)),
  post('2^64 in a new column', '/v1/data', payloadText('{"fresh":18446744073709551616}'), invalid(/fresh/)),
  post('a number in a VARCHAR', '/v1/data', record({ name: 12 }), invalid(/name.*VARCHAR/)),
  post('an array in a VARCHAR', '/v1/data', record({ name: ['a'] }), invalid(/name.*VARCHAR/)),
  post('a lone surrogate in a VARCHAR', '/v1/data', payloadText('{"name":"\\ud83e"}'), invalid(/name|surrogate|unicode/i)),
  post('a lone low surrogate in a JSON column', '/v1/data', payloadText('{"tags":["\\udc00"]}'), invalid(/tags|surrogate|unicode/i)),
  post('text in a BOOLEAN', '/v1/data', record({ active: 'yes' }), invalid(/active.*BOOLEAN/)),
  post('a number in a BOOLEAN', '/v1/data', record({ active: 1 }), invalid(/active.*BOOLEAN/)),
  post('text in a DOUBLE', '/v1/data', record({ score: '1.5' }), invalid(/score.*DOUBLE/)),
  post('1e400 in a DOUBLE', '/v1/data', payloadText('{"score":1e400}'), invalid(/score/)),
  post('2^53+1 in a DOUBLE', '/v1/data', payloadText('{"score":9007199254740993}'), invalid(/score/)),
  post(
    'more columns than a table may have',
    '/v1/data',
    record(Object.fromEntries(Array.from({ length: COLUMNS_MAX + 1 }, (_, index) => [`c${index}`, 1]))),
    invalid(/column/),
  ),
];

const changes: readonly RestCase[] = [
  withBody('PUT', 'update without an id', '/v1/data', { table: 'people', payload: {} }, invalid(/\bid\b/)),
  withBody('PUT', 'update with an empty id', '/v1/data', { table: 'people', id: '', payload: {} }, invalid(/\bid\b/)),
  withBody('PUT', 'update without a table', '/v1/data', { id: 'p1', payload: {} }, invalid(/table/)),
  withBody('PUT', 'update without a payload', '/v1/data', { table: 'people', id: 'p1' }, invalid(/payload/)),
  withBody(
    'PUT',
    'update with partial as text',
    '/v1/data',
    { table: 'people', id: 'p1', payload: {}, partial: 'yes' },
    invalid(/partial/),
  ),
  withBody(
    'PUT',
    'update with a value that does not fit',
    '/v1/data',
    { table: 'people', id: 'p1', payload: { age: 'old' } },
    invalid(/age/),
  ),
  withBody(
    'PUT',
    'update with an unknown member',
    '/v1/data',
    { table: 'people', id: 'p1', payload: {}, parital: true },
    invalid(/parital/),
  ),
  withBody('DELETE', 'delete without an id', '/v1/data', { table: 'people' }, invalid(/\bids?\b/)),
  withBody('DELETE', 'delete without a table', '/v1/data', { id: 'p1' }, invalid(/table/)),
  withBody('DELETE', 'delete with id and ids', '/v1/data', { table: 'people', id: 'p1', ids: ['p1'] }, invalid(/\bids?\b/)),
  withBody('DELETE', 'delete with no ids', '/v1/data', { table: 'people', ids: [] }, invalid(/\bids\b/)),
  withBody('DELETE', 'delete with ids of fractions', '/v1/data', { table: 'people', ids: [1.5] }, invalid(/\bids?\b/)),
  withBody(
    'DELETE',
    'delete with more ids than allowed',
    '/v1/data',
    { table: 'people', ids: Array.from({ length: IDS_MAX + 1 }, (_, index) => `i${index}`) },
    {
      status: 413,
      code: 'PAYLOAD_TOO_LARGE',
      says: /ids/,
    },
  ),
  withBody(
    'DELETE',
    'delete with soft_delete as a number',
    '/v1/data',
    { table: 'people', id: 'p1', soft_delete: 1 },
    invalid(/soft_delete/),
  ),
  withBody('DELETE', 'delete in a table that is not there', '/v1/data', { table: 'nobody', id: 'p1' }, notFound(/nobody/)),
  bare('delete by query with soft_delete=perhaps', 'DELETE', '/v1/data?table=people&id=p1&soft_delete=perhaps', invalid(/soft_delete/)),
  bare('delete by query without an id', 'DELETE', '/v1/data?table=people', invalid(/\bids?\b/)),
  bare('delete with nothing', 'DELETE', '/v1/data', invalid(/table/)),
  post('restore without an id', '/v1/data/restore', { table: 'people' }, invalid(/\bids?\b/)),
  post('restore in a table that is not there', '/v1/data/restore', { table: 'nobody', id: 'p1' }, notFound(/nobody/)),
];

const queries: readonly RestCase[] = [
  post('a query without sql', '/v1/query', {}, invalid(/sql/i)),
  post('sql that is a number', '/v1/query', { sql: 1 }, invalid(/sql/i)),
  post('empty sql', '/v1/query', { sql: '' }, invalid(/sql/i)),
  post('sql of blanks', '/v1/query', { sql: ' \n\t ' }, invalid(/sql|statement/i)),
  post('sql that is a comment', '/v1/query', { sql: '-- SELECT 1' }, invalid(/sql|statement|select/i)),
  post('sql with a lone surrogate', '/v1/query', '{"sql":"SELECT \'\\ud83e\'"}', invalid(/surrogate|unicode|UTF/i)),
  post('sql with a zero byte', '/v1/query', { sql: 'SELECT 1\u0000' }, invalid(/sql|syntax|character|NUL|zero|terminator/i)),
  post(
    '2,000 functions in one another',
    '/v1/query',
    { sql: `SELECT ${'abs('.repeat(2_000)}1${')'.repeat(2_000)}` },
    invalid(/depth|deep|nest|syntax|expression/i),
  ),
  post(
    '200,000 brackets',
    '/v1/query',
    { sql: `SELECT ${'('.repeat(200_000)}1${')'.repeat(200_000)}` },
    invalid(/depth|deep|nest|syntax|expression|memory|exhausted/i),
  ),
  post('a syntax error', '/v1/query', { sql: 'SELEC 1' }, invalid(/syntax|SELEC/i)),
  post('an unknown column', '/v1/query', { sql: 'SELECT colour FROM people' }, invalid(/colour/)),
  post('an unknown function', '/v1/query', { sql: 'SELECT frobnicate(1)' }, invalid(/frobnicate/)),
  post('an unknown table', '/v1/query', { sql: 'SELECT * FROM nobody' }, notFound(/nobody.*creat|creat.*nobody/is)),
  post('two statements', '/v1/query', { sql: 'SELECT 1; SELECT 2' }, invalid(/one|statement/i)),
  post('text that is no number', '/v1/query', { sql: 'SELECT name::BIGINT FROM people' }, invalid(/convert|cast/i)),
  post('a value out of range', '/v1/query', { sql: 'SELECT (age + 9223372036854775807)::BIGINT FROM people' }, invalid(/overflow|range/i)),
  ...[
    "INSERT INTO people VALUES ('x')",
    'DELETE FROM people',
    'UPDATE people SET age = 1',
    'DROP TABLE people',
    'CREATE TABLE t AS SELECT 1',
    'ALTER TABLE people ADD COLUMN x INT',
    "COPY people TO '/tmp/people.csv'",
    "ATTACH ':memory:' AS other",
    'SET threads = 1',
    'PRAGMA database_list',
    'INSTALL httpfs',
    'CALL pragma_version()',
    'BEGIN',
    'CHECKPOINT',
    'VACUUM',
  ].map((sql) => post(`the statement ${sql}`, '/v1/query', { sql }, invalid(/SELECT/))),
  ...[0, -1, 1.5, '10', 10_001, 1e18, true, [], {}].map((limit) =>
    post(`limit ${JSON.stringify(limit)}`, '/v1/query', { sql: 'SELECT 1', limit }, invalid(/limit/)),
  ),
  post('limit beyond 64 bit', '/v1/query', '{"sql":"SELECT 1","limit":99999999999999999999}', invalid(/limit/)),
  ...['x', 'bm90IGEgY3Vyc29y', '....', '=', 'eyJhbGciOiJub25lIn0.e30.', 'c'.repeat(5_000), 'é'].map((cursor) =>
    post(`the cursor ${cursor.slice(0, 30)}`, '/v1/query', { sql: 'SELECT * FROM people', cursor }, invalid(/cursor/)),
  ),
  post('a cursor that is a number', '/v1/query', { sql: 'SELECT 1', cursor: 5 }, invalid(/cursor/)),
  ...[0, -1, 'soon', 1e15, 2.5].map((timeout_ms) =>
    post(`timeout_ms ${JSON.stringify(timeout_ms)}`, '/v1/query', { sql: 'SELECT 1', timeout_ms }, invalid(/timeout_ms/)),
  ),
  post('params that are text', '/v1/query', { sql: 'SELECT $1', params: 'a' }, invalid(/params/)),
  post('too few params', '/v1/query', { sql: 'SELECT $1, $2', params: ['a'] }, invalid(/param/i)),
  post('too many params', '/v1/query', { sql: 'SELECT $1', params: ['a', 'b'] }, invalid(/param/i)),
  ...['long ago', -1, 1.5, {}, true].map((as_of) =>
    post(`as_of ${JSON.stringify(as_of)}`, '/v1/query', { sql: 'SELECT * FROM people', as_of }, invalid(/as_of/)),
  ),
  post('a result format that there is not', '/v1/query', { sql: 'SELECT 1' }, invalid(/accept/i), { accept: 'image/png' }),
  post('an unknown member of a query', '/v1/query', { sql: 'SELECT 1', lmit: 5 }, invalid(/lmit/)),
  bare('a query that does not run, to be killed', 'DELETE', '/v1/queries/no-such-query', notFound(/query/i)),
];

const tables: readonly RestCase[] = [
  post('a table without a name', '/v1/tables', {}, invalid(/table.name/)),
  post('a table name that is a number', '/v1/tables', { table_name: 5 }, invalid(/table.name/)),
  ...['', '1a', 'a-b', 'a.b', 'sélection', 'x'.repeat(65), 'a b', '../up', '*'].map((table_name) =>
    post(`creating ${JSON.stringify(table_name)}`, '/v1/tables', { table_name }, invalid(/table/)),
  ),
  post('a table that exists', '/v1/tables', { table_name: 'people' }, { status: 409, code: 'ALREADY_EXISTS', says: /people/ }),
  post(
    'a table that exists, in capitals',
    '/v1/tables',
    { table_name: 'PEOPLE' },
    { status: 409, code: 'ALREADY_EXISTS', says: /people/i },
  ),
  post('an unknown member of a table', '/v1/tables', { table_name: 'made', colour: 1 }, invalid(/colour/)),
  post('if_not_exists that is text', '/v1/tables', { table_name: 'made', if_not_exists: 'yes' }, invalid(/if_not_exists/)),
  post('a config that is an array', '/v1/tables', { table_name: 'made', config: [] }, invalid(/config/)),
  ...Object.entries({
    colour: 'red',
    buffer_size: 0,
    flush_interval_seconds: -5,
    retention_days: -1,
    id_strategy: 'magic',
    write_mode: 'sideways',
    layout: 'zigzag',
    backup_enabled: 'yes',
    auto_generate_id: 1,
    id_prefix: 'a b',
    properties: ['x'],
    id_validation: { max_length: 0 },
    sort_by: 7,
  }).map(([key, value]) =>
    post(
      `config ${key} = ${JSON.stringify(value)}`,
      '/v1/tables',
      { table_name: 'made', config: { [key]: value } },
      invalid(new RegExp(key)),
    ),
  ),
  post('a buffer_size that is text', '/v1/tables', { table_name: 'made', config: { buffer_size: 'many' } }, invalid(/buffer_size/)),
  post('a buffer_size that is a fraction', '/v1/tables', { table_name: 'made', config: { buffer_size: 10.5 } }, invalid(/buffer_size/)),
  post(
    'an id pattern that is no expression',
    '/v1/tables',
    { table_name: 'made', config: { id_validation: { pattern: '([' } } },
    invalid(/id_validation.*expression/),
  ),
  post(
    'an id pattern that looks ahead',
    '/v1/tables',
    { table_name: 'made', config: { id_validation: { pattern: '(?=a)a' } } },
    invalid(/id_validation cannot be used.*without looking ahead/),
  ),
  bare('a glob of tables that is too long', 'GET', `/v1/tables?pattern=${'a'.repeat(257)}`, invalid(/at most 256/)),
  bare('a glob of tables that cannot be', 'GET', '/v1/tables?pattern=a!(b)', invalid(/cannot be used.*supported/)),
  post('a schema that is text', '/v1/tables', { table_name: 'made', schema: 'age BIGINT' }, invalid(/schema/)),
  withBody('PATCH', 'patch with an unknown key', '/v1/tables/people', { config: { colour: 'red' } }, invalid(/colour/)),
  withBody('PATCH', 'patch with a bad value', '/v1/tables/people', { config: { buffer_size: -1 } }, invalid(/buffer_size/)),
  withBody('PATCH', 'patch of a table that is not there', '/v1/tables/nobody', { config: { buffer_size: 5 } }, notFound(/nobody/)),
  bare('a table that is not there', 'GET', '/v1/tables/nobody', notFound(/nobody/)),
  bare('a table name that is none', 'GET', '/v1/tables/a%20b', notFound(/a b/)),
  bare('a path with a broken escape', 'GET', '/v1/tables/%E0%A4%A', invalid(/url|path|escape|encod/i)),
  bare('flush of a table that is not there', 'POST', '/v1/tables/nobody/flush', notFound(/nobody/)),
  bare('compaction of a table that is not there', 'POST', '/v1/tables/nobody/compact', notFound(/nobody/)),
  bare('history of a table that is not there', 'GET', '/v1/tables/nobody/history', notFound(/nobody/)),
  bare('drop of a table that is not there', 'DELETE', '/v1/tables/nobody', notFound(/nobody/)),
  bare('drop with cascade=perhaps', 'DELETE', '/v1/tables/people?cascade=perhaps', invalid(/cascade/)),
  bare('drop with if_exists=2', 'DELETE', '/v1/tables/people?if_exists=2&cascade=true', invalid(/if_exists/)),
  bare('drop of a table with rows', 'DELETE', '/v1/tables/people', { status: 409, code: 'CONFLICT', says: /cascade/ }),
];

const bulkLoads: readonly RestCase[] = [
  post('bulk without a table', '/v1/data/bulk', goodLine, invalid(/table/), ndjson),
  post('bulk with two tables', '/v1/data/bulk?table=people&table=others', goodLine, invalid(/table/), ndjson),
  post('bulk with a bad table name', '/v1/data/bulk?table=a%20b', goodLine, invalid(/table/), ndjson),
  post('bulk with on_error=maybe', '/v1/data/bulk?table=people&on_error=maybe', goodLine, invalid(/on_error/), ndjson),
  post('bulk with an unknown parameter', '/v1/data/bulk?table=people&onerror=skip', goodLine, invalid(/onerror/), ndjson),
  post('bulk in HTML', '/v1/data/bulk?table=people', '<p>', UNSUPPORTED_MEDIA_TYPE(/content-type|media type/i), {
    'content-type': 'text/html',
  }),
  post('a bulk line that is no JSON', '/v1/data/bulk?table=people', `${goodLine}\n{"id":\n${goodLine}\n`, invalid(/line 2\b/), ndjson),
  post('a bulk line that is an array', '/v1/data/bulk?table=people', `${goodLine}\n[1]\n`, invalid(/line 2\b/), ndjson),
  post('a bulk line that is null', '/v1/data/bulk?table=people', `${goodLine}\nnull\n`, invalid(/line 2\b/), ndjson),
  post(
    'a bulk line with a bad id',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"a\x7fb"}\n`,
    invalid(/line 2\b.*\bid\b|\bid\b.*line 2\b/s),
    ndjson,
  ),
  post(
    'a bulk line with a bad timestamp',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"x","timestamp":"soon"}\n`,
    invalid(/line 2\b.*timestamp|timestamp.*line 2\b/s),
    ndjson,
  ),
  post(
    'a bulk value that does not fit',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"x","age":"thirty"}\n`,
    invalid(/line 2\b.*age|age.*line 2\b/s),
    ndjson,
  ),
  post(
    'a bulk value beyond 64 bit',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"x","age":9223372036854775808}\n`,
    invalid(/line 2\b.*age|age.*line 2\b/s),
    ndjson,
  ),
  post('a bulk line with NaN', '/v1/data/bulk?table=people', `${goodLine}\n{"id":"x","score":NaN}\n`, invalid(/line 2\b/), ndjson),
  post(
    'a bulk line that is not UTF-8',
    '/v1/data/bulk?table=people',
    Buffer.from(`${goodLine}\n{"id":"x","name":"\xff"}\n`, 'latin1'),
    invalid(/line 2\b|UTF-8/i),
    ndjson,
  ),
  post(
    'a bulk line with a lone surrogate',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"x","name":"\\ud83e"}\n`,
    invalid(/line 2\b/),
    ndjson,
  ),
  post(
    'a bulk line nested too deeply',
    '/v1/data/bulk?table=people',
    `${goodLine}\n{"id":"x","tags":${'['.repeat(2_000)}${']'.repeat(2_000)}}\n`,
    invalid(/line 2\b/),
    ndjson,
  ),
  post('a bulk field with a reserved name', '/v1/data/bulk?table=people', `${goodLine}\n{"id":"x","_lsn":4}\n`, invalid(/_lsn/), ndjson),
];

const routes: readonly RestCase[] = [
  bare('an unknown route', 'GET', '/v1/nothing', notFound(/\/v1\/nothing/)),
  bare('another version', 'GET', '/v2/data', notFound(/\/v2\/data/)),
  bare('an unknown route under a table', 'GET', '/v1/tables/people/nothing', notFound(/nothing/)),
  bare('a way up', 'GET', '/../../etc/passwd', notFound(/./)),
  bare('GET of a route that only takes POST', 'GET', '/v1/query', methodNotAllowed(/GET.*\/v1\/query.*POST/)),
  bare('PATCH of data', 'PATCH', '/v1/data', methodNotAllowed(/PATCH.*\/v1\/data.*DELETE, POST, PUT/)),
  bare('PUT of a table', 'PUT', '/v1/tables/people', methodNotAllowed(/PUT.*\/v1\/tables\/people.*DELETE, GET, HEAD, PATCH/)),
  bare('DELETE of health', 'DELETE', '/v1/health', methodNotAllowed(/DELETE.*\/v1\/health.*GET/)),
  post('a field called like what every object has', '/v1/query', { sql: 'SELECT 1', toString: 1 }, invalid(/toString/)),
  post('a field called constructor', '/v1/tables', { table_name: 'x', constructor: { prototype: 1 } }, invalid(/constructor/)),
  post('one deep inside', '/v1/metadata/backup', { force: { constructor: 1 } }, invalid(/constructor/)),
  post('lists of lists of columns', '/v1/tables', { table_name: 'x', schema: [[[]]] }, invalid(/schema/)),
  post('one in a list', '/v1/backups', { tables: [{ constructor: 1 }] }, invalid(/constructor/)),
];

const restCases: readonly RestCase[] = [bodies, records, values, changes, queries, tables, bulkLoads, routes].flat();

const { INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, ABORTED, RESOURCE_EXHAUSTED, UNIMPLEMENTED } = grpcStatus;
/** What a 5xx is called over gRPC. */
const GRPC_SERVER_ERRORS: readonly number[] = [
  grpcStatus.UNKNOWN,
  grpcStatus.INTERNAL,
  grpcStatus.UNAVAILABLE,
  grpcStatus.DATA_LOSS,
  grpcStatus.DEADLINE_EXCEEDED,
];

function grpcInvalid(name: string, method: string, request: GrpcMessage, says: RegExp): GrpcCase {
  return { name, method, request, status: INVALID_ARGUMENT, code: 'INVALID_ARGUMENT', says };
}

const dataOf = (payload: GrpcMessage, more: GrpcMessage = {}): GrpcMessage => ({
  table: 'people',
  data: { id: 'bad-1', payload, ...more },
});
const noMessage = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff);

const grpcCases: readonly GrpcCase[] = [
  grpcInvalid('a write without a table', 'WriteData', { data: { id: 'bad-1', payload: structOf({}) } }, /table/),
  grpcInvalid('a write without data', 'WriteData', { table: 'people' }, /data/),
  grpcInvalid('a write to a bad table name', 'WriteData', { table: 'a b', data: { id: 'bad-1', payload: structOf({}) } }, /table/),
  grpcInvalid('a write with a\x7fbad id', 'WriteData', { table: 'people', data: { id: 'a\x7fb', payload: structOf({}) } }, /\bid\b/),
  grpcInvalid(
    'a write with an id of 256 characters',
    'WriteData',
    { table: 'people', data: { id: 'x'.repeat(256), payload: structOf({}) } },
    /\bid\b/,
  ),
  grpcInvalid(
    'a write with an empty id where ids are given by the user',
    'WriteData',
    { table: 'strict', data: { id: '', payload: structOf({}) } },
    /\bid\b/,
  ),
  grpcInvalid('text in a BIGINT', 'WriteData', dataOf(structOf({ age: 'thirty' })), /age.*BIGINT/),
  grpcInvalid('a number in a VARCHAR', 'WriteData', dataOf(structOf({ name: 5 })), /name.*VARCHAR/),
  grpcInvalid('a list in a DOUBLE', 'WriteData', dataOf(structOf({ score: [1] })), /score.*DOUBLE/),
  grpcInvalid('NaN in a DOUBLE', 'WriteData', dataOf(structOf({ score: Number.NaN })), /score/),
  grpcInvalid('Infinity in a DOUBLE', 'WriteData', dataOf(structOf({ score: Infinity })), /score/),
  grpcInvalid('2^70 in a BIGINT', 'WriteData', dataOf(structOf({ age: 2 ** 70 })), /age/),
  grpcInvalid('a value that is of no kind', 'WriteData', dataOf({ fields: { age: {} } }), /age/),
  grpcInvalid('a reserved field', 'WriteData', dataOf(structOf({ _lsn: 5 })), /_lsn/),
  grpcInvalid('an empty field name', 'WriteData', dataOf(structOf({ '': 5 })), /field|column/i),
  {
    name: 'a payload nested 10,000 times',
    method: 'WriteData',
    bytes: nestedPayload(10_000),
    status: INVALID_ARGUMENT,
    code: 'INVALID_ARGUMENT',
    says: /deep|nest|message|request/i,
  },
  grpcInvalid(
    'a timestamp of the year 300000',
    'WriteData',
    dataOf(structOf({}), { timestamp: { seconds: '9400000000000', nanos: 0 } }),
    /timestamp/,
  ),
  grpcInvalid(
    'a timestamp with negative nanos',
    'WriteData',
    dataOf(structOf({}), { timestamp: { seconds: '0', nanos: -1 } }),
    /timestamp/,
  ),
  grpcInvalid(
    'a timestamp with two seconds of nanos',
    'WriteData',
    dataOf(structOf({}), { timestamp: { seconds: '0', nanos: 2_000_000_000 } }),
    /timestamp/,
  ),
  grpcInvalid(
    'an update without an id',
    'UpdateData',
    { table: 'people', payload: structOf({ age: 1 }), timestamp: timestampOf('2024-01-01T00:00:00Z') },
    /\bid\b/,
  ),
  grpcInvalid('an update without a table', 'UpdateData', { id: 'p1', payload: structOf({ age: 1 }) }, /table/),
  grpcInvalid('an update without a payload', 'UpdateData', { table: 'people', id: 'p1' }, /payload/),
  grpcInvalid(
    'an update with a value that does not fit',
    'UpdateData',
    { table: 'people', id: 'p1', payload: structOf({ age: 'old' }) },
    /age/,
  ),
  grpcInvalid('a delete without an id', 'DeleteData', { table: 'people' }, /\bid\b/),
  grpcInvalid('a delete without a table', 'DeleteData', { id: 'p1' }, /table/),
  {
    name: 'a delete in a table that is not there',
    method: 'DeleteData',
    request: { table: 'nobody', id: 'p1' },
    status: NOT_FOUND,
    code: 'NOT_FOUND',
    says: /nobody/,
  },
  grpcInvalid('a query without sql', 'QueryData', {}, /sql/i),
  grpcInvalid('a syntax error', 'QueryData', { sql: 'SELEC 1' }, /syntax|SELEC/i),
  grpcInvalid('a statement that changes something', 'QueryData', { sql: 'DROP TABLE people' }, /SELECT/),
  grpcInvalid('a negative limit', 'QueryData', { sql: 'SELECT 1', limit: -1 }, /limit/),
  grpcInvalid('a huge limit', 'QueryData', { sql: 'SELECT 1', limit: 2_147_483_647 }, /limit/),
  grpcInvalid('a forged cursor', 'QueryData', { sql: 'SELECT * FROM people', cursor: 'bm90IGEgY3Vyc29y' }, /cursor/),
  {
    name: 'an unknown table',
    method: 'QueryData',
    request: { sql: 'SELECT * FROM nobody' },
    status: NOT_FOUND,
    code: 'NOT_FOUND',
    says: /nobody/,
  },
  grpcInvalid('a table without a name', 'CreateTable', {}, /table.name/),
  grpcInvalid('a bad table name', 'CreateTable', { table_name: '1a' }, /table/),
  grpcInvalid('a negative buffer size', 'CreateTable', { table_name: 'made', config: { buffer_size: -1 } }, /buffer_size/),
  grpcInvalid('an unknown id strategy', 'CreateTable', { table_name: 'made', config: { id_strategy: 'magic' } }, /id_strategy/),
  {
    name: 'a table that exists',
    method: 'CreateTable',
    request: { table_name: 'people' },
    status: ALREADY_EXISTS,
    code: 'ALREADY_EXISTS',
    says: /people/,
  },
  {
    name: 'a table that is not there',
    method: 'GetTable',
    request: { table_name: 'nobody' },
    status: NOT_FOUND,
    code: 'NOT_FOUND',
    says: /nobody/,
  },
  grpcInvalid('a table without a name, asked for', 'GetTable', {}, /table/),
  {
    name: 'drop of a table that is not there',
    method: 'DeleteTable',
    request: { table_name: 'nobody' },
    status: NOT_FOUND,
    code: 'NOT_FOUND',
    says: /nobody/,
  },
  {
    name: 'drop of a table with rows',
    method: 'DeleteTable',
    request: { table_name: 'people' },
    status: ABORTED,
    code: 'CONFLICT',
    says: /cascade/,
  },
  ...['WriteData', 'QueryData', 'DeleteData', 'UpdateData', 'CreateTable', 'GetTable', 'StreamWrite', 'StreamQuery'].map(
    (method): GrpcCase => ({
      name: `bytes that are no message, to ${method}`,
      method,
      bytes: noMessage,
      status: INVALID_ARGUMENT,
      code: 'INVALID_ARGUMENT',
      says: /message|request|decod|pars|deserializ/i,
    }),
  ),
  {
    name: 'text that is not UTF-8',
    method: 'QueryData',
    bytes: Uint8Array.of(0x0a, 0x02, 0xff, 0xfe),
    status: INVALID_ARGUMENT,
    code: 'INVALID_ARGUMENT',
    says: /./,
  },
  { name: 'an unknown method', method: 'Frobnicate', bytes: Uint8Array.of(), status: UNIMPLEMENTED, code: undefined, says: /./ },
  {
    name: 'a message over the limit',
    method: 'WriteData',
    bytes: new Uint8Array(6 * MIB),
    status: RESOURCE_EXHAUSTED,
    code: undefined,
    says: /large|size|max/i,
  },
];

/** A WriteDataRequest whose payload is a list in a list in a list: by hand, because the client's encoder refuses to make it. */
function nestedPayload(depth: number): Uint8Array {
  const member = (tag: number, content: Uint8Array): Uint8Array => {
    const writer = new protobuf.Writer();
    return Buffer.concat([writer.uint32(tag).bytes(content).finish()]);
  };
  // Value.number_value = 1.0, then Value.list_value (6) of ListValue.values (1), again and again.
  let value: Uint8Array = Uint8Array.of(0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f);
  for (let level = 0; level < depth; level += 1) value = member(0x32, member(0x0a, value));
  const entry = Buffer.concat([member(0x0a, Buffer.from('tags')), member(0x12, value)]);
  const data = Buffer.concat([member(0x0a, Buffer.from('bad-1')), member(0x1a, member(0x0a, entry))]);
  return Buffer.concat([member(0x0a, Buffer.from('people')), member(0x12, data)]);
}

/** Streams answer after their first message; each of these must end with an error (or, for writes, with the record named). */
const streamQueryCases: readonly (Omit<GrpcCase, 'method'> & { readonly request: GrpcMessage })[] = [
  { name: 'a stream of a query without sql', request: {}, status: INVALID_ARGUMENT, code: 'INVALID_ARGUMENT', says: /sql/i },
  {
    name: 'a stream with a negative batch size',
    request: { sql: 'SELECT * FROM people', batch_size: -1 },
    status: INVALID_ARGUMENT,
    code: 'INVALID_ARGUMENT',
    says: /batch_size/,
  },
  {
    name: 'a stream with a huge batch size',
    request: { sql: 'SELECT * FROM people', batch_size: 2_000_000_000 },
    status: INVALID_ARGUMENT,
    code: 'INVALID_ARGUMENT',
    says: /batch_size/,
  },
  {
    name: 'a stream with a forged cursor',
    request: { sql: 'SELECT * FROM people', cursor: 'zzz' },
    status: INVALID_ARGUMENT,
    code: 'INVALID_ARGUMENT',
    says: /cursor/,
  },
  { name: 'a stream of an unknown table', request: { sql: 'SELECT * FROM nobody' }, status: NOT_FOUND, code: 'NOT_FOUND', says: /nobody/ },
];

/* --------------------------------------------------------------------------------------------------------- the test */

let server: RunningServer;
let grpc: GrpcConnection;
let stateBefore: unknown;
const seenServerErrors: string[] = [];

beforeAll(async () => {
  server = await startServer({
    config: {
      log: { file: '' },
      limits: { body_bytes_max: BODY_BYTES_MAX, batch_records_max: BATCH_RECORDS_MAX, columns_max: COLUMNS_MAX, ids_max: IDS_MAX },
      // No flush in the background: it would change the statistics that are compared.
      tables: { flush_interval_seconds: 3_600 },
    },
  });
  grpc = connectGrpc(server);
  await createTable(server, 'people');
  await createTable(server, 'strict', { id_strategy: 'user_provided' });
  await write(server, 'people', 'p1', { age: 30, name: 'Ada', score: 9.5, active: true, tags: ['a'] }, '2024-01-01T10:00:00Z');
  stateBefore = await stateOfTables();
});

afterAll(async () => {
  grpc?.close();
  await server?.stop();
});

describe('malformed REST requests', () => {
  test.each(restCases.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    checkRest(each, await send(each));
  });
});

describe('malformed gRPC requests', () => {
  test.each(grpcCases.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    checkGrpc(each, await sendGrpc(each));
  });

  test.each(streamQueryCases.map((each) => [each.name, each] as const))('%s', async (_, each) => {
    checkGrpc(each, await drain(each.request));
  });
});

test('a cursor of one query is refused by another, and a changed one by its own', async () => {
  const page = (body: object): Promise<RawAnswer> => send(post('', '/v1/query', body, invalid(/cursor/)));
  const sql = 'SELECT range AS n FROM range(10) ORDER BY n';
  const first = JSON.parse((await page({ sql, limit: 4 })).text) as { has_more: boolean; next_cursor: string };
  expect(first.has_more).toBe(true);
  const cursor = first.next_cursor;
  const middle = Math.floor(cursor.length / 2);
  const changed = cursor.slice(0, middle) + (cursor[middle] === 'A' ? 'B' : 'A') + cursor.slice(middle + 1);
  for (const body of [
    { sql: 'SELECT * FROM people', cursor },
    { sql, cursor: changed },
    { sql, cursor: cursor.slice(0, -3) },
    { sql, cursor: `${cursor}AAAA` },
  ]) {
    checkRest(post(JSON.stringify(body), '/v1/query', body, invalid(/cursor/)), await page(body));
  }
});

test('a failed stream of writes names each record and stores only the good ones', async () => {
  const { call: stream, answer } = grpc.upload('StreamWrite');
  const good = { id: 'streamed', payload: structOf({ note: 'good' }) };
  stream.write({ table: 'streamed', records: [good, { id: 'a\x7fb', payload: structOf({}) }] });
  stream.write({ table: 'streamed', records: [{ id: 'x', payload: structOf({ note: 5 }) }, good] });
  stream.end();
  const settled = await answer;
  if (!settled.ok) throw new Error(`the stream failed as a whole: ${JSON.stringify(settled)}`);
  expect(settled.response).toMatchObject({ success: false, records_count: '2' });
  expect(settled.response['errors']).toHaveLength(2);
  expect(settled.response['errors'][0]).toMatch(/\b1\b.*\bid\b/);
  expect(settled.response['errors'][1]).toMatch(/\b2\b.*note/);
  expect(await countOf(server, 'streamed')).toBe(2);
  expectStatus(await call(server, 'DELETE', '/v1/tables/streamed?cascade=true'), 200);
});

test('nothing has changed: same tables, same columns, same rows', async () => {
  expect(await stateOfTables()).toEqual(stateBefore);
});

test(`after ${ROUNDS} more rounds the process is alive, has served no 5xx, and its memory is bounded`, async () => {
  await oneRound();
  const before = memoryOf(server.pid);
  for (let round = 0; round < ROUNDS; round += 1) await oneRound();
  const after = memoryOf(server.pid);
  const grown = after - before;
  console.log(
    `bad input: ${restCases.length} REST and ${grpcCases.length + streamQueryCases.length} gRPC cases, ${ROUNDS} rounds: RSS ${mib(before)} -> ${mib(after)} MiB`,
  );
  expect(seenServerErrors).toEqual([]);
  expectThat(grown, `RSS has grown by ${mib(grown)} MiB`).toBeLessThan(MEMORY_GROWTH_BYTES_MAX);
  expectStatus(await call(server, 'GET', '/v1/health'), 200);
  expect(await stateOfTables()).toEqual(stateBefore);
  await write(server, 'people', 'p2', { age: 31 });
  expect(await countOf(server, 'people')).toBe(2);
}, 600_000);

/* ---------------------------------------------------------------------------------------------------------- helpers */

function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}

/** All that a bad request could have changed. */
async function stateOfTables(): Promise<unknown> {
  const listed = expectStatus(await call(server, 'GET', '/v1/tables'), 200).json as { tables: { name: string }[]; total: number };
  const names = listed.tables.map((table) => table.name).sort();
  const schemas = await Promise.all(names.map(async (name) => (await tableInfo(server, name))['schema'] as unknown));
  return { names, total: listed.total, schemas, rows: await rowsOf(server, 'SELECT * FROM people ORDER BY id') };
}

/** The whole table, in order, looking only for what must never be. */
async function oneRound(): Promise<void> {
  for (const each of restCases) noteServerError(each.name, (await send(each)).status);
  for (const each of grpcCases) noteGrpcServerError(each.name, await sendGrpc(each));
  for (const each of streamQueryCases) noteGrpcServerError(each.name, await drain(each.request));
}

function noteServerError(name: string, status: number): void {
  if (status >= 500) seenServerErrors.push(`${name}: HTTP ${status}`);
}

function noteGrpcServerError(name: string, answer: GrpcAnswer): void {
  if (!answer.ok && GRPC_SERVER_ERRORS.includes(answer.status)) seenServerErrors.push(`${name}: gRPC ${grpcStatus[answer.status]}`);
}

async function send(each: RestCase): Promise<RawAnswer> {
  const made: unknown = typeof each.body === 'function' ? (each.body as () => unknown)() : each.body;
  const body = made === undefined || typeof made === 'string' || Buffer.isBuffer(made) ? made : JSON.stringify(made);
  try {
    return await sendRaw(server, { ...each, body });
  } catch (error) {
    throw new Error(`${each.name}: ${(error as Error).message}`, { cause: error });
  }
}

function checkRest(each: RestCase, answer: RawAnswer): void {
  noteServerError(each.name, answer.status);
  const seen = `${answer.status} ${answer.text.slice(0, 500)}`;
  expectThat(answer.contentType, seen).toContain('application/json');
  const body = JSON.parse(answer.text) as { error: unknown; code: unknown; message: string; request_id: string };
  expectThat({ status: answer.status, error: body.error, code: body.code }, seen).toEqual({
    status: each.status,
    error: each.code,
    code: each.status,
  });
  expectThat(body.message, seen).toMatch(each.says);
  expectThat(body.request_id, seen).toMatch(/^\S+$/);
  expectNothingLeaks(answer.text);
}

function sendGrpc(each: GrpcCase): Promise<GrpcAnswer> {
  return each.bytes ? grpc.unaryBytes(each.method, each.bytes) : grpc.unary(each.method, each.request ?? {});
}

function checkGrpc(each: Pick<GrpcCase, 'status' | 'code' | 'says'>, answer: GrpcAnswer): void {
  if (answer.ok) throw new Error(`accepted: ${JSON.stringify(answer.response)}`);
  noteGrpcServerError(answer.message, answer);
  const seen = JSON.stringify(answer);
  expectThat({ status: grpcStatus[answer.status], code: answer.errorCode }, seen).toEqual({
    status: grpcStatus[each.status],
    code: each.code,
  });
  expectThat(answer.message, seen).toMatch(each.says);
  if (each.code !== undefined) expectThat(answer.requestId, seen).toMatch(/^\S+$/);
  expectNothingLeaks(answer.message);
}

/** An answer must not tell of the server's inside: files, directories, lines of code. */
function expectNothingLeaks(text: string): void {
  expect(text).not.toContain(server.dataDir);
  expect(text).not.toMatch(/\bat \S+ \(?(file:|node:|\/)/);
  expect(text).not.toMatch(/node_modules|dist\/|_delta_log|part-\S+\.parquet/);
}

/** Reads a server stream to its end, which must be an error. */
function drain(request: GrpcMessage): Promise<GrpcAnswer> {
  const stream = grpc.download('StreamQuery', request);
  return new Promise((resolve) => {
    let batches = 0;
    stream.on('data', () => (batches += 1));
    stream.once('end', () => resolve({ ok: true, response: { batches } }));
    stream.once('error', (error: unknown) => resolve(failureOf(error as ServiceError)));
  });
}
