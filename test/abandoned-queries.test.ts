/**
 * Queries that nobody waits for any more: their client left, or its deadline has passed. They end at once, wherever they are, and free their slot; and one that
 * is ended from outside never looks like one that came to its end.
 */
import { once } from 'node:events';
import { connect, constants } from 'node:http2';
import { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { connectGrpc, failureOf, type GrpcConnection } from './support/grpc-client.js';
import { eventually, type JsonRow } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const SLOTS = 2;
const PATIENCE_MS = 10_000;
const FRAME_HEAD_BYTES = 5;

let server: RunningServer;
let grpc: GrpcConnection;
let marks = 0;

beforeAll(async () => {
  server = await startServer({
    config: { query: { concurrency_max: SLOTS, queue_wait_ms: 120_000, timeout_ms: 300_000, timeout_ms_max: 300_000 } },
  });
  grpc = connectGrpc(server);
});

afterEach(async () => {
  for (const { query_id: id } of await listed()) await call(server, 'DELETE', `/v1/queries/${String(id)}`);
  await untilListed(0);
});

afterAll(async () => {
  grpc?.close();
  await server?.kill();
});

/** A statement that runs for hours, and the number by which it is told from others. */
function endless(): { readonly sql: string; readonly mark: string } {
  const mark = `marked_${++marks}`;
  return { sql: `SELECT count(*) AS ${mark} FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8`, mark };
}

async function listed(mark = ''): Promise<JsonRow[]> {
  const { queries } = (await call(server, 'GET', '/v1/queries')).json as { queries: JsonRow[] };
  return queries.filter(({ sql }) => String(sql).includes(mark));
}

function untilListed(count: number, mark = '', state?: string): Promise<JsonRow[]> {
  return eventually(
    `${count} queries ${state ?? 'under way'}`,
    async () => (await listed(mark)).filter((query) => state === undefined || query['state'] === state),
    (queries) => queries.length === count,
    PATIENCE_MS,
  );
}

/** QueryData as a client sends it that may do as it likes, and its ways to leave. */
async function sendQuery(sql: string, deadlineMs?: number): Promise<{ cancel(): void; disconnect(): void; status(): Promise<unknown> }> {
  const text = Buffer.from(sql);
  const head = Buffer.from([0x0a, (text.length & 0x7f) | 0x80, text.length >> 7]);
  const frame = Buffer.alloc(FRAME_HEAD_BYTES);
  frame.writeUInt32BE(head.length + text.length, 1);
  const session = connect(`http://${server.grpc}`);
  await once(session, 'connect');
  const stream = session.request({
    ':method': 'POST',
    ':path': '/miniodb.v1.MinIODBService/QueryData',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(deadlineMs === undefined ? {} : { 'grpc-timeout': `${deadlineMs}m` }),
  });
  const answered = once(stream, 'response');
  answered.catch(() => undefined);
  stream.on('error', () => undefined);
  stream.resume();
  stream.end(Buffer.concat([frame, head, text]));
  return {
    cancel: () => stream.close(constants.NGHTTP2_CANCEL, () => session.destroy()),
    disconnect: () => session.destroy(),
    status: async () => {
      const [headers] = (await answered) as [Record<string, unknown>];
      session.destroy();
      return headers['grpc-status'];
    },
  };
}

/** POST /v1/query over a connection of its own, which can be closed. */
async function postQuery(sql: string, accept: string): Promise<Socket> {
  const { hostname, port } = new URL(server.rest);
  const socket = new Socket();
  socket.on('error', () => undefined);
  socket.connect(Number(port), hostname);
  await once(socket, 'connect');
  const body = JSON.stringify({ sql });
  const head = [
    'POST /v1/query HTTP/1.1',
    'host: x',
    'content-type: application/json',
    `accept: ${accept}`,
    `content-length: ${body.length}`,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  return socket;
}

describe('a unary query over gRPC ends', () => {
  it('when its client cancels', async () => {
    const { sql, mark } = endless();
    const query = await sendQuery(sql);
    await untilListed(1, mark, 'running');
    query.cancel();
    await untilListed(0, mark);
  });

  it('when its client closes the connection', async () => {
    const { sql, mark } = endless();
    const query = await sendQuery(sql);
    await untilListed(1, mark, 'running');
    query.disconnect();
    await untilListed(0, mark);
  });

  it('when its deadline passes, though its client stays', async () => {
    const { sql, mark } = endless();
    const query = await sendQuery(sql, 300);
    expect(await query.status()).toBe('4');
    await untilListed(0, mark);
  });

  it.each([
    ['is cancelled', (query: Awaited<ReturnType<typeof sendQuery>>) => query.cancel()],
    ['is cut off', (query: Awaited<ReturnType<typeof sendQuery>>) => query.disconnect()],
  ])('while it waits for a slot, when it %s; the next one moves up', async (_label, leave) => {
    const [first, ...others] = await Promise.all(Array.from({ length: SLOTS }, () => sendQuery(endless().sql)));
    await untilListed(SLOTS, '', 'running');
    const { sql, mark } = endless();
    const waiting = await sendQuery(sql);
    await untilListed(1, mark, 'waiting');
    const next = grpc.unary('QueryData', { sql: `SELECT 1 AS one_${++marks}` });
    await untilListed(2, '', 'waiting');
    leave(waiting);
    await untilListed(0, mark);
    first?.cancel();
    expect(await next).toMatchObject({ ok: true, response: { result_json: `[{"one_${marks}":1}]` } });
    for (const other of others) other.cancel();
  });

  it('while it waits for a slot past its deadline', async () => {
    const running = await Promise.all(Array.from({ length: SLOTS }, () => sendQuery(endless().sql)));
    await untilListed(SLOTS, '', 'running');
    const { sql, mark } = endless();
    const waiting = await sendQuery(sql, 500);
    await untilListed(1, mark, 'waiting');
    expect(await waiting.status()).toBe('4');
    await untilListed(0, mark);
    for (const other of running) other.cancel();
  });
});

describe('a query over REST ends', () => {
  it.each([
    'application/json',
    'application/x-ndjson',
    'text/csv',
    'application/vnd.apache.parquet',
    'application/vnd.apache.arrow.stream',
  ])('when its client closes the connection: %s', async (accept) => {
    const { sql, mark } = endless();
    const socket = await postQuery(sql, accept);
    await untilListed(1, mark, 'running');
    socket.destroy();
    await untilListed(0, mark);
  });

  it('while it waits for a slot', async () => {
    const running = await Promise.all(Array.from({ length: SLOTS }, () => postQuery(endless().sql, '*/*')));
    await untilListed(SLOTS, '', 'running');
    const { sql, mark } = endless();
    const waiting = await postQuery(sql, '*/*');
    await untilListed(1, mark, 'waiting');
    waiting.destroy();
    await untilListed(0, mark);
    for (const socket of running) socket.destroy();
  });
});

describe('a stream over gRPC whose client does not read', () => {
  const sql = (mark: string): string => `SELECT range AS ${mark}, repeat('x', 1000) AS filler FROM range(60000)`;

  it('fails when its query is stopped, and never looks whole', async () => {
    const mark = `marked_${++marks}`;
    const stream = grpc.download('StreamQuery', { sql: sql(mark), batch_size: 1_000 });
    const ended = new Promise<unknown>((resolve) => {
      stream.once('error', (error) => resolve(failureOf(error as Parameters<typeof failureOf>[0])));
      stream.once('end', () => resolve('the end of the result'));
    });
    stream.once('data', () => stream.pause());
    const [query] = await eventually(
      'its first batch is taken',
      () => listed(mark),
      (queries) => stream.isPaused() && queries.length === 1,
      PATIENCE_MS,
    );
    expect((await call(server, 'DELETE', `/v1/queries/${String(query?.['query_id'])}`)).status).toBe(200);
    await untilListed(0, mark);
    stream.resume();
    expect(await ended).toMatchObject({ ok: false, errorCode: 'CANCELLED' });
  });

  it('holds no slot past its deadline', async () => {
    const mark = `marked_${++marks}`;
    const stream = await openStalledStream(sql(mark), 3_000);
    await untilListed(1, mark);
    await untilListed(0, mark);
    stream.destroy();
  });
});

/** StreamQuery of a client that reads nothing and has no clock of its own. */
async function openStalledStream(sql: string, deadlineMs: number): Promise<{ destroy(): void }> {
  const text = Buffer.from(sql);
  const head = Buffer.from([0x0a, text.length]);
  const frame = Buffer.alloc(FRAME_HEAD_BYTES);
  frame.writeUInt32BE(head.length + text.length, 1);
  const session = connect(`http://${server.grpc}`);
  await once(session, 'connect');
  const stream = session.request({
    ':method': 'POST',
    ':path': '/miniodb.v1.MinIODBService/StreamQuery',
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-timeout': `${deadlineMs}m`,
  });
  stream.on('error', () => undefined);
  stream.end(Buffer.concat([frame, head, text]));
  // The first batch is on its way then.
  await once(stream, 'response');
  return session;
}
