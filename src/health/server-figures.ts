/** Performance and resources, as `/v1/metrics` has them. Read without changing anything; every figure is measured at the time of asking. */
import { Injectable } from '@nestjs/common';
import { CacheStats } from './cache-stats.js';
import { ConnectionPools } from './connection-pools.js';
import type { FiguresDto } from './health.dto.js';
import { HealthScore } from './health-score.js';
import { MemoryUsage } from './memory-usage.js';
import { ProcessFigures } from './process-figures.js';
import { QueryEngineStats } from './query-stats.js';

@Injectable()
export class ServerFigures {
  constructor(
    private readonly queries: QueryEngineStats,
    private readonly caches: CacheStats,
    private readonly memory: MemoryUsage,
    private readonly pools: ConnectionPools,
    private readonly process: ProcessFigures,
    private readonly score: HealthScore,
  ) {}

  async read(): Promise<Omit<FiguresDto, 'timestamp'>> {
    return {
      query_metrics: this.#queries(),
      cache_metrics: this.#caches(),
      memory_usage: await this.memory.read(),
      connection_pool_metrics: this.pools.read(),
      performance_metrics: this.#performance(),
      resource_usage: this.process.resources(),
      system_info: this.process.system(),
      health_score: await this.score.read(),
    };
  }

  #queries(): Record<string, number> {
    const stats = this.queries.read();
    return { ...stats, success_rate: share(stats.succeeded, stats.failed, 1) };
  }

  #caches(): Record<string, unknown> {
    const stats = this.caches
      .read()
      .map(({ type, hits, misses, entries, bytes }) => [type, { hits, misses, entries, bytes, hit_ratio: share(hits, misses, 0) }]);
    return { open_cursors: this.queries.read().open_cursors, ...(Object.fromEntries(stats) as Record<string, unknown>) };
  }

  #performance(): Record<string, number> {
    const { duration_ms_p50, duration_ms_p95, duration_ms_p99 } = this.queries.read();
    return {
      query_duration_ms_p50: duration_ms_p50,
      query_duration_ms_p95: duration_ms_p95,
      query_duration_ms_p99: duration_ms_p99,
      event_loop_delay_ms_p99: this.process.loopDelayMsP99(),
    };
  }
}

/** Share of the first count in both, from 0 to 1. */
function share(good: number, bad: number, withoutAny: number): number {
  return good + bad === 0 ? withoutAny : good / (good + bad);
}
