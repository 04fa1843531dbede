/**
 * Bulk rows read line by line in JavaScript: for small bodies, and for large ones in which something does not fit, because here each bad row is
 * told by line number, field and reason.
 */
import { createReadStream } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TextDecoder } from 'node:util';
import { AppError, messageOf } from '../../common/app-error.js';
import { assertTextDepth, isJsonObject, parseJson } from '../../common/json.js';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { RecordInput, RecordRefusal } from '../write/record.js';
import type { BulkLines } from './bulk-body.js';

/** Longest row; the engine sets twice this aside for each thread that reads. */
export const LINE_BYTES_MAX = 16 * 1_024 * 1_024;
const NEWLINE = 10;
const READ_BYTES = 64 * 1_024;
/** Lines between two turns of the event loop: a piece may have one for each two bytes, and one that is refused takes as long as a long one. */
const LINES_IN_ONE_TURN = 1_000;

export interface BulkFields {
  readonly id: string;
  readonly timestamp: string;
}

export type Line = { readonly record: RecordInput } | { readonly refusal: RecordRefusal };

/** The rows in order, those of a piece of the file at once. Empty lines are passed over but counted. */
export async function* readLines(
  { file, originOf }: Pick<BulkLines, 'file' | 'originOf'>,
  fields: BulkFields,
  depthMax: number,
): AsyncIterable<readonly Line[]> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let index = 0;
  for await (const lines of rawLines(file))
    yield lines.map(({ bytes, number }) => toLine(bytes, originOf(number), index++, fields, decoder, depthMax));
}

interface RawLine {
  readonly bytes: Buffer;
  /** Counted from 1. */
  readonly number: number;
}

/** Lines are cut within the piece that was read, and blank ones cost no more than their bytes: a body may be nothing but line breaks. */
async function* rawLines(file: string): AsyncIterable<readonly RawLine[]> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let number = 1;
  for await (const chunk of createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    let lines: RawLine[] = [];
    let start = 0;
    for (;;) {
      for (; restBytes === 0 && isBlank(chunk[start]); start += 1) if (chunk[start] === NEWLINE) number += 1;
      if (start >= chunk.length) break;
      const end = chunk.indexOf(NEWLINE, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      restBytes += piece.length;
      if (restBytes > LINE_BYTES_MAX) throw new AppError('PAYLOAD_TOO_LARGE', `line ${number} has more than ${LINE_BYTES_MAX} bytes`);
      rest.push(piece);
      if (end === -1) break;
      lines.push({ bytes: rest.length === 1 ? piece : Buffer.concat(rest), number });
      number += 1;
      [rest, restBytes, start] = [[], 0, end + 1];
      if (lines.length < LINES_IN_ONE_TURN) continue;
      yield lines;
      lines = [];
      await nextTurn();
    }
    yield lines;
  }
  if (restBytes > 0) yield [{ bytes: Buffer.concat(rest), number }];
}

function isBlank(byte: number | undefined): boolean {
  return byte === 32 || byte === NEWLINE || byte === 13 || byte === 9;
}

function toLine(bytes: Buffer, line: number, index: number, fields: BulkFields, decoder: TextDecoder, depthMax: number): Line {
  try {
    const text = decoder.decode(bytes);
    assertTextDepth(text, depthMax, 'the line');
    return { record: toRecord(parseJson(text, 'the line'), line, fields) };
  } catch (error) {
    const reason = error instanceof AppError ? messageOf(error) : `the line is not valid UTF-8: ${messageOf(error)}`;
    return { refusal: { index, line, reason } };
  }
}

/** A flat row as a record: two of its fields are the id and the time, the others the payload. */
function toRecord(row: unknown, line: number, fields: BulkFields): RecordInput {
  if (!isJsonObject(row)) throw new AppError('INVALID_ARGUMENT', 'the line is not a JSON object');
  const { [fields.id]: id, [fields.timestamp]: timestamp, ...payload } = row;
  return { id, timestamp, payload, line };
}

export const DEFAULT_BULK_FIELDS: BulkFields = { id: ID_COLUMN, timestamp: TIMESTAMP_COLUMN };
