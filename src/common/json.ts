/**
 * JSON without loss. `JSON.parse` rounds integers above 2^53 and cannot tell `10.0` from `10`; a column's type and a 64-bit id depend on both.
 * Nearly all texts hold no such number: one regular expression finds out, and only the others go through `lossless-json` (ten times slower).
 * A number that `number` cannot hold comes out as a LosslessNumber, with its own text.
 */
import { LosslessNumber, parse as parseLossless, stringify as stringifyLossless } from 'lossless-json';
import { invalidArgument, messageOf } from './app-error.js';

export { LosslessNumber };

/** Finds text that may be a number whose digits or form `JSON.parse` would not keep. May also match inside a string: that only costs time. */
const NEEDS_LOSSLESS = /[:,[\s]-?(?:[\d.]{16}|\d+\.0+(?!\d)|\d+(?:\.\d+)?[eE])/;
const PLAIN_INTEGER = /^-?\d{1,15}$/;

/**
 * Parses a JSON text.
 * @param what names the text in the error ("the request body", "line 7")
 * @throws AppError INVALID_ARGUMENT when it is not JSON
 */
export function parseJson(text: string, what: string): unknown {
  try {
    return NEEDS_LOSSLESS.test(text) ? parseLossless(text, undefined, { parseNumber }) : (JSON.parse(text) as unknown);
  } catch (error) {
    throw invalidArgument(`${what} is not valid JSON: ${messageOf(error)}`);
  }
}

function parseNumber(text: string): number | LosslessNumber {
  if (PLAIN_INTEGER.test(text)) return Number(text);
  const value = Number(text);
  const isPlainFraction = !Number.isInteger(value) && String(value) === text;
  return isPlainFraction ? value : new LosslessNumber(text);
}

/** The JSON text of a value that `parseJson` gave. */
export function stringifyJson(value: unknown): string {
  return stringifyLossless(value) ?? 'null';
}

/** True for a JSON object (not an array, not null, not a number kept as text). */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof LosslessNumber);
}

/** @throws AppError INVALID_ARGUMENT when arrays and objects are nested deeper than `depthMax`. */
export function assertDepth(value: unknown, depthMax: number, what: string): void {
  if (typeof value !== 'object' || value === null || value instanceof LosslessNumber) return;
  if (depthMax === 0) throw invalidArgument(`${what} is nested too deeply`);
  for (const member of Array.isArray(value) ? (value as unknown[]) : Object.values(value)) assertDepth(member, depthMax - 1, what);
}
