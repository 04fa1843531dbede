/**
 * The path of a query whose result is read in pages, stage by stage:
 *
 *   analyse the SQL → look into the cache → admit → pin the tables → bind their names → read the first rows → keep the result if it goes on
 *
 * `understand.ts` analyses, `results/cached-pages.ts` knows answers of before, `run-query.ts` admits, pins and binds, `results/first-rows.ts` reads,
 * `paging/kept-results.ts` keeps. Streams go the same way (`results/batch-stream.ts`, `results/result-stream.ts`). All tables of a query are pinned
 * in one tick, so it reads one state of the whole server. The engine executes and encodes; what comes here is JSON text, row by row.
 */
import { Injectable } from '@nestjs/common';
import { QueryConfig } from '../config/config.js';
import { KeptResults, prepareKept, readingOf } from './paging/kept-results.js';
import { TablePins } from './pin-tables.js';
import type { Page, PageRows, QueryStats } from './query-answer.js';
import { pageRowsOf, type QueryRequest } from './query-request.js';
import type { OpenResult } from './paging/cursors.js';
import { type Outcome, QueryRunner, type Running } from './run-query.js';
import { CachedPages } from './results/cached-pages.js';
import { FirstRowsReader } from './results/first-rows.js';
import { jsonRows } from './results/json-rows.js';
import type { SqlAnalysis } from './sql/analyse.js';
import { Understanding } from './understand.js';

type Content = Omit<Page, 'stats'>;

@Injectable()
export class ReadPath {
  constructor(
    private readonly config: QueryConfig,
    private readonly understanding: Understanding,
    private readonly cached: CachedPages,
    private readonly pins: TablePins,
    private readonly runner: QueryRunner,
    private readonly firstRows: FirstRowsReader,
    private readonly kept: KeptResults,
  ) {}

  /** One page of a result, as rows of JSON text. */
  async page(request: QueryRequest): Promise<Page> {
    const limit = pageRowsOf(request, this.config);
    if (request.cursor !== undefined && request.cursor !== '') return this.#nextPage(request, request.cursor, limit);
    const analysis = await this.understanding.analyse(request.sql);
    return this.cached.page(request, analysis, limit, (cache) => this.#firstPage(request, analysis, limit, cache));
  }

  async #firstPage(request: QueryRequest, analysis: SqlAnalysis, limit: number, cache: QueryStats['cache']): Promise<Page> {
    const plan = { pin: () => this.pins.pin(analysis, request), mayAmplify: analysis.mayAmplify, cache };
    const { result, stats } = await this.runner.run(request, plan, (running) => this.#firstContent(running, request, analysis, limit));
    return { ...result, stats };
  }

  async #firstContent(running: Running, request: QueryRequest, analysis: SqlAnalysis, limit: number): Promise<Outcome<Content>> {
    const { prepared, rows, isCut } = await this.firstRows.read(running, request, analysis, limit);
    const { columns } = prepared;
    if (rows.length <= limit && !isCut) return { result: { columns, rows, hasMore: false, nextCursor: '' } };
    const { id, result, isScan } = await this.kept.keep(running, prepared, request, analysis);
    // The rows that were read are those of another run, unless their order repeats.
    const first = isScan ? rows.slice(0, limit) : (await this.#rowsOf(running, result, limit, 0)).rows;
    return { result: { columns, rows: first, hasMore: true, nextCursor: this.kept.token(id, first.length) }, keepsViews: isScan };
  }

  async #nextPage(request: QueryRequest, cursor: string, limit: number): Promise<Page> {
    const { id, result, position } = this.kept.find(request, cursor);
    const reading = readingOf(request, result);
    const { result: content, stats } = await this.runner.run(reading.request, reading.plan, async (running) => {
      const { rows, isCut } = await this.#rowsOf(running, result, limit + 1, position).catch((error: unknown) => {
        throw this.kept.asTold(error, id);
      });
      const page = rows.slice(0, limit);
      const hasMore = isCut || rows.length > limit;
      const nextCursor = hasMore ? this.kept.token(id, position + page.length) : '';
      return { result: { columns: result.columns, rows: page, hasMore, nextCursor } };
    });
    return { ...content, stats };
  }

  async #rowsOf(running: Running, result: OpenResult, limit: number, offset: number): Promise<PageRows> {
    return jsonRows(running, await prepareKept(this.understanding, running, result), limit, offset);
  }
}
