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
    ['2024-01-01T10:00:00', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01 10:00:00.5', '2024-01-01T10:00:00.500000Z'],
    ['2024-01-01', '2024-01-01T00:00:00.000000Z'],
    ['2024-01-01T10:00', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01T10:00Z', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01T10:00:00+02', '2024-01-01T08:00:00.000000Z'],
    ['2024-01-01T10:00:00+0230', '2024-01-01T07:30:00.000000Z'],
    ['2024-01-01 10:00:00 UTC', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01 10:00:00 +0000', '2024-01-01T10:00:00.000000Z'],
    ['2024-01-01 10:00:00,25', '2024-01-01T10:00:00.250000Z'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalTimestamp(text)).toBe(canonical);
  });

  it.each([
    ['hours alone', '2024-01-01T10'],
    ['a zone by another name', '2024-01-01T10:00:00 CET'],
    ['a zone without a time', '2024-01-01Z'],
    ['two spaces before the zone', '2024-01-01 10:00:00  Z'],
    ['a zone of three digits', '2024-01-01T10:00:00+010'],
    ['no separators', '20240101T100000Z'],
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

describe('instant as a number', () => {
  it.each([
    ['0', '1970-01-01T00:00:00.000000Z'],
    ['1704103200', '2024-01-01T10:00:00.000000Z'],
    ['1704103200.5', '2024-01-01T10:00:00.500000Z'],
    ['1704103200.1234567', '2024-01-01T10:00:00.123456Z'],
    ['-1.5', '1969-12-31T23:59:58.500000Z'],
    ['-1.0000001', '1969-12-31T23:59:58.999999Z'],
    ['99999999999', '5138-11-16T09:46:39.000000Z'],
    ['100000000000', '1973-03-03T09:46:40.000000Z'],
    ['1704103200123', '2024-01-01T10:00:00.123000Z'],
    ['1704103200123.25', '2024-01-01T10:00:00.123250Z'],
    ['-1704103200123', '1916-01-01T13:59:59.877000Z'],
    ['99999999999999', '5138-11-16T09:46:39.999000Z'],
    ['100000000000000', '1973-03-03T09:46:40.000000Z'],
    ['1704103200123456', '2024-01-01T10:00:00.123456Z'],
    ['1704103200123456.0', '2024-01-01T10:00:00.123456Z'],
    ['99999999999999999', '5138-11-16T09:46:39.999999Z'],
    ['100000000000000000', '1973-03-03T09:46:40.000000Z'],
    ['1704103200123456789', '2024-01-01T10:00:00.123456Z'],
    ['-1704103200123456789', '1916-01-01T13:59:59.876543Z'],
  ])('%s is %s by its size', (text, canonical) => {
    expect(canonicalTimestamp(valueOf(text))).toBe(canonical);
    expect(canonicalTimestamp(new LosslessNumber(text))).toBe(canonical);
  });

  it.each([
    ['s', '5', '1970-01-01T00:00:05.000000Z'],
    ['s', '253402300799', '9999-12-31T23:59:59.000000Z'],
    ['s', '-62135596800', '0001-01-01T00:00:00.000000Z'],
    ['s', '1704103200123', undefined],
    ['ms', '5', '1970-01-01T00:00:00.005000Z'],
    ['ms', '253402300799999', '9999-12-31T23:59:59.999000Z'],
    ['us', '5', '1970-01-01T00:00:00.000005Z'],
    ['us', '5.9', '1970-01-01T00:00:00.000005Z'],
    ['ns', '5999', '1970-01-01T00:00:00.000005Z'],
    ['ns', '-1', '1969-12-31T23:59:59.999999Z'],
    ['ns', '12', '1970-01-01T00:00:00.000000Z'],
  ] as const)('in %s %s is %s', (unit, text, canonical) => {
    expect(canonicalTimestamp(valueOf(text), unit)).toBe(canonical);
  });

  it.each(['1.7e12', '99999999999999999999', '-99999999999999999999'])('%s is refused', (text) => {
    expect(canonicalTimestamp(valueOf(text))).toBeUndefined();
  });

  it('is the same whichever unit says it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 99_999_999, max: 9_000_000_000 }), (seconds) => {
        fc.pre(seconds >= 100_000_000);
        const expected = fromMs(seconds * 1_000);
        for (const zeros of ['', '000', '000000', '000000000']) expect(canonicalTimestamp(valueOf(seconds + zeros))).toBe(expected);
      }),
    );
  });

  it.each([null, undefined, true, {}, [], Number.NaN, Number.POSITIVE_INFINITY, new Date(Number.NaN)])('%s is refused', (value) => {
    expect(canonicalTimestamp(value)).toBeUndefined();
  });
});

function valueOf(text: string): unknown {
  return (parseJson(`{"t":${text}}`, 'it') as { t: unknown }).t;
}
