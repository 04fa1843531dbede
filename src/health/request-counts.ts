/**
 * Counts the requests of both doors by what they ask for, their table and how they end, and measures how long they take, to the end of the answer.
 * Requests that only look after the server (health, status, metrics, documentation) are left out: probes and scrapes would water down every rate.
 *
 * The table is the one that a request names or turns out to read; empty when there is none, or several, or none of that name: labels are names of
 * tables that exist.
 */
import { type ExecutionContext, Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Counter, Histogram, type Registry } from 'prom-client';
import { type Observable, tap } from 'rxjs';
import { ERROR_STATUS } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { requestContext } from '../common/request-context.js';
import { toAppError } from '../infra/transport/error-filter.js';
import { TableRegistry } from '../tables/table-registry.js';
import { methodOfCall, methodOfRoute } from './request-methods.js';

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** HTTP status codes: from here on the client is told of an error, and of one that is not the client's. */
const [ERROR_FROM, FAULT_FROM] = [400, 500];
const QUERIES: ReadonlySet<string> = new Set(['query', 'stream_query']);

/** A fault is an error of the server. */
type Outcome = 'success' | 'error' | 'fault';

interface Series {
  readonly method: string;
  readonly table: string;
  readonly status: 'success' | 'error';
}

@Injectable()
export class RequestCounts implements OnModuleInit {
  readonly #total = new Counter({
    name: 'miniodb_requests_total',
    help: 'Requests over REST and gRPC; status is success or error',
    labelNames: ['method', 'status', 'table'],
    registers: [],
  });
  readonly #durations = new Histogram({
    name: 'miniodb_requests_duration_seconds',
    help: 'From the arrival of a request to the end of its answer',
    labelNames: ['method', 'table'],
    buckets: BUCKETS_SECONDS,
    registers: [],
  });
  readonly #series = new Map<string, Series>();
  /** Queries since the start, and those of them that failed through a fault of the server, not of the client. */
  readonly queries = { answered: 0, faults: 0 };

  constructor(
    private readonly registry: TableRegistry,
    private readonly http: HttpAdapterHost,
  ) {}

  /** REST is watched at the server itself, so that requests are counted, too, that never get to a route's code. */
  onModuleInit(): void {
    const server = this.http.httpAdapter.getInstance<FastifyInstance>();
    server.addHook('onRequest', (request: FastifyRequest, reply: FastifyReply, done) => {
      const method = methodOfRoute(request.method, request.routeOptions.url);
      if (method !== undefined) this.#watch(method, request, reply);
      done();
    });
  }

  #watch(method: string, request: FastifyRequest, reply: FastifyReply): void {
    const startedMs = performance.now();
    const context = requestContext.getStore();
    // Comes also when the client goes away before the end.
    reply.raw.once('close', () => {
      const { statusCode, writableFinished: isWhole } = reply.raw;
      const outcome = statusCode >= FAULT_FROM ? 'fault' : isWhole && statusCode < ERROR_FROM ? 'success' : 'error';
      this.#note(method, this.#tableOf(context?.tables, request.params, request.body, request.query), outcome, startedMs);
    });
  }

  /** gRPC is watched from before its guard, so that refused calls count. */
  watchCall(context: ExecutionContext, next: () => Observable<unknown>): Observable<unknown> {
    const method = methodOfCall(context.getArgs());
    if (method === undefined) return next();
    const startedMs = performance.now();
    const served = requestContext.getStore();
    const end = (outcome: Outcome): void => this.#note(method, this.#tableOf(served?.tables, context.getArgByIndex(0)), outcome, startedMs);
    return next().pipe(
      tap({
        complete: () => end('success'),
        error: (error: unknown) => end(ERROR_STATUS[toAppError(error).code].http >= FAULT_FROM ? 'fault' : 'error'),
      }),
    );
  }

  #note(method: string, table: string, outcome: Outcome, startedMs: number): void {
    if (QUERIES.has(method)) this.queries.answered += 1;
    if (QUERIES.has(method) && outcome === 'fault') this.queries.faults += 1;
    const series: Series = { method, table, status: outcome === 'success' ? 'success' : 'error' };
    this.#series.set(`${method} ${table} ${series.status}`, series);
    this.#total.inc({ ...series });
    this.#durations.observe({ method, table }, (performance.now() - startedMs) / MS_PER_SECOND);
  }

  /**
   * @param noted what the request turned out to be about
   * @param places where else it may name its table; the first one that does counts
   */
  #tableOf(noted: readonly string[] | undefined, ...places: readonly unknown[]): string {
    const name = noted ? only(noted) : places.map(nameIn).find((found) => found !== undefined);
    return name === undefined ? '' : (this.registry.find(name)?.name ?? '');
  }

  register(registry: Registry): void {
    this.#forgetDroppedTables();
    registry.registerMetric(this.#total);
    registry.registerMetric(this.#durations);
  }

  #forgetDroppedTables(): void {
    for (const [key, { method, table, status }] of this.#series) {
      if (table === '' || this.registry.find(table)?.name === table) continue;
      this.#series.delete(key);
      this.#total.remove({ method, table, status });
      this.#durations.remove({ method, table });
    }
  }
}

function nameIn(place: unknown): string | undefined {
  if (typeof place !== 'object' || place === null) return undefined;
  const { name, table, table_name: tableName } = place as Record<string, unknown>;
  return [table, tableName, name].find((value) => typeof value === 'string' && value !== '') as string | undefined;
}

function only(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined;
}
