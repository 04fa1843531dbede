/** Compaction comes to rest: what it wrote it does not write again. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createTable, expectSuccess, flush, type JsonRow, rowsOf, tableInfo, writeBatch } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const FLUSHES = 9;
const MS_PER_DAY = 86_400_000;
const START_MS = Date.parse('2021-11-03T05:00:00Z');

interface Case {
  readonly what: string;
  readonly config: JsonRow;
  /** Ids and days of the records of one flush. */
  readonly records: (flush: number) => { readonly id: string; readonly day: number }[];
  readonly filesMax: number;
}

const CASES: readonly Case[] = [
  {
    what: 'a row every day for three years',
    config: {},
    records: (flush) => Array.from({ length: 1_000 }, (_, day) => ({ id: `s${flush}`, day })),
    filesMax: 1,
  },
  {
    what: 'many rows on each of five days',
    config: {},
    records: (flush) => Array.from({ length: 6_000 }, (_, index) => ({ id: `s${flush}`, day: index % 5 })),
    filesMax: 5,
  },
  {
    what: 'many rows in each of three years, few on each day',
    config: {},
    records: (flush) => Array.from({ length: 4_500 }, (_, index) => ({ id: `s${flush}`, day: (index % 1_100) + 1 })),
    filesMax: 4,
  },
  {
    what: 'twelve ids with folders of their own',
    config: { layout: 'id' },
    records: () => Array.from({ length: 12 }, (_, index) => ({ id: `sensor-${index}`, day: index })),
    filesMax: 12,
  },
  {
    what: 'ids that are too many for folders',
    config: { layout: 'id' },
    records: () => Array.from({ length: 200 }, (_, index) => ({ id: `sensor-${index}`, day: index })),
    filesMax: 1,
  },
];

describe('compaction', () => {
  let server: RunningServer;

  beforeAll(async () => {
    server = await startServer({
      config: {
        log: { level: 'warn', file: '' },
        tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 },
        maintenance: { interval_seconds: 3_600 },
      },
    });
  });

  afterAll(() => server.kill());

  async function compact(table: string): Promise<JsonRow> {
    return expectSuccess(await call(server, 'POST', `/v1/tables/${table}/compact`)).json as JsonRow;
  }

  it.each(CASES.map((one, index) => ({ ...one, table: `resting_${index}` })))(
    'comes to rest: $what',
    async ({ table, config, records, filesMax }) => {
      await createTable(server, table, config);
      let rows = 0;
      for (let round = 0; round < FLUSHES; round += 1) {
        const batch = records(round).map(({ id, day }) => ({
          id,
          timestamp: new Date(START_MS + day * MS_PER_DAY).toISOString(),
          payload: { round },
        }));
        rows += batch.length;
        for (let first = 0; first < batch.length; first += 1_000) await writeBatch(server, table, batch.slice(first, first + 1_000));
        await flush(server, table);
      }
      // The files of the first merge may be merged once more with those that it left; then nothing is to be gained.
      await compact(table);
      await compact(table);
      const rested = await tableInfo(server, table);
      expect(rested['stats']).toMatchObject({ record_count: rows });
      expect(rested['stats'].file_count).toBeLessThanOrEqual(filesMax);
      await compact(table);
      expect(await tableInfo(server, table)).toMatchObject({ version: rested['version'], stats: rested['stats'] });
      expect(await rowsOf(server, `SELECT round, count(*) AS n FROM ${table} GROUP BY round ORDER BY round`)).toHaveLength(FLUSHES);
    },
  );
});
