/**
 * The token under which a metric of @willsoto/nestjs-prometheus is injected, as the package's own `getToken` makes it. It stands here because Jest cannot
 * load that package: only `*.metrics.ts` files and modules import it, so that the parts that count can be tested.
 */
export function metricToken(name: string): string {
  return `PROM_METRIC_${name.toUpperCase()}`;
}
