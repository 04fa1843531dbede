/**
 * Runs a statement whose result promises to be small: planned once, executed, its rows printed here. A statement that is new to the server takes about
 * half the time of the way that large results go, which plans it for its types, and again with the engine's JSON around it.
 */
import { setImmediate } from 'node:timers/promises';
import type { DuckDBResult } from '@duckdb/node-api';
import { distinctNames } from '../../engine/duckdb/json-expression.js';
import type { ReadView } from '../../tables/view/read-view.js';
import type { SqlAnalysis } from '../sql/analyse.js';
import { NotPlain, PlainRows } from './plain-rows.js';
import { type Prepared, typeName } from '../prepared-statement.js';
import { hasNone, parameterKinds, parameterTypes, type QueryParameters } from '../query-parameters.js';
import type { Running } from '../run-query.js';
import type { FirstRows } from '../query-answer.js';

/** Values, rows times columns, up to which a result is small: a few milliseconds of the event loop, in turns of one. */
const SMALL_VALUES = 10_000;
/** A parenthesised statement tells columns of one name apart by such an ending, in a way of its own. */
const TOLD_APART = /[_:]\d+$/;

/** @param limit rows of the page */
export function promisesFewValues({ size }: SqlAnalysis, views: ReadonlyMap<string, ReadView>, limit: number): boolean {
  const { rowsMax, columns, hasStar } = size;
  const stored = hasStar ? [...views.values()].reduce((sum, { schema }) => sum + schema.columns.length, 0) : 0;
  return Math.min(rowsMax, limit + 1) * (columns + stored) <= SMALL_VALUES;
}

/**
 * @param sql can stand in parentheses
 * @param limit rows that are wanted
 * @param lengthMax characters of all rows together; those past it are left out
 * @returns undefined for a result that only the engine prints
 */
export async function runSmall(
  running: Running,
  sql: string,
  parameters: QueryParameters,
  limit: number,
  lengthMax: number,
): Promise<FirstRows | undefined> {
  const result = await start(running, `SELECT * FROM (\n${sql}\n) LIMIT ${limit}`, parameters);
  const types = result.columnTypes();
  const names = distinctNames(result.columnNames());
  const plain = new PlainRows(names, types);
  if (!plain.isPlain || names.some((name) => TOLD_APART.test(name))) return undefined;
  const columns = names.map((name, index) => ({ name, type: typeName(types[index]) }));
  const prepared: Prepared = { sql, parameters, names, types, columns };
  const rows: string[] = [];
  let length = 0;
  try {
    for await (const chunk of result) {
      for (const turn of plain.turns(chunk)) {
        if (rows.length > 0) await setImmediate();
        for (const row of turn) {
          if (rows.length > 0 && length + row.length > lengthMax) return { prepared, rows, isCut: true };
          rows.push(row);
          length += row.length;
        }
      }
    }
    return { prepared, rows, isCut: false };
  } catch (error) {
    if (error instanceof NotPlain) return undefined;
    throw error;
  }
}

/**
 * The engine keeps the plan of a statement over rows that it has in memory; one over files would be planned for keeping and then once more, as is every
 * statement with parameters, and every one that the client library streams.
 */
async function start({ taken, connection, views }: Running, sql: string, parameters: QueryParameters): Promise<DuckDBResult> {
  const readsFiles = [...views.values()].some((view) => view.readsFiles);
  if (readsFiles) return hasNone(parameters) ? connection.run(sql) : connection.run(sql, parameters, parameterTypes(parameters));
  const statement = await taken.statement(sql, parameterKinds(parameters));
  statement.bind(parameters, parameterTypes(parameters));
  return statement.run();
}
