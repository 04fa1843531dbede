/**
 * Keeps a result for a client that asks for more of it: by its pinned tables where the order of its rows repeats (the statement runs again from the
 * position), by its rows elsewhere.
 */
import { Injectable, Inject } from '@nestjs/common';
import type { Logger } from '../../common/logger.js';
import { LOGGER } from '../../common/tokens.js';
import { QueryConfig } from '../../config/config.js';
import { asNumber, Engine } from '../../engine/duckdb/engine.js';
import { releaseAll } from '../pin-tables.js';
import type { Prepared } from '../prepared-statement.js';
import { ResultTooLarge } from '../query-error.js';
import { parameterTypes } from '../query-parameters.js';
import type { QueryRequest } from '../query-request.js';
import type { Plan, Running } from '../run-query.js';
import type { SqlAnalysis } from '../sql/analyse.js';
import type { Understanding } from '../understand.js';
import { Cursors, type OpenResult, statementHash } from './cursors.js';

const SCHEMA = 'kept';

/** A kept result under its name. */
export interface KeptResult {
  readonly id: string;
  readonly result: OpenResult;
  /** True when the pinned tables are what is kept. */
  readonly isScan: boolean;
}

@Injectable()
export class KeptResults {
  #next = 1;

  constructor(
    private readonly config: QueryConfig,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly engine: Engine,
    private readonly cursors: Cursors,
  ) {}

  async open(): Promise<void> {
    await this.engine.run(`CREATE SCHEMA ${SCHEMA}`);
  }

  /** @throws ResultTooLarge when its rows must be kept, and are too many */
  async keep(running: Running, prepared: Prepared, request: QueryRequest, analysis: SqlAnalysis): Promise<KeptResult> {
    const { query, views } = running;
    const isScan = analysis.isRepeatableScan && [...views.values()].every((view) => view.hasStableOrder);
    const origin = {
      callerSql: query.sql,
      mayAmplify: analysis.mayAmplify,
      columns: prepared.columns,
      statement: statementHash(request.sql, request.params, request.asOf),
      owner: query.reader.policy,
      tables: [...views.keys()],
    };
    const result = isScan
      ? { ...origin, sql: prepared.sql, parameters: prepared.parameters, views, release: () => releaseAll(views) }
      : { ...origin, ...(await this.#keepRows(running, prepared)), parameters: [], views: new Map() };
    return { id: this.cursors.keep(result), result, isScan };
  }

  /** The rows themselves, in their order, for results that would come out differently a second time. */
  async #keepRows({ connection }: Running, prepared: Prepared): Promise<Pick<OpenResult, 'sql' | 'release'>> {
    const { kept_rows_max: rowsMax } = this.config;
    const table = `${SCHEMA}.result_${this.#next++}`;
    const aliases = prepared.names.map((_, index) => `c${index}`);
    const release = (): void =>
      void this.engine
        .run(`DROP TABLE IF EXISTS ${table}`)
        .catch((error: unknown) => this.logger.error({ err: error }, 'a kept result could not be dropped'));
    try {
      await connection.run(
        `CREATE TABLE ${table} AS SELECT * FROM (SELECT * FROM (\n${prepared.sql}\n) LIMIT ${rowsMax + 1}) t(${aliases.join(', ')})`,
        prepared.parameters,
        parameterTypes(prepared.parameters),
      );
      const rowCount = asNumber((await this.engine.row(`SELECT count(*) AS n FROM ${table}`))['n']);
      if (rowCount > rowsMax) throw new ResultTooLarge(rowsMax);
      return { sql: `SELECT * FROM ${table} ORDER BY rowid`, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** @throws AppError INVALID_ARGUMENT for a cursor that this request cannot go on with */
  find({ sql, params, asOf, reader }: QueryRequest, cursor: string): ReturnType<Cursors['find']> {
    return this.cursors.find(cursor, reader, sql.trim() === '' ? undefined : statementHash(sql, params, asOf));
  }

  token(id: string, position: number): string {
    return this.cursors.token(id, position);
  }

  /** What a failure to read a kept result is: it may have been given up under its reader. */
  asTold(error: unknown, id: string): unknown {
    return this.cursors.isOpen(id) ? error : this.cursors.expired();
  }
}

/** The caller's statement and its reading plan, for the next rows of a kept result. */
export function readingOf(request: QueryRequest, result: OpenResult): { request: QueryRequest; plan: Plan } {
  const { callerSql, mayAmplify, tables, views } = result;
  return { request: { ...request, sql: callerSql }, plan: { pin: () => Promise.resolve(views), mayAmplify, keptTables: tables } };
}

/** The statement of a kept result, with the columns as its first page named them. */
export async function prepareKept(understanding: Understanding, running: Running, result: OpenResult): Promise<Prepared> {
  const prepared = await understanding.prepare(running, result.sql, result.parameters);
  return { ...prepared, names: result.columns.map(({ name }) => name) };
}
