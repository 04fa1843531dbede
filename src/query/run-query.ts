/**
 * Runs one query: waits for its turn, pins its tables, opens their files, binds their names, lets `use` execute, and gives back everything it held
 * when it ends, by itself, by its deadline, by a person, or because the client left.
 */
import { Inject, Injectable } from '@nestjs/common';
import type { DuckDBConnection } from '@duckdb/node-api';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { noteTables } from '../common/request-context.js';
import { CLOCK } from '../common/tokens.js';
import { traced } from '../common/tracing.js';
import { QueryConfig } from '../config/config.js';
import { Admission } from './limits/admission.js';
import { RunningQueries, type RunningQuery } from './limits/running-queries.js';
import { type PinnedViews, releaseAll } from './pin-tables.js';
import type { QueryStats } from './query-answer.js';
import { type QueryConnection, QueryConnections } from './query-connections.js';
import { QueryErrors, ResultTooLarge } from './query-error.js';
import { QueryLog } from './query-log.js';
import { type QueryRequest, timeoutMsOf } from './query-request.js';

/** A query that is bound to its tables and ready to run. */
export interface Running {
  readonly query: RunningQuery;
  readonly taken: QueryConnection;
  readonly connection: DuckDBConnection;
  readonly views: PinnedViews;
}

/** Where a query gets its tables from, and what is known of it. */
export interface Plan {
  readonly pin: () => Promise<PinnedViews>;
  /** True when values of its rows may be much larger than what they are made from. */
  readonly mayAmplify: boolean;
  readonly cache?: QueryStats['cache'];
  /** Of a result that is kept already: the tables that it was made from. Its views stay pinned whatever happens here. */
  readonly keptTables?: readonly string[];
  /** The result is only made, for another run to read: both are one query. */
  readonly isOpening?: boolean;
}

/** What a run came to; `keepsViews` when something holds on to the pinned tables, such as a cursor. */
export interface Outcome<T> {
  readonly result: T;
  readonly keepsViews?: boolean;
}

@Injectable()
export class QueryRunner {
  constructor(
    private readonly config: QueryConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly admission: Admission,
    private readonly connections: QueryConnections,
    private readonly running: RunningQueries,
    private readonly errors: QueryErrors,
    private readonly log: QueryLog,
  ) {}

  /** @param use executes on a connection on which the tables' names mean the pinned views */
  async run<T>(
    request: QueryRequest,
    plan: Plan,
    use: (running: Running) => Promise<Outcome<T>>,
  ): Promise<{ readonly result: T; readonly stats: QueryStats }> {
    const timeoutMs = timeoutMsOf(request, this.config);
    const query = this.running.start(request.sql, request.reader);
    const abort = (): void => query.stop(new AppError('CANCELLED', 'the client disconnected'));
    if (request.signal?.aborted === true) abort();
    request.signal?.addEventListener('abort', abort);
    let leave: (() => void) | undefined;
    let views: PinnedViews = new Map();
    let keepsViews = plan.keptTables !== undefined;
    let tables = plan.keptTables ?? [];
    let error: AppError | undefined;
    try {
      query.assertGoesOn();
      leave = await traced('wait for a turn', {}, () => this.admission.enter({ waitMs: timeoutMs, stopped: query.stopped }));
      query.stopAfter(Math.max(1, timeoutMs - (this.clock.nowMs() - query.startedMs)), timeoutMs);
      views = await query.orStopped(plan.pin(), (late) => (keepsViews ? undefined : releaseAll(late)));
      tables = plan.keptTables ?? [...views.keys()];
      noteTables(tables);
      const outcome = await this.#withConnection(query, views, plan.mayAmplify, use);
      keepsViews ||= outcome.keepsViews === true;
      return { result: outcome.result, stats: this.#stats(query, views, plan.cache ?? 'none') };
    } catch (thrown) {
      error = await this.errors.asTold(thrown, query, views);
      throw error;
    } finally {
      leave?.();
      if (!error) for (const view of views.values()) view.considerResidents();
      if (!keepsViews) releaseAll(views);
      request.signal?.removeEventListener('abort', abort);
      query.finish();
      const isPart = plan.isOpening === true && (error === undefined || error instanceof ResultTooLarge);
      if (!isPart) this.log.note(query, tables, error);
    }
  }

  async #withConnection<T>(
    query: RunningQuery,
    views: PinnedViews,
    mayAmplify: boolean,
    use: (running: Running) => Promise<T>,
  ): Promise<T> {
    const taken = await this.connections.take(query, mayAmplify);
    let isClean = false;
    try {
      query.attach(taken.connection);
      await traced('open files', { 'miniodb.tables': [...views.keys()] }, async () => {
        for (const view of views.values()) await query.orStopped(view.openForCaller());
      });
      const result = await traced('execute', { 'miniodb.query_id': query.id }, async () => {
        try {
          await this.connections.bind(taken, views);
          return await use({ query, taken, connection: taken.connection, views });
        } catch (thrown) {
          throw await this.errors.asTold(thrown, query, views);
        }
      });
      isClean = true;
      return result;
    } finally {
      this.connections.giveBack(taken, isClean);
    }
  }

  #stats(query: RunningQuery, views: PinnedViews, cache: QueryStats['cache']): QueryStats {
    const all = [...views.values()];
    const elapsed = { elapsed_ms: Math.round(this.clock.nowMs() - query.startedMs), query_id: query.id };
    // Which files a condition leaves, and whether a table has changed, tells of rows that are not there for the caller.
    if (all.some((view) => view.isFiltered)) return { ...elapsed, files_total: 0, files_scanned: 0, bytes_scanned: 0, cache: 'none' };
    const scanned = all.flatMap((view) => view.scannedFiles);
    return {
      ...elapsed,
      files_total: all.reduce((sum, view) => sum + view.files.length, 0),
      files_scanned: scanned.length,
      bytes_scanned: scanned.reduce((sum, file) => sum + file.sizeBytes, 0),
      cache,
    };
  }
}
