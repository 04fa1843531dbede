/**
 * Data backups and recovery over REST: what a backup copies, what of it comes back by table, id, pattern and time, what is refused, and that a table is
 * otherwise left alone. Kills in the middle are in backup-crashes.test.ts, random histories in backup-model.test.ts.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { closeTestServers, testObjectStore } from './servers/shared-servers.js';
import {
  backUp,
  DATA_ID,
  dataBackups,
  descriptionOf,
  figuresOf,
  metadataBackups,
  metricOf,
  ownRedisDatabase,
  QUIET,
  recover,
  recovered,
  removeWal,
  restoreMetadata,
  tableList,
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
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  tableInfo,
  valueOf,
  write,
  writeBatch,
} from './support/requests.js';
import { goOnWriting, makeRichTable, restoreSoftRows, type RichTable } from './support/rich-table.js';
import { call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';
import { bucketStore, removeWhere, storedObjects, type StoredObjects, whileFlipped, whileReplaced } from './support/stored-objects.js';

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const DIRECTORY = 'backups/data/';
/** The first one is tried within a minute. */
const SCHEDULED_MS_MAX = 75_000;

let server: RunningServer;
let store: StoredObjects;
/** Makes its first metadata backup by itself while the other tests run. */
let scheduled: RunningServer;
let scheduledSinceMs: number;

beforeAll(async () => {
  const config = { ...QUIET, backup: { metadata_interval_minutes: 1 } };
  [server, scheduled] = await Promise.all([startServer({ config: QUIET }), startServer({ config, env: ownRedisDatabase(1) })]);
  scheduledSinceMs = Date.now();
  store = await storedObjects(server.dataDir);
  await createTable(scheduled, 'watched');
});

afterAll(async () => {
  await Promise.all([server?.stop(), scheduled?.stop()]);
  await closeTestServers();
});

async function drop(table: string): Promise<void> {
  expectSuccess(await call(server, 'DELETE', `/v1/tables/${table}?cascade=true`));
}

async function remove(table: string, ids: readonly string[], soft = false): Promise<void> {
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table, ids, soft_delete: soft }));
}

async function replace(table: string, id: string, payload: JsonRow, timestamp?: string): Promise<void> {
  expectSuccess(await call(server, 'PUT', '/v1/data', { table, id, payload, timestamp }));
}

/** Objects of one backup without its manifest. */
async function copiedBy(id: unknown): Promise<Map<string, number>> {
  const objects = await store.list(`${DIRECTORY}${id}/`);
  expect(objects.delete(`${DIRECTORY}${id}/manifest.json`)).toBe(true);
  return objects;
}

function bytesOf(objects: ReadonlyMap<string, number>): number {
  return [...objects.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/* ------------------------------------------------------------------------------------------------------------- backups */

describe('POST /v1/backups', () => {
  beforeAll(async () => {
    for (const name of ['log_a', 'log_b', 'Users']) {
      await createTable(server, name);
      await write(server, name, 'a', { n: 1 });
      await flush(server, name);
      await write(server, name, 'b', { n: 2 });
    }
    await createTable(server, 'private', { backup_enabled: false });
    await write(server, 'private', 'a', { n: 1 });
  });

  test('copies every table with all that was acknowledged before, buffered rows included', async () => {
    const startedMs = Date.now();
    const answer = await backUp(server, {});
    expect(answer).toMatchObject({ success: true, backup_id: expect.stringMatching(DATA_ID), node_id: 'node-1', type: 'full' });
    expect(answer['timestamp']).toMatch(RFC3339);
    expect(Math.abs(Date.parse(answer['timestamp'] as string) - startedMs)).toBeLessThan(60_000);
    const tables = answer['tables'] as JsonRow[];
    expect(tables.map(({ name, rows, files }) => ({ name: name as string, rows: rows as number, files: files as number }))).toEqual([
      { name: 'Users', rows: 2, files: 2 },
      { name: 'log_a', rows: 2, files: 2 },
      { name: 'log_b', rows: 2, files: 2 },
    ]);
    for (const { name, version } of tables) expect((await tableInfo(server, name as string))['version']).toBe(version);
    const copied = await copiedBy(answer['backup_id']);
    expect(copied.size).toBe(6);
    expect(answer['size_bytes']).toBe(bytesOf(copied));
    expect(answer['total_bytes']).toBe(answer['size_bytes']);
    const [listed] = await dataBackups(server);
    const { success: _success, message, ...info } = answer;
    expect(message).toMatch(/3 tables.*6 rows/);
    expect(listed).toEqual(info);
  });

  test('incremental copies only files that no backup has', async () => {
    const [full = {}] = await dataBackups(server);
    expect(expectSuccess(await call(server, 'POST', '/v1/backups')).json).toMatchObject({
      type: 'full',
      tables: full['tables'] as JsonRow[],
    });
    const nothing = await backUp(server, { type: 'incremental' });
    expect(nothing).toMatchObject({ type: 'incremental', size_bytes: 0, total_bytes: full['total_bytes'] });
    expect(await copiedBy(nothing['backup_id'])).toEqual(new Map());
    await write(server, 'log_a', 'c', { n: 3 });
    const before = await store.list(DIRECTORY);
    const some = await backUp(server, { type: 'incremental' });
    const copied = await copiedBy(some['backup_id']);
    expect(copied.size).toBe(1);
    expect(some['size_bytes']).toBe(bytesOf(copied));
    expect(some['total_bytes']).toBe(full['total_bytes'] + bytesOf(copied));
    expect((await store.list(DIRECTORY)).size).toBe(before.size + 2);
    const again = await backUp(server, { type: 'full', tables: ['log_a'] });
    expect((await copiedBy(again['backup_id'])).size).toBe(3);
    expect((await backUp(server, { type: 'incremental', tables: ['log_a'] }))['size_bytes']).toBe(0);
  });

  test.each<[string[], string[]]>([
    [['log_*'], ['log_a', 'log_b']],
    [
      ['LOG_A', 'us?rs'],
      ['Users', 'log_a'],
    ],
    [['private'], ['private']],
    [['*'], ['Users', 'log_a', 'log_b', 'private']],
    [['{log_b,private}'], ['log_b', 'private']],
  ])('tables %j backs up %j', async (tables, names) => {
    const answer = await backUp(server, { tables, type: 'incremental' });
    expect((answer['tables'] as JsonRow[]).map(({ name }) => name as string).sort()).toEqual(names);
  });

  test.each([[['nothing']], [['log_a', 'nothing']], [['no_*']]])(
    'an unknown table is NOT_FOUND and nothing is written: %j',
    async (tables) => {
      const before = [...(await store.list(DIRECTORY))];
      expectError(await call(server, 'POST', '/v1/backups', { tables }), 404, 'NOT_FOUND', /no table matches no/);
      expect([...(await store.list(DIRECTORY))]).toEqual(before);
    },
  );

  test.each<JsonRow>([{ type: 'partial' }, { tables: 'log_a' }, { tables: [1] }, { table: 'log_a' }, { tables: [] }, { type: 5 }])(
    'refuses %j',
    async (body) => {
      const answer = await call(server, 'POST', '/v1/backups', body);
      expectThat([400, 404], answer.text).toContain(answer.status);
      if (!('tables' in body) || (body['tables'] as unknown[]).length > 0) expectError(answer, 400, 'INVALID_ARGUMENT', /type|tables?/);
    },
  );

  test('several at once: they are made, or told that another one is being made', async () => {
    const before = (await dataBackups(server)).length;
    const answers = await Promise.all([1, 2, 3].map(() => call(server, 'POST', '/v1/backups', { tables: ['log_a'] })));
    const made = answers.filter(({ status }) => status < 300);
    for (const answer of answers) if (answer.status >= 300) expectError(answer, 409, 'CONFLICT', /another/);
    expect(made.length).toBeGreaterThan(0);
    expect(new Set(made.map(({ json }) => json.backup_id as string)).size).toBe(made.length);
    expect((await dataBackups(server)).length).toBe(before + made.length);
  });

  test('metrics tell of it', async () => {
    const success = 'miniodb_backup_operations_total{status="success"}';
    const before = await metricOf(server, success);
    const { backup_id: id, size_bytes: bytes } = await backUp(server, { tables: ['log_a'] });
    await backUp(server, { tables: ['log_a'], type: 'incremental' });
    expect((await metricOf(server, success)) - before).toBe(2);
    expect(await metricOf(server, `miniodb_backup_size_bytes{backup_id="${id}"}`)).toBe(bytes);
    for (const type of ['full', 'incremental'])
      expect(await metricOf(server, `miniodb_backup_duration_seconds{type="${type}"}`)).toBeGreaterThan(0);
  });
});

describe('GET and DELETE /v1/backups', () => {
  test('the list is newest first', async () => {
    const ids = (await dataBackups(server)).map(({ backup_id: id }) => id as string);
    expect(ids).toEqual([...ids].sort().reverse());
  });

  test('one that others stand on is kept until they are gone; then nothing of it is left', async () => {
    await createTable(server, 'stacked');
    await write(server, 'stacked', 'a', { n: 1 });
    const full = await backUp(server, { tables: ['stacked'] });
    await write(server, 'stacked', 'b', { n: 2 });
    const second = await backUp(server, { tables: ['stacked'], type: 'incremental' });
    const third = await backUp(server, { tables: ['stacked'], type: 'incremental' });
    const remove = (id: unknown): ReturnType<typeof call> => call(server, 'DELETE', `/v1/backups/${id}`);
    const objects = [...(await store.list(DIRECTORY))];
    const { message } = expectError(await remove(full['backup_id']), 409, 'CONFLICT', /delete them first/);
    expect(message).toContain(second['backup_id']);
    expect(message).toContain(third['backup_id']);
    expectError(await remove(second['backup_id']), 409, 'CONFLICT', new RegExp(third['backup_id'] as string));
    expect([...(await store.list(DIRECTORY))]).toEqual(objects);
    for (const { backup_id: id } of [third, second, full]) {
      expect(expectSuccess(await remove(id)).json).toMatchObject({ success: true });
      expect((await store.list(`${DIRECTORY}${id}`)).size).toBe(0);
      expect((await dataBackups(server)).map((backup) => backup['backup_id'] as string)).not.toContain(id);
      expectError(await remove(id), 404, 'NOT_FOUND', /no data backup/);
    }
  });

  test.each(['data_20200101_000000', 'nothing', '..', '%2e%2e%2fmetadata', 'data_20200101_000000%2f..'])(
    'DELETE of %s is NOT_FOUND',
    async (id) => {
      const answer = await call(server, 'DELETE', `/v1/backups/${id}`);
      expectThat([404, 400], answer.text).toContain(answer.status);
    },
  );
});

/* --------------------------------------------------------------------------------------------------------- lost tables */

async function expectWhole(at: RunningServer, table: RichTable, texts: Record<string, string>, description: JsonRow): Promise<void> {
  expect(await textsOf(at, table.queries)).toEqual(texts);
  expect(await descriptionOf(at, table.name)).toEqual(description);
}

describe('a table that is gone', () => {
  test.each<[string, JsonRow]>([
    ['lost_append', {}],
    ['lost_upsert', { write_mode: 'upsert', id_validation: { max_length: 50 } }],
    ['Lost_By_Id', { layout: 'id' }],
  ])('%s comes back byte for byte, soft-deleted rows included, and goes on', async (name, config) => {
    const table = await makeRichTable(server, name, config);
    const texts = await textsOf(server, table.queries);
    const description = await descriptionOf(server, name);
    await backUp(server, { tables: [name] });
    await drop(name);
    expect((await call(server, 'GET', `/v1/tables/${name}`)).status).toBe(404);
    const dry = await recovered(server, { table: name.toLowerCase(), dry_run: true });
    expect((await call(server, 'GET', `/v1/tables/${name}`)).status).toBe(404);
    const answer = await recovered(server, { table: name });
    expect(answer).toMatchObject({ success: true, rows_recovered: description['stats'].record_count });
    expect(withoutFiles(answer)).toEqual(withoutFiles(dry));
    expect(new Set(answer['recovered_keys'] as string[])).toEqual(
      new Set((await rowsOf(server, `SELECT DISTINCT id FROM "${name}"`)).map(({ id }) => id as string)),
    );
    await expectWhole(server, table, texts, description);
    const again = await recovered(server, { table: name });
    expect(again).toMatchObject({ rows_recovered: 0 });
    expect(again['message']).toMatch(/already/);
    await expectWhole(server, table, texts, description);
    expect(await restoreSoftRows(server, table)).toBe(table.softText);
    const gone = await goOnWriting(server, table, 'x');
    expect(await rowsOf(server, `SELECT id FROM "${name}" WHERE id IN (${gone.map((id) => `'${id}'`).join(', ')})`)).toEqual([]);
  });

  test('as a copy beside the table itself', async () => {
    const table = await makeRichTable(server, 'original');
    const before = await textOf(server, 'original');
    await backUp(server, { tables: ['original'] });
    const dry = await recovered(server, { table: 'original', target_table: 'the_copy', dry_run: true });
    expect(await tableNames(server)).not.toContain('the_copy');
    const answer = await recovered(server, { table: 'original', target_table: 'the_copy' });
    expect(withoutFiles(answer)).toEqual(withoutFiles(dry));
    expect(answer['tables']).toMatchObject([{ table: 'original', target_table: 'the_copy' }]);
    expect(await textOf(server, 'the_copy')).toBe(before);
    expect({ ...(await descriptionOf(server, 'the_copy')), name: 'original' }).toEqual(await descriptionOf(server, 'original'));
    expect(await restoreSoftRows(server, { ...table, name: 'the_copy' })).toBe(table.softText);
    await remove('the_copy', ['row-1']);
    expect(await textOf(server, 'original')).toBe(before);
  });

  test('an empty table: it comes back, or the answer is an error and there is none', async () => {
    await createTable(server, 'nobody', { retention_days: 3 });
    await backUp(server, { tables: ['nobody'] });
    await drop('nobody');
    const answer = await recover(server, { table: 'nobody' });
    const isThere = (await call(server, 'GET', '/v1/tables/nobody')).status === 200;
    expect({ isSuccess: answer.status < 300, isThere }).toEqual({ isSuccess: isThere, isThere });
  });

  test('a dry run counts the same files as the run, also those of nothing but soft-deleted rows', async () => {
    await createTable(server, 'soft_files');
    for (const id of ['a', 'b']) {
      await write(server, 'soft_files', id, { n: 1 });
      if (id === 'b') await remove('soft_files', ['b'], true);
      await flush(server, 'soft_files');
    }
    await backUp(server, { tables: ['soft_files'] });
    await drop('soft_files');
    const { files_recovered: dry } = await recovered(server, { table: 'soft_files', dry_run: true });
    const { files_recovered: real } = await recovered(server, { table: 'soft_files' });
    expect(real).toBe(dry);
  });
});

/** The sentence and the files apart: the same for a dry run and the run itself. */
function withoutFiles(answer: JsonRow): JsonRow {
  const tables = (answer['tables'] as JsonRow[]).map((table) => ({ ...table, files_recovered: 0 }));
  return { ...figuresOf(answer), files_recovered: 0, tables };
}

describe('columns whose names mean something to the engine', () => {
  // A server of its own: one that cannot apply a write takes no more of them.
  let other: RunningServer;

  beforeAll(async () => {
    other = await startServer({ config: QUIET, env: ownRedisDatabase(4) });
  });

  afterAll(() => other?.kill());

  test.each(['append', 'upsert'])('in a table of mode %s', async (mode) => {
    const table = `named_${mode}`;
    await createTable(other, table, { write_mode: mode });
    const payload = { file_row_number: 1, filename: 'f', file_index: 2, rowid: 3, Pos: 4, source: 5, _lsn_: 6, 's.id': 7, e: 8, s: 9 };
    for (const id of ['a', 'b', 'c']) await write(other, table, id, payload, '2024-01-01T00:00:00Z');
    const before = await textOf(other, table);
    await backUp(other, { tables: [table] });
    for (const more of [{}, { force_overwrite: true }]) {
      await removeAt(other, table, 'b');
      expect((await recovered(other, { table, ...more }))['recovered_keys']).toContain('b');
      expect(await textOf(other, table)).toBe(before);
    }
  });

  test('after a restart, and in files', async () => {
    const before = await Promise.all(['append', 'upsert'].map((mode) => textOf(other, `named_${mode}`)));
    await other.kill();
    other = await startServer({ config: QUIET, dataDir: other.dataDir, env: ownRedisDatabase(4) });
    expect(await Promise.all(['append', 'upsert'].map((mode) => textOf(other, `named_${mode}`)))).toEqual(before);
    for (const mode of ['append', 'upsert']) await flush(other, `named_${mode}`);
    expect(await Promise.all(['append', 'upsert'].map((mode) => textOf(other, `named_${mode}`)))).toEqual(before);
  });
});

describe('the whole store is lost but for the backups', () => {
  test('with the write-ahead log or without it: every table comes back and goes on', async () => {
    let other = await startServer({ config: QUIET, env: ownRedisDatabase(2) });
    const others = await storedObjects(other.dataDir);
    try {
      const tables = [await makeRichTable(other, 'appended'), await makeRichTable(other, 'upserted', { write_mode: 'upsert' })];
      const texts: Record<string, string>[] = [];
      const descriptions: JsonRow[] = [];
      for (const table of tables) {
        texts.push(await textsOf(other, table.queries));
        descriptions.push(await descriptionOf(other, table.name));
      }
      await backUp(other);
      // Rows that the backup does not have, whose numbers must not come between the old rows and new deletes.
      for (const { name } of tables)
        await writeBatch(
          other,
          name,
          Array.from({ length: 50 }, (_, index) => ({ id: `x-${index}`, payload: {} })),
        );
      for (const walIsLost of [false, true]) {
        await other.kill();
        expect(await removeWhere(others, (name) => !name.startsWith('backups/'))).toBeGreaterThan(0);
        if (walIsLost) removeWal(other.dataDir);
        other = await startServer({ config: QUIET, dataDir: other.dataDir, env: { ...ownRedisDatabase(2), NODE_ID: `lost-${walIsLost}` } });
        expect(await tableNames(other)).toEqual([]);
        const dry = await recovered(other, { dry_run: true });
        const answer = await recovered(other, {});
        expect(withoutFiles(answer)).toEqual(withoutFiles(dry));
        for (const [index, table] of tables.entries()) await expectWhole(other, table, texts[index] ?? {}, descriptions[index] ?? {});
        for (const table of tables) {
          expect(await restoreSoftRows(other, table)).toBe(table.softText);
          await goOnWriting(other, table, 'after');
          await flush(other, table.name);
        }
        if (!walIsLost) continue;
        // A new log on old rows, once more: deletes must meet them, whatever the numbers.
        const ids = ['row-11', 'row-12'];
        await other.kill();
        removeWal(other.dataDir);
        other = await startServer({ config: QUIET, dataDir: other.dataDir, env: ownRedisDatabase(2) });
        for (const { name } of tables)
          expect(expectSuccess(await call(other, 'DELETE', '/v1/data', { table: name, ids, soft_delete: false })).json.deleted_count).toBe(
            2,
          );
        await other.kill();
        other = await startServer({ config: QUIET, dataDir: other.dataDir, env: ownRedisDatabase(2) });
        for (const { name } of tables)
          expect(await rowsOf(other, `SELECT id FROM ${name} WHERE id IN ('row-11', 'row-12', 'row-1')`)).toEqual([]);
      }

      // The newest backup that a node made.
      const { backup_id: mine } = await backUp(other, { tables: ['appended'] });
      expect((await recovered(other, { table: 'appended', dry_run: true, node_id: 'node-1', force_overwrite: true }))['message']).toContain(
        mine,
      );
      const [, first = {}] = await dataBackups(other);
      await other.stop();
      other = await startServer({ config: QUIET, dataDir: other.dataDir, env: { ...ownRedisDatabase(2), NODE_ID: 'elsewhere' } });
      await backUp(other, { tables: ['upserted'] });
      const from = async (body: JsonRow): Promise<unknown> =>
        (await recovered(other, { dry_run: true, force_overwrite: true, ...body }))['message'];
      expect(await from({ table: 'upserted', node_id: 'elsewhere' })).not.toContain(mine);
      expect(await from({ node_id: 'node-1' })).toContain(mine);
      expect(await from({ table: 'upserted', backup_id: first['backup_id'] })).toContain(first['backup_id']);
      expectError(await recover(other, { table: 'upserted', node_id: 'node-1' }), 404, 'NOT_FOUND', /does not contain table upserted/);
      expectError(await recover(other, { node_id: 'nobody' }), 404, 'NOT_FOUND', /nobody/);
    } finally {
      await other.kill();
    }
  }, 240_000);
});

/* ------------------------------------------------------------------------------------------------------------- a part */

interface Row {
  readonly id: string;
  readonly timestamp: string;
  readonly n: number;
}

function textsOfRows(rows: readonly Row[]): string[] {
  return rows.map(({ id, timestamp, n }) => `${id} ${timestamp} ${n}`).sort();
}

async function rowTexts(table: string): Promise<string[]> {
  return textsOfRows((await rowsOf(server, `SELECT id, "timestamp", n FROM "${table}"`)) as Row[]);
}

/** Ids a-1 … a-8, b-1 … b-8, one row on each of four days; some before 1970. */
function manyRows(): Row[] {
  const days = ['1969-12-31', '2024-02-28', '2024-02-29', '2024-03-01'];
  return ['a', 'b'].flatMap((letter) =>
    Array.from({ length: 8 }, (_, index) => index + 1).flatMap((number) =>
      days.map((day, index) => ({
        id: `${letter}-${number}`,
        timestamp: `${day}T${index === 0 ? '23:59:59' : '12:00:00'}.00000${number}Z`,
        n: number * 10 + index,
      })),
    ),
  );
}

interface PartCase {
  readonly what: string;
  readonly body: JsonRow;
  readonly fits: (row: Row) => boolean;
}

const BY_TIME = (from: string, to: string) => (row: Row) => row.timestamp >= from && row.timestamp < to;

const PARTS: readonly PartCase[] = [
  { what: 'one id', body: { id_range: { ids: ['a-3'] } }, fits: ({ id }) => id === 'a-3' },
  {
    what: 'several ids, one unknown, one twice',
    body: { id_range: { ids: ['a-3', 'b-8', 'zzz', 'a-3'] } },
    fits: ({ id }) => id === 'a-3' || id === 'b-8',
  },
  { what: 'a pattern with a star', body: { id_range: { id_pattern: 'a-*' } }, fits: ({ id }) => id.startsWith('a-') },
  { what: 'a pattern of sets', body: { id_range: { id_pattern: '[b-c]-[135]' } }, fits: ({ id }) => /^b-[135]$/.test(id) },
  { what: 'a pattern with question marks', body: { id_range: { id_pattern: '?-2' } }, fits: ({ id }) => id.endsWith('-2') },
  { what: 'ids that fit a pattern', body: { id_range: { ids: ['a-1', 'b-1'], id_pattern: 'b*' } }, fits: ({ id }) => id === 'b-1' },
  {
    what: 'one day',
    body: { time_range: { start_date: '2024-02-29', end_date: '2024-02-29' } },
    fits: BY_TIME('2024-02-29', '2024-03-01'),
  },
  { what: 'days', body: { time_range: { start_date: '2024-02-28', end_date: '2024-02-29' } }, fits: BY_TIME('2024-02-28', '2024-03-01') },
  { what: 'from a day on', body: { time_range: { start_date: '2024-02-29' } }, fits: BY_TIME('2024-02-29', '9') },
  { what: 'up to a day', body: { time_range: { end_date: '1969-12-31' } }, fits: BY_TIME('0', '1970') },
  {
    what: 'to the end of time',
    body: { time_range: { start_date: '2024-02-29', end_date: '9999-12-31' } },
    fits: BY_TIME('2024-02-29', '9'),
  },
  { what: 'from the beginning of time', body: { time_range: { start_date: '0001-01-01', end_date: '9998-12-31' } }, fits: () => true },
  {
    what: 'instants: the first is in, the last is not',
    body: { time_range: { start_date: '2024-02-29T12:00:00.000002Z', end_date: '2024-02-29T12:00:00.000005Z' } },
    fits: BY_TIME('2024-02-29T12:00:00.000002', '2024-02-29T12:00:00.000005'),
  },
  {
    what: 'instants of another zone',
    body: { time_range: { start_date: '2024-02-29T13:00:00.000007+01:00', end_date: '2024-03-01T00:00:00-12:00' } },
    fits: BY_TIME('2024-02-29T12:00:00.000007', '2024-03-01T12:00:00'),
  },
  {
    what: 'an instant before 1970',
    body: { time_range: { start_date: '1969-12-31T23:59:59.000003Z', end_date: '1970-01-01T00:00:00Z' } },
    fits: BY_TIME('1969-12-31T23:59:59.000003', '1970'),
  },
  { what: 'ids in the time range', body: { time_range: { ids: ['a-5'] } }, fits: ({ id }) => id === 'a-5' },
  {
    what: 'ids and a day',
    body: { id_range: { ids: ['a-1', 'a-2', 'b-7'] }, time_range: { start_date: '2024-03-01', end_date: '2024-03-01' } },
    fits: (row) => ['a-1', 'a-2', 'b-7'].includes(row.id) && BY_TIME('2024-03-01', '2024-03-02')(row),
  },
  {
    what: 'both lists of ids: those in both',
    body: { id_range: { ids: ['a-1', 'a-2'] }, time_range: { ids: ['a-2', 'a-3'], end_date: '2024-02-28' } },
    fits: (row) => row.id === 'a-2' && row.timestamp < '2024-02-29',
  },
  {
    what: 'a pattern and a range',
    body: { id_range: { id_pattern: '*-[4-6]' }, time_range: { start_date: '2024-02-28T12:00:00.000005Z', end_date: '2024-02-29' } },
    fits: (row) => /-[456]$/.test(row.id) && BY_TIME('2024-02-28T12:00:00.000005', '2024-03-01')(row),
  },
  { what: 'everything', body: {}, fits: () => true },
];

describe.each([{ mode: 'append' }, { mode: 'upsert' }])('recovery of a part, $mode', ({ mode }) => {
  const table = `part_${mode}`;
  let backupId: string;
  /** What the backup holds. */
  let backedUp: Row[];
  /** Rows that stay in the table throughout. */
  let kept: Row[];

  beforeAll(async () => {
    await createTable(server, table, { write_mode: mode });
    // An upsert table keeps the last of each id.
    const rows = manyRows();
    backedUp = mode === 'append' ? rows : rows.filter((row, index) => !rows.slice(index + 1).some(({ id }) => id === row.id));
    const half = Math.floor(rows.length / 2);
    const records = rows.map(({ id, timestamp, n }) => ({ id, timestamp, payload: { n } }));
    await writeBatch(server, table, records.slice(0, half));
    await flush(server, table);
    await writeBatch(server, table, records.slice(half));
    backupId = (await backUp(server, { tables: [table] }))['backup_id'] as string;
    await emptyTable();
    kept = [{ id: 'own', timestamp: '2024-02-29T12:00:00.000003Z', n: -1 }];
    await write(server, table, 'own', { n: -1 }, kept[0]?.timestamp);
  });

  /** Of all but `own`. */
  async function emptyTable(): Promise<void> {
    const ids = (await rowsOf(server, `SELECT DISTINCT id FROM ${table} WHERE id <> 'own'`)).map(({ id }) => id as string);
    await remove(table, [...ids, ...backedUp.map(({ id }) => id)]);
  }

  beforeEach(emptyTable);

  test.each(PARTS)('$what', async ({ body, fits }) => {
    const request = { backup_id: backupId, table, ...body };
    const matching = backedUp.filter(fits);
    if (matching.length === 0) {
      expectError(await recover(server, request), 404, 'NOT_FOUND', /nothing was recovered/);
      return;
    }
    const dry = await recovered(server, { ...request, dry_run: true });
    expect(await rowTexts(table)).toEqual(textsOfRows(kept));
    const answer = await recovered(server, request);
    expect(figuresOf(answer)).toEqual(figuresOf(dry));
    expect(answer['rows_recovered']).toBe(matching.length);
    expect(answer['recovered_keys']).toEqual([...new Set(matching.map(({ id }) => id))].sort());
    expect(answer['files_recovered']).toBeGreaterThan(0);
    expect(await rowTexts(table)).toEqual(textsOfRows([...kept, ...matching]));
    const again = await recovered(server, request);
    expect(again).toMatchObject({ rows_recovered: 0, recovered_keys: [] });
    expect(again['message']).toMatch(new RegExp(`0 rows recovered.*${matching.length} more.*already`));
    expect(await rowTexts(table)).toEqual(textsOfRows([...kept, ...matching]));
  });

  test('only what is missing comes back; what changed since stays', async () => {
    await recovered(server, { backup_id: backupId, table });
    await replace(table, 'a-1', { n: 1_000 }, '2024-02-29T12:00:00.000001Z');
    await remove(table, ['b-1', 'b-2'], true);
    await remove(table, ['b-3']);
    const answer = await recovered(server, { backup_id: backupId, table });
    const missing = backedUp.filter(({ id, timestamp }) =>
      mode === 'append' && id === 'a-1' ? timestamp !== '2024-02-29T12:00:00.000001Z' : ['b-1', 'b-2', 'b-3'].includes(id),
    );
    expect(answer['rows_recovered']).toBe(missing.length);
    const unchanged = backedUp.filter((row) => row.id !== 'a-1' && !missing.includes(row));
    const changed = { id: 'a-1', timestamp: '2024-02-29T12:00:00.000001Z', n: 1_000 };
    expect(await rowTexts(table)).toEqual(textsOfRows([...kept, ...unchanged, ...missing, changed]));
  });

  test('force_overwrite puts the old rows of the range in the place of the present ones and leaves the others', async () => {
    await recovered(server, { backup_id: backupId, table });
    const day = { start_date: '2024-03-01', end_date: '2024-03-01' };
    const isIn = BY_TIME('2024-03-01', '2024-03-02');
    // One that is changed, one that is gone, one that is new in the range, and the same outside of it.
    await replace(table, 'a-1', { n: 1_000 }, '2024-03-01T12:00:00.000001Z');
    await remove(table, ['a-2']);
    await write(server, table, 'new', { n: 2_000 }, '2024-03-01T23:59:59.999999Z');
    await write(server, table, 'late', { n: 3_000 }, '2024-03-02T00:00:00Z');
    await flush(server, table);
    await replace(table, 'b-1', { n: 4_000 }, '2024-02-28T12:00:00Z');
    const present = (await rowsOf(server, `SELECT id, "timestamp", n FROM ${table}`)) as Row[];
    const request = { backup_id: backupId, table, time_range: day, force_overwrite: true };
    const dry = await recovered(server, { ...request, dry_run: true });
    expect(await rowTexts(table)).toEqual(textsOfRows(present));
    const answer = await recovered(server, request);
    expect(figuresOf(answer)).toEqual(figuresOf(dry));
    const coming = backedUp.filter(isIn);
    expect(answer['rows_recovered']).toBe(coming.length);
    // An upsert table has one row an id: the old row takes the place of the present one, wherever that is.
    const staying = present.filter((row) => !isIn(row) && (mode === 'append' || !coming.some(({ id }) => id === row.id)));
    expect(await rowTexts(table)).toEqual(textsOfRows([...staying, ...coming]));
    expect(await recovered(server, request)).toMatchObject({ rows_recovered: coming.length });
    expect(await rowTexts(table)).toEqual(textsOfRows([...staying, ...coming]));
  });

  test('force_overwrite by id', async () => {
    await recovered(server, { backup_id: backupId, table });
    for (const id of ['a-1', 'a-2', 'b-1']) await replace(table, id, { n: 9_000 }, '2030-01-01T00:00:00Z');
    await recovered(server, { backup_id: backupId, table, id_range: { ids: ['a-1', 'b-1'] }, force_overwrite: true });
    const expected = backedUp.filter(({ id }) => id !== 'a-2');
    expect(await rowTexts(table)).toEqual(
      textsOfRows([...kept, ...expected, { id: 'a-2', timestamp: '2030-01-01T00:00:00.000000Z', n: 9_000 }]),
    );
  });

  test('into a table that is new, and into one that is there', async () => {
    const target = `target_${mode}`;
    const request = { backup_id: backupId, table, target_table: target, id_range: { id_pattern: 'a-*' } };
    const dry = await recovered(server, { ...request, dry_run: true });
    expect((await call(server, 'GET', `/v1/tables/${target}`)).status).toBe(404);
    const answer = await recovered(server, request);
    expect(figuresOf(answer)).toEqual(figuresOf(dry));
    const first = backedUp.filter(({ id }) => id.startsWith('a-'));
    expect(await rowTexts(target)).toEqual(textsOfRows(first));
    expect((await tableInfo(server, target))['config'].write_mode).toBe(mode);
    await remove(target, ['a-1']);
    const second = await recovered(server, { ...request, target_table: target.toUpperCase(), id_range: { id_pattern: '?-1' } });
    expect(second['tables']).toMatchObject([{ table, target_table: target }]);
    expect(await rowTexts(target)).toEqual(textsOfRows(backedUp.filter(({ id }) => id.startsWith('a-') || id === 'b-1')));
    expect(await rowTexts(table)).toEqual(textsOfRows(kept));
    await drop(target);
  });

  test('nothing fits: NOT_FOUND, and nothing is made', async () => {
    const before = await tableList(server);
    for (const more of [{}, { force_overwrite: true }, { dry_run: true }, { target_table: `never_${mode}` }])
      for (const range of [
        { id_range: { ids: ['zzz'] } },
        { time_range: { start_date: '2025-01-01' } },
        { id_range: { id_pattern: "a'-*" } },
      ])
        expectError(await recover(server, { backup_id: backupId, table, ...range, ...more }), 404, 'NOT_FOUND', /nothing was recovered/);
    expect(await tableList(server)).toBe(before);
  });

  test('recovered rows are rows as any others: flush, compaction, delete, restore, replace', async () => {
    await recovered(server, { backup_id: backupId, table });
    await remove(table, ['a-1', 'a-2']);
    await remove(table, ['a-3'], true);
    await flush(server, table);
    await replace(table, 'a-4', { n: 5_000 }, '2024-01-01T00:00:00Z');
    expectSuccess(await call(server, 'POST', '/v1/data/restore', { table, ids: ['a-3'] }));
    expectSuccess(await call(server, 'POST', `/v1/tables/${table}/compact`));
    await flush(server, table);
    const expected = backedUp.filter(({ id }) => !['a-1', 'a-2', 'a-4'].includes(id));
    const all = textsOfRows([...kept, ...expected, { id: 'a-4', timestamp: '2024-01-01T00:00:00.000000Z', n: 5_000 }]);
    expect(await rowTexts(table)).toEqual(all);
    expect((await tableInfo(server, table))['stats']).toMatchObject({ record_count: all.length, deleted_records: 0 });
  });
});

/* ----------------------------------------------------------------------------------------------- one row an id, always */

describe('an upsert table has one row of an id', () => {
  async function expectOneEach(table: string): Promise<void> {
    expect(await rowsOf(server, `SELECT id, count(*) AS n FROM ${table} GROUP BY id HAVING n > 1 ORDER BY id LIMIT 5`)).toEqual([]);
  }

  test('also when the present row is outside of the range that is put back', async () => {
    await createTable(server, 'moved', { write_mode: 'upsert' });
    await write(server, 'moved', 'a', { n: 1 }, '2024-01-01T10:00:00Z');
    await backUp(server, { tables: ['moved'] });
    await write(server, 'moved', 'a', { n: 2 }, '2024-01-05T10:00:00Z');
    const day = { start_date: '2024-01-01', end_date: '2024-01-01' };
    await recovered(server, { table: 'moved', time_range: day, force_overwrite: true });
    await expectOneEach('moved');
    await flush(server, 'moved');
    expectSuccess(await call(server, 'POST', '/v1/tables/moved/compact'));
    await expectOneEach('moved');
    expect(await rowsOf(server, 'SELECT id, n FROM moved')).toEqual([{ id: 'a', n: 1 }]);
  });

  test('of several rows in the backup the newest', async () => {
    await createTable(server, 'history');
    for (const n of [1, 2, 3]) await write(server, 'history', 'a', { n }, `2024-01-0${4 - n}T00:00:00Z`);
    await write(server, 'history', 'b', { n: 9 });
    await backUp(server, { tables: ['history'] });
    await createTable(server, 'state', { write_mode: 'upsert' });
    for (const more of [{}, { force_overwrite: true }]) {
      const dry = await recovered(server, { table: 'history', target_table: 'state', dry_run: true, ...more });
      const answer = await recovered(server, { table: 'history', target_table: 'state', ...more });
      expect(figuresOf(answer)).toEqual(figuresOf(dry));
      expect(answer['rows_recovered']).toBe(2);
      expect(await rowsOf(server, 'SELECT id, n FROM state ORDER BY id')).toEqual([
        { id: 'a', n: 3 },
        { id: 'b', n: 9 },
      ]);
      await remove('state', ['a', 'b']);
    }
  });

  test('also when the ids are written at the same time', async () => {
    await createTable(server, 'busy', { write_mode: 'upsert' });
    const ids = Array.from({ length: 300 }, (_, index) => `k-${index}`);
    const records = ids.map((id) => ({ id, timestamp: '2024-01-01T00:00:00Z', payload: { n: -1 } }));
    await writeBatch(server, 'busy', records);
    await backUp(server, { tables: ['busy'] });
    for (let round = 0; round < 8; round += 1) {
      await remove('busy', ids);
      const written = new Set<string>();
      let isOver = false;
      const writer = (async () => {
        for (let n = 0; !isOver; n += 1) {
          const id = ids[(n * 7) % ids.length] ?? '';
          await write(server, 'busy', id, { n: round });
          written.add(id);
        }
      })();
      const range = round % 2 === 0 ? {} : { force_overwrite: true };
      await recovered(server, { table: 'busy', ...range }).finally(() => (isOver = true));
      await writer;
      await expectOneEach('busy');
      const rows = await rowsOf(server, 'SELECT id, n FROM busy');
      expect(rows.length).toBe(ids.length);
      // What was acknowledged stays, unless it was to be put back.
      if (round % 2 === 0) for (const { id, n } of rows) if (written.has(id as string)) expect({ id, n }).toEqual({ id, n: round });
      if (round === 3) await flush(server, 'busy');
    }
  });
});

/* --------------------------------------------------------------------------------------------------- older versions */

describe('as_of', () => {
  let versions: { version: number; instant: string; text: string }[];

  beforeAll(async () => {
    versions = [];
    await createTable(server, 'travelled');
    for (const n of [1, 2, 3]) {
      await writeBatch(server, 'travelled', [
        { id: `t-${n}`, timestamp: `2024-01-0${n}T00:00:00Z`, payload: { n } },
        { id: 'same', timestamp: `2024-01-0${n}T00:00:00Z`, payload: { n } },
      ]);
      if (n === 3) await remove('travelled', ['t-1']);
      await flush(server, 'travelled');
      const { version } = await tableInfo(server, 'travelled');
      const committedMs = Date.now();
      await eventually(
        'the next instant',
        () => Date.now(),
        (now) => now > committedMs + 2,
      );
      versions.push({
        version: version as number,
        instant: new Date(committedMs + 1).toISOString(),
        text: await textOf(server, 'travelled'),
      });
    }
    await remove('travelled', ['same', 't-2']);
    await flush(server, 'travelled');
    expectSuccess(await call(server, 'POST', '/v1/tables/travelled/compact'));
  });

  const at = (index: number): { version: number; instant: string; text: string } =>
    versions[index] ?? { version: -1, instant: '', text: '' };

  test('a version, a version as text, an instant: into another table they are the table as it was', async () => {
    for (const [index, asOf] of [
      [0, at(0).version],
      [1, String(at(1).version)],
      [2, at(2).instant],
      [0, at(0).instant],
    ] as const) {
      const target = `was_${index}_${randomUUID().slice(0, 8)}`;
      const dry = await recovered(server, { table: 'travelled', as_of: asOf, target_table: target, dry_run: true });
      const answer = await recovered(server, { table: 'travelled', as_of: asOf, target_table: target });
      expect(figuresOf(answer)).toEqual(figuresOf(dry));
      expect(await textOf(server, target)).toBe(at(index).text);
      expect(answer['message']).toMatch(new RegExp(`version ${at(index).version} of table travelled`));
    }
  });

  test('a part of a version into the table itself', async () => {
    expect(await recovered(server, { table: 'travelled', as_of: at(1).version, id_range: { ids: ['t-1', 't-2', 't-3'] } })).toMatchObject({
      rows_recovered: 2,
      recovered_keys: ['t-1', 't-2'],
    });
    expect(await rowsOf(server, 'SELECT id, n FROM travelled ORDER BY id')).toEqual([1, 2, 3].map((n) => ({ id: `t-${n}`, n })));
    expect(await recovered(server, { table: 'TRAVELLED', as_of: at(1).version, id_range: { id_pattern: 't-*' } })).toMatchObject({
      rows_recovered: 0,
    });
  });

  test('force_overwrite without a range goes back to the version', async () => {
    for (const index of [2, 0, 1]) {
      await recovered(server, { table: 'travelled', as_of: at(index).version, force_overwrite: true });
      expect(await textOf(server, 'travelled')).toBe(at(index).text);
    }
  });

  test('of a version that is not there, or not yet', async () => {
    expectError(await recover(server, { table: 'travelled', as_of: 9_999 }), 404, 'NOT_FOUND', /9999/);
    expectError(await recover(server, { table: 'travelled', as_of: '2001-01-01T00:00:00Z' }), 404, 'NOT_FOUND', /\S/);
    expectError(await recover(server, { table: 'travelled', as_of: 0 }), 404, 'NOT_FOUND', /nothing was recovered/);
    expectError(await recover(server, { table: 'no_such', as_of: 1 }), 404, 'NOT_FOUND', /no_such/);
  });
});

/* ---------------------------------------------------------------------------------------------------- damaged backups */

describe('a damaged backup is refused with DATA_CORRUPTION and changes nothing', () => {
  const table = 'damaged';
  let id: string;
  let files: string[];

  beforeAll(async () => {
    await createTable(server, table);
    for (const n of [1, 2, 3]) {
      await writeBatch(server, table, [
        { id: `d-${n}`, timestamp: `2024-01-0${n}T00:00:00Z`, payload: { n, text: 'x'.repeat(500) } },
        { id: `e-${n}`, timestamp: `2024-01-0${n}T00:00:00Z`, payload: { n } },
      ]);
      await flush(server, table);
    }
    await remove(table, ['e-2']);
    id = (await backUp(server, { tables: [table] }))['backup_id'] as string;
    files = [...(await copiedBy(id)).keys()].filter((name) => name.includes('/part-'));
    await remove(table, ['d-1', 'd-2', 'd-3']);
    expect(files).toHaveLength(3);
  });

  async function expectRefused(says: RegExp): Promise<void> {
    const before = { tables: await tableNames(server), text: await textOf(server, table) };
    for (const more of [
      {},
      { force_overwrite: true },
      { target_table: 'damaged_copy' },
      { target_table: 'damaged_copy', id_range: { id_pattern: 'd-*' } },
    ]) {
      expectError(await recover(server, { backup_id: id, table, ...more }), 500, 'DATA_CORRUPTION', says);
      expectThat({ tables: await tableNames(server), text: await textOf(server, table) }, JSON.stringify(more)).toEqual(before);
    }
  }

  test('one byte of a data file', async () => {
    for (const [index, file] of files.entries()) {
      const size = (await store.list(file)).get(file) ?? 0;
      await whileFlipped(store, file, [0, Math.floor(size / 2), -1][index] ?? 0, () => expectRefused(/damaged/));
    }
  });

  test('a file that is missing or cut', async () => {
    const [file = ''] = files.slice(-1);
    const bytes = await store.read(file);
    await whileReplaced(store, file, undefined, () => expectRefused(/damaged|missing/));
    await whileReplaced(store, file, bytes.subarray(0, bytes.length - 10), () => expectRefused(/damaged/));
  });

  test('a manifest', async () => {
    const manifest = `${DIRECTORY}${id}/manifest.json`;
    const bytes = await store.read(manifest);
    for (const place of [0, 30, 200, Math.floor(bytes.length / 2), -1])
      await whileFlipped(store, manifest, place, () => expectRefused(/damaged/));
    for (const text of ['', '{}', 'null', bytes.toString().slice(0, -20)])
      await whileReplaced(store, manifest, Buffer.from(text), () => expectRefused(/damaged/));
  });

  test('files that were copied before the damage was found do not stay', async () => {
    const before = [...(await store.list()).keys()];
    await whileFlipped(store, files.at(-1) ?? '', 100, async () => {
      const answer = await recover(server, { backup_id: id, table, target_table: 'damaged_copy' });
      expectError(answer, 500, 'DATA_CORRUPTION', /damaged/);
    });
    expect([...(await store.list()).keys()]).toEqual(before);
  });

  describe('another one goes on while its manifest is damaged', () => {
    let other: JsonRow;

    const whileDamaged = (run: () => Promise<unknown>): Promise<void> => whileFlipped(store, `${DIRECTORY}${id}/manifest.json`, 300, run);

    beforeAll(async () => {
      other = await backUp(server, { tables: ['log_a'] });
    });

    test('it is recovered from', () =>
      whileDamaged(async () => {
        const answer = await recovered(server, { backup_id: other['backup_id'], dry_run: true, force_overwrite: true });
        expect(answer).toMatchObject({ success: true });
      }));

    test('it is listed', () =>
      whileDamaged(async () => {
        expect((await dataBackups(server)).map((backup) => backup['backup_id'] as string)).toContain(other['backup_id']);
      }));

    test('it is deleted', () =>
      whileDamaged(async () => void expectSuccess(await call(server, 'DELETE', `/v1/backups/${other['backup_id']}`))));

    test('an incremental one is made', () =>
      whileDamaged(async () => void (await backUp(server, { tables: ['log_a'], type: 'incremental' }))));
  });

  test('put in order it is taken', async () => {
    expect(await recovered(server, { backup_id: id, table })).toMatchObject({ rows_recovered: 3, recovered_keys: ['d-1', 'd-2', 'd-3'] });
  });

  test('metrics count the failures', async () => {
    const error = 'miniodb_restore_operations_total{status="error"}';
    const success = 'miniodb_restore_operations_total{status="success"}';
    const before = { error: await metricOf(server, error), success: await metricOf(server, success) };
    await whileFlipped(store, files[0] ?? '', 10, async () => {
      expect((await recover(server, { backup_id: id, table })).status).toBe(500);
    });
    await recovered(server, { backup_id: id, table });
    await recovered(server, { backup_id: id, table, dry_run: true });
    expect({ error: await metricOf(server, error), success: await metricOf(server, success) }).toEqual({
      error: before.error + 1,
      success: before.success + 1,
    });
  });
});

/* ------------------------------------------------------------------------------------------------- columns that changed */

describe('columns that are others by now', () => {
  test('another type is refused by name; another table takes the rows', async () => {
    await createTable(server, 'retyped');
    await write(server, 'retyped', 'a', { age: 30, name: 'x', more: true });
    await backUp(server, { tables: ['retyped'] });
    const before = await textOf(server, 'retyped');
    await drop('retyped');
    await write(server, 'retyped', 'b', { AGE: 'thirty', name: 'y' });
    const own = await textOf(server, 'retyped');
    for (const more of [{}, { dry_run: true }, { force_overwrite: true }, { id_range: { ids: ['a'] } }]) {
      expectError(
        await recover(server, { table: 'retyped', ...more }),
        409,
        'CONFLICT',
        /column AGE is now VARCHAR and was BIGINT.*target_table/i,
      );
      expect(await textOf(server, 'retyped')).toBe(own);
    }
    await recovered(server, { table: 'retyped', target_table: 'retyped_then' });
    expect(await textOf(server, 'retyped_then')).toBe(before);
  });

  test('columns that came or are missing since are NULL or made again', async () => {
    await createTable(server, 'grown');
    await write(server, 'grown', 'a', { n: 1, Old: 'x' });
    await backUp(server, { tables: ['grown'] });
    await drop('grown');
    await write(server, 'grown', 'b', { fresh: 2, n: 2 });
    expect(await recovered(server, { table: 'grown' })).toMatchObject({ rows_recovered: 1 });
    expect(await rowsOf(server, 'SELECT * EXCLUDE ("timestamp") FROM grown ORDER BY id')).toEqual([
      { id: 'a', fresh: null, n: 1, Old: 'x' },
      { id: 'b', fresh: 2, n: 2, Old: null },
    ]);
    await flush(server, 'grown');
    await write(server, 'grown', 'c', { old: 'y' });
    expect(await rowsOf(server, 'SELECT id, "Old" FROM grown ORDER BY id')).toEqual([
      { id: 'a', Old: 'x' },
      { id: 'b', Old: null },
      { id: 'c', Old: 'y' },
    ]);
  });

  test('an integer goes into a column that is DOUBLE by now, if it fits exactly', async () => {
    await createTable(server, 'widened');
    await write(server, 'widened', 'a', { n: 9_007_199_254_740_992 });
    await write(server, 'widened', 'b', { n: -5 });
    await backUp(server, { tables: ['widened'] });
    await remove('widened', ['a', 'b']);
    await write(server, 'widened', 'c', { n: 0.5 });
    expect((await tableInfo(server, 'widened'))['schema']).toContainEqual({ name: 'n', type: 'DOUBLE' });
    expect(await recovered(server, { table: 'widened' })).toMatchObject({ rows_recovered: 2 });
    expect(await rowsOf(server, 'SELECT id, n FROM widened ORDER BY id')).toEqual([
      { id: 'a', n: 9_007_199_254_740_992 },
      { id: 'b', n: -5 },
      { id: 'c', n: 0.5 },
    ]);
  });

  test('an integer that DOUBLE cannot hold is refused with the column, and nothing comes in', async () => {
    await createTable(server, 'too_exact');
    expectSuccess(await call(server, 'POST', '/v1/data', '{"table":"too_exact","id":"a","payload":{"n":9007199254740993}}'));
    await write(server, 'too_exact', 'b', { n: 1 });
    await backUp(server, { tables: ['too_exact'] });
    await drop('too_exact');
    await write(server, 'too_exact', 'c', { n: 0.5 });
    for (const more of [{}, { force_overwrite: true }]) {
      const answer = await recover(server, { table: 'too_exact', ...more });
      expectThat([400, 409], answer.text).toContain(answer.status);
      expect(answer.json.message).toMatch(/\bn\b.*DOUBLE/);
      expect(await rowsOf(server, 'SELECT id, n FROM too_exact')).toEqual([{ id: 'c', n: 0.5 }]);
    }
    expect(await recovered(server, { table: 'too_exact', id_range: { ids: ['b'] } })).toMatchObject({ rows_recovered: 1 });
    await write(server, 'too_exact', 'd', { n: 2 });
  });

  test('ids of any characters that the table allows', async () => {
    await createTable(server, 'odd_ids', { id_validation: { allowed_chars: "A-Za-z0-9 '*?[]ü😀é%" } });
    const ids = ["it's", 'a*b', 'axb', '[x]', 'ü 😀', '😀', 'é', '100%', '?'];
    for (const id of ids) await write(server, 'odd_ids', id, { n: 1 }, '2024-01-01T00:00:00Z');
    const before = await textOf(server, 'odd_ids');
    await backUp(server, { tables: ['odd_ids'] });
    await remove('odd_ids', ids);
    for (const id of ids)
      expect(await recovered(server, { table: 'odd_ids', id_range: { ids: [id] } })).toMatchObject({
        rows_recovered: 1,
        recovered_keys: [id],
      });
    expect(await textOf(server, 'odd_ids')).toBe(before);
  });
});

/* --------------------------------------------------------------------------------------------------------- bad requests */

describe('bad requests', () => {
  beforeAll(async () => {
    await createTable(server, 'asked');
    await write(server, 'asked', 'a', { n: 1 });
    await backUp(server, { tables: ['asked', 'log_a'] });
  });

  test.each<[JsonRow, RegExp]>([
    [{ backup_id: 'data_20240101_000000', as_of: 1, table: 'asked' }, /backup_id or as_of/],
    [{ as_of: 1 }, /as_of needs a table/],
    [{ as_of: 'yesterday', table: 'asked' }, /as_of/],
    [{ as_of: -1, table: 'asked' }, /as_of/],
    [{ as_of: 1.5, table: 'asked' }, /as_of/],
    [{ as_of: true, table: 'asked' }, /as_of/],
    [{ as_of: '2024-01-01T00:00:00', table: 'asked' }, /as_of/],
    [{ time_range: { start_date: '2024-02-30' } }, /start_date/],
    [{ time_range: { start_date: '2024-13-01' } }, /start_date/],
    [{ time_range: { end_date: 'tomorrow' } }, /end_date/],
    [{ time_range: { end_date: '2024-1-5' } }, /end_date/],
    [{ time_range: { end_date: '2024-01-05T10' } }, /end_date/],
    [{ time_range: { start_date: 20_240_101 } }, /start_date/],
    [{ time_range: { start_date: '2024-01-02', end_date: '2024-01-01' } }, /after start_date/],
    [{ time_range: { start_date: '2024-01-01T00:00:00Z', end_date: '2024-01-01T00:00:00Z' } }, /after start_date/],
    [{ time_range: { from: '2024-01-01' } }, /from/],
    [{ time_range: 'today' }, /time_range/],
    [{ id_range: { id: 'a' } }, /id/],
    [{ id_range: { ids: 'a' } }, /ids/],
    // No id at all: that the whole table is meant is the last thing one wants.
    [{ id_range: { ids: [] }, force_overwrite: true }, /ids/],
    [{ id_range: { ids: [1] } }, /ids/],
    [{ id_range: { id_pattern: 5 } }, /id_pattern/],
    [{ id_range: { ids: ['a'] }, time_range: { ids: ['b'] } }, /have no id in common/],
    [{ id_range: { id_pattern: 'x'.repeat(257) } }, /id_pattern/],
    [{ tabel: 'asked' }, /tabel/],
    [{ table: 5 }, /table/],
    [{ table: 'asked', target_table: '1x' }, /table name/],
    [{ table: 'asked', target_table: 'a b' }, /table name/],
    [{ target_table: 'somewhere' }, /2 tables/],
    [{ force_overwrite: 'yes' }, /force_overwrite/],
    [{ dry_run: 1 }, /dry_run/],
    [{ backup_id: 7 }, /backup_id/],
  ])('%#: %j', async (body, says) => {
    const request = 'table' in body || 'as_of' in body || 'target_table' in body ? body : { table: 'asked', ...body };
    const before = await tableList(server);
    expectError(await recover(server, request), 400, 'INVALID_ARGUMENT', says);
    expect(await tableList(server)).toBe(before);
  });

  test('what is not there', async () => {
    expectError(await recover(server, { backup_id: 'data_20240101_000000' }), 404, 'NOT_FOUND', /data_20240101_000000/);
    for (const id of ['backup', '../metadata', 'data_20240101_000000/../x'])
      expect((await recover(server, { backup_id: id })).status).toBe(404);
    expectError(
      await recover(server, { table: 'never_there' }),
      404,
      'NOT_FOUND',
      /does not contain table never_there; it contains asked, log_a/,
    );
  });

  test('more ids than are allowed', async () => {
    const ids = Array.from({ length: 10_001 }, (_, index) => `i-${index}`);
    for (const range of [{ id_range: { ids } }, { time_range: { ids } }])
      expectError(await recover(server, { table: 'asked', ...range }), 400, 'INVALID_ARGUMENT', /10001 entries; at most 10000/);
  });

  test('as many ids as are allowed', async () => {
    const ids = ['a', ...Array.from({ length: 9_999 }, (_, index) => `i-${index}`)];
    await remove('asked', ['a']);
    expect(await recovered(server, { table: 'asked', id_range: { ids } })).toMatchObject({ rows_recovered: 1, recovered_keys: ['a'] });
    expect(await recovered(server, { table: 'asked', id_range: { ids }, force_overwrite: true })).toMatchObject({ rows_recovered: 1 });
    expect(await countOf(server, 'asked')).toBe(1);
  });
});

/* ------------------------------------------------------------------------------------------------- a bucket of their own */

test('backups go to a bucket of their own and come back from it', async () => {
  const remote = await testObjectStore();
  const bucket = `backups-${randomUUID()}`;
  const options = {
    config: QUIET,
    dataDir: temporaryDirectory('server'),
    env: {
      ...ownRedisDatabase(3),
      MINIO_BACKUP_ENDPOINT: remote.endpoint.replace(/^https?:\/\//, ''),
      MINIO_BACKUP_ACCESS_KEY: remote.accessKey,
      MINIO_BACKUP_SECRET_KEY: remote.secretKey,
      MINIO_BACKUP_BUCKET: bucket,
    },
  };
  let other = await startServer(options);
  try {
    const elsewhere = bucketStore(remote.client, bucket);
    const own = await storedObjects(options.dataDir);
    const table = await makeRichTable(other, 'remote', { write_mode: 'upsert' });
    const texts = await textsOf(other, table.queries);
    const description = await descriptionOf(other, 'remote');
    const full = await backUp(other);
    await write(other, 'remote', 'later', { later: 1 });
    const incremental = await backUp(other, { type: 'incremental' });
    const { backup_id: metadata } = expectSuccess(await call(other, 'POST', '/v1/metadata/backup')).json as JsonRow;
    const objects = await elsewhere.list('backups/');
    expect([...objects.keys()].filter((name) => name.endsWith('.json')).sort()).toEqual(
      [
        ...[full, incremental].map(({ backup_id: id }) => `${DIRECTORY}${id}/manifest.json`),
        `backups/metadata/node-1/${metadata}.json`,
      ].sort(),
    );
    expect((await own.list('backups/')).size).toBe(0);
    await remote.client.statObject(bucket, `${DIRECTORY}${full['backup_id']}/manifest.json`);

    // The tables' own store is lost with the directory of the node; the configuration names the same bucket.
    expect(expectSuccess(await call(other, 'DELETE', '/v1/tables/remote?cascade=true')).json).toMatchObject({ success: true });
    await recovered(other, { backup_id: full['backup_id'], table: 'remote' });
    await eventually(
      'the table',
      () => tableNames(other),
      (names) => names.includes('remote'),
    );
    expect(await textsOf(other, table.queries)).toEqual(texts);
    expect(await descriptionOf(other, 'remote')).toEqual(description);
    expect(await recovered(other, { table: 'remote' })).toMatchObject({ rows_recovered: 1, recovered_keys: ['later'] });

    await other.kill();
    other = await startServer({ ...options, dataDir: temporaryDirectory('server') });
    expect(await tableNames(other)).toEqual([]);
    expect((await dataBackups(other)).map(({ backup_id: id }) => id as string)).toEqual([incremental['backup_id'], full['backup_id']]);
    expect((await metadataBackups(other)).length).toBe(1);
    expectError(await restoreMetadata(other, { from_latest: true }), 409, 'CONFLICT', /could not be restored/);
    await recovered(other, {});
    await removeAt(other, 'remote', 'later');
    expect(await textsOf(other, table.queries)).toEqual(texts);
    expectError(await call(other, 'DELETE', `/v1/backups/${full['backup_id']}`), 409, 'CONFLICT', /delete them first/);
    for (const { backup_id: id } of [incremental, full]) expectSuccess(await call(other, 'DELETE', `/v1/backups/${id}`));
    expect((await elsewhere.list(DIRECTORY)).size).toBe(0);
  } finally {
    await other.kill();
  }
});

async function removeAt(at: RunningServer, table: string, id: string): Promise<void> {
  expectSuccess(await call(at, 'DELETE', '/v1/data', { table, id, soft_delete: false }));
}

/* ------------------------------------------------------------------------------------------------------------ schedule */

test('a scheduled metadata backup is made by itself within a minute', async () => {
  const leftMs = Math.max(1_000, scheduledSinceMs + SCHEDULED_MS_MAX - Date.now());
  const [backup = {}] = await eventually(
    'the scheduled backup',
    () => metadataBackups(scheduled),
    (backups) => backups.length > 0,
    leftMs,
  );
  const { last_backup, next_backup, backup_status } = expectStatus(await call(scheduled, 'GET', '/v1/metadata/status'), 200).json;
  expect(last_backup).toBe(backup['timestamp']);
  expect(Date.parse(next_backup as string)).toBeGreaterThan(Date.now());
  expect(JSON.stringify(backup_status)).toMatch(/success/);
  const file = (backup['object_name'] as string).split('/').at(-1);
  const answer = expectSuccess(await restoreMetadata(scheduled, { backup_file: file, dry_run: true })).json as JsonRow;
  expect(Object.keys(answer['details'] as JsonRow).sort()).toEqual(['index:table:watched:files', 'table:watched:config']);
  expect(await valueOf(scheduled, 'SELECT count(*) FROM watched')).toBe(0);
});
