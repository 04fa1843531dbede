/** `npm run check-storage` against a real S3 store, against one that lacks things, and against directories: the verdicts, and that nothing is left. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { LOOPBACK, withFreePorts } from './servers/free-ports.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import { type S3Proxy, startS3Proxy, type Weaknesses } from './support/s3-proxy.js';
import { temporaryDirectory } from './support/server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const MAIN = path.join(REPOSITORY, 'dist', 'check-storage.js');
const CHECKS_OF_ALL = [
  'put and get',
  'overwrite',
  'delete',
  'put-if-absent',
  'read after write',
  'list after write',
  'list of 1100 keys',
  'latency',
];
const CHECKS_OF_S3 = [
  'connection and bucket',
  ...CHECKS_OF_ALL,
  'checksum of our own',
  'damaged upload',
  'large object',
  'wrong secret key',
  'clock',
];

interface Report {
  readonly exitCode: number | null;
  readonly text: string;
  /** By the name of the check, with the lines about the server and the remedy. */
  readonly findings: ReadonlyMap<string, { readonly verdict: string; readonly text: string }>;
}

let store: TestObjectStore;
let bucket: string;
let proxy: S3Proxy | undefined;

beforeAll(async () => {
  store = await testObjectStore();
});

afterEach(async () => {
  await proxy?.close();
  proxy = undefined;
});

afterAll(closeTestServers);

describe('a store that is fit', () => {
  it('passes every check, a large object in parts among them, and is left as it was', async () => {
    await useNewBucket();
    await store.client.putObject(bucket, 'mine', 'stays');
    const report = await checkStorage(ofStore());
    expect(report.text).toContain(`bucket ${bucket} at ${new URL(store.endpoint).host}, for tables`);
    expect([...report.findings.keys()]).toEqual(expect.arrayContaining(CHECKS_OF_S3));
    for (const [name, { verdict, text }] of report.findings) expectThat(verdict, `${name}: ${text}`).toBe('ok');
    expect(report.findings.get('large object')?.text).toMatch(/257 MiB in 2 parts, \d+ MB\/s up, \d+ MB\/s down/);
    expect(lastLine(report)).toBe('fit');
    expect(report.exitCode).toBe(0);
    expect(await keysOfBucket()).toEqual(['mine']);
  });

  it('need not have the bucket: it is made, and removed again', async () => {
    bucket = `miniodb-test-${randomUUID()}`;
    const report = await checkStorage(ofStore(), ['--quick']);
    expect(report.findings.get('connection and bucket')?.text).toContain('did not exist and can be created');
    expect(report.findings.get('large object')?.verdict).toBe('skipped');
    expectThat(report.exitCode, report.text).toBe(0);
    expect(await store.client.bucketExists(bucket)).toBe(false);
  });
});

describe('the bucket for backups', () => {
  it('is checked as well', async () => {
    await useNewBucket();
    const report = await checkStorage(forBackups(ofStore()), ['--quick']);
    expect(report.text).toMatch(new RegExp(`^directory .*\\nfit\\n\\nbucket ${bucket} at .*, for backups\\n.*\\nfit\\n$`, 's'));
    expect(report.exitCode).toBe(0);
  });

  it('may lack conditional puts: the server looks first there, too', async () => {
    const report = await checkStorage(forBackups(await throughProxy({ condition: 'unknown' })), ['--quick']);
    expect(report.text).toMatch(/LACKING +put-if-absent .*NotImplemented.*\n +means: the server checks for a key before/);
    expect(report.exitCode).toBe(0);
  });
});

describe('a store that lacks conditional puts', () => {
  it('is told so, with what the server does instead', async () => {
    const report = await checkStorage(await throughProxy({ condition: 'ignored' }), ['--quick']);
    const finding = report.findings.get('put-if-absent');
    expect(finding?.verdict).toBe('LACKING');
    expect(finding?.text).toContain('a second put of a key was accepted and replaced the first');
    expect(finding?.text).toContain('under a lock of its own: safe as long as no second server writes to this bucket');
    expect(finding?.text).toContain('REDIS_MODE');
    expect(report.findings.get('put-if-absent, 16 at once')).toMatchObject({
      verdict: 'LACKING',
      text: expect.stringContaining('16 of 16 were told that they had created the key'),
    });
    expect(lastLine(report)).toBe('fit, with the limitations listed above: put-if-absent, put-if-absent, 16 at once');
    expect(report.exitCode).toBe(0);
    expect(await keysOfBucket()).toEqual([]);
  });

  it('says that it does not know them, and counts on the lock in Redis where the configuration names one', async () => {
    const environment = { ...(await throughProxy({ condition: 'unknown' })), REDIS_MODE: 'standalone' };
    const report = await checkStorage(environment, ['--quick']);
    for (const name of ['put-if-absent', 'put-if-absent, 16 at once']) {
      const finding = report.findings.get(name);
      expectThat(finding?.verdict, report.text).toBe('LACKING');
      expect(finding?.text).toContain('the store does not know the condition (NotImplemented)');
      expect(finding?.text).toContain('safe as long as every server that writes to this bucket uses the same Redis');
    }
    expect(report.exitCode).toBe(0);
  });

  it('is not fit when it keeps the condition only for one put after the other', async () => {
    const report = await checkStorage(await throughProxy({ condition: 'not-atomic' }), ['--quick']);
    expect(report.findings.get('put-if-absent')?.verdict).toBe('ok');
    const finding = report.findings.get('put-if-absent, 16 at once');
    expectThat(finding?.verdict, report.text).toBe('FAILED');
    expect(finding?.text).toContain('MINIODB_MINIO__PUT_IF_ABSENT=check');
    expect(lastLine(report)).toBe('NOT FIT: put-if-absent, 16 at once');
    expect(report.exitCode).toBe(1);
    expect(await keysOfBucket()).toEqual([]);
  });

  it('is fit, within limits, once the remedy is taken', async () => {
    const environment = { ...(await throughProxy({ condition: 'not-atomic' })), MINIODB_MINIO__PUT_IF_ABSENT: 'check' };
    const report = await checkStorage(environment, ['--quick']);
    expectThat(report.findings.get('put-if-absent, 16 at once')?.verdict, report.text).toBe('LACKING');
    expect(report.exitCode).toBe(0);
  });
});

describe('a store with smaller faults', () => {
  it('lacks what it does not do, each by name', async () => {
    const environment = await throughProxy({ lostHeaders: ['x-amz-meta-sha256'], acceptsDamage: true, clockAheadMs: 120_000 });
    const report = await checkStorage(environment, ['--quick']);
    const lacking = [...report.findings].filter(([, { verdict }]) => verdict === 'LACKING').map(([name]) => name);
    expectThat(lacking, report.text).toEqual(['checksum of our own', 'damaged upload', 'clock']);
    expect(report.findings.get('clock')?.text).toMatch(/1(19|20|21)\.\d s ahead of this machine's/);
    expect(report.exitCode).toBe(0);
  });

  it('is not fit when its lists are stale, and what was made is removed without them', async () => {
    const report = await checkStorage(await throughProxy({ staleLists: true }), ['--quick']);
    expectThat(report.findings.get('list after write')?.verdict, report.text).toBe('FAILED');
    expect(report.findings.get('list of 1100 keys')?.text).toContain('has 0 keys instead of 1100');
    expect(report.exitCode).toBe(1);
    expect(await keysOfBucket()).toEqual([]);
  });
});

describe('a store that cannot be used', () => {
  it('is not there: says so within seconds, and tries nothing else', async () => {
    await withFreePorts(1, async ([port = 0]) => {
      bucket = 'any';
      const report = await checkStorage({ ...ofStore(), MINIO_ENDPOINT: `${LOOPBACK}:${port}` });
      expectOnlyConnectionFailed(report, /ECONNREFUSED/, /MINIO_ENDPOINT/);
    });
  });

  it('hangs: says so after the time that a request has', async () => {
    const environment = { ...(await throughProxy({ hangs: () => true })), MINIODB_MINIO__IDLE_TIMEOUT_MS: '200' };
    expectOnlyConnectionFailed(await checkStorage(environment), /did not answer within 200 ms/, /MINIO_ENDPOINT/);
  });

  it.each([
    ['a wrong secret key', { MINIO_SECRET_KEY: 'wrong' }, /SignatureDoesNotMatch/, /MINIO_SECRET_KEY/],
    ['a wrong access key', { MINIO_ACCESS_KEY: 'wrong' }, /InvalidAccessKeyId/, /MINIO_ACCESS_KEY/],
    ['TLS where there is none', { MINIO_USE_SSL: 'true' }, /FAILED/, /MINIO_USE_SSL/],
  ])('is given %s', async (_what, overrides, seen, remedy) => {
    await useNewBucket();
    expectOnlyConnectionFailed(await checkStorage({ ...ofStore(), ...overrides }), seen, remedy);
  });

  it('has a configuration that the server would refuse', async () => {
    const report = await checkStorage({ STORAGE: 'minio', MINIO_ACCESS_KEY: '', MINIO_SECRET_KEY: '' });
    expect(report.text).toContain('minio.access_key: must be set (MINIO_ACCESS_KEY)');
    expect(report.exitCode).toBe(1);
    expect((await checkStorage({}, ['--config', '/none.yaml'])).text).toContain('/none.yaml');
  });
});

it('removes what it made when it is interrupted', async () => {
  const environment = await throughProxy({});
  let isInterrupted = false;
  const report = await checkStorage(environment, ['--quick'], (text, child) => {
    // In the midst of the thousand keys, and once: a second signal would end it at once.
    if (text.includes('list after write') && !isInterrupted) isInterrupted = child.kill('SIGINT');
  });
  expect(report.text).toContain('interrupted');
  expect(report.exitCode).toBe(1);
  expect(proxy?.requests.filter((line) => line.startsWith('PUT') && line.includes('/list/')).length).toBeLessThan(1_100);
  expect(await keysOfBucket()).toEqual([]);
});

describe('local storage', () => {
  it('is fit, and its directory, named by a configuration file, is made and removed again', async () => {
    const parent = temporaryDirectory('check-storage');
    const file = path.join(temporaryDirectory('config'), 'config.yaml');
    writeFileSync(file, `data_dir: ${path.join(parent, 'a', 'data')}\n`);
    const report = await checkStorage({ DATA_DIR: '' }, ['--config', file]);
    expect([...report.findings.keys()]).toEqual(expect.arrayContaining(['directory', 'free space', ...CHECKS_OF_ALL, 'clock']));
    for (const [name, { verdict, text }] of report.findings) expectThat(verdict, `${name}: ${text}`).toBe('ok');
    expect(report.exitCode).toBe(0);
    expect(readdirSync(parent)).toEqual([]);
  });

  it('keeps what is in its directory', async () => {
    const directory = temporaryDirectory('check-storage');
    mkdirSync(path.join(directory, 'objects', 'users'), { recursive: true });
    writeFileSync(path.join(directory, 'objects', 'users', 'part'), 'rows');
    expect((await checkStorage({ STORAGE: 'local', DATA_DIR: directory })).exitCode).toBe(0);
    expect(readdirSync(directory, { recursive: true }).sort()).toEqual(['objects', 'objects/users', 'objects/users/part']);
  });

  it('is not fit where no directory can be made', async () => {
    const file = path.join(temporaryDirectory('check-storage'), 'file');
    writeFileSync(file, '');
    const report = await checkStorage({ STORAGE: 'local', DATA_DIR: path.join(file, 'data') });
    expect([...report.findings.keys()]).toEqual(['directory']);
    expect(report.text).toMatch(/ENOTDIR.*\n.*the server does not start\n.*DATA_DIR/);
    expect(report.exitCode).toBe(1);
    expect(existsSync(file)).toBe(true);
  });

  it('says that room is short', async () => {
    const report = await checkStorage({
      STORAGE: 'local',
      DATA_DIR: temporaryDirectory('check-storage'),
      MINIODB_WAL__BYTES_MAX: String(2 ** 53 - 1),
    });
    expectThat(report.findings.get('free space')?.verdict, report.text).toBe('LACKING');
    expect(report.exitCode).toBe(0);
  });
});

it('is a script of the package that builds first what is not built', () => {
  const { scripts } = JSON.parse(readFileSync(path.join(REPOSITORY, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  expect(scripts['check-storage']).toBe('node dist/check-storage.js');
  expect(scripts['precheck-storage']).toBe(scripts['prestart']);
});

async function useNewBucket(): Promise<void> {
  bucket = await store.newBucket();
}

function ofStore(): Record<string, string> {
  return {
    STORAGE: 'minio',
    MINIO_ENDPOINT: new URL(store.endpoint).host,
    MINIO_ACCESS_KEY: store.accessKey,
    MINIO_SECRET_KEY: store.secretKey,
    MINIO_REGION: store.region,
    MINIO_USE_SSL: String(store.endpoint.startsWith('https:')),
    MINIO_BUCKET: bucket,
  };
}

async function throughProxy(weaknesses: Weaknesses): Promise<Record<string, string>> {
  await useNewBucket();
  proxy = await startS3Proxy(store, weaknesses);
  return { ...ofStore(), MINIO_ENDPOINT: proxy.endpoint, MINIO_USE_SSL: 'false' };
}

/** Tables in a directory, and the bucket of these variables for backups. */
function forBackups(environment: Record<string, string>): Record<string, string> {
  const ofBucket = Object.entries(environment).filter(([name]) => name.startsWith('MINIO_'));
  const ofBackups = Object.fromEntries(ofBucket.map(([name, value]) => [name.replace('MINIO_', 'MINIO_BACKUP_'), value]));
  return { STORAGE: 'local', DATA_DIR: temporaryDirectory('check-storage'), ...ofBackups };
}

async function keysOfBucket(): Promise<string[]> {
  const keys: string[] = [];
  for await (const { name } of store.client.listObjectsV2(bucket, '', true) as AsyncIterable<{ readonly name: string }>) keys.push(name);
  return keys;
}

/** @param onOutput is given all that was printed so far, each time there is more */
async function checkStorage(
  environment: Record<string, string>,
  parameters: readonly string[] = [],
  onOutput: (text: string, child: ChildProcess) => void = () => undefined,
): Promise<Report> {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run "npm run build" first`);
  const child = spawn(process.execPath, [MAIN, ...parameters], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DATA_DIR: '/none', ...environment },
  });
  let text = '';
  const take = (bytes: Buffer): void => {
    text += bytes.toString();
    onOutput(text, child);
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { exitCode, text, findings: findingsOf(text) };
}

function findingsOf(text: string): Report['findings'] {
  const rows = text.split(/\n(?=(?:ok|LACKING|FAILED|skipped) )/).slice(1);
  return new Map(
    rows.map((row) => {
      const [, verdict = '', name = ''] = /^(\S+)\s+(.+?)\s{2,}/.exec(row) ?? [];
      return [name, { verdict, text: row }];
    }),
  );
}

function lastLine({ text }: Report): string | undefined {
  return text.trimEnd().split('\n').at(-1);
}

function expectOnlyConnectionFailed(report: Report, seen: RegExp, remedy: RegExp): void {
  expect([...report.findings.keys()]).toEqual(['connection and bucket']);
  const finding = report.findings.get('connection and bucket');
  expect(finding?.verdict).toBe('FAILED');
  expect(finding?.text).toMatch(seen);
  expect(finding?.text).toMatch(remedy);
  expect(finding?.text).toContain('means: the server does not start');
  expect(lastLine(report)).toBe('NOT FIT: connection and bucket');
  expect(report.exitCode).toBe(1);
}
