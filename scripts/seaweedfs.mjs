/**
 * SeaweedFS (Apache-2.0), a second S3 store for the long tests beside Ceph's radosgw: built from its Go module, run on free loopback ports in a temporary
 * folder, with all its parts in one process.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from './test-release/free-ports.mjs';
import { goTool, hasGo } from './test-release/tools.mjs';

const READY_MS_MAX = 90_000;
const STOP_MS_MAX = 20_000;
/** For volumes, of which each bucket takes several. */
const VOLUMES_MAX = 2_000;

/** @returns {string | undefined} why it cannot be had here */
export function missingForSeaweedfs() {
  return hasGo() ? undefined : 'SeaweedFS is built with Go';
}

/** @returns {Promise<{environment: Record<string, string>, stop: () => Promise<void>}>} what names it to the tests */
export async function startSeaweedfs() {
  const program = goTool('seaweedfs', 'github.com/seaweedfs/seaweedfs/weed');
  const folder = mkdtempSync(path.join(os.tmpdir(), 'miniodb-seaweedfs-'));
  const [accessKey, secretKey] = [randomBytes(10).toString('hex'), randomBytes(20).toString('hex')];
  const identity = { name: 'tests', credentials: [{ accessKey, secretKey }], actions: ['Admin', 'Read', 'Write', 'List', 'Tagging'] };
  const config = path.join(folder, 's3.json');
  writeFileSync(config, JSON.stringify({ identities: [identity] }), { mode: 0o600 });
  const parts = [
    'master.port',
    'master.port.grpc',
    'volume.port',
    'volume.port.grpc',
    'filer.port',
    'filer.port.grpc',
    's3.port',
    's3.port.grpc',
  ];
  const ports = await freePorts(parts.length);
  const child = spawn(
    program,
    [
      ...['server', `-dir=${folder}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-filer', '-s3', `-s3.config=${config}`],
      ...[`-volume.max=${VOLUMES_MAX}`, '-master.volumeSizeLimitMB=64', '-master.telemetry=false'],
      ...parts.map((name, index) => `-${name}=${ports[index]}`),
    ],
    { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (printed = (printed + bytes).slice(-4_000)));
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  const endWithUs = () => child.kill('SIGKILL');
  process.once('exit', endWithUs);
  const stop = async () => {
    child.kill('SIGTERM');
    if ((await Promise.race([ended, sleep(STOP_MS_MAX, 'too long', { ref: false })])) === 'too long') child.kill('SIGKILL');
    process.removeListener('exit', endWithUs);
    rmSync(folder, { recursive: true, force: true });
  };
  const endpoint = `http://127.0.0.1:${ports[parts.indexOf('s3.port')]}`;
  try {
    await answers(endpoint, ended);
  } catch (error) {
    await stop();
    throw new Error(`SeaweedFS: ${error.message}\n${printed}`);
  }
  const environment = {
    TEST_S3_ENDPOINT: endpoint,
    TEST_S3_ACCESS_KEY: accessKey,
    TEST_S3_SECRET_KEY: secretKey,
    TEST_S3_REGION: 'us-east-1',
  };
  return { environment, stop };
}

/** Without credentials it says 403, once all its parts know each other. */
async function answers(endpoint, ended) {
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  for (const startedAt = Date.now(); Date.now() - startedAt < READY_MS_MAX; await sleep(200)) {
    if (hasEnded) throw new Error('it ended before it was ready');
    try {
      const { status } = await fetch(endpoint, { signal: AbortSignal.timeout(2_000) });
      if (status === 403 || status === 200) return;
    } catch {
      // It does not listen yet.
    }
  }
  throw new Error('it was not ready in time');
}
