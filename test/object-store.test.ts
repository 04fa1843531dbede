/** The object store port against a real S3 server, with conditional puts and with looking first, and the cache of files before it. */
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { LocalLeaseStore } from '../src/coordination/local-lease-store.js';
import { CachedObjectStore } from '../src/storage/cached-object-store.js';
import { FileCache } from '../src/storage/file-cache.js';
import { objectStoreContract } from '../src/storage/object-store.contract.js';
import { S3ObjectStore } from '../src/storage/s3/s3-object-store.js';
import type { LeaseStore } from '../src/coordination/lease.js';
import { closeTestServers, testObjectStore } from './servers/shared-servers.js';
import { temporaryDirectory } from './support/server.js';

const CACHE_BYTES = 1_000_000;
const stores: S3ObjectStore[] = [];

async function openStore(
  overrides: { secretKey?: string; bucket?: string; idleTimeoutMs?: number } = {},
  locks?: LeaseStore,
): Promise<S3ObjectStore> {
  const server = await testObjectStore();
  const store = new S3ObjectStore({
    endpoint: new URL(server.endpoint).host,
    useSsl: server.endpoint.startsWith('https:'),
    bucket: overrides.bucket ?? (await server.newBucket()),
    accessKey: server.accessKey,
    secretKey: overrides.secretKey ?? server.secretKey,
    region: server.region,
    connectionsMax: 32,
    idleTimeoutMs: overrides.idleTimeoutMs ?? 10_000,
    deadlineMs: 20_000,
    section: 'minio',
  });
  if (locks) store.lookFirst(locks);
  stores.push(store);
  return store;
}

function cached(store: S3ObjectStore, directory = temporaryDirectory('cache'), bytesMax = CACHE_BYTES): CachedObjectStore {
  return new CachedObjectStore(store, FileCache.open(directory, bytesMax));
}

beforeAll(async () => void (await testObjectStore()));
afterAll(async () => {
  for (const store of stores) store.close();
  await closeTestServers();
});

objectStoreContract('S3ObjectStore', async () => cached(await openStore()));
objectStoreContract('S3ObjectStore without conditional puts', async () =>
  cached(await openStore({}, new LocalLeaseStore({ nowMs: () => Date.now() }))),
);

describe('a store of S3', () => {
  test('finds out that the server keeps conditions, and leaves nothing behind', async () => {
    const store = await openStore();
    expect(await store.keepsConditions()).toBe(true);
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toEqual([]);
  });

  test('makes its bucket, and finds it again', async () => {
    const bucket = `miniodb-test-${randomUUID()}`;
    for (let round = 0; round < 2; round += 1) await (await openStore({ bucket })).ensureBucket();
    const store = await openStore({ bucket });
    expect(await store.putIfAbsent('a', Buffer.from('x'))).toBe(true);
  });

  test.each([
    ['a wrong secret', { secretKey: 'wrong' }, /MINIO_SECRET_KEY/],
    ['a bucket that does not exist', { bucket: 'miniodb-none' }, /MINIO_BUCKET/],
  ])('says what is wrong with %s', async (_what, overrides, message) => {
    const store = await openStore(overrides);
    await expect(store.get('a')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(message),
    });
  });

  test('is not reached: the error comes after a bounded number of attempts', async () => {
    const store = new S3ObjectStore({ ...(await openStore()).requests.options, endpoint: '127.0.0.1:1', deadlineMs: 2_000 });
    const startedMs = performance.now();
    await expect(store.get('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect(store.requests.counts.requests.GET).toBe(4);
  });

  test('stores a large file in parts, whole and only once', async () => {
    const store = await openStore();
    const file = `${temporaryDirectory('large')}/large`;
    await writeFile(file, Buffer.alloc(300 * 1_024 * 1_024, 'abcdefghij'));
    expect(await store.putFileIfAbsent('large', file)).toBe(true);
    expect(await store.putFileIfAbsent('large', file)).toBe(false);
    expect(await store.download('large', `${file}.back`)).toBe(300 * 1_024 * 1_024);
    expect((await readFile(file)).equals(await readFile(`${file}.back`))).toBe(true);
  }, 60_000);
});

describe('the cache of files', () => {
  test('asks the store once for an object, however many want it, and never again, also after a restart', async () => {
    const store = await openStore();
    await store.putIfAbsent('t/a', Buffer.from('rows'));
    const directory = temporaryDirectory('cache');
    const first = cached(store, directory);
    const opened = await Promise.all(Array.from({ length: 10 }, () => first.openLocal('t/a', 4)));
    expect(store.requests.counts.requests.GET).toBe(1);
    for (const object of opened) object.release();
    const again = await cached(store, directory).openLocal('t/a', 4);
    expect(await readFile(again.path, 'utf8')).toBe('rows');
    expect(store.requests.counts.requests.GET).toBe(1);
  });

  test('needs no request for a file that this process stored', async () => {
    const store = await openStore();
    const objects = cached(store);
    const file = `${temporaryDirectory('stored')}/part`;
    await writeFile(file, 'rows');
    await objects.putFileIfAbsent('t/b', file);
    expect(await readFile((await objects.openLocal('t/b', 4)).path, 'utf8')).toBe('rows');
    expect(store.requests.counts.requests).toMatchObject({ PUT: 1, GET: 0, HEAD: 0 });
  });

  test('gives up what was used longest ago, never what is read, and says when nothing fits', async () => {
    const store = await openStore();
    for (const key of ['a', 'b', 'c', 'd']) await store.putIfAbsent(key, Buffer.alloc(40, key));
    const objects = cached(store, temporaryDirectory('cache'), 100);
    const a = await objects.openLocal('a', 40);
    (await objects.openLocal('b', 40)).release();
    const c = await objects.openLocal('c', 40);
    expect(objects.cache.fileCount).toBe(2);
    expect(await readFile(a.path, 'utf8')).toBe('a'.repeat(40));
    await expect(objects.openLocal('d', 40)).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    a.release();
    c.release();
    (await objects.openLocal('d', 40)).release();
    expect(objects.cache.bytes).toBeLessThanOrEqual(100);
  });

  test('refuses an object that is not the one the log names', async () => {
    const store = await openStore();
    await store.putIfAbsent('a', Buffer.from('rows'));
    const objects = cached(store);
    await expect(objects.openLocal('a', 5)).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    await expect(objects.openLocal('none', 5)).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    expect(objects.cache.fileCount).toBe(0);
  });
});
