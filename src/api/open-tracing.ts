/** Sends spans to an OpenTelemetry collector over OTLP/HTTP. Its packages are loaded only when an endpoint is configured. */
import type { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { turnTracingOn } from '../common/tracing.js';
import { VERSION } from '../common/version.js';

/** Spans that wait for the collector; more are dropped, so that a collector that is away costs no memory. */
const WAITING_SPANS_MAX = 4_096;
const SEND_EVERY_MS = 1_000;
const SEND_MS_MAX = 5_000;

/** @returns what sends the last spans and ends it; undefined without an endpoint */
export async function openTracing({ tracing, node_id: nodeId }: Config, logger: Logger): Promise<(() => Promise<void>) | undefined> {
  if (tracing.endpoint === '') return undefined;
  const [{ diag, DiagLogLevel }, { resourceFromAttributes }, sdk, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/sdk-trace-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const note = (message: string): void => logger.warn(`tracing: ${message.slice(0, 500)}`);
  const nothing = (): void => undefined;
  diag.setLogger({ error: note, warn: note, info: nothing, debug: nothing, verbose: nothing }, DiagLogLevel.WARN);
  const provider = new sdk.NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': tracing.service_name, 'service.version': VERSION, 'service.instance.id': nodeId }),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(tracing.sampled_share) }),
    spanProcessors: [
      new sdk.BatchSpanProcessor(new OTLPTraceExporter({ url: tracing.endpoint, timeoutMillis: SEND_MS_MAX }), {
        maxQueueSize: WAITING_SPANS_MAX,
        scheduledDelayMillis: SEND_EVERY_MS,
        exportTimeoutMillis: SEND_MS_MAX,
      }),
    ],
  });
  provider.register();
  turnTracingOn();
  return () => provider.shutdown().catch((error: unknown) => logger.warn({ err: error }, 'tracing: the last spans were not sent'));
}
