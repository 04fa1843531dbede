/**
 * Whether each part does its work, found out by letting it do some: the engine answers, rows of a table are read the way queries read them, the store is
 * asked for an object, the writer's loop takes a turn and the disk of the log syncs. Nothing is stored, and no figure of queries or writes moves.
 *
 * Whoever asks within a second of another gets the same outcome: health is open to everybody, and must not be a way to keep the disk busy.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { LOGGER, OBJECT_STORE, REDIS } from '../common/tokens.js';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { Replicator } from '../backups/replication/replicator.js';
import { AppError } from '../common/app-error.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { LostLog } from '../data/wal/lost-log.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { WriterFailure } from '../data/write/writer-failure.js';
import { Engine } from '../engine/duckdb/engine.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import { selectRows } from '../tables/view/row-sql.js';
import type { Table } from '../tables/table.js';
import { TableRegistry } from '../tables/table-registry.js';

/** A component that does not answer for so long does not work. Shorter than a scrape may take: figures are wanted most when a store hangs. */
const PROBE_MS_MAX = 5_000;
const KEPT_MS = 1_000;
/** Health is open to everybody: names of files are for the log, and for who may read the table. */
const DAMAGE = 'a table is damaged; see `tables`';
/** Tables that health names. */
const DAMAGE_TOLD_MAX = 5;

export type Probe = () => PromiseLike<HealthIndicatorResult>;

@Injectable()
export class Probes {
  #turn = 0;

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly indicators: HealthIndicatorService,
    private readonly engine: Engine,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly registry: TableRegistry,
    private readonly damagedFiles: DamagedFiles,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly visible: VisibleLsn,
    private readonly wal: WriteAheadLog,
    private readonly lostLog: LostLog,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined,
    private readonly config: Config,
  ) {}

  all(): Probe[] {
    const { engine, store, redis, replicator, lostLog } = this;
    const copyError = replicator?.state.lastError;
    return [
      this.#attempt('query_engine', () => engine.rows('SELECT 1')),
      this.#attempt('object_store', () => store.get('_catalogue/health-check')),
      this.#attempt('read_path', () => this.#read()),
      this.#attempt('write_path', () => this.#write()),
      () => this.#damagedTables(),
      ...(lostLog.told === undefined ? [] : [this.#state('former_log', lostLog.told)]),
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
    return () => this.indicators.check(component).attempt(quietly).withTimeout(PROBE_MS_MAX).cacheFor(KEPT_MS);
  }

  /** Health is open to everybody: what the engine or the system says of a failure has paths in it and goes to the log. */
  #asToldToAll(component: string, error: unknown): Error {
    if (error instanceof AppError && error.code === 'DATA_CORRUPTION') return new Error(DAMAGE);
    if (error instanceof AppError) return error;
    this.logger.warn({ err: error }, `health: ${component} is not working`);
    return new Error('it is not working; the log has the details');
  }

  /** Tables that are not served, or not all of whose rows are; nothing when all are. The others go on. */
  async #damagedTables(): Promise<HealthIndicatorResult> {
    const { registry, damagedFiles, indicators } = this;
    const out = registry.outOfService().map(({ name }) => `table ${name} is out of service`);
    const files = [...(await damagedFiles.byTable())].map(
      ([table, paths]) => `table ${table}: ${paths.length} of its data files damaged or missing`,
    );
    const told = [...out, ...files];
    if (told.length === 0) return {};
    const more = told.length > DAMAGE_TOLD_MAX ? ` and ${told.length - DAMAGE_TOLD_MAX} more` : '';
    return indicators
      .check('tables')
      .degraded(`${told.slice(0, DAMAGE_TOLD_MAX).join('; ')}${more}; requests to them say which and what to do`);
  }

  #state(component: string, trouble: string | undefined): Probe {
    const indicator = this.indicators.check(component);
    return () => Promise.resolve(trouble === undefined ? indicator.up() : indicator.degraded(trouble));
  }

  /** A row of one table, another one each time: from its buffers and its smallest file. Nothing is fetched for it: whether the store answers is another probe. */
  async #read(): Promise<void> {
    const tables = this.registry.all();
    const table = tables[this.#turn++ % Math.max(1, tables.length)];
    if (!table) return;
    try {
      await this.#readFrom(table);
    } catch (error) {
      if (!table.isDropped && !table.outOfService) throw error;
    }
  }

  async #readFrom(table: Table): Promise<void> {
    const view = table.pin(this.visible.value);
    try {
      const files = this.config.storage.kind !== 'local' ? [] : view.files.map(({ file }) => file);
      const [smallest] = files.sort((left, right) => left.sizeBytes - right.sizeBytes);
      const sources = await view.sources(undefined, (file) => file === smallest);
      const rows = selectRows(sources, { columns: view.schema.columns.slice(0, 2), withPlace: false, rows: 'visible' });
      await this.engine.rows(`SELECT count(*) FROM (SELECT * FROM (${rows}) LIMIT 1)`);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  async #write(): Promise<void> {
    const { groupCommit, failure, wal } = this;
    if (failure.error) throw failure.error;
    await Promise.all([groupCommit.exclusive(() => Promise.resolve()), wal.probe()]);
  }
}
