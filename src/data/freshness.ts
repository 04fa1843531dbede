/**
 * How long rows take on their way, in seconds, each stage from the arrival of a row at this node:
 *
 *   visible    every query on this node sees it; from here on it is acknowledged
 *   parquet    it is in a data file that a commit names: other nodes and other engines see it
 *   compacted  its small file was merged into a larger one (counted from when that file was written)
 *
 * Where several rows move together, the oldest counts.
 */
import { Histogram } from 'prom-client';
import { MS_PER_SECOND } from '../common/clock.js';

export type FreshnessStage = 'visible' | 'parquet' | 'compacted';

/** From a group of writes to the time between two rounds of maintenance, and what an outage of hours adds. */
const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 43_200];

export class Freshness {
  readonly histogram = new Histogram({
    name: 'miniodb_freshness_seconds',
    help: 'Time from the arrival of a row until it is visible, or in a data file (parquet); and from there until it is compacted',
    labelNames: ['stage'],
    buckets: BUCKETS_SECONDS,
    registers: [],
  });

  note(stage: FreshnessStage, ms: number): void {
    this.histogram.observe({ stage }, Math.max(0, ms) / MS_PER_SECOND);
  }
}
