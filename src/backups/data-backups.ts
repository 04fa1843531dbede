/** Data backups: made (`make-backup.ts`), listed and deleted. One at a time is made or deleted, on whichever node. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { MS_PER_HOUR } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { LEASE_STORE, LOGGER } from '../common/tokens.js';
import type { Lease, LeaseStore } from '../coordination/lease.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { Table } from '../tables/table.js';
import { BackupCounts } from './backup-counts.js';
import { type DataBackupInfo, infoOf } from './backup-info.js';
import { MakeBackup } from './make-backup.js';
import { DATA_PREFIX, type DataBackupType, listBackupIds, manifestKey, noSuchBackup } from './manifest.js';
import { ReadableManifests } from './readable-manifests.js';

const LEASE_NAME = 'backup:data';
/** A backup that takes longer is given up; a node that dies meanwhile keeps the others from theirs for so long. */
const LEASE_MS = 2 * MS_PER_HOUR;

@Injectable()
export class DataBackups {
  constructor(
    private readonly pool: StoragePool,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    private readonly counts: BackupCounts,
    private readonly makeBackup: MakeBackup,
    private readonly manifests: ReadableManifests,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Backs tables up.
   * @throws AppError CONFLICT while another backup runs, UNAVAILABLE when a store is away
   */
  create(tables: readonly Table[], type: DataBackupType): Promise<DataBackupInfo> {
    return this.#alone((lease) =>
      this.counts.backup(type, async () => this.makeBackup.run(await this.pool.openBackups(), tables, type, lease)),
    );
  }

  async #alone<T>(work: (lease: Lease) => Promise<T>): Promise<T> {
    const lease = await this.leases.acquire(LEASE_NAME, LEASE_MS);
    if (!lease) throw new AppError('CONFLICT', 'another data backup is being made or deleted; try again when it has finished');
    try {
      return await work(lease);
    } finally {
      await lease.release();
    }
  }

  /** Every backup that is there, newest first. */
  async list(): Promise<DataBackupInfo[]> {
    const store = await this.pool.openBackups();
    return (await this.manifests.of(store, await listBackupIds(store))).map(infoOf).reverse();
  }

  /**
   * Removes a backup and the files that only it needs.
   * @returns objects removed
   * @throws AppError CONFLICT when incremental backups stand on it
   */
  delete(backupId: string): Promise<number> {
    return this.#alone(() => this.#deleteNow(backupId));
  }

  async #deleteNow(backupId: string): Promise<number> {
    const store = await this.pool.openBackups();
    const ids = await listBackupIds(store);
    if (!ids.includes(backupId)) throw noSuchBackup(backupId);
    const own = `${DATA_PREFIX}${backupId}/`;
    const others = await this.manifests.of(
      store,
      ids.filter((id) => id !== backupId),
    );
    const dependents = others
      .filter(({ tables }) => tables.some(({ objects }) => objects.some(({ key }) => key.startsWith(own))))
      .map(({ backup_id: id }) => id);
    if (dependents.length > 0)
      throw new AppError('CONFLICT', `backups ${dependents.join(', ')} need files of backup ${backupId}; delete them first`);
    // The manifest goes first: what is left after an interruption is no backup.
    await store.delete(manifestKey(backupId));
    let removed = 1;
    for await (const { key } of store.list(own)) {
      await store.delete(key);
      removed += 1;
    }
    this.logger.info({ objects: removed }, `data backup ${backupId} deleted`);
    return removed;
  }
}
