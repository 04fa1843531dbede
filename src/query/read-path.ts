/**
 * The path of a query, stage by stage:
 *
 *   analyse the SQL → admit → pin the tables → bind their names → prepare → execute → encode
 *
 * All tables of a query are pinned in one tick, so it reads one state of the whole server. The engine executes and encodes; what comes here is
 * JSON text, row by row, or bytes in a pipe. Whatever ends a query (its end, a deadline, a client that leaves) gives back everything it held.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, DATA_PATHS, LOGGER } from '../common/tokens.js';
import { randomUUID } from 'node:crypto';
import type { DuckDBConnection, DuckDBPreparedStatement, DuckDBValue } from '@duckdb/node-api';
import { assertMayRead, type Principal } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { DataPaths } from '../infrastructure.module.js';
import { LogConfig, QueryConfig } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { redactSql } from '../common/redact-sql.js';
import { noteTables } from '../common/request-context.js';
import { traced } from '../common/tracing.js';
import { toAppError } from '../api/error-filter.js';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import { distinctNames } from '../engine/duckdb/json-expression.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import type { ReadView } from '../tables/view/read-view.js';
import { TableRegistry } from '../tables/table-registry.js';
import { Admission } from './limits/admission.js';
import { SqlAnalyser, type SqlAnalysis, withoutEnd } from './sql/analyse.js';
import { type AsOf, pinAsOf } from './paging/as-of.js';
import { BatchChannel } from './results/batch-channel.js';
import { Cursors, type OpenResult, statementHash } from './paging/cursors.js';
import { type Column, jsonRowsSql, type Meaning, type Prepared, shapeOf, typeName } from './prepared-statement.js';
import { mayHoldMatches } from './sql/prune.js';
import { type QueryConnection, QueryConnections } from './query-connections.js';
import { asQueryError } from './query-error.js';
import { hasNone, parameterKinds, parameterTypes, type QueryParameters, toParameters } from './query-parameters.js';
import { QueryStatistics } from './query-counts.js';
import { type CacheKey, ResultCache } from './results/result-cache.js';
import { promisesFewValues, runSmall, type SmallResult } from './results/small-result.js';
import { summarySql } from './sql/summary.js';
import { RunningQueries, type RunningQuery } from './limits/running-queries.js';

const KEPT_SCHEMA = 'kept';
const LOGGED_SQL_MAX = 500;
/** A prepared statement looks through all of its columns for the type of each: 30,000 of them would keep everybody waiting for seconds. */
const PREPARED_COLUMNS_MAX = 500;
/** Characters of a JSON page: it ends early, with a cursor, rather than take the memory of the server. */
const PAGE_LENGTH_MAX = 32 * 1_024 * 1_024;

export interface QueryRequest {
  readonly sql: string;
  /** Whose query it is: it reads what this principal may read. */
  readonly reader: Principal;
  readonly params?: unknown;
  readonly limit?: number;
  readonly cursor?: string;
  readonly timeoutMs?: number;
  readonly asOf?: AsOf;
  /** The statement is run, whatever is known of it. */
  readonly isFresh?: boolean;
  /** Of a result that is kept already: the tables that it was made from. */
  readonly tables?: readonly string[];
  /** The result is only made, for another run to read: both are one query. */
  readonly isOpening?: boolean;
  /** Ends when the client has gone. */
  readonly signal?: AbortSignal;
}

export interface QueryStats {
  readonly elapsed_ms: number;
  readonly files_total: number;
  readonly files_scanned: number;
  readonly bytes_scanned: number;
  /** `hit`: the answer was there already; `miss`: it was made and may be kept; `none`: it is not one to keep. */
  readonly cache: 'none' | 'miss' | 'hit';
  readonly query_id: string;
}

export interface Page {
  readonly columns: readonly Column[];
  /** Each row as the text of a JSON object. */
  readonly rows: readonly string[];
  readonly hasMore: boolean;
  readonly nextCursor: string;
  readonly stats: QueryStats;
}

/** Rows of a page; `isCut` when the page is full before its limit. */
export interface PageRows {
  readonly rows: string[];
  readonly isCut: boolean;
}

/** Part of a streamed result. */
export interface Batch {
  readonly rows: readonly string[];
  /** Goes on after this batch; empty after the last. */
  readonly cursor: string;
  readonly hasMore: boolean;
  readonly tables: readonly string[];
}

/** A query that is bound to its tables and ready to run. */
export interface Running {
  readonly query: RunningQuery;
  readonly taken: QueryConnection;
  readonly connection: DuckDBConnection;
  readonly views: ReadonlyMap<string, ReadView>;
}

@Injectable()
export class ReadPath {
  #nextKept = 1;

  constructor(
    private readonly config: QueryConfig,
    private readonly logConfig: LogConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly engine: Engine,
    private readonly registry: TableRegistry,
    private readonly visible: VisibleLsn,
    private readonly analyser: SqlAnalyser,
    private readonly admission: Admission,
    private readonly connections: QueryConnections,
    private readonly cursors: Cursors,
    private readonly results: ResultCache,
    private readonly running: RunningQueries,
    private readonly statistics: QueryStatistics,
    private readonly damagedFiles: DamagedFiles,
    @Inject(DATA_PATHS) private readonly paths: DataPaths,
  ) {}

  async open(): Promise<void> {
    await this.engine.run(`CREATE SCHEMA ${KEPT_SCHEMA}`);
  }

  /** One page of a result, as rows of JSON text. */
  async page(request: QueryRequest): Promise<Page> {
    const limit = this.#pageRows(request.limit);
    if (request.cursor !== undefined && request.cursor !== '') return this.#nextPage(request, request.cursor, limit);
    const analysis = await this.analyse(request.sql);
    const key = this.#cacheKey(request, analysis, limit);
    if (!key) return this.#firstPage(request, analysis, limit, 'none');
    const startedMs = this.clock.nowMs();
    const { page, isHit } = await this.results.page(key, () => this.#firstPage(request, analysis, limit, 'miss'));
    return isHit ? this.#hit(page, request, analysis, startedMs) : page;
  }

  /** @returns undefined for a request whose answer must be made anew, or is not one of the newest state */
  #cacheKey(
    { asOf, isFresh, params, reader, timeoutMs }: QueryRequest,
    { fingerprint, tables }: SqlAnalysis,
    limit: number,
  ): CacheKey | undefined {
    if (fingerprint === undefined || asOf !== undefined || isFresh === true || !this.results.isOn) return undefined;
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
    this.#note({ id, sql, startedMs }, tables, undefined);
    const cache = tables.some((name) => reader.rowsOf(name) !== undefined) ? 'none' : 'hit';
    return {
      ...page,
      stats: { ...page.stats, elapsed_ms: elapsedMs, files_scanned: 0, bytes_scanned: 0, cache, query_id: id },
    };
  }

  #firstPage(request: QueryRequest, analysis: SqlAnalysis, limit: number, cache: QueryStats['cache']): Promise<Page> {
    return this.run(
      request,
      () => this.pinTables(analysis, request),
      async (running) => {
        const { prepared, rows, isCut } = await this.#firstRows(running, request, analysis, limit);
        if (rows.length <= limit && !isCut)
          return { page: { columns: prepared.columns, rows, hasMore: false, nextCursor: '' }, keepViews: false };
        const { result, isScan } = await this.#keep(running, prepared, request, analysis);
        const first = isScan ? rows.slice(0, limit) : (await this.#rowsOf(running, result, limit, 0)).rows;
        const id = this.cursors.keep(result);
        return {
          page: { columns: prepared.columns, rows: first, hasMore: true, nextCursor: this.cursors.token(id, first.length) },
          keepViews: isScan,
        };
      },
      cache,
    );
  }

  /** The rows of a page and one more, if there is one. */
  async #firstRows(running: Running, request: QueryRequest, analysis: SqlAnalysis, limit: number): Promise<SmallResult> {
    const parameters = toParameters(request.params);
    // The same result from the log, where that knows it.
    const summary = hasNone(parameters) ? await summaryFrom(analysis, running) : undefined;
    const isSmall = summary !== undefined || promisesFewValues(analysis, running.views, limit);
    const isNamed = summary === undefined || analysis.summary?.every(({ name }) => name !== undefined) === true;
    const small = isSmall && isNamed ? await this.#smallResult(running, summary ?? request.sql, parameters, limit + 1) : undefined;
    if (small) return small;
    const prepared = await this.prepare(running, request.sql, parameters);
    const answered = summary === undefined ? prepared : { ...prepared, sql: summary };
    return { prepared: answered, ...(await this.#jsonRows(running, answered, limit + 1, 0)) };
  }

  async #smallResult(running: Running, sql: string, parameters: QueryParameters, limit: number): Promise<SmallResult | undefined> {
    try {
      return await runSmall(running, await withoutEnd(this.engine, sql), parameters, limit, PAGE_LENGTH_MAX);
    } catch (error) {
      running.query.assertGoesOn();
      // What is wrong with the statement or its parameters is reported against the caller's own text.
      await this.prepare(running, sql, parameters);
      throw error;
    }
  }

  #pageRows(limit: number | undefined): number {
    const { page_rows: rows, page_rows_max: rowsMax } = this.config;
    if (limit === undefined) return rows;
    if (!Number.isInteger(limit) || limit < 1 || limit > rowsMax)
      throw invalidArgument(`limit must be a whole number from 1 to ${rowsMax}, got ${limit}`, [{ field: 'limit' }]);
    return limit;
  }

  /**
   * Every query begins with it; one that ends here is one that failed.
   * @throws AppError for a statement that is not one that may be asked
   */
  async analyse(sql: string): Promise<SqlAnalysis> {
    const startedMs = this.clock.nowMs();
    try {
      return await traced('analyse', {}, () => this.#analyseNow(sql));
    } catch (error) {
      this.#note({ id: randomUUID(), sql, startedMs }, [], toAppError(error));
      throw error;
    }
  }

  async #analyseNow(sql: string): Promise<SqlAnalysis> {
    if (Buffer.byteLength(sql) > this.config.sql_bytes_max)
      throw new AppError('PAYLOAD_TOO_LARGE', `the SQL has more than ${this.config.sql_bytes_max} bytes (query.sql_bytes_max)`);
    if (sql.includes('\0')) throw invalidArgument('the SQL has a zero byte', [{ field: 'sql' }]);
    return this.analyser.analyse(sql);
  }

  async #nextPage(request: QueryRequest, cursor: string, limit: number): Promise<Page> {
    const { id, result, position } = this.#open(request, cursor);
    return this.run(
      { ...request, sql: result.callerSql, tables: result.tables },
      () => Promise.resolve(result.views),
      async (running) => {
        const { rows, isCut } = await this.#rowsOf(running, result, limit + 1, position).catch((error: unknown) => {
          throw this.cursors.isOpen(id) ? error : this.cursors.expired();
        });
        const page = rows.slice(0, limit);
        const hasMore = isCut || rows.length > limit;
        const nextCursor = hasMore ? this.cursors.token(id, position + page.length) : '';
        return { page: { columns: result.columns, rows: page, hasMore, nextCursor }, keepViews: true };
      },
    );
  }

  #open({ sql, params, asOf, reader }: QueryRequest, cursor: string): ReturnType<Cursors['find']> {
    return this.cursors.find(cursor, reader, sql.trim() === '' ? undefined : statementHash(sql, params, asOf));
  }

  async #rowsOf(running: Running, result: OpenResult, limit: number, offset: number): Promise<PageRows> {
    const prepared = await this.prepare(running, result.sql, result.parameters);
    return this.#jsonRows(running, { ...prepared, names: result.columns.map((column) => column.name) }, limit, offset);
  }

  /**
   * Pins every table of a statement in one tick, with the rows that its reader may see.
   * @throws AppError PERMISSION_DENIED for a table that the reader may not read, NOT_FOUND for one that does not exist
   */
  async pinTables(analysis: SqlAnalysis, { asOf, reader }: Pick<QueryRequest, 'asOf' | 'reader'>): Promise<ReadonlyMap<string, ReadView>> {
    for (const name of analysis.tables) assertMayRead(name, reader);
    const views = await this.#pin(analysis, asOf);
    for (const [name, view] of views) {
      const condition = reader.rowsOf(name);
      if (condition === undefined) continue;
      view.onlyRows(condition);
      // Files are left out by what all of their rows have: a statement that fails where there is anything to read would tell of it.
      view.keepOnly(() => true);
    }
    return views;
  }

  async #pin(analysis: SqlAnalysis, asOf: AsOf | undefined): Promise<ReadonlyMap<string, ReadView>> {
    const tables = analysis.tables.map((name) => this.registry.get(name));
    if (asOf !== undefined) return pinAsOf(tables, asOf);
    const lsn = this.visible.value;
    const views = new Map(tables.map((table) => [table.name, table.pin(lsn)]));
    for (const view of views.values()) if (analysis.conditions.length > 0) view.keepOnly(mayHoldMatches(analysis.conditions, view.schema));
    return views;
  }

  /**
   * Runs `use` with a connection on which the tables' names mean the pinned views, and gives everything back afterwards.
   * @param use says whether the views stay pinned (because a cursor holds them now)
   */
  async run(
    request: QueryRequest,
    pin: () => Promise<ReadonlyMap<string, ReadView>>,
    use: (running: Running) => Promise<{ page: Omit<Page, 'stats'>; keepViews: boolean }>,
    cache: QueryStats['cache'] = 'none',
  ): Promise<Page> {
    const timeoutMs = this.#timeoutMs(request.timeoutMs);
    const query = this.running.start(request.sql, request.reader);
    const abort = (): void => query.stop(new AppError('CANCELLED', 'the client disconnected'));
    if (request.signal?.aborted === true) abort();
    request.signal?.addEventListener('abort', abort);
    let leave: (() => void) | undefined;
    let views: ReadonlyMap<string, ReadView> = new Map();
    let keepViews = request.cursor !== undefined && request.cursor !== '';
    let tables = request.tables ?? [];
    let error: AppError | undefined;
    try {
      query.assertGoesOn();
      leave = await traced('wait for a turn', {}, () => this.admission.enter({ waitMs: timeoutMs, stopped: query.stopped }));
      query.stopAfter(Math.max(1, timeoutMs - (this.clock.nowMs() - query.startedMs)), timeoutMs);
      views = await query.orStopped(pin(), (late) => (keepViews ? undefined : releaseAll(late)));
      tables = request.tables ?? [...views.keys()];
      noteTables(tables);
      const result = await this.#withConnection(query, views, use);
      keepViews = result.keepViews;
      return { ...result.page, stats: this.#stats(query, views, cache) };
    } catch (thrown) {
      error = await this.asTold(thrown, query, views);
      throw error;
    } finally {
      leave?.();
      if (!error) for (const view of views.values()) view.considerResidents();
      if (!keepViews) releaseAll(views);
      request.signal?.removeEventListener('abort', abort);
      query.finish();
      const isPart = request.isOpening === true && (error === undefined || error instanceof ResultTooLarge);
      if (!isPart) this.#note(query, tables, error);
    }
  }

  async #withConnection<T>(query: RunningQuery, views: ReadonlyMap<string, ReadView>, use: (running: Running) => Promise<T>): Promise<T> {
    // Known already: every statement that comes here was analysed.
    const { mayAmplify } = await this.analyser.analyse(query.sql);
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
          throw await this.asTold(thrown, query, views);
        }
      });
      isClean = true;
      return result;
    } finally {
      this.connections.giveBack(taken, isClean);
    }
  }

  /** A failure of a query as its caller is told: of files that cannot be read by their table. */
  async asTold(thrown: unknown, query: RunningQuery, views: ReadonlyMap<string, ReadView>): Promise<AppError> {
    const damage = query.stoppedWith ? undefined : await this.damagedFiles.explain(thrown, views.values());
    return damage ?? asQueryError(thrown, query, Object.values(this.paths) as string[]);
  }

  #timeoutMs(asked: number | undefined): number {
    const { timeout_ms: normal, timeout_ms_max: max } = this.config;
    if (asked === undefined) return normal;
    if (!Number.isInteger(asked) || asked < 1 || asked > max)
      throw invalidArgument(`timeout_ms must be a whole number from 1 to ${max}, got ${asked}`, [{ field: 'timeout_ms' }]);
    return asked;
  }

  /** Has the engine understand the statement: its errors speak of the caller's own text, and names and types of the columns are known. */
  async prepare(running: Running, sql: string, parameters: QueryParameters): Promise<Prepared> {
    const { meanings } = running.taken;
    const key = `${parameterKinds(parameters)}|${sql}`;
    const kept = meanings.get(key);
    if (kept) return { ...kept, parameters };
    const meaning = await this.#understand(running, sql, parameters);
    meanings.set(key, meaning);
    return { ...meaning, parameters };
  }

  async #understand(running: Running, sql: string, parameters: QueryParameters): Promise<Meaning> {
    const statement = await running.connection.prepare(sql);
    try {
      const count = Array.isArray(parameters) ? parameters.length : Object.keys(parameters).length;
      if (count !== statement.parameterCount) {
        throw invalidArgument(`the statement has ${statement.parameterCount} parameters, but params has ${count}`, [{ field: 'params' }]);
      }
      if (!Array.isArray(parameters)) assertNames(statement, parameters);
      const text = await withoutEnd(this.engine, sql);
      const isPlain = count === 0 && statement.columnCount <= PREPARED_COLUMNS_MAX;
      const { names, types } = isPlain ? shapeOf(statement) : await this.#shapeOfRun(running, text, parameters);
      const columns = names.map((name, index) => ({ name, type: typeName(types[index]) }));
      return { sql: text, names, types, columns };
    } finally {
      statement.destroySync();
    }
  }

  /** A column's type may depend on a parameter's: then only a run tells, one of no rows. */
  async #shapeOfRun(running: Running, sql: string, parameters: QueryParameters): Promise<Pick<Prepared, 'names' | 'types'>> {
    const result = await running.connection.run(`SELECT * FROM (\n${sql}\n) LIMIT 0`, parameters, parameterTypes(parameters));
    return { names: distinctNames(result.columnNames()), types: result.columnTypes() };
  }

  /** Rows as JSON text, made by the engine. */
  async #jsonRows(running: Running, prepared: Prepared, limit: number, offset: number): Promise<PageRows> {
    const { parameters } = prepared;
    const statement = await running.taken.statement(jsonRowsSql(prepared, `LIMIT ${limit} OFFSET ${offset}`), parameterKinds(parameters));
    statement.bind(parameters, parameterTypes(parameters));
    const stream = await statement.stream();
    const rows: string[] = [];
    let length = 0;
    for await (const chunk of stream) {
      for (const value of chunk.getColumnValues(0)) {
        const row = String(value);
        if (rows.length > 0 && length + row.length > PAGE_LENGTH_MAX) return { rows, isCut: true };
        rows.push(row);
        length += row.length;
      }
    }
    return { rows, isCut: false };
  }

  /** Keeps the rows themselves, in their order, for results that would come out differently a second time. */
  async #keepRows(running: Running, prepared: Prepared, statement: string): Promise<OpenResult> {
    const { kept_rows_max: rowsMax } = this.config;
    const table = `${KEPT_SCHEMA}.result_${this.#nextKept++}`;
    const aliases = prepared.names.map((_, index) => `c${index}`);
    const drop = (): void =>
      void this.engine
        .run(`DROP TABLE IF EXISTS ${table}`)
        .catch((error: unknown) => this.logger.error({ err: error }, 'a kept result could not be dropped'));
    try {
      await running.connection.run(
        `CREATE TABLE ${table} AS SELECT * FROM (SELECT * FROM (\n${prepared.sql}\n) LIMIT ${rowsMax + 1}) t(${aliases.join(', ')})`,
        prepared.parameters,
        parameterTypes(prepared.parameters),
      );
      const rowCount = asNumber((await this.engine.row(`SELECT count(*) AS n FROM ${table}`))['n']);
      if (rowCount > rowsMax) {
        throw new ResultTooLarge(rowsMax);
      }
      return {
        callerSql: running.query.sql,
        sql: `SELECT * FROM ${table} ORDER BY rowid`,
        parameters: [],
        columns: prepared.columns,
        statement,
        owner: running.query.reader.policy,
        views: new Map(),
        tables: [...running.views.keys()],
        rowCount,
        release: drop,
      };
    } catch (error) {
      drop();
      throw error;
    }
  }

  /** Keeps a result for whoever asks for more of it: by its pinned tables where the order repeats, by its rows elsewhere. */
  async #keep(
    running: Running,
    prepared: Prepared,
    request: QueryRequest,
    analysis: SqlAnalysis,
  ): Promise<{ result: OpenResult; isScan: boolean }> {
    const statement = statementHash(request.sql, request.params, request.asOf);
    const isScan = analysis.isRepeatableScan && [...running.views.values()].every((view) => view.hasStableOrder);
    return { result: isScan ? keptAsScan(prepared, statement, running) : await this.#keepRows(running, prepared, statement), isScan };
  }

  /**
   * A whole result, a batch at a time, each with the cursor of the row after it, so that a stream that broke can go on. A result too large to keep is
   * streamed all the same, without cursors.
   */
  async *batches(request: QueryRequest, batchRows: number): AsyncIterable<Batch> {
    const cursor = request.cursor === undefined || request.cursor === '' ? await this.#openForStream(request) : request.cursor;
    if (cursor === undefined) {
      const analysis = await this.analyse(request.sql);
      yield* this.#stream(
        request,
        () => this.pinTables(analysis, request),
        (running) => this.prepare(running, request.sql, toParameters(request.params)),
        0,
        batchRows,
        () => '',
      );
      return;
    }
    const { id, result, position } = this.#open(request, cursor);
    const prepare = async (running: Running): Promise<Prepared> => ({
      ...(await this.prepare(running, result.sql, result.parameters)),
      names: result.columns.map((column) => column.name),
    });
    const kept: QueryRequest = { ...request, cursor, sql: result.callerSql, tables: result.tables };
    yield* this.#stream(
      kept,
      () => Promise.resolve(result.views),
      prepare,
      position,
      batchRows,
      (at) => this.cursors.token(id, at),
    );
  }

  /** @returns the cursor of the first row, or undefined when the result is too large to keep */
  async #openForStream(request: QueryRequest): Promise<string | undefined> {
    const analysis = await this.analyse(request.sql);
    let cursor = '';
    try {
      await this.run(
        { ...request, isOpening: true },
        () => this.pinTables(analysis, request),
        async (running) => {
          const prepared = await this.prepare(running, request.sql, toParameters(request.params));
          const { result, isScan } = await this.#keep(running, prepared, request, analysis);
          cursor = this.cursors.token(this.cursors.keep(result), 0);
          return { page: { columns: prepared.columns, rows: [], hasMore: true, nextCursor: cursor }, keepViews: isScan };
        },
      );
      return cursor;
    } catch (error) {
      if (error instanceof ResultTooLarge) return undefined;
      throw error;
    }
  }

  async *#stream(
    request: QueryRequest,
    pin: () => Promise<ReadonlyMap<string, ReadView>>,
    prepare: (running: Running) => Promise<Prepared>,
    position: number,
    batchRows: number,
    tokenAt: (row: number) => string,
  ): AsyncIterable<Batch> {
    const channel = new BatchChannel();
    let tables: readonly string[] = [];
    const work = this.run(request, pin, async (running) => {
      const prepared = await prepare(running);
      tables = request.tables ?? [...running.views.keys()];
      running.query.onStop(() => channel.close());
      const stream = await running.connection.stream(
        jsonRowsSql(prepared, `OFFSET ${position}`),
        prepared.parameters,
        parameterTypes(prepared.parameters),
      );
      for await (const chunk of stream) {
        const rows = chunk.getColumnValues(0).map(String);
        if (rows.length > 0) await channel.put(rows);
        if (channel.isClosed) break;
      }
      // Its end must not look like the end of the result.
      running.query.assertGoesOn();
      return {
        page: { columns: prepared.columns, rows: [], hasMore: false, nextCursor: '' },
        keepViews: request.cursor !== undefined && request.cursor !== '',
      };
    }).finally(() => channel.close());
    // Looked at below; until then a failure must not count as unhandled.
    work.catch(() => undefined);
    let at = position;
    let held: string[] = [];
    try {
      for await (const rows of channel.take()) {
        held.push(...rows);
        // One row is always held back, so that the last batch can say that it is the last.
        while (held.length > batchRows) {
          at += batchRows;
          yield { rows: held.slice(0, batchRows), cursor: tokenAt(at), hasMore: true, tables };
          held = held.slice(batchRows);
        }
      }
      await work;
      yield { rows: held, cursor: '', hasMore: false, tables };
    } finally {
      channel.close();
      await work.catch(() => undefined);
    }
  }

  #stats(query: RunningQuery, views: ReadonlyMap<string, ReadView>, cache: QueryStats['cache']): QueryStats {
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

  #note(query: Pick<RunningQuery, 'id' | 'sql' | 'startedMs'>, tables: readonly string[], error: AppError | undefined): void {
    const elapsedMs = this.clock.nowMs() - query.startedMs;
    this.statistics.note(tables, elapsedMs, error);
    const line = { query_id: query.id, duration_ms: elapsedMs, tables, ...(error ? { error: error.code } : {}) };
    const label = tables.map((table) => `table:${table}`).join(' ');
    if (error?.code === 'INTERNAL')
      this.logger.error({ ...line, err: error, sql: redactSql(query.sql, LOGGED_SQL_MAX) }, `query failed ${label}`);
    if (elapsedMs >= this.logConfig.slow_query_ms)
      this.logger.warn({ ...line, sql: redactSql(query.sql, LOGGED_SQL_MAX) }, `slow query: query duration ${elapsedMs} ms ${label}`);
    else this.logger.info(line, `query duration ${elapsedMs} ms ${label}`);
  }
}

async function summaryFrom({ summary }: SqlAnalysis, { views }: Running): Promise<string | undefined> {
  const [view] = views.values();
  return summary && view && !view.isFiltered ? summarySql(summary, view) : undefined;
}

function releaseAll(views: ReadonlyMap<string, ReadView>): void {
  for (const view of views.values()) view.release();
}

/** @throws AppError INVALID_ARGUMENT for a value whose name the statement does not have */
function assertNames(statement: DuckDBPreparedStatement, parameters: Record<string, DuckDBValue>): void {
  const names = Array.from({ length: statement.parameterCount }, (_, index) => statement.parameterName(index + 1));
  const unknown = Object.keys(parameters).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw invalidArgument(
    `params: the statement has no parameter $${unknown.slice(0, 100)}; it has ${names.map((name) => `$${name}`).join(', ')}`,
    [{ field: 'params' }],
  );
}

class ResultTooLarge extends AppError {
  constructor(rowsMax: number) {
    super(
      'RESOURCE_EXHAUSTED',
      `the result has more than ${rowsMax} rows, too many to page through (query.kept_rows_max); add a LIMIT, or stream it with Accept: application/x-ndjson`,
    );
  }
}

function keptAsScan(prepared: Prepared, statement: string, { query, views }: Running): OpenResult {
  return {
    callerSql: query.sql,
    sql: prepared.sql,
    parameters: prepared.parameters,
    columns: prepared.columns,
    statement,
    owner: query.reader.policy,
    views,
    tables: [...views.keys()],
    rowCount: undefined,
    release: () => releaseAll(views),
  };
}
