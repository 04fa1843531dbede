import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../test/support/expectations.js';
import { Engine } from '../engine/duckdb/engine.js';
import { LocalObjectStore } from '../storage/local-object-store.js';
import type { ObjectStore } from '../storage/object-store.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { TableSchema, toDeltaSchema } from './table-schema.js';
import type { Action, AddAction, DeletionVectorDescriptor, MetaDataAction } from './action.js';
import { CheckpointFiles } from './checkpoint.js';
import { VectorFile } from './deletion-vector.js';
import { DeltaLog, type Operation } from './delta-log.js';
import { fileKey, NEXT_FIELD_ID, removeOf, type Snapshot, TAG_EMPTY, TAG_LSN_BASE, TAG_SOFT_VECTOR } from './snapshot.js';
import { INITIAL_CONFIGURATION, INITIAL_PROTOCOL } from './table-protocol.js';

const TABLE = 'people';
const LOG = `${TABLE}/_delta_log`;
const APPEND: Operation = { name: 'WRITE', parameters: { mode: 'Append' } };

let root: string;
let engine: Engine;
let scratch: ScratchFiles;
let store: LocalObjectStore;
let nowMs: number;
let stores = 0;
beforeAll(async () => {
  root = mkdtempSync(path.join(tmpdir(), 'miniodb-log-'));
  engine = await openEngine(1_024);
  scratch = ScratchFiles.open(path.join(root, 'scratch'));
});
afterAll(() => {
  engine.close();
  rmSync(root, { recursive: true, force: true });
});
beforeEach(startAnew);
async function startAnew(): Promise<void> {
  stores += 1;
  const directory = path.join(root, `objects-${stores}`);
  await mkdir(directory);
  store = new LocalObjectStore(directory);
  nowMs = 1_700_000_000_000;
}
afterEach(async () => {
  expectThat(await readdir(scratch.directory), 'scratch files left behind').toEqual([]);
});

function openEngine(memoryMib: number): Promise<Engine> {
  return Engine.open({
    directories: [root],
    spillDirectory: path.join(root, 'spill'),
    memoryBytesMax: memoryMib * 1_024 * 1_024,
    spillBytesMax: 256 * 1_024 * 1_024,
    threads: 1,
  });
}

/** The log as one node sees it. */
function openLog(of: ObjectStore = store, by = engine): DeltaLog {
  return new DeltaLog(of, TABLE, new CheckpointFiles(of, by, scratch), { nowMs: () => nowMs });
}

function vectorOf(positions: readonly number[]): DeletionVectorDescriptor {
  const descriptor = new VectorFile().add(positions);
  if (!descriptor) throw new Error('no positions');
  return descriptor;
}

const SCHEMA = TableSchema.initial().with('name', 'VARCHAR').with('amount', 'DECIMAL(10,2)');

function metaData(configuration: Record<string, string> = {}): MetaDataAction {
  return {
    id: '8f0b1c1e-0000-4000-8000-000000000001',
    name: TABLE,
    format: { provider: 'parquet', options: {} },
    schemaString: toDeltaSchema(SCHEMA),
    partitionColumns: [],
    configuration: { ...INITIAL_CONFIGURATION, [NEXT_FIELD_ID]: String(SCHEMA.nextFieldId), ...configuration },
    createdTime: 1_699_999_999_999,
  };
}

function add(name: string, changes: Partial<AddAction> = {}): AddAction {
  return {
    path: `shard-0/2024-01-01/part-${name}.parquet`,
    partitionValues: {},
    size: 1_000,
    modificationTime: nowMs,
    dataChange: true,
    stats: `{"numRecords":7,"minValues":{"id":"${name}"},"maxValues":{"id":"${name}"}}`,
    ...changes,
  };
}

function create(log = openLog()): Promise<Snapshot> {
  return log.create([{ protocol: INITIAL_PROTOCOL }, { metaData: metaData() }]);
}

/** Adds one file a commit. */
async function appendFiles(log: DeltaLog, snapshot: Snapshot, ...names: readonly string[]): Promise<Snapshot> {
  let newest = snapshot;
  for (const name of names) {
    nowMs += 1_000;
    newest = await log.commit(newest, APPEND, () => [{ add: add(name) }]);
  }
  return newest;
}

function filesOf(snapshot: Snapshot): string[] {
  return [...snapshot.files.keys()].map((file) => file.replace(/.*part-(.*)\.parquet/, '$1')).sort();
}

function commitKey(version: number): string {
  return `${LOG}/${String(version).padStart(20, '0')}.json`;
}

async function logKeys(): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(`${LOG}/`)) keys.push(key.slice(LOG.length + 1));
  return keys;
}

/** A store that fails as a network does: what was asked for may have happened or not. */
class FailingStore implements ObjectStore {
  readonly name = 'failing';
  /** What happens to puts of keys that match. */
  outcome: { readonly key: RegExp; readonly isStored: boolean } | undefined;

  constructor(private readonly inner: ObjectStore) {}

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    if (!this.outcome?.key.test(key)) return this.inner.putIfAbsent(key, bytes);
    if (this.outcome.isStored) await this.inner.putIfAbsent(key, bytes);
    throw new Error('the answer was lost');
  }

  put = (key: string, bytes: Uint8Array): Promise<void> => this.inner.put(key, bytes);
  putFileIfAbsent = (key: string, file: string): Promise<boolean> => this.inner.putFileIfAbsent(key, file);
  get = (key: string): Promise<Buffer | undefined> => this.inner.get(key);
  list = (prefix: string, startAfter?: string): ReturnType<ObjectStore['list']> => this.inner.list(prefix, startAfter);
  delete = (key: string): Promise<void> => this.inner.delete(key);
  openLocal = (key: string, sizeBytes: number): ReturnType<ObjectStore['openLocal']> => this.inner.openLocal(key, sizeBytes);
  locationOf = (key: string): string => this.inner.locationOf(key);
}

describe('transaction log', () => {
  it('begins at version 0, once', async () => {
    const created = await create();
    expect(created).toMatchObject({ version: 0, timestampMs: nowMs, metaData: metaData(), protocol: INITIAL_PROTOCOL });
    await expect(create()).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await openLog().load()).toEqual(created);
  });

  it('is NOT_FOUND where there is none', async () => {
    await expect(openLog().load()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is read back as it was after each commit', async () => {
    const log = openLog();
    const snapshots = [await create(log)];
    for (const name of ['a', 'b', 'c']) snapshots.push(await appendFiles(log, snapshots.at(-1) as Snapshot, name));
    const c = [...(snapshots[3] as Snapshot).files.values()].find((file) => file.path.includes('part-c'));
    snapshots.push(
      await log.commit(snapshots[3] as Snapshot, APPEND, () => [
        { txn: { appId: 'wal-1', version: 42, lastUpdated: nowMs } },
        ...(c ? [removeOf(c, nowMs, true)] : []),
      ]),
    );
    for (const snapshot of snapshots) expect(await openLog().load(snapshot.version)).toEqual(snapshot);
    expect(await openLog().load()).toEqual(snapshots[4]);
    expect(filesOf(snapshots[4] as Snapshot)).toEqual(['a', 'b']);
    expect(snapshots[4]?.transactions.get('wal-1')).toBe(42);
    expect([...(snapshots[4]?.tombstones.keys() ?? [])]).toHaveLength(1);
  });

  it('writes commitInfo first, one action a line, as the Delta protocol wants it', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a');
    const lines = (await store.get(commitKey(1)))?.toString().split('\n') ?? [];
    expect(lines).toHaveLength(3);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      commitInfo: { inCommitTimestamp: nowMs, operation: 'WRITE', operationParameters: { mode: 'Append' } },
    });
    expect(JSON.parse(lines[1] ?? '')).toEqual({ add: add('a') });
    expect(lines[2]).toBe('');
  });

  it('has a time that grows, whatever the clock does', async () => {
    const log = openLog();
    let snapshot = await create(log);
    const times = [snapshot.timestampMs];
    for (const clock of [nowMs, nowMs - 5_000, nowMs + 1, 0]) {
      nowMs = clock;
      snapshot = await log.commit(snapshot, APPEND, () => [{ add: add(String(times.length)) }]);
      times.push(snapshot.timestampMs);
    }
    expect(new Set(times).size).toBe(times.length);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it('makes no version of a commit without actions', async () => {
    const log = openLog();
    const snapshot = await create(log);
    expect(await log.commit(snapshot, APPEND, () => [])).toBe(snapshot);
    expect(await logKeys()).toHaveLength(1);
  });

  it('refuses a table that needs a reader feature that it does not know', async () => {
    await store.putIfAbsent(
      commitKey(0),
      Buffer.from(
        `${JSON.stringify({ protocol: { minReaderVersion: 3, minWriterVersion: 7, readerFeatures: ['deletionVectors', 'columnMapping'] } })}\n${JSON.stringify({ metaData: metaData() })}\n`,
      ),
    );
    await expect(openLog().load()).rejects.toMatchObject({
      code: 'DATA_CORRUPTION',
      message: expect.stringContaining('columnMapping'),
    });
  });

  it('passes over actions and fields that it does not know', async () => {
    await create();
    await store.putIfAbsent(
      commitKey(1),
      Buffer.from(
        `{"commitInfo":{"inCommitTimestamp":${nowMs + 1}}}\n{"somethingNew":{"a":1}}\n${JSON.stringify({ add: { ...add('a'), defaultRowCommitVersion: 1 } })}\n`,
      ),
    );
    expect(filesOf(await openLog().load())).toEqual(['a']);
  });

  it('reads paths that are percent-encoded, as the Delta protocol has them', async () => {
    const log = openLog();
    const snapshot = await log.commit(await create(log), APPEND, () => [{ add: add('a', { path: 'shard-0/a%20b/part-x.parquet' }) }]);
    expect([...snapshot.files.keys()]).toEqual(['shard-0/a b/part-x.parquet']);
  });
});

describe('commits of several writers', () => {
  it('come one after the other, each on top of the newest', async () => {
    const [one, other] = [openLog(), openLog()];
    const base = await create(one);
    await appendFiles(other, base, 'first');
    const seen: string[][] = [];
    const after = await one.commit(base, APPEND, (current) => {
      seen.push(filesOf(current));
      return [{ add: add('second') }];
    });
    expect(seen).toEqual([[], ['first']]);
    expect(after.version).toBe(2);
    expect(filesOf(after)).toEqual(['first', 'second']);
  });

  it('are all there when many race', async () => {
    const base = await create();
    const names = Array.from({ length: 12 }, (_value, index) => `n${index}`);
    await Promise.all(names.map((name) => openLog().commit(base, APPEND, () => [{ add: add(name) }])));
    const newest = await openLog().load();
    expect(newest.version).toBe(12);
    expect(filesOf(newest)).toEqual([...names].sort());
  });

  it('are given up when the plan no longer fits, and nothing is written', async () => {
    const [one, other] = [openLog(), openLog()];
    const base = await appendFiles(one, await create(one), 'a');
    const [file] = base.files.values();
    await other.commit(base, APPEND, () => (file ? [removeOf(file, nowMs, true)] : []));
    const merge = (current: Snapshot): Action[] => {
      if (!file || !current.files.has(file.path)) throw new Error('a file of the plan is gone');
      return [removeOf(file, nowMs, false), { add: add('merged') }];
    };
    await expect(one.commit(base, APPEND, merge)).rejects.toThrow('a file of the plan is gone');
    expect((await openLog().load()).version).toBe(2);
  });

  it('end when there is nothing left to do on the newer table', async () => {
    const [one, other] = [openLog(), openLog()];
    const base = await create(one);
    await appendFiles(other, base, 'a');
    const after = await one.commit(base, APPEND, (current) => (current.files.size > 0 ? [] : [{ add: add('a') }]));
    expect(after.version).toBe(1);
    expect((await openLog().load()).version).toBe(1);
  });
});

describe('commit whose answer was lost', () => {
  let failing: FailingStore;
  let log: DeltaLog;
  let base: Snapshot;
  beforeEach(async () => {
    failing = new FailingStore(store);
    log = openLog(failing);
    base = await create(log);
  });

  it('counts when it is there: it is not made twice', async () => {
    failing.outcome = { key: /1\.json$/, isStored: true };
    const after = await log.commit(base, APPEND, () => [{ add: add('a') }]);
    expect(after.version).toBe(1);
    expect(await openLog().load()).toEqual(after);
  });

  it('fails when it is not there, and can be made again', async () => {
    failing.outcome = { key: /1\.json$/, isStored: false };
    await expect(log.commit(base, APPEND, () => [{ add: add('a') }])).rejects.toThrow('the answer was lost');
    failing.outcome = undefined;
    expect((await log.commit(base, APPEND, () => [{ add: add('a') }])).version).toBe(1);
  });

  it('does not take the commit of another writer for its own', async () => {
    await appendFiles(openLog(), base, 'theirs');
    failing.outcome = { key: /1\.json$/, isStored: true };
    const attempt = log.commit(base, APPEND, () => [{ add: add('ours') }]);
    await attempt.catch(() => undefined);
    const newest = await openLog().load();
    expect(filesOf(newest)).toEqual((await attempt.then(filesOf, () => ['theirs'])).sort());
    expect(filesOf(newest)).toContain('theirs');
  });

  it('counts for the first version, too', async () => {
    await store.delete(commitKey(0));
    failing.outcome = { key: /0\.json$/, isStored: true };
    expect((await create(log)).version).toBe(0);
    expect(await openLog().load()).toMatchObject({ version: 0 });
  });
});

describe('log with a gap', () => {
  it('is refused with the version that is missing, never served as an older table', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a', 'b', 'c');
    await store.delete(commitKey(2));
    await expect(openLog().load()).rejects.toMatchObject({
      code: 'DATA_CORRUPTION',
      message: expect.stringContaining('version 2 is missing'),
    });
    expect((await openLog().load(1)).version).toBe(1);
    await expect(openLog().load(3)).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });

  it('is refused when its beginning is missing', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a', 'b');
    await store.delete(commitKey(0));
    await expect(openLog().load()).rejects.toMatchObject({
      code: 'DATA_CORRUPTION',
      message: expect.stringContaining('version 0 is missing'),
    });
  });

  it('is refused when a commit is damaged', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a');
    await store.put(commitKey(1), Buffer.from('{"commitInfo":{'));
    await expect(openLog().load()).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });

  it('is refused when a commit is empty', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a');
    await store.put(commitKey(1), Buffer.alloc(0));
    await expect(openLog().load()).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });
});

/** A checkpoint says of no file that it changed data; all else must come back as it was. */
function asCheckpointed(snapshot: Snapshot): unknown {
  const plain = (file: Snapshot['emptyFile']): unknown => file && { ...file, add: { ...file.add, dataChange: false } };
  return {
    ...snapshot,
    schema: { columns: snapshot.schema.columns, nextFieldId: snapshot.schema.nextFieldId },
    files: new Map([...snapshot.files].map(([name, file]) => [name, plain(file)])),
    emptyFile: plain(snapshot.emptyFile),
  };
}

describe('checkpoint', () => {
  /** A table with everything in it that a log of ours can say. */
  async function richTable(log: DeltaLog): Promise<Snapshot> {
    let snapshot = await appendFiles(log, await create(log), 'plain', 'gone', 'replaced');
    const [plain, gone] = [...snapshot.files.values()].filter((file) => /plain|gone/.test(file.path));
    const soft = vectorOf([2]);
    const awkward = 'Grüße, "x" \\ \n 数量 \u{1F600} \'y\' ';
    snapshot = await log.commit(snapshot, APPEND, () => [
      {
        protocol: {
          minReaderVersion: 3,
          minWriterVersion: 7,
          readerFeatures: ['deletionVectors'],
          writerFeatures: ['deletionVectors', 'x-miniodbManaged'],
        },
      },
      { metaData: metaData({ 'miniodb.config': awkward, empty: '' }) },
      { txn: { appId: 'wal-1', version: Number.MAX_SAFE_INTEGER, lastUpdated: nowMs } },
      { txn: { appId: 'wal-2', version: 0, lastUpdated: nowMs } },
      ...(gone ? [removeOf(gone, nowMs, true)] : []),
      ...(plain
        ? [
            removeOf(plain, nowMs, true),
            { add: { ...plain.add, deletionVector: vectorOf([1, 2]), tags: { [TAG_SOFT_VECTOR]: JSON.stringify(soft) } } },
          ]
        : []),
      {
        add: add('bulk', {
          tags: { [TAG_LSN_BASE]: '123456789012' },
          deletionVector: vectorOf(Array.from({ length: 2_000 }, (_value, index) => index * 3)),
        }),
      },
      {
        add: add('long', {
          stats: `{"numRecords":1,"tightBounds":false,"minValues":{"n":-9223372036854775808,"s":${JSON.stringify(awkward)}},"maxValues":{"n":9223372036854775807,"x":-0.0}}`,
          size: 2 ** 40,
        }),
      },
      {
        add: {
          path: 'empty.parquet',
          partitionValues: {},
          size: 99,
          modificationTime: nowMs,
          dataChange: false,
          tags: { [TAG_EMPTY]: 'true' },
        },
      },
    ]);
    return snapshot;
  }

  it('gives the table back as the commits did', async () => {
    const log = openLog();
    const snapshot = await richTable(log);
    await log.checkpoint(snapshot, 0);
    for (let version = 0; version <= snapshot.version; version += 1) await store.delete(commitKey(version));
    const loaded = await openLog().load();
    expect(asCheckpointed(loaded)).toEqual(asCheckpointed(snapshot));
  });

  it('gives back a table of no rows and no files', async () => {
    const log = openLog();
    const created = await create(log);
    await log.checkpoint(created, 0);
    await store.delete(commitKey(0));
    expect(asCheckpointed(await openLog().load())).toEqual(asCheckpointed(created));
  });

  it('is what the log is read from, with the commits after it', async () => {
    const log = openLog();
    const middle = await appendFiles(log, await create(log), 'a', 'b');
    await log.checkpoint(middle, 0);
    const newest = await appendFiles(log, middle, 'c', 'd');
    for (const version of [0, 1, 2]) await store.delete(commitKey(version));
    const loaded = await openLog().load();
    expect([loaded.version, filesOf(loaded), loaded.timestampMs]).toEqual([4, ['a', 'b', 'c', 'd'], newest.timestampMs]);
    expect(filesOf(await openLog().load(2))).toEqual(['a', 'b']);
    expect(filesOf(await openLog().load(3))).toEqual(['a', 'b', 'c']);
  });

  it('goes on with a time that grows after a load', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a');
    await log.checkpoint(snapshot, 0);
    nowMs = 0;
    const next = await openLog().commit(await openLog().load(), APPEND, () => [{ add: add('b') }]);
    expect(next.timestampMs).toBeGreaterThan(snapshot.timestampMs);
  });

  it('forgets files that were removed before the window', async () => {
    const log = openLog();
    let snapshot = await appendFiles(log, await create(log), 'old', 'young');
    for (const file of snapshot.files.values()) {
      nowMs += 10_000;
      snapshot = await log.commit(snapshot, APPEND, () => [removeOf(file, nowMs, true)]);
    }
    await log.checkpoint(snapshot, nowMs - 5_000);
    expect([...(await openLog().load()).tombstones.keys()]).toEqual([expect.stringContaining('part-young')]);
  });

  it('of a small table can be written with the engine of a small machine', async () => {
    const small = await openEngine(256);
    try {
      const log = openLog(store, small);
      await log.checkpoint(await create(log), 0);
      expect(await logKeys()).toContain('00000000000000000000.checkpoint.parquet');
    } finally {
      small.close();
    }
  });

  it('can be written twice', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a');
    await log.checkpoint(snapshot, 0);
    await log.checkpoint(snapshot, 0);
    expect(filesOf(await openLog().load())).toEqual(['a']);
  });

  it.each([
    ['missing', undefined],
    ['no JSON', 'x'],
    ['empty', ''],
    ['of another kind', '{"version":"two"}'],
    ['older than the newest checkpoint', '{"version":1}'],
  ])('is found when the hint is %s', async (_name, hint) => {
    const log = openLog();
    let snapshot = await appendFiles(log, await create(log), 'a');
    await log.checkpoint(snapshot, 0);
    snapshot = await appendFiles(log, snapshot, 'b');
    await log.checkpoint(snapshot, 0);
    await appendFiles(log, snapshot, 'c');
    if (hint === undefined) await store.delete(`${LOG}/_last_checkpoint`);
    else await store.put(`${LOG}/_last_checkpoint`, Buffer.from(hint));
    expect(filesOf(await openLog().load())).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['a checkpoint that is not there', '{"version":2}'],
    ['a version that is not there', '{"version":9}'],
    ['nothing that makes sense', 'null'],
  ])('is not missed when the hint names %s and the commits are all there', async (_name, hint) => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a', 'b', 'c');
    await store.put(`${LOG}/_last_checkpoint`, Buffer.from(hint));
    expect(filesOf(await openLog().load())).toEqual(['a', 'b', 'c']);
  });

  it('that is damaged is DATA_CORRUPTION, not an older table', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a');
    await log.checkpoint(snapshot, 0);
    await store.put(`${LOG}/${String(1).padStart(20, '0')}.checkpoint.parquet`, Buffer.from('PAR1 no more'));
    for (const version of [0, 1]) await store.delete(commitKey(version));
    await expect(openLog().load()).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });
});

describe('a checkpoint that another program wrote', () => {
  /** A table whose file `a` got two deletion vectors, one after the other; version 3 of its log. */
  async function tableWithVectors(log: DeltaLog): Promise<Snapshot> {
    let snapshot = await appendFiles(log, await create(log), 'a');
    for (const positions of [[1], [1, 2]]) snapshot = await hideRows(log, snapshot, 'a', positions);
    return snapshot;
  }

  async function hideRows(log: DeltaLog, snapshot: Snapshot, name: string, positions: number[]): Promise<Snapshot> {
    const file = [...snapshot.files.values()].find(({ path: place }) => place.includes(`part-${name}`));
    if (!file) throw new Error(`no file ${name}`);
    const deletionVector = vectorOf(positions);
    return log.commit(snapshot, APPEND, () => [removeOf(file, nowMs, true), { add: { ...file.add, deletionVector } }]);
  }

  /** All actions of the log up to now, as a program writes them that keeps every tombstone. */
  function actionsIn(snapshot: Snapshot): Action[] {
    return [
      ...[...snapshot.files.values()].map(({ add: action }): Action => ({ add: action })),
      ...[...snapshot.tombstones.values()].map((remove): Action => ({ remove })),
      { metaData: snapshot.metaData },
      { protocol: snapshot.protocol },
      ...[...snapshot.transactions].map(([appId, version]): Action => ({ txn: { appId, version, lastUpdated: 0 } })),
    ];
  }

  /** @param columns further columns of the Parquet file, each with the SQL of its value */
  async function writeForeign(version: number, actions: readonly Action[], columns: Readonly<Record<string, string>> = {}): Promise<void> {
    const lines = scratch.path('ndjson');
    const parquet = scratch.path('parquet');
    const map = 'MAP(VARCHAR, VARCHAR)';
    const vector = 'STRUCT(storageType VARCHAR, pathOrInlineDv VARCHAR, "offset" INTEGER, sizeInBytes INTEGER, cardinality BIGINT)';
    const types = {
      metaData: `STRUCT(id VARCHAR, "name" VARCHAR, format STRUCT(provider VARCHAR, options ${map}), schemaString VARCHAR, partitionColumns VARCHAR[], configuration ${map}, createdTime BIGINT)`,
      add: `STRUCT(path VARCHAR, partitionValues ${map}, size BIGINT, modificationTime BIGINT, dataChange BOOLEAN, stats VARCHAR, tags ${map}, deletionVector ${vector}, baseRowId BIGINT)`,
      remove: `STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN, extendedFileMetadata BOOLEAN, partitionValues ${map}, size BIGINT, deletionVector ${vector})`,
      protocol: 'STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER, readerFeatures VARCHAR[], writerFeatures VARCHAR[])',
      txn: 'STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)',
    };
    await writeFile(lines, actions.map((action) => `${JSON.stringify(action)}\n`).join(''));
    const further = Object.entries(columns).map(([name, value]) => `, ${value} AS ${name}`);
    const source = `read_ndjson('${lines}', columns = {${Object.entries(types)
      .map(([name, type]) => `${name}: '${type}'`)
      .join(', ')}})`;
    await engine.run(`COPY (SELECT *${further.join('')} FROM ${source}) TO '${parquet}' (FORMAT parquet)`);
    await store.putFileIfAbsent(`${LOG}/${String(version).padStart(20, '0')}.checkpoint.parquet`, parquet);
    await store.put(`${LOG}/_last_checkpoint`, Buffer.from(JSON.stringify({ version, size: actions.length })));
    await scratch.remove(lines, parquet);
  }

  async function removeCommits(until: number): Promise<void> {
    for (let version = 0; version <= until; version += 1) await store.delete(commitKey(version));
  }

  it('gives the same table in whatever order its rows stand', async () => {
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.double({ noNaN: true })), async (places) => {
        // Another store each time: the engine remembers a file by its path.
        await startAnew();
        const snapshot = await tableWithVectors(openLog());
        await removeCommits(snapshot.version);
        const placed = actionsIn(snapshot).map((action) => ({ action, place: places.next().value ?? 0 }));
        await writeForeign(
          snapshot.version,
          placed.sort((one, other) => one.place - other.place).map(({ action }) => action),
        );
        const loaded = await openLog().load();
        expect([...loaded.files.values()].map(fileKey)).toEqual([...snapshot.files.values()].map(fileKey));
        expect([...loaded.tombstones.keys()].sort()).toEqual([...snapshot.tombstones.keys()].sort());
        expect(loaded.transactions).toEqual(snapshot.transactions);
      }),
      { numRuns: 10 },
    );
  });

  it('is read when it has columns that we do not know and lacks some of ours', async () => {
    const log = openLog();
    const snapshot = await tableWithVectors(log);
    await removeCommits(snapshot.version);
    await writeForeign(3, actionsIn(snapshot), { domainMetadata: `{domain: NULL::VARCHAR}`, sidecar: 'NULL::VARCHAR' });
    const loaded = await openLog().load();
    expect([loaded.version, filesOf(loaded), loaded.timestampMs > 0]).toEqual([3, ['a'], true]);
  });

  it('is not believed while the log says otherwise', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a', 'b', 'c');
    await writeForeign(
      3,
      actionsIn(snapshot).filter((action) => !('add' in action && action.add.path.includes('part-b'))),
    );
    await appendFiles(log, snapshot, 'd');
    expect(filesOf(await openLog().load())).toEqual(['a', 'b', 'c', 'd']);
    expect(filesOf(await openLog().load(3))).toEqual(['a', 'b', 'c']);
  });

  it('is not believed while the log says otherwise from an older checkpoint of ours on', async () => {
    const log = openLog();
    let snapshot = await appendFiles(log, await create(log), 'a');
    await log.checkpoint(snapshot, 0);
    await removeCommits(1);
    snapshot = await appendFiles(log, snapshot, 'b', 'c');
    await writeForeign(3, actionsIn(snapshot).slice(1));
    expect(filesOf(await openLog().load())).toEqual(['a', 'b', 'c']);
  });

  it('is not what clean-up keeps instead of the commits', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a', 'b');
    await writeForeign(2, actionsIn(snapshot));
    await appendFiles(log, snapshot, 'c');
    expect(await log.cleanUp(Date.now() + 60_000)).toBe(0);
    expect(filesOf(await openLog().load())).toEqual(['a', 'b', 'c']);
  });

  it('is refused when it does not say how many rows its files have', async () => {
    const log = openLog();
    const snapshot = await appendFiles(log, await create(log), 'a');
    await removeCommits(1);
    const { stats: _stats, ...unmeasured } = add('a');
    await writeForeign(1, [...actionsIn(snapshot).filter((action) => !('add' in action)), { add: unmeasured }]);
    await expect(openLog().load()).rejects.toMatchObject({
      code: 'DATA_CORRUPTION',
      message: expect.stringContaining('statistics'),
    });
  });
});

describe('history', () => {
  it('has the newest versions first, with what each did', async () => {
    const log = openLog();
    const newest = await appendFiles(log, await create(log), 'a', 'b');
    const history = await log.history(newest.version, 10);
    expect(history.map(({ version, operation, parameters }) => ({ version, operation, parameters }))).toEqual([
      { version: 2, operation: 'WRITE', parameters: { mode: 'Append' } },
      { version: 1, operation: 'WRITE', parameters: { mode: 'Append' } },
      { version: 0, operation: 'CREATE TABLE', parameters: {} },
    ]);
    expect(history[0]?.timestampMs).toBe(newest.timestampMs);
    expect(await log.history(2, 2)).toEqual(history.slice(0, 2));
  });

  it('ends where clean-up removed versions', async () => {
    const log = openLog();
    const newest = await appendFiles(log, await create(log), 'a', 'b');
    await store.delete(commitKey(0));
    expect((await log.history(newest.version, 10)).map(({ version }) => version)).toEqual([2, 1]);
  });

  it('knows the version of an instant', async () => {
    const log = openLog();
    const created = await create(log);
    const newest = await appendFiles(log, created, 'a', 'b', 'c');
    const at = (ms: number): Promise<number> => log.versionAt(newest, created.timestampMs + ms);
    expect([await at(0), await at(999), await at(1_000), await at(2_999), await at(3_000), await at(1e9)]).toEqual([0, 0, 1, 2, 3, 3]);
    await expect(at(-1)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('has no version for an instant that clean-up removed', async () => {
    const log = openLog();
    const created = await create(log);
    const newest = await appendFiles(log, created, 'a', 'b');
    await store.delete(commitKey(0));
    await expect(log.versionAt(newest, created.timestampMs)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('refuses a version that never was', async () => {
    const log = openLog();
    await appendFiles(log, await create(log), 'a');
    await expect(log.load(5)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('clean-up', () => {
  const everything = (): number => Date.now() + 3_600_000;

  /** Versions 0 to 6, with checkpoints at 2 and 4. */
  async function tableWithCheckpoints(log: DeltaLog): Promise<Snapshot> {
    let snapshot = await appendFiles(log, await create(log), 'a', 'b');
    await log.checkpoint(snapshot, 0);
    snapshot = await appendFiles(log, snapshot, 'c', 'd');
    await log.checkpoint(snapshot, 0);
    return appendFiles(log, snapshot, 'e', 'f');
  }

  it('removes what stands before the newest checkpoint outside of the window', async () => {
    const log = openLog();
    const newest = await tableWithCheckpoints(log);
    expect(await log.cleanUp(everything())).toBe(5);
    expect(await logKeys()).toEqual(
      [4, 5, 6]
        .flatMap((version) => [
          ...(version === 4 ? [`${String(version).padStart(20, '0')}.checkpoint.parquet`] : []),
          `${String(version).padStart(20, '0')}.json`,
        ])
        .concat('_last_checkpoint'),
    );
    expect(filesOf(await openLog().load())).toEqual(filesOf(newest));
    for (const version of [4, 5, 6]) expect((await openLog().load(version)).version).toBe(version);
    expect((await log.history(6, 10)).map(({ version }) => version)).toEqual([6, 5, 4]);
  });

  it('removes nothing while every checkpoint is within the window, nor without one', async () => {
    const log = openLog();
    await tableWithCheckpoints(log);
    expect(await log.cleanUp(Date.now() - 3_600_000)).toBe(0);
    for (let version = 0; version <= 6; version += 1) expect((await openLog().load(version)).version).toBe(version);
    await store.delete(`${LOG}/_last_checkpoint`);
    for (const version of [2, 4]) await store.delete(`${LOG}/${String(version).padStart(20, '0')}.checkpoint.parquet`);
    expect(await log.cleanUp(everything())).toBe(0);
  });

  it('can be done again', async () => {
    const log = openLog();
    await tableWithCheckpoints(log);
    await log.cleanUp(everything());
    expect(await log.cleanUp(everything())).toBe(0);
  });

  it('answers NOT_FOUND for a version that it removed', async () => {
    const log = openLog();
    await tableWithCheckpoints(log);
    await log.cleanUp(everything());
    for (const version of [0, 1, 2, 3])
      await expectThat(openLog().load(version), String(version)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('never leaves a gap, after whichever removal it is cut off', async () => {
    for (let removals = 0; removals <= 5; removals += 1) {
      store = new LocalObjectStore(path.join(root, `objects-clean-up-${removals}`));
      const newest = await tableWithCheckpoints(openLog());
      let left = removals;
      const dying = new FailingStore(store);
      dying.delete = async (key) => {
        if (left === 0) throw new Error('the process ends here');
        left -= 1;
        await store.delete(key);
      };
      await openLog(dying)
        .cleanUp(everything())
        .catch(() => undefined);
      expectThat(filesOf(await openLog().load()), `after ${removals} removals`).toEqual(filesOf(newest));
      for (const version of [4, 5, 6]) expectThat((await openLog().load(version)).version, `after ${removals} removals`).toBe(version);
      for (const version of [0, 1, 2, 3]) {
        const outcome = await openLog()
          .load(version)
          .then(
            (snapshot) => snapshot.version,
            (error: unknown) => (error as { code?: string }).code,
          );
        expectThat([version, 'NOT_FOUND'], `version ${version} after ${removals} removals`).toContain(outcome);
      }
      await openLog().cleanUp(everything());
      expect(await logKeys()).toHaveLength(5);
    }
  });
});
