/** How each component is doing, and the server as a whole: `status` and `details` of `/v1/health`, `health_status` and `components` of `/v1/status`. */
import { Injectable } from '@nestjs/common';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { BufferStats } from './buffer-stats.js';
import { Probes } from './probes.js';

/** Share of the room for the write-ahead log above which the server is degraded. */
const WAL_SHARE_MAX = 0.8;

export type Health = 'healthy' | 'degraded' | 'unhealthy';

@Injectable()
export class OverallHealth {
  constructor(
    private readonly probes: Probes,
    private readonly buffers: BufferStats,
  ) {}

  async read(): Promise<{ status: Health; components: Record<string, string> }> {
    const components = await this.components();
    const states = Object.values(components);
    if (states.some((state) => state.startsWith('unhealthy'))) return { status: 'unhealthy', components };
    if (states.some((state) => state.startsWith('degraded'))) return { status: 'degraded', components };
    return { status: this.buffers.walShare > WAL_SHARE_MAX ? 'degraded' : 'healthy', components };
  }

  /** Asks each part whether it does its work. */
  async components(): Promise<Record<string, string>> {
    const results = await Promise.all(this.probes.all().map((probe) => probe()));
    return Object.fromEntries(
      results.flatMap((result) => Object.entries(result)).map(([component, outcome]) => [component, textOf(outcome)]),
    );
  }
}

function textOf({ status, ...data }: HealthIndicatorResult[string]): string {
  if (status === 'up') return 'healthy';
  return `${status === 'degraded' ? 'degraded' : 'unhealthy'}: ${String(data['message'])}`;
}
