/**
 * How long rows take on their way: each write, flush and merge counts once, with times that can be; the age of files that wait to be merged grows while
 * they wait, is 0 once they are merged, and goes with its table.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { QUIET } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection } from './support/grpc-client.js';
import { metric, valuesOf } from './support/metrics.js';
import { createTable, eventually, expectStatus, expectSuccess, flush, rowsOf, tableInfo, write, writeBatch } from './support/requests.js';
import { call, type RunningServer, startServer } from './support/server.js';

const STAGES = ['visible', 'parquet', 'compacted'] as const;
const FILES_MIN = 3;
/** All rows belong to one span of time, so that their files can be merged. */
const DAY = '2024-05-17T10:00:00Z';
const HELD_BACK_SECONDS = 1.5;

interface Freshness {
  readonly count: number;
  readonly sum: number;
}
type Stages = Record<(typeof STAGES)[number], Freshness>;

let server: RunningServer;
let grpc: GrpcConnection;

beforeAll(async () => {
  server = await startServer({
    config: { ...QUIET, maintenance: { compaction: false, compaction_files_min: FILES_MIN, interval_seconds: 0.1 } },
  });
  grpc = connectGrpc(server);
});

afterAll(async () => {
  grpc?.close();
  await server?.kill();
});

async function freshness(): Promise<Stages> {
  const values = await valuesOf(server);
  const of = (stage: string): Freshness => ({
    count: values.get(`miniodb_freshness_seconds_count{stage="${stage}"}`) ?? 0,
    sum: values.get(`miniodb_freshness_seconds_sum{stage="${stage}"}`) ?? 0,
  });
  return { visible: of('visible'), parquet: of('parquet'), compacted: of('compacted') };
}

/** What an action adds. */
async function addedBy(action: () => Promise<unknown>): Promise<Stages> {
  const before = await freshness();
  await action();
  const after = await freshness();
  const of = (stage: (typeof STAGES)[number]): Freshness => ({
    count: after[stage].count - before[stage].count,
    sum: after[stage].sum - before[stage].sum,
  });
  return { visible: of('visible'), parquet: of('parquet'), compacted: of('compacted') };
}

function counts({ visible, parquet, compacted }: Stages): Record<string, number> {
  return { visible: visible.count, parquet: parquet.count, compacted: compacted.count };
}

const compact = async (table: string): Promise<void> => void expectSuccess(await call(server, 'POST', `/v1/tables/${table}/compact`));
const uncompacted = (table: string): Promise<number | undefined> => metric(server, `miniodb_table_uncompacted_seconds{table="${table}"}`);

/** Waits until a row has been held back for so long by the server's own clock. */
async function holdBack(table: string, seconds: number): Promise<number> {
  const held = await eventually(
    'rows are held back',
    () => metric(server, `miniodb_table_unflushed_seconds{table="${table}"}`),
    (value) => (value ?? 0) >= seconds,
  );
  return held ?? 0;
}

describe('miniodb_freshness_seconds', () => {
  it.each<readonly [string, () => Promise<unknown>, number]>([
    ['a record', () => write(server, 'w', 'a', { n: 1 }, DAY), 1],
    ['a batch', () => writeBatch(server, 'w', [{ id: 'b' }, { id: 'c' }, { id: 'd' }]), 1],
    ['a bulk body', () => bulk('w', 50), 1],
    ['an update', async () => expectSuccess(await call(server, 'PUT', '/v1/data', { table: 'w', id: 'a', payload: { n: 2 } })), 1],
    ['a delete', async () => expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'w', id: 'b' })), 1],
    ['gRPC', () => grpc.unary('WriteData', { table: 'w', data: { id: 'g', payload: { fields: {} } } }), 1],
    ['ten records at once', () => Promise.all(Array.from({ length: 10 }, (_, n) => write(server, 'w', `t${n}`, { n }))), 10],
    ['a record that is refused', () => call(server, 'POST', '/v1/data', { table: 'w', id: '', payload: { n: 1 } }), 0],
    ['a query', () => rowsOf(server, 'SELECT * FROM w'), 0],
  ])('visible: %s', async (_what, action, expected) => {
    const added = await addedBy(action);
    expect(counts(added)).toEqual({ visible: expected, parquet: 0, compacted: 0 });
    expect(added.visible.sum).toBeLessThan(5 * Math.max(1, expected));
    if (expected > 0) expect(added.visible.sum).toBeGreaterThan(0);
  });

  it('visible: a write that is sent again under its key does not count again', async () => {
    const again = () => call(server, 'POST', '/v1/data', { table: 'w', id: 'once', payload: { n: 1 } }, { 'idempotency-key': 'only-once' });
    expect(counts(await addedBy(again))).toEqual({ visible: 1, parquet: 0, compacted: 0 });
    expect(counts(await addedBy(again))).toEqual({ visible: 0, parquet: 0, compacted: 0 });
  });

  it('parquet: a flush, from the arrival of its oldest row', async () => {
    await write(server, 'p', 'old', { n: 1 }, DAY);
    const held = await holdBack('p', HELD_BACK_SECONDS);
    await write(server, 'p', 'new', { n: 1 }, DAY);
    const added = await addedBy(() => flush(server, 'p'));
    expect(counts(added)).toEqual({ visible: 0, parquet: 1, compacted: 0 });
    expect(added.parquet.sum).toBeGreaterThanOrEqual(held);
    expect(added.parquet.sum).toBeLessThan(held + 30);
    expect(await metric(server, 'miniodb_table_unflushed_seconds{table="p"}')).toBe(0);
  });

  it('parquet: a flush that has nothing to do, or deletes alone, does not count', async () => {
    expect(counts(await addedBy(() => flush(server, 'p')))).toEqual({ visible: 0, parquet: 0, compacted: 0 });
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'p', id: 'old' }));
    expect(counts(await addedBy(() => flush(server, 'p')))).toEqual({ visible: 0, parquet: 0, compacted: 0 });
  });

  it('parquet: a flush that comes by itself counts once', async () => {
    await createTable(server, 'self', { buffer_size: 5 });
    const added = await addedBy(async () => {
      await writeBatch(
        server,
        'self',
        Array.from({ length: 5 }, (_, n) => ({ id: `r${n}`, timestamp: DAY })),
      );
      await eventually(
        'the flush',
        () => tableInfo(server, 'self'),
        ({ stats }) => stats.file_count === 1,
      );
    });
    expect(counts(added)).toEqual({ visible: 1, parquet: 1, compacted: 0 });
  });

  it('parquet: a bulk body counts when it is in a data file', async () => {
    await bulk('whole', 2_000);
    const added = await addedBy(() => flush(server, 'whole'));
    expect(counts(added)).toEqual({ visible: 0, parquet: 1, compacted: 0 });
    expect(added.parquet.sum).toBeLessThan(30);
  });

  it('compacted: a merge, from when the oldest of its files was written', async () => {
    await write(server, 'm', 'a', { n: 1 }, DAY);
    await flush(server, 'm');
    await write(server, 'm', 'b', { n: 1 }, DAY);
    await holdBack('m', HELD_BACK_SECONDS);
    await flush(server, 'm');
    const added = await addedBy(() => compact('m'));
    expect(counts(added)).toEqual({ visible: 0, parquet: 0, compacted: 1 });
    expect(added.compacted.sum).toBeGreaterThanOrEqual(HELD_BACK_SECONDS);
    expect(added.compacted.sum).toBeLessThan(30);
  });

  it('compacted: one that has nothing to do does not count; what it flushes does', async () => {
    expect(counts(await addedBy(() => compact('m')))).toEqual({ visible: 0, parquet: 0, compacted: 0 });
    await write(server, 'm', 'c', { n: 1 }, DAY);
    expect(counts(await addedBy(() => compact('m')))).toEqual({ visible: 0, parquet: 1, compacted: 1 });
  });

  it('buckets add up: each value is in all buckets from its own on', async () => {
    const values = await valuesOf(server);
    for (const stage of STAGES) {
      const buckets = [...values]
        .filter(([series]) => series.startsWith('miniodb_freshness_seconds_bucket') && series.includes(`stage="${stage}"`))
        .map(([, value]) => value);
      expectThat(buckets.length, stage).toBeGreaterThan(10);
      expectThat(
        [...buckets].sort((a, b) => a - b),
        stage,
      ).toEqual(buckets);
      expectThat(buckets.at(-1), stage).toBe(values.get(`miniodb_freshness_seconds_count{stage="${stage}"}`));
    }
  });

  it('rows of before a restart count from their arrival, also when they come out of the log again', async () => {
    const own = await startServer({ config: QUIET });
    await write(own, 'r', 'a', { n: 1 }, DAY);
    await own.kill();
    const again = await startServer({ config: QUIET, dataDir: own.dataDir });
    try {
      expect((await metric(again, 'miniodb_freshness_seconds_count{stage="visible"}')) ?? 0).toBe(0);
      await flush(again, 'r');
      expect(await metric(again, 'miniodb_freshness_seconds_count{stage="parquet"}')).toBe(1);
      expect(await metric(again, 'miniodb_freshness_seconds_sum{stage="parquet"}')).toBeLessThan(60);
    } finally {
      await again.kill();
    }
  });
});

async function bulk(table: string, rows: number): Promise<void> {
  const body = Array.from({ length: rows }, (_, n) => JSON.stringify({ id: `${table}-bulk-${n}`, timestamp: DAY, n })).join('\n');
  expectStatus(await call(server, 'POST', `/v1/data/bulk?table=${table}`, body, { 'content-type': 'application/x-ndjson' }), 200);
}

describe('miniodb_table_uncompacted_seconds', () => {
  async function oneMoreFile(table: string, id: string): Promise<void> {
    await write(server, table, id, { n: 1 }, DAY);
    await flush(server, table);
  }

  it('is 0 with few files, grows while enough of them wait, is 0 once they are merged, and goes with its table', async () => {
    await createTable(server, 'u');
    expect(await uncompacted('u')).toBe(0);
    for (let n = 0; n < FILES_MIN - 1; n += 1) {
      await oneMoreFile('u', `r${n}`);
      expectThat(await uncompacted('u'), `${n + 1} files`).toBe(0);
    }
    await oneMoreFile('u', 'last');
    const first = await uncompacted('u');
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(60);
    const later = await eventually(
      'it grows',
      () => uncompacted('u'),
      (value) => (value ?? 0) > (first ?? 0) + 0.5,
    );
    await oneMoreFile('u', 'one-more');
    // The oldest counts, not the newest.
    expect(await uncompacted('u')).toBeGreaterThanOrEqual(later ?? 0);
    expect((await tableInfo(server, 'u'))['stats'].file_count).toBe(FILES_MIN + 1);
    expect(counts(await addedBy(() => compact('u')))).toEqual({ visible: 0, parquet: 0, compacted: 1 });
    expect(await uncompacted('u')).toBe(0);
    expect((await tableInfo(server, 'u'))['stats'].file_count).toBe(1);
    expectSuccess(await call(server, 'DELETE', '/v1/tables/u?cascade=true'));
    expect(await uncompacted('u')).toBeUndefined();
  });

  it('counts a file with many deleted rows, until they are purged', async () => {
    await writeBatch(
      server,
      'purge',
      Array.from({ length: 10 }, (_, n) => ({ id: `r${n}`, timestamp: DAY })),
    );
    await flush(server, 'purge');
    expect(await uncompacted('purge')).toBe(0);
    expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'purge', ids: ['r0', 'r1', 'r2', 'r3', 'r4'] }));
    await flush(server, 'purge');
    expect(await uncompacted('purge')).toBeGreaterThan(0);
    await compact('purge');
    expect(await uncompacted('purge')).toBe(0);
  });

  it('is 0 again by itself where compaction is on', async () => {
    const config = { ...QUIET, maintenance: { compaction: true, compaction_files_min: FILES_MIN, interval_seconds: 0.2 } };
    const own = await startServer({ config });
    try {
      for (let n = 0; n < FILES_MIN; n += 1) {
        await write(own, 't', `r${n}`, { n }, DAY);
        await flush(own, 't');
      }
      await eventually(
        'the merge',
        () => tableInfo(own, 't'),
        ({ stats }) => stats.file_count === 1,
      );
      expect(await metric(own, 'miniodb_freshness_seconds_count{stage="compacted"}')).toBe(1);
      expect(await metric(own, 'miniodb_table_uncompacted_seconds{table="t"}')).toBe(0);
    } finally {
      await own.kill();
    }
  });
});
