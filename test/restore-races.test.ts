/** Soft deletes and restores of stored rows while a flush and a compaction run on their files. */
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { createTable, expectSuccess, flush, tableInfo, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { call, type RunningServer, startServer } from './support/server.js';

const ROUNDS = Number(process.env['RACE_ROUNDS'] ?? 60);
const FILES = 3;
const IDS = ['a', 'b', 'c', 'd'];
const DELAY_MS_MAX = 25;

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({
    config: { log: { level: 'warn', file: '' }, tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 } },
  });
});

afterAll(() => server.kill());

async function softDelete(id: string): Promise<void> {
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'raced', ids: [id], soft_delete: true }));
}

async function restore(id: string): Promise<void> {
  expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: 'raced', ids: [id] }));
}

test(`leave no row hidden and none twice, ${ROUNDS} rounds`, async () => {
  const random = new SeededRandom(seedOfThisRun());
  console.log(`restore races: SEED=${random.seed}`);
  const delay = (): Promise<void> => wait(random.integer(0, DELAY_MS_MAX));
  await createTable(server, 'raced');
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (let file = 0; file < FILES; file += 1) {
      await writeBatch(
        server,
        'raced',
        IDS.map((id) => ({ id, timestamp: '2024-01-01T00:00:00Z', payload: { round, file } })),
      );
      await flush(server, 'raced');
    }
    const compacted = delay().then(() => call(server, 'POST', '/v1/tables/raced/compact'));
    await softDelete('a');
    const flushed = delay().then(() => flush(server, 'raced'));
    await delay();
    await softDelete('b');
    await delay();
    await restore('a');
    await delay();
    await restore('b');
    expectSuccess(await compacted);
    await flushed;
    const { stats } = await tableInfo(server, 'raced');
    await flush(server, 'raced');
    const after = (await tableInfo(server, 'raced'))['stats'];
    const rows = round * FILES * IDS.length;
    expectThat({ round, ...stats }, `SEED=${random.seed}`).toMatchObject({ record_count: rows, deleted_records: 0 });
    expectThat({ round, ...after }, `SEED=${random.seed}`).toMatchObject({ record_count: rows, deleted_records: 0 });
  }
}, 120_000);
