/**
 * What a table of ours asks of readers and writers.
 *
 * It starts at reader version 1, which every Delta reader knows, and moves to 3 with the feature `deletionVectors` in the commit of its first
 * vector. Writers need version 7 with a feature of a private name, so that every other engine reads the table and refuses to write to it.
 */
import type { Engine } from '../engine/duckdb/engine.js';
import { quoteText } from '../engine/duckdb/sql-text.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { ScratchFiles } from '../storage/scratch-files.js';
import type { Action, AddAction, ProtocolAction } from './action.js';
import { removeOf, type Snapshot, TAG_EMPTY } from './snapshot.js';

const PRIVATE_WRITER_FEATURE = 'x-miniodbManaged';
const WRITER_FEATURES = ['inCommitTimestamp', PRIVATE_WRITER_FEATURE];
export const INITIAL_CONFIGURATION = { 'delta.enableInCommitTimestamps': 'true' };

export const INITIAL_PROTOCOL: ProtocolAction = { minReaderVersion: 1, minWriterVersion: 7, writerFeatures: WRITER_FEATURES };

const VECTOR_PROTOCOL: ProtocolAction = {
  minReaderVersion: 3,
  minWriterVersion: 7,
  readerFeatures: ['deletionVectors'],
  writerFeatures: ['deletionVectors', ...WRITER_FEATURES],
};
const EMPTY_FILE = 'empty.parquet';

/**
 * The actions that must stand in the same commit because of deletion vectors: the move to their protocol with the first one, and the empty file
 * without statistics. ClickHouse answers a bare count() from the log's row counts and forgets the vectors, unless some file has no row count;
 * so one is there as long as any vector is.
 * @param actions the commit without them
 */
export async function vectorActions(current: Snapshot, actions: readonly Action[], emptyFile: EmptyFile, nowMs: number): Promise<Action[]> {
  const needsVectors = hasVectorAfter(current, actions);
  const extra: Action[] = [];
  if (needsVectors && current.protocol.minReaderVersion === 1) {
    const metaData = actions.find((action) => 'metaData' in action)?.metaData ?? current.metaData;
    extra.push({ protocol: VECTOR_PROTOCOL });
    extra.push({ metaData: { ...metaData, configuration: { ...metaData.configuration, 'delta.enableDeletionVectors': 'true' } } });
  }
  if (needsVectors && !current.emptyFile) extra.push({ add: await emptyFile.add(nowMs) });
  if (!needsVectors && current.emptyFile) extra.push(removeOf(current.emptyFile, nowMs, false));
  return extra;
}

function hasVectorAfter(current: Snapshot, actions: readonly Action[]): boolean {
  const withVector = new Set([...current.files.values()].filter((file) => file.vector).map((file) => file.add.path));
  for (const action of actions) {
    if ('remove' in action) withVector.delete(action.remove.path);
    if ('add' in action && action.add.deletionVector) withVector.add(action.add.path);
  }
  return withVector.size > 0;
}

/** The file of no rows, one a table directory. */
export class EmptyFile {
  constructor(
    private readonly store: ObjectStore,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly directory: string,
  ) {}

  async add(nowMs: number): Promise<AddAction> {
    const file = this.scratch.path('parquet');
    try {
      await this.engine.run(`COPY (SELECT NULL::VARCHAR AS id WHERE false) TO ${quoteText(file)} (FORMAT parquet)`);
      await this.store.putFileIfAbsent(`${this.directory}/${EMPTY_FILE}`, file);
    } finally {
      await this.scratch.remove(file);
    }
    const bytes = await this.store.get(`${this.directory}/${EMPTY_FILE}`);
    return {
      path: EMPTY_FILE,
      partitionValues: {},
      size: bytes?.length ?? 0,
      modificationTime: nowMs,
      dataChange: false,
      tags: { [TAG_EMPTY]: 'true' },
    };
  }
}
