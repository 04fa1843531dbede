/**
 * Saves what the server knows of its tables (configuration, columns, file index) as one small object, when asked and on a schedule. The rows
 * themselves are not in it; those are what data backups are for. With it the catalogue and the tables' logs can be made anew over data files that are
 * still there.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { CLOCK, LEASE_STORE, LOGGER, REDIS } from '../common/tokens.js';
import { MS_PER_DAY, MS_PER_SECOND } from '../common/clock.js';
import type { Clock } from '../common/clock.js';
import { AppError, messageOf } from '../common/app-error.js';
import { Config } from '../config/config.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import type { LeaseStore } from '../coordination/lease.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { BACKUPS_DIRECTORY } from '../tables/catalogue.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from '../backups/backup-counts.js';
import { takeName, timeOfName } from '../backups/backup-name.js';
import { seal, unseal } from '../backups/sealed-document.js';
import { type Entries, entriesOf } from './metadata-entries.js';

const PREFIX = `${BACKUPS_DIRECTORY}/metadata/`;
const LIST_KEY = 'metadata:backup:list';
const LEASE_NAME = 'backup:metadata';
const LEASE_MS = 120_000;
const MS_PER_MINUTE = 60 * MS_PER_SECOND;
/** The longest that a timer of Node waits. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface MetadataBackup {
  readonly format: 1;
  readonly backup_id: string;
  readonly node_id: string;
  readonly timestamp: string;
  readonly entries: Entries;
}

/** A backup as it stands in the store. */
export interface StoredBackup {
  /** `backup_YYYYMMDD_HHMMSS.json` */
  readonly fileName: string;
  readonly key: string;
  readonly nodeId: string;
  readonly timeMs: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export interface MadeBackup {
  readonly backup_id: string;
  readonly timeMs: number;
  readonly size_bytes: number;
  /** False when the newest backup says the same already. */
  readonly isNew: boolean;
}

@Injectable()
export class MetadataBackups {
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<unknown> | undefined;
  #isStopped = false;
  #nextMs: number | undefined;
  #lastFailure: string | undefined;

  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly pool: StoragePool,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    private readonly counts: BackupCounts,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

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
    const { config, clock, registry, logger } = this;
    const entries = entriesOf(registry.all());
    const [newest] = await this.list();
    if (newest && !force && (await this.#saysTheSame(newest, entries)))
      return { backup_id: idOf(newest), timeMs: newest.timeMs, size_bytes: newest.sizeBytes, isNew: false };
    const store = await this.pool.openBackups();
    let bytes: Buffer = Buffer.alloc(0);
    const backup_id = await takeName('backup', clock.nowMs(), (name) => {
      const timestamp = new Date(timeOfName(name) ?? 0).toISOString();
      bytes = seal({ format: 1, backup_id: name, node_id: config.node_id, timestamp, entries } satisfies MetadataBackup);
      return store.putIfAbsent(`${PREFIX}${config.node_id}/${name}.json`, bytes);
    });
    logger.info({ entries: Object.keys(entries).length, bytes: bytes.length }, `metadata backup ${backup_id} written`);
    await this.#removeOld();
    await this.#tellRedis();
    return { backup_id, timeMs: timeOfName(backup_id) ?? 0, size_bytes: bytes.length, isNew: true };
  }

  async #saysTheSame(stored: StoredBackup, entries: Entries): Promise<boolean> {
    try {
      return JSON.stringify((await this.read(stored, true)).entries) === JSON.stringify(entries);
    } catch (error) {
      if (error instanceof AppError && (error.code === 'DATA_CORRUPTION' || error.code === 'NOT_FOUND')) return false;
      throw error;
    }
  }

  /** Every backup of every node, newest first. */
  async list(): Promise<StoredBackup[]> {
    const store = await this.pool.openBackups();
    const found: StoredBackup[] = [];
    for await (const { key, sizeBytes, modifiedMs } of store.list(PREFIX)) {
      const [nodeId = '', fileName = ''] = key.slice(PREFIX.length).split('/');
      const timeMs = timeOfName(fileName.replace(/\.json$/, ''));
      if (timeMs !== undefined) found.push({ fileName, key, nodeId, timeMs, sizeBytes, modifiedMs });
    }
    return found.sort((a, b) => b.timeMs - a.timeMs || (a.nodeId < b.nodeId ? -1 : 1));
  }

  /** @throws AppError DATA_CORRUPTION for a damaged backup, NOT_FOUND for one that is gone */
  async read({ key, fileName }: StoredBackup, validate: boolean): Promise<MetadataBackup> {
    const bytes = await (await this.pool.openBackups()).get(key);
    if (bytes === undefined) throw new AppError('NOT_FOUND', `backup ${fileName} no longer exists`);
    const backup = unseal<MetadataBackup>(bytes, fileName, validate, ({ entries }) => isJsonObject(entries));
    const { format } = backup as { readonly format: number };
    if (format !== 1)
      throw new AppError('DATA_CORRUPTION', `backup ${fileName} has format ${format}, which this version of the server cannot read`);
    return backup;
  }

  async #removeOld(): Promise<void> {
    const { clock, config, pool } = this;
    const beforeMs = clock.nowMs() - config.backup.metadata_keep_days * MS_PER_DAY;
    const [, ...others] = await this.list();
    const store = await pool.openBackups();
    for (const { key, timeMs } of others) if (timeMs < beforeMs) await store.delete(key);
  }

  /** For people with `redis-cli`; nothing is asked back. */
  async #tellRedis(): Promise<void> {
    const { redis, logger } = this;
    if (!redis) return;
    try {
      const members = (await this.list()).flatMap(({ timeMs, key }) => [String(timeMs), key]);
      await redis.run('list of backups', async (client) => {
        await client.del(LIST_KEY);
        if (members.length > 0) await client.zadd(LIST_KEY, ...members);
      });
    } catch (error) {
      logger.warn({ err: error }, `the list of backups could not be written to Redis: ${messageOf(error)}`);
    }
  }

  /** Begins the schedule. */
  start(): void {
    const intervalMs = this.config.backup.metadata_interval_minutes * MS_PER_MINUTE;
    if (intervalMs > 0) this.#plan(Math.min(intervalMs, MS_PER_MINUTE));
  }

  #plan(waitMs: number): void {
    if (this.#isStopped) return;
    this.#nextMs = this.clock.nowMs() + waitMs;
    this.#timer = setTimeout(() => void this.#runDue(), Math.min(waitMs, TIMER_MS_MAX));
    this.#timer.unref();
  }

  /** One of several nodes does it: the others find its backup when they look. */
  async #runDue(): Promise<void> {
    const { config, clock, logger } = this;
    const intervalMs = config.backup.metadata_interval_minutes * MS_PER_MINUTE;
    let waitMs = intervalMs;
    try {
      const [newest] = await this.list();
      const ageMs = newest ? clock.nowMs() - newest.timeMs : Infinity;
      // A server without tables may be one that lost its catalogue: it must not put an empty backup before the one that is needed now.
      if (ageMs >= intervalMs && this.registry.all().length > 0) await this.create(false);
      else waitMs = intervalMs - ageMs;
      await this.#tellRedis();
    } catch (error) {
      waitMs = Math.min(intervalMs, MS_PER_MINUTE);
      logger.warn({ err: error }, `scheduled metadata backup did not run: ${messageOf(error)}`);
    }
    this.#plan(Math.max(MS_PER_SECOND, waitMs));
  }

  /** What the status route says; reads the list of backups. */
  async status(): Promise<{ state: Record<string, string>; lastMs: number | undefined; nextMs: number | undefined; isHealthy: boolean }> {
    const stored = await this.list();
    const { metadata_interval_minutes: minutes } = this.config.backup;
    const failure = this.#lastFailure;
    const state = {
      state: this.#running ? 'running' : 'idle',
      last_result: failure !== undefined ? `failed: ${failure}` : stored.length > 0 ? 'success' : 'none yet',
      backups: String(stored.length),
      schedule: minutes === 0 ? 'off' : `every ${minutes} minutes`,
    };
    return { state, lastMs: stored[0]?.timeMs, nextMs: this.#nextMs, isHealthy: failure === undefined };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }
}

function idOf({ fileName }: StoredBackup): string {
  return fileName.replace(/\.json$/, '');
}
