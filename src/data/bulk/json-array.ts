/** A JSON array of objects as NDJSON, in the engine: however long it is, it is never parsed as a whole. */
import { stat } from 'node:fs/promises';
import type { Engine } from '../../infra/duckdb/engine.js';
import { quoteText } from '../../infra/duckdb/sql-text.js';
import { bodyError } from './body-error.js';
import { LINE_BYTES_MAX } from './bulk-lines.js';

/**
 * Each element becomes a line with the very characters it had. Line breaks in it can only stand between its parts, where a space says the same.
 * @returns bytes of the lines
 */
export async function arrayToLines(engine: Engine, array: string, lines: string): Promise<number> {
  const elements = `read_json_objects(${quoteText(array)}, format = 'array', maximum_object_size = ${LINE_BYTES_MAX})`;
  const line = `replace(replace(json::VARCHAR, chr(10), ' '), chr(13), ' ')`;
  try {
    // No character that JSON may hold is a delimiter or a quote here, so the text goes out as it is.
    await engine.run(
      `COPY (SELECT ${line} FROM ${elements}) TO ${quoteText(lines)} (FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '')`,
    );
  } catch (error) {
    throw bodyError(error, 'the body is not a JSON array of rows', array);
  }
  return (await stat(lines)).size;
}
