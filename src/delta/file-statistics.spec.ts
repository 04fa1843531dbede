import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../test/support/expectations.js';
import { type ScratchEngine, openScratchEngine } from '../../test/support/scratch-engine.js';
import type { Row } from '../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../engine/duckdb/sql-text.js';
import { type ColumnType, TableSchema } from './table-schema.js';
import { type FileStatistics, fileStatistics, measureOfCopy, textBoundsOf } from './file-statistics.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const HIGHEST = '\u{10FFFF}';

let scratch: ScratchEngine;
beforeAll(async () => {
  scratch = await openScratchEngine();
});
afterAll(() => scratch.close());

/** Statistics of a file with one column of these values, as the engine writes and reports it. @param values SQL of each value */
async function statisticsOf(type: ColumnType, values: readonly string[], name = 'v'): Promise<FileStatistics> {
  const file = path.join(scratch.directory, 'part.parquet');
  const list = values.map((value) => `(${value}::${type})`).join(', ');
  const [row] = await scratch.engine.rows(
    `COPY (SELECT v AS ${quoteName(name)} FROM (VALUES ${list}) t(v)) TO ${quoteText(file)} (FORMAT parquet, RETURN_STATS)`,
  );
  return fileStatistics(measureOfCopy(row as Row), TableSchema.initial().with(name, type));
}

/** The JSON text of a column's bounds in the log; text, because that is what readers parse. */
async function boundsOf(
  type: ColumnType,
  values: readonly string[],
): Promise<{ min: string | undefined; max: string | undefined; nulls: string | undefined }> {
  const { text } = await statisticsOf(type, values);
  const part = (group: string): string | undefined => new RegExp(`"${group}":\\{"v":("(?:[^"\\\\]|\\\\.)*"|[^,}]+)\\}`).exec(text)?.[1];
  return { min: part('minValues'), max: part('maxValues'), nulls: part('nullCount') };
}

describe('statistics of a data file', () => {
  it('say how many rows and bytes it has, in the words of the Delta protocol', async () => {
    const { rows, sizeBytes, text } = await statisticsOf('BIGINT', ['1', 'NULL', '3']);
    expect(rows).toBe(3);
    expect(sizeBytes).toBeGreaterThan(100);
    expect(JSON.parse(text)).toEqual({ numRecords: 3, tightBounds: true, minValues: { v: 1 }, maxValues: { v: 3 }, nullCount: { v: 1 } });
  });

  it('keep every digit of 64-bit integers and decimals', async () => {
    expect(await boundsOf('BIGINT', ["'-9223372036854775808'", '9223372036854775807'])).toMatchObject({
      min: '-9223372036854775808',
      max: '9223372036854775807',
    });
    expect(await boundsOf('DECIMAL(38,10)', ["'-1234567890123456789012345678.0123456789'", "'0.1'"])).toMatchObject({
      min: '-1234567890123456789012345678.0123456789',
    });
    expect(await boundsOf('INTEGER', ['-5', '7'])).toMatchObject({ min: '-5', max: '7' });
  });

  it('have no bounds for a column without values', async () => {
    expect(await boundsOf('BIGINT', ['NULL', 'NULL'])).toEqual({ min: undefined, max: undefined, nulls: '2' });
  });

  it('name columns as they are, whatever characters they have', async () => {
    for (const name of ['größe', "it's", 'a.b', 'a\\b', '\u{1F600}', 'order']) {
      const { text } = await statisticsOf('BIGINT', ['1', '2'], name);
      expectThat(JSON.parse(text), name).toMatchObject({ minValues: { [name]: 1 }, maxValues: { [name]: 2 } });
    }
  });
});

describe('bounds of instants', () => {
  it.each([
    ['2024-01-01 10:00:00+00', '2024-01-01T10:00:00.000Z', '2024-01-01T10:00:00.000Z'],
    ['2024-01-01 10:00:00.123+00', '2024-01-01T10:00:00.123Z', '2024-01-01T10:00:00.123Z'],
    ['2024-01-01 10:00:00.123456+00', '2024-01-01T10:00:00.123Z', '2024-01-01T10:00:00.124Z'],
    ['2024-01-01 10:00:00.999999+00', '2024-01-01T10:00:00.999Z', '2024-01-01T10:00:01.000Z'],
    ['1969-12-31 23:59:59.999999+00', '1969-12-31T23:59:59.999Z', '1970-01-01T00:00:00.000Z'],
    ['1969-12-31 23:59:59.000001+00', '1969-12-31T23:59:59.000Z', '1969-12-31T23:59:59.001Z'],
    ['0001-01-01 00:00:00.000001+00', '0001-01-01T00:00:00.000Z', '0001-01-01T00:00:00.001Z'],
  ])('of %s are rounded outwards to milliseconds', async (instant, min, max) => {
    expect(await boundsOf('TIMESTAMPTZ', [quoteText(instant)])).toMatchObject({ min: `"${min}"`, max: `"${max}"` });
  });

  it('are unknown rather than beyond the year 9999, which no reader could parse', async () => {
    const { max } = await boundsOf('TIMESTAMPTZ', ["'9999-12-31 23:59:59.999999+00'"]);
    if (max !== undefined) expect(max).toMatch(/^"\d{4}-/);
  });

  it('are unknown when there is an infinite one', async () => {
    expect(await boundsOf('TIMESTAMPTZ', ["'infinity'", "'-infinity'"])).toMatchObject({ min: undefined, max: undefined });
  });

  it('hold every instant between them', async () => {
    const micros = fc.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_000_000n });
    await fc.assert(
      fc.asyncProperty(fc.array(micros, { minLength: 1, maxLength: 5 }), async (instants) => {
        const { min = '', max = '' } = await boundsOf(
          'TIMESTAMPTZ',
          instants.map((instant) => `make_timestamptz(${instant})`),
        );
        const [low, high] = [min, max].map((bound) => BigInt(Date.parse(JSON.parse(bound) as string)) * 1_000n) as [bigint, bigint];
        for (const instant of instants) expectThat(low <= instant && instant <= high, `${instant} in ${min} to ${max}`).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});

describe('bounds of doubles', () => {
  it('are there for plain numbers', async () => {
    expect(await boundsOf('DOUBLE', ['-1.5', '2.25'])).toMatchObject({ min: '-1.5', max: '2.25' });
  });

  it('include both signs of zero', async () => {
    expect(await boundsOf('DOUBLE', ["'-0.0'"])).toMatchObject({ min: '-0.0', max: '0.0' });
    expect(await boundsOf('DOUBLE', ['0.0', '5'])).toMatchObject({ min: '-0.0' });
    expect(await boundsOf('DOUBLE', ['-5', "'-0.0'"])).toMatchObject({ max: '0.0' });
  });

  it('are unknown as soon as there is a NaN', async () => {
    expect(await boundsOf('DOUBLE', ['1', "'nan'", '3'])).toMatchObject({ min: undefined, max: undefined });
    expect(await boundsOf('DOUBLE', ["'nan'"])).toMatchObject({ min: undefined, max: undefined });
  });

  it('are unknown on the side of an infinity', async () => {
    expect(await boundsOf('DOUBLE', ['1', "'inf'"])).toMatchObject({ min: expect.stringMatching(/^1(\.0)?$/), max: undefined });
    expect(await boundsOf('DOUBLE', ["'-inf'", '1'])).toMatchObject({ min: undefined });
  });

  it('hold every number between them, and are JSON', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 5 }), async (doubles) => {
        const { min = '', max = '' } = await boundsOf(
          'DOUBLE',
          doubles.map((double) => `'${Object.is(double, -0) ? '-0.0' : double}'`),
        );
        const [low, high] = [JSON.parse(min), JSON.parse(max)] as [number, number];
        for (const double of doubles) expectThat(low <= double && double <= high, `${double} in ${min} to ${max}`).toBe(true);
      }),
      { numRuns: 40 },
    );
  });
});

describe('bounds of text', () => {
  it('are the text itself up to 32 characters, counted as a person does', async () => {
    const text = '\u{1F600}'.repeat(32);
    expect(await boundsOf('VARCHAR', [quoteText(text)])).toMatchObject({ min: `"${text}"`, max: `"${text}"` });
  });

  it('are cut beyond that, the upper one rounded up', async () => {
    const text = 'x'.repeat(33);
    expect(await boundsOf('VARCHAR', [quoteText(text)])).toMatchObject({
      min: `"${'x'.repeat(32)}"`,
      max: `"${'x'.repeat(32)}${HIGHEST}"`,
    });
  });

  it('are JSON, whatever stands in the text', async () => {
    const { min } = await boundsOf('VARCHAR', [quoteText('a"b\\c\nd')]);
    expect(JSON.parse(min ?? '')).toBe('a"b\\c\nd');
  });

  it('are not below a text that has the highest character after the cut', async () => {
    const text = `${'x'.repeat(32)}${HIGHEST}y`;
    const { max } = await boundsOf('VARCHAR', [quoteText(text)]);
    if (max !== undefined) expect(Buffer.compare(Buffer.from(JSON.parse(max) as string), Buffer.from(text))).toBeGreaterThanOrEqual(0);
  });

  it('hold every text between them, in the order of the engine', async () => {
    const texts = fc.array(fc.string({ unit: fc.constantFrom('a', 'é', '\uffff', '\u{10000}', '\u{1F600}'), maxLength: 40 }), {
      minLength: 1,
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(texts, async (values) => {
        const { min = '', max = '' } = await boundsOf('VARCHAR', values.map(quoteText));
        const [low, high] = [min, max].map((bound) => Buffer.from(JSON.parse(bound) as string)) as [Buffer, Buffer];
        for (const value of values) {
          const bytes = Buffer.from(value);
          expectThat(Buffer.compare(low, bytes) <= 0 && Buffer.compare(bytes, high) <= 0, JSON.stringify([value, min, max])).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('bounds of the other types', () => {
  it('are there for days, and not for booleans', async () => {
    expect(await boundsOf('DATE', ["'2024-02-29'", "'1969-12-31'"])).toMatchObject({ min: '"1969-12-31"', max: '"2024-02-29"' });
    expect(await boundsOf('BOOLEAN', ['true', 'false'])).toMatchObject({ min: undefined, max: undefined });
  });

  it('are read back from the log only when both are there', () => {
    expect(textBoundsOf('{"minValues":{"id":"a"},"maxValues":{"id":"b"}}', 'id')).toEqual({ min: 'a', max: 'b' });
    for (const stats of [
      undefined,
      '{"minValues":{"id":"a"},"maxValues":{}}',
      '{"minValues":{},"maxValues":{"id":"b"}}',
      '{"minValues":{"id":1},"maxValues":{"id":2}}',
    ]) {
      expectThat(textBoundsOf(stats, 'id'), stats).toBeUndefined();
    }
  });
});
