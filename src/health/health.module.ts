/** What an operator sees. */
import { Inject, Module, Optional, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import type { FastifyInstance } from 'fastify';
import { BackupCounts } from '../backup/backup-counts.js';
import { BackupModule } from '../backup/backup.module.js';
import { Replicator } from '../backup/replication/replicator.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import { Freshness } from '../data/freshness.js';
import { Compaction } from '../data/maintenance/compaction.js';
import { Scheduler } from '../data/maintenance/scheduler.js';
import { OperationCounts } from '../data/operation-counts.js';
import { LostLog } from '../data/wal/lost-log.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { BufferManager } from '../data/buffer/buffer-manager.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { WriterFailure } from '../data/write/writer-failure.js';
import { VisibleLsn } from '../tables/visible-lsn.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, LOGGER, OBJECT_STORE, REDIS } from '../common/tokens.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import { StoragePool } from '../infra/object-store/storage-pool.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import { Admission } from '../query/admission.js';
import { Cursors } from '../query/cursors.js';
import { ResultCache } from '../query/result-cache.js';
import { NodeDirectory } from '../cluster/node-directory.js';
import { ClusterModule } from '../cluster/cluster.module.js';
import { QueryModule } from '../query/query.module.js';
import { QueryStatistics } from '../query/query-statistics.js';
import { QueryStreamCounts } from '../query/query-stream-counts.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import { TableInfoReader } from '../tables/table-info.js';
import { TableRegistry } from '../tables/table-registry.js';
import { AuditLog } from './audit-log.js';
import { CpuUsage } from './cpu-usage.js';
import { HealthController } from './health.controller.js';
import { Metrics } from './metrics.js';
import { Probes } from './probes.js';
import { RequestCounts } from './request-counts.js';
import { RequestWatch } from './request-watch.js';
import { StateReader } from './state-reader.js';

/** An `AuditLog`, or undefined where there is none. */
const AUDIT_LOG = Symbol('AuditLog');

@Module({
  imports: [QueryModule, ClusterModule, BackupModule, TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController],
  providers: [
    { provide: RequestCounts, inject: [TableRegistry], useFactory: (registry: TableRegistry) => new RequestCounts(registry) },
    { provide: AUDIT_LOG, inject: [Config, CLOCK], useFactory: (config: Config, clock: Clock) => AuditLog.open(config, clock) },
    {
      provide: RequestWatch,
      inject: [HttpAdapterHost, RequestCounts, { token: AUDIT_LOG, optional: true }],
      useFactory: (http: HttpAdapterHost, counts: RequestCounts, audit?: AuditLog) => {
        const watch = new RequestWatch();
        watch.onEnd((request) => counts.note(request));
        if (audit) watch.onEnd((request) => audit.note(request));
        watch.watchHttp(http.httpAdapter.getInstance<FastifyInstance>());
        return watch;
      },
    },
    {
      provide: Probes,
      inject: [
        Config,
        LOGGER,
        HealthIndicatorService,
        Engine,
        OBJECT_STORE,
        TableRegistry,
        DamagedFiles,
        GroupCommit,
        WriterFailure,
        VisibleLsn,
        WriteAheadLog,
        LostLog,
        { token: REDIS, optional: true },
        { token: Replicator, optional: true },
      ],
      useFactory: (
        { storage }: Config,
        logger: Logger,
        indicators: HealthIndicatorService,
        engine: Engine,
        store: ObjectStore,
        registry: TableRegistry,
        damagedFiles: DamagedFiles,
        groupCommit: GroupCommit,
        failure: WriterFailure,
        visible: VisibleLsn,
        wal: WriteAheadLog,
        lostLog: LostLog,
        redis?: RedisConnection,
        replicator?: Replicator,
      ) => {
        const fetchesFiles = storage.kind !== 'local';
        return new Probes({
          logger,
          indicators,
          engine,
          store,
          registry,
          damagedFiles,
          groupCommit,
          failure,
          visible,
          wal,
          lostLog,
          redis,
          replicator,
          fetchesFiles,
        });
      },
    },
    {
      provide: StateReader,
      inject: [
        Config,
        CLOCK,
        Engine,
        Probes,
        TableRegistry,
        BufferManager,
        GroupCommit,
        VisibleLsn,
        WriteAheadLog,
        Scheduler,
        Admission,
        Cursors,
        ResultCache,
        QueryStatistics,
        RequestCounts,
        StoragePool,
        NodeDirectory,
        { token: REDIS, optional: true },
        { token: Replicator, optional: true },
      ],
      useFactory: (
        config: Config,
        clock: Clock,
        engine: Engine,
        probes: Probes,
        registry: TableRegistry,
        buffers: BufferManager,
        groupCommit: GroupCommit,
        visible: VisibleLsn,
        wal: WriteAheadLog,
        scheduler: Scheduler,
        admission: Admission,
        cursors: Cursors,
        results: ResultCache,
        statistics: QueryStatistics,
        requests: RequestCounts,
        pool: StoragePool,
        nodes: NodeDirectory,
        redis?: RedisConnection,
        replicator?: Replicator,
      ) =>
        new StateReader({
          config,
          clock,
          engine,
          probes,
          registry,
          buffers,
          groupCommit,
          visible,
          wal,
          scheduler,
          admission,
          cursors,
          results,
          statistics,
          requests,
          pool,
          nodes,
          redis,
          replicator,
        }),
    },
    {
      provide: Metrics,
      inject: [
        Config,
        CLOCK,
        RequestCounts,
        TableRegistry,
        TableInfoReader,
        DamagedFiles,
        OperationCounts,
        Freshness,
        Compaction,
        QueryStatistics,
        QueryStreamCounts,
        BackupCounts,
        StoragePool,
        StateReader,
        { token: REDIS, optional: true },
      ],
      useFactory: (
        config: Config,
        clock: Clock,
        requests: RequestCounts,
        registry: TableRegistry,
        tableInfo: TableInfoReader,
        damagedFiles: DamagedFiles,
        operations: OperationCounts,
        freshness: Freshness,
        compaction: Compaction,
        queries: QueryStatistics,
        queryStreams: QueryStreamCounts,
        backups: BackupCounts,
        pool: StoragePool,
        state: StateReader,
        redis?: RedisConnection,
      ) =>
        new Metrics({
          config,
          clock,
          requests,
          cpu: new CpuUsage(),
          registry,
          tableInfo,
          damagedFiles,
          operations,
          freshness,
          compaction,
          queries,
          queryStreams,
          backups,
          pool,
          state,
          redis,
        }),
    },
  ],
})
export class HealthModule implements OnApplicationShutdown {
  constructor(@Optional() @Inject(AUDIT_LOG) private readonly audit: AuditLog | undefined) {}

  onApplicationShutdown(): void {
    this.audit?.close();
  }
}
