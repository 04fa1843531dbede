import { makeHistogramProvider } from '@willsoto/nestjs-prometheus';
import { FRESHNESS_SECONDS } from './freshness.js';

/** From a group of writes to the time between two rounds of maintenance, and what an outage of hours adds. */
const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 43_200];

export const FRESHNESS_METRICS = [
  makeHistogramProvider({
    name: FRESHNESS_SECONDS,
    help: 'Time from the arrival of a row until it is visible, or in a data file (parquet); and from there until it is compacted',
    labelNames: ['stage'],
    buckets: BUCKETS_SECONDS,
  }),
];
