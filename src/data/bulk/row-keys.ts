/** SQL of the id and the time of bulk rows that the engine reads in one go. */
import { quoteText } from '../../engine/duckdb/sql-text.js';
import type { TableConfig } from '../../tables/table-config.js';
import { fromMs } from '../write/timestamp.js';

/** RFC 3339 with a zone, as a pattern of the engine. */
export const TIMESTAMP_PATTERN = quoteText('\\d{4}-\\d\\d-\\d\\dT([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]\\d\\d:[0-5]\\d)');

export const FIRST_INSTANT = `TIMESTAMPTZ '0001-01-01 00:00:00+00'`;
export const LAST_INSTANT = `TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'`;

/** What a body has in the field of its ids or of its times. */
export interface KeyField {
  /** SQL of the value. */
  readonly value: string;
  /** `other`: of no type that can be a key, or of several. */
  readonly kind: 'text' | 'integer' | 'instant' | 'date' | 'other';
  /** Rows that have a value. */
  readonly rows: number;
}

/** SQL of a row's id, or undefined when it takes a closer look. */
export function idSql({ value, kind, rows }: KeyField, rowsInAll: number, config: TableConfig): string | undefined {
  if (rows > 0 && kind !== 'text' && kind !== 'integer') return undefined;
  if (rows === rowsInAll) return kind === 'integer' ? `${value}::VARCHAR` : value;
  const { id_strategy: strategy, id_prefix: prefix, auto_generate_id: isAutomatic } = config;
  if (rows > 0 || strategy === 'snowflake' || (strategy === 'user_provided' && !isAutomatic)) return undefined;
  return strategy === 'custom' ? `${quoteText(prefix)} || uuid()::VARCHAR` : 'uuid()::VARCHAR';
}

/** SQL of a row's time, which is NULL for a text that is no RFC 3339; or undefined when it takes a closer look. */
export function timestampSql({ value, kind, rows }: KeyField, rowsInAll: number, nowMs: number): string | undefined {
  const now = `TIMESTAMPTZ ${quoteText(fromMs(nowMs) ?? '')}`;
  if (rows === 0) return now;
  const instant = instantSql(value, kind);
  if (instant === undefined || rows === rowsInAll) return instant;
  return `CASE WHEN ${value} IS NULL THEN ${now} ELSE ${instant} END`;
}

/** SQL of an instant out of a value of this kind. */
function instantSql(value: string, kind: KeyField['kind']): string | undefined {
  switch (kind) {
    case 'text':
      return withinYears(`CASE WHEN regexp_full_match(${value}, ${TIMESTAMP_PATTERN}) THEN try_cast(${value} AS TIMESTAMPTZ) END`);
    case 'integer':
      return withinYears(`make_timestamptz(try_cast(${value} AS BIGINT) * 1000)`);
    case 'instant':
    case 'date':
      return `CASE WHEN isfinite(${value}) THEN ${value}::TIMESTAMPTZ END`;
    case 'other':
      return undefined;
  }
}

/** SQL of an instant in the years that RFC 3339 can write, NULL for any other: a zone may carry it beyond. */
function withinYears(instant: string): string {
  return `CASE WHEN ${instant} BETWEEN ${FIRST_INSTANT} AND ${LAST_INSTANT} THEN ${instant} END`;
}
