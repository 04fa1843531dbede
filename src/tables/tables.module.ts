/** Tables: which there are, how they are configured, what state they are in. */
import { Module, type OnModuleInit } from '@nestjs/common';
import { Config } from '../config/config.js';
import { Engine } from '../engine/duckdb/engine.js';
import { Catalogue } from './catalogue.js';
import { TableLogs } from './table-logs.js';
import { TableOpener } from './open-table.js';
import { TableBuffers } from './table-buffers.js';
import { TableRemoval } from './remove-table.js';
import { CatalogueSync } from './catalogue-sync.js';
import { TableCreation } from './create-table.js';
import { TableDrops } from './drop-table.js';
import { FinishDrop } from './finish-drop.js';
import { TableConfiguration } from './configure-table.js';
import { OtherNodes } from './other-nodes.js';
import { CommitAnnouncements } from './announce-commits.js';
import { AllTableStats } from './all-table-stats.js';
import { TABLE_STATS_METRICS } from './all-table-stats.metrics.js';
import { DamagedFiles } from './damaged-files.js';
import { DAMAGE_METRICS } from './damaged-files.metrics.js';
import { ResidentBudget } from './view/resident-budget.js';
import { defaultTableConfig } from './table-config.js';
import { TableDefaults } from './table-defaults.js';
import { TableEvents } from './table-events.js';
import { TableInfoReader } from './table-info.js';
import { TableRegistry } from './table-registry.js';
import { TablesController } from './tables.controller.js';
import { VisibleLsn } from './view/visible-lsn.js';

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
    TableEvents,
    DamagedFiles,
    TableRegistry,
    Catalogue,
    TableLogs,
    TableBuffers,
    TableOpener,
    TableRemoval,
    CatalogueSync,
    TableCreation,
    FinishDrop,
    TableDrops,
    TableConfiguration,
    OtherNodes,
    CommitAnnouncements,
    TableInfoReader,
    AllTableStats,
    ...TABLE_STATS_METRICS,
    ...DAMAGE_METRICS,
  ],
  exports: [
    Catalogue,
    TableLogs,
    TableBuffers,
    TableOpener,
    CatalogueSync,
    TableCreation,
    TableDrops,
    TableConfiguration,
    OtherNodes,
    VisibleLsn,
    TableEvents,
    TableDefaults,
    TableRegistry,
    TableInfoReader,
    AllTableStats,
    DamagedFiles,
  ],
})
export class TablesModule implements OnModuleInit {
  constructor(private readonly sync: CatalogueSync) {}

  onModuleInit(): Promise<void> {
    return this.sync.open();
  }
}
