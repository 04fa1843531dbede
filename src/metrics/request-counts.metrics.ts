/** Metrics of requests over REST and gRPC. What was counted of a table goes when the table has gone. */
import { makeCounterProvider, makeHistogramProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Histogram } from 'prom-client';
import { RequestCounts } from './request-counts.js';
import { REQUESTS_DURATION_SECONDS } from './request-times.js';

const REQUESTS_TOTAL = 'miniodb_requests_total';
const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export const REQUEST_METRICS = [
  makeHistogramProvider({
    name: REQUESTS_DURATION_SECONDS,
    help: 'Time from the arrival of a request to the end of its answer',
    labelNames: ['method', 'table'],
    buckets: BUCKETS_SECONDS,
    inject: [RequestCounts],
    collect(this: Histogram, counts: RequestCounts) {
      for (const { method, table } of counts.forgetGoneTables()) this.remove({ method, table });
    },
  }),
  makeCounterProvider({
    name: REQUESTS_TOTAL,
    help: 'Requests over REST and gRPC; status is success or error',
    labelNames: ['method', 'status', 'table'],
    inject: [RequestCounts],
    collect(this: Counter, counts: RequestCounts) {
      this.reset();
      for (const { count, ...series } of counts.ofTablesThere()) this.inc({ ...series }, count);
    },
  }),
];
