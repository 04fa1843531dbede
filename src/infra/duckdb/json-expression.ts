/**
 * SQL that turns a value of any type into what JSON shows of it, in the engine and so off the event loop. Whole numbers and decimals keep every
 * digit, times are RFC 3339 in UTC with microseconds, and what JSON has no word for (NaN, infinity) is null; left to itself the engine would
 * print `nan` and make the document invalid.
 */
import { type DuckDBDecimalType, type DuckDBType, DuckDBTypeId, type DuckDBMapType, type DuckDBStructType } from '@duckdb/node-api';
import { quoteName, quoteText } from './sql-text.js';

const DECIMAL_WIDTH_MAX = 38;
const TIMESTAMP_FORMAT = quoteText('%Y-%m-%dT%H:%M:%S.%fZ');

/**
 * @param expression SQL of the value
 * @param depth nesting so far; gives lambda parameters different names
 * @returns SQL whose value DuckDB's to_json writes as wanted
 */
export function jsonExpression(expression: string, type: DuckDBType, depth = 0): string {
  switch (type.typeId) {
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return `CASE WHEN isfinite(${expression}) THEN ${expression} END`;
    case DuckDBTypeId.DECIMAL:
      return jsonDecimal(expression, type);
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_TZ:
      return `CASE WHEN isfinite(${expression}) THEN strftime(${expression}, ${TIMESTAMP_FORMAT}) ELSE ${expression}::VARCHAR END`;
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
    case DuckDBTypeId.TIMESTAMP_NS:
      return jsonTimestampCast(expression);
    case DuckDBTypeId.LIST:
      return jsonList(expression, type.valueType, depth);
    case DuckDBTypeId.ARRAY:
      return jsonList(`${expression}::${type.valueType.toString()}[]`, type.valueType, depth);
    case DuckDBTypeId.STRUCT:
      return jsonStruct(expression, type, depth);
    case DuckDBTypeId.MAP:
      return jsonMap(expression, type, depth);
    case DuckDBTypeId.UNION:
    case DuckDBTypeId.BLOB:
    case DuckDBTypeId.BIT:
    case DuckDBTypeId.INTERVAL:
      return `${expression}::VARCHAR`;
    default:
      return expression;
  }
}

/** The engine prints a wide decimal without digits before its point as `.5`, which is no JSON: it gets room for a digit there. */
function jsonDecimal(expression: string, { width, scale }: DuckDBDecimalType): string {
  if (width !== scale) return expression;
  return scale < DECIMAL_WIDTH_MAX ? `${expression}::DECIMAL(${DECIMAL_WIDTH_MAX},${scale})` : `${expression}::DOUBLE`;
}

function jsonTimestampCast(expression: string): string {
  return `CASE WHEN isfinite(${expression}::TIMESTAMP) THEN strftime(${expression}::TIMESTAMP, ${TIMESTAMP_FORMAT}) ELSE ${expression}::VARCHAR END`;
}

function jsonList(expression: string, valueType: DuckDBType, depth: number): string {
  const item = `v${depth}`;
  const inner = jsonExpression(item, valueType, depth + 1);
  return inner === item ? expression : `list_transform(${expression}, lambda ${item}: ${inner})`;
}

function jsonStruct(expression: string, type: DuckDBStructType, depth: number): string {
  if (type.entryNames.some((name) => name === '')) return `${expression}::VARCHAR`;
  const members = type.entryNames.map((name, index) => {
    const value = `struct_extract(${expression}, ${quoteText(name)})`;
    const memberType = type.entryTypes[index];
    return `${quoteName(name)} := ${memberType ? jsonExpression(value, memberType, depth) : value}`;
  });
  return `CASE WHEN ${expression} IS NOT NULL THEN struct_pack(${members.join(', ')}) END`;
}

function jsonMap(expression: string, type: DuckDBMapType, depth: number): string {
  const entry = `v${depth}`;
  const value = jsonExpression(`${entry}.value`, type.valueType, depth + 1);
  const key = `${entry}.key::VARCHAR`;
  return `map_from_entries(list_transform(map_entries(${expression}), lambda ${entry}: {'key': ${key}, 'value': ${value}}))`;
}

/** Names told apart: the second `a` becomes `a_1`. The engine compares names without case, so `A` after `a` does too. */
export function distinctNames(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let candidate = name;
    for (let suffix = 1; taken.has(candidate.toLowerCase()); suffix += 1) candidate = `${name}_${suffix}`;
    taken.add(candidate.toLowerCase());
    return candidate;
  });
}
