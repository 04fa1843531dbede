/** First pages from the result cache: the key that names a statement and the state of its tables, and what a hit reports. */
import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../common/clock.js';
import { noteTables } from '../../common/request-context.js';
import { CLOCK } from '../../common/tokens.js';
import { TableRegistry } from '../../tables/table-registry.js';
import type { Page, QueryStats } from '../query-answer.js';
import { QueryLog } from '../query-log.js';
import { parameterKinds, toParameters } from '../query-parameters.js';
import type { QueryRequest } from '../query-request.js';
import type { SqlAnalysis } from '../sql/analyse.js';
import { type CacheKey, ResultCache } from './result-cache.js';

@Injectable()
export class CachedPages {
  constructor(
    private readonly cache: ResultCache,
    private readonly registry: TableRegistry,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly log: QueryLog,
  ) {}

  /** @param run makes the page where it is not there, and reports what the cache had to do with it */
  async page(
    request: QueryRequest,
    analysis: SqlAnalysis,
    limit: number,
    run: (cache: QueryStats['cache']) => Promise<Page>,
  ): Promise<Page> {
    const key = this.#keyOf(request, analysis, limit);
    if (!key) return run('none');
    const startedMs = this.clock.nowMs();
    const { page, isHit } = await this.cache.page(key, () => run('miss'));
    return isHit ? this.#hit(page, request, analysis, startedMs) : page;
  }

  /** @returns undefined for a request whose answer must be made anew, or is not one of the newest state */
  #keyOf(
    { asOf, isFresh, params, reader, timeoutMs }: QueryRequest,
    { fingerprint, tables }: SqlAnalysis,
    limit: number,
  ): CacheKey | undefined {
    if (fingerprint === undefined || asOf !== undefined || isFresh === true || !this.cache.isOn) return undefined;
    const parameters = toParameters(params);
    const values = JSON.stringify(parameters, (_name, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
    // Running it reports what may not be read.
    if (!tables.every((name) => reader.mayRead(name))) return undefined;
    const states = tables.map((name) => this.registry.find(name)?.state);
    const policies = tables.map((name) => reader.rowsOf(name) ?? '');
    // The run says that it is missing.
    if (states.includes(undefined)) return undefined;
    const [only = '', ...others] = tables.map((name) => this.registry.get(name).name);
    const text = [fingerprint, limit, parameterKinds(parameters), values, ...states, ...policies].join('|');
    return { text, table: others.length === 0 ? only : '', timeoutMs };
  }

  #hit(page: Page, { sql, reader }: QueryRequest, analysis: SqlAnalysis, startedMs: number): Page {
    const id = randomUUID();
    const elapsedMs = this.clock.nowMs() - startedMs;
    // The statement may write a name in another case than the table has.
    const tables = analysis.tables.map((name) => this.registry.find(name)?.name ?? name);
    noteTables(tables);
    this.log.note({ id, sql, startedMs }, tables);
    const cache = tables.some((name) => reader.rowsOf(name) !== undefined) ? 'none' : 'hit';
    return { ...page, stats: { ...page.stats, elapsed_ms: elapsedMs, files_scanned: 0, bytes_scanned: 0, cache, query_id: id } };
  }
}
