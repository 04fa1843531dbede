/**
 * How long rows take on their way, in seconds, each stage from the arrival of a row at this node:
 *
 *   visible    every query on this node sees it; from here on it is acknowledged
 *   parquet    it is in a data file that a commit names: other nodes and other engines see it
 *   compacted  its small file was merged into a larger one (counted from when that file was written)
 *
 * Where several rows move together, the oldest counts.
 */
import { Inject, Injectable } from '@nestjs/common';
import type { Histogram } from 'prom-client';
import { MS_PER_SECOND } from '../common/clock.js';
import { metricToken } from '../common/metric-token.js';

export type FreshnessStage = 'visible' | 'parquet' | 'compacted';

export const FRESHNESS_SECONDS = 'miniodb_freshness_seconds';

@Injectable()
export class Freshness {
  constructor(@Inject(metricToken(FRESHNESS_SECONDS)) private readonly histogram: Histogram) {}

  note(stage: FreshnessStage, ms: number): void {
    this.histogram.observe({ stage }, Math.max(0, ms) / MS_PER_SECOND);
  }
}
