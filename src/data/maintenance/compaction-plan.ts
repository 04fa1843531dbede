/**
 * Decides which files to merge: a pure function of what the log says. Small files of one span of time (a day; where days have few rows, a month or
 * a year) or of one id become few; files with many deleted rows are purged. What a merge writes belongs to one such span each, so a table that is
 * merged stays as it is. Files are taken from the smallest up, and only as long as the next one is not larger than all before it together, so that a
 * row is rewritten a logarithmic number of times.
 */
import { textBoundsOf } from '../../delta/file-statistics.js';
import type { DataFile } from '../../delta/snapshot.js';
import { TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { TableConfig } from '../../tables/table-config.js';
import { MIXED, SHARD } from '../flush/data-files.js';
import { sharedUnit, unitStart } from './time-unit.js';

export interface CompactionRules {
  readonly targetFileBytes: number;
  readonly filesMin: number;
  readonly deletedShareMax: number;
  readonly layout: TableConfig['layout'];
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
  for (const bucket of bucketsOf(small, rules.layout).values()) {
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

/** Files whose rows a merge would bring into one file: of one id where the layout asks for that, else of one span of time. */
function bucketsOf(files: readonly DataFile[], layout: TableConfig['layout']): Map<string, DataFile[]> {
  const buckets = new Map<string, DataFile[]>();
  for (const file of files) {
    const name = (layout === 'id' ? idOf(file) : undefined) ?? spanOf(file);
    const bucket = buckets.get(name);
    if (bucket) bucket.push(file);
    else buckets.set(name, [file]);
  }
  return buckets;
}

/** The id that all rows of a file have, if its place says so. */
function idOf({ path }: DataFile): string | undefined {
  const folder = path.slice(0, path.indexOf('/'));
  return folder === '' || folder === SHARD || folder === MIXED ? undefined : `id ${folder}`;
}

/** The day of all rows of a file, or the month, or the year. */
function spanOf(file: DataFile): string {
  const bounds = textBoundsOf(file.stats, TIMESTAMP_COLUMN);
  const [first, last] = bounds ? [Date.parse(bounds.min), Date.parse(bounds.max)] : [NaN, NaN];
  const unit = sharedUnit(first, last);
  return unit === undefined ? 'several years' : `${unit} ${unitStart(unit, first)}`;
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
