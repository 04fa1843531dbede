/** The ports that nodes meet in, against a real Redis. */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { RedisConfig } from '../src/config/config.js';
import { commitNotifierContract } from '../src/coordination/commit-notifier.contract.js';
import { leaseStoreContract } from '../src/coordination/lease.contract.js';
import { RedisCommitNotifier } from '../src/coordination/redis-commit-notifier.js';
import { RedisLeaseStore } from '../src/coordination/redis-lease-store.js';
import { RedisConnection } from '../src/coordination/redis-connection.js';
import { type RedisServer, startRedis } from './servers/redis.js';
import { waitFor } from './support/expectations.js';

let server: RedisServer;
const connections: RedisConnection[] = [];

function connect(port = Number(new URL(server.url).port)): RedisConnection {
  const { password } = new URL(server.url);
  const config = Object.assign(new RedisConfig(), { mode: 'standalone', port, password });
  const connection = new RedisConnection(config, pino({ level: 'silent' }));
  connections.push(connection);
  return connection;
}

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  for (const connection of connections) connection.close();
  await server.stop();
});

/** Names of one test do not meet those of another. */
function prefixed(store: RedisLeaseStore): Pick<RedisLeaseStore, 'acquire'> {
  const prefix = randomUUID();
  return { acquire: (name, ttlMs) => store.acquire(`${prefix}:${name}`, ttlMs) };
}

leaseStoreContract('RedisLeaseStore', () => Promise.resolve({ leases: prefixed(new RedisLeaseStore(connect())), pass: (ms) => pause(ms) }));

commitNotifierContract('RedisCommitNotifier', () => Promise.resolve(new RedisCommitNotifier(connect())));

describe('Redis', () => {
  test('tells other nodes of commits, and not the one that made them', async () => {
    const [one, other] = [new RedisCommitNotifier(connect()), new RedisCommitNotifier(connect())];
    const [atOne, atOther] = [jest.fn(), jest.fn()];
    one.subscribeForeign(atOne);
    other.subscribeForeign(atOther);
    const commit = { tableId: randomUUID(), version: 1 };
    // The first ones may be missed until the subscription stands.
    await waitFor(() => {
      one.publish(commit);
      expect(atOther).toHaveBeenCalledWith(commit);
    });
    // Commits of the tests before may still be on their way.
    expect(atOne).not.toHaveBeenCalledWith(commit);
  });

  test('gives a lease to one of two nodes', async () => {
    const [one, other] = [new RedisLeaseStore(connect()), new RedisLeaseStore(connect())];
    const lease = await one.acquire('shared', 60_000);
    expect(await other.acquire('shared', 60_000)).toBeUndefined();
    await lease?.release();
    expect((await other.acquire('shared', 60_000))?.fence).toBeGreaterThan(lease?.fence ?? Infinity);
  });

  test('that is not there is reported within the deadline, and so is one that hangs', async () => {
    const away = connect(1);
    const startedMs = performance.now();
    await expect(away.run('a test', (client) => client.get('a'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const hanging = connect();
    await hanging.run('a test', (client) => client.get('a'));
    server.pause();
    try {
      await expect(hanging.run('a test', (client) => client.get('a'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    } finally {
      server.resume();
    }
    expect(performance.now() - startedMs).toBeLessThan(8_000);
    await waitFor(() => hanging.run('a test', (client) => client.get('a')), { timeout: 10_000 });
  });
});
