/** SQL that gives values a type which Parquet has; left to itself the engine would write some of them with fewer digits, and others not at all. */
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { quoteName } from './sql-text.js';

/** @returns SQL of a value that a Parquet column holds as it is */
export function parquetExpression(expression: string, type: DuckDBType): string {
  const held = heldType(type);
  return held === undefined ? expression : `${expression}::${held}`;
}

/** The type to give a value, or undefined when it can stay as it is. */
function heldType(type: DuckDBType): string | undefined {
  switch (type.typeId) {
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
      return 'DECIMAL(38, 0)';
    case DuckDBTypeId.BIGNUM:
    case DuckDBTypeId.INTERVAL:
    case DuckDBTypeId.BIT:
    case DuckDBTypeId.UNION:
    case DuckDBTypeId.TIME_TZ:
      return 'VARCHAR';
    case DuckDBTypeId.SQLNULL:
      return 'INTEGER';
    case DuckDBTypeId.LIST:
      return suffixed(heldType(type.valueType), '[]');
    case DuckDBTypeId.ARRAY:
      return suffixed(heldType(type.valueType), `[${type.length}]`);
    case DuckDBTypeId.STRUCT: {
      const held = type.entryTypes.map(heldType);
      if (held.every((member) => member === undefined)) return undefined;
      return `STRUCT(${type.entryNames.map((name, index) => `${quoteName(name)} ${held[index] ?? type.entryTypes[index]?.toString() ?? ''}`).join(', ')})`;
    }
    case DuckDBTypeId.MAP: {
      const [key, value] = [heldType(type.keyType), heldType(type.valueType)];
      if (key === undefined && value === undefined) return undefined;
      return `MAP(${key ?? type.keyType.toString()}, ${value ?? type.valueType.toString()})`;
    }
    default:
      return undefined;
  }
}

function suffixed(held: string | undefined, suffix: string): string | undefined {
  return held === undefined ? undefined : held + suffix;
}
