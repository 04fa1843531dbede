/**
 * JSON without loss. `JSON.parse` rounds integers above 2^53 and cannot tell `10.0` from `10`; a column's type and a 64-bit id depend on both.
 * Nearly all texts hold no such number: one regular expression finds out, and only the others go through `lossless-json` (ten times slower).
 * A number that `number` cannot hold comes out as a LosslessNumber, with its own text.
 */
import { LosslessNumber, parse as parseLossless, stringify as stringifyLossless } from 'lossless-json';
import { invalidArgument, messageOf } from './app-error.js';

export { LosslessNumber };

/** Finds text that may be a number whose digits or form `JSON.parse` would not keep. May also match inside a string: that only costs time. */
const NEEDS_LOSSLESS = /(?:^|[:,[\s])-?(?:[\d.]{16}|\d+\.0+(?!\d)|\d+(?:\.\d+)?[eE])/;
const PLAIN_INTEGER = /^-?\d{1,15}$/;

/**
 * Parses a JSON text.
 * @param what names the text in the error ("the request body", "line 7")
 * @throws AppError INVALID_ARGUMENT when it is not JSON
 */
export function parseJson(text: string, what: string): unknown {
  try {
    return NEEDS_LOSSLESS.test(text)
      ? parseLossless(text, undefined, { parseNumber, onDuplicateKey: ({ newValue }) => newValue })
      : (JSON.parse(text) as unknown);
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

/**
 * Refuses text that nests arrays and objects deeper than allowed, before anything recursive sees it.
 * @throws AppError INVALID_ARGUMENT
 */
export function assertTextDepth(text: string, depthMax: number, what: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charCodeAt(at);
    if (character === QUOTE) at = endOfString(text, at);
    else if (character === OPEN_BRACE || character === OPEN_BRACKET) {
      depth += 1;
      if (depth > depthMax) throw invalidArgument(`${what} is nested too deeply: at most ${depthMax} levels (limits.json_depth_max)`);
    } else if (character === CLOSE_BRACE || character === CLOSE_BRACKET) depth -= 1;
  }
}

const [QUOTE, BACKSLASH, OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d];

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const character = text.charCodeAt(at);
    if (character === BACKSLASH) at += 1;
    else if (character === QUOTE) return at;
  }
  return text.length;
}

/** The JSON text of a value that `parseJson` gave. */
export function stringifyJson(value: unknown): string {
  return stringifyLossless(value) ?? 'null';
}

/** True for a JSON object (not an array, not null, not a number kept as text). */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof LosslessNumber);
}

/** True for a number that is not 0 and would be as a double. */
export function isTooSmall({ value }: LosslessNumber): boolean {
  return Number(value) === 0 && /[1-9]/.test(value.replace(/[eE].*/, ''));
}

const SHOWN_LENGTH_MAX = 60;

/** Why a value cannot be stored as JSON: nested too deeply, or holding what JSON has no word for, or what the engine would make 0. undefined when it can. */
export function jsonFault(value: unknown, depthMax: number): string | undefined {
  if (typeof value === 'string') return value.isWellFormed() ? undefined : 'it contains half a surrogate pair, which is not valid text';
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : `it contains ${value}, which JSON cannot express`;
  if (typeof value === 'symbol') return 'it contains a value of no known kind';
  if (value instanceof LosslessNumber)
    return isTooSmall(value) ? `it contains ${value.value.slice(0, SHOWN_LENGTH_MAX)}, which is too small for DOUBLE` : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  if (depthMax === 0) return 'it is nested too deeply (limits.json_depth_max)';
  for (const [key, member] of Object.entries(value)) {
    const fault = jsonFault(key, depthMax) ?? jsonFault(member, depthMax - 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}
