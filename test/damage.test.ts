/**
 * Damage to one object keeps to what it damaged: a data file, a table's log, an entry of the catalogue, the file of idempotency keys. It is told by name,
 * without a place on the server, in the answer, in health and in the log; everything else goes on, and nothing acknowledged is given up.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import { expectThat } from './support/expectations.js';
import { connectGrpc } from './support/grpc-client.js';
import { eventually, expectStatus, flush, rowsOf, valueOf, write, writeBatch } from './support/requests.js';
import { type Answer, type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';

const CONFIG = {
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 86_400 },
  maintenance: { interval_seconds: 3_600, compaction: false },
  query: { result_cache_bytes_max: 0, small_files_bytes_max: 0 },
};

let dataDir: string;
let server: RunningServer;

beforeEach(async () => {
  dataDir = temporaryDirectory('damage');
  await start();
});

afterEach(() => server.kill());

async function start(): Promise<void> {
  server = await startServer({ dataDir, config: CONFIG, env: { STORAGE: 'local' } });
}

async function restart(change: () => void = () => undefined): Promise<void> {
  await server.kill();
  change();
  await start();
}

function query(sql: string, accept?: string): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql }, accept === undefined ? {} : { accept });
}

function expectDamage(answer: Answer, ...names: string[]): void {
  expectThat(answer.json, answer.text).toMatchObject({ error: 'DATA_CORRUPTION', code: 500 });
  for (const name of names) expect(answer.json.message).toContain(name);
  expect(answer.text).not.toContain(dataDir);
}

async function health(): Promise<{ status: string; details: Record<string, string>; http: number }> {
  const answer = await call(server, 'GET', '/v1/health');
  return { ...(answer.json as { status: string; details: Record<string, string> }), http: answer.status };
}

/** Paths of the objects of a table, those of its log apart. */
function dataFilesOf(table: string): string[] {
  const directory = path.join(dataDir, 'objects', table);
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.parquet') && !name.startsWith('_delta_log'))
    .sort();
}

describe('a damaged data file', () => {
  const rows = Array.from({ length: 200 }, (_, n) => ({ id: `row-${n}`, payload: { n, text: `some text of row ${n}`.repeat(3) } }));

  it.each([
    ['cut', (file: string) => truncateSync(file, 1_000)],
    ['emptied', (file: string) => truncateSync(file, 0)],
    ['removed', (file: string) => renameSync(file, `${file}.away`)],
    [
      'overwritten in the middle',
      (file: string) => {
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.fill(0xa5, 4, bytes.length - 400));
      },
    ],
    [
      'flipped in its footer',
      (file: string) => {
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.fill(0xff, bytes.length - 40, bytes.length - 20));
      },
    ],
  ])('that was %s is DATA_CORRUPTION by table and file at both doors, in health and metrics, until it is back', async (_how, damage) => {
    await writeBatch(server, 'broken', rows);
    await flush(server, 'broken');
    await write(server, 'whole', 'a', { n: 1 });
    await flush(server, 'whole');
    const [name = ''] = dataFilesOf('broken');
    const file = path.join(dataDir, 'objects', 'broken', name);
    const bytes = readFileSync(file);
    await restart(() => damage(file));

    for (const sql of ['SELECT * FROM broken', 'SELECT max(text) FROM broken', 'SELECT b.text FROM broken b JOIN whole w ON true'])
      expectDamage(await query(sql), 'table broken', name);
    const grpc = connectGrpc(server);
    try {
      const failure = await grpc.unary('QueryData', { sql: 'SELECT * FROM broken' });
      expect(failure).toMatchObject({ ok: false, status: grpcStatus.DATA_LOSS, errorCode: 'DATA_CORRUPTION' });
      expect(JSON.stringify(failure)).toContain(name);
      expect(JSON.stringify(failure)).not.toContain(dataDir);
    } finally {
      grpc.close();
    }
    if (!existsSync(file) || readFileSync(file).length !== bytes.length)
      expectDamage(await call(server, 'POST', '/v1/backups', { tables: ['broken'] }), name);
    expect(await rowsOf(server, 'SELECT id FROM whole')).toEqual([{ id: 'a' }]);
    await write(server, 'broken', 'new', { n: 2 });
    const told = await health();
    expectThat(told.status, 'unhealthy when the read path has just met it').toMatch(/^(degraded|unhealthy)$/);
    expect(JSON.stringify(told)).not.toContain(path.basename(name));
    expect(told.details['tables']).toContain('table broken: 1 of its data files damaged or missing');
    expect((await call(server, 'GET', '/metrics')).text).toContain('miniodb_table_damaged_files{table="broken"} 1');

    await restart(() => writeFileSync(file, bytes));
    expect(await valueOf(server, 'SELECT count(*) FROM (SELECT DISTINCT * FROM broken)')).toBe(rows.length + 1);
    expect((await health()).status).toBe('healthy');
  });

  it('is good again in health when its file is put back under a running server', async () => {
    await writeBatch(server, 'broken', rows);
    await flush(server, 'broken');
    const [name = ''] = dataFilesOf('broken');
    const file = path.join(dataDir, 'objects', 'broken', name);
    renameSync(file, `${file}.away`);
    expectDamage(await query('SELECT * FROM broken'), name);
    expect((await health()).details['tables']).toContain('table broken');
    renameSync(`${file}.away`, file);
    await eventually('health', health, ({ status }) => status === 'healthy');
    expect((await query('SELECT * FROM broken')).status).toBe(200);
  });

  it('is not made up by a statement, and a statement is not told where files are', async () => {
    await writeBatch(server, 'broken', rows);
    await flush(server, 'broken');
    const file = path.join(dataDir, 'objects', 'broken', dataFilesOf('broken')[0] ?? '');
    const answer = await query(`SELECT error('Failed to read file "${file}": Parquet') FROM broken`);
    expect(answer.json.error).toBe('INVALID_ARGUMENT');
    expect((await health()).status).toBe('healthy');
  });
});

describe('a table whose log or catalogue entry is damaged', () => {
  it.each([
    ['the newest entry of its log is cut', 'broken/_delta_log', (file: string) => truncateSync(file, 10)],
    ['the newest entry of its log is no action', 'broken/_delta_log', (file: string) => writeFileSync(file, '[1]\n{"metaData":5}\n')],
    ['its log is gone', 'broken/_delta_log', (file: string) => rmSync(path.dirname(file), { recursive: true })],
    ['its catalogue entry is emptied', '_catalogue/broken', (file: string) => truncateSync(file, 0)],
    ['its catalogue entry is something else', '_catalogue/broken', (file: string) => writeFileSync(file, '{"action":"create"}')],
  ])('is out of service alone when %s, and has all its rows when that is back', async (_how, directory, damage) => {
    await write(server, 'broken', 'flushed', { n: 1 });
    await flush(server, 'broken');
    await write(server, 'broken', 'in-the-log', { n: 2 });
    await write(server, 'whole', 'a', { n: 1 });
    const objects = path.join(dataDir, 'objects');
    const [newest = ''] = readdirSync(path.join(objects, directory))
      .filter((name) => name.endsWith('.json'))
      .sort()
      .reverse();
    const file = path.join(objects, directory, newest);
    const kept = path.join(dataDir, 'kept');
    await server.kill();
    cpSync(path.join(objects, directory), kept, { recursive: true });
    damage(file);
    await start();

    const wrong = directory.startsWith('_') ? `${directory}/${newest}` : 'broken';
    expectDamage(await query('SELECT * FROM broken'), 'broken', wrong);
    expectDamage(await call(server, 'POST', '/v1/data', { table: 'broken', id: 'new', payload: {} }), wrong);
    expectDamage(await call(server, 'POST', '/v1/tables', { table_name: 'Broken' }), wrong);
    expectDamage(await call(server, 'GET', '/v1/tables/broken'), wrong);
    const told = await health();
    expect(told).toMatchObject({ status: 'degraded', http: 200 });
    expect(told.details['tables']).toContain('table broken is out of service');
    expect((await call(server, 'GET', '/metrics')).text).toContain('miniodb_tables_out_of_service 1');
    // The log of writes is trimmed for the others, and keeps what is not theirs.
    for (const id of ['b', 'c']) {
      await write(server, 'whole', id, { n: 2 });
      await flush(server, 'whole');
    }
    await restart();
    expect(await valueOf(server, 'SELECT count(*) FROM whole')).toBe(3);

    await restart(() => cpSync(kept, path.join(objects, directory), { recursive: true }));
    expect(await rowsOf(server, 'SELECT id FROM broken ORDER BY id')).toEqual([{ id: 'flushed' }, { id: 'in-the-log' }]);
    expect((await health()).status).toBe('healthy');
    await write(server, 'broken', 'new', { n: 3 });
    expect(await valueOf(server, 'SELECT count(*) FROM broken')).toBe(3);
  });

  it('is out of service alone when a delete meets a data file that cannot be read; the delete holds when the file is back', async () => {
    await write(server, 'broken', 'a', { n: 1 });
    await write(server, 'broken', 'b', { n: 2 });
    await flush(server, 'broken');
    await write(server, 'whole', 'a', { n: 1 });
    const file = path.join(dataDir, 'objects', 'broken', dataFilesOf('broken')[0] ?? '');
    renameSync(file, `${file}.away`);
    const answer = await call(server, 'DELETE', '/v1/data', { table: 'broken', ids: ['a'] });
    expectDamage(answer, 'table broken', path.basename(file));
    expectDamage(await call(server, 'POST', '/v1/data', { table: 'broken', id: 'new', payload: {} }), 'out of service');
    await write(server, 'whole', 'b', { n: 2 });
    await flush(server, 'whole');
    await restart();
    expectDamage(await query('SELECT * FROM broken'), 'out of service', path.basename(file));
    await write(server, 'whole', 'c', { n: 2 });
    expect(await valueOf(server, 'SELECT count(*) FROM whole')).toBe(3);
    await restart(() => renameSync(`${file}.away`, file));
    expect(await rowsOf(server, 'SELECT id FROM broken')).toEqual([{ id: 'b' }]);
  });
});

describe('a damaged file of idempotency keys', () => {
  it('is named by its lines, and the other keys hold', async () => {
    const send = (key: string): Promise<Answer> =>
      call(server, 'POST', '/v1/data', { table: 'keyed', id: key, payload: { n: 1 } }, { 'idempotency-key': key });
    for (const key of ['first', 'second', 'third']) expectStatus(await send(key), 200);
    await flush(server, 'keyed');
    const file = path.join(dataDir, 'wal', 'idempotency.ndjson');
    await restart(() => {
      const lines = readFileSync(file, 'utf8').split('\n');
      expect(lines).toHaveLength(3);
      writeFileSync(file, [lines[0]?.slice(0, 20), lines[1], lines[2]].join('\n'));
    });
    expect(server.output()).toMatch(/idempotency\.ndjson is damaged in line 1: 1 idempotency keys are forgotten/);
    expect(existsSync(`${file}.damaged`)).toBe(true);
    for (const key of ['first', 'second', 'third']) expectStatus(await send(key), 200);
    expectThat(await valueOf(server, 'SELECT count(*) FROM keyed'), 'one of them was forgotten').toBe(4);
    await flush(server, 'keyed');
    await restart();
    expect(server.output()).not.toContain('is damaged');
  });
});

describe('a write-ahead log that is lost as a whole', () => {
  it('is told at every start and in health, with what the tables have of it, until a person accepts it', async () => {
    await write(server, 'kept', 'a', { n: 1 });
    await write(server, 'kept', 'b', { n: 1 });
    await flush(server, 'kept');
    await write(server, 'kept', 'gone', { n: 1 });
    const wal = path.join(dataDir, 'wal');
    const [id = ''] = readFileSync(path.join(wal, 'id'), 'utf8').split('\n');
    expect((await health()).status).toBe('healthy');
    await restart(() => rmSync(wal, { recursive: true }));
    await write(server, 'kept', 'c', { n: 1 });
    await restart();
    expect(server.output()).toContain(`${id} with LSN 1 to`);
    expect(server.output()).toMatch(/up to LSN 2 \(table kept\)/);
    const told = await health();
    expect(told).toMatchObject({ status: 'degraded', http: 200 });
    expect(told.details['former_log']).toContain(id);
    expect(JSON.stringify(told)).not.toContain(dataDir);
    execFileSync('sh', ['-c', /The command is: (mv [^\n"]+)/.exec(server.output())?.[1] ?? 'false']);
    await eventually('health', health, ({ status }) => status === 'healthy');
    await restart();
    expect((await health()).status).toBe('healthy');
    expect(await valueOf(server, 'SELECT count(*) FROM kept')).toBe(3);
  });
});
