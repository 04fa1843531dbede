/** Two nodes on one bucket and one Redis: what an administrator does on one holds on the other, also when Redis forgets or is away. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { eventually, expectStatus, expectSuccess, type JsonRow } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';
import { sharedBucketEnvironment } from './support/shared-bucket.js';

const ADMIN_SECRET = 'the-secret-of-the-administrator';
const ADMIN = { 'x-api-key': 'admin', 'x-api-secret': ADMIN_SECRET };
/** So long that only Redis can have told the other node. */
const POLL_SECONDS = 300;
const TOLD_MS_MAX = 3_000;

let store: TestObjectStore;
let redis: RedisServer;
let nodes: readonly [RunningServer, RunningServer];

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
  nodes = [await startNode('a', 'auth-nodes'), await startNode('b', 'auth-nodes')];
});

afterAll(async () => {
  await Promise.all((nodes ?? []).map((node) => node.kill()));
  await Promise.all([closeTestServers(), redis?.stop()]);
});

/** All nodes of a bucket sign with a key that the first of them makes and keeps there. */
function startNode(id: string, bucket: string, own = redis, pollSeconds = POLL_SECONDS): Promise<RunningServer> {
  const config = { auth: { mode: 'api_key', admin_secret: ADMIN_SECRET }, redis: { heartbeat_seconds: 1, poll_seconds: pollSeconds } };
  return startServer({ config, env: { ...sharedBucketEnvironment(store, own, bucket), NODE_ID: id } });
}

async function makeToken(node: RunningServer, key: string): Promise<{ token: string; refresh: string }> {
  const made = expectSuccess(await call(node, 'POST', '/v1/auth/keys', { api_key: key, role: 'reader' }, ADMIN)).json as JsonRow;
  const tokens = expectStatus(await call(node, 'POST', '/v1/auth/token', { api_key: key, secret: made['secret'] }), 200).json as JsonRow;
  return { token: tokens['access_token'] as string, refresh: tokens['refresh_token'] as string };
}

async function statusOf(node: RunningServer, token: string): Promise<number> {
  return (await call(node, 'GET', '/v1/tables', undefined, { authorization: `Bearer ${token}` })).status;
}

it('a key of one node counts on the other, and so does its end', async () => {
  const [a, b] = nodes;
  const { token, refresh } = await makeToken(a, 'shared');
  await eventually(
    'the other node knows it',
    () => statusOf(b, token),
    (status) => status === 200,
    TOLD_MS_MAX,
  );
  expectSuccess(await call(a, 'DELETE', '/v1/auth/token', undefined, { authorization: `Bearer ${token}` }));
  expect(await statusOf(a, token)).toBe(401);
  await eventually(
    'the other node refuses it',
    () => statusOf(b, token),
    (status) => status === 401,
    TOLD_MS_MAX,
  );
  expect((await call(b, 'POST', '/v1/auth/refresh', { refresh_token: refresh })).status).toBe(401);
  expectSuccess(await call(b, 'DELETE', '/v1/auth/keys/shared', undefined, ADMIN));
  await eventually(
    'the first node forgets it',
    () => call(a, 'GET', '/v1/auth/keys/shared', undefined, ADMIN),
    ({ status }) => status === 404,
    TOLD_MS_MAX,
  );
});

it('a refresh token is taken by one node only', async () => {
  const [a, b] = nodes;
  const { token, refresh } = await makeToken(a, 'once');
  await eventually(
    'the other node knows it',
    () => statusOf(b, token),
    (status) => status === 200,
    TOLD_MS_MAX,
  );
  const answers = await Promise.all([a, b].map((node) => call(node, 'POST', '/v1/auth/refresh', { refresh_token: refresh })));
  expect(answers.filter(({ status }) => status === 200).length).toBeLessThanOrEqual(1);
});

it('an emptied Redis and a restart bring nothing back', async () => {
  const [a] = nodes;
  const { token } = await makeToken(a, 'flushed');
  expectSuccess(await call(a, 'DELETE', '/v1/auth/token', undefined, { authorization: `Bearer ${token}` }));
  const client = new Redis(redis.url);
  await client.flushall();
  client.disconnect();
  expect(await statusOf(a, token)).toBe(401);
  const restarted = await startNode('c', 'auth-nodes');
  expect(await statusOf(restarted, token)).toBe(401);
  await restarted.kill();
});

it('a node that Redis did not tell looks by itself', async () => {
  const own = await startRedis();
  const [a, b] = [await startNode('a', 'auth-polled', own, 1), await startNode('b', 'auth-polled', own, 1)];
  try {
    const { token } = await makeToken(a, 'polled');
    await eventually(
      'the other node knows it',
      () => statusOf(b, token),
      (status) => status === 200,
    );
    await own.stop();
    expectSuccess(await call(a, 'DELETE', '/v1/auth/token', undefined, { authorization: `Bearer ${token}` }));
    await eventually(
      'the other node refuses it',
      () => statusOf(b, token),
      (status) => status === 401,
    );
  } finally {
    await Promise.all([a.kill(), b.kill()]);
    await own.stop();
  }
});
