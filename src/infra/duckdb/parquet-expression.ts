/** SQL that gives values a type which Parquet has; left to itself the engine would write some of them with fewer digits, and others not at all. */
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';

/** @returns SQL of a value that a Parquet column holds as it is */
export function parquetExpression(expression: string, type: DuckDBType): string {
  switch (type.typeId) {
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
      return `${expression}::DECIMAL(38, 0)`;
    case DuckDBTypeId.BIGNUM:
    case DuckDBTypeId.INTERVAL:
    case DuckDBTypeId.BIT:
    case DuckDBTypeId.UNION:
    case DuckDBTypeId.TIME_TZ:
      return `${expression}::VARCHAR`;
    case DuckDBTypeId.SQLNULL:
      return `${expression}::INTEGER`;
    default:
      return expression;
  }
}
