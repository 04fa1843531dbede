/**
 * Metadata backups over REST and gRPC: made, listed, checked, and restored in part or as a whole. What a restore gives back after the catalogue and the
 * logs were lost is in backup-wipe.test.ts, the schedule in backup-data.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import { closeTestServers } from './servers/shared-servers.js';
import { backUpMetadata, METADATA_ID, metadataBackups, metricOf, QUIET, restoreMetadata, tableList } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection, type GrpcMessage, responseOf } from './support/grpc-client.js';
import { createTable, expectError, expectStatus, expectSuccess, flush, type JsonRow, tableInfo, write } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';
import { storedObjects, type StoredObjects, whileFlipped, whileReplaced } from './support/stored-objects.js';

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const DIRECTORY = 'backups/metadata/node-1/';
const MS_PER_DAY = 86_400_000;

let server: RunningServer;
let grpc: GrpcConnection;
let store: StoredObjects;

beforeAll(async () => {
  server = await startServer({ config: QUIET });
  grpc = connectGrpc(server);
  store = await storedObjects(server.dataDir);
});

afterAll(async () => {
  grpc?.close();
  await server?.stop();
  await closeTestServers();
});

async function configure(table: string, config: JsonRow): Promise<void> {
  expectSuccess(await call(server, 'PATCH', `/v1/tables/${table}`, { config }));
}

async function configOf(table: string): Promise<JsonRow> {
  return (await tableInfo(server, table))['config'] as JsonRow;
}

async function status(): Promise<JsonRow> {
  return expectStatus(await call(server, 'GET', '/v1/metadata/status'), 200).json as JsonRow;
}

async function restored(body: JsonRow): Promise<JsonRow> {
  return expectSuccess(await restoreMetadata(server, body)).json as JsonRow;
}

/** `YYYYMMDD_HHMMSS` of an id, as an instant. */
function instantOf(id: string): number {
  const [, date = '', time = ''] = id.split('_');
  const [, year, month, day] = /^(....)(..)(..)$/.exec(date) ?? [];
  const [, hour, minute, second] = /^(..)(..)(..)$/.exec(time) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/* ------------------------------------------------------------------------------------------------- before the first one */

describe('before the first backup', () => {
  test('the status and the list say that there is none', async () => {
    const { node_id, backup_status, last_backup, next_backup, health_status } = await status();
    expect({ node_id, last_backup, next_backup, health_status }).toEqual({
      node_id: 'node-1',
      last_backup: null,
      next_backup: null,
      health_status: 'healthy',
    });
    expect(Object.values(backup_status as JsonRow).every((value) => typeof value === 'string')).toBe(true);
    expect(await metadataBackups(server)).toEqual([]);
  });

  test.each([{}, { from_latest: true }, { backup_file: 'backup_*' }])('a restore with %j finds nothing and says so', async (body) => {
    expectError(await restoreMetadata(server, body), 404, 'NOT_FOUND', /backup/);
  });
});

/* ------------------------------------------------------------------------------------------------------------- backups */

describe('POST /v1/metadata/backup', () => {
  test('writes an object of the name it answers, also with an empty body', async () => {
    await createTable(server, 'users', { retention_days: 7, properties: { owner: 'team-a' } });
    await write(server, 'users', 'a', { n: 1 }, '2024-01-01T10:00:00Z');
    await flush(server, 'users');
    const startedMs = Date.now();
    const answer = await backUpMetadata(server);
    expect(answer).toMatchObject({ success: true, backup_id: expect.stringMatching(METADATA_ID) });
    expect(answer['timestamp']).toMatch(RFC3339);
    expect(Date.parse(answer['timestamp'] as string)).toBe(instantOf(answer['backup_id'] as string));
    expect(Math.abs(instantOf(answer['backup_id'] as string) - startedMs)).toBeLessThan(60_000);
    const objects = await store.list('backups/metadata/');
    const name = `${DIRECTORY}${answer['backup_id']}.json`;
    expect([...objects.keys()]).toEqual([name]);
    const [backup = {}, ...others] = await metadataBackups(server);
    expect(others).toEqual([]);
    expect(backup).toEqual({
      object_name: name,
      node_id: 'node-1',
      timestamp: answer['timestamp'],
      size: objects.get(name),
      last_modified: expect.stringMatching(RFC3339),
    });
    expect(Math.abs(Date.parse(backup['last_modified'] as string) - startedMs)).toBeLessThan(60_000);
  });

  test('writes nothing when nothing changed, and says so', async () => {
    const [before = {}] = await metadataBackups(server);
    for (const body of [undefined, {}, { force: false }]) {
      const answer = await backUpMetadata(server, body);
      expect(answer['message']).toMatch(/nothing has changed/);
      expect(before['object_name']).toBe(`${DIRECTORY}${answer['backup_id']}.json`);
      expect(answer['timestamp']).toBe(before['timestamp']);
    }
    expect((await store.list('backups/metadata/')).size).toBe(1);
  });

  test('with force writes another one, each with a name of its own', async () => {
    const [before = {}] = await metadataBackups(server);
    const ids = await Promise.resolve([1, 2, 3]).then(async (times) => {
      const made: string[] = [];
      for (const _time of times) made.push((await backUpMetadata(server, { force: true }))['backup_id'] as string);
      return made;
    });
    expect(new Set(ids).size).toBe(3);
    expect([...ids].sort()).toEqual(ids);
    const listed = (await metadataBackups(server)).map(({ object_name: name }) => name as string);
    expect(listed).toEqual([...ids.map((id) => `${DIRECTORY}${id}.json`).reverse(), before['object_name']]);
  });

  test('without force writes one when a table came, went, changed its settings or got rows in files', async () => {
    const changes: (() => Promise<unknown>)[] = [
      () => createTable(server, 'passing'),
      () => configure('passing', { retention_days: 3 }),
      async () => {
        await write(server, 'passing', 'a', { n: 1 });
        await flush(server, 'passing');
      },
      () => call(server, 'DELETE', '/v1/tables/passing?cascade=true').then(expectSuccess),
    ];
    for (const change of changes) {
      const [before = {}] = await metadataBackups(server);
      await change();
      const { backup_id: id, message } = await backUpMetadata(server, {});
      expect(message).not.toMatch(/nothing has changed/);
      expect(`${DIRECTORY}${id}.json`).not.toBe(before['object_name']);
    }
  });

  test('two at once: both are made, or one is told that another one runs', async () => {
    const before = (await metadataBackups(server)).length;
    const answers = await Promise.all([1, 2, 3].map(() => call(server, 'POST', '/v1/metadata/backup', { force: true })));
    const made = answers.filter(({ status: code }) => code < 300);
    for (const answer of answers) if (answer.status >= 300) expectError(answer, 409, 'CONFLICT', /running/);
    expect(made.length).toBeGreaterThan(0);
    expect((await metadataBackups(server)).length).toBe(before + made.length);
  });

  test.each([{ force: 'yes' }, { force: 1 }, { forced: true }, []])('refuses %j', async (body) => {
    expectError(await call(server, 'POST', '/v1/metadata/backup', body), 400, 'INVALID_ARGUMENT', /force|object/);
  });
});

describe('GET /v1/metadata/backups and /v1/metadata/status', () => {
  test('the list goes back as many days as asked for, 7 without being asked', async () => {
    const [newest = {}] = await metadataBackups(server);
    const bytes = await store.read(newest['object_name'] as string);
    const daysAgo = (days: number): string => {
      const text = new Date(Date.now() - days * MS_PER_DAY).toISOString();
      return `${DIRECTORY}backup_${text.slice(0, 10).replaceAll('-', '')}_${text.slice(11, 19).replaceAll(':', '')}.json`;
    };
    // As they would be had the server run then. Still younger than what is removed (30 days).
    const old = { three: daysAgo(3), ten: daysAgo(10), twenty: daysAgo(20) };
    for (const name of Object.values(old)) await store.write(name, bytes);
    const oldListed = async (query: string): Promise<string[]> => {
      const names = (await metadataBackups(server, query)).map(({ object_name: name }) => name as string);
      expectThat(names, query).toContain(newest['object_name']);
      return names.filter((name) => Object.values(old).includes(name));
    };
    expect(await oldListed('')).toEqual([old.three]);
    expect(await oldListed('?days=7')).toEqual([old.three]);
    expect(await oldListed('?days=2')).toEqual([]);
    expect(await oldListed('?days=11')).toEqual([old.three, old.ten]);
    expect(await oldListed('?days=365')).toEqual([old.three, old.ten, old.twenty]);
  });

  test.each(['0', '-1', '1.5', 'x', '', '36501', '7&days=8'])('refuses days=%s', async (days) => {
    expectError(await call(server, 'GET', `/v1/metadata/backups?days=${days}`), 400, 'INVALID_ARGUMENT', /days/);
  });

  test('the status names the newest backup', async () => {
    const [newest = {}] = await metadataBackups(server);
    const { last_backup, next_backup, health_status } = await status();
    expect({ last_backup, next_backup, health_status }).toEqual({
      last_backup: newest['timestamp'],
      next_backup: null,
      health_status: 'healthy',
    });
  });

  test('asking changes nothing', async () => {
    const before = [...(await store.list())];
    await status();
    await metadataBackups(server);
    expect([...(await store.list())]).toEqual(before);
  });

  test('the next backup removes those that are older than metadata_keep_days, and no others', async () => {
    const [newest = {}] = await metadataBackups(server, '?days=365');
    const bytes = await store.read(newest['object_name'] as string);
    const dayText = (days: number): string => new Date(Date.now() - days * MS_PER_DAY).toISOString().slice(0, 10).replaceAll('-', '');
    const [kept, removed, ancient] = [29, 31, 400].map((days) => `${DIRECTORY}backup_${dayText(days)}_235959.json`) as [
      string,
      string,
      string,
    ];
    for (const name of [kept, removed, ancient]) await store.write(name, bytes);
    const before = [...(await store.list('backups/metadata/')).keys()];
    const { backup_id: id } = await backUpMetadata(server, { force: true });
    const after = [...(await store.list('backups/metadata/')).keys()];
    expect(after).toEqual([...before.filter((name) => name !== removed && name !== ancient), `${DIRECTORY}${id}.json`].sort());
  });
});

/* ------------------------------------------------------------------------------------------------------------ restores */

describe('POST /v1/metadata/restore', () => {
  /** Two backups with two states of the tables, which have a third one since. */
  let first: string;
  let second: string;

  beforeAll(async () => {
    for (const name of ['user_names', 'user_mails', 'orders']) {
      await createTable(server, name, { retention_days: 1 });
      await write(server, name, 'a', { n: 1 });
      await flush(server, name);
    }
    first = `${(await backUpMetadata(server, { force: true }))['backup_id']}.json`;
    await configureAll(2);
    second = `${(await backUpMetadata(server))['backup_id']}.json`;
    expect(second).not.toBe(first);
    await configureAll(3);
  });

  async function configureAll(days: number): Promise<void> {
    for (const name of ['user_names', 'user_mails', 'orders'])
      await configure(name, { retention_days: days, properties: { days: `${days}` } });
  }

  async function daysOfAll(): Promise<Record<string, unknown>> {
    const days: Record<string, unknown> = {};
    for (const name of ['user_names', 'user_mails', 'orders']) days[name] = (await configOf(name))['retention_days'];
    return days;
  }

  const all = (days: number): Record<string, number> => ({ user_names: days, user_mails: days, orders: days });

  test('takes the backup of a name, of its whole key, the newest that fits a glob, the newest of all', async () => {
    const cases: [JsonRow, string, number][] = [
      [{ backup_file: first }, first, 1],
      [{ backup_file: second }, second, 2],
      [{ backup_file: `${DIRECTORY}${first}` }, first, 1],
      [{ backup_file: 'backup_2*.json' }, second, 2],
      [{ backup_file: `{${first},none}` }, first, 1],
      [{ from_latest: true }, second, 2],
      [{}, second, 2],
      [{ backup_file: '' }, second, 2],
    ];
    for (const [body, file, days] of cases) {
      await configureAll(9);
      const answer = await restored({ ...body, overwrite: true, filters: { table_pattern: '{user_*,orders}' } });
      expectThat(answer, JSON.stringify(body)).toMatchObject({
        success: true,
        backup_file: file,
        entries_total: 6,
        entries_ok: 3,
        entries_skipped: 3,
        entries_error: 0,
        errors: [],
      });
      expect(answer['duration']).toMatch(/^\d+(\.\d+)?m?s$/);
      expect(Object.keys(answer['details'] as JsonRow).sort()).toEqual(
        ['orders', 'user_mails', 'user_names'].flatMap((name) => [`index:table:${name}:files`, `table:${name}:config`]).sort(),
      );
      expect(await daysOfAll()).toEqual(all(days));
      expect((await configOf('orders'))['properties']).toEqual(days === 1 ? {} : { days: `${days}` });
    }
  });

  test('of an unknown name is NOT_FOUND and names those that are there', async () => {
    for (const name of ['backup_19990101_000000.json', 'nothing*', '../../../etc/passwd', '[', '\\']) {
      const { message } = expectError(await restoreMetadata(server, { backup_file: name }), 404, 'NOT_FOUND', /no metadata backup matches/);
      expect(message).toContain(second);
    }
  });

  test('without overwrite a changed configuration is skipped and the answer says so', async () => {
    await configureAll(9);
    const answer = await restored({ backup_file: first, filters: { table_pattern: 'orders' } });
    expect(answer).toMatchObject({ entries_total: 2, entries_ok: 0, entries_skipped: 2, entries_error: 0 });
    expect((answer['details'] as JsonRow)['table:orders:config']).toMatch(/differs.*overwrite.*retention_days 9 → 1/);
    expect(await daysOfAll()).toEqual(all(9));
    const same = await restored({ backup_file: second, overwrite: true, filters: { table_pattern: 'orders' } });
    expect(same['entries_ok']).toBe(1);
    const again = await restored({ backup_file: second, overwrite: true, filters: { table_pattern: 'orders' } });
    expect(again).toMatchObject({ entries_total: 2, entries_ok: 0, entries_skipped: 2 });
    expect((again['details'] as JsonRow)['table:orders:config']).toMatch(/already/);
  });

  test('a dry run shows the difference and changes nothing', async () => {
    await configureAll(9);
    const before = { tables: await tableList(server), objects: [...(await store.list())] };
    const dry = await restored({ backup_file: first, dry_run: true, overwrite: true, filters: { table_pattern: '{user_*,orders}' } });
    expect(dry).toMatchObject({ success: true, entries_total: 6, entries_ok: 3, entries_skipped: 3, entries_error: 0 });
    expect(dry['message']).toMatch(/dry run/);
    expect((dry['details'] as JsonRow)['table:orders:config']).toMatch(/retention_days 9 → 1/);
    expect({ tables: await tableList(server), objects: [...(await store.list())] }).toEqual(before);
    expect(await daysOfAll()).toEqual(all(9));
    const real = await restored({ backup_file: first, overwrite: true, filters: { table_pattern: '{user_*,orders}' } });
    const figures = ({ message: _message, duration: _duration, ...rest }: JsonRow): JsonRow => rest;
    expect(figures(real)).toEqual(figures(dry));
    expect(await daysOfAll()).toEqual(all(1));
  });

  test.each<[JsonRow, string[]]>([
    [{ filters: { table_pattern: 'user_*' }, key_patterns: ['table:*'] }, ['table:user_mails:config', 'table:user_names:config']],
    [{ filters: { table_pattern: 'USER_N*' }, key_patterns: ['index:*'] }, ['index:table:user_names:files']],
    [{ filters: { table_pattern: 'orders' }, key_patterns: ['table:*', 'index:*'] }, ['index:table:orders:files', 'table:orders:config']],
    [{ key_patterns: ['table:orders:config'] }, ['table:orders:config']],
    [{ key_patterns: ['index:table:*:files'], filters: { table_pattern: 'o?ders' } }, ['index:table:orders:files']],
  ])('%j picks %j', async (body, keys) => {
    for (const parallel of [true, false]) {
      const answer = await restored({ backup_file: second, dry_run: true, overwrite: true, parallel, ...body });
      expect(Object.keys(answer['details'] as JsonRow).sort()).toEqual(keys);
      expect(answer['entries_total']).toBe(keys.length);
    }
  });

  test.each<JsonRow>([
    { filters: { table_pattern: 'no_such_*' } },
    { key_patterns: ['user:*'] },
    { filters: { table_pattern: 'orders' }, key_patterns: ['table:user_*'] },
    { filters: { table_pattern: 'order' } },
  ])('%j fits nothing, which is not a silent success', async (body) => {
    expectError(await restoreMetadata(server, { ...body, from_latest: true }), 404, 'NOT_FOUND', /nothing was restored/);
    expectError(await restoreMetadata(server, { ...body, from_latest: true, dry_run: true }), 404, 'NOT_FOUND', /nothing was restored/);
  });

  test('one by one or in parallel: the same', async () => {
    const answers: JsonRow[] = [];
    for (const parallel of [true, false]) {
      await configureAll(9);
      const { duration: _duration, details, ...answer } = await restored({ backup_file: second, overwrite: true, parallel });
      expect(await daysOfAll()).toEqual(all(2));
      // The versions of the tables went on meanwhile.
      answers.push({ ...answer, details: JSON.stringify(details).replace(/version \d+/g, 'version') });
    }
    expect(answers[1]).toEqual(answers[0]);
  });

  test('a write_mode or layout that differs is an error of its table, and the others are restored', async () => {
    await createTable(server, 'modes');
    await createTable(server, 'layouts');
    const { backup_id: id } = await backUpMetadata(server);
    for (const name of ['modes', 'layouts']) expectSuccess(await call(server, 'DELETE', `/v1/tables/${name}?cascade=true`));
    await createTable(server, 'modes', { write_mode: 'upsert' });
    await createTable(server, 'layouts', { layout: 'id' });
    await configure('orders', { retention_days: 9 });
    const body = { backup_file: `${id}.json`, overwrite: true, filters: { table_pattern: '{modes,layouts,orders}' } };
    const dry = await restored({ ...body, dry_run: true });
    expect(dry).toMatchObject({ entries_total: 6, entries_ok: 1, entries_error: 4 });
    expect((dry['errors'] as string[]).join('\n')).toMatch(/modes.*write_mode/);
    expect((dry['errors'] as string[]).join('\n')).toMatch(/layouts.*layout/);
    const { details } = expectError(await restoreMetadata(server, body), 409, 'CONFLICT', /4 of 6 entries/);
    const byKey = Object.fromEntries((details as JsonRow[]).map((each) => [each['key'], each]));
    expect(byKey['table:modes:config']).toMatchObject({ outcome: 'error', reason: expect.stringMatching(/write_mode/) });
    expect(byKey['table:layouts:config']).toMatchObject({ outcome: 'error', reason: expect.stringMatching(/layout/) });
    expect(byKey['table:orders:config']).toMatchObject({ outcome: 'ok' });
    expect((await configOf('modes'))['write_mode']).toBe('upsert');
    expect((await configOf('layouts'))['layout']).toBe('id');
    expect((await configOf('orders'))['retention_days']).not.toBe(9);
  });

  test('settings keep their effect after a restart', async () => {
    await createTable(server, 'strict', { id_validation: { pattern: '^x-[0-9]+$' } });
    const { backup_id: id } = await backUpMetadata(server);
    await configure('strict', { id_validation: { pattern: '^y-[0-9]+$' } });
    await restored({ backup_file: `${id}.json`, overwrite: true, key_patterns: ['table:strict:*'] });
    await write(server, 'strict', 'x-1');
    expect((await call(server, 'POST', '/v1/data', { table: 'strict', id: 'y-1', payload: {} })).status).toBe(400);
  });

  test('of a table that was dropped only the settings come back, and the answer says where the rows are', async () => {
    await createTable(server, 'dropped', { retention_days: 4 });
    await write(server, 'dropped', 'a', { n: 1 });
    await flush(server, 'dropped');
    await write(server, 'dropped', 'b', { n: 2 });
    const { backup_id: id } = await backUpMetadata(server);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped?cascade=true'));
    const body = { backup_file: `${id}.json`, filters: { table_pattern: 'dropped' } };
    const { details } = expectError(
      await restoreMetadata(server, { ...body, key_patterns: ['index:*'] }),
      409,
      'CONFLICT',
      /1 of 1 entries/,
    );
    expect(JSON.stringify(details)).toMatch(/dropped.*recover/);
    expect((await call(server, 'GET', '/v1/tables/dropped')).status).toBe(404);
    const answer = await restored(body);
    expect(answer).toMatchObject({ entries_total: 2, entries_ok: 1, entries_skipped: 1 });
    expect((answer['details'] as JsonRow)['index:table:dropped:files']).toMatch(/dropped.*recover/);
    const { config, stats } = await tableInfo(server, 'dropped');
    expect({ days: config.retention_days as number, rows: stats.record_count as number }).toEqual({ days: 4, rows: 0 });
  });

  test('only the configuration of a lost table: an empty table with its columns', async () => {
    await createTable(server, 'only_config', { retention_days: 4, write_mode: 'upsert' });
    expectSuccess(await call(server, 'POST', '/v1/data', '{"table":"only_config","id":"a","payload":{"n":1,"f":1.5,"j":{},"Odd":"x"}}'));
    await flush(server, 'only_config');
    const { config, schema } = await tableInfo(server, 'only_config');
    const { backup_id: id } = await backUpMetadata(server);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/only_config?cascade=true'));
    const answer = await restored({ backup_file: `${id}.json`, key_patterns: ['table:only_config:*'] });
    expect(answer).toMatchObject({ entries_total: 1, entries_ok: 1 });
    const info = await tableInfo(server, 'only_config');
    expect({ config: info['config'], schema: info['schema'] }).toEqual({ config, schema });
    expect(info['stats']).toMatchObject({ record_count: 0 });
    await write(server, 'only_config', 'b', { n: 2 });
  });

  test.each<JsonRow>([
    { dry_run: 'yes' },
    { filters: { table: 'x' } },
    { filters: [] },
    { filters: { table_pattern: 5 } },
    { key_patterns: 'table:*' },
    { key_patterns: [5] },
    { key_patterns: Array.from({ length: 101 }, () => '*') },
    { backup_file: 5 },
    { backup: 'x' },
    { filters: { table_pattern: 'x'.repeat(257) } },
  ])('refuses a body that it does not understand (%#)', async (body) => {
    expectError(await restoreMetadata(server, body), 400, 'INVALID_ARGUMENT', /\S/);
  });

  describe('of a damaged backup', () => {
    let name: string;
    let file: string;
    let intact: Buffer;

    beforeAll(async () => {
      await configure('orders', { retention_days: 5 });
      file = `${(await backUpMetadata(server, { force: true }))['backup_id']}.json`;
      name = DIRECTORY + file;
      intact = await store.read(name);
      await configure('orders', { retention_days: 6 });
    });

    async function expectRefused(body: JsonRow = {}): Promise<void> {
      const answer = await restoreMetadata(server, { backup_file: file, overwrite: true, ...body });
      expectError(answer, 500, 'DATA_CORRUPTION', new RegExp(`${file}.*damaged`));
      expect((await configOf('orders'))['retention_days']).toBe(6);
    }

    test.each([0, 5, 20, 80, 90, 200, 0.5, 0.9, -2, -1])('one byte flipped at %d: refused, nothing changes', async (place) => {
      const offset = Number.isInteger(place) ? place : Math.floor(intact.length * place);
      await whileFlipped(store, name, offset, async () => {
        await expectRefused();
        await expectRefused({ validate: true, from_latest: true, backup_file: undefined });
        await expectRefused({ dry_run: true });
      });
    });

    test.each([0, 1, 30, 100, 0.5])('cut to %d: refused', async (length) => {
      const cut = intact.subarray(0, Number.isInteger(length) ? length : Math.floor(intact.length * length));
      await whileReplaced(store, name, cut, async () => {
        await expectRefused();
        await expectRefused({ validate: false });
      });
    });

    test.each(['{}', 'null', '[]', '{"checksum":"x","content":{}}', '{"content":{"format":1}}', '{"content":{"format":2,"entries":{}}}'])(
      '%s in its place: refused, also without validation',
      (text) =>
        whileReplaced(store, name, Buffer.from(text), async () => {
          await expectRefused();
          const answer = await restoreMetadata(server, { backup_file: file, overwrite: true, validate: false });
          expectError(answer, 500, 'DATA_CORRUPTION', new RegExp(file));
        }),
    );

    test('validate: false takes what can be read all the same', async () => {
      const text = intact.toString();
      const changed = text.replace(/("retention_days":)5/, '$14');
      expect(changed).not.toBe(text);
      await whileReplaced(store, name, Buffer.from(changed), async () => {
        await expectRefused();
        await restored({ backup_file: file, overwrite: true, validate: false, filters: { table_pattern: 'orders' } });
        expect((await configOf('orders'))['retention_days']).toBe(4);
      });
    });

    test('it does not count as the newest state: the next backup is written', async () => {
      await whileFlipped(store, name, -10, async () => {
        const { message } = await backUpMetadata(server, {});
        expect(message).not.toMatch(/nothing has changed/);
      });
    });
  });
});

/* ---------------------------------------------------------------------------------------------------------------- gRPC */

describe('gRPC answers the same', () => {
  const instant = (timestamp: GrpcMessage): number => Number(timestamp['seconds']) * 1_000 + Number(timestamp['nanos']) / 1_000_000;

  test('BackupMetadata', async () => {
    await configure('users', { retention_days: 8 });
    const made = await responseOf(grpc.unary('BackupMetadata', {}));
    expect(made).toMatchObject({ success: true, backup_id: expect.stringMatching(METADATA_ID) });
    expect(instant(made['timestamp'] as GrpcMessage)).toBe(instantOf(made['backup_id'] as string));
    const again = await responseOf(grpc.unary('BackupMetadata', { force: false }));
    expect(again).toMatchObject({
      success: true,
      backup_id: made['backup_id'],
      message: expect.stringMatching(/nothing has changed/),
    });
    const forced = await responseOf(grpc.unary('BackupMetadata', { force: true }));
    expect(forced['backup_id']).not.toBe(made['backup_id']);
  });

  test('ListBackups and GetMetadataStatus', async () => {
    for (const days of [0, 7, 365]) {
      const rest = await metadataBackups(server, days === 0 ? '' : `?days=${days}`);
      const { backups, total } = await responseOf(grpc.unary('ListBackups', { days }));
      expect(total).toBe(rest.length);
      expect(
        (backups as GrpcMessage[]).map((backup) => ({
          ...backup,
          timestamp: instant(backup['timestamp'] as GrpcMessage),
          last_modified: instant(backup['last_modified'] as GrpcMessage),
        })),
      ).toEqual(
        rest.map(({ timestamp, last_modified: modified, size, ...backup }) => ({
          ...backup,
          size: String(size),
          timestamp: Date.parse(timestamp as string),
          last_modified: Date.parse(modified as string),
        })),
      );
    }
    const { last_backup: last, next_backup: next, ...rest } = await status();
    const { last_backup: grpcLast, next_backup: grpcNext, ...other } = await responseOf(grpc.unary('GetMetadataStatus', {}));
    expect(other).toEqual(rest);
    expect(instant(grpcLast as GrpcMessage)).toBe(Date.parse(last as string));
    expect({ next, grpcNext }).toEqual({ next: null, grpcNext: null });
    const failed = await grpc.unary('ListBackups', { days: -1 });
    expect(failed).toMatchObject({ ok: false, status: grpcStatus.INVALID_ARGUMENT, errorCode: 'INVALID_ARGUMENT' });
  });

  test('RestoreMetadata', async () => {
    const { backup_id: id } = await backUpMetadata(server, { force: true });
    await configure('users', { retention_days: 9 });
    const request = {
      backup_file: `${id}.json`,
      dry_run: true,
      overwrite: true,
      filters: { table_pattern: 'users' },
      key_patterns: ['table:*'],
    };
    const { duration: _restDuration, ...rest } = await restored(request);
    const { duration, ...dry } = await responseOf(grpc.unary('RestoreMetadata', request));
    expect(duration).toMatch(/^\d+(\.\d+)?m?s$/);
    expect(dry).toEqual(rest);
    expect((await configOf('users'))['retention_days']).toBe(9);
    const real = await responseOf(
      grpc.unary('RestoreMetadata', { from_latest: true, overwrite: true, filters: { table_pattern: 'users' } }),
    );
    expect(real).toMatchObject({
      success: true,
      backup_file: `${id}.json`,
      entries_total: 2,
      entries_ok: 1,
      entries_skipped: 1,
      entries_error: 0,
    });
    expect((await configOf('users'))['retention_days']).toBe(8);
  });

  test('RestoreMetadata: errors', async () => {
    const fail = (request: GrpcMessage): Promise<unknown> => grpc.unary('RestoreMetadata', request);
    expect(await fail({ backup_file: 'nothing.json' })).toMatchObject({ ok: false, status: grpcStatus.NOT_FOUND, errorCode: 'NOT_FOUND' });
    expect(await fail({ key_patterns: ['none:*'] })).toMatchObject({ ok: false, status: grpcStatus.NOT_FOUND });
    expect(await fail({ filters: { unknown: 'x' } })).toMatchObject({ ok: false, status: grpcStatus.INVALID_ARGUMENT });
    const { backup_id: id } = await backUpMetadata(server, { force: true });
    await whileFlipped(store, `${DIRECTORY}${id}.json`, 300, async () => {
      const failure = await fail({ backup_file: `${id}.json` });
      expect(failure).toMatchObject({ ok: false, status: grpcStatus.DATA_LOSS, errorCode: 'DATA_CORRUPTION' });
    });
  });
});

/* ------------------------------------------------------------------------------------------------------------- metrics */

describe('metrics', () => {
  async function counts(): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (const operation of ['backup', 'restore'])
      for (const outcome of ['success', 'error'])
        found[`${operation} ${outcome}`] = await metricOf(server, `miniodb_${operation}_operations_total{status="${outcome}"}`);
    return found;
  }

  test('count backups and restores; a dry run is neither', async () => {
    const before = await counts();
    const { backup_id: id } = await backUpMetadata(server, { force: true });
    await restored({ backup_file: `${id}.json` });
    await restored({ backup_file: `${id}.json`, dry_run: true });
    expectError(await restoreMetadata(server, { backup_file: 'none' }), 404, 'NOT_FOUND', /none/);
    const after = await counts();
    expect(Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]))).toEqual({
      'backup success': 1,
      'backup error': 0,
      'restore success': 1,
      'restore error': 1,
    });
    expect(await metricOf(server, 'miniodb_backup_duration_seconds{type="metadata"}')).toBeGreaterThan(0);
    expect(await metricOf(server, `miniodb_backup_size_bytes{backup_id="${id}"}`)).toBe(
      (await store.list(`${DIRECTORY}${id}.json`)).get(`${DIRECTORY}${id}.json`),
    );
  });

  test('sizes are those of the newest 20 backups', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 22; count += 1) ids.push((await backUpMetadata(server, { force: true }))['backup_id'] as string);
    const { text } = await call(server, 'GET', '/metrics');
    const shown = [...text.matchAll(/^miniodb_backup_size_bytes\{backup_id="([^"]+)"\}/gm)].map(([, id]) => id);
    expect(shown.sort()).toEqual(ids.slice(2));
  });
});

test('more backups than there are names are refused, which is no error of the server', async () => {
  let answer: Answer | undefined;
  // A name is a second, and 60 seconds ahead are tried.
  for (let count = 0; count < 75 && (answer?.status ?? 200) === 200; count += 1)
    answer = await call(server, 'POST', '/v1/metadata/backup', { force: true });
  expectThat([200, 409, 429, 503], answer?.text).toContain(answer?.status);
});
