import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import { type ScratchEngine, openScratchEngine } from '../../../test/support/scratch-engine.js';
import type { DataFile } from '../../delta/snapshot.js';
import { idCondition, mayHoldIds } from './find-rows.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

function fileWith(stats: string | undefined): DataFile {
  return {
    path: 'part.parquet',
    sizeBytes: 1,
    rows: 1,
    stats,
    vector: undefined,
    softVector: undefined,
    lsnBase: undefined,
    times: undefined,
    add: {} as DataFile['add'],
  };
}

function fileBetween(min: string, max: string): DataFile {
  return fileWith(JSON.stringify({ numRecords: 1, minValues: { id: min }, maxValues: { id: max }, nullCount: {} }));
}

/** The order of the engine: by code points. JavaScript's own is by UTF-16, and differs beyond the first plane. */
function compareByCodePoint(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => [...text].map((character) => character.codePointAt(0) ?? 0)) as [number[], number[]];
  for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Text out of few characters, so that ids meet and share beginnings; from all planes, with the ends of each. */
const ids = fc.string({
  unit: fc.constantFrom('a', 'b', '-', '\u007f', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{1F600}', '\u{10FFFF}'),
  maxLength: 4,
});

describe('file that may hold ids', () => {
  it('is found exactly as by comparing each id', () => {
    fc.assert(
      fc.property(fc.array(ids, { maxLength: 12 }), ids, ids, (wanted, one, other) => {
        const [min, max] = [one, other].sort(compareByCodePoint) as [string, string];
        const expected = wanted.some((id) => compareByCodePoint(id, min) >= 0 && compareByCodePoint(id, max) <= 0);
        expect(mayHoldIds(wanted)(fileBetween(min, max))).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  it('is kept when its upper bound was cut and so ends in the highest character', () => {
    const beginning = 'x'.repeat(32);
    const file = fileBetween(beginning, `${beginning}\u{10FFFF}`);
    expect(mayHoldIds([`${beginning}zzz`])(file)).toBe(true);
    expect(mayHoldIds([`${beginning}\u{1F600}`])(file)).toBe(true);
    expect(mayHoldIds([`${'x'.repeat(31)}y`])(file)).toBe(false);
  });

  it('is kept when its bounds are unknown', () => {
    const unknown = [
      undefined,
      '{"numRecords":3,"minValues":{},"maxValues":{},"nullCount":{}}',
      '{"numRecords":3,"minValues":{"id":"a"},"maxValues":{},"nullCount":{}}',
    ];
    for (const stats of unknown) expectThat(mayHoldIds(['zzz'])(fileWith(stats)), stats).toBe(true);
  });

  it('is kept when its statistics have no bounds at all', () => {
    expect(mayHoldIds(['zzz'])(fileWith('{"numRecords":3}'))).toBe(true);
  });

  it('is passed over when nothing is looked for', () => {
    expect(mayHoldIds([])(fileBetween('a', 'z'))).toBe(false);
  });
});

describe('condition on ids', () => {
  let scratch: ScratchEngine;
  beforeAll(async () => {
    scratch = await openScratchEngine();
  });
  afterAll(() => scratch.close());

  const odd = ["it's", '"', '\\', "'); DROP TABLE x; --", '\u{1F600}', '', ' ', 'null', "a','b"];

  it.each([
    ['few ids as literals', odd],
    ['many ids as a list', [...odd, ...Array.from({ length: 300 }, (_value, index) => `id-${index}`)]],
  ])('holds for %s and for no other row', async (_name, wanted) => {
    const rows = [...wanted, 'other', 'ID-1', 'a', "'"].map((id) => ({ id }));
    const found = await scratch.engine.rows(
      `SELECT id FROM (SELECT unnest(from_json($1, '["VARCHAR"]')) AS id) WHERE ${idCondition(wanted)} ORDER BY id`,
      [JSON.stringify(rows.map(({ id }) => id))],
    );
    expect(found.map((row) => row['id']).sort()).toEqual([...wanted].sort());
  });
});
