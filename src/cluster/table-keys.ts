/**
 * What people and programs read about tables in Redis (`redis-cli hgetall table:NAME:stats`). Nothing here is asked back by this server: all of it is
 * made from the tables' logs, again whenever it is gone. Written when a table has a new version and with every heartbeat.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { COMMIT_NOTIFIER, LOGGER, REDIS } from '../common/tokens.js';
import { messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { RedisClient, RedisConnection } from '../coordination/redis-connection.js';
import { visibleRows } from '../delta/snapshot.js';
import type { Table } from '../tables/table.js';
import { TableRegistry } from '../tables/table-registry.js';

const LIST_KEY = 'tables:list';
const VERSION_KEY = 'metadata:version';
const POOL_STATUS_SECONDS = 120;

@Injectable()
export class TableKeys {
  /** Version of each table that is in Redis already. */
  readonly #written = new Map<string, number>();
  readonly #waiting = new Set<Table>();
  #writing: Promise<void> | undefined;
  #end: (() => void) | undefined;

  constructor(
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    private readonly registry: TableRegistry,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    private readonly pool: StoragePool,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  start(): void {
    this.#end = this.notifier.subscribe(({ tableId }) => {
      const table = this.registry.findById(tableId);
      if (!table) return;
      this.#waiting.add(table);
      this.#writing ??= this.#writeWaiting().finally(() => (this.#writing = undefined));
    });
  }

  async #writeWaiting(): Promise<void> {
    for (const table of this.#waiting) {
      this.#waiting.delete(table);
      try {
        await this.#write(table);
      } catch (error) {
        // The next heartbeat writes it.
        this.logger.debug({ err: error }, `${table.logLabel} not written to Redis: ${messageOf(error)}`);
        return;
      }
    }
  }

  /** Makes Redis say what is true: after it was away, emptied, or when tables came and went. */
  async refresh(): Promise<void> {
    const { redis, registry, pool } = this;
    if (!redis) return;
    const tables = registry.all();
    const [version, listed] = await redis.run('table keys', (client) => Promise.all([client.get(VERSION_KEY), client.smembers(LIST_KEY)]));
    const names = new Set(tables.map((table) => table.name));
    for (const name of listed) if (!names.has(name)) await this.#remove(name);
    const listedNames = new Set(listed);
    for (const table of tables)
      if (this.#written.get(table.id) !== table.snapshot.version || !listedNames.has(table.name) || !(await this.#isThere(table)))
        await this.#write(table);
    await redis.run('state of the pools', async (client) => {
      const { active, idle } = redis.counts;
      await client.set('pool:redis:status', JSON.stringify({ active, idle }), 'EX', POOL_STATUS_SECONDS);
      if (pool.primary) await client.set('pool:minio:status', JSON.stringify(pool.primary.requests.connections), 'EX', POOL_STATUS_SECONDS);
      if (version === null) await client.incr(VERSION_KEY);
    });
  }

  /** False when Redis lost some of what it had of a table: emptied, or a master of a cluster was, or a failover came before the replica had it. */
  async #isThere({ name, snapshot }: Table): Promise<boolean> {
    const keys = [`table:${name}:config`, `table:${name}:created_at`];
    if (snapshot.version > 0) keys.push(`table:${name}:last_write`);
    if (snapshot.files.size > 0) keys.push(`index:table:${name}:files`);
    const isThere = await this.redis?.run(`keys of table ${name}`, async (client) => {
      const [version, ...counts] = await Promise.all([
        client.hget(`table:${name}:stats`, 'version'),
        ...keys.map((key) => client.exists(key)),
      ]);
      return Number(version ?? -1) >= snapshot.version && counts.every((count) => count === 1);
    });
    return isThere ?? true;
  }

  async #write(table: Table): Promise<void> {
    const { snapshot, name } = table;
    const files = [...snapshot.files.values()];
    const stats = {
      version: snapshot.version,
      record_count: files.reduce((sum, file) => sum + visibleRows(file), 0),
      file_count: files.length,
      size_bytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    };
    const config = Object.fromEntries(Object.entries(table.config).map(([key, value]: [string, unknown]) => [key, textOf(value)]));
    const index = Object.fromEntries(files.map((file) => [file.path, JSON.stringify({ rows: file.rows, size_bytes: file.sizeBytes })]));
    await this.redis?.run(`keys of table ${name}`, async (client) => {
      await client.hset(`table:${name}:config`, config);
      await client.hset(`table:${name}:stats`, stats);
      await client.set(`table:${name}:created_at`, new Date(table.createdMs).toISOString());
      if (snapshot.version > 0) await client.set(`table:${name}:last_write`, new Date(snapshot.timestampMs).toISOString());
      await replaceHash(client, `index:table:${name}:files`, index);
      await client.sadd(LIST_KEY, name);
      await client.incr(VERSION_KEY);
    });
    this.#written.set(table.id, snapshot.version);
  }

  async #remove(name: string): Promise<void> {
    await this.redis?.run(`keys of table ${name}`, async (client) => {
      for (const part of ['config', 'stats', 'created_at', 'last_write']) await client.del(`table:${name}:${part}`);
      await client.del(`index:table:${name}:files`);
      await client.srem(LIST_KEY, name);
      await client.incr(VERSION_KEY);
    });
  }

  async stop(): Promise<void> {
    this.#end?.();
    await this.#writing;
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

async function replaceHash(client: RedisClient, key: string, fields: Record<string, string>): Promise<void> {
  await client.del(key);
  if (Object.keys(fields).length > 0) await client.hset(key, fields);
}
