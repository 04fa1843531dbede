/**
 * Client streams of gRPC that are cancelled at the border of two records: a bulk body that was cut off there looks whole and is not, so nothing of it is
 * stored; a StreamWrite keeps the messages that came, each of which is a write of its own.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { connectGrpc, type GrpcConnection, type GrpcMessage } from './support/grpc-client.js';
import { countOf, createTable, eventually } from './support/requests.js';
import { type RunningServer, startServer } from './support/server.js';
import { metric, valuesOf } from './support/metrics.js';
import { QUIET } from './support/backups.js';

let server: RunningServer;
let grpc: GrpcConnection;

beforeAll(async () => {
  server = await startServer({ config: QUIET });
  grpc = connectGrpc(server);
});

afterAll(async () => {
  grpc?.close();
  await server?.kill();
});

/** Sends messages, and cancels once the server has them: what comes after them on the same connection was answered. */
async function sendAndCancel(method: string, messages: readonly GrpcMessage[]): Promise<void> {
  const { call, answer } = grpc.upload(method);
  call.on('error', () => undefined);
  for (const message of messages) await new Promise((resolve) => call.write(message, resolve));
  for (let n = 0; n < 10; n += 1) expect((await grpc.unary('ListTables', {})).ok).toBe(true);
  call.cancel();
  expect((await answer).ok).toBe(false);
}

/** Requests of a method that the server is done with. */
async function doneWith(method: string, table: string): Promise<number> {
  const of = async (status: string): Promise<number> =>
    (await metric(server, `miniodb_requests_total{method="${method}",status="${status}",table="${table}"}`)) ?? 0;
  return (
    (await of('success')) +
    (await of('error')) +
    ((await metric(server, `miniodb_requests_total{method="${method}",status="error",table=""}`)) ?? 0)
  );
}

it.each([
  ['ndjson', ['{"id":"a","n":1}\n', '{"id":"b","n":2}\n']],
  ['csv', ['id,n\na,1\n', 'b,2\n']],
])('a bulk body that is cancelled behind a whole row leaves nothing: %s', async (format, [first = '', second = '']) => {
  const table = `cut_${format}`;
  await createTable(server, table);
  const before = await doneWith('bulk_write', table);
  await sendAndCancel('BulkWrite', [{ table, format, data: Buffer.from(first) }, { data: Buffer.from(second) }]);
  await eventually(
    'the call has ended',
    () => doneWith('bulk_write', table),
    (count) => count > before,
  );
  expect(await countOf(server, table)).toBe(0);
});

it('a StreamWrite that is cancelled keeps what had come, and is counted once', async () => {
  await createTable(server, 'cut_stream');
  const record = (id: string): GrpcMessage => ({ table: 'cut_stream', records: [{ id, payload: { fields: {} } }] });
  await sendAndCancel('StreamWrite', [record('a'), record('b')]);
  const series = async (): Promise<string[]> =>
    [...(await valuesOf(server)).keys()].filter((name) => /^miniodb_requests_total.*stream_write/.test(name));
  const counted = await eventually('it is counted', series, (names) => names.length > 0);
  // As a failure or not: Node's client ends its side of a stream before it resets it.
  expect(counted).toHaveLength(1);
  expect(await countOf(server, 'cut_stream')).toBe(2);
});

it('streams that are not cancelled are stored whole', async () => {
  const { call, answer } = grpc.upload('BulkWrite');
  call.write({ table: 'whole', format: 'ndjson', data: Buffer.from('{"id":"a"}\n') });
  call.write({ data: Buffer.from('{"id":"b"}\n') });
  call.end();
  expect(await answer).toMatchObject({ ok: true, response: { success: true, count: '2' } });
  expect(await countOf(server, 'whole')).toBe(2);
});
