/**
 * SIGKILL in the middle of recoveries, backups and restores, at named points and at random instants. After a restart a table has all of the recovered
 * rows or none of them, what was answered is there, a backup that was cut off is no backup, and everything can simply be asked for again.
 *
 * SEED=... repeats the instants, as far as they can be.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { closeTestServers } from './servers/shared-servers.js';
import {
  backUp,
  backUpMetadata,
  dataBackups,
  QUIET,
  recover,
  recovered,
  removeWal,
  restoreMetadata,
  tableNames,
  textOf,
} from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { countOf, createTable, eventually, expectSuccess, flush, type JsonRow, rowsOf, write, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call, type RunningServer, type ServerOptions, startServer } from './support/server.js';
import { TEST_STORAGE } from './support/storage.js';
import { removeWhere, storedObjects } from './support/stored-objects.js';

const ROWS = 2_000;
const DAYS = 4;
const ONE_DAY = { start_date: '2024-01-02', end_date: '2024-01-02' };
const ABSENT = 'absent';
/** Of the time that a recovery took before: a server that has just started takes longer. */
const RANDOM_SHARE_MAX = 2.5;

const running: RunningServer[] = [];

afterAll(async () => {
  await Promise.all(running.splice(0).map((server) => server.kill()));
  await closeTestServers();
});

async function start(options: ServerOptions = {}): Promise<RunningServer> {
  const server = await startServer({ config: QUIET, ...options });
  running.push(server);
  return server;
}

function restart({ dataDir }: RunningServer, faultPoint = ''): Promise<RunningServer> {
  return start({ dataDir, env: faultPoint === '' ? {} : { MINIODB_FAULT_POINT: faultPoint } });
}

/** What a recovery meets and does. */
type Kind = 'missing' | 'overwrite' | 'upsert' | 'dropped' | 'new target';

interface Victim {
  readonly table: string;
  readonly kind: Kind;
  /** A point where the server kills itself, or a share of the time that a recovery takes. */
  readonly instant: string | number;
}

const AT_POINTS: readonly (readonly [Kind, string])[] = [
  ['missing', 'bulk.after-file'],
  ['missing', 'wal.after-sync'],
  ['overwrite', 'wal.before-sync'],
  ['overwrite', 'apply.after'],
  ['upsert', 'wal.after-sync'],
  ['dropped', 'table.create.after-log'],
  ['dropped', 'table.create.after-catalogue'],
  ['new target', 'wal.after-sync'],
];

const AT_RANDOM: readonly Kind[] = ['missing', 'overwrite', 'dropped', 'missing', 'upsert'];

/** Where the rows come to. */
function targetOf({ table, kind }: Victim): string {
  return kind === 'new target' ? `${table}_target` : table;
}

function requestOf({ table, kind }: Victim): JsonRow {
  switch (kind) {
    case 'overwrite':
      return { table, time_range: ONE_DAY, force_overwrite: true };
    case 'new target':
      return { table, target_table: `${table}_target`, time_range: ONE_DAY };
    default:
      return { table };
  }
}

async function makeVictim(server: RunningServer, { table, kind }: Victim): Promise<void> {
  await createTable(server, table, { write_mode: kind === 'upsert' ? 'upsert' : 'append' });
  const records = Array.from({ length: ROWS }, (_, index) => ({
    id: `r-${index}`,
    timestamp: `2024-01-0${(index % DAYS) + 1}T00:00:00Z`,
    payload: { n: index, text: `row ${index}` },
  }));
  await writeBatch(server, table, records.slice(0, ROWS / 2));
  await flush(server, table);
  await writeBatch(server, table, records.slice(ROWS / 2));
}

/** What makes the recovery necessary: some of it in files, some in the buffer. */
async function harm(server: RunningServer, { table, kind }: Victim): Promise<void> {
  const ids = Array.from({ length: ROWS }, (_, index) => `r-${index}`);
  const remove = async (some: readonly string[]): Promise<void> =>
    void expectSuccess(await call(server, 'DELETE', '/v1/data', { table, ids: some, soft_delete: false }));
  switch (kind) {
    case 'missing':
    case 'upsert':
      await remove(ids.filter((_, index) => index % 3 === 0));
      await flush(server, table);
      return remove(ids.filter((_, index) => index % 3 === 1));
    case 'overwrite':
      await remove(ids.filter((_, index) => index % DAYS === 1 && index % 3 === 0));
      await flush(server, table);
      return void (await write(server, table, 'new', { n: -1 }, '2024-01-02T12:00:00Z'));
    case 'dropped':
      return void expectSuccess(await call(server, 'DELETE', `/v1/tables/${table}?cascade=true`));
    case 'new target':
      return undefined;
  }
}

async function stateOf(server: RunningServer, victim: Victim): Promise<string> {
  const table = targetOf(victim);
  if (!(await tableNames(server)).includes(table)) return ABSENT;
  return textOf(server, table);
}

/** The fault point of a victim's server; none when the kill comes from outside. */
function pointOf({ instant }: Victim): string {
  return typeof instant === 'string' ? instant : '';
}

test('a recovery that is killed leaves all of its rows or none', async () => {
  const seed = seedOfThisRun();
  const random = new SeededRandom(seed);
  console.log(`backup crashes: SEED=${seed}`);
  const victims: Victim[] = [
    ...AT_POINTS.map(([kind, instant], index) => ({ table: `point_${index}`, kind, instant })),
    ...AT_RANDOM.map((kind, index) => ({ table: `random_${index}`, kind, instant: random.fraction() * RANDOM_SHARE_MAX })),
  ];
  let server = await start();
  for (const victim of victims) await makeVictim(server, victim);
  await backUp(server);
  const states = new Map<Victim, { before: string; after: string }>();
  const answers = new Map<Victim, Answer>();
  for (const victim of victims) {
    const after =
      victim.kind === 'new target'
        ? await textOf(server, victim.table, `"timestamp"::DATE = '2024-01-02'`)
        : await textOf(server, victim.table);
    await harm(server, victim);
    states.set(victim, { before: await stateOf(server, victim), after });
  }
  // How long a recovery takes here and now, by one that is not killed.
  const [first] = victims;
  if (!first) throw new Error('no victims');
  const startedMs = performance.now();
  await recovered(server, { ...requestOf(first), target_table: 'measured' });
  const typicalMs = performance.now() - startedMs;

  const outcomes: string[] = [];
  for (const [index, victim] of victims.entries()) {
    await server.kill();
    server = await restart(server, pointOf(victim));
    // The server of this kill tells what the one before left: asking passes none of the points.
    const before = victims[index - 1];
    if (before) outcomes.push(await expectAllOrNone(server, before));
    const answer = recover(server, requestOf(victim)).catch(() => undefined);
    if (typeof victim.instant === 'number') {
      await pause(victim.instant * typicalMs);
      await server.kill();
    }
    const answered = await answer;
    if (answered) answers.set(victim, answered);
    await server.exited;
  }
  server = await restart(server);
  for (const victim of victims.slice(-1)) outcomes.push(await expectAllOrNone(server, victim));
  console.log(`backup crashes: ${outcomes.join('; ')}`);

  async function expectAllOrNone(at: RunningServer, victim: Victim): Promise<string> {
    const state = await stateOf(at, victim);
    const { before = '', after = '' } = states.get(victim) ?? {};
    const answered = answers.get(victim);
    // A new table may be there without rows yet; what was answered must be there.
    const choices = answered?.status === 200 ? [after] : victim.kind === 'new target' ? [before, '', after] : [before, after];
    const lines = (text: string): number => text.split('\n').length;
    const told = `${victim.kind} killed at ${victim.instant} (SEED=${seed}), answered: ${answered?.text.slice(0, 300) ?? 'nothing'}`;
    expectThat(choices.includes(state), `${told}; ${lines(state)} lines instead of ${choices.map(lines).join(' or ')}`).toBe(true);
    return `${victim.kind} ${victim.instant}: ${state === after ? 'all' : 'none'}`;
  }

  // Asked for again, everything comes; and what is answered is there, whatever happens next.
  for (const victim of victims) await recovered(server, requestOf(victim));
  await server.kill();
  server = await restart(server);
  for (const victim of victims)
    expectThat((await stateOf(server, victim)) === states.get(victim)?.after, `${victim.table} after all`).toBe(true);

  // A new log of writes on files of the old one: deletes meet the recovered rows.
  for (const victim of victims) await flush(server, targetOf(victim));
  await server.kill();
  removeWal(server.dataDir);
  server = await restart(server);
  const ids = ['r-1', 'r-5', 'r-9'];
  for (const victim of victims) {
    const table = targetOf(victim);
    const { deleted_count: count } = expectSuccess(await call(server, 'DELETE', '/v1/data', { table, ids, soft_delete: false })).json;
    expectThat(count, `deletes in ${table}`).toBe(3);
  }
  await server.kill();
  server = await restart(server);
  for (const victim of victims)
    expect(await rowsOf(server, `SELECT id FROM ${targetOf(victim)} WHERE id IN ('r-1', 'r-5', 'r-9')`)).toEqual([]);
}, 400_000);

test('a backup that is killed is no backup, and the next one is made', async () => {
  let server = await start();
  const store = await storedObjects(server.dataDir);
  for (let table = 0; table < 12; table += 1) {
    for (let file = 0; file < 4; file += 1) {
      await write(server, `kept_${table}`, `r-${file}`, { n: file });
      await flush(server, `kept_${table}`);
    }
  }
  const answer = call(server, 'POST', '/v1/backups', {}).catch(() => undefined);
  await eventually(
    'the first copies',
    () => store.list('backups/data/'),
    (objects) => objects.size > 0,
  );
  await server.kill();
  await answer;
  const isCutOff = ![...(await store.list('backups/data/')).keys()].some((name) => name.endsWith('manifest.json'));
  server = await restart(server);
  const listed = await dataBackups(server);
  expect(listed).toHaveLength(isCutOff ? 0 : 1);
  const next = await backUpAfterKill(server);
  expect((next['tables'] as JsonRow[]).length).toBe(12);
  for (let table = 0; table < 12; table += 1) {
    expectSuccess(await call(server, 'DELETE', `/v1/tables/kept_${table}?cascade=true`));
    await recovered(server, { backup_id: next['backup_id'], table: `kept_${table}` });
    expect(await countOf(server, `kept_${table}`)).toBe(4);
  }
}, 120_000);

/** With Redis the right to make a backup outlives the node that had it: it ends by itself, or with its key. */
async function backUpAfterKill(server: RunningServer): Promise<JsonRow> {
  if (TEST_STORAGE === 'minio-redis') {
    const redis = new Redis(process.env['TEST_REDIS_URL'] ?? '');
    await redis.del('metadata:lock:backup:data');
    redis.disconnect();
  }
  return backUp(server, { type: 'incremental' });
}

test('a restore of metadata that is killed is there for each table as a whole or not at all', async () => {
  let server = await start();
  for (const name of ['first', 'second']) {
    await write(server, name, 'a', { n: 1 });
    await flush(server, name);
  }
  await backUpMetadata(server);
  await server.kill();
  await removeWhere(await storedObjects(server.dataDir), (name) => name.startsWith('_catalogue/') || name.includes('/_delta_log/'));
  server = await restart(server, 'table.create.after-catalogue');
  await restoreMetadata(server, { from_latest: true, parallel: false }).catch(() => undefined);
  await server.exited;
  server = await restart(server);
  expect(await tableNames(server)).toEqual(['first']);
  expect(await rowsOf(server, 'SELECT id, n FROM first')).toEqual([{ id: 'a', n: 1 }]);
  expectSuccess(await restoreMetadata(server, { from_latest: true }));
  for (const name of ['first', 'second']) expect(await rowsOf(server, `SELECT id, n FROM ${name}`)).toEqual([{ id: 'a', n: 1 }]);
}, 120_000);
