/**
 * What one node acknowledged must count on the other, at once: a table is not dropped over rows in the other's buffer, nothing is acknowledged into a
 * table that is gone, a backup has the rows of both. What cannot be known is refused with the reason.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import { countOf, createTable, eventually, expectStatus, expectSuccess, valueOf, write, writeBatch } from './support/requests.js';
import { type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';
import { sharedBucketEnvironment } from './support/shared-bucket.js';

let store: TestObjectStore;
let redis: RedisServer;
let client: Redis;
let bucket: string;
let first: RunningServer;
let second: RunningServer;

/** Nothing is flushed by itself, and a node looks for what others did only when it is told. */
const BY_HAND = {
  tables: { flush_interval_seconds: 86_400 },
  redis: { heartbeat_seconds: 1, poll_seconds: 600 },
  maintenance: { compaction: false },
};

function startNode(id: string, changes: { bucket?: string; dataDir?: string; env?: Record<string, string> } = {}): Promise<RunningServer> {
  const environment = sharedBucketEnvironment(store, redis, changes.bucket ?? bucket);
  const backups = Object.fromEntries(
    ['ENDPOINT', 'ACCESS_KEY', 'SECRET_KEY'].map((name) => [`MINIO_BACKUP_${name}`, environment[`MINIO_${name}`] ?? '']),
  );
  return startServer({
    config: BY_HAND,
    env: { ...environment, ...backups, MINIO_BACKUP_BUCKET: `backup-${bucket}`, NODE_ID: id, ...changes.env },
    ...(changes.dataDir === undefined ? {} : { dataDir: changes.dataDir }),
  });
}

/** The table at a node that did not create it. */
async function seenBy(node: RunningServer, table: string): Promise<void> {
  await eventually(
    `table ${table} at the other node`,
    async () => (await call(node, 'GET', `/v1/tables/${table}`)).status,
    (status) => status === 200,
  );
}

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
  client = new Redis(redis.url);
  bucket = `agree-${randomUUID()}`;
  first = await startNode('one');
  second = await startNode('two');
  await eventually(
    'both nodes in the list',
    async () => (await call(first, 'GET', '/v1/status')).json.total_nodes as number,
    (nodes) => nodes === 2,
  );
}, 180_000);

afterAll(async () => {
  client?.disconnect();
  await Promise.all([first?.kill(), second?.kill()]);
  await Promise.all([closeTestServers(), redis?.stop()]);
});

describe('DROP on one node', () => {
  it('without cascade is refused while the other has acknowledged rows in its buffer', async () => {
    await createTable(first, 'kept');
    await seenBy(second, 'kept');
    await write(first, 'kept', 'a');
    expectStatus(await call(second, 'DELETE', '/v1/tables/kept'), 409);
    expect(await countOf(first, 'kept')).toBe(1);
    await write(first, 'kept', 'b');
    await write(second, 'kept', 'c');
    expect(await countOf(first, 'kept')).toBeGreaterThanOrEqual(2);
  });

  it('without cascade drops a table that is empty on both', async () => {
    await createTable(first, 'empty');
    await seenBy(second, 'empty');
    expectSuccess(await call(second, 'DELETE', '/v1/tables/empty'));
  });

  it('is followed by no acknowledged write into what is gone: it goes into a new table', async () => {
    for (const round of [1, 2, 3, 4, 5]) {
      const table = `again_${round}`;
      await createTable(first, table);
      await seenBy(second, table);
      await write(second, table, 'old');
      expectSuccess(await call(first, 'DELETE', `/v1/tables/${table}?cascade=true`));
      await write(second, table, 'new');
      expectThat(await valueOf(second, `SELECT string_agg(id) FROM ${table}`), `round ${round}`).toBe('new');
      expectSuccess(await call(second, 'POST', `/v1/tables/${table}/flush`));
      await eventually(
        'the new table at the first node',
        async () =>
          (await call(first, 'POST', '/v1/query', { sql: `SELECT string_agg(id) AS ids FROM ${table}` })).json.rows?.[0]?.ids as unknown,
        (ids) => ids === 'new',
      );
    }
  });

  it('under writes through both loses nothing that was acknowledged afterwards', async () => {
    const table = 'crossing';
    await createTable(first, table);
    await seenBy(second, table);
    let isDropped = false;
    const afterwards: string[] = [];
    const writers = [first, second].map(async (node, writer) => {
      for (let round = 0; round < 60; round += 1) {
        const id = `w${writer}-${round}`;
        const isAfter = isDropped;
        const { status } = await call(node, 'POST', '/v1/data', { table, id, payload: {} });
        if (status === 200 && isAfter) afterwards.push(id);
      }
    });
    expectSuccess(await call(first, 'DELETE', `/v1/tables/${table}?cascade=true`));
    isDropped = true;
    await Promise.all(writers);
    for (const node of [first, second]) await call(node, 'POST', `/v1/tables/${table}/flush`);
    const ids = await eventually(
      'all rows at the first node',
      async () => String(await valueOf(first, `SELECT string_agg(id) FROM ${table}`)).split(','),
      (found) => afterwards.every((id) => found.includes(id)),
    );
    expect(new Set(ids).size).toBe(ids.length);
    expect(afterwards.length).toBeGreaterThan(0);
  });

  it('is refused while Redis hangs, because the other cannot be told; writes go on', async () => {
    await createTable(first, 'hanging');
    await seenBy(second, 'hanging');
    redis.pause();
    try {
      expectStatus(await call(first, 'DELETE', '/v1/tables/hanging?cascade=true'), 503);
      for (const node of [first, second]) await write(node, 'hanging', 'a');
    } finally {
      redis.resume();
    }
    await eventually(
      'both nodes in the list again',
      async () => (await call(second, 'GET', '/v1/status')).json.nodes as { status: string }[],
      (nodes) => nodes.length === 2 && nodes.every(({ status }) => status === 'active'),
    );
    await write(first, 'hanging', 'b');
  });
});

describe('a data backup on one node', () => {
  it('has the rows that only the other has in its buffer', async () => {
    await createTable(first, 'saved');
    await seenBy(second, 'saved');
    await writeBatch(first, 'saved', [{ id: 'a' }, { id: 'b' }]);
    await write(second, 'saved', 'c');
    const backup = expectSuccess(await call(second, 'POST', '/v1/backups', { tables: ['saved'] })).json;
    expect(backup.tables).toMatchObject([{ name: 'saved', rows: 3 }]);
  });

  it('is refused by name while a node is away that may have rows', async () => {
    const third = await startNode('three');
    await eventually(
      'three nodes',
      async () => (await call(first, 'GET', '/v1/status')).json.total_nodes as number,
      (nodes) => nodes === 3,
    );
    await third.kill();
    const answer = await eventually(
      'the third node to count as away',
      () => call(second, 'POST', '/v1/backups', { tables: ['saved'] }),
      ({ status, text }) => status === 503 && text.includes('cannot be reached'),
      60_000,
    );
    expect(answer.json.message).toContain('three');
    await client.hdel('nodes:services', 'three');
    expectSuccess(await call(second, 'POST', '/v1/backups', { tables: ['saved'] }));
  });
});

describe('names of nodes', () => {
  it('belong to one living node: the start of a second is refused', async () => {
    await expect(startNode('one')).rejects.toThrow(/another node is running as one .*NODE_ID/);
    await write(first, 'names', 'a');
  });

  it('can be taken again after a kill', async () => {
    const dataDir = temporaryDirectory('four');
    await (await startNode('four', { dataDir })).kill();
    const restarted = await startNode('four', { dataDir });
    await write(restarted, 'names', 'b');
    expect(await restarted.stop()).toBe(0);
  });

  it('of another store in the same Redis are not listed', async () => {
    const other = await startNode('stranger', { bucket: `other-${randomUUID()}` });
    try {
      await eventually(
        'the heartbeat of the other',
        () => client.hkeys('nodes:services'),
        (ids) => ids.includes('stranger'),
      );
      const listed = (await call(first, 'GET', '/v1/status')).json.nodes as { id: string }[];
      expect(listed.map(({ id }) => id).sort()).toEqual(['one', 'two']);
      expect((await call(other, 'GET', '/v1/status')).json.nodes).toMatchObject([{ id: 'stranger' }]);
    } finally {
      await other.stop();
    }
  });
});
