/** What Prometheus reads, and what is counted of requests. The other metrics are declared beside the parts that they describe. */
import { type DynamicModule, Module, type OnApplicationShutdown } from '@nestjs/common';
import { PrometheusModule } from '@willsoto/nestjs-prometheus';
import { register } from 'prom-client';
import { DataModule } from '../data/data.module.js';
import { MetricsText } from './metrics-text.js';
import { RequestCounts } from './request-counts.js';
import { REQUEST_METRICS } from './request-counts.metrics.js';
import { RequestTimes } from './request-times.js';

/** Without its own controller: ours (`metrics.controller.ts`) is guarded, and stands among the other monitoring routes. */
const prometheus: DynamicModule = { ...PrometheusModule.register({ defaultMetrics: { enabled: false } }), controllers: [] };

@Module({
  imports: [DataModule, prometheus],
  providers: [MetricsText, RequestCounts, ...REQUEST_METRICS, RequestTimes],
  exports: [MetricsText, RequestCounts, RequestTimes],
})
export class MetricsModule implements OnApplicationShutdown {
  /** The registry is the process's: a server that starts in the same process afterwards must not find the metrics of this one. */
  onApplicationShutdown(): void {
    register.clear();
  }
}
