/**
 * Payload values kept as their JSON text, because the server types a value by its text: `10` is BIGINT, `10.0` is DOUBLE, and 64-bit
 * integers keep every digit. JSON.stringify would lose both.
 */
import { isLosslessNumber } from 'lossless-json';

export type ColumnType = 'BIGINT' | 'DOUBLE' | 'BOOLEAN' | 'VARCHAR' | 'JSON';

export interface PayloadValue {
  readonly type: ColumnType | 'NULL';
  readonly jsonText: string;
}

/** Field name as the client spells it → value. */
export type Payload = ReadonlyMap<string, PayloadValue>;

/** What one record of a request carries. */
export interface ClientRecord {
  readonly id: string;
  readonly timestampMicros: bigint;
  /** How the client spells the timestamp (another zone, epoch milliseconds); RFC 3339 in UTC when absent. */
  readonly timestampJson?: string;
  readonly payload: Payload;
}

export const nullValue: PayloadValue = { type: 'NULL', jsonText: 'null' };
export const bigint = (value: bigint | number): PayloadValue => ({ type: 'BIGINT', jsonText: BigInt(value).toString() });
export const boolean = (value: boolean): PayloadValue => ({ type: 'BOOLEAN', jsonText: String(value) });
export const varchar = (value: string): PayloadValue => ({ type: 'VARCHAR', jsonText: JSON.stringify(value) });
export const json = (value: object): PayloadValue => ({ type: 'JSON', jsonText: JSON.stringify(value) });

/** A DOUBLE: its text has a fraction or an exponent even when the value is whole. */
export function double(value: number): PayloadValue {
  const text = String(value);
  return { type: 'DOUBLE', jsonText: /[.e]/.test(text) ? text : `${text}.0` };
}

export function payloadOf(fields: Readonly<Record<string, PayloadValue>>): Payload {
  return new Map(Object.entries(fields));
}

/** `{"a":1,"b":"x"}` */
export function payloadJson(payload: Payload): string {
  return `{${fieldTexts(payload).join(',')}}`;
}

/** The nested form of the data API: `{"id":…,"timestamp":…,"payload":{…}}`. */
export function recordJson(record: ClientRecord): string {
  return `{"id":${JSON.stringify(record.id)},"timestamp":${timestampJson(record)},"payload":${payloadJson(record.payload)}}`;
}

/** The flat form of bulk input: one column a key. */
export function flatRecordJson(record: ClientRecord): string {
  const head = [`"id":${JSON.stringify(record.id)}`, `"timestamp":${timestampJson(record)}`];
  return `{${[...head, ...fieldTexts(record.payload)].join(',')}}`;
}

export function timestampJson(record: ClientRecord): string {
  return record.timestampJson ?? `"${timestampText(record.timestampMicros)}"`;
}

function fieldTexts(payload: Payload): string[] {
  return [...payload].map(([name, value]) => `${JSON.stringify(name)}:${value.jsonText}`);
}

/** `2024-01-01T10:00:00.000000Z`, the form in which the server gives timestamps back. */
export function timestampText(micros: bigint): string {
  const millis = micros / 1_000n - (micros % 1_000n < 0n ? 1n : 0n);
  const microsOfMilli = micros - millis * 1_000n;
  return `${new Date(Number(millis)).toISOString().slice(0, -1)}${microsOfMilli.toString().padStart(3, '0')}Z`;
}

/** One spelling per value of a column, the same for what the model holds and for what the server answers. */
export function canonicalOfModel(value: PayloadValue, column: ColumnType): string {
  switch (column) {
    case 'BIGINT':
      return BigInt(value.jsonText).toString();
    case 'DOUBLE':
      return doubleText(value.jsonText);
    case 'BOOLEAN':
      return value.jsonText;
    case 'VARCHAR':
      return JSON.stringify(JSON.parse(value.jsonText));
    case 'JSON':
      return canonicalJson(JSON.parse(value.jsonText));
  }
}

/**
 * The same for a value of an answer parsed by lossless-json. What does not look like the column's type comes back with a mark, so that it
 * differs from every expected value instead of being bent into shape.
 */
export function canonicalOfAnswer(value: unknown, column: ColumnType | undefined): string {
  const unexpected = `unexpected ${column ?? 'column'} ${isLosslessNumber(value) ? value.value : JSON.stringify(value)}`;
  switch (column) {
    case undefined:
      return unexpected;
    case 'BIGINT':
      return isLosslessNumber(value) && /^-?\d+$/.test(value.value) ? value.value : unexpected;
    case 'DOUBLE':
      return isLosslessNumber(value) ? doubleText(value.value) : unexpected;
    case 'BOOLEAN':
      return typeof value === 'boolean' ? String(value) : unexpected;
    case 'VARCHAR':
      return typeof value === 'string' ? JSON.stringify(value) : unexpected;
    case 'JSON':
      return typeof value === 'object' ? canonicalJson(value) : unexpected;
  }
}

function doubleText(text: string): string {
  return `double ${Number(text)}`;
}

/** Nested values: keys in order, numbers as JavaScript numbers (the tests nest small ones only). */
function canonicalJson(value: unknown): string {
  if (isLosslessNumber(value)) return String(Number(value.value));
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
