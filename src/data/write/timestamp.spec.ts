import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { LosslessNumber, parseJson } from '../../common/json.js';
import { canonicalTimestamp, fromMs } from './timestamp.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const MS_MIN = Date.parse('0001-01-01T00:00:00Z');
const MS_MAX = Date.parse('9999-12-31T23:59:59.999Z');

describe('instant in text', () => {
  it.each([
    ['2024-01-01T10:00:00Z', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01t10:00:00z', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01 10:00:00Z', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01T10:00:00.5Z', '2024-01-01T10:00:00.500000Z'],
    ['2024-01-01T10:00:00.123456Z', '2024-01-01T10:00:00.123456Z'],
    ['2024-01-01T10:00:00.123456789Z', '2024-01-01T10:00:00.123456Z'],
    ['2024-01-01T10:00:00+08:00', '2024-01-01T02:00:00.000000Z'],
    ['2024-01-01T00:30:00.000001+01:00', '2023-12-31T23:30:00.000001Z'],
    ['2024-12-31T23:30:00-01:00', '2025-01-01T00:30:00.000000Z'],
    ['2024-01-01T10:00:00-00:00', '2024-01-01T10:00:00.000000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000000Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000000Z'],
    ['1969-12-31T23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000000Z'],
    ['0004-02-29T12:00:00Z', '0004-02-29T12:00:00.000000Z'],
    ['9999-12-31T23:59:59.999999Z', '9999-12-31T23:59:59.999999Z'],
    ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.999999Z'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalTimestamp(text)).toBe(canonical);
  });

  it.each([
    ['no zone', '2024-01-01T10:00:00'],
    ['no time', '2024-01-01'],
    ['no seconds', '2024-01-01T10:00Z'],
    ['zone without a colon', '2024-01-01T10:00:00+0100'],
    ['zone by name', '2024-01-01T10:00:00 UTC'],
    ['a month that is not', '2024-13-01T10:00:00Z'],
    ['month zero', '2024-00-01T10:00:00Z'],
    ['a day that is not', '2023-02-29T10:00:00Z'],
    ['29 February of 1900', '1900-02-29T10:00:00Z'],
    ['hour 24', '2024-01-01T24:00:00Z'],
    ['minute 60', '2024-01-01T10:60:00Z'],
    ['second 61', '2024-01-01T10:00:61Z'],
    ['zone hour 24', '2024-01-01T10:00:00+24:00'],
    ['zone minute 60', '2024-01-01T10:00:00+00:60'],
    ['before year 1', '0001-01-01T00:00:00+01:00'],
    ['after year 9999', '9999-12-31T23:59:59-01:00'],
    ['year 0', '0000-06-01T00:00:00Z'],
    ['an empty fraction', '2024-01-01T10:00:00.Z'],
    ['spaces around', ' 2024-01-01T10:00:00Z '],
    ['a line after it', '2024-01-01T10:00:00Z\n'],
    ['other digits', '２０２４-01-01T10:00:00Z'],
    ['nothing', ''],
  ])('is refused with %s', (_reason, text) => {
    expect(canonicalTimestamp(text)).toBeUndefined();
  });

  it('is the same instant in every zone, to the microsecond', () => {
    const minutes = fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 });
    fc.assert(
      fc.property(
        fc.integer({ min: MS_MIN + 86_400_000, max: MS_MAX - 86_400_000 }),
        fc.integer({ min: 0, max: 999 }),
        minutes,
        (ms, micros, zone) => {
          const local = new Date(ms + zone * 60_000).toISOString().slice(0, -1);
          const sign = zone < 0 ? '-' : '+';
          const [hours, rest] = [Math.floor(Math.abs(zone) / 60), Math.abs(zone) % 60].map((part) => String(part).padStart(2, '0'));
          const microsText = String(micros).padStart(3, '0');
          expect(canonicalTimestamp(`${local}${microsText}${sign}${hours}:${rest}`)).toBe(
            `${new Date(ms).toISOString().slice(0, -1)}${microsText}Z`,
          );
        },
      ),
    );
  });

  it('gives itself back once it is canonical', () => {
    fc.assert(
      fc.property(fc.integer({ min: MS_MIN, max: MS_MAX }), (ms) => {
        const canonical = fromMs(ms);
        expect(canonicalTimestamp(canonical)).toBe(canonical);
      }),
    );
  });
});

describe('instant in milliseconds', () => {
  it.each([
    [0, '1970-01-01T00:00:00.000000Z'],
    [-1, '1969-12-31T23:59:59.999000Z'],
    [1_704_103_200_123, '2024-01-01T10:00:00.123000Z'],
    [MS_MIN, '0001-01-01T00:00:00.000000Z'],
    [MS_MAX, '9999-12-31T23:59:59.999000Z'],
  ])('%d is %s', (ms, canonical) => {
    expect(canonicalTimestamp(ms)).toBe(canonical);
    expect(canonicalTimestamp(new LosslessNumber(String(ms)))).toBe(canonical);
    expect(canonicalTimestamp(new Date(ms))).toBe(canonical);
  });

  it.each([
    '1704103200123.5',
    '1704103200123.0',
    '1.7e12',
    '253402300800000',
    '-62135596800001',
    '99999999999999999999',
    '-99999999999999999999',
  ])('%s in a request is refused', (text) => {
    expect(canonicalTimestamp((parseJson(`{"t":${text}}`, 'it') as { t: unknown }).t)).toBeUndefined();
  });

  it.each([null, undefined, true, {}, [], Number.NaN, Number.POSITIVE_INFINITY, new Date(Number.NaN)])('%s is refused', (value) => {
    expect(canonicalTimestamp(value)).toBeUndefined();
  });
});
