/**
 * SQL that turns a value of any type into what JSON shows of it, in the engine and so off the event loop. Whole numbers and decimals keep every
 * digit and decimals their scale, times are what `text-expression.ts` makes of them, and what JSON has no word for (NaN, infinity) is null; left to
 * itself the engine would print `nan` and make the document invalid.
 */
import { type DuckDBDecimalType, type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { type Changes, mapLeaves } from './map-leaves.js';
import { textExpression } from './text-expression.js';

const DECIMAL_WIDTH_MAX = 38;
/** Narrower decimals the engine prints as doubles, without their scale. */
const EXACT_DECIMAL_WIDTH = 18;

/** What `jsonExpression` does to each value within a value, and to the keys of maps. */
export const JSON_CHANGES: Changes = { value: jsonOf, key: keyText };

/**
 * @param expression SQL of the value
 * @returns SQL whose value DuckDB's to_json writes as wanted
 */
export function jsonExpression(expression: string, type: DuckDBType): string {
  return mapLeaves(expression, type, JSON_CHANGES);
}

function jsonOf(expression: string, type: DuckDBType, depth: number): string {
  switch (type.typeId) {
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return `CASE WHEN isfinite(${expression}) THEN ${expression} END`;
    case DuckDBTypeId.DECIMAL:
      return jsonDecimal(expression, type);
    case DuckDBTypeId.UNION:
    case DuckDBTypeId.STRUCT:
    case DuckDBTypeId.BLOB:
    case DuckDBTypeId.BIT:
    case DuckDBTypeId.INTERVAL:
      return `(${textExpression(expression, type, depth)})::VARCHAR`;
    default:
      return textExpression(expression, type, depth);
  }
}

/** The engine prints a decimal without digits before its point as `.5`, which is no JSON: it gets room for a digit there. */
function jsonDecimal(expression: string, { width, scale }: DuckDBDecimalType): string {
  const widthNeeded = Math.max(EXACT_DECIMAL_WIDTH, width === scale ? width + 1 : width);
  if (widthNeeded === width) return expression;
  return widthNeeded <= DECIMAL_WIDTH_MAX ? `${expression}::DECIMAL(${widthNeeded},${scale})` : `${expression}::DOUBLE`;
}

function keyText(expression: string, type: DuckDBType, depth: number): string {
  return type.typeId === DuckDBTypeId.VARCHAR ? expression : `(${textExpression(expression, type, depth)})::VARCHAR`;
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
