/**
 * Which nodes there are, by what each says of itself in Redis (`heartbeat.ts`); one that has not said for two heartbeats that it lives counts as gone.
 * Without Redis there is this node. Redis may serve several stores: nodes of other stores are not listed.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { CLOCK, OBJECT_STORE, REDIS } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { startedLogs } from '../data/wal/lsn-range.js';
import type { ObjectStore } from '../storage/object-store.js';
import { Heartbeat } from './heartbeat.js';
import { lastHeartbeat, LOGS_KEY, nowSeconds, SERVICES_KEY } from './node-keys.js';

export interface NodeInfo {
  readonly id: string;
  readonly status: 'active' | 'gone';
  readonly type: string;
  readonly address: string;
  /** Unix seconds. */
  readonly last_seen: number;
}

@Injectable()
export class NodeDirectory {
  /** Logs of this store, and of others that are in the same Redis. */
  readonly #knownLogs = new Set<string>();
  readonly #foreignLogs = new Set<string>();

  constructor(
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly config: Config,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly heartbeat: Heartbeat,
  ) {}

  self(): NodeInfo {
    return { id: this.config.node_id, status: 'active', type: 'all', address: this.heartbeat.address, last_seen: nowSeconds(this.clock) };
  }

  /** The nodes of this store. @throws AppError UNAVAILABLE when Redis or the store cannot be asked */
  async list(): Promise<NodeInfo[]> {
    return [this.self(), ...(await this.others())].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** All but this node. @throws AppError UNAVAILABLE when Redis or the store cannot be asked */
  async others(): Promise<NodeInfo[]> {
    const { redis } = this;
    if (!redis) return [];
    const [services, logs] = await redis.run('list of nodes', (client) =>
      Promise.all([client.hgetall(SERVICES_KEY), client.hgetall(LOGS_KEY)]),
    );
    const others: NodeInfo[] = [];
    for (const [id, address] of Object.entries(services)) {
      if (id === this.config.node_id || !(await this.#isOfOurStore(logs[id]))) continue;
      const last = await lastHeartbeat(redis, id);
      others.push({ id, status: last ? 'active' : 'gone', type: 'all', address, last_seen: last?.lastSeen ?? 0 });
    }
    return others;
  }

  /** True also for a node of an older version, which does not say which log it writes. */
  async #isOfOurStore(walId: string | undefined): Promise<boolean> {
    if (walId === undefined || this.#knownLogs.has(walId)) return true;
    if (this.#foreignLogs.has(walId)) return false;
    for (const id of await startedLogs(this.store)) this.#knownLogs.add(id);
    // A log has its place in the store before its node is told of here, so one that has none is of another store for ever.
    if (!this.#knownLogs.has(walId)) this.#foreignLogs.add(walId);
    return this.#knownLogs.has(walId);
  }
}
