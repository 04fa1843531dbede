/**
 * Whether each part does its work, found out by letting it do some: the engine answers, rows of a table are read the way queries read them, the store is
 * asked for an object, the writer's loop takes a turn and the disk of the log syncs. Nothing is stored, and no figure of queries or writes moves.
 *
 * Whoever asks within a second of another gets the same outcome: health is open to everybody, and must not be a way to keep the disk busy.
 */
import type { HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import type { Replicator } from '../backup/replication/replicator.js';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import type { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import type { WritePath } from '../data/write-path.js';
import type { Engine } from '../infra/duckdb/engine.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import { selectRows } from '../tables/row-sql.js';
import type { Table } from '../tables/table.js';
import type { TableRegistry } from '../tables/table-registry.js';

/** A component that does not answer for so long does not work. Shorter than a scrape may take: figures are wanted most when a store hangs. */
const PROBE_MS_MAX = 5_000;
const KEPT_MS = 1_000;

export interface ProbeParts {
  readonly logger: Logger;
  readonly indicators: HealthIndicatorService;
  readonly engine: Engine;
  readonly store: ObjectStore;
  readonly registry: TableRegistry;
  readonly writePath: WritePath;
  readonly wal: WriteAheadLog;
  readonly redis: RedisConnection | undefined;
  readonly replicator: Replicator | undefined;
  /** Data files have to be fetched before the engine can read them. */
  readonly fetchesFiles: boolean;
}

export type Probe = () => PromiseLike<HealthIndicatorResult>;

export class Probes {
  #turn = 0;

  constructor(private readonly parts: ProbeParts) {}

  all(): Probe[] {
    const { engine, store, redis, replicator } = this.parts;
    const copyError = replicator?.state.lastError;
    return [
      this.#attempt('query_engine', () => engine.rows('SELECT 1')),
      this.#attempt('object_store', () => store.get('_catalogue/health-check')),
      this.#attempt('read_path', () => this.#read()),
      this.#attempt('write_path', () => this.#write()),
      // One node goes on without these.
      ...(replicator ? [this.#state('backup_store', copyError)] : []),
      ...(redis ? [this.#state('redis', redis.isReady ? undefined : (redis.lastError ?? 'not connected yet'))] : []),
    ];
  }

  #attempt(component: string, work: () => Promise<unknown>): Probe {
    const quietly = (): Promise<void> =>
      work().then(
        () => undefined,
        (error: unknown) => {
          throw this.#asToldToAll(component, error);
        },
      );
    return () => this.parts.indicators.check(component).attempt(quietly).withTimeout(PROBE_MS_MAX).cacheFor(KEPT_MS);
  }

  /** Health is open to everybody: what the engine or the system says of a failure has paths in it and goes to the log. */
  #asToldToAll(component: string, error: unknown): Error {
    if (error instanceof AppError) return error;
    this.parts.logger.warn({ err: error }, `health: ${component} is not working`);
    return new Error('it is not working; the log has the details');
  }

  #state(component: string, trouble: string | undefined): Probe {
    const indicator = this.parts.indicators.check(component);
    return () => Promise.resolve(trouble === undefined ? indicator.up() : indicator.degraded(trouble));
  }

  /** A row of one table, another one each time: from its buffers and its smallest file. Nothing is fetched for it: whether the store answers is another probe. */
  async #read(): Promise<void> {
    const tables = this.parts.registry.all();
    const table = tables[this.#turn++ % Math.max(1, tables.length)];
    if (!table) return;
    try {
      await this.#readFrom(table);
    } catch (error) {
      if (!table.isDropped) throw error;
    }
  }

  async #readFrom(table: Table): Promise<void> {
    const view = table.pin(this.parts.writePath.appliedLsn);
    try {
      const files = this.parts.fetchesFiles ? [] : view.files.map(({ file }) => file);
      const [smallest] = files.sort((left, right) => left.sizeBytes - right.sizeBytes);
      const sources = await view.sources(undefined, (file) => file === smallest);
      const rows = selectRows(sources, { columns: view.schema.columns.slice(0, 2), withPlace: false, rows: 'visible' });
      await this.parts.engine.rows(`SELECT count(*) FROM (SELECT * FROM (${rows}) LIMIT 1)`);
    } finally {
      view.release();
    }
  }

  async #write(): Promise<void> {
    const { writePath, wal } = this.parts;
    if (writePath.failure) throw writePath.failure;
    await Promise.all([writePath.exclusive(() => Promise.resolve()), wal.probe()]);
  }
}
