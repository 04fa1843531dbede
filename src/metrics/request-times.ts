/** Counts requests and measures how long they take, to the end of the answer. */
import { Inject, Injectable } from '@nestjs/common';
import type { Histogram } from 'prom-client';
import { MS_PER_SECOND } from '../common/clock.js';
import { metricToken } from '../common/metric-token.js';
import type { EndedRequest } from '../api/request-watch.js';
import { RequestCounts } from './request-counts.js';

export const REQUESTS_DURATION_SECONDS = 'miniodb_requests_duration_seconds';

@Injectable()
export class RequestTimes {
  constructor(
    private readonly counts: RequestCounts,
    @Inject(metricToken(REQUESTS_DURATION_SECONDS)) private readonly durations: Histogram,
  ) {}

  note(request: EndedRequest): void {
    const { method, table } = this.counts.note(request);
    this.durations.observe({ method, table }, request.durationMs / MS_PER_SECOND);
  }
}
