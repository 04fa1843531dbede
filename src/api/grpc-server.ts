/** The gRPC server: the product's own service, reflection and the standard health service. */
import { isIPv6, type Server as Listener } from 'node:net';
import { fileURLToPath } from 'node:url';
import { randomUUID } from 'node:crypto';
import type { Metadata, Server, ServerInterceptor, ServerWritableStream } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { type GrpcOptions, Transport } from '@nestjs/microservices';
import type { ExecutionContext } from '@nestjs/common';
import { HealthImplementation } from 'grpc-health-check';
import { Observable } from 'rxjs';
import { once } from 'node:events';
import { compiledDescriptors } from './compiled-descriptors.js';
import { catchUnreadable } from './readable-messages.js';
import { grpcCredentials, type TlsFiles } from './tls.js';
import { AppError } from '../common/app-error.js';
import { requestContext } from '../common/request-context.js';

const PROTO = fileURLToPath(new URL('../../proto/miniodb/v1/miniodb.proto', import.meta.url));
const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto', import.meta.url));
const PACKAGE = 'miniodb.v1';
const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** A connection on which nothing is asked, or whose other end does not answer, is closed: clients open another when they need one. */
const CONNECTIONS = {
  'grpc.max_connection_idle_ms': 300_000,
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
} as const;

/** What `grpc.health.v1` answers; SERVING only while the server takes requests. */
const grpcHealth = new HealthImplementation({ '': 'NOT_SERVING', [`${PACKAGE}.MinIODBService`]: 'NOT_SERVING' });

let server: Server | undefined;

/** Ends calls that go on as long as their client likes. */
export function cutGrpcCalls(): void {
  server?.forceShutdown();
}

/** What listens for connections: the library keeps these to itself, and bounds them by nothing. */
export function grpcListeners(): Listener[] {
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<Listener, unknown> };
  if (!http2Servers?.size)
    throw new AppError('INTERNAL', 'the gRPC library does not show what listens, so its connections would have no bound');
  return [...http2Servers.keys()];
}

export function setGrpcServing(isServing: boolean): void {
  const status = isServing ? 'SERVING' : 'NOT_SERVING';
  grpcHealth.setStatus('', status);
  grpcHealth.setStatus(`${PACKAGE}.MinIODBService`, status);
}

export interface GrpcServerOptions {
  readonly host: string;
  readonly port: number;
  readonly messageBytesMax: number;
  readonly tls: TlsFiles | undefined;
  /** Watches calls of services that are not the product's own. */
  readonly interceptors: ServerInterceptor[];
}

export function grpcOptions({ host, port, messageBytesMax, tls, interceptors }: GrpcServerOptions): GrpcOptions {
  return {
    transport: Transport.GRPC,
    options: {
      package: PACKAGE,
      protoPath: PROTO,
      url: `${isIPv6(host) ? `[${host}]` : host}:${port}`,
      credentials: grpcCredentials(tls),
      channelOptions: { interceptors, ...CONNECTIONS },
      maxReceiveMessageLength: messageBytesMax,
      maxSendMessageLength: -1,
      gracefulShutdown: true,
      loader: { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO_DIRECTORY] },
      onLoadPackageDefinition: (definition: unknown, made: unknown) => {
        server = made as Server;
        catchUnreadable(definition as Record<string, unknown>);
        new ReflectionService(compiledDescriptors()).addToServer(server);
        grpcHealth.addToServer(server);
      },
    },
  };
}

/** Gives each call its request id, for log lines and errors. */
export function grpcRequestHook(context: ExecutionContext, next: () => Observable<unknown>): Observable<unknown> {
  const parameters = context.getArgs<unknown[]>();
  const metadata = metadataOf(parameters);
  const given = metadata?.get('x-request-id')[0];
  const requestId = typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
  const keyShown = metadata?.get('x-api-key')[0]?.toString();
  const served = { requestId, peer: peerOf(parameters), keyShown };
  return new Observable((subscriber) => requestContext.run(served, () => next().subscribe(subscriber)));
}

/** Metadata of a call: an argument of its own, or part of the call for streams. */
export function metadataOf(parameters: unknown[]): Metadata | undefined {
  const [first, second] = parameters;
  if (isMetadata(second)) return second;
  const inCall = (first as { metadata?: unknown } | undefined)?.metadata;
  return isMetadata(inCall) ? inCall : undefined;
}

/** Address of the other end, without its port: the call is the last argument, or the first one of a stream. */
function peerOf(parameters: unknown[]): string {
  const call = parameters.find(
    (parameter): parameter is { getPeer(): string } => typeof (parameter as { getPeer?: unknown } | undefined)?.getPeer === 'function',
  );
  return call?.getPeer().replace(/:\d+$/, '') ?? '';
}

function isMetadata(value: unknown): value is Metadata {
  return typeof value === 'object' && value !== null && 'getMap' in value;
}

/** Writes messages to a server stream as fast as the client takes them; ends early when the client has gone. */
export async function writeAll<T>(call: ServerWritableStream<unknown, T>, messages: AsyncIterable<T>): Promise<void> {
  const gone = new AbortController();
  call.once('cancelled', () => gone.abort());
  for await (const message of messages) {
    if (gone.signal.aborted) return;
    if (!call.write(message)) await once(call, 'drain', { signal: gone.signal }).catch(() => undefined);
  }
}
