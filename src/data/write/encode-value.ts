/**
 * One payload value as the JSON text that its column takes, or a misfit. Nothing is rounded, cut or turned into NULL on the way: a value either
 * fits its column exactly or is refused by name.
 */
import { isTooSmall, jsonFault, LosslessNumber, stringifyJson } from '../../common/json.js';
import { type ColumnType, decimalOf } from '../../delta/table-schema.js';
import { canonicalTimestamp } from './timestamp.js';

/** Marks a value that does not fit. `wantsDouble`: it would, if the column were DOUBLE. */
export interface Misfit {
  readonly wantsDouble: boolean;
  readonly reason?: string;
}

const MISFIT: Misfit = { wantsDouble: false };
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const INT32_MAX = 2_147_483_647;
/** More than any column holds. Making a number of a million of them would hold up everything else for seconds. */
const DIGITS_MAX = 1_000;
const INTEGER_TEXT = /^-?\d+$/;
const DECIMAL_TEXT = /^(-?)(\d+)(?:\.(\d+))?$/;
const DATE = /^\d{4}-\d\d-\d\d$/;

/** The type that a new column gets from its first value. @returns undefined when no type holds it */
export function inferType(value: unknown): ColumnType | undefined {
  if (typeof value === 'string') return 'VARCHAR';
  if (typeof value === 'boolean') return 'BOOLEAN';
  if (typeof value === 'number') return Number.isInteger(value) ? 'BIGINT' : 'DOUBLE';
  if (value instanceof LosslessNumber) return INTEGER_TEXT.test(value.value) ? 'BIGINT' : 'DOUBLE';
  return typeof value === 'object' ? 'JSON' : undefined;
}

/** @param value anything but null and undefined */
export function encodeValue(value: unknown, type: ColumnType, depthMax: number): string | Misfit {
  switch (type) {
    case 'BIGINT':
      return encodeInteger(value, INT64_MIN, INT64_MAX);
    case 'INTEGER':
      return encodeInteger(value, BigInt(-INT32_MAX - 1), BigInt(INT32_MAX));
    case 'DOUBLE':
      return encodeDouble(value);
    case 'BOOLEAN':
      return typeof value === 'boolean' ? String(value) : MISFIT;
    case 'VARCHAR':
      return typeof value === 'string' ? encodeText(value) : MISFIT;
    case 'JSON':
      return encodeJson(value, depthMax);
    case 'TIMESTAMPTZ': {
      const timestamp = canonicalTimestamp(value);
      return timestamp === undefined
        ? { wantsDouble: false, reason: 'it is no instant: send text such as 2024-01-01T10:00:00Z, or a number since 1970' }
        : `"${timestamp}"`;
    }
    case 'DATE':
      return typeof value === 'string' && isDate(value) ? `"${value}"` : MISFIT;
    default:
      return encodeDecimal(value, type);
  }
}

function encodeInteger(value: unknown, min: bigint, max: bigint): string | Misfit {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= Number(min) && value <= Number(max)) return String(value);
    if (!Number.isInteger(value)) return { wantsDouble: Number.isFinite(value) };
    // Through BigInt: as a double, the largest 64-bit integer is one more than it is, and large ones print with zeros for digits.
    const integer = BigInt(value);
    return integer >= min && integer <= max ? integer.toString() : { wantsDouble: false, reason: 'it is out of range' };
  }
  if (!(value instanceof LosslessNumber)) return MISFIT;
  // 10.0 and 1e3 are whole: the column takes them as they are.
  const text = wholeText(value.value);
  const integer = text === undefined || text.length > DIGITS_MAX ? undefined : BigInt(text);
  if (integer !== undefined && integer >= min && integer <= max) return integer.toString();
  return INTEGER_TEXT.test(value.value)
    ? { wantsDouble: false, reason: 'it does not fit in 64 bits; send it as a string, or declare the column DECIMAL(38,0)' }
    : { wantsDouble: Number.isFinite(Number(value.value)) };
}

function encodeDouble(value: unknown): string | Misfit {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : { wantsDouble: false, reason: 'JSON has no such number' };
  if (!(value instanceof LosslessNumber)) return MISFIT;
  const number = Number(value.value);
  if (!Number.isFinite(number)) return { wantsDouble: false, reason: 'it is beyond the range of DOUBLE' };
  if (isTooSmall(value)) return { wantsDouble: false, reason: 'it is too small for DOUBLE' };
  if (INTEGER_TEXT.test(value.value) && !Number.isSafeInteger(number) && BigInt(value.value) !== BigInt(number)) {
    return { wantsDouble: false, reason: 'DOUBLE cannot hold this integer exactly; send it as a string, or declare the column DECIMAL' };
  }
  return value.value;
}

/** The digits of a whole number however it is written. By its text: as a double, 9007199254740990.5 and 1e-400 would be whole, too. */
function wholeText(text: string): string | undefined {
  if (INTEGER_TEXT.test(text)) return text;
  const [, sign = '', whole, fraction = ''] = DECIMAL_TEXT.exec(withoutExponent(text)) ?? [];
  return whole !== undefined && /^0*$/.test(fraction) ? sign + whole : undefined;
}

function encodeText(value: string): string | Misfit {
  return value.isWellFormed()
    ? JSON.stringify(value)
    : { wantsDouble: false, reason: 'it contains half a surrogate pair, which is not valid text' };
}

function encodeJson(value: unknown, depthMax: number): string | Misfit {
  const fault = jsonFault(value, depthMax);
  return fault === undefined ? stringifyJson(value) : { wantsDouble: false, reason: fault };
}

function encodeDecimal(value: unknown, type: ColumnType): string | Misfit {
  const decimal = decimalOf(type);
  const text =
    typeof value === 'number' ? String(value) : value instanceof LosslessNumber ? value.value : typeof value === 'string' ? value : '';
  const match = DECIMAL_TEXT.exec(withoutExponent(text));
  if (!decimal || !match) return MISFIT;
  const [, sign = '', whole = '', fraction = ''] = match;
  const wholeDigits = whole.replace(/^0+/, '');
  const fractionDigits = fraction.replace(/0+$/, '');
  const fits = wholeDigits.length <= decimal.precision - decimal.scale && fractionDigits.length <= decimal.scale;
  // As text, because the engine would read a JSON number into a DECIMAL by way of a double.
  return fits
    ? `"${sign}${whole}${fraction ? `.${fraction}` : ''}"`
    : { wantsDouble: false, reason: 'it has more digits than the column can hold' };
}

/** `1e-8` as `0.00000001`; text in any other form as it is. */
function withoutExponent(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?[eE]([+-]?\d{1,3})$/.exec(text);
  if (!match) return text;
  const [, sign = '', whole = '', fraction = '', exponent] = match;
  const point = whole.length + Number(exponent);
  const digits = (whole + fraction).padEnd(point, '0');
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  return point >= digits.length ? sign + digits : `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

function isDate(text: string): boolean {
  return DATE.test(text) && canonicalTimestamp(`${text}T00:00:00Z`) !== undefined;
}
