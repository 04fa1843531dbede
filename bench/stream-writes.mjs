/**
 * (j) gRPC StreamWrite, a thousand records a message: records acknowledged a second, and the CPU that a thousand of them take on either side. The
 * messages are encoded once and sent again and again, because the client has the same cores as the server.
 */
import { once } from 'node:events';
import path from 'node:path';
import { Client, credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { REPOSITORY } from '../scripts/prepare.mjs';
import { callText } from './rest.mjs';
import { startServer } from './server.mjs';
import { integer } from './statistics.mjs';

const STREAMS = [1, 4];
const RECORDS_OF_A_MESSAGE = 1_000;
/** Enough that the server meets other ids and values each time. */
const MESSAGES = 10;
const TABLE = 'stream_writes';

export async function measureStreamWrites({ directory, sizes, say }) {
  const server = await startServer(directory);
  const client = new Client(server.grpcAddress, credentials.createInsecure());
  try {
    const method = loadStreamWrite();
    const messages = Array.from({ length: MESSAGES }, (_, number) => method.requestSerialize(messageOf(number)));
    say(`${integer(RECORDS_OF_A_MESSAGE)} records a message of ${integer(messages[0].length / 1e3)} kB, ${sizes.secondsOfLoad} s each`);
    const load = (streams, seconds) => runStreams(client, method, messages, streams, seconds);
    let sent = await load(STREAMS[0], sizes.secondsOfWarmUp);
    for (const streams of STREAMS) {
      const used = startCpuCount(server);
      const startedAt = performance.now();
      const records = await load(streams, sizes.secondsOfLoad);
      say(describe(streams, records, (performance.now() - startedAt) / 1_000, used()));
      sent += records;
    }
    await assertStored(server, sent);
  } finally {
    client.close();
    await server.stop();
  }
}

function loadStreamWrite() {
  const proto = path.join(REPOSITORY, 'proto');
  const definition = loadSync(path.join(proto, 'miniodb/v1/miniodb.proto'), { includeDirs: [proto], keepCase: true, longs: Number });
  return loadPackageDefinition(definition).miniodb.v1.MinIODBService.service.StreamWrite;
}

/** Records like those of (a). */
function messageOf(message) {
  const records = Array.from({ length: RECORDS_OF_A_MESSAGE }, (_, index) => {
    const number = message * RECORDS_OF_A_MESSAGE + index;
    const fields = {
      user_id: { numberValue: number % 10_007 },
      country: { stringValue: 'DE' },
      event: { stringValue: 'purchase' },
      price: { numberValue: 9.99 + (number % 100) },
      quantity: { numberValue: number % 7 },
      mobile: { boolValue: number % 2 === 0 },
      url: { stringValue: '/shop/item/4711' },
    };
    const timestamp = { seconds: 1_700_000_000 + Math.floor(number / 100), nanos: (number % 100) * 10_000_000 };
    return { id: `event-${number}`, timestamp, payload: { fields } };
  });
  return { table: TABLE, records };
}

/** @returns records acknowledged by the answers of all streams */
async function runStreams(client, method, messages, streams, seconds) {
  const stopAt = performance.now() + seconds * 1_000;
  const counts = await Promise.all(Array.from({ length: streams }, () => runStream(client, method, messages, stopAt)));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Sends as fast as the server takes it; the one answer comes when all that was sent is stored. */
async function runStream(client, { path: route, responseDeserialize }, messages, stopAt) {
  let call;
  const answered = new Promise((resolve, reject) => {
    const asIs = (bytes) => bytes;
    call = client.makeClientStreamRequest(route, asIs, responseDeserialize, new Metadata(), {}, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
  const failed = answered.then(() => undefined);
  let sent = 0;
  while (performance.now() < stopAt) {
    const hasRoom = call.write(messages[sent++ % messages.length]);
    if (!hasRoom) await Promise.race([once(call, 'drain'), failed]);
  }
  call.end();
  const { records_count: stored, errors } = await answered;
  if (stored !== sent * RECORDS_OF_A_MESSAGE)
    throw new Error(`sent ${sent * RECORDS_OF_A_MESSAGE} records, ${stored} were stored: ${errors[0]}`);
  return stored;
}

/** @returns gives the CPU seconds of both sides since now */
function startCpuCount(server) {
  const ofServer = server.cpuSeconds();
  const ofClient = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(ofClient);
    return { serverSeconds: server.cpuSeconds() - ofServer, clientSeconds: (user + system) / 1e6 };
  };
}

function describe(streams, records, seconds, { serverSeconds, clientSeconds }) {
  const eachThousand = (cpuSeconds) => `${((cpuSeconds * 1e3) / (records / 1_000)).toFixed(2)} ms`;
  const name = `${streams} ${streams === 1 ? 'stream: ' : 'streams:'}`;
  const cpu = `CPU for 1,000: server ${eachThousand(serverSeconds)}, client ${eachThousand(clientSeconds)}`;
  return `${name} ${integer(records / seconds).padStart(7)} records/s; ${cpu}`;
}

async function assertStored(server, sent) {
  const { rows } = JSON.parse(await callText(server.url, 'POST', '/v1/query', { sql: `SELECT count(*) AS stored FROM ${TABLE}` }));
  if (rows[0].stored !== sent) throw new Error(`${sent} records were acknowledged, ${rows[0].stored} are stored`);
}
