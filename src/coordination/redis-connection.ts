/**
 * The connection to Redis, in any of its three topologies. Redis is where nodes meet, never the only copy of anything: every call has a deadline of its
 * own and fails with UNAVAILABLE, and whoever can go on without Redis does.
 *
 * The client's defaults wait for ever on a server that is down or hangs, and may run a command twice after a lost connection; the options below were
 * chosen so that neither happens, in each topology.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { AppError, messageOf } from '../common/app-error.js';
import type { RedisConfig } from '../config/config.js';
import type { Logger } from '../common/logger.js';

export type RedisClient = Redis | Cluster;

/** Longest a call may take, waiting for a connection included. */
const DEADLINE_MS = 3_000;
const CONNECT_MS = 1_000;
const COMMAND_MS = 2_000;
/** A connection that owes an answer for so long is dropped; longer than COMMAND_MS, or every slow answer would cost a reconnect. */
const SOCKET_MS = 3_000;
const RETRY_MS_MAX = 500;
const SLOTS_REFRESH_MS = 2_000;

export class RedisConnection {
  readonly client: RedisClient;
  /** For subscriptions: it waits by nature, so it has no deadline for answers. */
  readonly subscriber: RedisClient;
  #lastError: string | undefined;
  #calls = 0;
  #failures = 0;
  #inFlight = 0;
  #isClosed = false;

  constructor(
    readonly config: RedisConfig,
    private readonly logger: Logger,
  ) {
    this.client = connect(config, COMMAND_MS);
    this.subscriber = connect(config, undefined);
    for (const client of [this.client, this.subscriber]) this.#watch(client);
  }

  #watch(client: RedisClient): void {
    client.on('error', (error: Error & { lastNodeError?: Error }) => {
      const text = messageOf(error.lastNodeError ?? error);
      if (text !== this.#lastError) this.logger.warn({ err: error }, `Redis: ${text}`);
      this.#lastError = text;
    });
    // The client never gives up by itself, but for one case: its failover detector hears of a new master while it is looking for one, and breaks that off.
    client.on('end', () => {
      if (!this.#isClosed) setTimeout(() => this.#isClosed || void client.connect().catch(() => undefined), RETRY_MS_MAX).unref();
    });
    client.on('ready', () => {
      if (this.#lastError !== undefined) this.logger.info('Redis is reachable again');
      this.#lastError = undefined;
    });
  }

  get isReady(): boolean {
    return this.client.status === 'ready';
  }

  /** Why Redis cannot be reached, if that is so. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  get counts(): { readonly calls: number; readonly failures: number; readonly active: number; readonly idle: number } {
    const connections = this.client instanceof Cluster ? this.client.nodes().length : 1;
    const open = this.isReady ? connections : 0;
    const active = Math.min(this.#inFlight, open);
    return { calls: this.#calls, failures: this.#failures, active, idle: open - active };
  }

  /**
   * Runs commands. @param what for the message, such as "the lease of a compaction"
   * @throws AppError UNAVAILABLE when Redis does not answer in time; what was sent may have been done all the same
   */
  async run<T>(what: string, commands: (client: RedisClient) => Promise<T>): Promise<T> {
    this.#calls += 1;
    this.#inFlight += 1;
    let deadline: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      deadline = setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS);
    });
    const work = commands(this.client);
    // Whoever lost the race has nobody to tell.
    work.catch(() => undefined);
    try {
      return await Promise.race([work, late]);
    } catch (error) {
      this.#failures += 1;
      const reason = this.#lastError === undefined ? messageOf(error) : `${messageOf(error)}; last: ${this.#lastError}`;
      throw new AppError('UNAVAILABLE', `${what}: Redis cannot be used (${reason})`, { cause: error, retryAfterSeconds: 2 });
    } finally {
      clearTimeout(deadline);
      this.#inFlight -= 1;
    }
  }

  /** Settings of the server that would lose what nodes agree on. @returns one line for each */
  async weaknesses(): Promise<string[]> {
    const read = async (name: string): Promise<string> => {
      const client = this.client instanceof Cluster ? this.client.nodes('master')[0] : this.client;
      const [, value] = (await client?.config('GET', name)) ?? [];
      return value ?? '';
    };
    const lines: string[] = [];
    const policy = await read('maxmemory-policy');
    if (policy !== '' && policy !== 'noeviction')
      lines.push(`maxmemory-policy is ${policy}: leases and node entries can be evicted; set it to noeviction`);
    const [appendOnly, save] = [await read('appendonly'), await read('save')];
    if (appendOnly === 'no' && save === '')
      lines.push('nothing is persisted: after a restart of Redis everything in it is rebuilt; set appendonly yes');
    return lines;
  }

  close(): void {
    this.#isClosed = true;
    this.client.disconnect();
    this.subscriber.disconnect();
  }
}

function connect(config: RedisConfig, commandTimeout: number | undefined): RedisClient {
  const common: RedisOptions = {
    ...(config.username === '' ? {} : { username: config.username }),
    ...(config.password === '' ? {} : { password: config.password }),
    connectTimeout: CONNECT_MS,
    ...(commandTimeout === undefined ? {} : { commandTimeout, socketTimeout: SOCKET_MS }),
    maxRetriesPerRequest: 2,
    keepAlive: 5_000,
    autoResendUnfulfilledCommands: false,
    // Never gives up: Redis may be away for hours.
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 4), RETRY_MS_MAX) + Math.random() * 50,
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 1 : false),
  };
  switch (config.mode) {
    case 'sentinel':
      return new Redis({
        ...common,
        db: config.db,
        sentinels: config.nodes.map(toAddress),
        name: config.sentinel_name,
        ...(config.sentinel_password === '' ? {} : { sentinelPassword: config.sentinel_password }),
        failoverDetector: true,
        sentinelRetryStrategy: (times) => Math.min(100 * times, RETRY_MS_MAX),
        sentinelCommandTimeout: CONNECT_MS,
      });
    case 'cluster':
      return new Cluster(config.nodes.map(toAddress), {
        redisOptions: common,
        // Queued commands of a cluster have no deadline.
        enableOfflineQueue: false,
        slotsRefreshInterval: SLOTS_REFRESH_MS,
        slotsRefreshTimeout: CONNECT_MS,
        retryDelayOnFailover: 200,
        maxRedirections: 8,
        clusterRetryStrategy: (times) => Math.min(100 * times, 1_000),
      });
    default:
      return new Redis({ ...common, host: config.host, port: config.port, db: config.db });
  }
}

function toAddress(node: string): { host: string; port: number } {
  const at = node.lastIndexOf(':');
  return { host: node.slice(0, at), port: Number(node.slice(at + 1)) };
}
