/**
 * Back up, wipe, restore: the catalogue goes, or the catalogue and every transaction log, and a metadata backup brings them back over the data files
 * that are still there. Afterwards the tables answer as before, byte for byte, and go on as any others.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { closeTestServers, testObjectStore } from './servers/shared-servers.js';
import {
  backUp,
  backUpMetadata,
  descriptionOf,
  metadataBackups,
  QUIET,
  recovered,
  removeWal,
  restoreMetadata,
  tableNames,
  textOf,
  textsOf,
} from './support/backups.js';
import { expectThat } from './support/expectations.js';
import {
  countOf,
  createTable,
  eventually,
  expectError,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  tableInfo,
  write,
} from './support/requests.js';
import { goOnWriting, makeRichTable, restoreSoftRows, type RichTable } from './support/rich-table.js';
import { type Answer, call, type RunningServer, type ServerOptions, startServer, temporaryDirectory } from './support/server.js';
import { TEST_STORAGE } from './support/storage.js';
import { bucketStore, removeWhere, storedObjects, type StoredObjects } from './support/stored-objects.js';

const isCatalogue = (name: string): boolean => name.startsWith('_catalogue/');
const isLog = (name: string): boolean => name.includes('/_delta_log/');

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

/** SIGKILL, then whatever happens to the storage, then a start on what is left. */
async function killAndStart(server: RunningServer, between: () => Promise<unknown> | void = () => undefined): Promise<RunningServer> {
  await server.kill();
  await between();
  return start({ dataDir: server.dataDir });
}

/** Removes objects of a server that is not running; there must be some. */
async function wipe({ dataDir }: RunningServer, isDoomed: (name: string) => boolean): Promise<void> {
  expect(await removeWhere(await storedObjects(dataDir), isDoomed)).toBeGreaterThan(0);
}

interface State {
  readonly tables: readonly RichTable[];
  readonly texts: Record<string, string>;
  readonly descriptions: readonly JsonRow[];
}

/** Tables of each kind, all of their rows in files. */
async function makeTables(server: RunningServer): Promise<State> {
  const tables = [
    await makeRichTable(server, 'appended'),
    await makeRichTable(server, 'upserted', { write_mode: 'upsert' }),
    await makeRichTable(server, 'By_Id', { layout: 'id', id_validation: { max_length: 40 } }),
  ];
  await createTable(server, 'empty', { retention_days: 12 });
  return { tables, ...(await stateOf(server, tables)) };
}

async function stateOf(server: RunningServer, tables: readonly RichTable[]): Promise<Omit<State, 'tables'>> {
  const names = [...tables.map(({ name }) => name), 'empty'];
  const descriptions: JsonRow[] = [];
  for (const name of names) descriptions.push(await descriptionOf(server, name));
  return { texts: await textsOf(server, [...tables.flatMap(({ queries }) => queries), 'SELECT * FROM empty']), descriptions };
}

async function expectState(server: RunningServer, { tables, ...before }: State): Promise<void> {
  expect(await stateOf(server, tables)).toEqual(before);
}

/** Writes, deletes, flushes and compacts; what was deleted stays so after restarts, also when the log of writes began anew. */
async function expectToGoOn(first: RunningServer, tables: readonly RichTable[]): Promise<RunningServer> {
  let server = first;
  for (const round of ['a', 'b']) {
    // In the second round deletes of a new log meet rows of the old one.
    const gone = new Map<string, readonly string[]>();
    for (const table of tables) gone.set(table.name, await goOnWriting(server, table, round));
    const before = await textsOf(
      server,
      tables.map(({ name }) => `SELECT * FROM "${name}" ORDER BY ALL`),
    );
    for (const [name, ids] of gone) {
      const list = ids.map((id) => `'${id}'`).join(', ');
      expectThat(await rowsOf(server, `SELECT id FROM "${name}" WHERE id IN (${list})`), `${name} after ${round}`).toEqual([]);
      expect(await rowsOf(server, `SELECT DISTINCT text FROM "${name}" WHERE id = 'row-2'`)).toEqual([{ text: `after ${round}` }]);
    }
    // The last writes are only in the log: before that goes they must be in files.
    if (round === 'a') for (const { name } of tables) await flush(server, name);
    server = await killAndStart(server, () => (round === 'a' ? removeWal(server.dataDir) : undefined));
    expectThat(await textsOf(server, Object.keys(before)), `after a restart, round ${round}`).toEqual(before);
  }
  return server;
}

async function addRow(server: RunningServer, table: string, id: string): Promise<void> {
  await write(server, table, id, { n: 1 });
  await flush(server, table);
}

function restoreOf(server: RunningServer, pattern: string, more: JsonRow = {}): Promise<Answer> {
  return restoreMetadata(server, { from_latest: true, filters: { table_pattern: pattern }, ...more });
}

describe('the catalogue is lost', () => {
  let server: RunningServer;
  let state: State;
  /** Rows of the table `later`, which was written to after the backup. */
  let later: string;
  let vectors: string[];

  beforeAll(async () => {
    server = await start();
    state = await makeTables(server);
    for (const name of ['later', 'again', 'picked_1', 'picked_2']) await addRow(server, name, 'old');
    await makeRichTable(server, 'cut');
    for (const name of ['vectors', 'hollow']) await makeTableWithVectors(name);
    await backUp(server, { tables: ['later'] });
    await backUpMetadata(server);

    await write(server, 'later', 'in-a-file', { more: 'x' });
    await flush(server, 'later');
    await write(server, 'later', 'in-the-log', { n: 3 });
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'later', id: 'old', soft_delete: false }));
    expect(await recovered(server, { table: 'later', id_range: { ids: ['old'] } })).toMatchObject({ rows_recovered: 1 });
    later = await textOf(server, 'later');
    const newest = `cut/_delta_log/${String((await tableInfo(server, 'cut'))['version']).padStart(20, '0')}.json`;
    const store = await storedObjects(server.dataDir);
    vectors = [...(await store.list('vectors/')).keys()].filter((name) => name.endsWith('.bin'));
    server = await killAndStart(server, () =>
      wipe(server, (name) => isCatalogue(name) || name === newest || vectors.includes(name) || name === 'hollow/empty.parquet'),
    );
  }, 120_000);

  async function makeTableWithVectors(name: string): Promise<void> {
    const records = Array.from({ length: 4_000 }, (_, index) => ({
      id: `r-${index}`,
      timestamp: '2024-01-01T00:00:00Z',
      payload: { index },
    }));
    expectSuccess(await call(server, 'POST', '/v1/data', { table: name, records }));
    await flush(server, name);
    const ids = records.filter((_, index) => (index * index) % 7 < 3).map(({ id }) => id);
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: name, ids, soft_delete: false }));
    await flush(server, name);
  }

  test('there is no table until a restore takes it back', async () => {
    expect(await tableNames(server)).toEqual([]);
    expect((await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM appended' })).status).toBe(404);
    const dry = expectSuccess(await restoreMetadata(server, { from_latest: true, dry_run: true })).json as JsonRow;
    expect(dry['entries_total']).toBe(dry['entries_ok'] + dry['entries_error']);
    expect(await tableNames(server)).toEqual([]);
  });

  test('a pattern takes back the tables that fit it', async () => {
    for (const [patterns, parallel] of [
      [['index:*_1:*'], false],
      [['index:*', 'table:*'], true],
    ] as const) {
      const pattern = patterns.length === 1 ? 'picked*' : '*_2';
      expectSuccess(await restoreOf(server, pattern, { key_patterns: patterns, parallel }));
    }
    expect(await tableNames(server)).toEqual(['picked_1', 'picked_2']);
    expect(await countOf(server, 'picked_1')).toBe(1);
  });

  test('a new table of the same name keeps its rows, and the old ones are not mixed into it', async () => {
    await write(server, 'again', 'new', { n: 2 });
    const answer = expectSuccess(await restoreOf(server, 'again', { overwrite: true })).json as JsonRow;
    expect((answer['details'] as JsonRow)['index:table:again:files']).toMatch(/another table of this name/);
    expect(await rowsOf(server, 'SELECT id FROM again')).toEqual([{ id: 'new' }]);
  });

  test('a log that lost its newest commits is not taken for the whole one', async () => {
    expectError(await restoreOf(server, 'cut'), 409, 'CONFLICT', /2 of 2 entries/);
    expect(await tableNames(server)).not.toContain('cut');
  });

  test('a deletion vector that is missing is named', async () => {
    // Small ones stand in the log itself.
    expect(vectors.length).toBeGreaterThan(0);
    const { details } = expectError(await restoreOf(server, 'vectors'), 409, 'CONFLICT', /2 of 2 entries/);
    expect(JSON.stringify(details)).toContain(vectors[0]);
    expect(await tableNames(server)).not.toContain('vectors');
  });

  test('a file without rows that other readers need is missing: it is named, or made again', async () => {
    const { status, text } = await restoreOf(server, 'hollow');
    if (status === 409) expect(text).toContain('hollow/empty.parquet');
    else expect(await backUp(server, { tables: ['hollow'] })).toMatchObject({ success: true });
  });

  test('the tables come back with all that they had', async () => {
    const pattern = '{appended,upserted,By_Id,empty}';
    const dry = expectSuccess(await restoreOf(server, pattern, { dry_run: true })).json as JsonRow;
    expect(dry).toMatchObject({ entries_total: 8, entries_ok: 8, entries_skipped: 0, entries_error: 0, errors: [] });
    const answer = expectSuccess(await restoreOf(server, pattern)).json as JsonRow;
    expect({ ...answer, message: '', duration: '' }).toEqual({ ...dry, message: '', duration: '' });
    await expectState(server, state);
    const again = expectSuccess(await restoreOf(server, pattern)).json as JsonRow;
    expect(again).toMatchObject({ entries_total: 8, entries_ok: 0, entries_skipped: 8, entries_error: 0 });
  });

  test('rows that were acknowledged after the backup are there, in files and in the write-ahead log', async () => {
    expectSuccess(await restoreOf(server, 'later'));
    expect(await textOf(server, 'later')).toBe(later);
  });

  test('a dropped table that is restored by hand has the rows of the backup', async () => {
    await createTable(server, 'dropped');
    const { backup_id: id } = await backUpMetadata(server);
    await write(server, 'dropped', 'secret', { n: 1 });
    expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped?cascade=true'));
    const restore = (): Promise<Answer> => restoreMetadata(server, { backup_file: `${id}.json`, filters: { table_pattern: 'dropped' } });
    // Its files may still be on their way out.
    await eventually('the restore', restore, ({ status }) => status === 200);
    expect(await rowsOf(server, 'SELECT id FROM dropped')).toEqual([]);
  });

  test('nothing of it changes with a restart', async () => {
    const names = (await tableNames(server)).filter((name) => name !== 'dropped');
    const before = await textsOf(
      server,
      names.map((name) => `SELECT * FROM "${name}" ORDER BY ALL`),
    );
    server = await killAndStart(server);
    expect(await textsOf(server, Object.keys(before))).toEqual(before);
    await expectState(server, state);
  });

  test('rows that were written before the drop do not come back with a restart', async () => {
    expect(await rowsOf(server, 'SELECT id FROM dropped')).toEqual([]);
  });

  test('soft-deleted rows can be restored, and the tables go on', async () => {
    for (const table of state.tables) expect(await restoreSoftRows(server, table)).toBe(table.softText);
    server = await expectToGoOn(server, state.tables);
  }, 120_000);
});

describe.each([{ walIsLost: false }, { walIsLost: true }])('the catalogue and every transaction log are lost, %j', ({ walIsLost }) => {
  let server: RunningServer;
  let store: StoredObjects;
  let state: State;
  let broken: RichTable;
  /** A data file of `broken` that is lost, too. */
  let missing: string;
  let bytes: Buffer;
  let objectsOfBroken: number;

  beforeAll(async () => {
    server = await start();
    store = await storedObjects(server.dataDir);
    state = await makeTables(server);
    broken = await makeRichTable(server, 'broken');
    await addRow(server, 'earlier', 'a');
    await backUpMetadata(server);
    await write(server, 'earlier', 'b', { n: 2 });
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'earlier', id: 'a', soft_delete: false }));
    await flush(server, 'earlier');
    missing = [...(await store.list('broken/shard-0/')).keys()][0] ?? '';
    bytes = await store.read(missing);
    server = await killAndStart(server, async () => {
      await wipe(server, (name) => isCatalogue(name) || isLog(name) || name === missing);
      if (walIsLost) removeWal(server.dataDir);
    });
    objectsOfBroken = (await store.list('broken/')).size;
  }, 120_000);

  test('a data file that is missing is named; nothing of its table is restored, the others are', async () => {
    const dry = expectSuccess(await restoreMetadata(server, { from_latest: true, dry_run: true })).json as JsonRow;
    expect(dry).toMatchObject({ entries_total: 12, entries_ok: 10, entries_error: 2 });
    expect((dry['errors'] as string[]).join()).toContain(missing);
    const answer = expectError(await restoreMetadata(server, { from_latest: true }), 409, 'CONFLICT', /2 of 12 entries/);
    expect(JSON.stringify(answer['details'])).toContain(missing);
    expect(await tableNames(server)).toEqual(['appended', 'By_Id', 'earlier', 'empty', 'upserted']);
    expect((await store.list('broken/')).size).toBe(objectsOfBroken);
    expect((await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM broken' })).status).toBe(404);
    await store.write(missing, bytes.subarray(1));
    expectError(await restoreOf(server, 'broken'), 409, 'CONFLICT', /2 of 2 entries/);
  });

  test('the logs are written anew over the data files', async () => {
    await expectState(server, state);
    await store.write(missing, bytes);
    expectSuccess(await restoreOf(server, 'broken'));
    expect(await restoreSoftRows(server, broken)).toBe(broken.softText);
  });

  test('the rows are those of the backup and of the write-ahead log, and a restart does not change that', async () => {
    const before = await textOf(server, 'earlier');
    expect(JSON.parse(before)).toMatchObject(walIsLost ? { id: 'a', n: 1 } : { id: 'b', n: 2 });
    const softRows = await textOf(server, 'broken');
    server = await killAndStart(server);
    await expectState(server, state);
    expect(await textOf(server, 'broken')).toBe(softRows);
    expect(await textOf(server, 'earlier')).toBe(before);
  });

  test('soft-deleted rows can be restored, and the tables go on', async () => {
    for (const table of state.tables) expect(await restoreSoftRows(server, table)).toBe(table.softText);
    server = await expectToGoOn(server, state.tables);
  }, 120_000);
});

/* -------------------------------------------------------------------------------------------------------- several nodes */

if (TEST_STORAGE === 'minio-redis')
  test('with Redis emptied and two nodes: the other node sees the restored tables, and Redis is filled again', async () => {
    const url = process.env['TEST_REDIS_URL'] ?? '';
    const redis = new Redis(url);
    const bucket = { MINIO_BUCKET: `test-wipe-${Date.now()}` };
    const config = { ...QUIET, redis: { poll_seconds: 1, heartbeat_seconds: 1 } };
    const dataDirs = [temporaryDirectory('node'), temporaryDirectory('node')];
    const startNodes = (): Promise<RunningServer[]> =>
      Promise.all(dataDirs.map((dataDir, index) => start({ dataDir, config, env: { ...bucket, NODE_ID: `wiped-${index}` } })));
    try {
      let [first, second] = (await startNodes()) as [RunningServer, RunningServer];
      const tables = [await makeRichTable(first, 'appended'), await makeRichTable(first, 'upserted', { write_mode: 'upsert' })];
      const queries = tables.flatMap((table) => table.queries);
      const texts = await textsOf(first, queries);
      await eventually(
        'the tables at the other node',
        () => tableNames(second),
        (names) => names.length === 2,
      );
      await backUpMetadata(second);
      const { backup_id: id } = await backUpMetadata(first, { force: true });
      const listed = await metadataBackups(first);
      expect(await metadataBackups(second)).toEqual(listed);
      expect(new Set(listed.map(({ node_id: node }) => node as string))).toEqual(new Set(['wiped-0', 'wiped-1']));
      const scores = await redis.zrange('metadata:backup:list', '0', '-1', 'WITHSCORES');
      const scoreOf = (name: string): string | undefined => scores[scores.indexOf(name) + 1];
      expect(scores.length).toBe(2 * listed.length);
      for (const { object_name: name, timestamp } of listed)
        expectThat(scoreOf(name as string), name as string).toBe(String(Date.parse(timestamp as string)));

      await Promise.all([first.kill(), second.kill()]);
      const store = bucketStore((await testObjectStore()).client, bucket.MINIO_BUCKET);
      expect(await removeWhere(store, (name) => isCatalogue(name) || isLog(name))).toBeGreaterThan(0);
      await redis.flushall();

      [first, second] = (await startNodes()) as [RunningServer, RunningServer];
      expect(await tableNames(second)).toEqual([]);
      expectSuccess(await restoreMetadata(first, { backup_file: `${id}.json` }));
      expect(await textsOf(first, queries)).toEqual(texts);
      await eventually(
        'the tables at the other node',
        () => tableNames(second),
        (names) => names.length === 2,
      );
      expect(await textsOf(second, queries)).toEqual(texts);
      for (const table of tables) expect(await descriptionOf(second, table.name)).toEqual(await descriptionOf(first, table.name));
      await eventually(
        'tables:list',
        () => redis.smembers('tables:list'),
        (names) => names.includes('appended') && names.includes('upserted'),
      );
      await backUpMetadata(second, { force: true });
      expect(await redis.zcard('metadata:backup:list')).toBe((await metadataBackups(first)).length);

      // Both write on, and meet each other's rows.
      for (const table of tables) await goOnWriting(second, table, 'second');
      for (const table of tables) await flush(second, table.name);
      const after = await textsOf(second, queries);
      await eventually(
        'the writes at the first node',
        () => textsOf(first, queries),
        (found) => JSON.stringify(found) === JSON.stringify(after),
      );

      // A table that one node drops and the other brings back from its files.
      await backUp(first, { tables: ['appended'] });
      expectSuccess(await call(second, 'DELETE', '/v1/tables/appended?cascade=true'));
      await eventually(
        'the drop at the first node',
        () => tableNames(first),
        (names) => !names.includes('appended'),
      );
      await recovered(first, { table: 'appended' });
      await eventually(
        'the table at the second node',
        () => tableNames(second),
        (names) => names.includes('appended'),
      );
      expect(await textsOf(second, queries)).toEqual(after);
    } finally {
      redis.disconnect();
    }
  });
