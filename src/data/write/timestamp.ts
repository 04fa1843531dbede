/**
 * Instants as clients write them: RFC 3339 with a zone, or milliseconds since 1970. Both become RFC 3339 in UTC with microseconds, the one form
 * that WAL, buffer and files know.
 */
import { LosslessNumber } from '../../common/json.js';

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
/** 0001-01-01 and 9999-12-31, the years that RFC 3339 can write. */
const MS_MIN = -62_135_596_800_000;
const MS_MAX = 253_402_300_799_999;

/** Of `2024-01-01T00:00:00.000000Z`, and of its whole seconds. */
const CANONICAL_LENGTH = 27;
const SECOND_LENGTH = 19;
const CANONICAL_END = /\.\d{6}Z$/;

/** @returns the canonical text, or undefined when the value is no instant */
export function canonicalTimestamp(value: unknown): string | undefined {
  if (typeof value === 'string') return fromText(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return fromMs(value);
  if (value instanceof LosslessNumber && /^-?\d+$/.test(value.value)) return fromMs(Number(value.value));
  if (value instanceof Date) return fromMs(value.getTime());
  return undefined;
}

/** The canonical text of milliseconds since 1970. */
export function fromMs(ms: number): string | undefined {
  if (!(ms >= MS_MIN && ms <= MS_MAX)) return undefined;
  return `${new Date(ms).toISOString().slice(0, -1)}000Z`;
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
  const match = RFC3339.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', sign, zoneHour, zoneMinute] = match;
  const isLeapSecond = second === '60';
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), isLeapSecond ? 59 : Number(second));
  const shifted = new Date(0);
  shifted.setTime(ms);
  if (Number(year) < 100) shifted.setUTCFullYear(Number(year));
  // Date.UTC rolls 31 February over into March: only a date that comes back as it went in exists.
  if (shifted.getUTCMonth() !== Number(month) - 1 || shifted.getUTCDate() !== Number(day)) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60 || Number(zoneHour ?? 0) > 23 || Number(zoneMinute ?? 0) > 59)
    return undefined;
  const zoneMs = sign === undefined ? 0 : (sign === '-' ? 1 : -1) * (Number(zoneHour) * 60 + Number(zoneMinute)) * 60_000;
  const instant = shifted.getTime() + zoneMs;
  if (instant < MS_MIN || instant > MS_MAX) return undefined;
  const micros = isLeapSecond ? '999999' : fraction.slice(0, 6).padEnd(6, '0');
  return `${new Date(instant).toISOString().slice(0, 19)}.${micros}Z`;
}
