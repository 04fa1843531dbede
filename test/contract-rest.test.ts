/**
 * What the REST interface promises, read from the outside: data, idempotency, ids, schema growth, deletes, restores, tables and monitoring.
 * Bulk loads are in contract-rest-bulk.test.ts, queries in contract-rest-queries.test.ts.
 */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { bulk, bulkAnswer, columnTypes, query, restartAfterKill, server, startOther, useOneServer } from './support/one-server.js';
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
import { type Answer, call, type RunningServer } from './support/server.js';
import { objectsAt } from './support/table-objects.js';

const RFC3339_MICROS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const NDJSON = 'application/x-ndjson';

/** What the storage holds of a table, past the server. */
async function objectNamesOf(table: string): Promise<string[]> {
  const { location } = await tableInfo(server, table);
  return (await objectsAt(location as string)).names();
}

useOneServer();

/* --------------------------------------------------------------------------------------------------------------- data */

describe('POST /v1/data', () => {
  test('takes the nested form, the flat form and a batch, and answers what was stored', async () => {
    const nested = expectSuccess(
      await call(server, 'POST', '/v1/data', {
        table: 'forms',
        data: { id: 'user-123', timestamp: '2024-01-01T10:00:00Z', payload: { name: 'John Doe', age: 30, score: 95.5 } },
      }),
    ).json;
    expect(nested).toMatchObject({ success: true, id: 'user-123' });
    expect(nested.node_id).toMatch(/\S/);
    expect(typeof nested.message).toBe('string');
    const flat = await write(server, 'forms', 'user-124', { name: 'Jane' }, '2024-01-01T11:00:00Z');
    expect(flat).toMatchObject({ success: true, id: 'user-124' });
    const batch = await writeBatch(server, 'forms', [
      { id: 'user-125', payload: { name: 'Bea' }, timestamp: '2024-01-01T12:00:00Z' },
      { id: 'user-126', payload: { name: 'Cy' }, timestamp: '2024-01-01T13:00:00Z' },
    ]);
    expect(batch).toMatchObject({ success: true, ids: ['user-125', 'user-126'], count: 2 });
    const lsns = [nested.lsn, flat['lsn'], batch['lsn']].map((lsn) => BigInt(lsn));
    expectThat(lsns[0]! < lsns[1]! && lsns[1]! < lsns[2]!, `lsns ${lsns.join()}`).toBe(true);
    expect(await rowsOf(server, 'SELECT * FROM forms ORDER BY timestamp')).toEqual([
      { id: 'user-123', timestamp: '2024-01-01T10:00:00.000000Z', name: 'John Doe', age: 30, score: 95.5 },
      { id: 'user-124', timestamp: '2024-01-01T11:00:00.000000Z', name: 'Jane', age: null, score: null },
      { id: 'user-125', timestamp: '2024-01-01T12:00:00.000000Z', name: 'Bea', age: null, score: null },
      { id: 'user-126', timestamp: '2024-01-01T13:00:00.000000Z', name: 'Cy', age: null, score: null },
    ]);
  });

  test('reads packed bodies', async () => {
    for (const [encoding, pack] of [
      ['gzip', gzipSync],
      ['X-GZIP', gzipSync],
      ['deflate', deflateSync],
      ['br', brotliCompressSync],
    ] as const) {
      const body = pack(JSON.stringify({ table: 'packed', id: encoding, payload: {} }));
      const headers = { 'content-type': 'application/json', 'content-encoding': encoding };
      const response = await fetch(`${server.rest}/v1/data`, { method: 'POST', headers, body: new Uint8Array(body) });
      expectThat(response.status, encoding).toBe(200);
    }
    expect(await countOf(server, 'packed')).toBe(4);
  });

  test('stores instants: zones are honoured, milliseconds since 1970 and microseconds are kept, a missing one is now', async () => {
    const given: [string, unknown][] = [
      ['zone', '2024-01-01T12:00:00+02:00'],
      ['west', '2024-01-01T04:30:00-05:30'],
      ['millis', 1_704_103_200_000],
      ['micros', '2024-01-01T10:00:00.123456Z'],
      ['before', '1969-12-31T23:59:59.999999Z'],
    ];
    for (const [id, timestamp] of given)
      expectSuccess(await call(server, 'POST', '/v1/data', { table: 'instants', id, timestamp, payload: {} }));
    const startedMs = Date.now();
    await write(server, 'instants', 'now');
    const rows = Object.fromEntries(
      (await rowsOf(server, 'SELECT id, timestamp FROM instants')).map((row) => [row['id'], row['timestamp']]),
    );
    const now = rows['now'] as string;
    expect(rows).toEqual({
      zone: '2024-01-01T10:00:00.000000Z',
      west: '2024-01-01T10:00:00.000000Z',
      millis: '2024-01-01T10:00:00.000000Z',
      micros: '2024-01-01T10:00:00.123456Z',
      before: '1969-12-31T23:59:59.999999Z',
      now,
    });
    expect(now).toMatch(RFC3339_MICROS);
    expect(Math.abs(Date.parse(now) - startedMs)).toBeLessThan(10_000);
  });

  test('gives each JSON value its column type and the value back', async () => {
    await write(server, 'kinds', 'a', {
      whole: 7,
      fraction: 1.5,
      yes: true,
      text: 'ü€😀',
      nested: { deep: [1, { x: null }] },
      list: [1, 'two', false],
      nothing: null,
    });
    expectSuccess(
      await call(server, 'POST', '/v1/data', '{"table":"kinds","id":"b","payload":{"exponent":1e2,"point_zero":10.0,"minus_zero":-0.0}}'),
    );
    expect(columnTypes(await tableInfo(server, 'kinds'))).toEqual({
      id: 'VARCHAR',
      timestamp: expect.stringMatching(/^TIMESTAMP/),
      whole: 'BIGINT',
      fraction: 'DOUBLE',
      yes: 'BOOLEAN',
      text: 'VARCHAR',
      nested: 'JSON',
      list: 'JSON',
      exponent: 'DOUBLE',
      point_zero: 'DOUBLE',
      minus_zero: 'DOUBLE',
    });
    const [row = {}] = await rowsOf(server, `SELECT * FROM kinds WHERE id = 'a'`);
    expect(row).toMatchObject({ whole: 7, fraction: 1.5, yes: true, text: 'ü€😀', exponent: null });
    const nested = (value: unknown): unknown => (typeof value === 'string' ? (JSON.parse(value) as unknown) : value);
    expect(nested(row['nested'])).toEqual({ deep: [1, { x: null }] });
    expect(nested(row['list'])).toEqual([1, 'two', false]);
    expect(await valueOf(server, `SELECT nested->'$.deep[0]' FROM kinds WHERE id = 'a'`)).toBeTruthy();
    expect(row).not.toHaveProperty('nothing');
  });

  test('takes field names that mean something to JavaScript or SQL as plain names', async () => {
    const payload = '{"constructor":1,"toString":2,"hasOwnProperty":3,"select":4,"from":5,"a.b":6,"a\'b":7,"été":8,"rowid":9,"length":10}';
    expectSuccess(await call(server, 'POST', '/v1/data', `{"table":"odd_names","id":"a","payload":${payload}}`));
    await flush(server, 'odd_names');
    const [row] = await rowsOf(server, 'SELECT * EXCLUDE (id, timestamp) FROM odd_names');
    expect(row).toEqual(JSON.parse(payload));
  });

  test('__proto__ as a field is stored or refused, and changes nothing else', async () => {
    const answer = await call(server, 'POST', '/v1/data', '{"table":"proto","id":"a","payload":{"__proto__":{"polluted":1},"x":1}}');
    if (answer.status === 400) expectError(answer, 400, 'INVALID_ARGUMENT', /__proto__/);
    else expect(JSON.stringify(await rowsOf(server, 'SELECT * FROM proto'))).toContain('polluted');
  });

  test('field names of any case are one column', async () => {
    await write(server, 'cases', 'a', { Age: 1 });
    await write(server, 'cases', 'b', { AGE: 2 });
    expect(Object.keys(columnTypes(await tableInfo(server, 'cases')))).toEqual(['id', 'timestamp', 'Age']);
    expect(await valueOf(server, 'SELECT sum(aGe) FROM cases')).toBe(3);
  });

  test('a batch is atomic: one bad record and nothing is stored, no column is made', async () => {
    await write(server, 'atomic', 'a', { age: 1 });
    const answer = await call(server, 'POST', '/v1/data', {
      table: 'atomic',
      records: [
        { id: 'b', payload: { age: 2, fresh: 1 } },
        { id: 'c', payload: { age: 'x' } },
      ],
    });
    expectError(answer, 400, 'INVALID_ARGUMENT', /column age is BIGINT, got "x"/);
    expect(await rowsOf(server, 'SELECT * EXCLUDE timestamp FROM atomic')).toEqual([{ id: 'a', age: 1 }]);
  });

  test('a refused first write makes no table', async () => {
    expect((await call(server, 'POST', '/v1/data', { table: 'never_made', id: 'a\x7fb', payload: {} })).status).toBe(400);
    expect((await call(server, 'GET', '/v1/tables/never_made')).status).toBe(404);
  });

  test('two writes of an id are two rows; each write is visible to the very next query', async () => {
    for (let n = 1; n <= 20; n += 1) {
      await write(server, 'visible', 'same', { n });
      expect(await valueOf(server, 'SELECT max(n) FROM visible')).toBe(n);
    }
    expect(await countOf(server, 'visible')).toBe(20);
  });

  test('ack=flushed answers when the rows are in the object store', async () => {
    expectSuccess(await call(server, 'POST', '/v1/data?ack=flushed', { table: 'flushed', id: 'a', payload: { n: 1 } }));
    const { stats } = await tableInfo(server, 'flushed');
    expect(stats).toMatchObject({ record_count: 1, buffered_records: 0, file_count: 1 });
    const names = await objectNamesOf('flushed');
    expect(names.filter((name) => name.endsWith('.parquet'))).toHaveLength(1);
    expect(await countOf(server, 'flushed')).toBe(1);
  });

  test('with tables.auto_create off a write to an unknown table is refused', async () => {
    const strict = await startOther({ config: { log: { file: '' }, tables: { auto_create: false } } });
    expectError(await call(strict, 'POST', '/v1/data', { table: 'unknown', id: 'a', payload: {} }), 404, 'NOT_FOUND', /unknown/);
    expect((await call(strict, 'GET', '/v1/tables')).json.total).toBe(0);
  });

  test('acknowledged rows survive SIGKILL, once each', async () => {
    const first = await startOther();
    await createTable(first, 'durable', { buffer_size: 50 });
    for (let batch = 0; batch < 12; batch += 1) {
      await writeBatch(
        first,
        'durable',
        Array.from({ length: 10 }, (_, index) => ({ id: `r-${batch}-${index}`, payload: { batch } })),
      );
    }
    const second = await restartAfterKill(first);
    expect(await rowsOf(second, 'SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM durable')).toEqual([{ rows: 120, ids: 120 }]);
  });
});

describe('schema growth and widening', () => {
  test('a new field is a new column, NULL in the rows before it, also in those in data files', async () => {
    await write(server, 'growth', 'a', { one: 1 });
    await flush(server, 'growth');
    await write(server, 'growth', 'b', { one: 2, two: 'x' });
    expect(await rowsOf(server, 'SELECT id, one, two FROM growth ORDER BY id')).toEqual([
      { id: 'a', one: 1, two: null },
      { id: 'b', one: 2, two: 'x' },
    ]);
    await flush(server, 'growth');
    expect(await rowsOf(server, 'SELECT id, one, two FROM growth ORDER BY id')).toEqual([
      { id: 'a', one: 1, two: null },
      { id: 'b', one: 2, two: 'x' },
    ]);
  });

  test('a fraction widens a BIGINT column to DOUBLE, rows in files and buffer included', async () => {
    await write(server, 'widening', 'a', { n: 1 });
    await flush(server, 'widening');
    await write(server, 'widening', 'b', { n: 9_007_199_254_740_992 });
    await write(server, 'widening', 'c', { n: 2.5 });
    expect(columnTypes(await tableInfo(server, 'widening'))).toMatchObject({ n: 'DOUBLE' });
    const expected = [
      { id: 'a', n: 1 },
      { id: 'b', n: 9_007_199_254_740_992 },
      { id: 'c', n: 2.5 },
    ];
    expect(await rowsOf(server, 'SELECT id, n FROM widening ORDER BY id')).toEqual(expected);
    await flush(server, 'widening');
    expect(await rowsOf(server, 'SELECT id, n FROM widening ORDER BY id')).toEqual(expected);
  });

  test('a fraction is refused when the column holds an integer that DOUBLE cannot', async () => {
    expectSuccess(await call(server, 'POST', '/v1/data', '{"table":"exact","id":"a","payload":{"n":9007199254740993}}'));
    expectError(
      await call(server, 'POST', '/v1/data', { table: 'exact', id: 'b', payload: { n: 0.5 } }),
      400,
      'INVALID_ARGUMENT',
      /\bn\b.*BIGINT/,
    );
    await flush(server, 'exact');
    expectError(
      await call(server, 'POST', '/v1/data', { table: 'exact', id: 'b', payload: { n: 0.5 } }),
      400,
      'INVALID_ARGUMENT',
      /\bn\b.*BIGINT/,
    );
    expect((await query('SELECT n FROM exact')).text).toContain('9007199254740993');
  });

  test('values keep their columns after a restart', async () => {
    const first = await startOther();
    await write(first, 'kept', 'a', { n: 1, s: 'x' });
    await write(first, 'kept', 'b', { n: 1.5 });
    const second = await restartAfterKill(first);
    expect(columnTypes(await tableInfo(second, 'kept'))).toMatchObject({ n: 'DOUBLE', s: 'VARCHAR' });
    expectError(
      await call(second, 'POST', '/v1/data', { table: 'kept', id: 'c', payload: { s: 5 } }),
      400,
      'INVALID_ARGUMENT',
      /s.*VARCHAR/,
    );
    expect(await rowsOf(second, 'SELECT id, n, s FROM kept ORDER BY id')).toEqual([
      { id: 'a', n: 1, s: 'x' },
      { id: 'b', n: 1.5, s: null },
    ]);
  });
});

/* ------------------------------------------------------------------------------------------------- updates and deletes */

describe('PUT /v1/data', () => {
  test('replaces every row of the id, in files and in the buffer, and creates it when there is none', async () => {
    await write(server, 'replaced', 'a', { n: 1, kept: 'no' });
    await flush(server, 'replaced');
    await write(server, 'replaced', 'a', { n: 2 });
    await write(server, 'replaced', 'b', { n: 9 });
    const answer = expectSuccess(
      await call(server, 'PUT', '/v1/data', { table: 'replaced', id: 'a', payload: { n: 3 }, timestamp: '2024-01-02T10:00:00Z' }),
    );
    expect(answer.json).toMatchObject({ success: true, id: 'a' });
    expect(await rowsOf(server, `SELECT * FROM replaced WHERE id = 'a'`)).toEqual([
      { id: 'a', timestamp: '2024-01-02T10:00:00.000000Z', n: 3, kept: null },
    ]);
    expectSuccess(await call(server, 'PUT', '/v1/data', { table: 'replaced', id: 'new', payload: { n: 4 } }));
    expect(await rowsOf(server, 'SELECT id, n FROM replaced ORDER BY id')).toEqual([
      { id: 'a', n: 3 },
      { id: 'b', n: 9 },
      { id: 'new', n: 4 },
    ]);
    const [{ timestamp } = {}] = await rowsOf(server, `SELECT timestamp FROM replaced WHERE id = 'new'`);
    expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(10_000);
  });

  test('partial merges into the newest version and keeps its timestamp', async () => {
    await write(server, 'merged', 'a', { n: 1, s: 'old' }, '2024-01-01T00:00:00Z');
    await flush(server, 'merged');
    await write(server, 'merged', 'a', { n: 2, s: 'newest' }, '2024-03-01T00:00:00Z');
    await write(server, 'merged', 'a', { n: 3, s: 'middle' }, '2024-02-01T00:00:00Z');
    expectSuccess(await call(server, 'PUT', '/v1/data', { table: 'merged', id: 'a', payload: { n: 20, more: true }, partial: true }));
    expect(await rowsOf(server, 'SELECT * FROM merged')).toEqual([
      { id: 'a', timestamp: '2024-03-01T00:00:00.000000Z', n: 20, s: 'newest', more: true },
    ]);
    await flush(server, 'merged');
    expectSuccess(
      await call(server, 'PUT', '/v1/data', {
        table: 'merged',
        id: 'a',
        payload: { s: 'later' },
        partial: true,
        timestamp: '2024-04-01T00:00:00Z',
      }),
    );
    expect(await rowsOf(server, 'SELECT * FROM merged')).toEqual([
      { id: 'a', timestamp: '2024-04-01T00:00:00.000000Z', n: 20, s: 'later', more: true },
    ]);
  });

  test('a replaced row stays replaced after SIGKILL', async () => {
    const first = await startOther();
    await write(first, 'replayed', 'a', { n: 1 });
    await flush(first, 'replayed');
    expectSuccess(await call(first, 'PUT', '/v1/data', { table: 'replayed', id: 'a', payload: { n: 2 } }));
    const second = await restartAfterKill(first);
    expect(await rowsOf(second, 'SELECT id, n FROM replayed')).toEqual([{ id: 'a', n: 2 }]);
  });
});

describe('DELETE /v1/data and restore', () => {
  const remove = (table: string, body: JsonRow): Promise<Answer> => call(server, 'DELETE', '/v1/data', { table, ...body });

  async function threeRowsOfTwoIds(table: string): Promise<void> {
    await write(server, table, 'a', { n: 1 }, '2024-01-01T00:00:00Z');
    await write(server, table, 'b', { n: 2 }, '2024-01-01T00:00:00Z');
    await flush(server, table);
    await write(server, table, 'a', { n: 3 }, '2024-01-02T00:00:00Z');
  }

  test('a hard delete answers the exact count, and again 0', async () => {
    await threeRowsOfTwoIds('hard');
    expect(expectSuccess(await remove('hard', { id: 'a', soft_delete: false })).json).toMatchObject({ success: true, deleted_count: 2 });
    expect(await rowsOf(server, 'SELECT id, n FROM hard')).toEqual([{ id: 'b', n: 2 }]);
    expect((await remove('hard', { id: 'a', soft_delete: false })).json.deleted_count).toBe(0);
    expect(expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: 'hard', id: 'a' })).json.restored_count).toBe(0);
    expect(await countOf(server, 'hard')).toBe(1);
  });

  test('takes several ids at once, and query parameters instead of a body', async () => {
    await threeRowsOfTwoIds('several');
    await write(server, 'several', 'c', { n: 4 });
    await write(server, 'several', 'd', { n: 5 });
    expect((await remove('several', { ids: ['a', 'b', 'missing'], soft_delete: false })).json.deleted_count).toBe(3);
    expect(expectSuccess(await call(server, 'DELETE', '/v1/data?table=several&id=c&soft_delete=false')).json.deleted_count).toBe(1);
    expect(await rowsOf(server, 'SELECT id FROM several')).toEqual([{ id: 'd' }]);
  });

  test('soft deleted rows are hidden, counted, and come back by restore with their values', async () => {
    await threeRowsOfTwoIds('soft');
    expect((await remove('soft', { id: 'a', soft_delete: true })).json.deleted_count).toBe(2);
    expect(await rowsOf(server, 'SELECT id, n FROM soft')).toEqual([{ id: 'b', n: 2 }]);
    expect((await remove('soft', { id: 'a', soft_delete: true })).json.deleted_count).toBe(0);
    expect((await tableInfo(server, 'soft'))['stats']).toMatchObject({ record_count: 1, deleted_records: 2 });
    await flush(server, 'soft');
    expect(await countOf(server, 'soft')).toBe(1);
    const restored = expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: 'soft', ids: ['a', 'b'] }));
    expect(restored.json).toMatchObject({ success: true, restored_count: 2 });
    expect(await rowsOf(server, 'SELECT id, n, timestamp FROM soft ORDER BY n')).toEqual([
      { id: 'a', n: 1, timestamp: '2024-01-01T00:00:00.000000Z' },
      { id: 'b', n: 2, timestamp: '2024-01-01T00:00:00.000000Z' },
      { id: 'a', n: 3, timestamp: '2024-01-02T00:00:00.000000Z' },
    ]);
    expect((await tableInfo(server, 'soft'))['stats']).toMatchObject({ record_count: 3, deleted_records: 0 });
  });

  test('a hard delete counts visible rows only and makes soft deleted ones of the id unrestorable', async () => {
    await threeRowsOfTwoIds('buried');
    await remove('buried', { id: 'a', soft_delete: true });
    await write(server, 'buried', 'a', { n: 9 });
    expect((await remove('buried', { id: 'a', soft_delete: false })).json.deleted_count).toBe(1);
    expect((await call(server, 'POST', '/v1/data/restore', { table: 'buried', id: 'a' })).json.restored_count).toBe(0);
    expect(await rowsOf(server, 'SELECT id FROM buried')).toEqual([{ id: 'b' }]);
  });

  test('deletes and restores survive SIGKILL', async () => {
    const first = await startOther();
    for (const id of ['hard', 'soft', 'back', 'stays']) await write(first, 'gone', id, { n: 1 });
    await flush(first, 'gone');
    const removeAt = async (body: JsonRow): Promise<void> =>
      void expectSuccess(await call(first, 'DELETE', '/v1/data', { table: 'gone', ...body }));
    await removeAt({ id: 'hard', soft_delete: false });
    await removeAt({ ids: ['soft', 'back'], soft_delete: true });
    expectSuccess(await call(first, 'POST', '/v1/data/restore', { table: 'gone', id: 'back' }));
    const second = await restartAfterKill(first);
    expect((await rowsOf(second, 'SELECT id FROM gone ORDER BY id')).map((row) => row['id'] as string)).toEqual(['back', 'stays']);
    expect((await call(second, 'POST', '/v1/data/restore', { table: 'gone', ids: ['hard', 'soft'] })).json.restored_count).toBe(1);
    expect(await countOf(second, 'gone')).toBe(3);
  });
});

test('an id with a zero byte is one like any other to delete, restore and recover, also when the log is replayed', async () => {
  const own = await startOther();
  await write(own, 'zero', 'a', { v: 1 });
  for (const ids of [['\0'], ['a\0', "'\0'"]]) {
    for (const soft of [true, false]) {
      const answer = expectStatus(await call(own, 'DELETE', '/v1/data', { table: 'zero', ids, soft_delete: soft }), 200);
      expect(answer.json.deleted_count).toBe(0);
    }
    expect(expectStatus(await call(own, 'POST', '/v1/data/restore', { table: 'zero', ids }), 200).json.restored_count).toBe(0);
  }
  expectStatus(await call(own, 'DELETE', '/v1/data?table=zero&id=%00'), 200);
  const again = await restartAfterKill(own);
  expect(await countOf(again, 'zero')).toBe(1);
  await createTable(again, 'any_id', { id_validation: { pattern: '[^x]+' } });
  await write(again, 'any_id', 'b\0c', { v: 2 });
  await flush(again, 'any_id');
  await write(again, 'any_id', 'b\0c', { v: 3 });
  expect(expectStatus(await call(again, 'DELETE', '/v1/data', { table: 'any_id', id: 'b\0c' }), 200).json.deleted_count).toBe(2);
  expect(await countOf(again, 'any_id')).toBe(0);
});

describe('write_mode upsert', () => {
  test('keeps one row of each id: the last that arrived, whatever its timestamp, in files and buffer', async () => {
    await createTable(server, 'newest', { write_mode: 'upsert' });
    await write(server, 'newest', 'a', { n: 1, s: 'x' }, '2024-05-01T00:00:00Z');
    await write(server, 'newest', 'a', { n: 2 }, '2024-04-01T00:00:00Z');
    expect(await rowsOf(server, 'SELECT * FROM newest')).toEqual([{ id: 'a', timestamp: '2024-04-01T00:00:00.000000Z', n: 2, s: null }]);
    await flush(server, 'newest');
    await writeBatch(server, 'newest', [
      { id: 'a', payload: { n: 3 } },
      { id: 'b', payload: { n: 4 } },
      { id: 'b', payload: { n: 5 } },
    ]);
    const expected = [
      { id: 'a', n: 3 },
      { id: 'b', n: 5 },
    ];
    expect(await rowsOf(server, 'SELECT id, n FROM newest ORDER BY id')).toEqual(expected);
    await flush(server, 'newest');
    expect(await rowsOf(server, 'SELECT id, n FROM newest ORDER BY id')).toEqual(expected);
    expect((await tableInfo(server, 'newest'))['stats'].record_count).toBe(2);
  });

  test('a bulk load replaces rows too', async () => {
    await createTable(server, 'newest_bulk', { write_mode: 'upsert' });
    await write(server, 'newest_bulk', 'a', { n: 1 });
    await flush(server, 'newest_bulk');
    await write(server, 'newest_bulk', 'b', { n: 1 });
    await bulk('newest_bulk', '{"id":"a","n":2}\n{"id":"b","n":2}\n{"id":"c","n":2}\n{"id":"c","n":3}\n');
    expect(await rowsOf(server, 'SELECT id, n FROM newest_bulk ORDER BY id')).toEqual([
      { id: 'a', n: 2 },
      { id: 'b', n: 2 },
      { id: 'c', n: 3 },
    ]);
  });

  test('restore finds one row among many that were replaced', async () => {
    await createTable(server, 'replaced_soft', { write_mode: 'upsert' });
    const rows = (ids: number[], n: number): object[] =>
      ids.map((id) => ({ id: `e_${id}`, timestamp: '2024-01-01T00:00:00Z', payload: { n } }));
    const everyThird = [3, 6, 9, 12, 15, 18, 21, 24];
    await writeBatch(server, 'replaced_soft', rows([...Array(32).keys()], 1));
    await writeBatch(server, 'replaced_soft', rows(everyThird, 2));
    await call(server, 'DELETE', '/v1/data', { table: 'replaced_soft', id: 'e_31', soft_delete: true });
    const restored = await call(server, 'POST', '/v1/data/restore', { table: 'replaced_soft', id: 'e_31' });
    expectThat(restored.json, restored.text).toMatchObject({ restored_count: 1 });
    expect(await rowsOf(server, "SELECT n FROM replaced_soft WHERE id = 'e_31'")).toEqual([{ n: 1 }]);
  });

  test('restore brings back the newest, and is a conflict while a live row of the id exists', async () => {
    await createTable(server, 'newest_soft', { write_mode: 'upsert' });
    await write(server, 'newest_soft', 'a', { n: 1 });
    await call(server, 'DELETE', '/v1/data', { table: 'newest_soft', id: 'a', soft_delete: true });
    await write(server, 'newest_soft', 'a', { n: 2 });
    expectError(await call(server, 'POST', '/v1/data/restore', { table: 'newest_soft', id: 'a' }), 409, 'CONFLICT', /\ba\b/);
    await call(server, 'DELETE', '/v1/data', { table: 'newest_soft', id: 'a', soft_delete: true });
    expect((await call(server, 'POST', '/v1/data/restore', { table: 'newest_soft', id: 'a' })).json.restored_count).toBe(1);
    expect(await rowsOf(server, 'SELECT id, n FROM newest_soft')).toEqual([{ id: 'a', n: 2 }]);
  });

  test('survives SIGKILL with one row of each id', async () => {
    const first = await startOther();
    await createTable(first, 'newest', { write_mode: 'upsert', buffer_size: 7 });
    for (let n = 0; n < 30; n += 1) await write(first, 'newest', `id-${n % 5}`, { n });
    const second = await restartAfterKill(first);
    expect((await rowsOf(second, 'SELECT n FROM newest ORDER BY n')).map((row) => row['n'] as number)).toEqual([25, 26, 27, 28, 29]);
    expect((await tableInfo(second, 'newest'))['config'].write_mode).toBe('upsert');
  });
});

/* ------------------------------------------------------------------------------------------------------------ idempotency */

describe('Idempotency-Key', () => {
  const keyed = (
    door: { rest: string },
    key: string,
    method: string,
    url: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> => call(door, method, url, body, { 'idempotency-key': key, ...headers });

  test('the same request again gives the same answer and no second row', async () => {
    const body = { table: 'once', id: 'a', payload: { n: 1 } };
    const first = expectSuccess(await keyed(server, 'k-1', 'POST', '/v1/data', body));
    const second = expectSuccess(await keyed(server, 'k-1', 'POST', '/v1/data', body));
    expect(second.json).toEqual(first.json);
    expect(second.status).toBe(first.status);
    expect(await countOf(server, 'once')).toBe(1);
    expectSuccess(await keyed(server, 'k-2', 'POST', '/v1/data', body));
    expect(await countOf(server, 'once')).toBe(2);
  });

  test('a generated id is the same one', async () => {
    await createTable(server, 'once_generated', { id_strategy: 'uuid' });
    const body = { table: 'once_generated', payload: { n: 1 } };
    const ids = [await keyed(server, 'g-1', 'POST', '/v1/data', body), await keyed(server, 'g-1', 'POST', '/v1/data', body)].map(
      (answer) => answer.json.id as string,
    );
    expect(ids[0]).toMatch(/\S/);
    expect(ids[1]).toBe(ids[0]);
  });

  test('the key with another body is a conflict and stores nothing', async () => {
    expectSuccess(await keyed(server, 'k-3', 'POST', '/v1/data', { table: 'reuse', id: 'a', payload: { n: 1 } }));
    expectError(
      await keyed(server, 'k-3', 'POST', '/v1/data', { table: 'reuse', id: 'a', payload: { n: 2 } }),
      409,
      'CONFLICT',
      /idempotency/i,
    );
    expectError(
      await keyed(server, 'k-3', 'PUT', '/v1/data', { table: 'reuse', id: 'a', payload: { n: 1 } }),
      409,
      'CONFLICT',
      /idempotency/i,
    );
    expect(await rowsOf(server, 'SELECT id, n FROM reuse')).toEqual([{ id: 'a', n: 1 }]);
  });

  test('twenty at once with one key: one row, twenty times the same answer', async () => {
    const body = { table: 'storm', id: 'a', payload: { n: 1 } };
    const answers = await Promise.all(Array.from({ length: 20 }, () => keyed(server, 'storm-1', 'POST', '/v1/data', body)));
    for (const answer of answers) expect(expectSuccess(answer).json).toEqual(answers[0]!.json);
    expect(await countOf(server, 'storm')).toBe(1);
  });

  test('batches, updates, deletes and bulk loads too', async () => {
    const records = [
      { id: 'a', payload: { n: 1 } },
      { id: 'b', payload: { n: 2 } },
    ];
    const batch = await keyed(server, 'all-1', 'POST', '/v1/data', { table: 'all_kinds', records });
    expect((await keyed(server, 'all-1', 'POST', '/v1/data', { table: 'all_kinds', records })).json).toEqual(batch.json);
    const lines = '{"id":"c","n":3}\n{"id":"d","n":4}\n';
    const loads = [0, 1].map(
      () => () => keyed(server, 'all-2', 'POST', '/v1/data/bulk?table=all_kinds', lines, { 'content-type': NDJSON }),
    );
    const loaded = [expectSuccess(await loads[0]!()), expectSuccess(await loads[1]!())];
    expect(loaded[1]!.json).toEqual(loaded[0]!.json);
    expect(await countOf(server, 'all_kinds')).toBe(4);
    const erase = { table: 'all_kinds', id: 'a', soft_delete: false };
    expect((await keyed(server, 'all-3', 'DELETE', '/v1/data', erase)).json.deleted_count).toBe(1);
    expect((await keyed(server, 'all-3', 'DELETE', '/v1/data', erase)).json.deleted_count).toBe(1);
    const update = { table: 'all_kinds', id: 'b', payload: { n: 9 } };
    const updated = await keyed(server, 'all-4', 'PUT', '/v1/data', update);
    await write(server, 'all_kinds', 'b', { n: 10 });
    expect((await keyed(server, 'all-4', 'PUT', '/v1/data', update)).json).toEqual(updated.json);
    expect(await rowsOf(server, `SELECT n FROM all_kinds WHERE id = 'b' ORDER BY n`)).toEqual([{ n: 9 }, { n: 10 }]);
  });

  test('a bulk load with the key of another body is a conflict, and stores nothing', async () => {
    const load = (lines: string): Promise<Answer> =>
      keyed(server, 'bulk-key', 'POST', '/v1/data/bulk?table=bulk_reuse', lines, { 'content-type': NDJSON });
    expectSuccess(await load('{"id":"a","n":1}\n'));
    expectError(await load('{"id":"b","n":2}\n'), 409, 'CONFLICT', /idempotency/i);
    expect(await rowsOf(server, 'SELECT id FROM bulk_reuse')).toEqual([{ id: 'a' }]);
  });

  test('a bulk load that left rows out answers the same list again', async () => {
    const load = (): Promise<Answer> =>
      keyed(
        server,
        'bulk-skip',
        'POST',
        '/v1/data/bulk?table=bulk_skip_again&on_error=skip',
        '{"id":"a","n":1}\nno json\n{"id":"b\x7fb"}\n',
        {
          'content-type': NDJSON,
        },
      );
    const [first, second] = [expectSuccess(await load()), expectSuccess(await load())];
    expect(first.json).toMatchObject({ count: 1, refused_count: 2 });
    expect(second.json).toEqual(first.json);
    expect(await countOf(server, 'bulk_skip_again')).toBe(1);
  });

  test('a request that was refused may be mended and sent again with its key', async () => {
    expect((await keyed(server, 'mended', 'POST', '/v1/data', { table: 'mended', id: 'a\x7fb', payload: {} })).status).toBe(400);
    expectSuccess(await keyed(server, 'mended', 'POST', '/v1/data', { table: 'mended', id: 'ab', payload: {} }));
    expect(await countOf(server, 'mended')).toBe(1);
  });

  test('is remembered across SIGKILL, whether the row is in the WAL or in a data file', async () => {
    const first = await startOther();
    const bodies = ['wal', 'file'].map((table) => ({ table, id: 'a', payload: { n: 1 } }));
    const before = await Promise.all(bodies.map((body) => keyed(first, `key-${body.table}`, 'POST', '/v1/data', body)));
    await flush(first, 'file');
    const second = await restartAfterKill(first);
    const after = await Promise.all(bodies.map((body) => keyed(second, `key-${body.table}`, 'POST', '/v1/data', body)));
    expect(after.map((answer) => answer.json)).toEqual(before.map((answer) => answer.json));
    expect([await countOf(second, 'wal'), await countOf(second, 'file')]).toEqual([1, 1]);
    expectError(
      await keyed(second, 'key-wal', 'POST', '/v1/data', { table: 'wal', id: 'b', payload: {} }),
      409,
      'CONFLICT',
      /idempotency/i,
    );
  });

  test('a request cut by a crash before its answer may be sent again and is stored once', async () => {
    for (const point of ['wal.before-sync', 'wal.after-sync', 'apply.after']) {
      const first = await startOther({ env: { MINIODB_FAULT_POINT: `${point}:2` } });
      await createTable(first, 'cut');
      const body = { table: 'cut', id: 'a', payload: { n: 1 } };
      await keyed(first, 'warm-up', 'POST', '/v1/data', body).catch(() => undefined);
      await keyed(first, 'cut', 'POST', '/v1/data', body).catch(() => undefined);
      await first.exited;
      const second = await startOther({ dataDir: first.dataDir });
      for (const key of ['warm-up', 'cut', 'cut']) expectSuccess(await keyed(second, key, 'POST', '/v1/data', body));
      expectThat(await countOf(second, 'cut'), point).toBe(2);
      await second.kill();
    }
  });
});

/* --------------------------------------------------------------------------------------------------------------------- ids */

describe('id strategies and id rules', () => {
  const add = (table: string, id?: string): Promise<Answer> => call(server, 'POST', '/v1/data', { table, id, payload: {} });
  const generated = async (table: string, times: number): Promise<string[]> => {
    const ids: string[] = [];
    for (let index = 0; index < times; index += 1) ids.push(expectSuccess(await add(table)).json.id as string);
    return ids;
  };

  test('user_provided refuses a record without an id', async () => {
    await createTable(server, 'ids_given', { id_strategy: 'user_provided' });
    expectError(await add('ids_given'), 400, 'INVALID_ARGUMENT', /\bid\b/);
    expect(await countOf(server, 'ids_given')).toBe(0);
  });

  test('uuid makes UUIDs, and takes an id that is given', async () => {
    await createTable(server, 'ids_uuid', { id_strategy: 'uuid' });
    const ids = await generated('ids_uuid', 5);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(expectSuccess(await add('ids_uuid', 'mine')).json.id).toBe('mine');
    expect((await rowsOf(server, 'SELECT id FROM ids_uuid')).map((row) => row['id'] as string).sort()).toEqual([...ids, 'mine'].sort());
  });

  test('snowflake makes growing numbers, also within one batch', async () => {
    await createTable(server, 'ids_snowflake', { id_strategy: 'snowflake' });
    const ids = await generated('ids_snowflake', 5);
    const batch = await writeBatch(
      server,
      'ids_snowflake',
      Array.from({ length: 5_000 }, () => ({ payload: {} })),
    );
    const all = [...ids, ...(batch['ids'] as string[])].map(BigInt);
    expect(all.every((id, index) => index === 0 || id > all[index - 1]!)).toBe(true);
    expect(await valueOf(server, 'SELECT count(DISTINCT id) FROM ids_snowflake')).toBe(5_005);
  });

  test('custom puts the prefix of the table in front', async () => {
    await createTable(server, 'ids_custom', { id_strategy: 'custom', id_prefix: 'order-' });
    const ids = await generated('ids_custom', 5);
    for (const id of ids) expect(id).toMatch(/^order-[A-Za-z0-9_-]+$/);
    expect(new Set(ids).size).toBe(5);
  });

  test('bulk rows without an id get one as well, or are refused', async () => {
    await createTable(server, 'ids_bulk', { id_strategy: 'custom', id_prefix: 'b-' });
    await bulk('ids_bulk', '{"n":1}\n{"n":2}\n');
    expect(await valueOf(server, `SELECT count(DISTINCT id) FROM ids_bulk WHERE id LIKE 'b-%'`)).toBe(2);
    expectError(await bulkAnswer('ids_given', '{"id":"a"}\n{"n":2}\n'), 400, 'INVALID_ARGUMENT', /line 2\b.*\bid\b|\bid\b.*line 2\b/s);
  });

  test('id_validation: length, pattern and characters of the table, for writes, updates and bulk loads', async () => {
    await createTable(server, 'rule_length', { id_validation: { max_length: 5 } });
    await createTable(server, 'rule_pattern', { id_validation: { pattern: '^[a-z.:]+$' } });
    await createTable(server, 'rule_characters', { id_validation: { allowed_chars: 'abc' } });
    for (const [table, good, bad] of [
      ['rule_length', 'abcde', 'abcdef'],
      ['rule_pattern', 'a.b:c', 'a-b'],
      ['rule_characters', 'cab', 'cad'],
    ] as const) {
      expectSuccess(await add(table, good));
      expectError(await add(table, bad), 400, 'INVALID_ARGUMENT', /\bid\b/);
      expectError(await call(server, 'PUT', '/v1/data', { table, id: bad, payload: {} }), 400, 'INVALID_ARGUMENT', /\bid\b/);
      expectError(
        await bulkAnswer(table, `{"id":"${good}"}\n{"id":"${bad}"}\n`),
        400,
        'INVALID_ARGUMENT',
        /line 2\b.*\bid\b|\bid\b.*line 2\b/s,
      );
      expect(await rowsOf(server, `SELECT id FROM ${table}`)).toEqual([{ id: good }]);
    }
  });

  test('an id that does not fit is refused at once, whatever the pattern', async () => {
    for (const [index, pattern] of ['((a+))+', '(?:(?:a|aa))+', `${'[a-z]*'.repeat(6)}!`].entries()) {
      await createTable(server, `slow_rule_${index}`, { id_validation: { pattern } });
      const id = pattern.endsWith('!') ? 'a'.repeat(130) : `${'a'.repeat(60)}!`;
      expectError(await add(`slow_rule_${index}`, id), 400, 'INVALID_ARGUMENT', /is not allowed/);
    }
  });

  test('the default rule takes 255 characters', async () => {
    expectSuccess(await add('rule_default', 'Az09_-'.padEnd(255, 'x')));
    expect(await valueOf(server, 'SELECT length(id) FROM rule_default')).toBe(255);
  });
});

/* ------------------------------------------------------------------------------------------------------------------- tables */

describe('tables', () => {
  const CONFIG = {
    buffer_size: 2_000,
    flush_interval_seconds: 45,
    retention_days: 730,
    backup_enabled: true,
    properties: { description: '产品数据表', owner: 'product-service' },
    id_strategy: 'custom',
    id_prefix: 'p-',
    id_validation: { max_length: 64, pattern: '^[a-z0-9-]+$', allowed_chars: '' },
    write_mode: 'append',
    layout: 'shard',
  };

  test('a configuration comes back as it was given, and survives a restart', async () => {
    const first = await startOther();
    expectSuccess(await call(first, 'POST', '/v1/tables', { table_name: 'products', config: CONFIG }));
    const before = await tableInfo(first, 'products');
    expect(before['config']).toMatchObject({ ...CONFIG, id_validation: { max_length: 64, pattern: '^[a-z0-9-]+$' } });
    expect(before).toMatchObject({
      name: 'products',
      status: expect.stringMatching(/\S/),
      created_at: expect.stringMatching(RFC3339),
    });
    expect(before['last_write'] ?? null).toBe(null);
    const second = await restartAfterKill(first);
    expect(await tableInfo(second, 'products')).toEqual(before);
  });

  test('creating answers success; if_not_exists on a table that exists changes nothing', async () => {
    const created = expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'twice', config: { buffer_size: 5 } }));
    expect(created.json).toMatchObject({ success: true, message: expect.any(String) });
    expectError(await call(server, 'POST', '/v1/tables', { table_name: 'twice' }), 409, 'ALREADY_EXISTS', /twice/);
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'twice', config: { buffer_size: 6 }, if_not_exists: true }));
    expect((await tableInfo(server, 'twice'))['config'].buffer_size).toBe(5);
  });

  test('a schema that is declared types the columns before the first row', async () => {
    const schema = [
      { name: 'price', type: 'DECIMAL(18,2)' },
      { name: 'day', type: 'DATE' },
      { name: 'n', type: 'DOUBLE' },
    ];
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'declared', schema }));
    expect(columnTypes(await tableInfo(server, 'declared'))).toMatchObject({ price: 'DECIMAL(18,2)', day: 'DATE', n: 'DOUBLE' });
    await write(server, 'declared', 'a', { price: 19.99, day: '2024-02-29', n: 1 });
    expect((await query('SELECT price, day, n FROM declared')).json.rows).toEqual([{ price: 19.99, day: '2024-02-29', n: 1 }]);
    expectError(
      await call(server, 'POST', '/v1/tables', { table_name: 'bad_schema', schema: [{ name: 'x', type: 'FROG' }] }),
      400,
      'INVALID_ARGUMENT',
      /FROG/,
    );
  });

  test('patch changes what it names and nothing else', async () => {
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'patched', config: CONFIG }));
    expectSuccess(await call(server, 'PATCH', '/v1/tables/patched', { config: { buffer_size: 10, retention_days: 7 } }));
    expect((await tableInfo(server, 'patched'))['config']).toMatchObject({
      buffer_size: 10,
      retention_days: 7,
      flush_interval_seconds: 45,
      properties: CONFIG.properties,
    });
    await writeBatch(
      server,
      'patched',
      Array.from({ length: 10 }, (_, n) => ({ id: `p-${n}`, payload: { n } })),
    );
    await eventually(
      'the smaller buffer is flushed',
      () => tableInfo(server, 'patched'),
      (info) => info['stats'].buffered_records === 0 && info['stats'].file_count >= 1,
    );
  });

  test('list: globs, totals and what each entry holds', async () => {
    for (const name of ['user_a', 'user_b', 'user_ab', 'xuser']) await createTable(server, name);
    const matching = async (pattern: string): Promise<string[]> => {
      const { json } = expectStatus(await call(server, 'GET', `/v1/tables?pattern=${encodeURIComponent(pattern)}`), 200);
      expect(json.total).toBe(json.tables.length);
      return json.tables.map((table: JsonRow) => table['name'] as string).sort();
    };
    expect(await matching('user*')).toEqual(['user_a', 'user_ab', 'user_b']);
    expect(await matching('user_?')).toEqual(['user_a', 'user_b']);
    expect(await matching('user_[b-z]')).toEqual(['user_b']);
    expect(await matching('*user*')).toEqual(['user_a', 'user_ab', 'user_b', 'xuser']);
    expect(await matching('{xuser,user_a}')).toEqual(['user_a', 'xuser']);
    expect(await matching('user.a')).toEqual([]);
    expect(await matching('xuser')).toEqual(['xuser']);
    const { tables } = expectStatus(await call(server, 'GET', '/v1/tables?pattern=user_a'), 200).json;
    expect(tables[0]).toMatchObject({
      name: 'user_a',
      config: expect.any(Object),
      created_at: expect.stringMatching(RFC3339),
      stats: expect.any(Object),
    });
    expect(tables[0]).toHaveProperty('last_write');
    expect(tables[0]).toHaveProperty('status');
  });

  test('statistics are exact in every state', async () => {
    await writeBatch(
      server,
      'counted',
      Array.from({ length: 10 }, (_, n) => ({ id: `c-${n}`, timestamp: `2024-01-1${n}T00:00:00Z`, payload: { n } })),
    );
    const stats = async (): Promise<JsonRow> => (await tableInfo(server, 'counted'))['stats'] as JsonRow;
    expect(await stats()).toMatchObject({
      record_count: 10,
      buffered_records: 10,
      file_count: 0,
      deleted_records: 0,
      oldest_record: '2024-01-10T00:00:00.000000Z',
      newest_record: '2024-01-19T00:00:00.000000Z',
    });
    await flush(server, 'counted');
    const flushed = await stats();
    expect(flushed).toMatchObject({
      record_count: 10,
      buffered_records: 0,
      oldest_record: '2024-01-10T00:00:00.000000Z',
      newest_record: '2024-01-19T00:00:00.000000Z',
    });
    expect(flushed['file_count']).toBeGreaterThanOrEqual(1);
    expect(flushed['size_bytes']).toBeGreaterThan(0);
    await write(server, 'counted', 'c-new', { n: 11 }, '2024-02-01T00:00:00Z');
    await call(server, 'DELETE', '/v1/data', { table: 'counted', id: 'c-0', soft_delete: false });
    expect(await stats()).toMatchObject({
      record_count: 10,
      buffered_records: 1,
      oldest_record: '2024-01-11T00:00:00.000000Z',
      newest_record: '2024-02-01T00:00:00.000000Z',
    });
    await flush(server, 'counted');
    expect(await stats()).toMatchObject({
      record_count: 10,
      buffered_records: 0,
      oldest_record: '2024-01-11T00:00:00.000000Z',
      newest_record: '2024-02-01T00:00:00.000000Z',
    });
    expect((await tableInfo(server, 'counted'))['last_write']).toMatch(RFC3339);
  });

  test('SQL keywords are names, in any case', async () => {
    for (const name of ['order', 'group', 'select', 'table', 'user', 'values', 'Case']) {
      await write(server, name, 'a', { n: 1 });
      await flush(server, name);
      await write(server, name, 'b', { n: 2 });
      expectThat(await valueOf(server, `SELECT sum(n) FROM "${name}"`), name).toBe(3);
      expectThat(await valueOf(server, `SELECT sum(n) FROM "${name.toUpperCase()}"`), name).toBe(3);
      expect(
        expectSuccess(await call(server, 'DELETE', '/v1/data', { table: name.toUpperCase(), id: 'a', soft_delete: false })).json
          .deleted_count,
      ).toBe(1);
      expect(await countOf(server, name)).toBe(1);
    }
  });

  test('flush, compact and vacuum keep every row; the history grows', async () => {
    for (let n = 0; n < 10; n += 1) {
      await write(server, 'compacted', `r-${n}`, { n }, '2024-01-01T00:00:00Z');
      await flush(server, 'compacted');
    }
    const filesBefore = (await tableInfo(server, 'compacted'))['stats'].file_count as number;
    expectSuccess(await call(server, 'POST', '/v1/tables/compacted/compact'));
    expect((await tableInfo(server, 'compacted'))['stats'].file_count).toBeLessThan(filesBefore);
    expectSuccess(await call(server, 'POST', '/v1/tables/compacted/vacuum'));
    expect(await rowsOf(server, 'SELECT count(*) AS c, sum(n) AS s FROM compacted')).toEqual([{ c: 10, s: 45 }]);
  });

  test('drop: a table with rows needs cascade, an empty one does not; if_exists forgives', async () => {
    await write(server, 'dropped', 'a', { n: 1 });
    expectError(await call(server, 'DELETE', '/v1/tables/dropped'), 409, 'CONFLICT', /cascade/);
    await flush(server, 'dropped');
    expectError(await call(server, 'DELETE', '/v1/tables/dropped'), 409, 'CONFLICT', /cascade/);
    const { json } = expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped?if_exists=true&cascade=true'));
    expect(json).toMatchObject({ success: true, message: expect.any(String), files_deleted: 1 });
    expect((await call(server, 'GET', '/v1/tables/dropped')).status).toBe(404);
    expect((await query('SELECT * FROM dropped')).status).toBe(404);
    expect(expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped?if_exists=true')).json.files_deleted).toBe(0);
    await createTable(server, 'dropped_empty');
    expectSuccess(await call(server, 'DELETE', '/v1/tables/dropped_empty'));
  });

  test('a dropped table never comes back, and a new one of its name has none of its rows, columns or settings', async () => {
    const first = await startOther();
    await createTable(first, 'phoenix', { buffer_size: 3 });
    await createTable(first, 'ashes', { buffer_size: 3 });
    for (let n = 0; n < 5; n += 1) {
      await write(first, 'phoenix', `p-${n}`, { old: n });
      await write(first, 'ashes', `a-${n}`, { old: n });
    }
    for (const name of ['phoenix', 'ashes']) expectSuccess(await call(first, 'DELETE', `/v1/tables/${name}?cascade=true`));
    await write(first, 'phoenix', 'new', { fresh: 'yes' });
    const check = async (at: RunningServer): Promise<void> => {
      expect(await rowsOf(at, 'SELECT * EXCLUDE timestamp FROM phoenix')).toEqual([{ id: 'new', fresh: 'yes' }]);
      expect((await tableInfo(at, 'phoenix'))['config'].buffer_size).not.toBe(3);
      expect((await call(at, 'GET', '/v1/tables/ashes')).status).toBe(404);
      expect((await call(at, 'GET', '/v1/tables')).json.total).toBe(1);
    };
    await check(first);
    const second = await restartAfterKill(first);
    await check(second);
    expect(await second.stop()).toBe(0);
    await check(await startOther({ dataDir: first.dataDir }));
  });

  test('layout id puts the id into the path', async () => {
    await createTable(server, 'by_id', { layout: 'id' });
    await write(server, 'by_id', 'sensor-1', { n: 1 }, '2024-01-01T00:00:00Z');
    await flush(server, 'by_id');
    expect((await tableInfo(server, 'by_id')).location).toMatch(/\/by_id[^/]*$/);
    const names = await objectNamesOf('by_id');
    const isLog = (name: string): boolean => name.startsWith('_delta_log/');
    expect(names.filter((name) => !isLog(name))).toEqual([expect.stringMatching(/^sensor-1\/2024-01-01\/[^/]+\.parquet$/)]);
    expect(names.filter(isLog)).not.toEqual([]);
  });
});

/* --------------------------------------------------------------------------------------------------------------- monitoring */

describe('monitoring', () => {
  test('health, live and ready', async () => {
    const health = expectStatus(await call(server, 'GET', '/v1/health'), 200).json;
    expect(health).toMatchObject({
      status: expect.stringMatching(/\S/),
      timestamp: expect.stringMatching(RFC3339),
      version: expect.stringMatching(/\S/),
    });
    expect(Object.keys(health.details as object).length).toBeGreaterThan(0);
    for (const which of ['live', 'ready']) expectStatus(await call(server, 'GET', `/v1/health/${which}`), 200);
  });

  test('status, stats and metrics hold what the contract names; asking changes nothing', async () => {
    const status = expectStatus(await call(server, 'GET', '/v1/status'), 200).json as object;
    for (const key of [
      'buffer_stats',
      'redis_stats',
      'minio_stats',
      'query_engine_stats',
      'health_status',
      'components',
      'metrics_collection_stats',
      'nodes',
      'total_nodes',
      'timestamp',
    ]) {
      expectThat(status, key).toHaveProperty(key);
    }
    const metrics = expectStatus(await call(server, 'GET', '/v1/metrics'), 200).json as object;
    for (const key of [
      'query_metrics',
      'cache_metrics',
      'memory_usage',
      'connection_pool_metrics',
      'performance_metrics',
      'resource_usage',
      'system_info',
      'health_score',
    ]) {
      expectThat(metrics, key).toHaveProperty(key);
    }
    expectStatus(await call(server, 'GET', '/v1/stats'), 200);
    expect((await call(server, 'GET', '/metrics')).text).toContain('miniodb_system_health_score');
  });
});
