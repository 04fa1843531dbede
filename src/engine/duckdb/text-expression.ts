/**
 * SQL that gives the instants and local times of a value, however deep in it, the text that all formats made of text have: RFC 3339 in UTC with `Z` for
 * an instant, the same without `Z` for a time of no zone, microseconds in both (nanoseconds where the type has them). The engine prints the rest.
 */
import { type DuckDBStructType, type DuckDBType, DuckDBTypeId, type DuckDBUnionType } from '@duckdb/node-api';
import { type Changes, isUnnamed, mapLeaves } from './map-leaves.js';
import { quoteText } from './sql-text.js';

const LOCAL_TIME = '%Y-%m-%dT%H:%M:%S.%f';
const LOCAL_TIME_NANOS = '%Y-%m-%dT%H:%M:%S.%n';

const CHANGES: Changes = { value: textOf, key: (expression, type, depth) => textExpression(expression, type, depth) };

/** @returns SQL whose value the engine prints as wanted; the expression itself when it holds no times */
export function textExpression(expression: string, type: DuckDBType, depth = 0): string {
  return mapLeaves(expression, type, CHANGES, depth);
}

function textOf(expression: string, type: DuckDBType, depth: number): string {
  switch (type.typeId) {
    case DuckDBTypeId.TIMESTAMP_TZ:
      return timeText(expression, `${LOCAL_TIME}Z`);
    case DuckDBTypeId.TIMESTAMP:
      return timeText(expression, LOCAL_TIME);
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
      return timeText(`${expression}::TIMESTAMP`, LOCAL_TIME);
    case DuckDBTypeId.TIMESTAMP_NS:
      return timeText(expression, LOCAL_TIME_NANOS);
    case DuckDBTypeId.UNION:
      return unionText(expression, type, depth);
    case DuckDBTypeId.STRUCT:
      return unnamedText(expression, type, depth);
    default:
      return expression;
  }
}

function timeText(expression: string, format: string): string {
  return `CASE WHEN isfinite(${expression}) THEN strftime(${expression}, ${quoteText(format)}) ELSE ${expression}::VARCHAR END`;
}

/** Its value alone, as text, whichever of its types that has. */
function unionText(expression: string, { memberTags, memberTypes }: DuckDBUnionType, depth: number): string {
  const members = memberTypes.map((type, index) => {
    const tag = quoteText(memberTags[index] ?? '');
    const part = `union_extract(${expression}, ${tag})`;
    const text = textExpression(part, type, depth);
    return { branch: `WHEN ${tag} THEN (${text})::VARCHAR`, isChanged: text !== part };
  });
  if (!members.some(({ isChanged }) => isChanged)) return expression;
  return `CASE union_tag(${expression}) ${members.map(({ branch }) => branch).join(' ')} END`;
}

function unnamedText(expression: string, type: DuckDBStructType, depth: number): string {
  if (!isUnnamed(type)) return expression;
  const parts = type.entryTypes.map((_, index) => `struct_extract(${expression}, ${index + 1})`);
  const texts = type.entryTypes.map((entryType, index) => textExpression(parts[index] ?? '', entryType, depth));
  if (texts.every((text, index) => text === parts[index])) return expression;
  return `CASE WHEN ${expression} IS NOT NULL THEN row(${texts.join(', ')}) END`;
}
