/**
 * Two servers on one bucket and one Redis write the same table, flush often and compact, while one of them is killed with SIGKILL again and again.
 * Each client changes only ids that it wrote itself, so it knows what must be there: at the end both nodes answer exactly that.
 *
 * SEED repeats the decisions (not the timing) of a run.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { createTable, eventually, expectStatus, expectSuccess, UnexpectedAnswer } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';

const TABLE = 'shared_rows';
const KILLS = Number(process.env['TWO_NODES_KILLS'] ?? 10);
const CLIENTS_PER_NODE = 2;
const VISIBLE_MS_MAX = 10_000;
const LIFE_MS_MAX = 1_800;
const BATCH_ROWS_MAX = 8;

type Absent = 'absent';

/** A request that a kill cut off: all of it happened, or nothing. */
interface Pending {
  readonly what: string;
  readonly before: ReadonlyMap<string, number | Absent>;
  readonly after: ReadonlyMap<string, number | Absent>;
}

let store: TestObjectStore;
let redis: RedisServer;
let client: Redis;
let nodes: [TestNode, TestNode];

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
  client = new Redis(redis.url);
  const bucket = `nodes-${randomUUID()}`;
  nodes = [new TestNode('node-1', bucket), new TestNode('node-2', bucket)];
  await Promise.all(nodes.map((node) => node.server()));
});

afterAll(async () => {
  await Promise.all(nodes.map((node) => node.kill()));
  client.disconnect();
  await Promise.all([closeTestServers(), redis.stop()]);
});

describe('two nodes on one bucket', () => {
  it('show each other the tables that one of them creates or drops', async () => {
    const [first, second] = await Promise.all([nodes[0].server(), nodes[1].server()]);
    const statusAt = (node: RunningServer) => async (): Promise<number> => (await call(node, 'GET', '/v1/tables/passing')).status;
    await createTable(first, 'passing');
    expectSuccess(await call(first, 'POST', '/v1/data', { table: 'passing', id: 'a', payload: { n: 1 } }));
    await eventually('the table at the other node', statusAt(second), (status) => status === 200, VISIBLE_MS_MAX);
    expectSuccess(await call(second, 'POST', '/v1/data', { table: 'passing', id: 'b', payload: { n: 2 } }));
    expectSuccess(await call(second, 'DELETE', '/v1/tables/passing?cascade=true'));
    await eventually('the drop at the other node', statusAt(first), (status) => status === 404, VISIBLE_MS_MAX);
  });

  it(`lose and double nothing in ${KILLS} kills`, async () => {
    const seed = seedOfThisRun();
    console.log(`two nodes: SEED=${seed} TWO_NODES_KILLS=${KILLS}`);
    const random = new SeededRandom(seed);
    await createTable(await nodes[0].server(), TABLE, { flush_interval_seconds: 1, buffer_size: 60 });
    for (const node of nodes) {
      const server = await node.server();
      await eventually(
        'the table',
        async () => (await call(server, 'GET', `/v1/tables/${TABLE}`)).status,
        (status) => status === 200,
      );
    }
    const clients = nodes.flatMap((node) =>
      Array.from({ length: CLIENTS_PER_NODE }, (_, index) => new OwnRowsClient(node, `${node.id}-${index}`, random.fork())),
    );
    const load = Promise.all(clients.map((each) => each.run()));
    // Awaited below; a client that fails must not end the process meanwhile.
    load.catch(() => undefined);
    try {
      for (let kill = 0; kill < KILLS && clients.every((each) => !each.hasFailed); kill += 1) {
        await pause(random.integer(0, LIFE_MS_MAX));
        if (kill === KILLS >> 1) await emptyRedis();
        const node = random.pick(nodes);
        node.killAndRestart();
        await node.server();
      }
      await emptyRedis();
    } finally {
      for (const each of clients) each.stop();
      await load;
    }
    const expected = clients.flatMap((each) => each.rows()).sort();
    console.log(
      `two nodes: ${KILLS} kills, ${clients.reduce((sum, each) => sum + each.acknowledged, 0)} acknowledged requests, ` +
        `${clients.reduce((sum, each) => sum + each.cutOff, 0)} cut off, ${expected.length} rows at the end, ` +
        `maintenance refused: ${JSON.stringify(clients.flatMap((each) => each.refused).slice(0, 5))}, SEED=${seed}`,
    );

    for (const node of nodes) expectSuccess(await call(await node.server(), 'POST', `/v1/tables/${TABLE}/flush`));
    await expectSameRows('after the flush', expected, seed);
    for (const node of nodes) await compact(await node.server());
    await expectSameRows('after the compaction', expected, seed);
    for (const node of nodes) node.killAndRestart();
    await expectSameRows('after a restart', expected, seed);
  });
});

/** Everything in Redis goes, under load; what people read there comes back by itself. */
async function emptyRedis(): Promise<void> {
  await client.flushall();
  await eventually(
    'tables:list',
    () => client.smembers('tables:list'),
    (names) => names.includes(TABLE),
    VISIBLE_MS_MAX,
  );
}

/** A compaction that the other node was faster with is refused with 409, and the next one finds what is left. */
async function compact(server: RunningServer): Promise<void> {
  const attempt = async (): Promise<Answer> => {
    const answer = await call(server, 'POST', `/v1/tables/${TABLE}/compact`);
    return answer.status === 409 ? answer : expectSuccess(answer);
  };
  await eventually('a compaction', attempt, ({ status }) => status !== 409, VISIBLE_MS_MAX);
}

async function expectSameRows(when: string, expected: readonly string[], seed: number): Promise<void> {
  for (const node of nodes) {
    const server = await node.server();
    const differences = async (): Promise<string[]> => difference(expected, await allRows(server));
    const isNone = (found: readonly string[]): boolean => found.length === 0;
    await eventually(`rows at ${node.id} ${when} (SEED=${seed}), differences`, differences, isNone, VISIBLE_MS_MAX);
  }
}

/** Rows that are missing, and such as are there too often or should not be. */
function difference(expected: readonly string[], found: readonly string[]): string[] {
  const left = new Set(expected);
  const tooMany = found.filter((row) => !left.delete(row));
  return [...[...left].map((row) => `missing ${row}`), ...tooMany.map((row) => `unexpected ${row}`)];
}

async function allRows(server: RunningServer, where = 'true'): Promise<string[]> {
  const sql = `SELECT id, n FROM ${TABLE} WHERE ${where}`;
  const answer = expectStatus(await call(server, 'POST', '/v1/query', { sql }, { accept: 'application/x-ndjson' }), 200);
  const lines = answer.text.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as { id: string; n: number }).map(({ id, n }) => `${id}=${n}`);
}

/** A server that is killed and comes back on its directory. */
class TestNode {
  readonly #dataDir = temporaryDirectory('node');
  #running: Promise<RunningServer> | undefined;

  constructor(
    readonly id: string,
    readonly bucket: string,
  ) {}

  /** The server, once it is up. */
  server(): Promise<RunningServer> {
    return (this.#running ??= this.#start());
  }

  #start(): Promise<RunningServer> {
    return startServer({
      dataDir: this.#dataDir,
      env: {
        NODE_ID: this.id,
        STORAGE: 'minio',
        MINIO_ENDPOINT: `${store.host}:${store.port}`,
        MINIO_ACCESS_KEY: store.accessKey,
        MINIO_SECRET_KEY: store.secretKey,
        MINIO_BUCKET: this.bucket,
        REDIS_MODE: 'standalone',
        REDIS_HOST: redis.host,
        REDIS_PORT: String(redis.port),
        REDIS_PASSWORD: redis.password ?? '',
      },
      config: {
        log: { level: 'warn', file: '' },
        redis: { heartbeat_seconds: 1 },
        maintenance: { interval_seconds: 0.5, compaction_files_min: 4 },
      },
    });
  }

  /** From now on `server()` is the next one. */
  killAndRestart(): void {
    const before = this.server();
    this.#running = before.then(async (server) => {
      await server.kill();
      return this.#start();
    });
    this.#running.catch(() => undefined);
  }

  async kill(): Promise<void> {
    await (await this.#running)?.kill();
  }
}

/** Writes, replaces and deletes rows of its own, one request at a time. */
class OwnRowsClient {
  readonly #state = new Map<string, number | Absent>();
  readonly refused: string[] = [];
  acknowledged = 0;
  cutOff = 0;
  hasFailed = false;
  #isStopped = false;
  #counter = 0;
  #pending: Pending | undefined;

  constructor(
    readonly node: TestNode,
    readonly name: string,
    readonly random: SeededRandom,
  ) {}

  /** What must be there. */
  rows(): string[] {
    return [...this.#state].filter(([, value]) => value !== 'absent').map(([id, value]) => `${id}=${value}`);
  }

  stop(): void {
    this.#isStopped = true;
  }

  async run(): Promise<void> {
    try {
      while (!this.#isStopped || this.#pending) await this.#stepOrSettle();
    } catch (error) {
      this.hasFailed = true;
      throw error;
    }
  }

  async #stepOrSettle(): Promise<void> {
    const server = await this.node.server();
    try {
      await (this.#pending ? this.#settle(server, this.#pending) : this.#step(server));
    } catch (error) {
      // A lost connection; anything else is an answer that must not be.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  #step(server: RunningServer): Promise<void> {
    const action = this.random.weighted({ write: 10, replace: 5, delete: 4, flush: 1, compact: 0.3 });
    if (action === 'flush' || action === 'compact') return this.#maintain(server, action);
    const live = [...this.#state].filter(([, value]) => value !== 'absent').map(([id]) => id);
    if (action === 'write' || live.length < BATCH_ROWS_MAX) return this.#write(server);
    return action === 'replace' ? this.#replace(server, this.random.pick(live)) : this.#delete(server, this.random.some(live, 3));
  }

  async #write(server: RunningServer): Promise<void> {
    const records = Array.from({ length: this.random.integer(1, BATCH_ROWS_MAX) }, () => {
      const n = (this.#counter += 1);
      return { id: `${this.name}-${n}`, payload: { n } };
    });
    const after = new Map(records.map(({ id, payload }) => [id, payload.n]));
    await this.#change('write', after, () => call(server, 'POST', '/v1/data', { table: TABLE, records }));
  }

  async #replace(server: RunningServer, id: string): Promise<void> {
    const n = (this.#counter += 1);
    await this.#change('replace', new Map([[id, n]]), () => call(server, 'PUT', '/v1/data', { table: TABLE, id, payload: { n } }));
  }

  async #delete(server: RunningServer, ids: readonly string[]): Promise<void> {
    const after = new Map(ids.map((id) => [id, 'absent' as const]));
    const answer = await this.#change('delete', after, () => call(server, 'DELETE', '/v1/data', { table: TABLE, ids, soft_delete: false }));
    if (answer.json.deleted_count !== ids.length) throw new UnexpectedAnswer(`${this.name}: delete of ${ids.join(', ')}`, answer);
  }

  async #change(what: string, after: ReadonlyMap<string, number | Absent>, send: () => Promise<Answer>): Promise<Answer> {
    const before = new Map([...after.keys()].map((id) => [id, this.#state.get(id) ?? ('absent' as const)]));
    this.#pending = { what, before, after };
    const answer = await send();
    this.#pending = undefined;
    if (answer.status !== 200 && answer.status !== 201)
      throw new UnexpectedAnswer(`${this.name}: ${what} ${[...after.keys()].join(', ')}`, answer);
    for (const [id, value] of after) this.#state.set(id, value);
    this.acknowledged += 1;
    return answer;
  }

  /** The other node may commit to the same table at the same time: then it may say so, and is asked again some time. */
  async #maintain(server: RunningServer, action: 'flush' | 'compact'): Promise<void> {
    const answer = await call(server, 'POST', `/v1/tables/${TABLE}/${action}`);
    if (answer.status === 409 || answer.status === 503) this.refused.push(`${action} ${answer.status} ${answer.json?.message}`);
    else if (answer.status !== 200 && answer.status !== 201) throw new UnexpectedAnswer(`${this.name}: ${action}`, answer);
  }

  /** After a restart: has the request that was cut off happened, all of it or nothing? */
  async #settle(server: RunningServer, pending: Pending): Promise<void> {
    const ids = [...pending.before.keys()].map((id) => `'${id}'`).join(', ');
    const found = (await allRows(server, `id IN (${ids})`)).sort();
    const outcome = [pending.before, pending.after].find((state) => textOf(state) === found.join());
    if (!outcome)
      throw new Error(
        `${this.name}: ${pending.what} was cut off; before [${textOf(pending.before)}], after [${textOf(pending.after)}], found [${found.join()}]`,
      );
    for (const [id, value] of outcome) this.#state.set(id, value);
    this.#pending = undefined;
    this.cutOff += 1;
  }
}

function textOf(state: ReadonlyMap<string, number | Absent>): string {
  const present = [...state].filter(([, value]) => value !== 'absent');
  return present
    .map(([id, value]) => `${id}=${value}`)
    .sort()
    .join();
}
