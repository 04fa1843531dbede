/**
 * Two servers on one bucket and one Redis write the same tables: each hazard of it alone, and then all together under kills.
 *
 * SEED repeats the decisions (not the timing) of a run.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from './servers/redis.js';
import { closeTestServers, type TestObjectStore, testObjectStore } from './servers/shared-servers.js';
import { expectThat } from './support/expectations.js';
import { KillableNode } from './support/killable-node.js';
import { ALL_ROWS, difference, type Payload, rowTexts } from './support/known-rows.js';
import { createTable, eventually, expectSuccess, flush, writeBatch, isSuccess } from './support/requests.js';
import { RowsClient, type Weights } from './support/rows-client.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call, type RunningServer } from './support/server.js';
import { sharedBucketEnvironment } from './support/shared-bucket.js';

const VISIBLE_MS_MAX = 10_000;
/** The smallest integer that a DOUBLE does not hold. */
const ODD_BIGINT = '9007199254740993';

let store: TestObjectStore;
let redis: RedisServer;
let client: Redis;

beforeAll(async () => {
  [store, redis] = await Promise.all([testObjectStore(), startRedis()]);
  client = new Redis(redis.url);
});

afterAll(async () => {
  client?.disconnect();
  await Promise.all([closeTestServers(), redis?.stop()]);
});

interface NodeSettings {
  readonly tables?: Readonly<Record<string, unknown>>;
  readonly maintenance: Readonly<Record<string, unknown>>;
}

function nodeOf(id: string, bucket: string, settings: NodeSettings): KillableNode {
  const config = { log: { level: 'warn', file: '' }, redis: { heartbeat_seconds: 1, poll_seconds: 1 }, ...settings };
  return new KillableNode(id, { env: sharedBucketEnvironment(store, redis, bucket), config });
}

describe('two nodes on one bucket', () => {
  const ROUNDS = 8;
  /** Longer than a node trusts that nobody cleaned up since it last looked. */
  const SLEPT_MS = 11_000;
  /** Nothing happens by itself but checkpoints, so that each test decides what does. */
  const settings: NodeSettings = {
    tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 },
    maintenance: {
      compaction: false,
      interval_seconds: 0.5,
      checkpoint_commits: 1,
      time_travel_hours: 1 / 3_600,
      orphan_age_hours: 1 / 3_600,
    },
  };
  let nodes: readonly [KillableNode, KillableNode];
  let one: RunningServer;
  let other: RunningServer;

  beforeAll(async () => {
    const bucket = `hazards-${randomUUID()}`;
    nodes = [nodeOf('node-1', bucket, settings), nodeOf('node-2', bucket, settings)];
    [one, other] = await Promise.all([nodes[0].server(), nodes[1].server()]);
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.kill()));
  });

  async function createOnBoth(table: string, config: Readonly<Record<string, unknown>> = {}): Promise<void> {
    await createTable(one, table, config);
    const status = async (): Promise<number> => (await call(other, 'GET', `/v1/tables/${table}`)).status;
    await eventually('the table at the other node', status, (found) => found === 200, VISIBLE_MS_MAX);
  }

  /** @param payload as JSON, so that every digit counts */
  function post(server: RunningServer, table: string, id: string, payload: string): Promise<Answer> {
    return call(server, 'POST', '/v1/data', `{"table":"${table}","id":"${id}","payload":${payload}}`);
  }

  async function expectRows(server: RunningServer, table: string, expected: readonly string[]): Promise<void> {
    const differences = async (): Promise<string[]> => difference(expected, await rowTexts(server, table));
    await eventually(`rows of ${table}, differences`, differences, (found) => found.length === 0, VISIBLE_MS_MAX);
  }

  async function expectRowsOnBoth(table: string, expected: readonly string[]): Promise<void> {
    for (const server of [one, other]) await flush(server, table);
    for (const server of [one, other]) await expectRows(server, table, expected);
  }

  async function restartFirst(): Promise<void> {
    nodes[0].killAndRestart();
    one = await nodes[0].server();
  }

  it('let no dropped table come back while the other node makes and drops tables, at which each reads the catalogue', async () => {
    const makeAndDrop = async (server: RunningServer, table: string): Promise<void> => {
      for (let round = 0; round < 25; round += 1) {
        await createTable(server, table);
        expectSuccess(await call(server, 'DELETE', `/v1/tables/${table}?cascade=true`));
      }
    };
    await Promise.all([makeAndDrop(one, 'of_one'), makeAndDrop(other, 'of_other')]);
    for (const server of [one, other]) {
      const left = async (): Promise<unknown[]> => (await call(server, 'GET', '/v1/tables?pattern=of_o*')).json.tables as unknown[];
      await eventually('no table is left', left, (tables) => tables.length === 0, VISIBLE_MS_MAX);
    }
  });

  it('make a table of one name once, also by a first write to both', async () => {
    for (let round = 0; round < 4; round += 1) {
      const table = `written_at_once_${round}`;
      const written = await Promise.all([post(one, table, 'one', '{"n":1}'), post(other, table, 'other', '{"n":2}')]);
      for (const answer of written) expectSuccess(answer);
      await expectRowsOnBoth(table, ['one {"n":1}', 'other {"n":2}']);

      const body = { table_name: `made_at_once_${round}` };
      const made = await Promise.all([one, other].map((server) => call(server, 'POST', '/v1/tables', body)));
      expect(made.map(({ status, json }) => `${status} ${json.error ?? ''}`).sort()).toEqual(['200 ', '409 ALREADY_EXISTS']);

      const kept = { table_name: `kept_at_once_${round}`, if_not_exists: true };
      for (const answer of await Promise.all([one, other].map((server) => call(server, 'POST', '/v1/tables', kept)))) expectSuccess(answer);
      for (const server of [one, other]) expectSuccess(await call(server, 'GET', `/v1/tables/${kept.table_name}`));
    }
  });

  it('take a new column of one type from both at once', async () => {
    const table = 'same_columns';
    await createOnBoth(table);
    const expected: string[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const [atOne, atOther] = [`one-${round}`, `other-${round}`];
      const answers = await Promise.all([
        post(one, table, atOne, `{"c${round}":${round},"only_one_${round}":true}`),
        post(other, table, atOther, `{"C${round}":${-round},"only_other_${round}":"x"}`),
      ]);
      for (const answer of answers) expectSuccess(answer);
      expected.push(`${atOne} {"c${round}":${round},"only_one_${round}":true}`);
      expected.push(`${atOther} {"c${round}":${0 - round},"only_other_${round}":"x"}`);
    }
    await expectRowsOnBoth(table, expected);
  });

  it.each([
    { what: 'an integer and a string', table: 'clashing_strings', values: ['7', '"seven"'], mayBothWin: false },
    { what: 'an integer and a boolean', table: 'clashing_booleans', values: ['7', 'true'], mayBothWin: false },
    // An integer fits a DOUBLE.
    { what: 'an integer and a fraction', table: 'clashing_fractions', values: ['7', '7.5'], mayBothWin: true },
  ])('take a new column that one has as $what from one of them, and refuse the other by name', async ({ table, values, mayBothWin }) => {
    await createOnBoth(table);
    const expected: string[] = [];
    let refusals = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const column = `c${round}`;
      const servers = round % 2 === 0 ? [one, other] : [other, one];
      const answers = await Promise.all(
        servers.map((server, index) => post(server, table, `${index}-${round}`, `{"${column}":${values[index]}}`)),
      );
      const refused = answers.filter((answer) => !isSuccess(answer));
      for (const answer of refused) expectRefusalByName(answer, column);
      expectThat(refused.length, `refusals in round ${round}`).toBeLessThanOrEqual(1);
      if (!mayBothWin) expectThat(refused.length, `refusals in round ${round}`).toBe(1);
      refusals += refused.length;
      answers.forEach((answer, index) => {
        if (isSuccess(answer)) expected.push(`${index}-${round} {"${column}":${values[index]}}`);
      });
    }
    console.log(`two nodes, ${table}: ${refusals} refusals in ${ROUNDS} rounds`);
    await expectRowsOnBoth(table, expected);
  });

  it('keep one row of an id in an upsert table that both write', async () => {
    const table = 'same_ids';
    await createOnBoth(table, { write_mode: 'upsert' });
    const ids = ['a', 'b', 'c', 'd'];
    for (let round = 1; round <= 4; round += 1) {
      const write = (server: RunningServer, by: string): Promise<unknown> =>
        writeBatch(
          server,
          table,
          ids.map((id) => ({ id, payload: { by, round } })),
        );
      await Promise.all([write(one, 'one'), write(other, 'other')]);
      await Promise.all([flush(one, table), flush(other, table)]);
    }
    for (const server of [one, other]) await flush(server, table);
    const seen = async (): Promise<string[][]> => Promise.all([rowTexts(one, table), rowTexts(other, table)]);
    const isOneEach = ([atOne = [], atOther = []]: string[][]): boolean =>
      atOne.map((row) => row.split(' ')[0]).join() === ids.join() && atOne.join() === atOther.join();
    const [rows = []] = await eventually('one row of each id, the same on both nodes', seen, isOneEach, VISIBLE_MS_MAX);
    for (const row of rows) expect(row).toContain('"round":4');
  });

  it('keep what the other wrote after a change that is replayed later', async () => {
    const changes = [
      { table: 'replayed_delete', method: 'DELETE', body: { soft_delete: false }, left: [] },
      { table: 'replayed_soft_delete', method: 'DELETE', body: { soft_delete: true }, left: [] },
      { table: 'replayed_replacement', method: 'PUT', body: { payload: { n: 2 } }, left: ['x {"n":2}'] },
    ];
    for (const { table, method, body, left } of changes) {
      await createOnBoth(table);
      expectSuccess(await post(one, table, 'x', '{"n":1}'));
      await flush(one, table);
      await expectRows(other, table, ['x {"n":1}']);
      expectSuccess(await call(one, method, '/v1/data', { table, id: 'x', ...body }));
      expectSuccess(await post(other, table, 'x', '{"n":3}'));
      await flush(other, table);
      await expectRows(one, table, [...left, 'x {"n":3}']);
    }
    await restartFirst();
    for (const { table, left } of changes) {
      expectThat(await rowTexts(one, table), `rows of ${table} after the replay`).toEqual([...left, 'x {"n":3}']);
      await expectRowsOnBoth(table, [...left, 'x {"n":3}']);
    }
  });

  it('keep other rows apart from a restore that is replayed later', async () => {
    const table = 'replayed_restore';
    await createOnBoth(table);
    await writeBatch(
      one,
      table,
      [1, 2].map((n) => ({ id: 'x', payload: { n } })),
    );
    await flush(one, table);
    await expectRows(other, table, ['x {"n":1}', 'x {"n":2}']);
    expectSuccess(await call(one, 'DELETE', '/v1/data', { table, id: 'x', soft_delete: true }));
    expect(expectSuccess(await call(one, 'POST', '/v1/data/restore', { table, id: 'x' })).json.restored_count).toBe(2);
    await writeBatch(one, table, [
      { id: 'y', payload: { n: 4 } },
      { id: 'z', payload: { n: 5 } },
    ]);
    // More rows that a restore would bring back, by the time of the replay.
    expectSuccess(await post(other, table, 'x', '{"n":3}'));
    expect(expectSuccess(await call(other, 'DELETE', '/v1/data', { table, id: 'x', soft_delete: true })).json.deleted_count).toBe(3);
    await flush(other, table);
    await restartFirst();
    const others = async (): Promise<string[]> => (await rowTexts(one, table)).filter((row) => !row.startsWith('y '));
    const before = await others();
    expect(expectSuccess(await call(one, 'DELETE', '/v1/data', { table, id: 'y', soft_delete: false })).json.deleted_count).toBe(1);
    expectThat(await others(), 'rows of other ids after the delete of y').toEqual(before);
    expect(before).toContain('z {"n":5}');
  });

  it('bring back a row once, also when the other hid its neighbours meanwhile', async () => {
    const table = 'restored_once';
    await createOnBoth(table);
    const records = ['w', 'x', 'y', 'z'].map((id, n) => ({ id, payload: { n } }));
    await writeBatch(one, table, records);
    await flush(one, table);
    const ask = async (server: RunningServer, method: string, path: string, body: Record<string, unknown>): Promise<number> => {
      const { json } = expectSuccess(await call(server, method, `/v1/data${path}`, { table, ...body }));
      return (json.deleted_count ?? json.restored_count) as number;
    };
    expect(await ask(one, 'DELETE', '', { ids: ['x', 'z'], soft_delete: true })).toBe(2);
    await flush(one, table);
    await expectRows(other, table, ['w {"n":0}', 'y {"n":2}']);

    expect(await ask(one, 'POST', '/restore', { id: 'x' })).toBe(1);
    // Nothing is left to restore of it from here on.
    expect(await ask(one, 'DELETE', '', { id: 'z', soft_delete: false })).toBe(0);
    expect(await ask(other, 'DELETE', '', { id: 'y', soft_delete: false })).toBe(1);
    await flush(other, table);
    await expectRows(one, table, ['w {"n":0}', 'x {"n":1}']);
    expect(await ask(one, 'POST', '/restore', { ids: ['x', 'z'] })).toBe(0);
    await expectRowsOnBoth(table, ['w {"n":0}', 'x {"n":1}']);
    expect(await ask(other, 'POST', '/restore', { ids: ['x', 'z'] })).toBe(0);
    await expectRowsOnBoth(table, ['w {"n":0}', 'x {"n":1}']);
  });

  it('keep every digit of an integer that a dead node acknowledged, whatever becomes of its column', async () => {
    const table = 'digits_of_the_dead';
    await createOnBoth(table);
    expectSuccess(await post(one, table, 'a', '{"v":1}'));
    await flush(one, table);
    await expectRows(other, table, ['a {"v":1}']);
    expectSuccess(await post(other, table, 'big', `{"v":${ODD_BIGINT}}`));
    await nodes[1].kill();
    await eventually(
      'that the other node counts as gone',
      () => client.get('nodes:health:node-2'),
      (health) => health === null,
    );
    const answer = await post(one, table, 'b', '{"v":1.5}');
    if (!isSuccess(answer)) expectRefusalByName(answer, 'v');
    other = await nodes[1].server();
    await expectDigits(table);
  });

  it('keep every digit of an integer and go on when Redis is emptied before a column is to get another type', async () => {
    const table = 'digits_without_redis';
    await createOnBoth(table);
    for (let round = 0; round < 3; round += 1) {
      const column = `v${round}`;
      expectSuccess(await post(one, table, `a${round}`, `{"${column}":1}`));
      await flush(one, table);
      const isThere = async (): Promise<boolean> => (await rowTexts(other, table)).includes(`a${round} {"${column}":1}`);
      await eventually('the column at the other node', isThere, (found) => found, VISIBLE_MS_MAX);
      expectSuccess(await post(other, table, `big${round}`, `{"${column}":${ODD_BIGINT}}`));
      await client.flushall();
      const answer = await post(one, table, `b${round}`, `{"${column}":1.5}`);
      if (!isSuccess(answer)) expectRefusalByName(answer, column);
      await expectDigits(table, column, `big${round}`);
    }
  });

  function expectRefusalByName(answer: Answer, column: string): void {
    expectThat({ status: answer.status, error: answer.json?.error }, answer.text).toEqual({ status: 400, error: 'INVALID_ARGUMENT' });
    expect(answer.json.message).toContain(`column ${column} is `);
  }

  /** The row is flushed and seen on both nodes as it was written. */
  async function expectDigits(table: string, column = 'v', id = 'big'): Promise<void> {
    expectSuccess(await call(other, 'POST', `/v1/tables/${table}/flush`));
    const sql = `SELECT ${column} AS v FROM ${table} WHERE id = '${id}'`;
    for (const server of [other, one]) {
      const read = async (): Promise<string> => (await call(server, 'POST', '/v1/query', { sql })).text;
      await eventually(`${column} of row ${id}`, read, (text) => text.includes(`{"v":${ODD_BIGINT}}`), VISIBLE_MS_MAX);
    }
  }

  it('keep what one acknowledged whose log was cleaned up under it', async () => {
    const table = 'cleaned_up';
    await createOnBoth(table);
    expectSuccess(await post(one, table, 'a', '{"n":1}'));
    await flush(one, table);
    await expectRows(other, table, ['a {"n":1}']);
    expectSuccess(await post(other, table, 'slept', '{"n":0}'));
    const expected = ['a {"n":1}', 'slept {"n":0}'];
    const versions = async (server: RunningServer): Promise<number[]> =>
      expectSuccess(await call(server, 'GET', `/v1/tables/${table}/history`)).json.history.map(
        ({ version }: { version: number }) => version,
      );
    const [newest = 0] = await versions(other);
    const sleptEnough = pause(SLEPT_MS);
    process.kill(other.pid, 'SIGSTOP');
    try {
      for (let n = 2; n < 6; n += 1) {
        expectSuccess(await post(one, table, 'b', `{"n":${n}}`));
        await flush(one, table);
        expected.push(`b {"n":${n}}`);
      }
      const oldest = async (): Promise<number> => {
        expectSuccess(await call(one, 'POST', `/v1/tables/${table}/vacuum`));
        return (await versions(one)).at(-1) ?? 0;
      };
      await eventually('that versions are gone which the other has not seen', oldest, (version) => version > newest + 1);
      await sleptEnough;
    } finally {
      process.kill(other.pid, 'SIGCONT');
    }
    await expectRowsOnBoth(table, expected);
  });
});

describe('two nodes of which one is killed again and again', () => {
  const KILLS = Number(process.env['TWO_NODES_KILLS'] ?? 5);
  const LIFE_MS_MAX = 1_500;
  const CLIENTS_PER_NODE = 2;
  const WIDE = 'wide_rows';
  const LATEST = 'latest_rows';
  const WEIGHTS: Weights = {
    write: 10,
    replace: 3,
    merge: 2,
    delete: 3,
    hide: 3,
    restore: 3,
    query: 2,
    flush: 1,
    compact: 0.3,
    vacuum: 0.3,
    handOver: 0.7,
  };
  /** Versions and objects are kept for seconds only, so that vacuum has something to do; but longer than any flush or compaction takes. */
  const settings: NodeSettings = {
    maintenance: {
      interval_seconds: 0.5,
      compaction_files_min: 4,
      checkpoint_commits: 10,
      time_travel_hours: 15 / 3_600,
      orphan_age_hours: 20 / 3_600,
    },
  };
  const bucket = `kills-${randomUUID()}`;
  const seed = seedOfThisRun();
  const random = new SeededRandom(seed);
  let nodes: readonly [KillableNode, KillableNode];
  /** Names of new columns, the same for all clients and again and again others, so that both nodes meet the same new name at about the same time. */
  let wave = 0;

  beforeAll(async () => {
    console.log(`two nodes, more: SEED=${seed} TWO_NODES_KILLS=${KILLS}`);
    nodes = [nodeOf('node-1', bucket, settings), nodeOf('node-2', bucket, settings)];
    const [one, other] = await Promise.all([nodes[0].server(), nodes[1].server()]);
    await createTable(one, WIDE, { flush_interval_seconds: 1, buffer_size: 60 });
    await createTable(one, LATEST, { flush_interval_seconds: 1, buffer_size: 60, write_mode: 'upsert' });
    const statuses = (): Promise<number[]> =>
      Promise.all([WIDE, LATEST].map(async (table) => (await call(other, 'GET', `/v1/tables/${table}`)).status));
    await eventually('the tables at the other node', statuses, (found) => found.every((status) => status === 200), VISIBLE_MS_MAX);
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.kill()));
  });

  it(
    `lose and double nothing in ${KILLS} kills, and a third node sees the same`,
    async () => {
      const clients = nodes.flatMap((_node, index) => [
        ...Array.from({ length: CLIENTS_PER_NODE }, (_, number) => clientOf(WIDE, index, `wide${index}${number}`)),
        clientOf(LATEST, index, `latest${index}`),
      ]);
      const runs = Promise.all(clients.map((each) => each.run()));
      const hasFailed = (): boolean => clients.some(({ failure }) => failure !== undefined);
      try {
        for (let kill = 0; kill < KILLS && !hasFailed(); kill += 1) {
          wave += 1;
          await pause(random.integer(0, LIFE_MS_MAX));
          if (kill === KILLS >> 1) await client.flushall();
          const node = random.pick(nodes);
          for (const { rows } of clients) rows.note(`${ALL_ROWS}: ${node.id} is killed`);
          node.killAndRestart();
          wave += 1;
          await node.server();
        }
        await client.flushall();
        wave += 1;
        await pause(random.integer(0, LIFE_MS_MAX));
      } finally {
        for (const each of clients) each.stop();
        await runs;
      }
      for (const { failure } of clients) if (failure !== undefined) throw failure;
      const total = (of: (client: RowsClient) => number): number => clients.reduce((sum, each) => sum + of(each), 0);
      console.log(
        `two nodes, more: ${KILLS} kills, ${total(({ rows }) => rows.acknowledged)} acknowledged requests, ${total(({ rows }) => rows.refused)} refused, ` +
          `${total(({ rows }) => rows.cutOff)} cut off, ${total(({ rows }) => rows.ids.length)} rows at the end, ${wave} waves of columns, ` +
          `${total(({ handOvers }) => handOvers)} times another node, maintenance refused ${JSON.stringify(clients.flatMap((each) => each.refusedMaintenance).slice(0, 5))}, SEED=${seed}`,
      );
      await eventually(
        'tables:list',
        () => client.smembers('tables:list'),
        (names) => [WIDE, LATEST].every((name) => names.includes(name)),
        VISIBLE_MS_MAX,
      );
      for (const table of [WIDE, LATEST]) {
        for (const node of nodes) await flush(await node.server(), table);
        await expectSameRows('after the flush', nodes, table, clients);
        for (const node of nodes) await maintain(await node.server(), table, 'compact');
        for (const node of nodes) await maintain(await node.server(), table, 'vacuum');
        await expectSameRows('after the compaction', nodes, table, clients);
      }
      for (const node of nodes) node.killAndRestart();
      const third = nodeOf('node-3', bucket, settings);
      try {
        for (const table of [WIDE, LATEST]) await expectSameRows('after a restart', [...nodes, third], table, clients);
      } finally {
        await third.kill();
      }
    },
    120_000 + KILLS * 10_000,
  );

  /** Begins at one node and changes over now and then: what the one wrote, the other then replaces, hides and restores. */
  function clientOf(table: string, nodeIndex: number, name: string): RowsClient {
    let current = nodeIndex;
    const nodeAt = (index: number): KillableNode => (index % 2 === 0 ? nodes[0] : nodes[1]);
    const rowsClient: RowsClient = new RowsClient({
      table,
      name,
      isUpsert: table === LATEST,
      server: () => nodeAt(current).server(),
      random: random.fork(),
      weights: WEIGHTS,
      columns: (own) => columnsAt(current % 2, own),
      mayRefuse: isTypeRefused,
      mayRefuseMaintenance: ({ status }) => status === 409 || status === 503,
      handOver: async () => {
        const server = await nodeAt(current).server();
        if (!isSuccess(await call(server, 'POST', `/v1/tables/${table}/flush`))) return;
        const next = await nodeAt(current + 1).server();
        const differences = async (): Promise<string[]> =>
          difference(rowsClient.rows.texts(), await rowTexts(next, table, `starts_with(id, '${name}-')`));
        await eventually(
          `rows of ${name} at the other node (SEED=${seed}), differences`,
          differences,
          (found) => found.length === 0,
          VISIBLE_MS_MAX,
        );
        current += 1;
        rowsClient.rows.note(`${ALL_ROWS}: at ${nodeAt(current).id} from now on`);
      },
    });
    return rowsClient;
  }

  /** Columns that both nodes add with one type, that one node has alone, and that each has with another type. */
  function columnsAt(node: number, own: SeededRandom): Payload {
    const values = {
      [`same_${wave}`]: own.integer(0, 1_000),
      [`own_${node}_${wave}`]: own.chance(0.5),
      [`clash_${wave}`]: node === 0 ? own.integer(0, 1_000) : 'text',
      [`mixed_${wave}`]: node === 0 ? own.integer(0, 1_000) : own.integer(0, 1_000) + 0.5,
    };
    return Object.fromEntries(own.some(Object.entries(values), own.integer(0, 3)));
  }

  function isTypeRefused({ status, json }: Answer): boolean {
    if (status === 400) return /column (clash|mixed)_\d+ is/.test(json.message);
    return (status === 409 || status === 503) && /its columns/.test(json.message);
  }

  /** The other node may be at the same files: then it is asked again. */
  async function maintain(server: RunningServer, table: string, action: 'compact' | 'vacuum'): Promise<void> {
    const attempt = (): Promise<Answer> => call(server, 'POST', `/v1/tables/${table}/${action}`);
    expectSuccess(await eventually(action, attempt, ({ status }) => status !== 409, VISIBLE_MS_MAX));
  }

  async function expectSameRows(when: string, at: readonly KillableNode[], table: string, clients: readonly RowsClient[]): Promise<void> {
    const owners = clients.filter(({ rows }) => rows.table === table);
    const expected = owners.flatMap(({ rows }) => rows.texts());
    for (const node of at) {
      const server = await node.server();
      const differences = async (): Promise<string[]> => difference(expected, await rowTexts(server, table));
      const isNone = (found: readonly string[]): boolean => found.length === 0;
      await eventually(`rows of ${table} at ${node.id} ${when} (SEED=${seed})`, differences, isNone, VISIBLE_MS_MAX).catch(
        async (error: unknown) => {
          for (const line of (await differences()).slice(0, 3)) console.error([line, ...historyOf(line, owners)].join('\n  '));
          throw error;
        },
      );
    }
  }

  /** @param line one of `difference` */
  function historyOf(line: string, owners: readonly RowsClient[]): string[] {
    const row = line.slice(line.indexOf(' ') + 1);
    return owners.find(({ rows }) => row.startsWith(`${rows.owner}-`))?.rows.historyOf(row) ?? [];
  }
});
