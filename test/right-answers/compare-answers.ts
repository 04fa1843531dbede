/**
 * Compares the rows of an HTTP answer with the rows the plain engine gave, as multisets or in order.
 * 64-bit and wider integers and decimals are compared digit by digit from the answer's text; doubles bit for bit,
 * unless the query adds arbitrary doubles up, where the order of addition is free (then to 1e-9, relatively).
 */
import {
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBListValue,
  DuckDBMapValue,
  type DuckDBResultReader,
  DuckDBStructValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api';

const RELATIVE_ERROR_MAX = 1e-9;
/** Marks a number whose digits a JavaScript number could lose. No string of the test data starts with it. */
const DIGITS_MARK = '\u0001';
const STRING_OR_LONG_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]{14,}/g;
const RFC3339_UTC_MICROS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const DIFFERENCES_SHOWN = 3;

export interface ReceivedAnswer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

export interface ComparisonRules {
  readonly isOrdered: boolean;
  readonly isApproximate: boolean;
}

type ComparableCell = string | number | null;
type ComparableRow = readonly ComparableCell[];

/** JSON.parse that keeps every digit of long numbers (as marked strings). */
export function parseKeepingDigits(text: string): unknown {
  return JSON.parse(text.replace(STRING_OR_LONG_NUMBER, (token) => (token.startsWith('"') ? token : `"\\u0001${token}"`)));
}

/** What differs, for a person to read; undefined when the answers agree. */
export function differenceBetween(expected: DuckDBResultReader, received: ReceivedAnswer, rules: ComparisonRules): string | undefined {
  const types = expected.columnTypes();
  const columnDifference = differenceOfColumns(expected, received);
  if (columnDifference !== undefined) return columnDifference;
  const expectedRows = expected.getRows().map((row) => row.map((value, index) => comparableExpected(value, types[index])));
  const names = received.columns.map((column) => column.name);
  const receivedRows = received.rows.map((row) => names.map((name, index) => comparableReceived(row[name], types[index])));
  if (expectedRows.length !== receivedRows.length) {
    return `expected ${expectedRows.length} rows, got ${receivedRows.length}${sample(expectedRows, receivedRows)}`;
  }
  if (rules.isOrdered) return firstDifferentRow(expectedRows, receivedRows, rules.isApproximate);
  return firstDifferentRow(inAnyFixedOrder(expectedRows), inAnyFixedOrder(receivedRows), rules.isApproximate);
}

function differenceOfColumns(expected: DuckDBResultReader, received: ReceivedAnswer): string | undefined {
  const expectedNames = expected.columnNames();
  const expectedTypes = expected.columnTypes().map((type) => type.alias ?? String(type));
  const names = received.columns.map((column) => column.name);
  if (new Set(names).size !== names.length) return `column names are not told apart: ${names.join(', ')}`;
  const namesAgree = new Set(expectedNames).size !== expectedNames.length || sameList(names, expectedNames);
  if (names.length !== expectedNames.length || !namesAgree) {
    return `expected columns ${expectedNames.join(', ')}, got ${names.join(', ')}`;
  }
  const types = received.columns.map((column) => column.type);
  return sameList(types, expectedTypes) ? undefined : `expected types ${expectedTypes.join(', ')}, got ${types.join(', ')}`;
}

function sameList(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((item, index) => item === right[index]);
}

function firstDifferentRow(
  expected: readonly ComparableRow[],
  received: readonly ComparableRow[],
  isApproximate: boolean,
): string | undefined {
  const index = expected.findIndex((row, at) => !sameRow(row, received[at] ?? [], isApproximate));
  if (index === -1) return undefined;
  return `row ${index} of ${expected.length}: expected ${JSON.stringify(expected[index])}, got ${JSON.stringify(received[index])}${sample(expected, received)}`;
}

function sameRow(expected: ComparableRow, received: ComparableRow, isApproximate: boolean): boolean {
  return expected.every((cell, index) => sameCell(cell, received[index] ?? null, isApproximate));
}

function sameCell(expected: ComparableCell, received: ComparableCell, isApproximate: boolean): boolean {
  if (expected === received) return true;
  if (!isApproximate || typeof expected !== 'number' || typeof received !== 'number') return false;
  const scale = Math.max(1, Math.abs(expected), Math.abs(received));
  return Math.abs(expected - received) <= RELATIVE_ERROR_MAX * scale;
}

/** Exact cells decide first, so that rows whose doubles differ in the last bit still meet their partner. */
function inAnyFixedOrder(rows: readonly ComparableRow[]): ComparableRow[] {
  const keyed = rows.map((row) => ({ row, key: sortKey(row, false) }));
  keyed.sort((left, right) => compareKeys(left.key, right.key) || compareNumbers(left.row, right.row));
  return keyed.map(({ row }) => row);
}

function sortKey(row: ComparableRow, withNumbers: boolean): string {
  return JSON.stringify(row.map((cell) => (typeof cell === 'number' && !withNumbers ? 0 : cell)));
}

function compareKeys(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function compareNumbers(left: ComparableRow, right: ComparableRow): number {
  for (const [index, cell] of left.entries()) {
    const other = right[index];
    if (typeof cell === 'number' && typeof other === 'number' && cell !== other) return cell - other;
  }
  return 0;
}

/** A few rows that only one side has. */
function sample(expected: readonly ComparableRow[], received: readonly ComparableRow[]): string {
  const missing = onlyIn(expected, received);
  const surplus = onlyIn(received, expected);
  return `; missing ${missing.length}: ${missing.slice(0, DIFFERENCES_SHOWN).join(' ')}; surplus ${surplus.length}: ${surplus.slice(0, DIFFERENCES_SHOWN).join(' ')}`;
}

function onlyIn(rows: readonly ComparableRow[], others: readonly ComparableRow[]): string[] {
  const counts = new Map<string, number>();
  for (const row of others) counts.set(sortKey(row, true), (counts.get(sortKey(row, true)) ?? 0) + 1);
  return rows
    .map((row) => sortKey(row, true))
    .filter((key) => {
      const count = counts.get(key) ?? 0;
      counts.set(key, count - 1);
      return count <= 0;
    });
}

function comparableExpected(value: DuckDBValue, type: DuckDBType | undefined): ComparableCell {
  if (value === null) return null;
  if (typeof value === 'bigint') return `i${value}`;
  if (typeof value === 'boolean') return `b${value}`;
  if (typeof value === 'number') return isFloating(type) ? comparableDouble(value) : `i${value}`;
  if (typeof value === 'string') return isJson(type) ? comparableJson(parseKeepingDigits(value)) : `s${value}`;
  if (value instanceof DuckDBTimestampTZValue || value instanceof DuckDBTimestampValue) return `t${value.micros}`;
  if (value instanceof DuckDBDateValue) return `d${value.toString()}`;
  if (value instanceof DuckDBDecimalValue) return `n${plainDecimal(value.toString())}`;
  return comparableNested(value, type);
}

function comparableNested(value: DuckDBValue, type: DuckDBType | undefined): string {
  if (value instanceof DuckDBListValue) {
    const itemType = type?.typeId === DuckDBTypeId.LIST ? type.valueType : undefined;
    return `[${value.items.map((item) => JSON.stringify(comparableExpected(item, itemType))).join()}]`;
  }
  if (value instanceof DuckDBStructValue && type?.typeId === DuckDBTypeId.STRUCT) {
    const fields = type.entryNames.map((name, index) => [name, comparableExpected(value.entries[name] ?? null, type.entryTypes[index])]);
    return JSON.stringify(fields);
  }
  if (value instanceof DuckDBMapValue && type?.typeId === DuckDBTypeId.MAP) {
    const { valueType } = type;
    return comparableMap(value.entries.map((entry) => [String(entry.key), comparableExpected(entry.value, valueType)]));
  }
  throw new Error(`the generator made a value this comparison does not know: ${String(value)} (${String(type)})`);
}

function comparableReceived(value: unknown, type: DuckDBType | undefined): ComparableCell {
  if (value === null) return null;
  if (isJson(type)) return comparableJson(value);
  const unfit = `unfit ${typeof value} ${JSON.stringify(value)} for ${String(type)}`;
  switch (type?.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return typeof value === 'boolean' ? `b${value}` : unfit;
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return isNumber(value) ? comparableDouble(Number(digitsOf(value))) : unfit;
    case DuckDBTypeId.DECIMAL:
      return isNumber(value) ? `n${plainDecimal(digitsOf(value))}` : unfit;
    case DuckDBTypeId.VARCHAR:
      return typeof value === 'string' ? `s${value}` : unfit;
    case DuckDBTypeId.TIMESTAMP_TZ:
      return typeof value === 'string' && RFC3339_UTC_MICROS.test(value) ? `t${microsOf(value)}` : unfit;
    case DuckDBTypeId.TIMESTAMP:
      return typeof value === 'string' ? `t${microsOf(value)}` : unfit;
    case DuckDBTypeId.DATE:
      return typeof value === 'string' ? `d${value}` : unfit;
    case DuckDBTypeId.LIST: {
      if (!Array.isArray(value)) return unfit;
      return `[${value.map((item: unknown) => JSON.stringify(comparableReceived(item, type.valueType))).join()}]`;
    }
    case DuckDBTypeId.STRUCT: {
      if (!isRecord(value)) return unfit;
      const fields = type.entryNames.map((name, index) => [name, comparableReceived(value[name] ?? null, type.entryTypes[index])]);
      return JSON.stringify(fields);
    }
    case DuckDBTypeId.MAP: {
      if (!isRecord(value)) return unfit;
      return comparableMap(Object.entries(value).map(([key, item]) => [key, comparableReceived(item, type.valueType)]));
    }
    default:
      return isNumber(value) ? `i${digitsOf(value)}` : unfit;
  }
}

function isJson(type: DuckDBType | undefined): boolean {
  return type?.alias === 'JSON';
}

function isFloating(type: DuckDBType | undefined): boolean {
  return type?.typeId === DuckDBTypeId.DOUBLE || type?.typeId === DuckDBTypeId.FLOAT;
}

/** NaN and the infinities are null in JSON; the two zeros are one. */
function comparableDouble(value: number): ComparableCell {
  return Number.isFinite(value) ? value + 0 : null;
}

/** JSON's own null and SQL's NULL look the same in an answer. */
function comparableJson(value: unknown): ComparableCell {
  return value === null ? null : `j${JSON.stringify(value)}`;
}

/** A map's keys have no order in a JSON object. */
function comparableMap(fields: readonly (readonly [string, ComparableCell])[]): string {
  return JSON.stringify([...fields].sort(([left], [right]) => compareKeys(left, right)));
}

function isNumber(value: unknown): value is number | string {
  return typeof value === 'number' || (typeof value === 'string' && value.startsWith(DIGITS_MARK));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function digitsOf(value: number | string): string {
  return typeof value === 'string' ? value.slice(DIGITS_MARK.length) : String(value);
}

/** A decimal without exponent, trailing zeros and minus zero, so that 1.10, 1.1 and 11e-1 are one. */
function plainDecimal(text: string): string {
  const [mantissa = '', exponent = '0'] = text.toLowerCase().split('e');
  const isNegative = mantissa.startsWith('-');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const digits = (whole + fraction).padStart(1, '0');
  const scale = fraction.length - Number(exponent);
  const padded = scale < 0 ? digits.padEnd(digits.length - scale, '0') : digits.padStart(scale + 1, '0');
  const point = padded.length - Math.max(scale, 0);
  const plain = `${padded.slice(0, point)}.${padded.slice(point)}`.replace(/^0+(?=\d)/, '').replace(/\.?0*$/, '');
  return isNegative && plain !== '0' ? `-${plain}` : plain;
}

/** Microseconds since 1970 of a timestamp's text, with or without `T`, fraction and `Z`. */
export function microsOf(text: string): bigint {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z?$/.exec(text);
  if (!match) return -1n;
  const [, date = '', time = '', fraction = ''] = match;
  return BigInt(Date.parse(`${date}T${time}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

/** RFC 3339, UTC, six digits: what the product prints. */
export function timestampText(micros: bigint): string {
  const microsInSecond = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = (micros - microsInSecond) / 1_000_000n;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${whole}.${microsInSecond.toString().padStart(6, '0')}Z`;
}
