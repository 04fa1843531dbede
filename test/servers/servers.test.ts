/**
 * The servers that other tests rely on: each starts, answers, can be disturbed in the promised ways, and leaves neither a process nor a
 * folder behind, not even when the test process is killed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { waitFor } from '../support/expectations.js';
import { type ObjectStoreServer, startObjectStore } from './radosgw.js';
import { type RedisNode } from './redis-node.js';
import { startRedisCluster } from './redis-cluster.js';
import { startSentinel } from './redis-sentinel.js';
import { startRedis } from './redis.js';
import { closeTestServers, objectStoreClient, testObjectStore, testRedis } from './shared-servers.js';

const BUCKET = 'kept';
const NOT_ANSWERED_MS = 500;
const FOLLOWED_MS_MAX = 20_000;

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

describe('the S3 store', () => {
  test('starts, answers those who know its keys, and leaves nothing behind', async () => {
    const store = await objectStore();
    await putText(store, 'a', 'one');
    expect(await getText(store, 'a')).toBe('one');
    await expect(getText({ ...store, secretKey: 'wrong' }, 'a')).rejects.toMatchObject({ code: 'SignatureDoesNotMatch' });
    expect(store.pids()).toHaveLength(3);
    await expectNothingLeft(store, store.pids());
  });

  test('is another one for each caller', async () => {
    const [one, other] = await Promise.all([objectStore(), objectStore()]);
    await putText(one, 'a', 'one');
    await putText(other, 'a', 'other');
    expect(await getText(one, 'a')).toBe('one');
    expect(await getText(other, 'a')).toBe('other');
    await one.stop();
    expect(await getText(other, 'a')).toBe('other');
  });

  test('answers nothing while it is paused, and afterwards what was asked meanwhile', async () => {
    const store = await objectStore();
    await putText(store, 'a', 'one');
    store.pause();
    const asked = getText(store, 'a');
    expect(await isAnswered(asked)).toBe(false);
    store.resume();
    expect(await asked).toBe('one');
  });

  test('loses its gateway and gets it back, with the objects in memory', async () => {
    const store = await objectStore();
    await putText(store, 'a', 'one');
    await store.killGateway();
    // Reset where the connection that was kept from the first request has not been seen to end.
    await expect(getText(store, 'a')).rejects.toMatchObject({ code: expect.stringMatching(/^ECONN(REFUSED|RESET)$/) });
    await store.restart();
    expect(await getText(store, 'a')).toBe('one');
  });

  test('says so when the objects in memory are lost', async () => {
    const store = await objectStore();
    await store.kill();
    await expect(store.restart()).rejects.toThrow('durable');
  });

  test('keeps what it acknowledged through a kill when it is durable', async () => {
    const store = await objectStore({ durable: true });
    await putText(store, 'a', 'one');
    await store.kill();
    expect(store.pids()).toEqual([]);
    await store.restart();
    expect(await getText(store, 'a')).toBe('one');
    await putText(store, 'b', 'two');
    await expectNothingLeft(store, store.pids());
  });
});

describe('Redis', () => {
  test('starts, keeps its data through a kill, and leaves nothing behind', async () => {
    const server = await startRedis();
    cleanUps.push(() => server.stop());
    const client = clientOf(new Redis(server.url));
    await client.set('a', 'one');
    await server.kill();
    await server.restart();
    expect(await client.get('a')).toBe('one');
    await expectNothingLeft(server, [server.pid()]);
  });

  test('answers nothing while it is paused', async () => {
    const server = await startRedis();
    cleanUps.push(() => server.stop());
    const client = clientOf(new Redis(server.url));
    await client.set('a', 'one');
    server.pause();
    const asked = client.get('a');
    expect(await isAnswered(asked)).toBe(false);
    server.resume();
    expect(await asked).toBe('one');
  });

  test('has a new master by plan and after a kill, and takes the former one back, with sentinels', async () => {
    const group = await startSentinel();
    cleanUps.push(() => group.stop());
    const { name, password, sentinels, sentinelPassword } = group;
    const client = clientOf(new Redis({ name, password, sentinelPassword, sentinels: addresses(sentinels), failoverDetector: true }));
    await client.set('a', 'one');
    const first = await group.master();
    await soon(async () => expect(await client.wait(2, 100)).toBe(2));

    const second = await group.failover();
    expect(second.port).not.toBe(first.port);
    await soon(async () => expect(await client.set('b', 'two')).toBe('OK'));

    await second.kill();
    const third = await group.newMaster(second);
    expect(third.port).not.toBe(second.port);
    await soon(async () => expect(await client.get('a')).toBe('one'));

    await second.restart();
    await soon(async () => expect(await second.ask('ROLE')).toContain('slave'));
    await expectNothingLeft(group, pidsOf([...group.nodes, ...sentinels]));
  });

  test('has a new master by plan and after a kill, as a cluster', async () => {
    const cluster = await startRedisCluster();
    cleanUps.push(() => cluster.stop());
    const client = new Cluster(addresses(cluster.nodes), { redisOptions: { password: cluster.password }, slotsRefreshInterval: 500 });
    client.on('error', () => undefined);
    cleanUps.push(() => client.disconnect());
    const keys = Array.from({ length: 30 }, (_, index) => `key-${index}`);
    for (const key of keys) await client.set(key, key);
    const masters = new Set(await Promise.all(keys.map(async (key) => (await cluster.masterOf(key)).port)));
    expect(masters.size).toBe(3);

    const first = await cluster.masterOf('a');
    await client.set('a', 'one');
    const second = await cluster.failover('a');
    expect(second.port).not.toBe(first.port);
    expect(await client.get('a')).toBe('one');

    await second.kill();
    expect((await cluster.newMasterOf('a', second)).port).toBe(first.port);
    await soon(async () => expect(await client.get('a')).toBe('one'));
    await expectNothingLeft(cluster, pidsOf(cluster.nodes));
  });
});

describe('the servers of a test file', () => {
  afterAll(closeTestServers);

  test('are the same for all who ask, with buckets and keys of their own', async () => {
    const [store, again] = await Promise.all([testObjectStore(), testObjectStore()]);
    expect(again).toBe(store);
    const [one, other] = [await store.newBucket(), await store.newBucket()];
    await store.client.putObject(one, 'a', 'one');
    await expect(store.client.statObject(other, 'a')).rejects.toMatchObject({ code: 'NotFound' });

    const redis = await testRedis();
    expect(redis.newKeyPrefix()).not.toBe(redis.newKeyPrefix());
    expect(await clientOf(new Redis(redis.url)).ping()).toBe('PONG');
  });
});

test('a test process that is killed leaves neither a server nor a folder', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'miniodb-cleaned-'));
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }));
  const cleaned = path.join(folder, 'of-the-server');
  mkdirSync(cleaned);
  // Stands for a test process: starts the cleaner and a server, tells the one of the other, and never ends by itself.
  const program = `
    const { spawn } = require('node:child_process');
    const server = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], { stdio: 'ignore' });
    const cleaner = spawn(process.execPath, [process.argv[1]], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
    for (const line of [{ process: server.pid }, { directory: process.argv[2] }]) cleaner.stdin.write(JSON.stringify(line) + '\\n');
    console.log(JSON.stringify([server.pid, cleaner.pid]));`;
  const cleanerFile = fileURLToPath(new URL('./cleaner-process.mjs', import.meta.url));
  const killed = spawn(process.execPath, ['-e', program, cleanerFile, cleaned], { stdio: ['ignore', 'pipe', 'pipe'] });
  const complaints = text(killed.stderr);
  const [line = ''] = await Promise.race([linesOf(killed.stdout), complaints.then((said) => [said])]);
  const pids = JSON.parse(line) as readonly number[];
  expect(pids.map(isAlive)).toEqual([true, true]);
  killed.kill('SIGKILL');
  await soon(async () => expect([...pids.map(isAlive), existsSync(cleaned)]).toEqual([false, false, false]));
  expect(await complaints).toBe('');
});

async function objectStore(options: { readonly durable?: boolean } = {}): Promise<ObjectStoreServer> {
  const store = await startObjectStore(options);
  cleanUps.push(() => store.stop());
  await objectStoreClient(store).makeBucket(BUCKET, store.region);
  return store;
}

async function putText(store: ObjectStoreServer, key: string, value: string): Promise<void> {
  await objectStoreClient(store).putObject(BUCKET, key, value);
}

async function getText(store: ObjectStoreServer, key: string): Promise<string> {
  return text(await objectStoreClient(store).getObject(BUCKET, key));
}

/** A client follows a change of masters by trying again; an error on the way is no failure. */
function soon(check: () => Promise<unknown>): Promise<unknown> {
  return waitFor(check, { timeout: FOLLOWED_MS_MAX, interval: 20 });
}

/** The one place where time must pass: that nothing comes can only be seen by waiting. */
function isAnswered(asked: Promise<unknown>): Promise<boolean> {
  const silence = new Promise<boolean>((resolve) => setTimeout(resolve, NOT_ANSWERED_MS, false));
  return Promise.race([asked.then(() => true), silence]);
}

async function expectNothingLeft(server: { readonly directory: string; stop(): Promise<void> }, pids: readonly number[]): Promise<void> {
  expect(pids.every(isAlive)).toBe(true);
  expect(existsSync(server.directory)).toBe(true);
  await server.stop();
  expect(pids.filter(isAlive)).toEqual([]);
  expect(existsSync(server.directory)).toBe(false);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function addresses(nodes: readonly RedisNode[]): { host: string; port: number }[] {
  return nodes.map(({ host, port }) => ({ host, port }));
}

function pidsOf(nodes: readonly RedisNode[]): readonly number[] {
  return nodes.filter((node) => node.isRunning()).map((node) => node.pid());
}

function clientOf(client: Redis): Redis {
  // Lost connections are what these tests are about.
  client.on('error', () => undefined);
  cleanUps.push(() => client.disconnect());
  return client;
}

async function linesOf(stream: NodeJS.ReadableStream): Promise<readonly string[]> {
  for await (const line of createInterface({ input: stream })) return [line];
  return [];
}
