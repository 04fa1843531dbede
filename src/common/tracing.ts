/**
 * Spans of what the server does, for OpenTelemetry. Nothing is recorded, and next to nothing is spent, until `infra/open-tracing.ts` has opened an
 * exporter: the configuration decides that at the start (section `tracing`).
 *
 * Spans are made by hand at the stages of the paths, not by patching libraries: the names are those of docs/ARCHITECTURE.md, and the hot paths know what
 * they pay. They carry names and counts, never statements, ids or values of rows.
 */
import { type Attributes, context, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AppError } from './app-error.js';

let isOn = false;

/** From here on spans are recorded. */
export function turnTracingOn(): void {
  isOn = true;
}

const tracer = trace.getTracer('miniodb');

/** Runs `work` as a span within the one that is active. */
export async function traced<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  if (!isOn) return work();
  return tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work();
    } catch (error) {
      markFailed(span, error instanceof AppError ? error.code : 'INTERNAL');
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Says more of the span that is active. */
export function noteSpan(attributes: Attributes): void {
  if (isOn) trace.getActiveSpan()?.setAttributes(attributes);
}

/** A request being served. */
export interface RequestSpan {
  /** Runs what serves it, so that the spans made there belong to it. */
  within<T>(work: () => T): T;
  /** @param failure code of the error that it is answered with */
  end(attributes: Attributes, failure: string | undefined): void;
}

/**
 * @param headers of the request: a span of the caller in them (`traceparent`, W3C Trace Context) is the parent
 * @returns undefined while nothing is recorded
 */
export function startRequestSpan(name: string, headers: Readonly<Record<string, unknown>>): RequestSpan | undefined {
  if (!isOn) return undefined;
  const parent = propagation.extract(ROOT_CONTEXT, headers);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER }, parent);
  const active = trace.setSpan(parent, span);
  return {
    within: (work) => context.with(active, work),
    end: (attributes, failure) => {
      span.setAttributes(attributes);
      if (failure !== undefined) markFailed(span, failure);
      span.end();
    },
  };
}

function markFailed(span: Span, code: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: code });
}
