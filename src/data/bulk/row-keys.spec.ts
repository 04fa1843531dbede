import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { openScratchEngine, type ScratchEngine } from '../../../test/support/scratch-engine.js';
import { defaultTableConfig } from '../../tables/table-config.js';
import { TableSchema } from '../../delta/table-schema.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { canonicalTimestamp, TIMESTAMP_UNITS, type TimestampUnit } from '../write/timestamp.js';
import type { BulkTarget } from './bulk-target.js';
import { DEFAULT_BULK_FIELDS } from './bulk-lines.js';
import { type KeyField, timestampSql } from './row-keys.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

let scratch: ScratchEngine;
beforeAll(async () => {
  scratch = await openScratchEngine();
});
afterAll(() => scratch.close());

/** What the engine makes of times, with `null` for those that take a closer look. */
async function readByEngine(values: readonly string[], kind: KeyField['kind'], timestampUnit?: TimestampUnit): Promise<unknown[]> {
  const target: BulkTarget = {
    config: defaultTableConfig(1, 1),
    schema: TableSchema.initial(),
    fields: DEFAULT_BULK_FIELDS,
    options: { onError: 'abort', timestampUnit },
    nowMs: 0,
    columnsMax: 10,
  };
  const sql = timestampSql({ value: 'v', kind, rows: values.length }, values.length, target) ?? '';
  const listed = values.map((value) => `(${kind === 'text' ? quoteText(value) : `${value}::BIGINT`})`).join(', ');
  const rows = await scratch.engine.rows(
    `SELECT strftime(${sql} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS t FROM (VALUES ${listed}) x(v)`,
  );
  return rows.map(({ t }) => t);
}

describe('times of bulk rows', () => {
  it.each([undefined, ...TIMESTAMP_UNITS])('that are numbers are the same to the engine as to the checks, unit %s', async (unit) => {
    const near = (middle: bigint): fc.Arbitrary<bigint> => fc.bigInt({ min: middle - 3n, max: middle + 3n });
    const edges = [0n, 10n ** 11n, 10n ** 14n, 10n ** 17n, 253_402_300_799_999n, 253_402_300_800n, 62_135_596_800n, 2n ** 63n - 8n];
    const number = fc.oneof(fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }), ...edges.flatMap((edge) => [near(edge), near(-edge)]));
    await fc.assert(
      fc.asyncProperty(fc.array(number, { minLength: 1, maxLength: 200 }), async (numbers) => {
        const texts = numbers.map(String);
        const expected = numbers.map((value) =>
          Number.isSafeInteger(Number(value)) ? canonicalTimestamp(Number(value), unit) : undefined,
        );
        const found = await readByEngine(texts, 'integer', unit);
        for (const [index, text] of texts.entries()) {
          if (!Number.isSafeInteger(Number(text))) continue;
          expect({ text, at: found[index] ?? undefined }).toEqual({ text, at: expected[index] });
        }
      }),
      { numRuns: 30 },
    );
  });

  it('that are texts are the same to the engine as to the checks, or take a closer look', async () => {
    const two = (max: number): fc.Arbitrary<string> => fc.integer({ min: 0, max }).map((part) => String(part).padStart(2, '0'));
    const date = fc
      .tuple(fc.integer({ min: 0, max: 9_999 }), two(13), two(32))
      .map(([year, ...rest]) => [String(year).padStart(4, '0'), ...rest].join('-'));
    const time = fc.tuple(two(25), two(61), two(61)).map((parts) => parts.join(':'));
    const fraction = fc.oneof(
      fc.constant(''),
      fc.integer({ min: 0, max: 999_999_999 }).map((digits) => `.${digits}`),
    );
    const zone = fc.constantFrom('', 'Z', 'z', '+00', '-05', '+0530', '-11:59', '+23:59', '+24:00', ' UTC', ' +01:00');
    const text = fc.oneof(
      date,
      fc.tuple(date, fc.constantFrom('T', ' ', 't'), time, fraction, zone).map((parts) => parts.join('')),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 200 }), async (texts) => {
        const found = await readByEngine(texts, 'text');
        for (const [index, value] of texts.entries())
          if (found[index] !== null) expect({ value, at: found[index] }).toEqual({ value, at: canonicalTimestamp(value) });
      }),
      { numRuns: 30 },
    );
    expect(await readByEngine(['2024-01-01', '2024-01-01 10:00:00', '2024-01-01T10:00:00.5+01:00'], 'text')).not.toContain(null);
  });
});
