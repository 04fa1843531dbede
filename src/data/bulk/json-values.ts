/** A JSON array of objects, or objects one after the other, as NDJSON, in the engine: however long it is, it is never parsed as a whole. */
import { createReadStream, createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../common/app-error.js';
import type { Engine } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { bodyError } from './body-error.js';
import { LINE_BYTES_MAX } from './bulk-lines.js';

/**
 * @returns bytes of the lines; undefined when the body is lines already, or its objects cannot be told apart: then its lines tell what is wrong
 * @throws AppError INVALID_ARGUMENT for an array that cannot be read
 */
export async function valuesToLines(engine: Engine, file: string, lines: string, mayHoldBadElements: boolean): Promise<number | undefined> {
  if (!(await beginsWith(file, OPEN_BRACE))) return arrayToLines(engine, file, lines, mayHoldBadElements);
  try {
    await copyValues(engine, file, 'unstructured', lines);
    return (await stat(lines)).size;
  } catch {
    return undefined;
  }
}

const FIRST_BYTES = 4_096;

async function beginsWith(path: string, sign: number): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(FIRST_BYTES), 0, FIRST_BYTES, 0);
    const [first] = Buffer.from(
      buffer
        .toString('utf8', 0, bytesRead)
        .replace(/^\ufeff/, '')
        .trimStart(),
    );
    return first === sign;
  } finally {
    await file.close();
  }
}

/** No character that JSON may hold is a delimiter or a quote here, so the text of each value goes out as it is. */
async function copyValues(engine: Engine, file: string, format: 'array' | 'unstructured', lines: string): Promise<void> {
  const values = `read_json_objects(${quoteText(file)}, format = '${format}', maximum_object_size = ${LINE_BYTES_MAX})`;
  const line = `replace(replace(json::VARCHAR, chr(10), ' '), chr(13), ' ')`;
  await engine.run(
    `COPY (SELECT ${line} FROM ${values}) TO ${quoteText(lines)} (FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '')`,
  );
}

/**
 * Each element becomes a line with the very characters it had. Line breaks in it can only stand between its parts, where a space says the same.
 * @param mayHoldBadElements cuts an array that the engine does not read where its commas are, so that only the elements that are no JSON are refused
 * @returns bytes of the lines
 */
async function arrayToLines(engine: Engine, array: string, lines: string, mayHoldBadElements: boolean): Promise<number> {
  try {
    await copyValues(engine, array, 'array', lines);
  } catch (error) {
    const isCut = mayHoldBadElements && messageOf(error).includes('Malformed JSON') && (await cutByHand(array, lines));
    if (!isCut) throw bodyError(error, 'the body is not a JSON array of rows', array);
  }
  return (await stat(lines)).size;
}

/** @returns false when brackets and commas are not those of an array */
async function cutByHand(array: string, lines: string): Promise<boolean> {
  const cutter = new ArrayCutter();
  await pipeline(
    createReadStream(array),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) yield cutter.cut(chunk);
    },
    createWriteStream(lines),
  );
  return cutter.place === 'behind';
}

const [TAB, NEWLINE, RETURN, SPACE, QUOTE, COMMA, BACKSLASH] = [9, 10, 13, 32, 34, 44, 0x5c];
const [OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
/** A line break within a text is no JSON, and must not become any. */
const NOT_IN_JSON = 1;

/** Makes lines of an array byte for byte: its brackets go, a comma between elements becomes a line break, a line break in an element a space. */
class ArrayCutter {
  place: 'before' | 'first' | 'element' | 'next' | 'behind' | 'broken' = 'before';
  /** Of brackets within the element. */
  #depth = 0;
  #isInText = false;
  #isEscaped = false;

  cut(chunk: Buffer): Buffer {
    return chunk.map((byte) => this.#cutByte(byte)) as Buffer;
  }

  #cutByte(byte: number): number {
    if (this.place === 'element') return this.#isInText ? this.#ofText(byte) : this.#ofElement(byte);
    if (byte === SPACE || byte === TAB || byte === NEWLINE || byte === RETURN) return SPACE;
    if (this.place === 'before' && BYTE_ORDER_MARK.includes(byte)) return SPACE;
    if (this.place === 'before' && byte === OPEN_BRACKET) this.place = 'first';
    else if (this.place === 'first' && byte === CLOSE_BRACKET) this.place = 'behind';
    else if ((this.place === 'first' || this.place === 'next') && byte !== CLOSE_BRACKET && byte !== COMMA) {
      this.place = 'element';
      return this.#ofElement(byte);
    } else this.place = 'broken';
    return SPACE;
  }

  #ofText(byte: number): number {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === BACKSLASH) this.#isEscaped = true;
    else if (byte === QUOTE) this.#isInText = false;
    return byte === NEWLINE || byte === RETURN ? NOT_IN_JSON : byte;
  }

  #ofElement(byte: number): number {
    if (byte === QUOTE) this.#isInText = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#depth += 1;
    else if (this.#depth > 0 && (byte === CLOSE_BRACE || byte === CLOSE_BRACKET)) this.#depth -= 1;
    else if (this.#depth === 0 && (byte === COMMA || byte === CLOSE_BRACKET)) {
      this.place = byte === COMMA ? 'next' : 'behind';
      return NEWLINE;
    }
    return byte === NEWLINE || byte === RETURN ? SPACE : byte;
  }
}
