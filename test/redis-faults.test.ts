/**
 * Redis is killed, hangs, changes its master or loses everything while clients write, change, delete, query and flush. Redis is where nodes meet and
 * never the only copy of anything: no acknowledged row is lost or doubled, requests go on, what cannot go on says so soon, and once Redis is back
 * everything that people read in it is there again.
 *
 * SEED repeats the decisions (not the timing) of a run.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { pino } from 'pino';
import { RedisConfig } from '../src/config/config.js';
import { RedisConnection } from '../src/coordination/redis-connection.js';
import { REDIS_MODES, type RedisMode, type RedisTopology, startRedisTopology } from './servers/redis-topology.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import { difference, rowTexts } from './support/known-rows.js';
import { KillableNode } from './support/killable-node.js';
import { createTable, eventually, expectSuccess, type JsonRow, tableInfo, isSuccess } from './support/requests.js';
import { RequestTimes } from './support/request-times.js';
import { RowsClient, type Weights } from './support/rows-client.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call, type RunningServer } from './support/server.js';

const NODE = 'node-1';
const BUSY = 'busy';
const IDLE = 'idle';
const CLIENTS = 2;
const CLIENT_PAUSE_MS = 10;
const WEIGHTS: Weights = { write: 10, replace: 4, merge: 2, delete: 3, hide: 2, restore: 2, query: 4, flush: 2 };
/** Longest time of any request, with or without Redis; and of those that flush. */
const REQUEST_MS_MAX = 5_000;
const FLUSH_MS_MAX = 10_000;
const FLUSHING = ['flush', 'compact'];
/** Requests that are to be answered while Redis is away. */
const REQUESTS_MEANWHILE = 40;
const REQUESTS_MS_MAX = 60_000;
const NOTICED_MS_MAX = 20_000;
const RECOVERY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;
const COMMITS_CHANNEL = 'miniodb:commits';

let store: TestObjectStore;
/** One of each mode, started together: that is most of what a start of them takes. */
let servers: Readonly<Record<RedisMode, RedisTopology>>;

beforeAll(async () => {
  const starting = Promise.all(REDIS_MODES.map(async (mode) => [mode, await startRedisTopology(mode)] as const));
  [store] = await Promise.all([testObjectStore(), starting]);
  servers = Object.fromEntries(await starting) as Record<RedisMode, RedisTopology>;
});

afterAll(async () => {
  await Promise.all([closeTestServers(), ...Object.values(servers).map((server) => server.stop())]);
});

/** A server of its own bucket. */
function nodeWith(redis: RedisTopology, minio: Readonly<Record<string, unknown>> = {}): KillableNode {
  return new KillableNode(NODE, {
    env: {
      STORAGE: 'minio',
      MINIO_ENDPOINT: `${store.host}:${store.port}`,
      MINIO_ACCESS_KEY: store.accessKey,
      MINIO_SECRET_KEY: store.secretKey,
      MINIO_BUCKET: `redis-faults-${randomUUID()}`,
      // Theirs is the configuration below.
      ...Object.fromEntries(['REDIS_MODE', 'REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD'].map((name) => [name, ''])),
    },
    config: {
      log: { level: 'warn', file: '' },
      minio,
      redis: { ...redis.settings, heartbeat_seconds: 1, poll_seconds: 1 },
      maintenance: { interval_seconds: 0.5, compaction_files_min: 4 },
    },
  });
}

describe.each(REDIS_MODES)('a server whose Redis is %s', (mode) => {
  const seed = seedOfThisRun();
  const times = new RequestTimes();
  let redis: RedisTopology;
  let node: KillableNode;
  let load: Load;
  /** One Redis alone has no other master. */
  const itWithOtherMasters = (name: string, run: () => Promise<void>): void => {
    if (mode !== 'standalone') it(name, run);
  };
  beforeAll(async () => {
    console.log(`redis faults, ${mode}: SEED=${seed}`);
    redis = servers[mode];
    node = nodeWith(redis);
    const server = await node.server();
    await createTable(server, BUSY, { flush_interval_seconds: 1, buffer_size: 50 });
    await createTable(server, IDLE);
    expectSuccess(await call(server, 'POST', '/v1/data?ack=flushed', { table: IDLE, id: 'a', payload: { kind: 'idle' } }));
    load = new Load(node, new SeededRandom(seed), times);
    await untilWell();
  });

  afterAll(async () => {
    await load?.stop();
    const server = await node?.server();
    await server?.kill();
  });

  it('goes on while Redis is killed, and when it is back', async () => {
    await redis.killAll();
    try {
      await expectToGoOnWithout('killed');
    } finally {
      await redis.restartAll();
    }
    await expectToBeWellAgain('killed');
  });

  it('goes on while Redis hangs, and when it answers again', async () => {
    redis.pauseAll();
    try {
      await expectToGoOnWithout('hung');
    } finally {
      redis.resumeAll();
    }
    await expectToBeWellAgain('hung');
  });

  itWithOtherMasters('follows when another master takes over from one that was killed', async () => {
    const master = await redis.masterOf('tables:list');
    await master.kill();
    try {
      await load.expectRequests(REQUESTS_MEANWHILE);
      await redis.newMasterOf('tables:list', master);
      await expectToBeWellAgain('without its master');
    } finally {
      await master.restart();
    }
    await expectToBeWellAgain('with its former master');
  });

  itWithOtherMasters('follows when another master takes over from one that hangs', async () => {
    const master = await redis.masterOf('tables:list');
    redis.pause(master);
    try {
      await load.expectRequests(REQUESTS_MEANWHILE);
      await redis.newMasterOf('tables:list', master);
      await expectToBeWellAgain('with a master that hangs');
    } finally {
      redis.resumeAll();
    }
    await expectToBeWellAgain('with its former master');
  });

  it('writes everything again when Redis is emptied', async () => {
    for (let round = 1; round <= 2; round += 1) {
      await redis.empty();
      // A commit of one table before the next heartbeat: its keys alone must not pass for all of them.
      expectSuccess(await call(await node.server(), 'POST', `/v1/tables/${BUSY}/flush`));
      await load.expectRequests(REQUESTS_MEANWHILE / 2);
      await expectToBeWellAgain(`emptied, round ${round}`);
    }
  });

  it('writes again what is gone when Redis lost some of it', async () => {
    const keys = ['tables:list', `table:${IDLE}:config`, `table:${BUSY}:created_at`, 'nodes:services'];
    await redis.ask((client) => Promise.all(keys.map((key) => client.del(key))));
    await expectToBeWellAgain(`without ${keys.join()}`);
  });

  it('stops in time and starts again while Redis hangs', async () => {
    await load.stop();
    const server = await node.server();
    expectSuccess(await call(server, 'POST', `/v1/tables/${BUSY}/flush`));
    await eventually(
      `the keys in Redis at rest (SEED=${seed}), faults`,
      () => faultsOfKeys([BUSY, IDLE]),
      (faults) => faults.length === 0,
      RECOVERY_MS_MAX,
    );
    redis.pauseAll();
    try {
      const startedMs = performance.now();
      expect(await server.stop()).toBe(0);
      const stoppedMs = performance.now() - startedMs;
      expectThat(stoppedMs, 'milliseconds of a stop').toBeLessThan(STOP_MS_MAX);
      await node.kill();
      await load.expectExactRows('started without Redis');
      expect((await health()).json.details.redis).toMatch(/^degraded/);
      console.log(`redis faults, ${mode}: stopped without Redis in ${Math.ceil(stoppedMs)} ms, SEED=${seed}`);
    } finally {
      redis.resumeAll();
    }
    await untilWell();
    await load.expectExactRows('at the end');
    node.killAndRestart();
    await load.expectExactRows('after a kill');
  });

  /** What must work works, what cannot says so, and none of it takes long. */
  async function expectToGoOnWithout(how: string): Promise<void> {
    const server = await node.server();
    times.take();
    const startedMs = performance.now();
    let noticedMs = 0;
    const isNoticed = ({ json }: Answer): boolean => json.details.redis.startsWith('degraded');
    const [created] = await Promise.all([
      times.time('create table', () => call(server, 'POST', '/v1/tables', { table_name: `made_${how}` })),
      expectRefusals(server),
      load.expectRequests(REQUESTS_MEANWHILE),
      eventually('health that says so', health, isNoticed, NOTICED_MS_MAX).then(() => (noticedMs = performance.now() - startedMs)),
    ]);
    expectSuccess(created);
    const { status, json } = await health();
    expect({ status, health: json.status }).toEqual({ status: 200, health: 'degraded' });
    const state = await times.time('status', () => call(server, 'GET', '/v1/status'));
    expect(state.json).toMatchObject({ redis_stats: { enabled: 1, reachable: 0 }, nodes: [{ id: NODE }], total_nodes: 1 });
    expectSuccess(await times.time('drop table', () => call(server, 'DELETE', `/v1/tables/made_${how}?cascade=true`)));
    const longest = times.take();
    console.log(
      `redis faults, ${mode}, ${how}: noticed after ${Math.ceil(noticedMs)} ms, longest ms ${JSON.stringify(longest)}, SEED=${seed}`,
    );
    expectNoneLong(longest);
  }

  /** What needs Redis says so: the lease of a compaction. Whether a column may get another type can be known without it; if not, it says so, too. */
  async function expectRefusals(server: RunningServer): Promise<void> {
    const column = `c${randomUUID().slice(0, 8)}`;
    expectSuccess(await call(server, 'POST', '/v1/data', { table: IDLE, id: column, payload: { [column]: 1 } }));
    const [compacted, widened] = await Promise.all([
      times.time('compact', () => call(server, 'POST', `/v1/tables/${IDLE}/compact`)),
      times.time('widen', () => call(server, 'POST', '/v1/data', { table: IDLE, id: `${column}-wide`, payload: { [column]: 1.5 } })),
    ]);
    for (const answer of isSuccess(widened) ? [compacted] : [compacted, widened]) {
      expectThat({ status: answer.status, error: answer.json?.error }, answer.text).toEqual({ status: 503, error: 'UNAVAILABLE' });
      expect(answer.json.message).toContain('Redis');
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    }
    const expected = [`${column} {"${column}":1}`, ...(isSuccess(widened) ? [`${column}-wide {"${column}":1.5}`] : [])];
    expect(await rowTexts(server, IDLE, `starts_with(id, '${column}')`)).toEqual(expected);
  }

  async function expectToBeWellAgain(how: string): Promise<void> {
    const startedMs = performance.now();
    await untilWell();
    load.expectNoFailure();
    const longest = times.take();
    console.log(
      `redis faults, ${mode}, ${how}: well after ${Math.ceil(performance.now() - startedMs)} ms, longest ms ${JSON.stringify(longest)}`,
    );
    expectNoneLong(longest);
  }

  /** Health says so, the keys of the contract are there and right, and somebody listens to commits. */
  async function untilWell(): Promise<void> {
    await eventually('health', health, ({ json }) => json.details.redis === 'healthy' && json.status === 'healthy', RECOVERY_MS_MAX);
    await eventually('files after a compaction', compactedFiles, (files) => files === 1, RECOVERY_MS_MAX);
    await eventually(
      `the keys in Redis (SEED=${seed}), faults`,
      () => faultsOfKeys([IDLE]),
      (faults) => faults.length === 0,
      RECOVERY_MS_MAX,
    );
  }

  /** A lease that was asked for while Redis was away must not be in the way. */
  async function compactedFiles(): Promise<number> {
    const server = await node.server();
    expectSuccess(await call(server, 'POST', `/v1/tables/${IDLE}/compact`));
    return (await tableInfo(server, IDLE))['stats'].file_count as number;
  }

  async function health(): Promise<Answer> {
    const server = await node.server();
    return times.time('health', () => call(server, 'GET', '/v1/health'));
  }

  /** @param resting tables of which nothing changes while one looks */
  async function faultsOfKeys(resting: readonly string[]): Promise<string[]> {
    const server = await node.server();
    try {
      const subscribers = await redis.subscribers(COMMITS_CHANNEL);
      const infos = await Promise.all(resting.map((table) => tableInfo(server, table)));
      const faults = await redis.ask((client) => faultsOf(client, infos));
      return subscribers === 0 ? [...faults, `nobody listens to ${COMMITS_CHANNEL}`] : faults;
    } catch (error) {
      return [String(error)];
    }
  }
});

describe('the connection to Redis by sentinels', () => {
  /** Enough that some of them look for the master in the very moment in which the sentinels tell of another. */
  const CONNECTIONS = 120;

  it(`does not give up for good when the master changes while it looks for one, ${CONNECTIONS} of them`, async () => {
    const redis = servers.sentinel;
    const config = Object.assign(new RedisConfig(), redis.settings);
    const connections = Array.from({ length: CONNECTIONS }, () => new RedisConnection(config, pino({ level: 'silent' })));
    const unreachable = async (): Promise<number> => {
      const answers = connections.map((connection) => connection.run('a test', (client) => client.ping()));
      const failed = (await Promise.allSettled(answers)).filter(({ status }) => status === 'rejected').length;
      return failed + connections.filter(({ subscriber }) => subscriber.status !== 'ready').length;
    };
    try {
      await eventually('all of them', unreachable, (count) => count === 0, RECOVERY_MS_MAX);
      const master = await redis.masterOf('any');
      await master.kill();
      try {
        await redis.newMasterOf('any', master);
        await eventually('all of them after the failover', unreachable, (count) => count === 0, RECOVERY_MS_MAX);
      } finally {
        await master.restart();
      }
    } finally {
      for (const connection of connections) connection.close();
    }
  });
});

describe('a server that makes objects under a lock in Redis', () => {
  const TABLE = 'locked';
  const ROWS_MEANWHILE = 10;
  const times = new RequestTimes();
  const expected: string[] = [];
  let redis: RedisTopology;
  let node: KillableNode;

  beforeAll(async () => {
    redis = servers.standalone;
    node = nodeWith(redis, { put_if_absent: 'check' });
    await createTable(await node.server(), TABLE, { flush_interval_seconds: 3_600 });
    await post(0);
    expectSuccess(await flush());
  });

  afterAll(() => node.kill());

  it('refuses what needs the lock while Redis hangs, goes on with the rest, and with all of it when Redis answers again', async () => {
    redis.pauseAll();
    try {
      const server = await node.server();
      // The flush has to have something to flush.
      await post(1);
      const refusals = Promise.all([
        times.time('create table', create),
        times.time('flush', flush),
        times.time('new column', () => call(server, 'POST', '/v1/data', { table: TABLE, id: 'never', payload: { later: 1 } })),
      ]);
      for (let n = 2; n <= ROWS_MEANWHILE; n += 1) {
        await post(n);
        expect(await times.time('query', () => rowTexts(server, TABLE))).toEqual([...expected].sort());
      }
      for (const answer of await refusals)
        expectThat({ status: answer.status, error: answer.json?.error }, answer.text).toEqual({ status: 503, error: 'UNAVAILABLE' });
      const longest = times.take();
      console.log(`redis faults, lock: longest ms ${JSON.stringify(longest)}`);
      expectNoneLong(longest);
    } finally {
      redis.resumeAll();
    }
    await eventually('a flush afterwards', () => times.time('flush', flush), isSuccess, RECOVERY_MS_MAX);
    await eventually('a table made afterwards', () => times.time('create table', create), isSuccess, RECOVERY_MS_MAX);
    expectNoneLong(times.take());
    expect(await rowTexts(await node.server(), TABLE)).toEqual([...expected].sort());
    node.killAndRestart();
    expect(await rowTexts(await node.server(), TABLE)).toEqual([...expected].sort());
  });

  async function post(n: number): Promise<void> {
    const server = await node.server();
    const body = { table: TABLE, id: `row-${n}`, payload: { n } };
    expectSuccess(await times.time('write', () => call(server, 'POST', '/v1/data', body)));
    expected.push(`row-${n} {"n":${n}}`);
  }

  async function flush(): Promise<Answer> {
    return call(await node.server(), 'POST', `/v1/tables/${TABLE}/flush`);
  }

  async function create(): Promise<Answer> {
    return call(await node.server(), 'POST', '/v1/tables', { table_name: 'made_under_a_lock' });
  }
});

function expectNoneLong(longest: Readonly<Record<string, number>>): void {
  const isLong = ([what, ms]: [string, number]): boolean => ms > (FLUSHING.includes(what) ? FLUSH_MS_MAX : REQUEST_MS_MAX);
  expectThat(Object.entries(longest).filter(isLong), 'requests that took long, in milliseconds').toEqual([]);
}

/**
 * What is wrong with the keys of the contract.
 * @param resting what the server says of tables that do not change while one looks
 */
async function faultsOf(client: Redis | Cluster, resting: readonly JsonRow[]): Promise<string[]> {
  const faults: string[] = [];
  const check = (what: string, found: unknown, isRight: boolean): void => {
    if (!isRight) faults.push(`${what}: ${JSON.stringify(found)}`);
  };
  const names = await client.smembers('tables:list');
  check('tables:list', names, names.sort().join() === [BUSY, IDLE].sort().join());
  for (const table of [BUSY, IDLE]) {
    const config = await client.hgetall(`table:${table}:config`);
    check(`table:${table}:config`, config, Number(config['buffer_size']) > 0);
    for (const part of ['created_at', 'last_write']) {
      const instant = await client.get(`table:${table}:${part}`);
      check(`table:${table}:${part}`, instant, instant !== null && !Number.isNaN(Date.parse(instant)));
    }
    const stats = await client.hgetall(`table:${table}:stats`);
    check(`table:${table}:stats`, stats, Number(stats['version']) > 0);
    const files = await client.hlen(`index:table:${table}:files`);
    check(`index:table:${table}:files`, files, files > 0);
  }
  for (const { name, version, stats: described } of resting) {
    const { record_count: rows, buffered_records: buffered, file_count: files } = described;
    const [stats, indexed] = [await client.hgetall(`table:${name}:stats`), await client.hlen(`index:table:${name}:files`)];
    const found = [Number(stats['version']), Number(stats['record_count']), Number(stats['file_count']), indexed];
    const expected = [version, rows - buffered, files, files];
    check(`version, rows, files and indexed files of ${name} instead of ${expected.join()}`, found, found.join() === expected.join());
  }
  const services = await client.hgetall('nodes:services');
  check('nodes:services', services, (services[NODE] ?? '') !== '');
  const [node, ttl] = [await client.get(`nodes:health:${NODE}`), await client.ttl(`nodes:health:${NODE}`)];
  check(`nodes:health:${NODE}`, [node, ttl], node?.includes('active') === true && ttl > 0 && ttl <= 60);
  const metadataVersion = await client.get('metadata:version');
  check('metadata:version', metadataVersion, Number(metadataVersion) > 0);
  for (const pool of ['redis', 'minio']) {
    const status = await client.get(`pool:${pool}:status`);
    check(`pool:${pool}:status`, status, status?.startsWith('{') === true);
  }
  return faults;
}

/** Clients that write to the busy table all the time. */
class Load {
  readonly #clients: readonly RowsClient[];
  readonly #runs: Promise<unknown>;

  constructor(
    private readonly node: KillableNode,
    random: SeededRandom,
    times: RequestTimes,
  ) {
    this.#clients = Array.from(
      { length: CLIENTS },
      (_, index) =>
        new RowsClient({
          table: BUSY,
          name: `client${index}`,
          server: () => node.server(),
          random: random.fork(),
          weights: WEIGHTS,
          columns: (own) => ({ flag: own.chance(0.5), [`c${own.integer(0, 12)}`]: own.fraction() }),
          times,
          pauseMs: CLIENT_PAUSE_MS,
        }),
    );
    this.#runs = Promise.all(this.#clients.map((client) => client.run()));
  }

  expectNoFailure(): void {
    for (const { failure } of this.#clients) if (failure !== undefined) throw failure;
  }

  /** Waits until so many more requests were acknowledged. */
  async expectRequests(count: number): Promise<void> {
    const acknowledged = (): number => this.#clients.reduce((sum, { rows }) => sum + rows.acknowledged, 0);
    const before = acknowledged();
    const isEnough = (now: number): boolean => now >= before + count || this.#clients.some(({ failure }) => failure !== undefined);
    await eventually(`${count} more requests`, acknowledged, isEnough, REQUESTS_MS_MAX);
    this.expectNoFailure();
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.stop();
    await this.#runs;
  }

  /** Stopped before. */
  async expectExactRows(when: string): Promise<void> {
    this.expectNoFailure();
    const expected = this.#clients.flatMap(({ rows }) => rows.texts());
    expectThat(difference(expected, await rowTexts(await this.node.server(), BUSY)), `rows that differ ${when}`).toEqual([]);
    expect(expected.length).toBeGreaterThan(50);
  }
}
