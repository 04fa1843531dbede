/**
 * Checkpoints: one Parquet file that says what all commits up to a version say, and the hint that names the newest.
 *
 * The engine encodes them, off the event loop. The checkpoint is written before the hint, and a hint is never trusted further than that the file
 * it names is looked for. Other programs write checkpoints into our tables without asking, so ours carry a mark that no copy of their contents
 * takes along. Source: "Checkpoint Schema" (V1, one part) and "Last Checkpoint File" of the Delta protocol.
 */
import { writeFile } from 'node:fs/promises';
import { AppError } from '../common/app-error.js';
import { faultPoint } from '../common/fault-points.js';
import type { Engine } from '../engine/duckdb/engine.js';
import { quoteText } from '../engine/duckdb/sql-text.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { ScratchFiles } from '../storage/scratch-files.js';
import type { Action } from './action.js';
import { applyActions, type Snapshot, TAG_EMPTY } from './snapshot.js';

/** Longest action; the engine sets twice this aside for each thread. */
const ACTION_BYTES_MAX = 16 * 1_024 * 1_024;
const VECTOR = 'STRUCT(storageType VARCHAR, pathOrInlineDv VARCHAR, "offset" INTEGER, sizeInBytes INTEGER, cardinality BIGINT)';
const TEXT_MAP = 'MAP(VARCHAR, VARCHAR)';
const COLUMNS: Readonly<Record<string, string>> = {
  txn: 'STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)',
  add: `STRUCT(path VARCHAR, partitionValues ${TEXT_MAP}, size BIGINT, modificationTime BIGINT, dataChange BOOLEAN, stats VARCHAR, tags ${TEXT_MAP}, deletionVector ${VECTOR})`,
  remove: `STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN, extendedFileMetadata BOOLEAN, partitionValues ${TEXT_MAP}, size BIGINT, tags ${TEXT_MAP}, deletionVector ${VECTOR})`,
  metaData: `STRUCT(id VARCHAR, "name" VARCHAR, format STRUCT(provider VARCHAR, options ${TEXT_MAP}), schemaString VARCHAR, partitionColumns VARCHAR[], configuration ${TEXT_MAP}, createdTime BIGINT)`,
  protocol: 'STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER, readerFeatures VARCHAR[], writerFeatures VARCHAR[])',
};

/** Key in the metadata of the Parquet file, which only its writer can set. */
const WRITER_KEY = 'miniodb.checkpoint';

export interface Checkpoint {
  readonly snapshot: Snapshot;
  /** False when another program wrote it. */
  readonly isOurs: boolean;
}

export class CheckpointFiles {
  constructor(
    private readonly store: ObjectStore,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
  ) {}

  /** @param tombstonesFromMs files removed before this instant are not remembered */
  async write(directory: string, key: string, snapshot: Snapshot, tombstonesFromMs: number): Promise<void> {
    const lines = this.scratch.path('ndjson');
    const parquet = this.scratch.path('parquet');
    try {
      await writeFile(
        lines,
        actionsOf(snapshot, tombstonesFromMs)
          .map((action) => `${JSON.stringify(action)}\n`)
          .join(''),
      );
      const columns = Object.entries(COLUMNS).map(([name, type]) => `${name}: ${quoteText(type)}`);
      const source = `read_ndjson(${quoteText(lines)}, columns = {${columns.join(', ')}}, maximum_object_size = ${ACTION_BYTES_MAX})`;
      await this.engine.run(
        `COPY (SELECT * FROM ${source}) TO ${quoteText(parquet)} (FORMAT parquet, COMPRESSION zstd, KV_METADATA {${quoteText(WRITER_KEY)}: '1'})`,
      );
      // The same version written twice says the same, so the first one stays.
      await this.store.putFileIfAbsent(key, parquet);
      faultPoint('checkpoint.after-write');
      const hint = JSON.stringify({ version: snapshot.version, size: snapshot.files.size + snapshot.tombstones.size + 3 });
      await this.store.put(`${directory}/_delta_log/_last_checkpoint`, Buffer.from(hint));
      faultPoint('checkpoint.after-hint');
    } finally {
      await this.scratch.remove(lines, parquet);
    }
  }

  /** @throws AppError DATA_CORRUPTION when it is missing, damaged, or lacks what this server needs */
  read(key: string, version: number): Promise<Checkpoint> {
    return this.#withFile(key, async (file) => ({ snapshot: await this.#read(file, key, version), isOurs: await this.#isOurs(file) }));
  }

  isOurs(key: string): Promise<boolean> {
    return this.#withFile(key, (file) => this.#isOurs(file));
  }

  async #withFile<T>(key: string, use: (file: string) => Promise<T>): Promise<T> {
    const object = await this.store.openLocal(key, await this.#sizeOf(key));
    try {
      return await use(object.path);
    } catch (error) {
      if (error instanceof AppError) throw error;
      throw new AppError('DATA_CORRUPTION', `the checkpoint ${key} is damaged; restore it from a backup`, { cause: error });
    } finally {
      object.release();
    }
  }

  async #sizeOf(key: string): Promise<number> {
    for await (const object of this.store.list(key)) if (object.key === key) return object.sizeBytes;
    throw new AppError('DATA_CORRUPTION', `the checkpoint ${key} is missing; restore it from a backup`);
  }

  async #isOurs(file: string): Promise<boolean> {
    const rows = await this.engine.rows(
      `SELECT 1 FROM parquet_kv_metadata(${quoteText(file)}) WHERE decode(key) = ${quoteText(WRITER_KEY)}`,
    );
    return rows.length > 0;
  }

  async #read(file: string, key: string, version: number): Promise<Snapshot> {
    // Other programs leave out columns of actions that they have none of, and add columns that we have no use for.
    const present = await this.engine.rows(`SELECT column_name AS name FROM (DESCRIBE SELECT * FROM read_parquet(${quoteText(file)}))`);
    const names = present.map((row) => String(row['name'])).filter((name) => name in COLUMNS);
    const kinds = names.map((name) => `WHEN ${name} IS NOT NULL THEN to_json({${quoteText(name)}: ${name}})::VARCHAR`);
    const rows = await this.engine.rows(
      `SELECT * FROM (SELECT CASE ${kinds.join(' ')} END AS action FROM read_parquet(${quoteText(file)})) WHERE action IS NOT NULL`,
    );
    const actions = rows.map((row) => JSON.parse(String(row['action']), (_key, value: unknown) => value ?? undefined) as Action);
    const unmeasured = actions.find((action) => 'add' in action && action.add.stats === undefined && !action.add.tags?.[TAG_EMPTY]);
    if (unmeasured)
      throw new AppError(
        'DATA_CORRUPTION',
        `the checkpoint ${key} has no statistics of its files as JSON text, so their rows cannot be counted; restore the table's log from a backup`,
      );
    const snapshot = applyActions(undefined, version, actions);
    const time = snapshot.metaData.configuration[CHECKPOINT_TIME];
    return { ...snapshot, timestampMs: Number(time ?? newestTimeMs(actions)), metaData: withoutCheckpointTime(snapshot.metaData) };
  }

  /** The version of the newest checkpoint that is really there. */
  async hint(directory: string): Promise<number | undefined> {
    const bytes = await this.store.get(`${directory}/_delta_log/_last_checkpoint`);
    if (bytes === undefined) return undefined;
    try {
      const { version } = (JSON.parse(bytes.toString()) ?? {}) as { version?: unknown };
      return typeof version === 'number' ? version : undefined;
    } catch (error) {
      // A damaged hint costs a longer listing, nothing else.
      if (error instanceof SyntaxError) return undefined;
      throw new AppError('UNAVAILABLE', `${directory}: the hint of the last checkpoint cannot be read`, { cause: error });
    }
  }
}

/** Where a checkpoint keeps the time of its version, so that time never runs backwards over a restart. */
const CHECKPOINT_TIME = 'miniodb.checkpointTimestamp';

/** The newest time that actions tell: what a checkpoint of another program says of the time of its version. */
function newestTimeMs(actions: readonly Action[]): number {
  return actions.reduce((newest, action) => Math.max(newest, timeMsOf(action)), 0);
}

function timeMsOf(action: Action): number {
  if ('add' in action) return action.add.modificationTime;
  if ('remove' in action) return action.remove.deletionTimestamp ?? 0;
  return 'metaData' in action ? (action.metaData.createdTime ?? 0) : 0;
}

function withoutCheckpointTime(metaData: Snapshot['metaData']): Snapshot['metaData'] {
  const { [CHECKPOINT_TIME]: _time, ...configuration } = metaData.configuration;
  return { ...metaData, configuration };
}

function actionsOf(snapshot: Snapshot, tombstonesFromMs: number): Action[] {
  const { metaData } = snapshot;
  const configuration = { ...metaData.configuration, [CHECKPOINT_TIME]: String(snapshot.timestampMs) };
  const files = snapshot.emptyFile ? [...snapshot.files.values(), snapshot.emptyFile] : [...snapshot.files.values()];
  return [
    { protocol: snapshot.protocol },
    { metaData: { ...metaData, configuration } },
    ...[...snapshot.transactions].map(([appId, version]): Action => ({ txn: { appId, version, lastUpdated: snapshot.timestampMs } })),
    ...[...snapshot.tombstones.values()]
      .filter((remove) => remove.deletionTimestamp >= tombstonesFromMs)
      .map((remove): Action => ({ remove })),
    ...files.map((file): Action => ({ add: { ...file.add, dataChange: false } })),
  ];
}
