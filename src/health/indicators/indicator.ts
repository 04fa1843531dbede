/** A part of the server that health tells of. Each indicator is a file of its own here; `../probes.ts` lists them in the order of the answer. */
import type { HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';

export interface Indicator {
  /** How the part is; an empty result when it is not configured, or is told of only when it is in trouble. */
  check(): PromiseLike<HealthIndicatorResult>;
}

/** A part that the server goes on without: degraded while it is in trouble. */
export function degradedBy(trouble: string | undefined, component: string, indicators: HealthIndicatorService): HealthIndicatorResult {
  const indicator = indicators.check(component);
  return trouble === undefined ? indicator.up() : indicator.degraded(trouble);
}
