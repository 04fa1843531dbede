/**
 * A table at one version: what its log says up to there. A snapshot never changes; a commit makes the next one. Queries hold on to the
 * snapshot they started with, which is why they see neither half a commit nor files that come and go.
 */
import { AppError } from '../common/app-error.js';
import { fromDeltaSchema, type TableSchema } from './table-schema.js';
import type { Action, AddAction, DeletionVectorDescriptor, MetaDataAction, ProtocolAction, RemoveAction } from './action.js';
import { vectorKey } from './deletion-vector.js';
import type { TimeBounds } from './file-statistics.js';

/** Tags that this server puts on a data file. */
export const TAG_LSN_BASE = 'miniodb.lsnBase';
export const TAG_SOFT_VECTOR = 'miniodb.softDeleted';
export const TAG_EMPTY = 'miniodb.empty';
export const TAG_TIMES = 'miniodb.times';
export const NEXT_FIELD_ID = 'miniodb.nextFieldId';

const KNOWN_READER_FEATURES = new Set(['deletionVectors']);

export interface DataFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Physical rows, hidden ones included. */
  readonly rows: number;
  /** Bounds and counts as the log has them: JSON text, because its numbers may be longer than `number`. */
  readonly stats: string | undefined;
  /** Rows that no reader sees. */
  readonly vector: DeletionVectorDescriptor | undefined;
  /** Those of them that can be restored. */
  readonly softVector: DeletionVectorDescriptor | undefined;
  /** Set when the file has no LSN column: the LSN of a row is this plus its position. */
  readonly lsnBase: number | undefined;
  /** Of all its rows, hidden ones included. */
  readonly times: TimeBounds | undefined;
  readonly add: AddAction;
}

export interface Snapshot {
  readonly version: number;
  /** Time of the commit: grows from version to version, whatever the clocks do. */
  readonly timestampMs: number;
  readonly protocol: ProtocolAction;
  readonly metaData: MetaDataAction;
  readonly schema: TableSchema;
  readonly files: ReadonlyMap<string, DataFile>;
  /** The file that exists only so that some readers count rows rightly (see `table-protocol.ts`). */
  readonly emptyFile: DataFile | undefined;
  /** Files that left the table, by path and deletion vector; they stay on disk for time travel. */
  readonly tombstones: ReadonlyMap<string, RemoveAction>;
  /** Last LSN of each WAL that this version holds. */
  readonly transactions: ReadonlyMap<string, number>;
}

/** The table after a commit on `before` (undefined for version 0). @throws AppError DATA_CORRUPTION when the log contradicts itself */
export function applyActions(before: Snapshot | undefined, version: number, actions: readonly Action[]): Snapshot {
  const files = new Map(before?.files);
  const tombstones = new Map(before?.tombstones);
  const transactions = new Map(before?.transactions);
  let { protocol, metaData, schema, emptyFile } = before ?? {};
  let timestampMs = before?.timestampMs ?? 0;
  for (const action of actions) {
    if ('commitInfo' in action) timestampMs = action.commitInfo.inCommitTimestamp;
    else if ('protocol' in action) protocol = action.protocol;
    else if ('metaData' in action) {
      metaData = action.metaData;
      schema = fromDeltaSchema(metaData.schemaString, Number(metaData.configuration[NEXT_FIELD_ID]));
    } else if ('txn' in action) transactions.set(action.txn.appId, action.txn.version);
    else if ('add' in action) {
      const file = toDataFile(action.add);
      tombstones.delete(fileKey(file));
      if (file.add.tags?.[TAG_EMPTY]) emptyFile = file;
      else files.set(file.path, file);
    } else if ('remove' in action) {
      const removed = { path: pathOf(action.remove), vector: action.remove.deletionVector };
      const key = fileKey(removed);
      // A file that got another deletion vector is removed with the old one and added with the new one. The rows of a checkpoint have no order,
      // so the remove may come last: it takes out the file in the state that it names, and no other.
      const present = files.get(removed.path);
      if (present && fileKey(present) === key) files.delete(removed.path);
      if (emptyFile && fileKey(emptyFile) === key) emptyFile = undefined;
      tombstones.set(key, action.remove);
    }
  }
  if (!protocol || !metaData || !schema)
    throw new AppError('DATA_CORRUPTION', `version ${version} of the table's log has no protocol or no metadata`);
  assertReadable(protocol);
  return { version, timestampMs, protocol, metaData, schema, files, emptyFile, tombstones, transactions };
}

/** The actions that make a table anew whose first version is this snapshot. What left the table before is not in it. */
export function contentsOf(snapshot: Snapshot, lastUpdated: number): Action[] {
  const files = [...snapshot.files.values(), ...(snapshot.emptyFile ? [snapshot.emptyFile] : [])];
  return [
    { protocol: snapshot.protocol },
    { metaData: snapshot.metaData },
    ...[...snapshot.transactions].map(([appId, version]): Action => ({ txn: { appId, version, lastUpdated } })),
    ...files.map(({ add }): Action => ({ add })),
  ];
}

function toDataFile(add: AddAction): DataFile {
  const lsnBase = add.tags?.[TAG_LSN_BASE];
  const soft = add.tags?.[TAG_SOFT_VECTOR];
  const [first, last] = add.tags?.[TAG_TIMES]?.split(',') ?? [];
  return {
    path: pathOf(add),
    sizeBytes: add.size,
    rows: Number(/"numRecords":(\d+)/.exec(add.stats ?? '')?.[1] ?? 0),
    stats: add.stats,
    vector: add.deletionVector,
    softVector: soft === undefined ? undefined : (JSON.parse(soft) as DeletionVectorDescriptor),
    lsnBase: lsnBase === undefined ? undefined : Number(lsnBase),
    times: first === undefined || last === undefined ? undefined : { first, last },
    add,
  };
}

/** Where the object of an action is, in the table's directory: actions carry paths as URIs. @throws AppError DATA_CORRUPTION for what is none */
export function pathOf({ path }: Pick<AddAction, 'path'>): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    throw new AppError('DATA_CORRUPTION', `the path ${path} in the table's log is not a URI; restore the log from a backup`, {
      cause: error,
    });
  }
}

function assertReadable(protocol: ProtocolAction): void {
  const unknown = (protocol.readerFeatures ?? []).filter((feature) => !KNOWN_READER_FEATURES.has(feature));
  if ((protocol.minReaderVersion !== 1 && protocol.minReaderVersion !== 3) || unknown.length > 0) {
    throw new AppError(
      'DATA_CORRUPTION',
      `the table needs reader version ${protocol.minReaderVersion} and features [${unknown.join(', ')}], which this server does not support`,
    );
  }
}

/** Rows a reader of the files sees. */
export function visibleRows(file: DataFile): number {
  return file.rows - (file.vector?.cardinality ?? 0);
}

/** Tells a file in one state of its deletion vector from the same file in another. */
export function fileKey(file: Pick<DataFile, 'path' | 'vector'>): string {
  return `${file.path}#${vectorKey(file.vector)}`;
}

/** The `remove` that takes a file out of the table. */
export function removeOf(file: DataFile, nowMs: number, dataChange: boolean): Action {
  return {
    remove: {
      path: file.add.path,
      deletionTimestamp: nowMs,
      dataChange,
      extendedFileMetadata: true,
      partitionValues: {},
      size: file.sizeBytes,
      ...(file.vector ? { deletionVector: file.vector } : {}),
      ...(file.add.tags ? { tags: file.add.tags } : {}),
    },
  };
}

/** When the oldest of some files was written. */
export function oldestMs(files: readonly DataFile[]): number {
  return files.reduce((oldest, { add }) => Math.min(oldest, add.modificationTime), Infinity);
}
