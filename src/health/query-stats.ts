/** Queries: `query_engine_stats` of `/v1/status`, `query_metrics` of `/v1/metrics`. */
import { Injectable } from '@nestjs/common';
import { QueryConfig } from '../config/config.js';
import { Admission } from '../query/limits/admission.js';
import { Cursors } from '../query/paging/cursors.js';
import { QueryStatistics } from '../query/query-counts.js';

export interface QueryEngineFigures extends Record<string, number> {
  readonly running: number;
  readonly waiting: number;
  readonly refused: number;
  readonly concurrency_max: number;
  readonly open_cursors: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly duration_ms_p50: number;
  readonly duration_ms_p95: number;
  readonly duration_ms_p99: number;
}

@Injectable()
export class QueryEngineStats {
  constructor(
    private readonly config: QueryConfig,
    private readonly admission: Admission,
    private readonly cursors: Cursors,
    private readonly statistics: QueryStatistics,
  ) {}

  read(): QueryEngineFigures {
    const { admission, cursors, statistics, config } = this;
    return {
      running: admission.running,
      waiting: admission.waiting,
      refused: admission.refused,
      concurrency_max: config.concurrency_max,
      open_cursors: cursors.count,
      succeeded: statistics.total.succeeded,
      failed: statistics.total.failed,
      duration_ms_p50: statistics.durationMs(0.5),
      duration_ms_p95: statistics.durationMs(0.95),
      duration_ms_p99: statistics.durationMs(0.99),
    };
  }
}
