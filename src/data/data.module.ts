/** The way of data into tables: write path, bulk path, flush path, maintenance; opened in order and closed in reverse. */
import path from 'node:path';
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import { snowflakeIds } from '../common/ids.js';
import type { Logger } from '../common/logger.js';
import type { CommitNotifier } from '../infra/coordination/commit-notifier.js';
import type { LeaseStore } from '../infra/coordination/lease.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, COMMIT_NOTIFIER, DATA_PATHS, type DataPaths, LEASE_STORE, LOGGER, OBJECT_STORE } from '../infra/infra.module.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import { ArrowConverter } from '../infra/arrow/arrow-converter.js';
import { ScratchFiles } from '../infra/scratch-files.js';
import { TableRegistry } from '../tables/table-registry.js';
import { TablesModule } from '../tables/tables.module.js';
import { VisibleLsn } from '../tables/visible-lsn.js';
import { BulkBodies } from './bulk/bulk-bodies.js';
import { BulkPath } from './bulk-path.js';
import { DataController } from './data.controller.js';
import { FollowPath } from './follow-path.js';
import { FlushPath } from './flush-path.js';
import { MaintenanceController } from './maintenance.controller.js';
import { Compaction } from './maintenance/compaction.js';
import { Housekeeping } from './maintenance/housekeeping.js';
import { Rewriter } from './maintenance/rewrite.js';
import { Scheduler } from './maintenance/scheduler.js';
import { Widening } from './maintenance/widening.js';
import { Freshness } from './freshness.js';
import { OperationCounts } from './operation-counts.js';
import { LostLog } from './wal/lost-log.js';
import { claimRange } from './wal/lsn-range.js';
import { WriteAheadLog } from './wal/write-ahead-log.js';
import { Applier } from './write/apply.js';
import { IdempotencyKeys } from './write/idempotency.js';
import { WritePath } from './write-path.js';

@Module({
  imports: [TablesModule],
  controllers: [DataController, MaintenanceController],
  providers: [
    OperationCounts,
    Freshness,
    {
      provide: WriteAheadLog,
      inject: [Config, CLOCK, DATA_PATHS, OBJECT_STORE],
      useFactory: ({ wal, storage, node_id }: Config, clock: Clock, paths: DataPaths, store: ObjectStore) =>
        WriteAheadLog.open({
          directory: paths.wal,
          segmentBytes: wal.segment_bytes,
          claimRange: (id) => (storage.kind === 'local' ? Promise.resolve(0) : claimRange(store, id, node_id, clock.nowMs())),
        }),
    },
    {
      provide: Applier,
      inject: [Engine, CLOCK, DATA_PATHS, WriteAheadLog],
      useFactory: (engine: Engine, clock: Clock, paths: DataPaths, wal: WriteAheadLog) =>
        new Applier(engine, clock, paths.bulk, wal.lsnEnd),
    },
    {
      provide: IdempotencyKeys,
      inject: [Config, DATA_PATHS, LOGGER],
      useFactory: async ({ limits }: Config, paths: DataPaths, logger: Logger) => {
        const file = path.join(paths.wal, 'idempotency.ndjson');
        const keys = new IdempotencyKeys(file, limits.idempotency_keys_max, limits.idempotency_hours);
        const damaged = await keys.load();
        if (damaged.length > 0)
          logger.error(
            `${file} is damaged in line ${damaged.slice(0, 10).join(', ')}: ${damaged.length} idempotency keys are forgotten, so a request of before with ` +
              `one of them that is sent again is stored again; the other keys hold, and the damaged file is kept as ${file}.damaged`,
          );
        return keys;
      },
    },
    {
      provide: WritePath,
      inject: [Config, CLOCK, LOGGER, Engine, TableRegistry, WriteAheadLog, Applier, IdempotencyKeys, VisibleLsn, Freshness],
      useFactory: async (
        config: Config,
        clock: Clock,
        logger: Logger,
        engine: Engine,
        registry: TableRegistry,
        wal: WriteAheadLog,
        applier: Applier,
        idempotencyKeys: IdempotencyKeys,
        visible: VisibleLsn,
        freshness: Freshness,
      ) => {
        const makeSnowflake = snowflakeIds(clock, wal.range, wal.lastWrittenMs);
        const fetchesFiles = config.storage.kind !== 'local';
        const writePath = new WritePath({
          config,
          clock,
          logger,
          engine,
          registry,
          wal,
          applier,
          idempotencyKeys,
          makeSnowflake,
          visible,
          freshness,
          fetchesFiles,
        });
        registry.beforeAdopted = (table) => writePath.takeBack(table);
        const replayed = await writePath.replay();
        if (replayed > 0) logger.info({ writes: replayed }, 'writes replayed from the write-ahead log');
        return writePath;
      },
    },
    {
      provide: LostLog,
      inject: [Config, LOGGER, DATA_PATHS, OBJECT_STORE, TableRegistry, WriteAheadLog],
      useFactory: async (
        { storage, node_id }: Config,
        logger: Logger,
        paths: DataPaths,
        store: ObjectStore,
        registry: TableRegistry,
        wal: WriteAheadLog,
      ) => {
        const nodeId = storage.kind === 'local' ? undefined : node_id;
        const lost = await LostLog.look(paths.wal, wal, store, nodeId, registry.all());
        if (lost.toldWithCommand !== undefined) logger.error(lost.toldWithCommand);
        return lost;
      },
    },
    {
      provide: FollowPath,
      inject: [LOGGER, Engine, OBJECT_STORE, TableRegistry, WriteAheadLog, WritePath],
      useFactory: (
        logger: Logger,
        engine: Engine,
        store: ObjectStore,
        registry: TableRegistry,
        wal: WriteAheadLog,
        writePath: WritePath,
      ) => {
        const followPath = new FollowPath({ logger, engine, store, registry, wal, writePath });
        registry.show = (table, snapshot) => followPath.follow(table, snapshot);
        return followPath;
      },
    },
    {
      provide: FlushPath,
      inject: [
        Config,
        CLOCK,
        LOGGER,
        Engine,
        OBJECT_STORE,
        ScratchFiles,
        TableRegistry,
        WriteAheadLog,
        Applier,
        WritePath,
        IdempotencyKeys,
        FollowPath,
        Freshness,
      ],
      useFactory: (
        config: Config,
        clock: Clock,
        logger: Logger,
        engine: Engine,
        store: ObjectStore,
        scratch: ScratchFiles,
        registry: TableRegistry,
        wal: WriteAheadLog,
        applier: Applier,
        writePath: WritePath,
        idempotencyKeys: IdempotencyKeys,
        followPath: FollowPath,
        freshness: Freshness,
      ) => {
        const flushPath = new FlushPath({
          config,
          clock,
          logger,
          engine,
          store,
          scratch,
          registry,
          wal,
          applier,
          writePath,
          idempotencyKeys,
          followPath,
          freshness,
        });
        writePath.onApplied = (table) => flushPath.considerFlush(table);
        registry.beforeClose = async (table) => {
          await writePath.exclusive(() => {
            for (const generation of table.generations) applier.forgetBuffer(generation);
            return Promise.resolve();
          });
          // After the flush that may be under way.
          await table.commits.run(() => flushPath.forget(table));
        };
        registry.gatherRows = async (tables) => {
          for (const table of tables) await flushPath.flush(table);
        };
        flushPath.onCommitted = (table) => registry.announce(table);
        return flushPath;
      },
    },
    {
      provide: BulkPath,
      inject: [Config, CLOCK, LOGGER, Engine, ScratchFiles, ArrowConverter, WritePath, DATA_PATHS],
      useFactory: async (
        config: Config,
        clock: Clock,
        logger: Logger,
        engine: Engine,
        scratch: ScratchFiles,
        arrow: ArrowConverter,
        writePath: WritePath,
        paths: DataPaths,
      ) => {
        const bulkPath = new BulkPath({
          config,
          clock,
          logger,
          engine,
          scratch,
          bodies: new BulkBodies(engine, scratch, arrow),
          writePath,
          directory: paths.bulk,
        });
        await bulkPath.open(writePath.bulkFilesInLog);
        return bulkPath;
      },
    },
    {
      provide: Rewriter,
      inject: [CLOCK, Engine, OBJECT_STORE, ScratchFiles, WriteAheadLog, WritePath, FollowPath],
      useFactory: (
        clock: Clock,
        engine: Engine,
        store: ObjectStore,
        scratch: ScratchFiles,
        wal: WriteAheadLog,
        writePath: WritePath,
        followPath: FollowPath,
      ) => new Rewriter({ clock, engine, store, scratch, wal, writePath, followPath }),
    },
    {
      provide: Compaction,
      inject: [Config, CLOCK, Engine, LEASE_STORE, LOGGER, Rewriter, WritePath, WriteAheadLog, Freshness],
      useFactory: (
        { maintenance }: Config,
        clock: Clock,
        engine: Engine,
        leases: LeaseStore,
        logger: Logger,
        rewriter: Rewriter,
        writePath: WritePath,
        wal: WriteAheadLog,
        freshness: Freshness,
      ) => new Compaction({ config: maintenance, clock, engine, leases, logger, rewriter, writePath, wal, freshness }),
    },
    {
      provide: Widening,
      inject: [Engine, LOGGER, FlushPath, WritePath, Rewriter, WriteAheadLog],
      useFactory: (engine: Engine, logger: Logger, flushPath: FlushPath, writePath: WritePath, rewriter: Rewriter, wal: WriteAheadLog) => {
        const widening = new Widening({ engine, logger, flushPath, writePath, rewriter, wal });
        writePath.widen = (table, columns) => widening.widen(table, columns);
        return widening;
      },
    },
    {
      provide: Housekeeping,
      inject: [Config, CLOCK, LOGGER, OBJECT_STORE, LEASE_STORE, FollowPath],
      useFactory: ({ maintenance }: Config, clock: Clock, logger: Logger, store: ObjectStore, leases: LeaseStore, followPath: FollowPath) =>
        new Housekeeping({ config: maintenance, clock, logger, store, leases, followPath }),
    },
    {
      provide: Scheduler,
      inject: [Config, CLOCK, LOGGER, TableRegistry, COMMIT_NOTIFIER, FlushPath, Compaction, Housekeeping],
      useFactory: (
        { maintenance }: Config,
        clock: Clock,
        logger: Logger,
        registry: TableRegistry,
        notifier: CommitNotifier,
        flushPath: FlushPath,
        compaction: Compaction,
        housekeeping: Housekeeping,
      ) => new Scheduler({ config: maintenance, clock, logger, registry, notifier, flushPath, compaction, housekeeping }),
    },
  ],
  exports: [
    TablesModule,
    WritePath,
    BulkPath,
    FollowPath,
    FlushPath,
    Widening,
    WriteAheadLog,
    LostLog,
    Scheduler,
    OperationCounts,
    Freshness,
    Compaction,
  ],
})
export class DataModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly scheduler: Scheduler,
    private readonly writePath: WritePath,
    private readonly flushPath: FlushPath,
    private readonly wal: WriteAheadLog,
    @Inject(LOGGER) private readonly logger: Logger,
    _widening: Widening,
  ) {}

  onApplicationBootstrap(): void {
    this.scheduler.start();
  }

  /** Everything acknowledged is in the log already; the flush only makes the next start quick. */
  async onApplicationShutdown(): Promise<void> {
    await this.scheduler.stop();
    await this.writePath.stop();
    await this.flushPath.flushAll();
    await this.wal.close();
    this.logger.info('all tables flushed, write-ahead log closed');
  }
}
