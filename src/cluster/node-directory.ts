/**
 * Which nodes there are. Each says in Redis under which address it is reached, which log it writes, and that it lives; one that has not said so for
 * two heartbeats counts as gone. Without Redis there is this node.
 *
 * A name belongs to one living node, and Redis may serve several stores: a second node of a name is refused, nodes of other stores are not listed.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { CLOCK, LOGGER, OBJECT_STORE, REDIS } from '../common/tokens.js';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { AppError, messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { TableKeys } from './table-keys.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import { Config } from '../config/config.js';
import { startedLogs } from '../data/wal/lsn-range.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { WriterFailure } from '../data/write/writer-failure.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { RedisConnection } from '../coordination/redis-connection.js';

const SERVICES_KEY = 'nodes:services';
const HEALTH_PREFIX = 'nodes:health:';
/** Hash of node to the id of its log, which tells to which store it belongs, also when it is gone. */
const LOGS_KEY = 'nodes:logs';
const HEARTBEATS_KEPT = 2;
/** A node that is there takes a connection at once. */
const CONNECT_MS = 1_000;

export interface NodeInfo {
  readonly id: string;
  readonly status: 'active' | 'gone';
  readonly type: string;
  readonly address: string;
  /** Unix seconds. */
  readonly last_seen: number;
}

interface Heartbeat {
  readonly address: string;
  readonly lastSeen: number;
  /** Another one for each start of a process. */
  readonly instance: string;
}

@Injectable()
export class NodeDirectory {
  readonly #instance = randomUUID();
  /** Logs of this store, and of others that are in the same Redis. */
  readonly #knownLogs = new Set<string>();
  readonly #foreignLogs = new Set<string>();
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
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly failure: WriterFailure,
    private readonly tableKeys: TableKeys,
  ) {}

  /**
   * @param address under which this node is reached; known once its ports are open
   * @throws AppError CONFLICT when a living node has this node's name
   */
  async start(address: string): Promise<void> {
    this.#address = address;
    if (!this.redis) return;
    await this.#assertAlone();
    this.#beat();
    this.#timer = setInterval(() => this.#beat(), this.config.redis.heartbeat_seconds * MS_PER_SECOND);
  }

  /** What beats under our name and takes connections is alive. A predecessor that was killed does not, though its last heartbeat is still there. */
  async #assertAlone(): Promise<void> {
    const found = await this.#heartbeatOf(this.config.node_id).catch(() => undefined);
    if (found && found.address !== this.#address && (await takesConnections(found.address))) throw this.#twin(found);
  }

  #twin({ address }: Heartbeat): AppError {
    return new AppError(
      'CONFLICT',
      `another node is running as ${this.config.node_id} at ${address}; give each node its own name (NODE_ID) and data directory, and each cluster its own Redis database (REDIS_DB)`,
    );
  }

  #beat(): void {
    this.#beating ??= this.#beatNow().finally(() => (this.#beating = undefined));
  }

  async #beatNow(): Promise<void> {
    const { redis, logger } = this;
    const { node_id: nodeId, redis: settings } = this.config;
    try {
      const found = await this.#heartbeatOf(nodeId);
      if (found && found.instance !== this.#instance && found.lastSeen > this.#lastBeatSeconds) this.#stopWriting(this.#twin(found));
      const last_seen = this.#nowSeconds();
      const health = JSON.stringify({ status: 'active', address: this.#address, last_seen, instance: this.#instance });
      await redis?.run('heartbeat', async (client) => {
        await client.hset(LOGS_KEY, nodeId, this.wal.id);
        await client.hset(SERVICES_KEY, nodeId, this.#address);
        await client.set(HEALTH_PREFIX + nodeId, health, 'EX', settings.heartbeat_seconds * HEARTBEATS_KEPT);
      });
      this.#lastBeatSeconds = last_seen;
      await this.tableKeys.refresh();
    } catch (error) {
      logger.warn({ err: error }, `heartbeat failed: ${messageOf(error)}`);
    }
  }

  /** Two processes that write one log, or under one name, would spoil each other's rows. */
  #stopWriting(twin: AppError): void {
    this.failure.fail(twin.message, twin);
  }

  #nowSeconds(): number {
    return Math.floor(this.clock.nowMs() / 1_000);
  }

  async #heartbeatOf(id: string): Promise<Heartbeat | undefined> {
    const text = await this.redis?.run('state of a node', (client) => client.get(HEALTH_PREFIX + id));
    const health: unknown = text ? JSON.parse(text) : undefined;
    if (!isJsonObject(health)) return undefined;
    const { address, last_seen: lastSeen, instance } = health;
    return {
      address: typeof address === 'string' ? address : '',
      lastSeen: typeof lastSeen === 'number' ? lastSeen : 0,
      instance: typeof instance === 'string' ? instance : '',
    };
  }

  self(): NodeInfo {
    return { id: this.config.node_id, status: 'active', type: 'all', address: this.#address, last_seen: this.#nowSeconds() };
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
      const heartbeat = await this.#heartbeatOf(id);
      others.push({ id, status: heartbeat ? 'active' : 'gone', type: 'all', address, last_seen: heartbeat?.lastSeen ?? 0 });
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
