/**
 * Statistics of a data file, from what the engine says of a file it has just written (COPY ... RETURN_STATS) or read to the JSON of the log, and back
 * as bounds for pruning. Numbers go as text from end to end: `JSON.parse` would round 64-bit integers.
 * Source: "Per-file Statistics" of the Delta protocol. Bounds may be wider than the truth, never narrower.
 */
import type { DuckDBMapValue, DuckDBValue } from '@duckdb/node-api';
import { asNumber, type Row } from '../engine/duckdb/engine.js';
import { type Column, type TableSchema, TIMESTAMP_COLUMN } from './table-schema.js';

/** Code points of a text bound that are kept; longer ones are cut, the upper one rounded up. */
const TEXT_BOUND_LENGTH_MAX = 32;
/** A time as the engine writes it. */
const ENGINE_TIME = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00$/;
/** Of `2024-01-01T00:00:00.000Z`. */
const ISO_LENGTH = 24;
const HIGHEST_CODE_POINT = '\u{10FFFF}';

export interface FileStatistics {
  readonly rows: number;
  readonly sizeBytes: number;
  /** `stats` of the add action. */
  readonly text: string;
  /** First and last time of its rows in microseconds since 1970, which the log's own bounds round; absent for a time that the engine writes otherwise. */
  readonly times?: TimeBounds;
}

/** Microseconds since 1970, as text: a JSON number would not hold them in every reader. */
export interface TimeBounds {
  readonly first: string;
  readonly last: string;
}

/** What is known of a column of a file, as text of the engine. */
export interface ColumnMeasure {
  readonly min: string | undefined;
  readonly max: string | undefined;
  readonly nullCount: string | undefined;
  readonly hasNan: boolean;
}

export interface FileMeasure {
  readonly rows: number;
  readonly sizeBytes: number;
  /** By name of the column. */
  readonly columns: ReadonlyMap<string, ColumnMeasure>;
}

/** @param row the one row of COPY ... RETURN_STATS for this file */
export function measureOfCopy(row: Row): FileMeasure {
  const columns = [...mapOf(row['column_statistics'])].map(([quoted, value]): [string, ColumnMeasure] => {
    const statistics = mapOf(value);
    const text = (name: string): string | undefined => {
      const found = statistics.get(name);
      return typeof found === 'string' ? found : undefined;
    };
    const measure = { min: text('min'), max: text('max'), nullCount: text('null_count'), hasNan: text('has_nan') === 'true' };
    return [quoted.slice(1, -1), measure];
  });
  return { rows: asNumber(row['count']), sizeBytes: asNumber(row['file_size_bytes']), columns: new Map(columns) };
}

export function fileStatistics({ rows, sizeBytes, columns }: FileMeasure, schema: TableSchema): FileStatistics {
  const lower: string[] = [];
  const upper: string[] = [];
  const nulls: string[] = [];
  for (const column of schema.columns) {
    const measure = columns.get(column.name);
    if (!measure) continue;
    if (measure.nullCount !== undefined) nulls.push(`${JSON.stringify(column.name)}:${measure.nullCount}`);
    if (measure.hasNan) continue;
    const min = boundText(column, measure.min, 'lower');
    const max = boundText(column, measure.max, 'upper');
    if (min !== undefined) lower.push(`${JSON.stringify(column.name)}:${min}`);
    if (max !== undefined) upper.push(`${JSON.stringify(column.name)}:${max}`);
  }
  const text = `{"numRecords":${rows},"tightBounds":true,"minValues":{${lower.join()}},"maxValues":{${upper.join()}},"nullCount":{${nulls.join()}}}`;
  const times = timeBounds(columns.get(TIMESTAMP_COLUMN));
  return { rows, sizeBytes, text, ...(times ? { times } : {}) };
}

function timeBounds(measure: ColumnMeasure | undefined): TimeBounds | undefined {
  const [first, last] = [microsOf(measure?.min), microsOf(measure?.max)];
  return first === undefined || last === undefined ? undefined : { first: String(first), last: String(last) };
}

function microsOf(value: string | undefined): bigint | undefined {
  const match = value === undefined ? undefined : ENGINE_TIME.exec(value);
  if (!match) return undefined;
  return BigInt(Date.parse(`${match[1]}T${match[2]}Z`)) * 1_000n + BigInt((match[3] ?? '').padEnd(6, '0'));
}

function mapOf(value: DuckDBValue | undefined): Map<string, DuckDBValue> {
  const entries = (value as DuckDBMapValue | undefined)?.entries ?? [];
  return new Map(entries.map((entry) => [String(entry.key), entry.value]));
}

/** A bound as JSON text, or undefined when there is none that a reader may trust. */
function boundText(column: Column, value: string | undefined, side: 'lower' | 'upper'): string | undefined {
  if (value === undefined) return undefined;
  if (column.type === 'BIGINT' || column.type === 'INTEGER' || column.type.startsWith('DECIMAL')) return value;
  if (column.type === 'DOUBLE') return doubleBound(value, side);
  if (column.type === 'TIMESTAMPTZ') return timestampBound(value, side);
  if (column.type === 'DATE') return /^\d{4}-\d\d-\d\d$/.test(value) ? JSON.stringify(value) : undefined;
  if (column.type === 'VARCHAR') return textBound(value, side);
  return undefined;
}

function doubleBound(value: string, side: 'lower' | 'upper'): string | undefined {
  const number = Number(value);
  if (!Number.isFinite(number)) return undefined;
  // Zero has two signs and readers disagree on their order.
  return number === 0 ? (side === 'lower' ? '-0.0' : '0.0') : value;
}

/** Milliseconds: the lower bound rounds down, the upper one up. */
function timestampBound(value: string, side: 'lower' | 'upper'): string | undefined {
  const match = ENGINE_TIME.exec(value);
  if (!match) return undefined;
  const micros = Number((match[3] ?? '').padEnd(6, '0'));
  const seconds = Date.parse(`${match[1]}T${match[2]}Z`);
  const ms = side === 'lower' ? Math.floor(micros / 1_000) : Math.ceil(micros / 1_000);
  const text = new Date(seconds + ms).toISOString();
  // Rounded up beyond the year 9999, it would have a form that readers need not know.
  return text.length === ISO_LENGTH ? JSON.stringify(text) : undefined;
}

function textBound(value: string, side: 'lower' | 'upper'): string | undefined {
  const points = [...value];
  if (points.length <= TEXT_BOUND_LENGTH_MAX) return JSON.stringify(value);
  // Nothing is above the highest code point, so then there is no upper bound that is shorter than the text.
  if (side === 'upper' && value.includes(HIGHEST_CODE_POINT)) return undefined;
  const cut = points.slice(0, TEXT_BOUND_LENGTH_MAX).join('');
  return JSON.stringify(side === 'lower' ? cut : cut + HIGHEST_CODE_POINT);
}

/** Number of columns that a file holds as far as its statistics say; a column of theirs is in the file for sure. */
export function storedColumns(stats: string | undefined): number {
  if (stats === undefined) return 0;
  const { nullCount = {} } = JSON.parse(stats) as { nullCount?: Record<string, unknown> };
  return Object.keys(nullCount).length;
}

export interface TextBounds {
  readonly min: string;
  readonly max: string;
}

/** Bounds of a text or time column as the log has them, or undefined when they are unknown. */
export function textBoundsOf(stats: string | undefined, column: string): TextBounds | undefined {
  if (stats === undefined) return undefined;
  const { minValues = {}, maxValues = {} } = JSON.parse(stats) as {
    minValues?: Record<string, unknown>;
    maxValues?: Record<string, unknown>;
  };
  const [min, max] = [minValues[column], maxValues[column]];
  return typeof min === 'string' && typeof max === 'string' ? { min, max } : undefined;
}
