/** What was collected how often: `metrics_collection_stats` of `/v1/status`. */
import { Injectable } from '@nestjs/common';
import { Scheduler } from '../data/maintenance/scheduler.js';
import { MetricsText } from '../metrics/metrics-text.js';

@Injectable()
export class CollectionStats {
  constructor(
    private readonly scheduler: Scheduler,
    private readonly metrics: MetricsText,
  ) {}

  read(): Record<string, number> {
    return { maintenance_rounds: this.scheduler.rounds, scrapes: this.metrics.scrapes };
  }
}
