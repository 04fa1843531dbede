/** Data on its way in: writes, the write-ahead log, buffers, flushes, bulk bodies, and what keeps tables in shape afterwards. */
import { Module, type OnApplicationBootstrap, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import path from 'node:path';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { CLOCK, DATA_PATHS, LOGGER, OBJECT_STORE } from '../common/tokens.js';
import type { DataPaths } from '../config/data-paths.js';
import type { ObjectStore } from '../storage/object-store.js';
import { TablesModule } from '../tables/tables.module.js';
import { BufferManager } from './buffer/buffer-manager.js';
import { BUFFER_METRICS } from './buffer/buffer-manager.metrics.js';
import { BulkBodies } from './bulk/bulk-bodies.js';
import { BulkFiles } from './bulk/bulk-files.js';
import { EncodeBulk } from './bulk/encode-bulk.js';
import { StoreBatches } from './bulk/store-batches.js';
import { StoreAsFile } from './bulk/store-as-file.js';
import { StoreAsRows } from './bulk/store-as-rows.js';
import { BulkPath } from './bulk-path.js';
import { DataController } from './data.controller.js';
import { CloseData } from './close-data.js';
import { CommitFlush } from './flush/commit.js';
import { EncodeRows } from './flush/encode.js';
import { FlushReport } from './flush/flush-report.js';
import { FlushWhenDue } from './flush/flush-when-due.js';
import { FreezeBuffers } from './flush/freeze.js';
import { PublishFlush } from './flush/publish.js';
import { TrimWal } from './flush/trim-wal.js';
import { UploadFiles } from './flush/upload.js';
import { FlushPath } from './flush-path.js';
import { FollowPath } from './follow-path.js';
import { Freshness } from './freshness.js';
import { FRESHNESS_METRICS } from './freshness.metrics.js';
import { MaintenanceController } from './maintenance.controller.js';
import { Compaction } from './maintenance/compaction.js';
import { COMPACTION_METRICS } from './maintenance/compaction.metrics.js';
import { DeclareColumns } from './maintenance/declare-columns.js';
import { Housekeeping } from './maintenance/housekeeping.js';
import { MaintenanceRound } from './maintenance/maintenance-round.js';
import { Merge } from './maintenance/merge.js';
import { Rewriter } from './maintenance/rewrite.js';
import { RewriteAsDouble } from './maintenance/rewrite-as-double.js';
import { Scheduler } from './maintenance/scheduler.js';
import { Segments } from './maintenance/segments.js';
import { Widening } from './maintenance/widening.js';
import { OpenData } from './open-data.js';
import { WriteTargets } from './write/target.js';
import { OperationCounts } from './operation-counts.js';
import { OPERATION_METRICS } from './operation-counts.metrics.js';
import { TableListeners } from './table-listeners.js';
import { LostLog } from './wal/lost-log.js';
import { claimRange } from './wal/lsn-range.js';
import { OtherLogs } from './wal/other-logs.js';
import { WriteAheadLog } from './wal/write-ahead-log.js';
import { WAL_METRICS } from './wal/write-ahead-log.metrics.js';
import { Acknowledge } from './write/acknowledge.js';
import { Applier } from './write/apply.js';
import { EncodeRulesOfTables } from './write/encode-rules.js';
import { GroupCommit } from './write/group-commit.js';
import { HoldFiles } from './write/hold-files.js';
import { IdempotencyKeys } from './write/idempotency.js';
import { LsnCounter } from './write/lsn-counter.js';
import { PrepareWrite } from './write/prepare.js';
import { Fence, Replay } from './write/replay.js';
import { StoreText } from './write/store-text.js';
import { WriterFailure } from './write/writer-failure.js';
import { WritePath } from './write-path.js';

@Module({
  imports: [TablesModule],
  controllers: [DataController, MaintenanceController],
  providers: [
    OperationCounts,
    WriteTargets,
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
    OtherLogs,
    LostLog,
    BufferManager,
    // The path of a write.
    WriterFailure,
    LsnCounter,
    EncodeRulesOfTables,
    HoldFiles,
    PrepareWrite,
    Applier,
    Acknowledge,
    GroupCommit,
    WritePath,
    Fence,
    Replay,
    StoreText,
    StoreBatches,
    BulkBodies,
    BulkFiles,
    EncodeBulk,
    StoreAsRows,
    StoreAsFile,
    BulkPath,
    // The path of a flush, and of commits to the readers.
    FreezeBuffers,
    EncodeRows,
    UploadFiles,
    CommitFlush,
    PublishFlush,
    TrimWal,
    FlushReport,
    FlushPath,
    FlushWhenDue,
    FollowPath,
    // Maintenance.
    DeclareColumns,
    Rewriter,
    RewriteAsDouble,
    Widening,
    Segments,
    Merge,
    Compaction,
    Housekeeping,
    MaintenanceRound,
    Scheduler,
    // What happens to the tables, and the start and end of it all.
    TableListeners,
    OpenData,
    CloseData,
    // What Prometheus is told of all this.
    ...OPERATION_METRICS,
    ...FRESHNESS_METRICS,
    ...BUFFER_METRICS,
    ...WAL_METRICS,
    ...COMPACTION_METRICS,
  ],
  exports: [
    TablesModule,
    WritePath,
    GroupCommit,
    BufferManager,
    WriterFailure,
    LsnCounter,
    BulkPath,
    StoreAsFile,
    FollowPath,
    FlushPath,
    WriteAheadLog,
    LostLog,
    Scheduler,
    OperationCounts,
    Freshness,
    Compaction,
  ],
})
export class DataModule implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly opening: OpenData,
    private readonly closing: CloseData,
    private readonly scheduler: Scheduler,
  ) {}

  onModuleInit(): Promise<void> {
    return this.opening.run();
  }

  onApplicationBootstrap(): void {
    this.scheduler.start();
  }

  onApplicationShutdown(): Promise<void> {
    return this.closing.run();
  }
}
