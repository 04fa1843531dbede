/** What is told of a data backup: what is in it, and how large it is. */
import { type BackupObject, DATA_PREFIX, type DataBackupType, type Manifest } from './manifest.js';

export interface DataBackupInfo {
  readonly backup_id: string;
  readonly node_id: string;
  readonly type: DataBackupType;
  readonly timestamp: string;
  readonly tables: readonly { readonly name: string; readonly version: number; readonly rows: number; readonly files: number }[];
  /** Total size of all files that it needs. */
  readonly total_bytes: number;
  /** Total size of the files that this backup copied itself. */
  readonly size_bytes: number;
}

export function infoOf({ backup_id, node_id, type, timestamp, tables }: Manifest): DataBackupInfo {
  const objects = tables.flatMap((table) => table.objects);
  const own = objects.filter(({ key }) => key.startsWith(`${DATA_PREFIX}${backup_id}/`));
  const bytesOf = (some: readonly BackupObject[]): number => some.reduce((sum, object) => sum + object.size_bytes, 0);
  return {
    backup_id,
    node_id,
    type,
    timestamp,
    tables: tables.map(({ name, version, rows, actions }) => ({
      name,
      version,
      rows,
      files: actions.filter((action) => 'add' in action).length,
    })),
    total_bytes: bytesOf(objects),
    size_bytes: bytesOf(own),
  };
}
