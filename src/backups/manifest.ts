/**
 * What a data backup is made of. Its manifest is written last, so a backup is there as a whole or not at all; files that no manifest names are left
 * over from one that was interrupted. See docs/format/backups.md.
 */
import { AppError } from '../common/app-error.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import type { Action } from '../delta/action.js';
import { applyActions, type Snapshot } from '../delta/snapshot.js';
import { BACKUPS_DIRECTORY } from '../tables/catalogue.js';
import { timeOfName } from './backup-name.js';
import { unseal } from './sealed-document.js';

export const DATA_PREFIX = `${BACKUPS_DIRECTORY}/data/`;
const MANIFEST = 'manifest.json';

export const DATA_BACKUP_TYPES = ['full', 'incremental'] as const;
export type DataBackupType = (typeof DATA_BACKUP_TYPES)[number];

/** A data file or deletion vector, where it was copied to. */
export interface BackupObject {
  /** In the table's directory. */
  readonly path: string;
  /** In the backup store; below another backup's name when that one had copied it already. */
  readonly key: string;
  readonly size_bytes: number;
  readonly sha256: string;
}

export interface BackupTable {
  readonly name: string;
  readonly table_id: string;
  readonly created_at: string;
  readonly version: number;
  readonly rows: number;
  /** Actions that make the table anew: protocol, metadata, files. */
  readonly actions: readonly Action[];
  readonly objects: readonly BackupObject[];
}

export interface Manifest {
  readonly format: 1;
  readonly backup_id: string;
  readonly node_id: string;
  readonly type: DataBackupType;
  readonly timestamp: string;
  readonly tables: readonly BackupTable[];
}

export function manifestKey(backupId: string): string {
  return `${DATA_PREFIX}${backupId}/${MANIFEST}`;
}

export function snapshotOf({ version, actions }: BackupTable): Snapshot {
  return applyActions(undefined, version, actions);
}

/** Ids of the backups that are there, oldest first. */
export async function listBackupIds(store: RemoteObjectStore): Promise<string[]> {
  const ids: string[] = [];
  for await (const { key } of store.list(DATA_PREFIX)) {
    const [id = '', name] = key.slice(DATA_PREFIX.length).split('/');
    if (name === MANIFEST && timeOfName(id) !== undefined) ids.push(id);
  }
  return ids.sort();
}

/** @throws AppError NOT_FOUND when there is no such backup, DATA_CORRUPTION for a damaged one */
export async function readManifest(store: RemoteObjectStore, backupId: string): Promise<Manifest> {
  const bytes = timeOfName(backupId) === undefined ? undefined : await store.get(manifestKey(backupId));
  if (bytes === undefined) throw noSuchBackup(backupId);
  const manifest = unseal<Manifest>(bytes, backupId, true, ({ tables }) => Array.isArray(tables));
  const { format } = manifest as { readonly format: number };
  if (format !== 1)
    throw new AppError('DATA_CORRUPTION', `backup ${backupId} has format ${format}, which this version of the server cannot read`);
  return manifest;
}

export function noSuchBackup(backupId: string): AppError {
  return new AppError('NOT_FOUND', `there is no data backup ${backupId}; GET /v1/backups lists the backups that exist`);
}
