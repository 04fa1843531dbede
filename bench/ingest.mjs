/**
 * (l) Bodies of some hundred to some thousand rows of five columns over eight connections, as collectors send them: rows acknowledged a second and
 * the server's CPU for a row, by format; then how the size of a request counts. The bodies are made once and sent again and again.
 */
import { tableFromArrays, tableToIPC, Utf8, Timestamp, TimeUnit, vectorFromArray } from 'apache-arrow';
import { runLoad } from './load-generator.mjs';
import { callText } from './rest.mjs';
import { startServer } from './server.mjs';
import { integer, milliseconds, quantile } from './statistics.mjs';

const CONNECTIONS = 8;
const ROWS = 1_000;
const SIZES_OF_REQUESTS = [100, 20_000];
/** Enough that the server meets other values each time. */
const BODIES = 10;

const KINDS = {
  Arrow: { path: bulkPath, mediaType: 'application/vnd.apache.arrow.stream', body: arrowBody },
  NDJSON: {
    path: bulkPath,
    mediaType: 'application/x-ndjson',
    body: (rows) => Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join('')),
  },
  'JSON batch': { path: () => '/v1/data', mediaType: 'application/json', body: batchBody },
};

export async function measureIngest({ directory, sizes, say }) {
  const server = await startServer(directory);
  try {
    for (const kind of Object.keys(KINDS)) {
      const table = kind.toLowerCase().replace(' ', '_');
      await callText(server.url, 'POST', '/v1/tables', { table_name: table });
      const load = (rows, seconds) => loadWith(server, KINDS[kind], table, rows, seconds);
      await load(ROWS, sizes.secondsOfWarmUp);
      const middle = await load(ROWS, sizes.secondsOfLoad);
      say(`${kind.padEnd(10)} ${describe(middle)}`);
      if (kind === 'JSON batch') continue;
      const [small, large] = [await load(SIZES_OF_REQUESTS[0], sizes.secondsOfLoad), await load(SIZES_OF_REQUESTS[1], sizes.secondsOfLoad)];
      say(
        `${''.padEnd(10)} at ${SIZES_OF_REQUESTS.map(integer).join(' and ')} rows a request: ${integer(small.perSecond)} and ${integer(large.perSecond)} rows/s, ${(small.perSecond / large.perSecond).toFixed(2)} times`,
      );
    }
  } finally {
    await server.stop();
  }
}

async function loadWith(server, { path, mediaType, body }, table, rows, seconds) {
  const { host } = new URL(server.url);
  const requests = Array.from({ length: BODIES }, (_, number) => {
    const bytes = body(rowsOf(number, rows), table);
    const head = `POST ${path(table)} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: ${mediaType}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), bytes]);
  });
  let next = 0;
  const cpuBefore = server.cpuSeconds();
  const result = await runLoad({ url: server.url, connections: CONNECTIONS, seconds, nextRequest: () => requests[next++ % BODIES] });
  const unexpected = [...result.statuses.keys()].filter((status) => status !== 200 && status !== 429);
  if (unexpected.length > 0) throw new Error(`answered ${unexpected.join()}: ${result.firstRefusal}`);
  return {
    perSecond: (result.answered * rows) / result.seconds,
    cpuMicroseconds: ((server.cpuSeconds() - cpuBefore) / (result.answered * rows)) * 1e6,
    p99: quantile(result.latenciesMs, 0.99),
    refused: result.refused,
  };
}

function describe({ perSecond, cpuMicroseconds, p99, refused }) {
  return `${integer(perSecond).padStart(10)} rows/s, ${cpuMicroseconds.toFixed(2)} us server CPU a row, p99 ${milliseconds(p99)}, ${refused} answered 429`;
}

function rowsOf(body, count) {
  return Array.from({ length: count }, (_, index) => {
    const number = body * count + index;
    return {
      id: `reading-${number}`,
      timestamp: new Date(1_700_000_000_000 + number * 10).toISOString(),
      device: `device-${number % 97}`,
      temperature: 20 + (number % 1_000) / 100,
      counter: number,
    };
  });
}

function bulkPath(table) {
  return `/v1/data/bulk?table=${table}`;
}

function batchBody(rows, table) {
  return Buffer.from(JSON.stringify({ table, records: rows.map(({ id, timestamp, ...payload }) => ({ id, timestamp, payload })) }));
}

function arrowBody(rows) {
  const text = (name) =>
    vectorFromArray(
      rows.map((row) => row[name]),
      new Utf8(),
    );
  const table = tableFromArrays({
    id: text('id'),
    timestamp: vectorFromArray(
      rows.map(({ timestamp }) => new Date(timestamp)),
      new Timestamp(TimeUnit.MILLISECOND, 'UTC'),
    ),
    device: text('device'),
    temperature: Float64Array.from(rows, ({ temperature }) => temperature),
    counter: BigInt64Array.from(rows, ({ counter }) => BigInt(counter)),
  });
  return Buffer.from(tableToIPC(table, 'stream'));
}
