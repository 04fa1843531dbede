/**
 * Another engine reads our tables from their directory or bucket alone, after every kind of operation, and must see what our own queries see.
 * ClickHouse (its delta-kernel reader) judges here; a file, a statistic or a deletion vector written wrongly shows as a different answer.
 *
 * The tests of one table build on each other: each is one more operation on the same directory.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { stringify } from 'lossless-json';
import { PlainDuckdb, sendBulk } from './support/bulk-bodies.js';
import { type ClickHouse, clickHouse } from './support/clickhouse.js';
import { expectThat, onTestFailed } from './support/expectations.js';
import { expectSameAnswers } from './support/foreign-agreement.js';
import { type JsonRow, createTable, eventually, expectStatus, expectSuccess, flush, tableInfo, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type RunningServer, call, startServer } from './support/server.js';
import { type TableObjects, objectsAt } from './support/table-objects.js';

/** Of all that happens by itself only checkpoints are left: every flush, compaction and clean-up below is one that the test asked for. */
const BY_HAND = {
  tables: { flush_interval_seconds: 86_400 },
  maintenance: { interval_seconds: 0.2, compaction: false, checkpoint_commits: 6 },
};

const TABLE = 'order';
const seed = seedOfThisRun();
const random = new SeededRandom(seed);

let engine: ClickHouse;
let server: RunningServer;

beforeAll(async () => {
  engine = clickHouse();
  server = await startServer({ config: BY_HAND });
}, 600_000);

afterAll(async () => {
  await server?.stop();
});

describe('ClickHouse agrees with our answers about one table after', () => {
  step('its creation, when it is empty', async () => {
    await createTable(server, TABLE);
  });

  step('a flush of every type and of its extreme values', async () => {
    await bulkInto(TABLE, [...EXTREMES, ...range(1, 400).map(ordinaryRow)]);
    await flush(server, TABLE);
  });

  step('a flush that brings new columns, strange names included', async () => {
    const added = (index: number): JsonRow => ({
      'dashed-name': `später ${index}`,
      größe: index / 4,
      'dotted.name': index % 2 === 0,
      Select: index,
    });
    await writeBatch(
      server,
      TABLE,
      range(400, 600).map((index) => ({ ...nested(ordinaryRow(index)), payload: { n: index, ...added(index) } })),
    );
    await flush(server, TABLE);
  });

  step('a hard delete of stored rows (deletion vector)', async () => {
    await remove(TABLE, range(50, 90).map(idOf), false);
    await flush(server, TABLE);
    expectThat(await logText(await objectsOf(TABLE)), 'the delete is a deletion vector').toContain('"deletionVector":{');
  });

  step('a second hard delete in the same files (deletion vector replaced)', async () => {
    await remove(TABLE, random.some(range(90, 600), 120).map(idOf), false);
    await flush(server, TABLE);
  });

  step('a hard delete of rows that are partly stored and partly in the buffer', async () => {
    await bulkInto(TABLE, range(600, 700).map(ordinaryRow));
    await remove(TABLE, [...range(90, 100), ...range(620, 640)].map(idOf), false);
    await flush(server, TABLE);
  });

  step('updates of stored and of buffered rows', async () => {
    await bulkInto(TABLE, range(700, 720).map(ordinaryRow));
    for (const index of [1, 2, 3, 640, 700, 701]) await update(TABLE, { id: idOf(index), payload: { n: index * 10, text: 'replaced' } });
    await update(TABLE, { id: idOf(4), partial: true, payload: { text: "merged 'in'" } });
    await update(TABLE, { id: 'fresh-by-update', payload: { n: 1 } });
    await flush(server, TABLE);
  });

  step('a soft delete', async () => {
    await remove(TABLE, range(640, 660).map(idOf), true);
    await flush(server, TABLE);
  });

  step('the restore of half of it', async () => {
    await restore(TABLE, range(640, 650).map(idOf));
    await flush(server, TABLE);
  });

  step('the delete of every row of one file', async () => {
    await bulkInto(TABLE, range(800, 850).map(ordinaryRow));
    await flush(server, TABLE);
    await remove(TABLE, range(800, 850).map(idOf), false);
    await flush(server, TABLE);
  });

  step('a checkpoint that deletion vectors are read from', async () => {
    for (const index of range(850, 860)) {
      await bulkInto(TABLE, [ordinaryRow(index)]);
      await flush(server, TABLE);
    }
    const objects = await objectsOf(TABLE);
    await eventually(
      'a checkpoint and its hint',
      () => objects.names(),
      (names) => names.some((name) => name.endsWith('.checkpoint.parquet')) && names.includes('_delta_log/_last_checkpoint'),
    );
  });

  step('a compaction', async () => {
    const before = Number((await tableInfo(server, TABLE)).stats.file_count);
    expectSuccess(await call(server, 'POST', `/v1/tables/${TABLE}/compact`));
    const after = Number((await tableInfo(server, TABLE)).stats.file_count);
    expectThat(after, 'fewer files than before').toBeLessThan(before);
  });

  step('writes after the compaction', async () => {
    await remove(TABLE, range(100, 110).map(idOf), false);
    await bulkInto(TABLE, range(1_000, 1_100).map(ordinaryRow));
    await flush(server, TABLE);
  });

  step('a widening of BIGINT to DOUBLE', async () => {
    await bulkInto(TABLE, [{ ...ordinaryRow(900), grows: 2.5 }]);
    await flush(server, TABLE);
    const { schema } = await tableInfo(server, TABLE);
    expectThat(stringify(schema), 'the column is DOUBLE now').toMatch(/grows[^}]*DOUBLE/);
  });

  step('a restart', async () => {
    expect(await server.stop()).toBe(0);
    server = await startServer({ config: BY_HAND, dataDir: server.dataDir });
  });

  step('log clean-up and vacuum, with no time travel to keep files for', async () => {
    const objects = await objectsOf(TABLE);
    const filesBefore = (await dataFilesIn(objects)).length;
    expect(await server.stop()).toBe(0);
    const maintenance = { ...BY_HAND.maintenance, checkpoint_commits: 2, time_travel_hours: 0, orphan_age_hours: 0 };
    server = await startServer({ config: { ...BY_HAND, maintenance }, dataDir: server.dataDir });
    for (const index of range(1_200, 1_206)) {
      await bulkInto(TABLE, [ordinaryRow(index)]);
      await flush(server, TABLE);
    }
    expectSuccess(await call(server, 'POST', `/v1/tables/${TABLE}/vacuum`));
    await eventually(
      'the first commits to be cleaned up',
      () => objects.names(),
      (names) => !names.includes(`_delta_log/${'0'.repeat(20)}.json`),
    );
    await eventually(
      'replaced data files to be removed',
      () => dataFilesIn(objects),
      (files) => files.length < filesBefore,
    );
  });

  step('writes after the clean-up', async () => {
    await remove(TABLE, range(110, 120).map(idOf), false);
    await bulkInto(TABLE, range(1_300, 1_310).map(ordinaryRow));
    await flush(server, TABLE);
  });

  step('its drop and a new start under the same name', async () => {
    const { location } = await tableInfo(server, TABLE);
    expectSuccess(await call(server, 'DELETE', `/v1/tables/${TABLE}?cascade=true`));
    await createTable(server, TABLE);
    await bulkInto(TABLE, range(0, 20).map(ordinaryRow));
    await flush(server, TABLE);
    expectThat((await tableInfo(server, TABLE)).location, 'another directory').not.toBe(location);
  });
});

describe('ClickHouse agrees about', () => {
  test('a table that keeps one row of each id', async () => {
    await createTable(server, 'latest', { write_mode: 'upsert' });
    for (const round of range(0, 4)) {
      await writeBatch(
        server,
        'latest',
        range(0, 50).map((index) => ({ id: idOf(index % (20 + round)), payload: { round, index } })),
      );
      await flush(server, 'latest');
      await expectSameAnswers(server, engine, 'latest', { filters: ['round = 3', 'round < 3'], sums: ['index'] });
    }
  });

  test('columns of every type that can be declared', async () => {
    const schema = Object.entries(DECLARED).map(([name, type]) => ({ name, type }));
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'declared', schema }));
    await bulkInto('declared', DECLARED_ROWS);
    await flush(server, 'declared');
    await expectSameAnswers(server, engine, 'declared', { filters: ['price > 1', 'small < 0', 'tally > 0'], sums: ['price', 'small'] });
    await remove('declared', ['row-1'], false);
    await flush(server, 'declared');
    await expectSameAnswers(server, engine, 'declared', { filters: ['price > 1'], sums: ['price'] });
  });

  test('a Parquet body that was taken with its pages as they were', async () => {
    const duckdb = await PlainDuckdb.open();
    const select = `SELECT 'k-' || i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_microseconds(i * 1001) AS "timestamp", i * 3 AS n,
      CASE WHEN i % 7 > 0 THEN i / 8 END AS ratio, 'größe ' || (i % 100) AS note, md5(i::VARCHAR) AS digest FROM range(100000) r(i)`;
    try {
      const body = await duckdb.copy(select, 'FORMAT parquet, COMPRESSION gzip');
      await createTable(server, 'taken');
      expectSuccess(await sendBulk(server, 'taken', 'parquet', body));
    } finally {
      duckdb.close();
    }
    await flush(server, 'taken');
    const asked = { filters: ['n < 3000', "note = 'größe 7'", 'ratio IS NULL'], sums: ['n', 'ratio'] };
    await expectSameAnswers(server, engine, 'taken', asked);
    await remove('taken', ['k-5', 'k-99999'], false);
    await bulkInto('taken', [{ id: 'k-later', n: 7, added: 'new' }]);
    await flush(server, 'taken');
    await expectSameAnswers(server, engine, 'taken', { ...asked, filters: [...asked.filters, "added = 'new'"] });
  });

  test('a first delete and a new column in one commit', async () => {
    await bulkInto(
      'together',
      range(0, 20).map((index) => ({ id: idOf(index), n: index })),
    );
    await flush(server, 'together');
    await remove('together', [idOf(3)], false);
    await bulkInto('together', [{ id: idOf(20), n: 20, extra: 'new' }]);
    await flush(server, 'together');
    await expectSameAnswers(server, engine, 'together', { filters: ['n < 5', "extra = 'new'"], sums: ['n'] });
  });

  test('rows soft-deleted before their flush, and restored after it', async () => {
    await bulkInto(
      'hidden',
      range(0, 30).map((index) => ({ id: idOf(index), n: index })),
    );
    await remove('hidden', range(5, 15).map(idOf), true);
    await flush(server, 'hidden');
    await expectSameAnswers(server, engine, 'hidden', { sums: ['n'] });
    await restore('hidden', range(5, 10).map(idOf));
    await flush(server, 'hidden');
    await expectSameAnswers(server, engine, 'hidden', { sums: ['n'] });
    await restore('hidden', range(10, 15).map(idOf));
    await remove('hidden', range(0, 8).map(idOf), false);
    await flush(server, 'hidden');
    await expectSameAnswers(server, engine, 'hidden', { sums: ['n'] });
  });

  test('a table laid out by id, with deletes in some of its files', async () => {
    await createTable(server, 'by_id', { layout: 'id' });
    await writeBatch(
      server,
      'by_id',
      range(0, 300).map((index) => ({ id: `sensor-${index % 6}`, payload: { n: index } })),
    );
    await flush(server, 'by_id');
    await remove('by_id', ['sensor-2'], false);
    await update('by_id', { id: 'sensor-4', payload: { n: -1 } });
    await flush(server, 'by_id');
    await expectSameAnswers(server, engine, 'by_id', { filters: ["id = 'sensor-3'"], sums: ['n'] });
  });

  test('thousands of scattered deletes, whose vector is a file of its own', async () => {
    onTestFailed(() => console.error(`SEED=${seed} repeats this run`));
    const total = 40_000;
    await bulkInto(
      'scattered',
      range(0, total).map((index) => ({ id: idOf(index), n: index })),
    );
    await flush(server, 'scattered');
    for (let round = 0; round < 3; round++) {
      await remove('scattered', random.some(range(0, total), 5_000).map(idOf), false);
      await flush(server, 'scattered');
      expectThat(await logText(await objectsOf('scattered')), 'a vector outside the log').toContain('"storageType":"u"');
      await expectSameAnswers(server, engine, 'scattered', { filters: ['n < 1000', 'n > 39000'], sums: ['n'] });
    }
    expectSuccess(await call(server, 'POST', '/v1/tables/scattered/compact'));
    await expectSameAnswers(server, engine, 'scattered', { sums: ['n'] });
  });
});

test('ClickHouse never errs and never goes back while flushes and checkpoints go on', async () => {
  const flushes = 24;
  const addRows = async (index: number): Promise<void> => {
    const records = range(0, 10).map((row) => ({ id: `row-${index}-${row}`, payload: { n: row } }));
    await writeBatch(server, 'busy', records);
    await flush(server, 'busy');
  };
  await createTable(server, 'busy');
  // So that the column exists that the reader counts.
  await addRows(0);
  const { location } = await tableInfo(server, 'busy');
  let isWriting = true;
  const writing = (async () => {
    for (const index of range(1, flushes)) await addRows(index);
  })().finally(() => (isWriting = false));
  // Awaited below; a reader that fails first must not be hidden by it.
  writing.catch(() => undefined);
  const counts: number[] = [];
  while (isWriting) {
    const answers = await engine.read(
      location as string,
      Array.from({ length: 5 }, () => 'SELECT count(n) AS value FROM {table}'),
    );
    counts.push(...answers.map(([row]) => Number(row?.['value'])));
  }
  await writing;
  expectThat(counts, 'each count at least the one before').toEqual([...counts].sort((one, other) => one - other));
  expectThat(
    counts.every((count) => count % 10 === 0),
    'whole flushes only',
  ).toBe(true);
  await expectSameAnswers(server, engine, 'busy', { sums: ['n'] });
});

/** An operation on the common table, and then the comparison. */
function step(operation: string, perform: () => Promise<void>): void {
  test(operation, async () => {
    onTestFailed(() => console.error(`SEED=${seed} repeats this run`));
    await perform();
    const has = new Set((await columnNames()).map((name) => name.toLowerCase()));
    const mentions = (filter: string): boolean => [...filter.matchAll(/"([^"]+)"/g)].every(([, name = '']) => has.has(name.toLowerCase()));
    await expectSameAnswers(server, engine, TABLE, {
      filters: FILTERS.filter(mentions),
      sums: ['n', 'grows'].filter((name) => has.has(name)),
    });
  });
}

const FILTERS = [
  '"n" > 100',
  '"n" = 77',
  '"n" IN (1, 2, 640)',
  '"n" <> 5',
  `"id" = '${idOf(150)}'`,
  `"id" < '${idOf(300)}'`,
  `"id" LIKE '%5'`,
  '"big" = 9223372036854775807',
  '"big" < 0',
  '"ratio" > 1.5',
  '"ratio" < -1e300',
  '"flag"',
  'NOT "flag"',
  `"text" = 'replaced'`,
  `"text" LIKE '%''%'`,
  `"text" > 'm'`,
  '"größe" >= 110',
  '"Select" = 450',
  '"dotted.name"',
  `"dashed-name" LIKE 'sp%'`,
  '"grows" = 2.5',
  '"grows" < 3',
  '"n" > 10 AND "flag" OR "ratio" IS NULL',
];

const LONG_TEXT = 'a string longer than the statistics keep, ending in umlauts äöü and a sign beyond the first plane 🜚';

/** Values at the edges of their types; each column also has a row without it. */
const EXTREMES: readonly JsonRow[] = [
  {
    id: 'extreme-1',
    timestamp: '1969-12-31T23:59:59.999999Z',
    big: 9_223_372_036_854_775_807n,
    ratio: 1.7976931348623157e308,
    text: LONG_TEXT,
  },
  {
    id: 'extreme-2',
    timestamp: '2024-06-30T12:00:00.123456+02:00',
    big: -9_223_372_036_854_775_808n,
    ratio: -1.7976931348623157e308,
    text: '',
  },
  {
    id: 'extreme-3',
    timestamp: 1_700_000_000_001,
    big: 9_007_199_254_740_993n,
    ratio: 5e-324,
    text: 'quotes \' " ` and \\ and \n line ends \t',
  },
  { id: 'extreme-4', timestamp: '2100-02-28T23:59:59.5Z', big: 0, ratio: 0.1, text: '日本語', nested: { a: [1, { b: null }], c: 'x "y"' } },
  { id: 'extreme-5', timestamp: '1901-01-01T00:00:00Z', flag: false, nested: [1, 2.5, 'three'] },
];

/** Names and types for `schema` of POST /v1/tables. */
const DECLARED = {
  small: 'INTEGER',
  large: 'BIGINT',
  ratio: 'DOUBLE',
  flag: 'BOOLEAN',
  text: 'VARCHAR',
  document: 'JSON',
  moment: 'TIMESTAMPTZ',
  day: 'DATE',
  price: 'DECIMAL(12,2)',
  tally: 'DECIMAL(38,0)',
};

const DECLARED_ROWS: readonly JsonRow[] = [
  {
    id: 'row-0',
    small: -2_147_483_648,
    large: 1,
    ratio: 0.5,
    flag: true,
    text: 'x',
    document: { a: [1] },
    moment: '2024-03-31T01:30:00.000001+01:00',
    day: '2024-02-29',
    price: 1.5,
    tally: 1,
  },
  { id: 'row-1', small: 2_147_483_647, moment: '1969-07-20T20:17:40Z', day: '1969-07-20', price: -9_999_999_999.99, tally: -1 },
  { id: 'row-2', small: 0, document: 'just text', day: '2099-12-31', price: 0, tally: 99_999_999_999_999_999_999_999_999_999_999_999_999n },
  { id: 'row-3' },
];

function ordinaryRow(index: number): JsonRow {
  return {
    id: idOf(index),
    timestamp: new Date(Date.UTC(2024, 0, 1) + index * 3_600_000).toISOString(),
    n: index,
    grows: index % 50,
    big: BigInt(random.integer(0, 2 ** 31)) * 1_000_003n,
    ratio: random.fraction() * 4 - 2 + 1e-9,
    flag: random.chance(0.5),
    ...(random.chance(0.8) ? { text: random.pick(['apple', "o'clock", 'Zürich', 'zebra', LONG_TEXT]) } : {}),
    ...(random.chance(0.2) ? { nested: { index, list: [1, 2, 3] } } : {}),
  };
}

function nested({ id, timestamp, ...payload }: JsonRow): JsonRow {
  return { id, timestamp, payload };
}

function idOf(index: number): string {
  return `row-${String(index).padStart(5, '0')}`;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

async function bulkInto(table: string, rows: readonly JsonRow[]): Promise<void> {
  const body = `${rows.map((row) => stringify(row)).join('\n')}\n`;
  const answer = await call(server, 'POST', `/v1/data/bulk?table=${table}`, body, { 'content-type': 'application/x-ndjson' });
  expectSuccess(answer);
}

async function remove(table: string, ids: readonly string[], soft: boolean): Promise<void> {
  expectStatus(await call(server, 'DELETE', '/v1/data', { table, ids, soft_delete: soft }), 200);
}

async function restore(table: string, ids: readonly string[]): Promise<void> {
  expectSuccess(await call(server, 'POST', '/v1/data/restore', { table, ids }));
}

async function update(table: string, change: JsonRow): Promise<void> {
  expectSuccess(await call(server, 'PUT', '/v1/data', { table, ...change }));
}

async function columnNames(): Promise<readonly string[]> {
  const answer = expectStatus(await call(server, 'POST', '/v1/query', { sql: `SELECT * FROM "${TABLE}" LIMIT 0` }), 200);
  return (answer.json.columns as readonly { readonly name: string }[]).map((column) => column.name);
}

async function objectsOf(table: string): Promise<TableObjects> {
  return objectsAt((await tableInfo(server, table)).location as string);
}

async function logText(objects: TableObjects): Promise<string> {
  const commits = (await objects.names()).filter((name) => /^_delta_log\/\d+\.json$/.test(name));
  return (await Promise.all(commits.map((name) => objects.read(name)))).join('');
}

async function dataFilesIn(objects: TableObjects): Promise<string[]> {
  return (await objects.names()).filter((name) => name.endsWith('.parquet') && !name.startsWith('_delta_log/'));
}
