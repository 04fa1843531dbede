/**
 * Finds the rows of given ids, wherever they are. Files whose statistics say that they cannot hold any of the ids are not opened; the others are
 * read in one scan for all ids together.
 */
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { boundsOf } from '../../delta/file-bounds.js';
import type { DataFile } from '../../delta/snapshot.js';
import { ID_COLUMN } from '../../delta/table-schema.js';

/** Up to this many ids go as literals, which prunes row groups; more are joined. */
const LITERAL_IDS_MAX = 200;

/** SQL that holds for rows of these ids. */
export function idCondition(ids: readonly string[]): string {
  if (ids.length <= LITERAL_IDS_MAX) return `${ID_COLUMN} IN (${ids.map(quoteText).join(', ')})`;
  return `${ID_COLUMN} IN (SELECT unnest(from_json(${quoteText(JSON.stringify(ids))}, '["VARCHAR"]')))`;
}

/** @returns a test that is false only for files that surely hold none of the ids */
export function mayHoldIds(ids: readonly string[]): (file: DataFile) => boolean {
  const sorted = ids.map((id) => Buffer.from(id)).sort((a, b) => Buffer.compare(a, b));
  return (file) => {
    const bounds = boundsOf(file, ID_COLUMN).utf8;
    if (!bounds) return true;
    const first = firstNotBelow(sorted, bounds.min);
    return first !== undefined && Buffer.compare(first, bounds.max) <= 0;
  };
}

function firstNotBelow(sorted: readonly Buffer[], bound: Buffer): Buffer | undefined {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const candidate = sorted[middle];
    if (candidate && Buffer.compare(candidate, bound) < 0) low = middle + 1;
    else high = middle;
  }
  return sorted[low];
}
