/** A caller's statement as the engine understands it, and the SQL that gives its rows in the forms that clients get. */
import type { DuckDBPreparedStatement, DuckDBType } from '@duckdb/node-api';
import { distinctNames, jsonExpression } from '../engine/duckdb/json-expression.js';
import { quoteName, quoteText } from '../engine/duckdb/sql-text.js';
import type { QueryParameters } from './query-parameters.js';

export interface Column {
  readonly name: string;
  readonly type: string;
}

/** The caller's statement once the engine has understood it. */
export interface Prepared {
  /** Can stand in parentheses. */
  readonly sql: string;
  readonly parameters: QueryParameters;
  readonly names: readonly string[];
  readonly types: readonly DuckDBType[];
  readonly columns: readonly Column[];
}

/** What a statement means, whatever the values of its parameters. */
export type Meaning = Omit<Prepared, 'parameters'>;

export function shapeOf(statement: DuckDBPreparedStatement): Pick<Prepared, 'names' | 'types'> {
  const indexes = Array.from({ length: statement.columnCount }, (_, index) => index);
  return {
    names: distinctNames(indexes.map((index) => statement.columnName(index))),
    types: indexes.map((index) => statement.columnType(index)),
  };
}

/** SQL of one JSON object a row. Columns are taken by position, so two of the same name stay two. */
export function jsonRowsSql(prepared: Prepared, limit: string): string {
  const aliases = prepared.names.map((_, index) => `c${index}`);
  const members = prepared.names.map((name, index) => `${quoteText(name)}, ${jsonColumn(prepared.types[index], `c${index}`)}`);
  return `SELECT json_object(${members.join(', ')})::VARCHAR FROM (SELECT * FROM (\n${prepared.sql}\n) ${limit}) t(${aliases.join(', ')})`;
}

function jsonColumn(type: DuckDBType | undefined, alias: string): string {
  return type ? jsonExpression(alias, type) : alias;
}

export function typeName(type: DuckDBType | undefined): string {
  return type?.alias ?? type?.toString() ?? 'UNKNOWN';
}

/** SELECT for formats other than JSON objects: the same values, as the format has them, under names told apart. */
export function namedColumns(prepared: Prepared, value: (expression: string, type: DuckDBType) => string): string {
  const aliases = prepared.names.map((_, index) => `c${index}`);
  const items = prepared.names.map((name, index) => {
    const type = prepared.types[index];
    return `${type ? value(`c${index}`, type) : `c${index}`} AS ${quoteName(name)}`;
  });
  return `SELECT ${items.join(', ')} FROM (\n${prepared.sql}\n) t(${aliases.join(', ')})`;
}
