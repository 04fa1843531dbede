/** Values of `$1`, `?` and `$name` in a statement, from JSON to the engine. They never become part of the SQL text. */
import type { DuckDBValue } from '@duckdb/node-api';
import { invalidArgument } from '../common/app-error.js';
import { isJsonObject, LosslessNumber } from '../common/json.js';

export type QueryParameters = DuckDBValue[] | Record<string, DuckDBValue>;

const PARAMETERS_MAX = 1_000;

/** @throws AppError INVALID_ARGUMENT for anything but scalars, in an array or an object */
export function toParameters(params: unknown): QueryParameters {
  if (params === undefined || params === null) return [];
  if (Array.isArray(params)) {
    if (params.length > PARAMETERS_MAX) throw invalidArgument(`params must have at most ${PARAMETERS_MAX} values`);
    return params.map((value, index) => toValue(value, String(index + 1)));
  }
  if (!isJsonObject(params)) throw invalidArgument('params must be an array (for $1 and ?) or an object (for $name)');
  return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, toValue(value, name)]));
}

function toValue(value: unknown, name: string): DuckDBValue {
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value === 'string') return checkedText(value, name);
  if (typeof value === 'number') return Number.isInteger(value) && Math.abs(value) > 2_147_483_647 ? BigInt(value) : value;
  if (value instanceof LosslessNumber) return /^-?\d+$/.test(value.value) ? BigInt(value.value) : Number(value.value);
  throw invalidArgument(`params: the value of ${name} must be a string, a number, a boolean or null`);
}

function checkedText(text: string, name: string): string {
  if (!text.isWellFormed()) throw invalidArgument(`params: the value of ${name} has half a surrogate pair, which is not text`);
  return text;
}
