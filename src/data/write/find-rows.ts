/**
 * Finds the rows of given ids, wherever they are. Files whose statistics say that they cannot hold any of the ids are not opened; the others are
 * read in one scan for all ids together.
 */
import { quoteText } from '../../infra/duckdb/sql-text.js';
import { textBoundsOf } from '../../metadata/delta/file-statistics.js';
import type { DataFile } from '../../metadata/delta/snapshot.js';
import { ID_COLUMN } from '../../metadata/table-schema.js';

/** Up to this many ids go as literals, which prunes row groups; more are joined. */
const LITERAL_IDS_MAX = 200;

/** SQL that holds for rows of these ids. */
export function idCondition(ids: readonly string[]): string {
  if (ids.length <= LITERAL_IDS_MAX) return `${ID_COLUMN} IN (${ids.map(quoteText).join(', ')})`;
  return `${ID_COLUMN} IN (SELECT unnest(from_json(${quoteText(JSON.stringify(ids))}, '["VARCHAR"]')))`;
}

const boundsCache = new WeakMap<DataFile, { readonly min: Buffer; readonly max: Buffer } | null>();

/** @returns a test that is false only for files that surely hold none of the ids */
export function mayHoldIds(ids: readonly string[]): (file: DataFile) => boolean {
  const sorted = ids.map((id) => Buffer.from(id)).sort((a, b) => Buffer.compare(a, b));
  return (file) => {
    const bounds = boundsOf(file);
    if (bounds === null) return true;
    const first = firstNotBelow(sorted, bounds.min);
    return first !== undefined && Buffer.compare(first, bounds.max) <= 0;
  };
}

/** Bounds as UTF-8, because that is how the engine compares text; UTF-16, JavaScript's order, differs beyond the first plane. */
function boundsOf(file: DataFile): { min: Buffer; max: Buffer } | null {
  let bounds = boundsCache.get(file);
  if (bounds === undefined) {
    const texts = textBoundsOf(file.stats, ID_COLUMN);
    bounds = texts ? { min: Buffer.from(texts.min), max: Buffer.from(texts.max) } : null;
    boundsCache.set(file, bounds);
  }
  return bounds;
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
