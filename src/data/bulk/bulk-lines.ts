/**
 * Bulk rows read line by line in JavaScript: for small bodies, and for large ones in which something does not fit, because here each bad row is
 * told by line number, field and reason.
 */
import { createReadStream } from 'node:fs';
import { TextDecoder } from 'node:util';
import { AppError, messageOf } from '../../common/app-error.js';
import { assertTextDepth, isJsonObject, parseJson } from '../../common/json.js';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../metadata/table-schema.js';
import type { RecordInput, RecordRefusal } from '../write/record.js';
import type { BulkLines } from './bulk-body.js';

/** Longest row; the engine sets twice this aside for each thread that reads. */
export const LINE_BYTES_MAX = 16 * 1_024 * 1_024;
const NEWLINE = 10;

export interface BulkFields {
  readonly id: string;
  readonly timestamp: string;
}

export type Line = { readonly record: RecordInput } | { readonly refusal: RecordRefusal };

/** The rows in order. Empty lines are passed over but counted. */
export async function* readLines(
  { file, originOf }: Pick<BulkLines, 'file' | 'originOf'>,
  fields: BulkFields,
  depthMax: number,
): AsyncIterable<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let number = 0;
  let index = 0;
  for await (const bytes of rawLines(file)) {
    number += 1;
    if (isBlank(bytes)) continue;
    yield toLine(bytes, originOf(number), index++, fields, decoder, depthMax);
  }
}

async function* rawLines(file: string): AsyncIterable<Buffer> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      rest.push(chunk.subarray(start, end));
      yield Buffer.concat(rest);
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    rest.push(chunk.subarray(start));
    restBytes += chunk.length - start;
    if (restBytes > LINE_BYTES_MAX) throw new AppError('PAYLOAD_TOO_LARGE', `a line has more than ${LINE_BYTES_MAX} bytes`);
  }
  if (restBytes > 0) yield Buffer.concat(rest);
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 32 || byte === 9 || byte === 13);
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
