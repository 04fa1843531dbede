/**
 * (d) The share of write throughput that fsync takes: the 64-connection load of (a) on a server as it is, and on one whose fsync and
 * fdatasync do nothing. The product has no such switch, so a preloaded library of two functions takes their place (no-sync.c).
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServer } from './server.mjs';
import { loadWithWrites } from './single-writes.mjs';
import { integer, median } from './statistics.mjs';

const CONNECTIONS = 64;

export async function measureSyncShare({ directory, sizes, say }) {
  const library = compileShim(directory);
  if (library === undefined) {
    say('NOT MEASURED: no C compiler (cc) that makes a shared library for LD_PRELOAD on this machine.');
    return;
  }
  const withSync = [];
  const withoutSync = [];
  for (let round = 0; round < sizes.rounds; round++) {
    withSync.push(await writesPerSecond(directory, sizes, {}));
    const witness = path.join(directory, `no-sync-${round}`);
    withoutSync.push(await writesPerSecond(directory, sizes, { LD_PRELOAD: library, BENCH_NO_SYNC_WITNESS: witness }));
    if (!existsSync(witness)) throw new Error('the server never called the replaced fsync: this measurement would be worthless');
  }
  const share = 1 - median(withSync.map((perSecond, round) => perSecond / withoutSync[round]));
  say(`${CONNECTIONS} connections: ${integer(median(withSync))} requests/s with fsync, ${integer(median(withoutSync))} without`);
  say(`fsync costs ${(share * 100).toFixed(0)} % of the throughput (median of ${sizes.rounds} pairs)`);
}

function compileShim(directory) {
  if (process.platform !== 'linux') return undefined;
  const library = path.join(directory, 'no-sync.so');
  const source = fileURLToPath(new URL('./no-sync.c', import.meta.url));
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, source], { stdio: ['ignore', 'ignore', 'inherit'] });
  return status === 0 ? library : undefined;
}

async function writesPerSecond(directory, sizes, environment) {
  const server = await startServer(directory, environment);
  try {
    return (await loadWithWrites(server, CONNECTIONS, sizes)).perSecond;
  } finally {
    await server.stop();
  }
}
