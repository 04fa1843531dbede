/**
 * Counts requests by what they ask for, their table and how they end.
 *
 * The table is the one that a request names or turns out to read; empty when there is none, or several, or none of that name: labels are names of
 * tables that exist.
 */
import { Injectable } from '@nestjs/common';
import { ERROR_STATUS } from '../common/app-error.js';
import { isNameOfTable, TableRegistry } from '../tables/table-registry.js';
import { tableNameIn } from '../api/request-names.js';
import type { EndedRequest, Result } from '../api/request-watch.js';

/** HTTP status codes from here on are faults of the server, not of the client. */
const FAULT_FROM = 500;
const QUERIES: ReadonlySet<string> = new Set(['query', 'stream_query']);

/** Requests that are alike, by the labels of their metric. */
export interface RequestSeries {
  readonly method: string;
  readonly table: string;
  readonly status: 'success' | 'error';
}

@Injectable()
export class RequestCounts {
  readonly #counts = new Map<string, RequestSeries & { readonly count: number }>();
  /** Queries since the start, and those of them that failed through a fault of the server, not of the client. */
  readonly queries = { answered: 0, faults: 0 };

  constructor(private readonly registry: TableRegistry) {}

  note({ method, context, places, result }: EndedRequest): RequestSeries {
    if (QUERIES.has(method)) this.queries.answered += 1;
    if (QUERIES.has(method) && isFault(result)) this.queries.faults += 1;
    const series: RequestSeries = { method, table: this.#tableOf(context?.tables, places), status: result === 'OK' ? 'success' : 'error' };
    const key = `${method} ${series.table} ${series.status}`;
    this.#counts.set(key, { ...series, count: (this.#counts.get(key)?.count ?? 0) + 1 });
    return series;
  }

  /** @param noted what the request turned out to be about */
  #tableOf(noted: readonly string[] | undefined, places: readonly unknown[]): string {
    const name = noted ? only(noted) : tableNameIn(places);
    return name === undefined ? '' : (this.registry.find(name)?.name ?? '');
  }

  /** What was counted, but for tables that have gone. */
  ofTablesThere(): (RequestSeries & { readonly count: number })[] {
    return [...this.#counts.values()].filter((series) => !this.#isGone(series));
  }

  /** Forgets what was counted of tables that have gone. @returns what it was */
  forgetGoneTables(): RequestSeries[] {
    const gone = [...this.#counts].filter(([, series]) => this.#isGone(series));
    for (const [key] of gone) this.#counts.delete(key);
    return gone.map(([, series]) => series);
  }

  #isGone({ table }: RequestSeries): boolean {
    return table !== '' && !isNameOfTable(this.registry, table);
  }
}

function isFault(result: Result): boolean {
  return result !== 'OK' && result !== 'INCOMPLETE' && ERROR_STATUS[result].http >= FAULT_FROM;
}

function only(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined;
}
