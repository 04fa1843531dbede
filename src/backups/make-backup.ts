/**
 * Makes a data backup: flush → take a snapshot of each table → copy the files that no backup has yet → write the manifest.
 *
 * Data files never change, so a copy is a copy of a name, and an incremental backup names the files of earlier ones. Reading and writing go on
 * meanwhile; a table is in the backup as it was at one version.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { CLOCK, LOGGER } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { Lease } from '../coordination/lease.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import type { Table } from '../tables/table.js';
import { TableEvents } from '../tables/table-events.js';
import { type DataBackupInfo, infoOf } from './backup-info.js';
import { takeName, timeOfName } from './backup-name.js';
import { CopyTable } from './copy-table.js';
import {
  type BackupObject,
  type BackupTable,
  DATA_PREFIX,
  type DataBackupType,
  listBackupIds,
  type Manifest,
  manifestKey,
} from './manifest.js';
import { ReadableManifests } from './readable-manifests.js';
import { seal } from './sealed-document.js';

@Injectable()
export class MakeBackup {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly events: TableEvents,
    private readonly copyTable: CopyTable,
    private readonly manifests: ReadableManifests,
  ) {}

  /** @param lease that keeps others from making or deleting backups meanwhile */
  async run(store: RemoteObjectStore, tables: readonly Table[], type: DataBackupType, lease: Lease): Promise<DataBackupInfo> {
    const { config, clock, logger } = this;
    const taken = new Set(await listBackupIds(store));
    const known = type === 'incremental' ? await this.#knownObjects(store, [...taken]) : new Map<string, BackupObject>();
    const backup_id = await takeName('data', clock.nowMs(), (name) => Promise.resolve(!taken.has(name)));
    await this.events.ask('rowsNeeded', tables);
    const backedUp: BackupTable[] = [];
    for (const table of tables) backedUp.push(await this.copyTable.run(store, table, backup_id, known));
    const timestamp = new Date(timeOfName(backup_id) ?? 0).toISOString();
    const manifest: Manifest = { format: 1, backup_id, node_id: config.node_id, type, timestamp, tables: backedUp };
    // Files of an earlier backup that this one names could be deleted from now on.
    if (!lease.isHeld()) throw new AppError('UNAVAILABLE', `backup ${backup_id} took longer than two hours; back up fewer tables at once`);
    // COMMIT POINT of a backup.
    if (!(await store.putIfAbsent(manifestKey(backup_id), seal(manifest))))
      throw new AppError('CONFLICT', `backup ${backup_id} was made by another node in the same second; try again`);
    const info = infoOf(manifest);
    logger.info(
      { type, tables: backedUp.length, bytes: info.size_bytes, total_bytes: info.total_bytes },
      `data backup ${backup_id} written (${backedUp.map(({ name }) => `table:${name}`).join(' ')})`,
    );
    return info;
  }

  /** Files that earlier backups have, by table and path. */
  async #knownObjects(store: RemoteObjectStore, ids: readonly string[]): Promise<Map<string, BackupObject>> {
    const keys = new Set<string>();
    for await (const { key } of store.list(DATA_PREFIX)) keys.add(key);
    const known = new Map<string, BackupObject>();
    for (const { tables } of await this.manifests.of(store, ids)) {
      for (const { table_id: tableId, objects } of tables)
        for (const object of objects) if (keys.has(object.key)) known.set(`${tableId}/${object.path}`, object);
    }
    return known;
  }
}
