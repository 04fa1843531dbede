/** Tables: which there are, how they are configured, what state they are in. */
import { Module } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import type { CommitNotifier } from '../infra/coordination/commit-notifier.js';
import { DropNotices } from '../infra/coordination/drop-notices.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER, OBJECT_STORE, REDIS } from '../infra/infra.module.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import { ScratchFiles } from '../infra/scratch-files.js';
import { DamagedFiles } from './damaged-files.js';
import { ResidentBudget } from './resident-budget.js';
import { defaultTableConfig } from './table-config.js';
import { TableDefaults } from './table-defaults.js';
import { TableInfoReader } from './table-info.js';
import { TableRegistry } from './table-registry.js';
import { TablesController } from './tables.controller.js';
import { VisibleLsn } from './visible-lsn.js';

/** Part of the engine's memory that rows of small files may take: one in this many. */
const RESIDENT_PARTS = 4;

@Module({
  controllers: [TablesController],
  providers: [
    VisibleLsn,
    {
      provide: TableDefaults,
      inject: [Config],
      useFactory: ({ tables }: Config) => new TableDefaults(defaultTableConfig(tables.buffer_size, tables.flush_interval_seconds)),
    },
    {
      provide: ResidentBudget,
      inject: [Config, Engine],
      useFactory: ({ query }: Config, engine: Engine) =>
        new ResidentBudget(Math.min(query.small_files_bytes_max, Math.floor(engine.memoryBytesMax / RESIDENT_PARTS))),
    },
    {
      provide: TableRegistry,
      inject: [
        OBJECT_STORE,
        Engine,
        ResidentBudget,
        DamagedFiles,
        ScratchFiles,
        CLOCK,
        LOGGER,
        COMMIT_NOTIFIER,
        TableDefaults,
        Config,
        { token: REDIS, optional: true },
      ],
      useFactory: async (
        store: ObjectStore,
        engine: Engine,
        residentBudget: ResidentBudget,
        damagedFiles: DamagedFiles,
        scratch: ScratchFiles,
        clock: Clock,
        logger: Logger,
        notifier: CommitNotifier,
        defaults: TableDefaults,
        config: Config,
        redis?: RedisConnection,
      ) => {
        const registry = new TableRegistry({
          store,
          engine,
          residentBudget,
          damagedFiles,
          scratch,
          clock,
          logger,
          notifier,
          defaults: defaults.config,
          tablesMax: config.limits.tables_max,
          dropNotices: redis && new DropNotices(redis),
        });
        await registry.open();
        return registry;
      },
    },
    {
      provide: DamagedFiles,
      inject: [Engine, CLOCK, LOGGER],
      useFactory: (engine: Engine, clock: Clock, logger: Logger) => new DamagedFiles(engine, clock, logger),
    },
    {
      provide: TableInfoReader,
      inject: [Engine, OBJECT_STORE, VisibleLsn],
      useFactory: (engine: Engine, store: ObjectStore, visible: VisibleLsn) => new TableInfoReader(engine, store, visible),
    },
  ],
  exports: [VisibleLsn, TableDefaults, TableRegistry, TableInfoReader, DamagedFiles],
})
export class TablesModule {}
