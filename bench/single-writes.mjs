/** (a) One record a request: the server's CPU for it, how many a second, how long each waits. Every answer means "on disk". */
import { callText } from './rest.mjs';
import { runLoad } from './load-generator.mjs';
import { startServer } from './server.mjs';
import { integer, milliseconds, quantile } from './statistics.mjs';

const CONNECTIONS = [1, 64];

export async function measureSingleWrites({ directory, sizes, say }) {
  const server = await startServer(directory);
  try {
    for (const connections of CONNECTIONS) say(describe(connections, await loadWithWrites(server, connections, sizes)));
  } finally {
    await server.stop();
  }
}

/** Warms up, then loads; the CPU time is the server's alone, all its threads, flushes that fall into the time included. */
export async function loadWithWrites(server, connections, { secondsOfWarmUp, secondsOfLoad }, headers = {}) {
  await callText(server.url, 'POST', '/v1/tables', { table_name: 'single_writes', if_not_exists: true }, headers);
  const nextRequest = requestsTo(server.url, headers);
  await runLoad({ url: server.url, connections, seconds: secondsOfWarmUp, nextRequest });
  const cpuBefore = server.cpuSeconds();
  const result = await runLoad({ url: server.url, connections, seconds: secondsOfLoad, nextRequest });
  if (result.refused > 0) throw new Error(`${result.refused} writes were refused; the first one: ${result.firstRefusal}`);
  return { ...result, cpuSeconds: server.cpuSeconds() - cpuBefore, perSecond: result.answered / result.seconds };
}

function describe(connections, { answered, cpuSeconds, perSecond, latenciesMs }) {
  const cpu = `${((cpuSeconds / answered) * 1e6).toFixed(0)} us server CPU each`;
  const latency = `p50 ${milliseconds(quantile(latenciesMs, 0.5))}, p99 ${milliseconds(quantile(latenciesMs, 0.99))}`;
  return `${String(connections).padStart(2)} connections: ${integer(perSecond).padStart(7)} requests/s, ${cpu}, ${latency}`;
}

let lastNumber = 0;

/** Requests of some 250 bytes of JSON, each with an id of its own. */
function requestsTo(url, headers) {
  const { host } = new URL(url);
  const more = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  return () => {
    const number = ++lastNumber;
    const payload = {
      user_id: number % 10_007,
      country: 'DE',
      event: 'purchase',
      price: 9.99 + (number % 100),
      quantity: number % 7,
      mobile: number % 2 === 0,
      url: '/shop/item/4711',
    };
    const timestamp = new Date(1_700_000_000_000 + number * 10).toISOString();
    const body = JSON.stringify({ table: 'single_writes', data: { id: `event-${number}`, timestamp, payload } });
    return Buffer.from(
      `POST /v1/data HTTP/1.1\r\nHost: ${host}\r\n${more}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  };
}
