/**
 * Instants as people write them, made the one form that log, buffer and files know: RFC 3339 in UTC with microseconds.
 *
 *   text      2024-01-01 · 2024-01-01T10:00 · 2024-01-01 10:00:00.123456789+0200 · … Z · … UTC    without a zone: UTC
 *   number    since 1970, in seconds, milliseconds, microseconds or nanoseconds: as `timestamp_unit` says, else by its size
 *
 * By size means: below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds, above it nanoseconds. So every instant from 1973-03-03 to
 * 5138-11-16 is read right in each of the units. What is finer than a microsecond is cut off, in every format.
 */
import { MS_PER_SECOND } from '../../common/clock.js';
import { LosslessNumber } from '../../common/json.js';

export const TIMESTAMP_UNITS = ['s', 'ms', 'us', 'ns'] as const;
export type TimestampUnit = (typeof TIMESTAMP_UNITS)[number];

/** Upper bounds on the absolute value of a number that is read in each unit. */
export const SECONDS_BELOW = 100_000_000_000;
export const MILLISECONDS_BELOW = 100_000_000_000_000;
export const MICROSECONDS_BELOW = 100_000_000_000_000_000n;

const DATE_AND_TIME =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?: ?(?:[Zz]|UTC|([+-])(\d\d)(?::?(\d\d))?))?)?$/;
/** 0001-01-01 and 9999-12-31, the years that RFC 3339 can write. */
const MS_MIN = -62_135_596_800_000;
const MS_MAX = 253_402_300_799_999;
const MICROS_PER_MS = 1_000n;

/** Powers of ten from a unit to microseconds. */
const DIGITS_TO_MICROS: Readonly<Record<TimestampUnit, number>> = { s: 6, ms: 3, us: 0, ns: -3 };
const NUMBER = /^(-?)(\d{1,19})(?:\.(\d+))?$/;

/** Of `2024-01-01T00:00:00.000000Z`, and of its whole seconds. */
const CANONICAL_LENGTH = 27;
const SECOND_LENGTH = 19;
const CANONICAL_END = /\.\d{6}Z$/;

/**
 * @param unit of numbers; undefined: by their size
 * @returns the canonical text, or undefined when the value is no instant
 */
export function canonicalTimestamp(value: unknown, unit?: TimestampUnit): string | undefined {
  if (typeof value === 'string') return fromText(value);
  if (typeof value === 'number') return (unit === undefined ? fromUsualNumber(value) : undefined) ?? fromNumber(String(value), unit);
  if (value instanceof LosslessNumber) return fromNumber(value.value, unit);
  if (value instanceof Date) return fromMs(value.getTime());
  return undefined;
}

/** The canonical text of milliseconds since 1970. */
export function fromMs(ms: number): string | undefined {
  if (!(ms >= MS_MIN && ms <= MS_MAX)) return undefined;
  return `${new Date(ms).toISOString().slice(0, -1)}000Z`;
}

/** Whole seconds and milliseconds, by far the most numbers that come. */
function fromUsualNumber(value: number): string | undefined {
  if (!Number.isInteger(value) || Math.abs(value) >= MILLISECONDS_BELOW) return undefined;
  return fromMs(Math.abs(value) < SECONDS_BELOW ? value * MS_PER_SECOND : value);
}

function fromNumber(text: string, given: TimestampUnit | undefined): string | undefined {
  const [, sign = '', whole, fraction = ''] = NUMBER.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const shift = DIGITS_TO_MICROS[given ?? unitOf(BigInt(whole))];
  const digits = shift >= 0 ? whole + fraction.slice(0, shift).padEnd(shift, '0') : whole.slice(0, shift);
  const isCut = shift >= 0 ? /[1-9]/.test(fraction.slice(shift)) : /[1-9]/.test(whole.slice(shift) + fraction);
  const micros = BigInt(digits === '' ? 0 : digits);
  // Cut towards the past, before 1970 as after it.
  return fromMicros(sign === '' ? micros : -micros - (isCut ? 1n : 0n));
}

function unitOf(magnitude: bigint): TimestampUnit {
  if (magnitude < SECONDS_BELOW) return 's';
  if (magnitude < MILLISECONDS_BELOW) return 'ms';
  return magnitude < MICROSECONDS_BELOW ? 'us' : 'ns';
}

function fromMicros(micros: bigint): string | undefined {
  const rest = ((micros % MICROS_PER_MS) + MICROS_PER_MS) % MICROS_PER_MS;
  const ms = fromMs(Number((micros - rest) / MICROS_PER_MS));
  return ms === undefined ? undefined : `${ms.slice(0, -'000Z'.length)}${String(rest).padStart(3, '0')}Z`;
}

/** The last whole second that was found to exist, as a canonical text begins: neighbours often share it. */
let lastSecond = '';

function fromText(text: string): string | undefined {
  if (text.length === CANONICAL_LENGTH && lastSecond !== '' && text.startsWith(lastSecond) && CANONICAL_END.test(text)) return text;
  const canonical = parseText(text);
  if (canonical === text) lastSecond = text.slice(0, SECOND_LENGTH);
  return canonical;
}

function parseText(text: string): string | undefined {
  const match = DATE_AND_TIME.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour = '00', minute = '00', second = '00', fraction = '', sign, zoneHour, zoneMinute] = match;
  const isLeapSecond = second === '60';
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), isLeapSecond ? 59 : Number(second));
  const shifted = new Date(0);
  shifted.setTime(ms);
  if (Number(year) < 100) shifted.setUTCFullYear(Number(year));
  // Date.UTC rolls 31 February over into March: only a date that comes back as it went in exists.
  if (shifted.getUTCMonth() !== Number(month) - 1 || shifted.getUTCDate() !== Number(day)) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60 || Number(zoneHour ?? 0) > 23 || Number(zoneMinute ?? 0) > 59)
    return undefined;
  const zoneMs = sign === undefined ? 0 : (sign === '-' ? 1 : -1) * (Number(zoneHour) * 60 + Number(zoneMinute ?? 0)) * 60_000;
  const instant = shifted.getTime() + zoneMs;
  if (instant < MS_MIN || instant > MS_MAX) return undefined;
  const micros = isLeapSecond ? '999999' : fraction.slice(0, 6).padEnd(6, '0');
  return `${new Date(instant).toISOString().slice(0, 19)}.${micros}Z`;
}
