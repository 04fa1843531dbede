/** The built server as a child process on free ports, for the demo and the benchmark; it ends with the process that started it. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY } from './prepare.mjs';

const READY = /^MinIODB ready: rest=(\S+) grpc=(\S+)/m;
const READY_MS_MAX = 60_000;
const PRINTED_CHARACTERS_KEPT = 10_000;

/**
 * @param {Record<string, string>} environment settings, DATA_DIR above all
 * @param {string[]} nodeOptions of Node itself
 * @returns {Promise<{url: string, grpcAddress: string, pid: number, readyMs: number, stop: () => Promise<void>}>} once it is ready
 * @throws Error with what it printed, when it ends before or takes too long
 */
export async function startServerProcess(environment, nodeOptions = []) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...nodeOptions, path.join(REPOSITORY, 'dist', 'main.cjs')], {
    cwd: REPOSITORY,
    env: { ...process.env, REST_PORT: '0', GRPC_PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const endWithUs = () => child.kill('SIGKILL');
  process.once('exit', endWithUs);
  const ended = new Promise((resolve) => child.once('exit', resolve)).finally(() => process.removeListener('exit', endWithUs));
  const { url, grpcAddress } = await readyAddresses(child, ended);
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return { url, grpcAddress, pid: child.pid, readyMs: performance.now() - startedAt, stop };
}

function readyAddresses(child, ended) {
  let printed = '';
  return new Promise((resolve, reject) => {
    const giveUp = (why) => {
      child.kill('SIGKILL');
      reject(new Error(`The server ${why}:\n${printed}`));
    };
    const timer = setTimeout(giveUp, READY_MS_MAX, `was not ready after ${READY_MS_MAX / 1_000} s`);
    void ended.then((code) => giveUp(`ended (${code}) before it was ready`)).finally(() => clearTimeout(timer));
    const take = (bytes) => {
      printed = (printed + bytes).slice(-PRINTED_CHARACTERS_KEPT);
      const [, url, grpcAddress] = READY.exec(printed) ?? [];
      if (url === undefined) return;
      clearTimeout(timer);
      resolve({ url, grpcAddress });
    };
    for (const stream of [child.stdout, child.stderr]) stream.on('data', take);
  });
}
