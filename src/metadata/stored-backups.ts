/** Metadata backups as they stand in the store: written, listed, read, and removed when they are old. Redis has a list of them for people. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import { type Clock, MS_PER_DAY } from '../common/clock.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import { CLOCK, LOGGER, REDIS } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { StoragePool } from '../storage/storage-pool.js';
import { BACKUPS_DIRECTORY } from '../tables/catalogue.js';
import { takeName, timeOfName } from '../backups/backup-name.js';
import { seal, unseal } from '../backups/sealed-document.js';
import type { Entries } from './metadata-entries.js';

const PREFIX = `${BACKUPS_DIRECTORY}/metadata/`;
const LIST_KEY = 'metadata:backup:list';

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

@Injectable()
export class StoredBackups {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly pool: StoragePool,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  /** Writes a backup, named after the moment. */
  async add(entries: Entries): Promise<{ readonly backup_id: string; readonly size_bytes: number }> {
    const { node_id } = this.config;
    const store = await this.pool.openBackups();
    let bytes: Buffer = Buffer.alloc(0);
    const backup_id = await takeName('backup', this.clock.nowMs(), (name) => {
      const timestamp = new Date(timeOfName(name) ?? 0).toISOString();
      bytes = seal({ format: 1, backup_id: name, node_id, timestamp, entries } satisfies MetadataBackup);
      return store.putIfAbsent(`${PREFIX}${node_id}/${name}.json`, bytes);
    });
    return { backup_id, size_bytes: bytes.length };
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

  /** Removes those that are older than they are kept, but never the newest. */
  async removeOld(): Promise<void> {
    const { clock, config, pool } = this;
    const beforeMs = clock.nowMs() - config.backup.metadata_keep_days * MS_PER_DAY;
    const [, ...others] = await this.list();
    const store = await pool.openBackups();
    for (const { key, timeMs } of others) if (timeMs < beforeMs) await store.delete(key);
  }

  /** For people with `redis-cli`; nothing is asked back. */
  async tellRedis(): Promise<void> {
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
}

export function idOf({ fileName }: StoredBackup): string {
  return fileName.replace(/\.json$/, '');
}
