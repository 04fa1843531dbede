/**
 * Says in Redis, again and again, that this node lives, under which address it is reached and which log it writes.
 *
 * A name belongs to one living node: a second one of that name is refused, and one that finds out later that it has a twin stops writing.
 */
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { Inject, Injectable, Optional } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { CLOCK, LOGGER, REDIS } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { WriterFailure } from '../data/write/writer-failure.js';
import { HEALTH_PREFIX, lastHeartbeat, type LastHeartbeat, LOGS_KEY, nowSeconds, SERVICES_KEY } from './node-keys.js';
import { TableKeys } from './table-keys.js';

const HEARTBEATS_KEPT = 2;
/** A node that is there takes a connection at once. */
const CONNECT_MS = 1_000;

@Injectable()
export class Heartbeat {
  readonly #instance = randomUUID();
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;
  #lastBeatSeconds = Infinity;
  #address = '';

  constructor(
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly config: Config,
    private readonly wal: WriteAheadLog,
    private readonly failure: WriterFailure,
    private readonly tableKeys: TableKeys,
  ) {}

  /** Under which this node is reached; empty before its ports are open. */
  get address(): string {
    return this.#address;
  }

  /**
   * @param address under which this node is reached; known once its ports are open
   * @throws AppError CONFLICT when a living node has this node's name
   */
  async start(address: string): Promise<void> {
    this.#address = address;
    const { redis } = this;
    if (!redis) return;
    await this.#assertAlone(redis);
    this.#beat(redis);
    this.#timer = setInterval(() => this.#beat(redis), this.config.redis.heartbeat_seconds * MS_PER_SECOND);
  }

  /** What beats under our name and takes connections is alive. A predecessor that was killed does not, though its last heartbeat is still there. */
  async #assertAlone(redis: RedisConnection): Promise<void> {
    const found = await lastHeartbeat(redis, this.config.node_id).catch(() => undefined);
    if (found && found.address !== this.#address && (await takesConnections(found.address))) throw this.#twin(found);
  }

  #twin({ address }: LastHeartbeat): AppError {
    return new AppError(
      'CONFLICT',
      `another node is running as ${this.config.node_id} at ${address}; give each node its own name (NODE_ID) and data directory, and each cluster its own Redis database (REDIS_DB)`,
    );
  }

  #beat(redis: RedisConnection): void {
    this.#beating ??= this.#beatNow(redis).finally(() => (this.#beating = undefined));
  }

  async #beatNow(redis: RedisConnection): Promise<void> {
    const { node_id: nodeId, redis: settings } = this.config;
    try {
      const found = await lastHeartbeat(redis, nodeId);
      if (found && found.instance !== this.#instance && found.lastSeen > this.#lastBeatSeconds) this.#stopWriting(this.#twin(found));
      const last_seen = nowSeconds(this.clock);
      const health = JSON.stringify({ status: 'active', address: this.#address, last_seen, instance: this.#instance });
      await redis.run('heartbeat', async (client) => {
        await client.hset(LOGS_KEY, nodeId, this.wal.id);
        await client.hset(SERVICES_KEY, nodeId, this.#address);
        await client.set(HEALTH_PREFIX + nodeId, health, 'EX', settings.heartbeat_seconds * HEARTBEATS_KEPT);
      });
      this.#lastBeatSeconds = last_seen;
      await this.tableKeys.refresh();
    } catch (error) {
      this.logger.warn({ err: error }, `heartbeat failed: ${messageOf(error)}`);
    }
  }

  /** Two processes that write one log, or under one name, would spoil each other's rows. */
  #stopWriting(twin: AppError): void {
    this.failure.fail(twin.message, twin);
  }

  /** Takes this node out, so that nobody waits for it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
    const { node_id: nodeId } = this.config;
    if (this.#lastBeatSeconds === Infinity) return;
    await this.redis
      ?.run('farewell', async (client) => {
        await client.hdel(SERVICES_KEY, nodeId);
        await client.hdel(LOGS_KEY, nodeId);
        await client.del(HEALTH_PREFIX + nodeId);
      })
      .catch(() => undefined);
  }
}

function takesConnections(address: string): Promise<boolean> {
  const { hostname, port } = new URL(address);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), timeout: CONNECT_MS });
    const end = (isThere: boolean) => (): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}
