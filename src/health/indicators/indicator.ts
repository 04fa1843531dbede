/** A part of the server that health tells of. Each indicator is a file of its own here; `../probes.ts` lists them in the order in which they are told. */
import type { HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';

export interface Indicator {
  /** How the part is; nothing when there is nothing to tell, because it is not configured or has no trouble. */
  check(): PromiseLike<HealthIndicatorResult>;
}

/** A part that the server goes on without: degraded while it is in trouble. */
export function degradedBy(trouble: string | undefined, component: string, indicators: HealthIndicatorService): HealthIndicatorResult {
  const indicator = indicators.check(component);
  return trouble === undefined ? indicator.up() : indicator.degraded(trouble);
}
