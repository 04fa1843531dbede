/** What an operator sees: probes, health, status and figures. */
import { Inject, Module, Optional, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import type { FastifyInstance } from 'fastify';
import { BackupsModule } from '../backups/backups.module.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { CLOCK } from '../common/tokens.js';
import { ClusterModule } from '../cluster/cluster.module.js';
import { QueryModule } from '../query/query.module.js';
import { AuditLog } from '../auth/audit-log.js';
import { MetricsController } from '../metrics/metrics.controller.js';
import { MetricsModule } from '../metrics/metrics.module.js';
import { RequestTimes } from '../metrics/request-times.js';
import { RequestWatch } from '../api/request-watch.js';
import { BufferStats } from './buffer-stats.js';
import { CacheStats } from './cache-stats.js';
import { CACHE_METRICS } from './cache-stats.metrics.js';
import { CollectionStats } from './collection-stats.js';
import { ConnectionPools } from './connection-pools.js';
import { CpuUsage } from './cpu-usage.js';
import { CPU_METRICS } from './cpu-usage.metrics.js';
import { ServerFigures } from './server-figures.js';
import { HealthController } from './health.controller.js';
import { HealthScore } from './health-score.js';
import { HEALTH_SCORE_METRICS } from './health-score.metrics.js';
import type { Indicator } from './indicators/indicator.js';
import { Trial } from './indicators/trial.js';
import { KnownNodes } from './known-nodes.js';
import { MemoryUsage } from './memory-usage.js';
import { MEMORY_METRICS } from './memory-usage.metrics.js';
import { OverallHealth } from './overall-health.js';
import { INDICATORS, Probes } from './probes.js';
import { ProcessFigures } from './process-figures.js';
import { QueryEngineStats } from './query-stats.js';
import { RedisStats } from './redis-stats.js';
import { ReplicationStats } from './replication-stats.js';
import { ServerStatus } from './server-status.js';
import { StorageStats } from './storage-stats.js';

/** An `AuditLog`, or undefined where there is none. */
const AUDIT_LOG = Symbol('AuditLog');

@Module({
  imports: [QueryModule, ClusterModule, BackupsModule, MetricsModule, TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController, MetricsController],
  providers: [
    { provide: AUDIT_LOG, inject: [Config, CLOCK], useFactory: (config: Config, clock: Clock) => AuditLog.open(config, clock) },
    {
      provide: RequestWatch,
      inject: [HttpAdapterHost, RequestTimes, { token: AUDIT_LOG, optional: true }],
      useFactory: (http: HttpAdapterHost, times: RequestTimes, audit?: AuditLog) => {
        const watch = new RequestWatch();
        watch.onEnd((request) => times.note(request));
        if (audit) watch.onEnd((request) => audit.note(request));
        watch.watchHttp(http.httpAdapter.getInstance<FastifyInstance>());
        return watch;
      },
    },
    // Does each part do its work?
    Trial,
    ...INDICATORS,
    { provide: Probes, inject: INDICATORS, useFactory: (...indicators: Indicator[]) => new Probes(indicators) },
    OverallHealth,
    HealthScore,
    // What each part says of itself.
    BufferStats,
    RedisStats,
    ReplicationStats,
    StorageStats,
    QueryEngineStats,
    CollectionStats,
    KnownNodes,
    ServerStatus,
    CacheStats,
    ConnectionPools,
    MemoryUsage,
    ProcessFigures,
    CpuUsage,
    ServerFigures,
    // What Prometheus is told of it.
    ...CACHE_METRICS,
    ...CPU_METRICS,
    ...MEMORY_METRICS,
    ...HEALTH_SCORE_METRICS,
  ],
})
export class HealthModule implements OnApplicationShutdown {
  constructor(@Optional() @Inject(AUDIT_LOG) private readonly audit: AuditLog | undefined) {}

  onApplicationShutdown(): void {
    this.audit?.close();
  }
}
