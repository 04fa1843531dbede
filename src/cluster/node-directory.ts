/**
 * Which nodes there are. Each says in Redis under which address it is reached, and that it lives; one that has not said so for two heartbeats counts as
 * gone. Without Redis there is this node.
 */
import { messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';

const SERVICES_KEY = 'nodes:services';
const HEALTH_PREFIX = 'nodes:health:';
const HEARTBEATS_KEPT = 2;

export interface NodeInfo {
  readonly id: string;
  readonly status: 'active' | 'gone';
  readonly type: string;
  readonly address: string;
  /** Unix seconds. */
  readonly last_seen: number;
}

export class NodeDirectory {
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;

  constructor(
    private readonly parts: {
      readonly redis: RedisConnection | undefined;
      readonly clock: Clock;
      readonly logger: Logger;
      readonly nodeId: string;
      readonly heartbeatSeconds: number;
    },
  ) {}

  #address = '';
  /** Runs with every heartbeat: what else this node keeps in Redis. */
  onHeartbeat: () => Promise<void> = () => Promise.resolve();

  /** @param address under which this node is reached; known once its ports are open */
  start(address: string): void {
    this.#address = address;
    if (!this.parts.redis) return;
    this.#beat();
    this.#timer = setInterval(() => this.#beat(), this.parts.heartbeatSeconds * MS_PER_SECOND);
  }

  #beat(): void {
    this.#beating ??= this.#beatNow().finally(() => (this.#beating = undefined));
  }

  async #beatNow(): Promise<void> {
    const { redis, nodeId, heartbeatSeconds, logger } = this.parts;
    try {
      const health = JSON.stringify({ status: 'active', address: this.#address, last_seen: this.#nowSeconds() });
      await redis?.run('heartbeat', async (client) => {
        await client.hset(SERVICES_KEY, nodeId, this.#address);
        await client.set(HEALTH_PREFIX + nodeId, health, 'EX', heartbeatSeconds * HEARTBEATS_KEPT);
      });
      await this.onHeartbeat();
    } catch (error) {
      logger.warn({ err: error }, `heartbeat failed: ${messageOf(error)}`);
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.parts.clock.nowMs() / 1_000);
  }

  self(): NodeInfo {
    return { id: this.parts.nodeId, status: 'active', type: 'all', address: this.#address, last_seen: this.#nowSeconds() };
  }

  /** @throws AppError UNAVAILABLE when Redis cannot be asked */
  async list(): Promise<NodeInfo[]> {
    const { redis, nodeId } = this.parts;
    if (!redis) return [this.self()];
    const services = await redis.run('list of nodes', (client) => client.hgetall(SERVICES_KEY));
    const others = await Promise.all(
      Object.entries(services)
        .filter(([id]) => id !== nodeId)
        .map(([id, address]) => this.#other(id, address)),
    );
    return [this.self(), ...others].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async #other(id: string, address: string): Promise<NodeInfo> {
    const text = await this.parts.redis?.run('state of a node', (client) => client.get(HEALTH_PREFIX + id));
    const health: unknown = text ? JSON.parse(text) : undefined;
    const seen = isJsonObject(health) ? health['last_seen'] : undefined;
    return { id, status: text ? 'active' : 'gone', type: 'all', address, last_seen: typeof seen === 'number' ? seen : 0 };
  }

  async othersAreAlive(): Promise<boolean> {
    return (await this.list()).some(({ id, status }) => id !== this.parts.nodeId && status === 'active');
  }

  /** Takes this node out, so that nobody waits for it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
    const { redis, nodeId } = this.parts;
    await redis
      ?.run('farewell', async (client) => {
        await client.hdel(SERVICES_KEY, nodeId);
        await client.del(HEALTH_PREFIX + nodeId);
      })
      .catch(() => undefined);
  }
}
