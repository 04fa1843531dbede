/** An installed server as a process of ours: started, asked over loopback, ended by its process group, each within a bound. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { expectEqual, expectTrue } from './checks.mjs';

const READY = /MinIODB ready: rest=(\S+)/;
const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
const ASK_MS_MAX = 10_000;

/**
 * @param {string[]} command
 * @param {{cwd: string, env: Record<string, string>}} options where env is all of the environment
 * @returns {Promise<{url: string, startedAt: number, stop: () => Promise<number | null>}>} once it is ready
 */
export async function startInstalled([program, ...parameters], { cwd, env }) {
  const startedAt = performance.now();
  const child = spawn(program, parameters, {
    cwd,
    env: { REST_PORT: '0', GRPC_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: npx and the shell have the server as a child.
    detached: true,
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (printed += bytes));
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', (error) => resolve(error.message)));
  const kill = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It is gone.
    }
  };
  const endWithUs = () => kill('SIGKILL');
  process.once('exit', endWithUs);
  void ended.then(() => process.removeListener('exit', endWithUs));
  const stop = async () => {
    kill('SIGTERM');
    const code = await Promise.race([ended, sleep(STOP_MS_MAX, 'too long', { ref: false })]);
    if (code === 'too long') kill('SIGKILL');
    return code;
  };
  const isOver = Promise.race([ended, sleep(READY_MS_MAX, 'not ready in time', { ref: false })]).then((why) => ({ why }));
  for (;;) {
    const [, url] = READY.exec(printed) ?? [];
    if (url !== undefined) return { url, startedAt, stop, pid: child.pid };
    const over = await Promise.race([isOver, sleep(20)]);
    if (over === undefined) continue;
    kill('SIGKILL');
    throw new Error(`${program} did not get ready (${over.why}):\n${printed.slice(-4_000)}`);
  }
}

/** One record in. */
export async function writeOne(url, id) {
  const { success } = await ask(`${url}/v1/data`, { table: 'trial', data: { id, payload: { n: id.length } } });
  expectEqual(success, true, `the write of ${id}`);
}

/** All records, in order. */
export async function idsOf(url) {
  const { rows } = await ask(`${url}/v1/query`, { sql: 'SELECT id FROM trial ORDER BY id' });
  return rows?.map(({ id }) => id);
}

async function ask(url, body) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ASK_MS_MAX),
  });
  return answer.json();
}

/**
 * Starts, writes, queries, stops, and once more to see that the record is still there.
 * @returns {Promise<string>} how long it took to the first answer of a query
 */
export async function tryServer(command, options) {
  const server = await startInstalled(command, options);
  let toFirstQuery;
  try {
    await writeOne(server.url, 'a');
    expectEqual(await idsOf(server.url), ['a'], 'the first query');
    toFirstQuery = performance.now() - server.startedAt;
  } finally {
    expectTrue([0, null].includes(await server.stop()), 'it stops when told to');
  }
  const again = await startInstalled(command, options);
  try {
    expectEqual(await idsOf(again.url), ['a'], 'after a restart');
  } finally {
    await again.stop();
  }
  return `first query after ${(toFirstQuery / 1_000).toFixed(1)} s`;
}
