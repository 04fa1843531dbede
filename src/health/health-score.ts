/**
 * 0 to 100: a third each for components that work, for room in the write-ahead log and for queries without a fault of ours. See docs/operations.md.
 */
import { Injectable } from '@nestjs/common';
import { RequestCounts } from '../metrics/request-counts.js';
import { BufferStats } from './buffer-stats.js';
import { OverallHealth } from './overall-health.js';

/** Far enough below the 70 of the alert MinIODBLowHealthScore. */
const UNHEALTHY_SCORE_MAX = 50;

@Injectable()
export class HealthScore {
  constructor(
    private readonly health: OverallHealth,
    private readonly buffers: BufferStats,
    private readonly requests: RequestCounts,
  ) {}

  async read(): Promise<number> {
    const components = Object.values(await this.health.components());
    const working = components.filter((state) => state === 'healthy').length / components.length;
    const { answered, faults } = this.requests.queries;
    const withoutFault = answered === 0 ? 1 : 1 - faults / answered;
    const score = Math.round((100 * (working + (1 - Math.min(1, this.buffers.walShare)) + withoutFault)) / 3);
    // Even if all else is well: somebody who watches nothing but the score must notice.
    return components.some((state) => state.startsWith('unhealthy')) ? Math.min(score, UNHEALTHY_SCORE_MAX) : score;
  }
}
