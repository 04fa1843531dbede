/** Memory of the server while a stream is longer than all it may keep, in both directions. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { connectGrpc, type GrpcConnection, type GrpcMessage, responseOf, structOf } from '../support/grpc-client.js';
import { eventually, memoryOf, rowsOf, write } from '../support/requests.js';
import { type RunningServer, startServer } from '../support/server.js';

const MIB = 1_024 * 1_024;

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

interface Batch {
  readonly records: GrpcMessage[];
  readonly has_more: boolean;
}

const recordsFrom = (first: number, count: number, filler: string): GrpcMessage[] =>
  Array.from({ length: count }, (_, index) => ({ id: `s-${first + index}`, payload: structOf({ n: first + index, filler }) }));

test('StreamWrite pushes back: a stream larger than every queue is stored whole, without an error, in bounded memory', async () => {
  const messages = 200;
  const recordsPerMessage = 500;
  const filler = 'x'.repeat(1_000);
  const narrow = await startServer({
    config: {
      log: { file: '' },
      limits: { body_bytes_max: 4 * MIB },
      wal: { queue_bytes_max: 4 * MIB },
      tables: { buffer_size: 20_000 },
    },
  });
  const connection = connectGrpc(narrow);
  try {
    await write(narrow, 'warm', 'a', { n: 1 });
    const before = memoryOf(narrow.pid);
    const { call: stream, answer } = connection.upload('StreamWrite');
    let pauses = 0;
    for (let message = 0; message < messages; message += 1) {
      if (stream.write({ table: 'pushed', records: recordsFrom(message * recordsPerMessage, recordsPerMessage, filler) })) continue;
      pauses += 1;
      await once(stream, 'drain');
    }
    stream.end();
    expect(await responseOf(answer)).toMatchObject({ success: true, records_count: String(messages * recordsPerMessage), errors: [] });
    expect(pauses).toBeGreaterThan(0);
    expect(await rowsOf(narrow, 'SELECT count(*) AS c, count(DISTINCT id) AS ids FROM pushed')).toEqual([{ c: 100_000, ids: 100_000 }]);
    const peak = memoryOf(narrow.pid, 'VmHWM') - before;
    console.log(
      `StreamWrite of ${Math.round((messages * recordsPerMessage * filler.length) / MIB)} MiB: peak memory +${Math.round(peak / MIB)} MiB`,
    );
    expect(peak).toBeLessThan(600 * MIB);
  } finally {
    connection.close();
    await narrow.kill();
  }
}, 300_000);

test('StreamQuery pushes back: a client that does not read keeps the server from reading ahead', async () => {
  const rows = 1_000_000;
  const stream = grpc.download('StreamQuery', {
    sql: `SELECT range::VARCHAR AS id, repeat('x', 300) AS filler FROM range(${rows})`,
    batch_size: 1_000,
  });
  let seen = 0;
  stream.on('data', (batch: Batch) => {
    if (seen === 0) stream.pause();
    seen += batch.records.length;
  });
  await eventually(
    'the first batch has come',
    () => seen,
    (count) => count > 0,
  );
  const before = memoryOf(server.pid);
  const deadline = Date.now() + 3_000;
  let highest = before;
  await eventually(
    'the pause is over',
    () => (highest = Math.max(highest, memoryOf(server.pid))),
    () => Date.now() > deadline,
  );
  console.log(`StreamQuery, client paused for 3 s: server memory +${Math.round((highest - before) / MIB)} MiB`);
  expect(highest - before).toBeLessThan(200 * MIB);
  stream.resume();
  await once(stream, 'end');
  expect(seen).toBe(rows);
  expect(memoryOf(server.pid, 'VmHWM') - before).toBeLessThan(400 * MIB);
}, 300_000);
