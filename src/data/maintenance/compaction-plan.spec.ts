import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { DeletionVectorDescriptor } from '../../delta/action.js';
import type { DataFile } from '../../delta/snapshot.js';
import { type CompactionRules, planCompaction } from './compaction-plan.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const RULES: CompactionRules = { targetFileBytes: 1_000, filesMin: 4, deletedShareMax: 0.1, layout: 'shard', isForced: false };
const FORCED: CompactionRules = { ...RULES, isForced: true };

interface FileOptions {
  readonly sizeBytes?: number;
  readonly rows?: number;
  readonly deleted?: number;
  readonly softDeleted?: number;
  /** First and last day of its rows; none: unknown. */
  readonly days?: readonly [string, string];
}

let files = 0;

/** `deleted` counts the soft-deleted rows in, as a file's vector does. */
function file({
  sizeBytes = 10,
  rows = 100,
  deleted = 0,
  softDeleted = 0,
  days = ['2024-01-01', '2024-01-01'],
}: FileOptions = {}): DataFile {
  const stats = JSON.stringify({
    numRecords: rows,
    minValues: { timestamp: `${days[0]}T00:00:00.000Z` },
    maxValues: { timestamp: `${days[1]}T23:00:00.000Z` },
  });
  return {
    path: `part-${(files += 1)}`,
    sizeBytes,
    rows,
    stats,
    vector: vectorOf(deleted),
    softVector: vectorOf(softDeleted),
    lsnBase: undefined,
    times: undefined,
    add: {} as DataFile['add'],
  };
}

function vectorOf(cardinality: number): DeletionVectorDescriptor | undefined {
  return cardinality === 0 ? undefined : { storageType: 'i', pathOrInlineDv: 'x', sizeInBytes: 1, cardinality };
}

function several(count: number, options: FileOptions = {}): DataFile[] {
  return Array.from({ length: count }, () => file(options));
}

function sorted(group: readonly DataFile[] | undefined): string[] {
  return (group ?? []).map(({ path }) => path).sort();
}

describe('compaction plan', () => {
  it('merges the small files of a day once there are enough', () => {
    const day = several(4);
    expect(planCompaction(day.slice(1), RULES)).toEqual([]);
    expect(planCompaction(day, RULES).map(sorted)).toEqual([sorted(day)]);
  });

  it('keeps days, months and years apart, and puts files of several years and of unknown times together', () => {
    const groups = [
      several(4),
      several(4, { days: ['2024-01-02', '2024-01-02'] }),
      several(4, { days: ['2024-01-01', '2024-01-31'] }),
      several(4, { days: ['2024-02-01', '2024-02-29'] }),
      several(4, { days: ['2024-02-29', '2024-03-01'] }),
      several(4, { days: ['2025-02-01', '2025-03-01'] }),
      [...several(2, { days: ['2024-12-31', '2025-01-01'] }), ...several(2).map((one) => ({ ...one, stats: undefined }))],
    ];
    expect(planCompaction(groups.flat(), RULES).map(sorted).sort()).toEqual(groups.map(sorted).sort());
  });

  it('keeps ids apart where they have folders, and merges what has many by time', () => {
    const placed = (count: number, folder: string): DataFile[] => several(count).map((one) => ({ ...one, path: `${folder}/${one.path}` }));
    const groups = [placed(4, 'a'), placed(4, 'b'), [...placed(2, 'mixed'), ...placed(2, 'shard-0')]];
    const plan = planCompaction([...groups.flat(), ...placed(3, 'c')], { ...RULES, layout: 'id' });
    expect(plan.map(sorted).sort()).toEqual(groups.map(sorted).sort());
    expect(planCompaction(groups.flat(), RULES)).toHaveLength(1);
  });

  it('tells the days before 1970 apart', () => {
    const last = several(4, { days: ['1969-12-31', '1969-12-31'] });
    const next = several(4, { days: ['1970-01-01', '1970-01-01'] });
    expect(planCompaction([...last, ...next], RULES).map(sorted)).toEqual([last, next].map(sorted));
  });

  it('leaves large files alone', () => {
    expect(planCompaction(several(10, { sizeBytes: 750 }), RULES)).toEqual([]);
    expect(planCompaction(several(10, { sizeBytes: 750 }), FORCED)).toEqual([]);
  });

  it('takes no file that is larger than all before it together, unless it is forced', () => {
    const small = several(4, { sizeBytes: 10 });
    const large = file({ sizeBytes: 500 });
    expect(planCompaction([large, ...small], RULES).map(sorted)).toEqual([sorted(small)]);
    expect(planCompaction([large, ...small], FORCED).map(sorted)).toEqual([sorted([large, ...small])]);
  });

  it('merges no more than twice the target at once', () => {
    for (const group of planCompaction(several(30, { sizeBytes: 300 }), RULES)) {
      expect(group.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)).toBeLessThanOrEqual(2_000);
    }
  });

  it('needs two files to merge when it is forced', () => {
    expect(planCompaction(several(1), FORCED)).toEqual([]);
    expect(planCompaction(several(2), FORCED)).toHaveLength(1);
  });

  it('purges a file whose share of deleted rows is above the limit', () => {
    const kept = file({ sizeBytes: 900, deleted: 10 });
    const purged = file({ sizeBytes: 900, deleted: 11 });
    expect(planCompaction([kept, purged], RULES)).toEqual([[purged]]);
  });

  it('purges every file with deleted rows when it is forced', () => {
    const purged = file({ sizeBytes: 900, deleted: 1 });
    expect(planCompaction([file({ sizeBytes: 900 }), purged], FORCED)).toEqual([[purged]]);
  });

  it('does not count rows that wait for their restore', () => {
    expect(planCompaction([file({ sizeBytes: 900, deleted: 50, softDeleted: 45 })], RULES)).toEqual([]);
    expect(planCompaction([file({ sizeBytes: 900, deleted: 60, softDeleted: 45 })], RULES)).toHaveLength(1);
  });

  it('leaves alone a file of nothing but rows that wait for their restore', () => {
    const waiting = several(5, { rows: 20, deleted: 20, softDeleted: 20 });
    expect(planCompaction(waiting, RULES)).toEqual([]);
    expect(planCompaction(waiting, FORCED)).toEqual([]);
  });

  it('merges a file or purges it, not both', () => {
    const day = several(4, { deleted: 50 });
    expect(planCompaction(day, RULES).map(sorted)).toEqual([sorted(day)]);
  });

  it('is the same for files that can be gone through only once, as those of a snapshot', () => {
    const purged = file({ sizeBytes: 900, deleted: 50 });
    const snapshot = new Map([purged, ...several(4)].map((one) => [one.path, one]));
    expect(planCompaction(snapshot.values(), RULES).map(sorted)).toEqual(planCompaction([...snapshot.values()], RULES).map(sorted));
  });

  it('takes each file at most once, whatever there is', () => {
    const options = fc.record({
      sizeBytes: fc.integer({ min: 1, max: 1_200 }),
      rows: fc.integer({ min: 1, max: 50 }),
      deleted: fc.integer({ min: 0, max: 50 }),
      softDeleted: fc.integer({ min: 0, max: 50 }),
      days: fc.constantFrom(['2024-01-01', '2024-01-01'], ['2024-01-02', '2024-01-02'], ['2024-01-01', '2024-01-02']),
    });
    fc.assert(
      fc.property(fc.array(options, { maxLength: 30 }), fc.boolean(), (all, isForced) => {
        const given = all.map(({ rows, deleted, softDeleted, ...rest }) => {
          const hidden = Math.min(deleted, rows);
          return file({ ...rest, rows, deleted: hidden, softDeleted: Math.min(softDeleted, hidden) });
        });
        const planned = planCompaction(given, { ...RULES, isForced }).flat();
        expect(new Set(planned).size).toBe(planned.length);
        expect(planned.every((one) => given.includes(one))).toBe(true);
      }),
    );
  });

  it('comes to an end: merging again and again leaves nothing to do', () => {
    let live = several(100, { sizeBytes: 7 });
    for (let round = 0; round < 20; round += 1) {
      const plan = planCompaction(live, RULES);
      if (plan.length === 0) return;
      const merged = plan.map((group) => file({ sizeBytes: group.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0), rows: 100 }));
      live = [...live.filter((one) => !plan.flat().includes(one)), ...merged];
    }
    throw new Error('there was still something to merge after twenty rounds');
  });
});
