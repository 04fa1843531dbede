/** SQL that looks into nested values. */
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { quoteText } from './sql-text.js';

/**
 * SQL that is true when a condition holds for a value, or for one within it.
 * @param conditionOf SQL of the condition for a value of a type, or undefined where it cannot hold
 * @param depth nesting so far; gives lambda parameters different names
 * @returns undefined when it can hold nowhere
 */
export function anyWithin(
  value: string,
  type: DuckDBType,
  conditionOf: (value: string, type: DuckDBType) => string | undefined,
  depth = 0,
): string | undefined {
  const inList = (list: string, element: DuckDBType): string | undefined => {
    const variable = `e${depth}`;
    const inner = anyWithin(variable, element, conditionOf, depth + 1);
    return inner && `len(list_filter(${list}, lambda ${variable}: ${inner})) > 0`;
  };
  const conditions = [conditionOf(value, type), ...inside()].filter((condition) => condition !== undefined);
  // NULL is no value for which a condition could hold.
  return conditions.length > 0 ? `(${conditions.map((condition) => `coalesce(${condition}, false)`).join(' OR ')})` : undefined;

  function inside(): (string | undefined)[] {
    switch (type.typeId) {
      case DuckDBTypeId.LIST:
        return [inList(value, type.valueType)];
      case DuckDBTypeId.ARRAY:
        return [inList(`${value}::${type.valueType.toString()}[]`, type.valueType)];
      case DuckDBTypeId.MAP:
        return [inList(`map_keys(${value})`, type.keyType), inList(`map_values(${value})`, type.valueType)];
      case DuckDBTypeId.STRUCT:
        return type.entryNames.map((name, index) => {
          const entryType = type.entryTypes[index];
          return entryType && anyWithin(`struct_extract(${value}, ${quoteText(name)})`, entryType, conditionOf, depth);
        });
      default:
        return [];
    }
  }
}
