/**
 * Saves what the server knows of its tables (configuration, columns, file index) as one small object. The rows themselves are not in it; those are what
 * data backups are for. With it the catalogue and the tables' logs can be made anew over data files that are still there.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LEASE_STORE, LOGGER } from '../common/tokens.js';
import type { LeaseStore } from '../coordination/lease.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from '../backups/backup-counts.js';
import { timeOfName } from '../backups/backup-name.js';
import { type Entries, entriesOf } from './metadata-entries.js';
import { idOf, type StoredBackup, StoredBackups } from './stored-backups.js';

const LEASE_NAME = 'backup:metadata';
const LEASE_MS = 120_000;

export interface MadeBackup {
  readonly backup_id: string;
  readonly timeMs: number;
  readonly size_bytes: number;
  /** False when the newest backup says the same already. */
  readonly isNew: boolean;
}

@Injectable()
export class MetadataBackups {
  #running: Promise<unknown> | undefined;
  #lastFailure: string | undefined;

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly stored: StoredBackups,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    private readonly counts: BackupCounts,
  ) {}

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Why the newest attempt of this node failed; undefined when it did not, or there was none. */
  get lastFailure(): string | undefined {
    return this.#lastFailure;
  }

  /**
   * Saves the metadata of every table.
   * @param force also when nothing changed since the newest backup
   * @throws AppError CONFLICT while another one runs, UNAVAILABLE when the store is away
   */
  async create(force: boolean): Promise<MadeBackup> {
    const { leases, counts } = this;
    const lease = await leases.acquire(LEASE_NAME, LEASE_MS);
    if (!lease) throw new AppError('CONFLICT', 'another metadata backup is running; try again when it has finished');
    const running = counts.backup('metadata', () => this.#createNow(force));
    this.#running = running.catch(() => undefined);
    try {
      const made = await running;
      this.#lastFailure = undefined;
      return made;
    } catch (error) {
      this.#lastFailure = messageOf(error);
      throw error;
    } finally {
      this.#running = undefined;
      await lease.release();
    }
  }

  async #createNow(force: boolean): Promise<MadeBackup> {
    const { registry, stored, logger } = this;
    const entries = entriesOf(registry.all());
    const [newest] = await stored.list();
    if (newest && !force && (await this.#saysTheSame(newest, entries)))
      return { backup_id: idOf(newest), timeMs: newest.timeMs, size_bytes: newest.sizeBytes, isNew: false };
    const { backup_id, size_bytes } = await stored.add(entries);
    logger.info({ entries: Object.keys(entries).length, bytes: size_bytes }, `metadata backup ${backup_id} written`);
    await stored.removeOld();
    await stored.tellRedis();
    return { backup_id, timeMs: timeOfName(backup_id) ?? 0, size_bytes, isNew: true };
  }

  async #saysTheSame(stored: StoredBackup, entries: Entries): Promise<boolean> {
    try {
      return JSON.stringify((await this.stored.read(stored, true)).entries) === JSON.stringify(entries);
    } catch (error) {
      if (error instanceof AppError && (error.code === 'DATA_CORRUPTION' || error.code === 'NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Waits for the backup under way. */
  async idle(): Promise<void> {
    await this.#running;
  }
}
