/** (e) From the start of the process to the ready line, and the memory of a server that nobody has asked anything yet. */
import { setTimeout as wait } from 'node:timers/promises';
import { startServer } from './server.mjs';
import { integer, median } from './statistics.mjs';

/** Long enough for what the start leaves behind (compiled code, garbage) to settle. */
const IDLE_MS = 3_000;

export async function measureStart({ directory, sizes, say }) {
  const starts = [];
  for (let start = 0; start < sizes.starts; start++) starts.push(await startOnce(directory));
  say(`ready after ${integer(median(starts.map(({ readyMs }) => readyMs)))} ms, median of ${sizes.starts} (empty data directory)`);
  say(`${(median(starts.map(({ residentBytes }) => residentBytes)) / 2 ** 20).toFixed(0)} MiB resident ${IDLE_MS / 1_000} s later`);
}

async function startOnce(directory) {
  const server = await startServer(directory);
  await wait(IDLE_MS);
  const residentBytes = server.residentBytes();
  await server.stop();
  return { readyMs: server.readyMs, residentBytes };
}
