/**
 * Watches the requests of both doors from their arrival to the end of their answer, and tells those who count and record them. Requests that only look
 * after the server (health, status, metrics, documentation) are left out: probes and scrapes would water down every rate.
 */
import type { ExecutionContext } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Observable, tap } from 'rxjs';
import type { ErrorCode } from '../common/app-error.js';
import { type RequestContext, requestContext } from '../common/request-context.js';
import { startRequestSpan } from '../common/tracing.js';
import { toAppError } from './error-filter.js';
import { metadataOf } from './grpc-server.js';
import { methodOfCall, methodOfRoute } from './request-methods.js';

/** `INCOMPLETE`: the client went away, or was cut off, before it had the whole answer. */
export type Result = 'OK' | 'INCOMPLETE' | ErrorCode;

/** A request that has its answer. */
export interface EndedRequest {
  readonly door: 'rest' | 'grpc';
  readonly method: string;
  readonly context: RequestContext | undefined;
  /** Where it says what it wants: parts of the path, body, parameters; the first that has a field counts. */
  readonly places: readonly unknown[];
  readonly result: Result;
  readonly durationMs: number;
}

const ERROR_FROM = 400;

export class RequestWatch {
  readonly #observers: ((request: EndedRequest) => void)[] = [];

  /** @param observe is called within the request's last tick: it must be quick */
  onEnd(observe: (request: EndedRequest) => void): void {
    this.#observers.push(observe);
  }

  #tell(request: EndedRequest): void {
    for (const observe of this.#observers) observe(request);
  }

  /** REST is watched at the server itself, so that requests count, too, that never get to a route's code. */
  watchHttp(server: FastifyInstance): void {
    server.addHook('onRequest', (request: FastifyRequest, reply: FastifyReply, done) => {
      const method = methodOfRoute(request.method, request.routeOptions.url);
      if (method === undefined) done();
      else this.#watch(method, request, reply, done);
    });
  }

  #watch(method: string, request: FastifyRequest, reply: FastifyReply, serve: () => void): void {
    const startedMs = performance.now();
    const context = requestContext.getStore();
    const span = startRequestSpan(method, request.headers);
    // Comes also when the client goes away before the end.
    reply.raw.once('close', () => {
      const result = resultOf(reply, context);
      span?.end(attributesOf('rest', context), result === 'OK' ? undefined : result);
      this.#tell({
        door: 'rest',
        method,
        context,
        places: [request.params, request.body, request.query],
        result,
        durationMs: performance.now() - startedMs,
      });
    });
    if (span) span.within(serve);
    else serve();
  }

  /** gRPC is watched from before its guard, so that refused calls count. */
  watchCall(call: ExecutionContext, next: () => Observable<unknown>): Observable<unknown> {
    const method = methodOfCall(call.getArgs());
    if (method === undefined) return next();
    const startedMs = performance.now();
    const context = requestContext.getStore();
    const span = startRequestSpan(method, metadataOf(call.getArgs())?.getMap() ?? {});
    const end = (result: Result): void => {
      span?.end(attributesOf('grpc', context), result === 'OK' ? undefined : result);
      this.#tell({
        door: 'grpc',
        method,
        context,
        places: [call.getArgByIndex(0)],
        result,
        durationMs: performance.now() - startedMs,
      });
    };
    const served = span ? new Observable((subscriber) => span.within(() => next().subscribe(subscriber))) : next();
    return served.pipe(
      tap({
        // A stream that is answered with an error ends like any other: the error was sent on its call.
        complete: () => end(context?.failure ?? (isCancelled(call.getArgs()) ? 'INCOMPLETE' : 'OK')),
        error: (error: unknown) => end(context?.failure ?? toAppError(error).code),
        // The client has gone: the framework asks for no more and waits for no end.
        unsubscribe: () => end(context?.failure ?? 'INCOMPLETE'),
      }),
    );
  }
}

/** True when the client of a gRPC call has gone: a stream of its messages ends then as if it had sent all of them. */
function isCancelled(parameters: readonly unknown[]): boolean {
  return parameters.some(
    (parameter) => typeof parameter === 'object' && parameter !== null && 'cancelled' in parameter && parameter.cancelled === true,
  );
}

function attributesOf(door: EndedRequest['door'], context: RequestContext | undefined): Record<string, string | string[]> {
  const { requestId = '', tables = [] } = context ?? {};
  return { 'miniodb.door': door, 'miniodb.request_id': requestId, 'miniodb.tables': [...tables] };
}

function resultOf({ raw }: FastifyReply, context: RequestContext | undefined): Result {
  if (context?.failure) return context.failure;
  if (raw.statusCode >= ERROR_FROM) return 'INTERNAL';
  return raw.writableFinished ? 'OK' : 'INCOMPLETE';
}
