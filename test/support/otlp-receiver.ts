/** A collector of OpenTelemetry, as far as tests need one: takes OTLP over HTTP (JSON) and keeps the spans. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** 2 is an error. */
  readonly status: { readonly code?: number; readonly message?: string };
  readonly resource: Readonly<Record<string, unknown>>;
  readonly durationMs: number;
}

export interface OtlpReceiver {
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  /** All bodies, as they came. */
  text(): string;
  /** Requests that have come, answered or not. */
  readonly requests: number;
  stop(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Record<string, any>;
}

/** @param mode `hang`: requests are taken and never answered */
export async function startOtlpReceiver(mode: 'answer' | 'hang' = 'answer', port = 0): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: string[] = [];
  let requests = 0;
  const server: Server = createServer((request, response) => {
    requests += 1;
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      if (mode === 'hang') return;
      const text = Buffer.concat(pieces).toString();
      bodies.push(text);
      spans.push(...spansIn(JSON.parse(text)));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`,
    spans,
    text: () => bodies.join('\n'),
    get requests() {
      return requests;
    },
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function spansIn(body: any): ReceivedSpan[] {
  return (body.resourceSpans as any[]).flatMap(({ resource, scopeSpans }) =>
    (scopeSpans as any[]).flatMap(({ spans }) =>
      (spans as any[]).map((span) => ({
        name: span.name as string,
        traceId: span.traceId as string,
        spanId: span.spanId as string,
        parentSpanId: (span.parentSpanId || undefined) as string | undefined,
        attributes: toObject(span.attributes as Attribute[]),
        status: span.status as ReceivedSpan['status'],
        resource: toObject(resource.attributes as Attribute[]),
        durationMs: Number(BigInt(span.endTimeUnixNano as string) - BigInt(span.startTimeUnixNano as string)) / 1e6,
      })),
    ),
  );
}

function toObject(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, valueOf(value)]));
}

function valueOf(value: Record<string, any>): unknown {
  if (value['arrayValue'] !== undefined) return ((value['arrayValue'].values ?? []) as Record<string, any>[]).map(valueOf);
  if (value['intValue'] !== undefined) return Number(value['intValue']);
  return Object.values(value)[0] as unknown;
}
