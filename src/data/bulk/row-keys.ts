/** SQL of the id and the time of bulk rows that the engine reads in one go. */
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { fromMs, MICROSECONDS_BELOW, MILLISECONDS_BELOW, SECONDS_BELOW, type TimestampUnit } from '../write/timestamp.js';
import type { BulkTarget } from './bulk-target.js';

/** The commonest of the texts that `canonicalTimestamp` takes, as a pattern of the engine, which reads a text without a zone as UTC. */
export const TIMESTAMP_PATTERN = quoteText(
  '\\d{4}-\\d\\d-\\d\\d([T ]([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)?)?',
);

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
export function idSql({ value, kind, rows }: KeyField, rowsInAll: number, { config, options }: BulkTarget): string | undefined {
  if (rows > 0 && kind !== 'text' && kind !== 'integer') return undefined;
  if (rows === rowsInAll) return kind === 'integer' ? `${value}::VARCHAR` : value;
  const { id_prefix: prefix, auto_generate_id: isAutomatic } = config;
  const strategy = options.idStrategy ?? config.id_strategy;
  if (rows > 0 || strategy === 'snowflake' || (strategy === 'user_provided' && (options.idStrategy !== undefined || !isAutomatic)))
    return undefined;
  return strategy === 'custom' ? `${quoteText(prefix)} || uuid()::VARCHAR` : 'uuid()::VARCHAR';
}

/** SQL of a row's time, which is NULL for a text that is no RFC 3339; or undefined when it takes a closer look. */
export function timestampSql({ value, kind, rows }: KeyField, rowsInAll: number, { nowMs, options }: BulkTarget): string | undefined {
  const now = `TIMESTAMPTZ ${quoteText(fromMs(nowMs) ?? '')}`;
  if (rows === 0) return now;
  const instant = instantSql(value, kind, options.timestampUnit);
  if (instant === undefined || rows === rowsInAll) return instant;
  return `CASE WHEN ${value} IS NULL THEN ${now} ELSE ${instant} END`;
}

/** SQL of an instant out of a value of this kind. */
function instantSql(value: string, kind: KeyField['kind'], unit: TimestampUnit | undefined): string | undefined {
  switch (kind) {
    case 'text':
      return withinYears(`CASE WHEN regexp_full_match(${value}, ${TIMESTAMP_PATTERN}) THEN try_cast(${value} AS TIMESTAMPTZ) END`);
    case 'integer':
      return withinYears(`make_timestamptz(${microsSql(`try_cast(${value} AS BIGINT)`, unit)})`);
    case 'instant':
    case 'date':
      return `CASE WHEN isfinite(${value}) THEN ${value}::TIMESTAMPTZ END`;
    case 'other':
      return undefined;
  }
}

/** SQL of microseconds since 1970; see `canonicalTimestamp` for what the size of a number says. */
function microsSql(value: string, unit: TimestampUnit | undefined): string {
  switch (unit) {
    case 's':
      return `CASE WHEN ${isBelow(value, SECONDS_BELOW * 10)} THEN ${value} * 1000000 END`;
    case 'ms':
      return `CASE WHEN ${isBelow(value, MILLISECONDS_BELOW * 10)} THEN ${value} * 1000 END`;
    case 'us':
      return value;
    case 'ns':
      return floorToMicros(value);
    case undefined: {
      const sizes: [number | bigint, string][] = [
        [SECONDS_BELOW, microsSql(value, 's')],
        [MILLISECONDS_BELOW, microsSql(value, 'ms')],
        [MICROSECONDS_BELOW, microsSql(value, 'us')],
      ];
      const below = sizes.map(([bound, sql]) => `WHEN ${isBelow(value, bound)} THEN ${sql}`);
      return `CASE ${below.join(' ')} ELSE ${microsSql(value, 'ns')} END`;
    }
  }
}

/** SQL of nanoseconds in microseconds, cut towards the past, before 1970 as after it. */
export function floorToMicros(nanoseconds: string): string {
  return `(${nanoseconds} // 1000 - CASE WHEN ${nanoseconds} % 1000 < 0 THEN 1 ELSE 0 END)`;
}

/** Condition of a number less far from 0 than a bound. The least of all has no absolute value. */
function isBelow(value: string, bound: number | bigint): string {
  return `${value} > -${bound} AND ${value} < ${bound}`;
}

/** SQL of an instant in the years that RFC 3339 can write, NULL for any other: a zone may carry it beyond. */
function withinYears(instant: string): string {
  return `CASE WHEN ${instant} BETWEEN ${FIRST_INSTANT} AND ${LAST_INSTANT} THEN ${instant} END`;
}
