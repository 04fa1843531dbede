/**
 * Rows of small files that stay in the engine: every answer must be the one of the files, while rows are written, changed, deleted, restored,
 * flushed and compacted, and while columns are added. A table of thousands of flushes must not cost its queries a file each.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { createTable, eventually, expectSuccess, flush, type JsonRow, rowsOf, valueOf, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { call, type RunningServer, startServer } from './support/server.js';

const STEPS = Number(process.env['SMALL_FILES_STEPS'] ?? 250);
const QUIET = { tables: { flush_interval_seconds: 3_600 }, maintenance: { interval_seconds: 3_600 } };
const IDS = Array.from({ length: 30 }, (_, index) => `id-${index}`);

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ config: QUIET });
});

afterAll(() => server.kill());

/** Bytes of rows of small files that the server says it keeps. */
async function keptBytes(of: RunningServer = server): Promise<number> {
  return (await call(of, 'GET', '/v1/metrics')).json.memory_usage.small_files_bytes as number;
}

/** One file of some rows each. */
async function makeFiles(table: string, files: number, of: RunningServer = server): Promise<void> {
  for (let file = 0; file < files; file += 1) {
    await writeBatch(
      of,
      table,
      Array.from({ length: 3 }, (_, row) => ({ id: `f${file}-${row}`, timestamp: '2024-01-01T00:00:00Z', payload: { file, row } })),
    );
    await flush(of, table);
  }
}

describe('rows of small files', () => {
  it('are kept behind a query that opened several, and answer the next one', async () => {
    await createTable(server, 'kept');
    await makeFiles('kept', 6);
    const before = await keptBytes();
    const sql = 'SELECT file, count(*) AS n, sum(row) AS total FROM kept GROUP BY file ORDER BY file';
    const first = await rowsOf(server, sql);
    await eventually('rows of small files', keptBytes, (bytes) => bytes > before);
    expect(await rowsOf(server, `${sql} -- again`)).toEqual(first);
    expect(first).toEqual(Array.from({ length: 6 }, (_, file) => ({ file, n: 3, total: 3 })));
  });

  it('are given back when compaction replaces their files, and when the table is dropped', async () => {
    const before = await keptBytes();
    await createTable(server, 'replaced');
    await makeFiles('replaced', 6);
    expect(await valueOf(server, 'SELECT count(*) FROM replaced')).toBe(18);
    await eventually('rows of small files', keptBytes, (bytes) => bytes > before);
    expectSuccess(await call(server, 'POST', '/v1/tables/replaced/compact'));
    expect(await keptBytes()).toBe(before);
    expect(await valueOf(server, 'SELECT count(*) FROM replaced')).toBe(18);
    await makeFiles('replaced', 6);
    expect(await valueOf(server, 'SELECT count(*) FROM replaced')).toBe(36);
    await eventually('rows of small files', keptBytes, (bytes) => bytes > before);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/replaced?cascade=true'));
    await eventually('nothing kept', keptBytes, (bytes) => bytes === before);
  });

  it('are not kept where they may have no memory', async () => {
    const other = await startServer({ config: { ...QUIET, query: { small_files_bytes_max: 0 } } });
    try {
      await createTable(other, 'kept');
      await makeFiles('kept', 6, other);
      for (let query = 0; query < 5; query += 1) expect(await valueOf(other, `SELECT count(*) + ${query} FROM kept`)).toBe(18 + query);
      expect(await keptBytes(other)).toBe(0);
    } finally {
      await other.kill();
    }
  });

  it('show the state of a page when the next page is asked for', async () => {
    await createTable(server, 'paged');
    await makeFiles('paged', 6);
    const before = await keptBytes();
    await rowsOf(server, 'SELECT * FROM paged');
    await eventually('rows of small files', keptBytes, (bytes) => bytes > before);
    const sql = 'SELECT id, file FROM paged';
    const first = expectSuccess(await call(server, 'POST', '/v1/query', { sql, limit: 7 })).json as JsonRow;
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'paged', ids: ['f0-0', 'f5-2'] }));
    await makeFiles('paged', 5);
    expectSuccess(await call(server, 'POST', '/v1/tables/paged/compact'));
    const second = expectSuccess(await call(server, 'POST', '/v1/query', { sql, limit: 100, cursor: first['next_cursor'] }))
      .json as JsonRow;
    const ids = [...(first['rows'] as JsonRow[]), ...(second['rows'] as JsonRow[])].map((row) => String(row['id']));
    expect(new Set(ids).size).toBe(18);
    expect(ids).toHaveLength(18);
    expect(await valueOf(server, 'SELECT count(*) FROM paged')).toBe(18 - 2 + 15);
  });
});

/** What the table must hold: rows in any order. */
interface Kept {
  readonly id: string;
  readonly step: number;
  readonly extra: number | null;
}

it(`say what the rows are, whatever happens to them, ${STEPS} steps`, async () => {
  const random = new SeededRandom(seedOfThisRun());
  console.log(`small files: SEED=${random.seed} replays this run`);
  expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'changed', schema: [{ name: 'step', type: 'BIGINT' }] }));
  let expected: Kept[] = [];
  let hidden: Kept[] = [];
  let mostBytes = 0;
  const before = await keptBytes();

  const add = async (step: number): Promise<void> => {
    // A column that older files lack, sometimes.
    const extra = step > STEPS / 3 && random.chance(0.5) ? step : null;
    const ids = random.some(IDS, random.integer(1, 6));
    const payload = { step, ...(extra === null ? {} : { extra }) };
    await writeBatch(
      server,
      'changed',
      ids.map((id) => ({ id, timestamp: '2024-01-01T00:00:00Z', payload })),
    );
    expected.push(...ids.map((id) => ({ id, step, extra })));
  };
  const remove = async (soft: boolean): Promise<void> => {
    const ids = random.some(IDS, random.integer(1, 4));
    const gone = expected.filter(({ id }) => ids.includes(id));
    const answer = expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'changed', ids, soft_delete: soft }));
    expect(answer.json.deleted_count).toBe(gone.length);
    expected = expected.filter((row) => !gone.includes(row));
    hidden = soft ? [...hidden, ...gone] : hidden.filter(({ id }) => !ids.includes(id));
  };
  const restore = async (): Promise<void> => {
    const ids = random.some(IDS, 2);
    expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: 'changed', ids }));
    expected.push(...hidden.filter(({ id }) => ids.includes(id)));
    hidden = hidden.filter(({ id }) => !ids.includes(id));
  };
  const replace = async (step: number): Promise<void> => {
    const id = random.pick(IDS);
    expectSuccess(await call(server, 'PUT', '/v1/data', { table: 'changed', id, payload: { step } }));
    expected = [...expected.filter((row) => row.id !== id), { id, step, extra: null }];
  };

  for (let step = 1; step <= STEPS; step += 1) {
    const kind = random.integer(0, 20);
    if (kind < 9) await add(step);
    else if (kind < 11) await remove(false);
    else if (kind < 13) await remove(true);
    else if (kind < 14) await restore();
    else if (kind < 16) await replace(step);
    else if (kind < 19 || expected.length === 0) await flush(server, 'changed');
    else expectSuccess(await call(server, 'POST', '/v1/tables/changed/compact'));
    if (random.chance(0.5)) await flush(server, 'changed');
    const columns = expected.some(({ extra }) => extra !== null) ? 'id, step, extra' : 'id, step, NULL AS extra';
    const [rows, summary] = await Promise.all([
      rowsOf(server, `SELECT ${columns} FROM changed`),
      expected.length === 0 ? undefined : rowsOf(server, 'SELECT count(*) AS n, min(step) AS low, max(step) AS high FROM changed'),
    ]);
    expectThat(sorted(rows), `step ${step}, SEED=${random.seed}`).toEqual(sorted(expected));
    const steps = expected.map((row) => row.step);
    if (summary)
      expectThat(summary, `step ${step}, SEED=${random.seed}`).toEqual([
        { n: steps.length, low: Math.min(...steps), high: Math.max(...steps) },
      ]);
    mostBytes = Math.max(mostBytes, await keptBytes());
  }
  expectThat(mostBytes, 'rows were kept while the table changed').toBeGreaterThan(before);
}, 300_000);

function sorted(rows: readonly (Kept | JsonRow)[]): string[] {
  return rows.map((row) => JSON.stringify([row['id'], row['step'], row['extra']])).sort();
}
