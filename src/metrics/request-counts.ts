/**
 * Counts requests by what they ask for, their table and how they end, and measures how long they take, to the end of the answer.
 *
 * The table is the one that a request names or turns out to read; empty when there is none, or several, or none of that name: labels are names of
 * tables that exist.
 */
import { Injectable } from '@nestjs/common';
import { Counter, Histogram, type Registry } from 'prom-client';
import { ERROR_STATUS } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { TableRegistry } from '../tables/table-registry.js';
import { tableNameIn } from '../api/request-names.js';
import type { EndedRequest, Result } from '../api/request-watch.js';

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** HTTP status codes from here on are faults of the server, not of the client. */
const FAULT_FROM = 500;
const QUERIES: ReadonlySet<string> = new Set(['query', 'stream_query']);

interface Series {
  readonly method: string;
  readonly table: string;
  readonly status: 'success' | 'error';
}

@Injectable()
export class RequestCounts {
  readonly #total = new Counter({
    name: 'miniodb_requests_total',
    help: 'Requests over REST and gRPC; status is success or error',
    labelNames: ['method', 'status', 'table'],
    registers: [],
  });
  readonly #durations = new Histogram({
    name: 'miniodb_requests_duration_seconds',
    help: 'Time from the arrival of a request to the end of its answer',
    labelNames: ['method', 'table'],
    buckets: BUCKETS_SECONDS,
    registers: [],
  });
  readonly #series = new Map<string, Series>();
  /** Queries since the start, and those of them that failed through a fault of the server, not of the client. */
  readonly queries = { answered: 0, faults: 0 };

  constructor(private readonly registry: TableRegistry) {}

  note({ method, context, places, result, durationMs }: EndedRequest): void {
    if (QUERIES.has(method)) this.queries.answered += 1;
    if (QUERIES.has(method) && isFault(result)) this.queries.faults += 1;
    const table = this.#tableOf(context?.tables, places);
    const series: Series = { method, table, status: result === 'OK' ? 'success' : 'error' };
    this.#series.set(`${method} ${table} ${series.status}`, series);
    this.#total.inc({ ...series });
    this.#durations.observe({ method, table }, durationMs / MS_PER_SECOND);
  }

  /** @param noted what the request turned out to be about */
  #tableOf(noted: readonly string[] | undefined, places: readonly unknown[]): string {
    const name = noted ? only(noted) : tableNameIn(places);
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

function isFault(result: Result): boolean {
  return result !== 'OK' && result !== 'INCOMPLETE' && ERROR_STATUS[result].http >= FAULT_FROM;
}

function only(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined;
}
