/**
 * Decides which files to merge: a pure function of what the log says. Small files of one day become few; files that hold several days are sorted
 * into theirs; files with many deleted rows are purged. Files are taken from the smallest up, and only as long as the next one is not larger than
 * all before it together, so that a row is rewritten a logarithmic number of times.
 */
import { MS_PER_DAY } from '../../common/clock.js';
import { textBoundsOf } from '../../metadata/delta/file-statistics.js';
import type { DataFile } from '../../metadata/delta/snapshot.js';
import { TIMESTAMP_COLUMN } from '../../metadata/table-schema.js';

export interface CompactionRules {
  readonly targetFileBytes: number;
  readonly filesMin: number;
  readonly deletedShareMax: number;
  /** Merge and purge wherever there is something to gain (a person asked for it). */
  readonly isForced: boolean;
}

/** Inputs of one merge, so that its sort stays within memory. */
const GROUP_TARGETS_MAX = 2;
const GROUP_FILES_MAX = 1_000;

export function planCompaction(all: Iterable<DataFile>, rules: CompactionRules): DataFile[][] {
  const files = [...all];
  const groups: DataFile[][] = [];
  const taken = new Set<DataFile>();
  const small = files.filter((file) => file.sizeBytes < rules.targetFileBytes * 0.75 && !isAllSoft(file));
  for (const bucket of bucketsByDay(small).values()) {
    const group = takeFromSmallest(bucket, rules);
    if (group.length < (rules.isForced ? 2 : rules.filesMin)) continue;
    groups.push(group);
    for (const file of group) taken.add(file);
  }
  for (const file of files) {
    if (taken.has(file) || isAllSoft(file)) continue;
    const purgeable = (file.vector?.cardinality ?? 0) - (file.softVector?.cardinality ?? 0);
    const isWorthPurging = rules.isForced ? purgeable > 0 : purgeable > file.rows * rules.deletedShareMax;
    if (isWorthPurging || (rules.isForced && (file.softVector?.cardinality ?? 0) > 0)) groups.push([file]);
  }
  return groups;
}

/** A file that holds nothing but rows waiting to be restored; there is nothing to gain from it. */
function isAllSoft(file: DataFile): boolean {
  return (file.softVector?.cardinality ?? 0) === file.rows;
}

function bucketsByDay(files: readonly DataFile[]): Map<number | 'several days', DataFile[]> {
  const buckets = new Map<number | 'several days', DataFile[]>();
  for (const file of files) {
    const day = dayOf(file) ?? 'several days';
    const bucket = buckets.get(day);
    if (bucket) bucket.push(file);
    else buckets.set(day, [file]);
  }
  return buckets;
}

/** The UTC day of all rows of a file, as a number; undefined when there are several or nobody knows. */
function dayOf(file: DataFile): number | undefined {
  const bounds = textBoundsOf(file.stats, TIMESTAMP_COLUMN);
  if (!bounds) return undefined;
  const [first, last] = [Math.floor(Date.parse(bounds.min) / MS_PER_DAY), Math.floor(Date.parse(bounds.max) / MS_PER_DAY)];
  return first === last ? first : undefined;
}

function takeFromSmallest(files: readonly DataFile[], rules: CompactionRules): DataFile[] {
  const group: DataFile[] = [];
  let bytes = 0;
  for (const file of [...files].sort((a, b) => a.sizeBytes - b.sizeBytes)) {
    const isTooLarge = group.length >= rules.filesMin && file.sizeBytes > bytes && !rules.isForced;
    if (isTooLarge || bytes + file.sizeBytes > rules.targetFileBytes * GROUP_TARGETS_MAX || group.length >= GROUP_FILES_MAX) break;
    group.push(file);
    bytes += file.sizeBytes;
  }
  return group;
}
