/** What an operator sees. */
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
import { CpuUsage } from './cpu-usage.js';
import { CPU_METRICS } from './cpu-usage.metrics.js';
import { HealthController } from './health.controller.js';
import { MetricsController } from '../metrics/metrics.controller.js';
import { MetricsModule } from '../metrics/metrics.module.js';
import type { Indicator } from './indicators/indicator.js';
import { Trial } from './indicators/trial.js';
import { INDICATORS, Probes } from './probes.js';
import { RequestTimes } from '../metrics/request-times.js';
import { RequestWatch } from '../api/request-watch.js';
import { StateReader } from './state-reader.js';
import { STATE_METRICS } from './state-reader.metrics.js';

/** An `AuditLog`, or undefined where there is none. */
const AUDIT_LOG = Symbol('AuditLog');

@Module({
  imports: [QueryModule, ClusterModule, BackupsModule, MetricsModule, TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController, MetricsController],
  providers: [
    CpuUsage,
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
    Trial,
    ...INDICATORS,
    { provide: Probes, inject: INDICATORS, useFactory: (...indicators: Indicator[]) => new Probes(indicators) },
    StateReader,
    ...CPU_METRICS,
    ...STATE_METRICS,
  ],
})
export class HealthModule implements OnApplicationShutdown {
  constructor(@Optional() @Inject(AUDIT_LOG) private readonly audit: AuditLog | undefined) {}

  onApplicationShutdown(): void {
    this.audit?.close();
  }
}
