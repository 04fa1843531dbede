/**
 * Checkpoints: one Parquet file that says what all commits up to a version say, and the hint that names the newest.
 *
 * The engine encodes them, off the event loop. The checkpoint is written before the hint, and a hint is never trusted further than that the file
 * it names is looked for. Source: "Checkpoint Schema" (V1, one part) and "Last Checkpoint File" of the Delta protocol.
 */
import { writeFile } from 'node:fs/promises';
import { AppError } from '../../common/app-error.js';
import { faultPoint } from '../../common/fault-points.js';
import type { Engine } from '../../infra/duckdb/engine.js';
import { quoteText } from '../../infra/duckdb/sql-text.js';
import type { ObjectStore } from '../../infra/object-store/object-store.js';
import type { ScratchFiles } from '../../infra/scratch-files.js';
import type { Action } from './action.js';
import { applyActions, type Snapshot } from './snapshot.js';

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
      await this.engine.run(`COPY (SELECT * FROM ${source}) TO ${quoteText(parquet)} (FORMAT parquet, COMPRESSION zstd)`);
      // The same version written twice says the same: whoever was first is right.
      await this.store.putFileIfAbsent(key, parquet);
      faultPoint('checkpoint.after-write');
      const hint = JSON.stringify({ version: snapshot.version, size: snapshot.files.size + snapshot.tombstones.size + 3 });
      await this.store.put(`${directory}/_delta_log/_last_checkpoint`, Buffer.from(hint));
      faultPoint('checkpoint.after-hint');
    } finally {
      await this.scratch.remove(lines, parquet);
    }
  }

  async read(key: string, version: number): Promise<Snapshot> {
    const object = await this.store.openLocal(key, await this.#sizeOf(key));
    try {
      return await this.#read(object.path, version);
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

  async #read(file: string, version: number): Promise<Snapshot> {
    const kinds = Object.keys(COLUMNS).map((name) => `WHEN ${name} IS NOT NULL THEN to_json({${quoteText(name)}: ${name}})::VARCHAR`);
    const rows = await this.engine.rows(`SELECT CASE ${kinds.join(' ')} END AS action FROM read_parquet(${quoteText(file)})`);
    const actions = rows.map((row) => JSON.parse(String(row['action']), (_key, value: unknown) => value ?? undefined) as Action);
    const timestamp = actions.find((action) => 'metaData' in action)?.metaData.configuration[CHECKPOINT_TIME];
    const snapshot = applyActions(undefined, version, actions);
    return { ...snapshot, timestampMs: Number(timestamp ?? 0), metaData: withoutCheckpointTime(snapshot.metaData) };
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
