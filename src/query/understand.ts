/**
 * What a statement is: first from its syntax tree, whether it may be asked and what it reads; then, once its tables are bound, from the engine,
 * which names and types its columns. Both are kept for the next time.
 */
import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import type { DuckDBPreparedStatement, DuckDBValue } from '@duckdb/node-api';
import { toAppError } from '../api/error-filter.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { CLOCK } from '../common/tokens.js';
import { traced } from '../common/tracing.js';
import { QueryConfig } from '../config/config.js';
import { Engine } from '../engine/duckdb/engine.js';
import { distinctNames } from '../engine/duckdb/json-expression.js';
import { type Meaning, type Prepared, shapeOf, typeName } from './prepared-statement.js';
import { QueryLog } from './query-log.js';
import { parameterKinds, parameterTypes, type QueryParameters } from './query-parameters.js';
import type { Running } from './run-query.js';
import { SqlAnalyser, type SqlAnalysis, withoutEnd } from './sql/analyse.js';

/** A prepared statement looks through all of its columns for the type of each: 30,000 of them would keep everybody waiting for seconds. */
const PREPARED_COLUMNS_MAX = 500;

@Injectable()
export class Understanding {
  constructor(
    private readonly config: QueryConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    private readonly analyser: SqlAnalyser,
    private readonly log: QueryLog,
  ) {}

  /**
   * Every query begins with it; one that ends here is one that failed.
   * @throws AppError for a statement that is not one that may be asked
   */
  async analyse(sql: string): Promise<SqlAnalysis> {
    const startedMs = this.clock.nowMs();
    try {
      return await traced('analyse', {}, () => this.#analyseNow(sql));
    } catch (error) {
      this.log.note({ id: randomUUID(), sql, startedMs }, [], toAppError(error));
      throw error;
    }
  }

  async #analyseNow(sql: string): Promise<SqlAnalysis> {
    if (Buffer.byteLength(sql) > this.config.sql_bytes_max)
      throw new AppError('PAYLOAD_TOO_LARGE', `the SQL has more than ${this.config.sql_bytes_max} bytes (query.sql_bytes_max)`);
    if (sql.includes('\0')) throw invalidArgument('the SQL has a zero byte', [{ field: 'sql' }]);
    return this.analyser.analyse(sql);
  }

  /** Has the engine understand the statement: its errors speak of the caller's own text, and names and types of the columns are known. */
  async prepare(running: Running, sql: string, parameters: QueryParameters): Promise<Prepared> {
    const { meanings } = running.taken;
    const key = `${parameterKinds(parameters)}|${sql}`;
    const kept = meanings.get(key);
    if (kept) return { ...kept, parameters };
    const meaning = await this.#meaningOf(running, sql, parameters);
    meanings.set(key, meaning);
    return { ...meaning, parameters };
  }

  async #meaningOf(running: Running, sql: string, parameters: QueryParameters): Promise<Meaning> {
    const statement = await running.connection.prepare(sql);
    try {
      const count = Array.isArray(parameters) ? parameters.length : Object.keys(parameters).length;
      if (count !== statement.parameterCount) {
        throw invalidArgument(`the statement has ${statement.parameterCount} parameters, but params has ${count}`, [{ field: 'params' }]);
      }
      if (!Array.isArray(parameters)) assertNames(statement, parameters);
      const text = await withoutEnd(this.engine, sql);
      const isPlain = count === 0 && statement.columnCount <= PREPARED_COLUMNS_MAX;
      const { names, types } = isPlain ? shapeOf(statement) : await shapeOfRun(running, text, parameters);
      const columns = names.map((name, index) => ({ name, type: typeName(types[index]) }));
      return { sql: text, names, types, columns };
    } finally {
      statement.destroySync();
    }
  }
}

/** A column's type may depend on a parameter's: then only a run tells, one of no rows. */
async function shapeOfRun({ connection }: Running, sql: string, parameters: QueryParameters): Promise<Pick<Prepared, 'names' | 'types'>> {
  const result = await connection.run(`SELECT * FROM (\n${sql}\n) LIMIT 0`, parameters, parameterTypes(parameters));
  return { names: distinctNames(result.columnNames()), types: result.columnTypes() };
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
