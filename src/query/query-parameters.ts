/** Values of `$1`, `?` and `$name` in a statement, from JSON to the engine. They never become part of the SQL text. */
import { DOUBLE, type DuckDBType, type DuckDBValue } from '@duckdb/node-api';
import { invalidArgument } from '../common/app-error.js';
import { isJsonObject, LosslessNumber } from '../common/json.js';

export type QueryParameters = DuckDBValue[] | Record<string, DuckDBValue>;

const PARAMETERS_MAX = 1_000;

/** Types to bind the values with, where the client library would guess wrong: whole numbers that only a double holds. */
export function parameterTypes(parameters: QueryParameters): DuckDBType[] | Record<string, DuckDBType> {
  const typeOf = (value: DuckDBValue): DuckDBType =>
    typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) ? DOUBLE : (undefined as unknown as DuckDBType);
  return Array.isArray(parameters)
    ? parameters.map(typeOf)
    : Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, typeOf(value)]));
}

export function hasNone(parameters: QueryParameters): boolean {
  return Object.keys(parameters).length === 0;
}

/** Tells the types of one list of values from another's: what a plan depends on. */
export function parameterKinds(parameters: QueryParameters): string {
  const entries: readonly (readonly [string, DuckDBValue])[] = Array.isArray(parameters)
    ? parameters.map((value, index) => [String(index), value])
    : Object.entries(parameters);
  return entries.map(([name, value]) => `${JSON.stringify(name)}:${kindOf(value)}`).join();
}

function kindOf(value: DuckDBValue): string {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'integer' : 'double';
  if (typeof value === 'bigint') return BigInt.asIntN(64, value) === value ? 'bigint' : 'hugeint';
  return value === null ? 'null' : typeof value;
}

/** @throws AppError INVALID_ARGUMENT for anything but scalars, in an array or an object */
export function toParameters(params: unknown): QueryParameters {
  if (params === undefined || params === null) return [];
  if (Array.isArray(params)) {
    if (params.length > PARAMETERS_MAX) throw invalidArgument(`params must have at most ${PARAMETERS_MAX} values`);
    return params.map((value, index) => toValue(value, String(index + 1)));
  }
  if (!isJsonObject(params)) throw invalidArgument('params must be an array (for $1 and ?) or an object (for $name)');
  const named = Object.entries(params);
  if (named.length > PARAMETERS_MAX) throw invalidArgument(`params must have at most ${PARAMETERS_MAX} values`);
  return Object.fromEntries(named.map(([name, value]) => [name, toValue(value, name)]));
}

function toValue(value: unknown, name: string): DuckDBValue {
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value === 'string') return checkedText(value, name);
  if (typeof value === 'number') return Number.isSafeInteger(value) && Math.abs(value) > 2_147_483_647 ? BigInt(value) : value;
  if (value instanceof LosslessNumber) return exactNumber(value.value, name);
  throw invalidArgument(`params: the value of ${name} must be a string, a number, a boolean or null`);
}

/** The engine's widest integer has 128 bits. */
const INTEGER_MAX = 2n ** 127n - 1n;

function exactNumber(text: string, name: string): DuckDBValue {
  if (/^-?\d+$/.test(text)) {
    const integer = text.length <= 41 ? BigInt(text) : INTEGER_MAX + 1n;
    if (integer > INTEGER_MAX || integer < -INTEGER_MAX - 1n) throw invalidArgument(`params: the value of ${name} has more than 128 bits`);
    return integer;
  }
  const number = Number(text);
  if (!Number.isFinite(number)) throw invalidArgument(`params: the value of ${name} is beyond the range of DOUBLE`);
  return number;
}

function checkedText(text: string, name: string): string {
  if (!text.isWellFormed()) throw invalidArgument(`params: the value of ${name} contains half a surrogate pair, which is not valid text`);
  return text;
}
