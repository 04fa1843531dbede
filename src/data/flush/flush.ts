/**
 * A flush from its freeze on. One that fails is kept and goes on from the stage where it stopped, so that a store that is away for hours neither gets
 * the same rows under many names nor, when only an answer was lost, twice.
 */
import { MS_PER_DAY } from '../../common/clock.js';
import { type FileStatistics, textBoundsOf } from '../../delta/file-statistics.js';
import { type TableSchema, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { BulkFile, Generation } from '../../tables/generation.js';
import { SHARD } from './data-files.js';

/** A file that is encoded, and where it belongs. */
export interface EncodedFile {
  readonly local: string;
  readonly path: string;
  readonly statistics: FileStatistics;
  /** Every row of it is soft-deleted. */
  readonly isSoft: boolean;
  readonly source: number;
  readonly generation: Generation;
}

export interface Flush {
  readonly generations: readonly Generation[];
  readonly lsn: number;
  schema: TableSchema;
  encoded: readonly EncodedFile[] | undefined;
  isUploaded: boolean;
  /** Vectors that its commit gives to files of the table, by path. */
  readonly vectors: Map<string, string>;
}

export function bulkFilesOf({ generations }: Pick<Flush, 'generations'>): BulkFile[] {
  return generations.flatMap((generation) => generation.bulkFiles);
}

/** The day of the rows of a file; of the flush when they are of several. */
export function dayOf(statistics: FileStatistics, nowMs: number): number {
  const bounds = textBoundsOf(statistics.text, TIMESTAMP_COLUMN);
  if (!bounds) return nowMs;
  const [first, last] = [Date.parse(bounds.min), Date.parse(bounds.max)];
  return Math.floor(first / MS_PER_DAY) === Math.floor(last / MS_PER_DAY) ? first : nowMs;
}

/** Where a bulk file goes: it keeps its uuid, and the day of its making, which its name carries, is the one of the flush. */
export function bulkPath({ path, statistics }: BulkFile): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const day = dayOf(statistics, Date.parse(name.slice(0, 10)));
  return `${SHARD}/${new Date(day).toISOString().slice(0, 10)}/part-${name.slice(11)}`;
}
