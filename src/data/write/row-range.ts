/** A part of a table by id and time: what a recovery reads from a backup, and what it replaces in the table. */
import { globExpression } from '../../common/glob.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import type { DataFile } from '../../delta/snapshot.js';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { idCondition, mayHoldIds } from './find-rows.js';

/** All that is given must hold; nothing given is the whole table. */
export interface RowRange {
  readonly ids?: readonly string[];
  /** A glob: * ? [ab] [a-z]. */
  readonly idPattern?: string;
  /** Microseconds since 1970 as decimal text; the first instant that is in. */
  readonly fromMicros?: string;
  /** The first instant that is not in any more. */
  readonly toMicros?: string;
}

/** SQL that holds for the rows of a range; empty for the whole table. */
export function rangeCondition({ ids, idPattern, fromMicros, toMicros }: RowRange): string {
  return [
    ...(ids ? [idCondition(ids)] : []),
    ...(idPattern === undefined ? [] : [globCondition(idPattern)]),
    ...(fromMicros === undefined ? [] : [`"${TIMESTAMP_COLUMN}" >= make_timestamptz(${BigInt(fromMicros)})`]),
    ...(toMicros === undefined ? [] : [`"${TIMESTAMP_COLUMN}" < make_timestamptz(${BigInt(toMicros)})`]),
  ].join(' AND ');
}

/** The engine's own GLOB tries one way after the other; its regular expressions do not. */
function globCondition(glob: string): string {
  // Braces and parentheses may stand in ids.
  return `regexp_full_match(${ID_COLUMN}, ${quoteText(globExpression(glob, false))}, 's')`;
}

/** @returns a test that is false only for files that surely hold no row of the range */
export function mayHoldRange({ ids, fromMicros, toMicros }: RowRange): (file: DataFile) => boolean {
  const mayHoldId = ids ? mayHoldIds(ids) : (): boolean => true;
  return (file) => {
    if (!mayHoldId(file)) return false;
    if (!file.times) return true;
    if (fromMicros !== undefined && BigInt(file.times.last) < BigInt(fromMicros)) return false;
    return toMicros === undefined || BigInt(file.times.first) < BigInt(toMicros);
  };
}
