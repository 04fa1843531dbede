/** What an operator sees. */
import { Module } from '@nestjs/common';
import { BackupCounts } from '../backup/backup-counts.js';
import { BackupModule } from '../backup/backup.module.js';
import { Replicator } from '../backup/replication/replicator.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import { Scheduler } from '../data/maintenance/scheduler.js';
import { OperationCounts } from '../data/operation-counts.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { WritePath } from '../data/write-path.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, OBJECT_STORE, REDIS } from '../infra/infra.module.js';
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
import { TableInfoReader } from '../tables/table-info.js';
import { TableRegistry } from '../tables/table-registry.js';
import { CpuUsage } from './cpu-usage.js';
import { HealthController } from './health.controller.js';
import { Metrics } from './metrics.js';
import { RequestCounts } from './request-counts.js';
import { StateReader } from './state-reader.js';

@Module({
  imports: [QueryModule, ClusterModule, BackupModule],
  controllers: [HealthController],
  providers: [
    RequestCounts,
    {
      provide: StateReader,
      inject: [
        Config,
        CLOCK,
        Engine,
        OBJECT_STORE,
        TableRegistry,
        WritePath,
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
        store: ObjectStore,
        registry: TableRegistry,
        writePath: WritePath,
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
          store,
          registry,
          writePath,
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
        OperationCounts,
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
        operations: OperationCounts,
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
          operations,
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
export class HealthModule {}
