/** SQL that changes the values inside of lists, structs and maps, however deep, and leaves the form around them. */
import { type DuckDBMapType, type DuckDBStructType, type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { quoteName, quoteText } from './sql-text.js';

/**
 * @param expression SQL of a value that has no named parts: a scalar, a union, or a struct without names
 * @param depth nesting so far; gives lambda parameters different names
 * @returns SQL of what it becomes; the expression itself when it stays as it is
 */
type Change = (expression: string, type: DuckDBType, depth: number) => string;

export interface Changes {
  readonly value: Change;
  /** Of keys of maps. They must not become NULL. */
  readonly key: Change;
}

/** @returns the expression itself when nothing in it changes */
export function mapLeaves(expression: string, type: DuckDBType, changes: Changes, depth = 0): string {
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
      return mapList(expression, type.valueType, changes, depth);
    case DuckDBTypeId.ARRAY:
      return mapList(`${expression}::${type.valueType.toString()}[]`, type.valueType, changes, depth);
    case DuckDBTypeId.STRUCT:
      return isUnnamed(type) ? changes.value(expression, type, depth) : mapStruct(expression, type, changes, depth);
    case DuckDBTypeId.MAP:
      return mapMap(expression, type, changes, depth);
    default:
      return changes.value(expression, type, depth);
  }
}

/** As `row(1, 2)` makes it. */
export function isUnnamed({ entryNames }: DuckDBStructType): boolean {
  return entryNames.includes('');
}

function mapList(expression: string, valueType: DuckDBType, changes: Changes, depth: number): string {
  const item = `v${depth}`;
  const changed = mapLeaves(item, valueType, changes, depth + 1);
  return changed === item ? expression : `list_transform(${expression}, lambda ${item}: ${changed})`;
}

function mapStruct(expression: string, { entryNames, entryTypes }: DuckDBStructType, changes: Changes, depth: number): string {
  const parts = entryTypes.map((type, index) => {
    const name = entryNames[index] ?? '';
    const part = `struct_extract(${expression}, ${quoteText(name)})`;
    const changed = mapLeaves(part, type, changes, depth);
    return { member: `${quoteName(name)} := ${changed}`, isChanged: changed !== part };
  });
  if (!parts.some(({ isChanged }) => isChanged)) return expression;
  return `CASE WHEN ${expression} IS NOT NULL THEN struct_pack(${parts.map(({ member }) => member).join(', ')}) END`;
}

function mapMap(expression: string, { keyType, valueType }: DuckDBMapType, changes: Changes, depth: number): string {
  const entry = `v${depth}`;
  const key = changes.key(`${entry}.key`, keyType, depth + 1);
  const value = mapLeaves(`${entry}.value`, valueType, changes, depth + 1);
  if (key === `${entry}.key` && value === `${entry}.value`) return expression;
  return `map_from_entries(list_transform(map_entries(${expression}), lambda ${entry}: {'key': ${key}, 'value': ${value}}))`;
}
