/**
 * Rows of a JSON text as an Arrow batch, straight from their bytes: for the many bodies in which everything fits at first sight. No object is made of a
 * row; what is plain is copied, and a value that is not goes through `encode-value.ts` alone. Where something does not fit, nothing is said of it here:
 * the rows are then looked at one by one (`encode-records.ts`), which names row, field and reason. The two give the same rows; `text-rows.spec.ts`
 * compares them.
 */
import { isUtf8 } from 'node:buffer';
import { parseJson } from '../../common/json.js';
import {
  BigintWriter,
  BooleanWriter,
  DoubleWriter,
  InstantWriter,
  IntegerWriter,
  streamOf,
  TextWriter,
} from '../../engine/arrow/batch-writer.js';
import { assertColumnName, type Column, ID_COLUMN, type TableSchema, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { EncodeRules } from './encode-records.js';
import { encodeValue } from './encode-value.js';
import { idText } from './record.js';
import { canonicalTimestamp } from './timestamp.js';

/** How rows stand in their text. */
export type RowForm =
  /** Flat objects, a line each; two of the fields are id and timestamp. */
  | { readonly kind: 'lines'; readonly id: string; readonly timestamp: string }
  /** A JSON array of objects with id, timestamp and payload. */
  | { readonly kind: 'records' };

export interface TextRows {
  /** The table's columns; the rows have values for no others. */
  readonly schema: TableSchema;
  readonly count: number;
  /** A plain Arrow stream: id, timestamp, and the columns that a row has a value of. */
  readonly stream: Buffer;
  readonly ids: () => string[];
  /** True when an id was made. */
  readonly lacksIds: boolean;
}

/** Bytes that are read in one turn of the event loop, about 2 ms. */
const BYTES_IN_ONE_TURN = 256 * 1_024;

const [TAB, LINE_FEED, RETURN, SPACE, QUOTE, COMMA, MINUS, POINT, ZERO, NINE, COLON] = [9, 10, 13, 32, 34, 44, 45, 46, 48, 57, 58];
const [OPEN_BRACKET, BACKSLASH, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE, DELETE] = [91, 92, 93, 123, 125, 127];
const [SMALL_F, SMALL_N, SMALL_T, CAPITAL_Z] = [102, 110, 116, 90];
const [TRUE, FALSE, NULL] = [Buffer.from('true'), Buffer.from('false'), Buffer.from('null')];
/** Digits that every integer type, or a double, holds whatever they are. */
const DIGITS_MAX: Readonly<Record<string, number>> = { BIGINT: 15, INTEGER: 9, DOUBLE: 15 };
/** Longest fraction that is made a double here. */
const FRACTION_CHARACTERS_MAX = 40;
/** Longest id that the default rule takes, if its characters are printable ASCII. */
const ID_BYTES_MAX = 255;
/** Where the parts of `"2024-01-01T10:00:00.000000Z"` stand, counted from its quote, and the most that hours, minutes and seconds can be. */
const DAY_LENGTH = 10;
const [HOUR, MINUTE, SECOND] = [12, 15, 18];
const TIMES = [
  [HOUR, 23],
  [MINUTE, 59],
  [SECOND, 59],
] as const;
const SECOND_END = 20;
const [MILLISECOND_DIGITS, MICROSECOND_DIGITS] = [3, 6];
const MS_END = 23;
const FRACTION_DIGITS_MAX = 9;
/** A batch has a place for each row in each column: this many bytes for each, and so many times its text it may come to, and a little more. */
const PLACE_BYTES = 8;
const TIMES_THE_TEXT_MAX = 4;
const PLACES_BYTES_FREE = 1_024 * 1_024;
/** Levels above the values of a row: the row, and around it the body, its records, and the payload. */
const LEVELS_OF_LINES = 1;
const LEVELS_OF_RECORDS = 4;

/** What a key of a row means. */
type Meaning = 'id' | 'timestamp' | 'payload' | 'nothing' | ColumnKey;

interface ColumnKey {
  readonly column: Column;
  readonly writer: ValueWriter;
  /** The last row that had it. */
  row: number;
}

type ValueWriter = TextWriter | BigintWriter | IntegerWriter | DoubleWriter | BooleanWriter;

interface KnownKey {
  readonly bytes: Buffer;
  readonly meaning: Meaning;
}

/** Says that a body is not plain. */
class NotPlain extends Error {}
const NOT_PLAIN = new NotPlain('not plain');

/**
 * @param text the lines, or the array
 * @returns undefined when the rows have to be looked at one by one
 */
export function* textRows(
  text: Buffer,
  form: RowForm,
  schema: TableSchema,
  rules: EncodeRules,
  rowsMax: number,
): Generator<undefined, TextRows | undefined> {
  if (rules.idRule.refusal !== undefined || (rules.declared?.size ?? 0) > 0 || !isUtf8(text)) return undefined;
  const reader = new RowReader(text, form, schema, rules);
  try {
    while (reader.read(BYTES_IN_ONE_TURN)) {
      if (reader.rows > rowsMax) return undefined;
      yield;
    }
  } catch (error) {
    if (error === NOT_PLAIN) return undefined;
    throw error;
  }
  return reader.rows === 0 || reader.rows > rowsMax ? undefined : { schema, ...reader.result() };
}

class RowReader {
  rows = 0;
  #lacksIds = false;
  #at = 0;
  readonly #ids = new TextWriter(ID_COLUMN);
  readonly #timestamps = new InstantWriter(TIMESTAMP_COLUMN);
  readonly #columns: ColumnKey[] = [];
  /** Whether the row had its id and its time. */
  #hasId = false;
  #hasTimestamp = false;
  /** Keys in the order of the last row, as the next one most often has them: those of the row, then those of a payload. */
  readonly #order: KnownKey[][] = [[], []];
  readonly #known = [new Map<string, KnownKey>(), new Map<string, KnownKey>()];
  readonly #isLines: boolean;
  readonly #depthMax: number;
  readonly #placesBytesMax: number;
  /** The beginning of a timestamp of a day that exists, as neighbours often share it, and when that day begins. */
  #day = Buffer.from('none');
  #dayMs = 0;
  #hasBegun = false;

  constructor(
    private readonly text: Buffer,
    private readonly form: RowForm,
    private readonly schema: TableSchema,
    private readonly rules: EncodeRules,
  ) {
    this.#isLines = form.kind === 'lines';
    this.#placesBytesMax = TIMES_THE_TEXT_MAX * text.length + PLACES_BYTES_FREE;
    this.#depthMax = rules.depthMax - (this.#isLines ? LEVELS_OF_LINES : LEVELS_OF_RECORDS);
  }

  result(): Omit<TextRows, 'schema'> {
    const stream = streamOf(this.rows, [this.#ids, this.#timestamps, ...this.#columns.map(({ writer }) => writer)]);
    return { count: this.rows, stream, ids: () => this.#ids.texts(), lacksIds: this.#lacksIds };
  }

  /** Reads some rows. @returns false when there are no more @throws NOT_PLAIN */
  read(bytes: number): boolean {
    const until = this.#at + bytes;
    while (this.#at < until) if (!(this.#isLines ? this.#nextLine() : this.#nextRecord())) return false;
    return true;
  }

  #nextLine(): boolean {
    const { text } = this;
    while (isBlank(text[this.#at]) || text[this.#at] === LINE_FEED) this.#at += 1;
    if (this.#at >= text.length) return false;
    this.#row();
    this.#skipBlanks();
    if (this.#at < text.length && text[this.#at] !== LINE_FEED) throw NOT_PLAIN;
    return true;
  }

  #nextRecord(): boolean {
    this.#skipBlanks();
    if (!this.#hasBegun) {
      this.#expect(OPEN_BRACKET);
      this.#hasBegun = true;
    } else if (this.text[this.#at] === CLOSE_BRACKET) {
      this.#at += 1;
      this.#skipBlanks();
      if (this.#at < this.text.length) throw NOT_PLAIN;
      return false;
    } else this.#expect(COMMA);
    this.#skipBlanks();
    this.#row();
    return true;
  }

  #row(): void {
    this.#hasId = this.#hasTimestamp = false;
    this.#object(0);
    if (!this.#hasId) {
      if (!this.rules.makeId) throw NOT_PLAIN;
      this.#lacksIds = true;
      this.#ids.add(this.rows, this.rules.makeId());
    }
    if (!this.#hasTimestamp) this.#timestamps.add(this.rows, this.rules.nowMs, 0);
    this.rows += 1;
    // Many columns with few values each are small as text and large as a batch.
    if (this.rows * this.#columns.length * PLACE_BYTES > this.#placesBytesMax) throw NOT_PLAIN;
  }

  /** @param level 0: the row, 1: its payload */
  #object(level: 0 | 1): void {
    this.#expect(OPEN_BRACE);
    this.#skipBlanks();
    if (this.text[this.#at] === CLOSE_BRACE) {
      this.#at += 1;
      return;
    }
    for (let index = 0; ; index += 1) {
      const meaning = this.#key(level, index);
      this.#skipBlanks();
      this.#expect(COLON);
      this.#skipBlanks();
      this.#member(meaning);
      this.#skipBlanks();
      const end = this.text[this.#at++];
      if (end === CLOSE_BRACE) return;
      if (end !== COMMA) throw NOT_PLAIN;
      this.#skipBlanks();
    }
  }

  /** Reads a value, and writes it: what does not fit ends the whole body. */
  #member(meaning: Meaning): void {
    const start = this.#at;
    const isNull = this.text[start] === SMALL_N;
    if (isNull) this.#expectWord(NULL);
    if (meaning === 'payload') {
      if (!isNull) this.#object(1);
    } else if (meaning === 'nothing') {
      if (!isNull) throw NOT_PLAIN;
    } else if (meaning === 'id') {
      if (this.#hasId) throw NOT_PLAIN;
      this.#hasId = !isNull;
      if (!isNull) this.#readId(start);
    } else if (meaning === 'timestamp') {
      if (this.#hasTimestamp) throw NOT_PLAIN;
      this.#hasTimestamp = !isNull;
      if (!isNull) this.#readTimestamp(start);
    } else {
      // Of two values of one column, the way that looks closely says what becomes of them.
      if (meaning.row === this.rows) throw NOT_PLAIN;
      meaning.row = this.rows;
      if (!isNull && !this.#readPlain(meaning, start)) this.#readOther(meaning, start);
    }
  }

  #key(level: 0 | 1, index: number): Meaning {
    const { text } = this;
    this.#expect(QUOTE);
    const start = this.#at;
    const expected = this.#order[level]?.[index];
    if (expected && text[start + expected.bytes.length] === QUOTE && isAt(text, start, expected.bytes)) {
      this.#at = start + expected.bytes.length + 1;
      return expected.meaning;
    }
    this.#skipText(start);
    const name = text.toString('utf8', start, this.#at - 1);
    const known = this.#known[level]?.get(name) ?? this.#learn(level, name);
    const order = this.#order[level];
    if (order && index <= order.length) order[index] = known;
    return known.meaning;
  }

  #learn(level: 0 | 1, name: string): KnownKey {
    if (name.includes('\\')) throw NOT_PLAIN;
    const known = { bytes: Buffer.from(name), meaning: this.#meaningOf(level, name) };
    this.#known[level]?.set(name, known);
    return known;
  }

  #meaningOf(level: 0 | 1, name: string): Meaning {
    const { form } = this;
    if (form.kind === 'records' && level === 0) {
      if (name === 'id' || name === 'timestamp' || name === 'payload') return name;
      throw NOT_PLAIN;
    }
    if (form.kind === 'lines' && name === form.id) return 'id';
    if (form.kind === 'lines' && name === form.timestamp) return 'timestamp';
    const column = this.schema.column(name);
    // A name in another case may be a second value of the same column.
    if (column && column.fieldId > 2 && column.name === name) {
      const key = { column, writer: writerFor(column), row: -1 };
      this.#columns.push(key);
      return key;
    }
    if (column) throw NOT_PLAIN;
    try {
      assertColumnName(name);
    } catch {
      throw NOT_PLAIN;
    }
    return 'nothing';
  }

  #readId(start: number): void {
    const { text, rules } = this;
    const { idRule } = rules;
    if (text[start] === QUOTE && idRule.isDefault) {
      let at = start + 1;
      for (let byte = text[at] ?? 0; byte >= SPACE && byte < DELETE && byte !== QUOTE && byte !== BACKSLASH; byte = text[at] ?? 0) at += 1;
      const length = at - start - 1;
      if (text[at] === QUOTE && length > 0 && length <= ID_BYTES_MAX) {
        this.#ids.copy(this.rows, text, start + 1, at);
        this.#at = at + 1;
        return;
      }
    }
    const id = idText(this.#parsed(start));
    if (id === undefined || id.length < 1 || id.length > idRule.lengthMax || !idRule.fits(id) || !isText(id)) throw NOT_PLAIN;
    this.#ids.add(this.rows, id);
  }

  #readTimestamp(start: number): void {
    const { text } = this;
    const end = this.#endOfUsualTimestamp(start);
    if (end > 0) {
      const seconds = (numberAt(text, start + HOUR) * 60 + numberAt(text, start + MINUTE)) * 60 + numberAt(text, start + SECOND);
      let micros = 0;
      let at = start + SECOND_END + 1;
      for (let digit = 0; digit < MICROSECOND_DIGITS; digit += 1) {
        const byte = text[at] ?? 0;
        const isNext = isDigit(byte);
        micros = micros * 10 + (isNext ? byte - ZERO : 0);
        if (isNext) at += 1;
      }
      this.#timestamps.add(this.rows, this.#dayMs + seconds * 1_000 + Math.floor(micros / 1_000), micros % 1_000);
      this.#at = end;
      return;
    }
    const timestamp = canonicalTimestamp(this.#parsed(start), this.rules.timestampUnit);
    if (timestamp === undefined) throw NOT_PLAIN;
    this.#day = Buffer.from(`"${timestamp.slice(0, DAY_LENGTH)}T`);
    this.#dayMs = Date.parse(`${timestamp.slice(0, DAY_LENGTH)}T00:00:00.000Z`);
    this.#timestamps.add(
      this.rows,
      Date.parse(`${timestamp.slice(0, MS_END)}Z`),
      Number(timestamp.slice(MS_END, MS_END + MILLISECOND_DIGITS)),
    );
  }

  /** Where `"…T10:00:00Z"` ends, with a fraction or without, of the day of a timestamp before it: such a day exists. 0 for anything else. */
  #endOfUsualTimestamp(start: number): number {
    const { text } = this;
    if (!isAt(text, start, this.#day)) return 0;
    for (const [place, max] of TIMES) {
      const value = numberAt(text, start + place);
      if (value < 0 || value > max || (place > HOUR && text[start + place - 1] !== COLON)) return 0;
    }
    let at = start + SECOND_END;
    if (text[at] === POINT) {
      const first = (at += 1);
      while (isDigit(text[at])) at += 1;
      if (at === first || at - first > FRACTION_DIGITS_MAX) return 0;
    }
    return text[at] === CAPITAL_Z && text[at + 1] === QUOTE ? at + 2 : 0;
  }

  /** Reads a value whose bytes say it at once. @returns false for any other, of which nothing is read */
  #readPlain({ column: { type }, writer }: ColumnKey, start: number): boolean {
    const first = this.text[start];
    if (writer instanceof TextWriter) {
      const end = type === 'VARCHAR' && first === QUOTE ? this.#endOfPlainText(start + 1) : 0;
      if (end === 0) return false;
      writer.copy(this.rows, this.text, start + 1, end);
      this.#at = end + 1;
      return true;
    }
    if (writer instanceof BooleanWriter) {
      if (first !== SMALL_T && first !== SMALL_F) return false;
      this.#expectWord(first === SMALL_T ? TRUE : FALSE);
      writer.add(this.rows, first === SMALL_T);
      return true;
    }
    const value = this.#readNumber(start, DIGITS_MAX[type] ?? 0, writer instanceof DoubleWriter);
    if (value === undefined) return false;
    writer.add(this.rows, value);
    return true;
  }

  /** The value by way of what it means. */
  #readOther({ column, writer }: ColumnKey, start: number): void {
    const value = this.#parsed(start);
    const encoded = encodeValue(value, column.type, this.rules.depthMax);
    if (typeof encoded !== 'string') throw NOT_PLAIN;
    if (writer instanceof BigintWriter) writer.add(this.rows, BigInt(encoded));
    else if (writer instanceof TextWriter) {
      const text = column.type === 'VARCHAR' ? value : column.type === 'JSON' ? encoded : unquoted(encoded);
      if (typeof text !== 'string' || !isText(text)) throw NOT_PLAIN;
      writer.add(this.rows, text);
    } else if (writer instanceof BooleanWriter) throw NOT_PLAIN;
    else writer.add(this.rows, Number(encoded));
  }

  /** Where the closing quote of a text without escapes stands; 0 for one with escapes. */
  #endOfPlainText(start: number): number {
    const { text } = this;
    for (let at = start; at < text.length; at += 1) {
      const byte = text[at] ?? 0;
      if (byte === QUOTE) return at;
      if (byte === BACKSLASH) return 0;
      if (byte < SPACE) throw NOT_PLAIN;
    }
    throw NOT_PLAIN;
  }

  #hasEscape(start: number, end: number): boolean {
    const { text } = this;
    for (let at = start; at < end; at += 1) if (text[at] === BACKSLASH) return true;
    return false;
  }

  /**
   * Digits, not with a needless 0 before them, perhaps a minus, perhaps a fraction. Minus zero is 0 by the other way. A few digits make two whole numbers
   * that a double holds, and their quotient is the double nearest to what is written.
   * @returns undefined for anything else, of which nothing is read
   */
  #readNumber(start: number, digitsMax: number, mayHaveFraction: boolean): number | undefined {
    const { text } = this;
    const isNegative = text[start] === MINUS;
    const first = isNegative ? start + 1 : start;
    if (text[first] === ZERO && (isNegative || isDigit(text[first + 1]))) return undefined;
    let digits = 0;
    let divisor = 0;
    let at = first;
    for (; ; at += 1) {
      const byte = text[at] ?? 0;
      if (isDigit(byte)) {
        digits = digits * 10 + byte - ZERO;
        divisor *= 10;
      } else if (byte === POINT && mayHaveFraction && divisor === 0 && at > first && isDigit(text[at + 1])) divisor = 1;
      else break;
    }
    if (at === first || !isAfterNumber(text[at])) return undefined;
    let value = divisor === 0 ? digits : digits / divisor;
    if (at - first > digitsMax) {
      // Any fraction is a double, but one that is too small to be told from 0; of a long integer the other way sees what it needs.
      if (divisor === 0 || at - first > FRACTION_CHARACTERS_MAX) return undefined;
      value = Number(text.toString('latin1', first, at));
      if (value === 0) return undefined;
    }
    this.#at = at;
    return isNegative ? -value : value;
  }

  /** What a value means; goes behind it. */
  #parsed(start: number): unknown {
    this.#at = start;
    this.#skipValue();
    const after = this.#at;
    // A text without escapes needs no parser.
    if (this.text[start] === QUOTE && !this.#hasEscape(start + 1, after - 1)) return this.text.toString('utf8', start + 1, after - 1);
    try {
      return parseJson(this.text.toString('utf8', start, after), 'the value');
    } catch {
      throw NOT_PLAIN;
    }
  }

  /** Goes to the end of a value. What is in a number, or nested, is looked at when it is encoded. */
  #skipValue(): void {
    const { text } = this;
    switch (text[this.#at]) {
      case QUOTE:
        this.#skipText(this.#at + 1);
        return;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        this.#skipNested();
        return;
      case SMALL_T:
        this.#expectWord(TRUE);
        return;
      case SMALL_F:
        this.#expectWord(FALSE);
        return;
      case SMALL_N:
        this.#expectWord(NULL);
        return;
      default: {
        const start = this.#at;
        while (!isAfterNumber(text[this.#at])) this.#at += 1;
        if (this.#at === start) throw NOT_PLAIN;
      }
    }
  }

  /** Goes behind the closing quote. */
  #skipText(start: number): void {
    const { text } = this;
    for (let at = start; at < text.length; at += 1) {
      const byte = text[at] ?? 0;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return;
      }
      if (byte < SPACE) throw NOT_PLAIN;
      if (byte === BACKSLASH) at += 1;
    }
    throw NOT_PLAIN;
  }

  #skipNested(): void {
    const { text } = this;
    let depth = 0;
    while (this.#at < text.length) {
      const byte = text[this.#at] ?? 0;
      if (byte === QUOTE) {
        this.#skipText(this.#at + 1);
        continue;
      }
      // A line ends there.
      if (byte === LINE_FEED && this.#isLines) break;
      this.#at += 1;
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
      if (depth > this.#depthMax) throw NOT_PLAIN;
      if (depth === 0) return;
    }
    throw NOT_PLAIN;
  }

  #skipBlanks(): void {
    const { text } = this;
    while (isBlank(text[this.#at]) || (!this.#isLines && text[this.#at] === LINE_FEED)) this.#at += 1;
  }

  #expect(byte: number): void {
    if (this.text[this.#at] !== byte) throw NOT_PLAIN;
    this.#at += 1;
  }

  #expectWord(word: Buffer): void {
    if (!isAt(this.text, this.#at, word)) throw NOT_PLAIN;
    this.#at += word.length;
  }
}

function writerFor({ name, type }: Column): ValueWriter {
  switch (type) {
    case 'BIGINT':
      return new BigintWriter(name);
    case 'INTEGER':
      return new IntegerWriter(name);
    case 'DOUBLE':
      return new DoubleWriter(name);
    case 'BOOLEAN':
      return new BooleanWriter(name);
    default:
      // The engine reads it as it reads the text of any other way.
      return new TextWriter(name);
  }
}

/** Dates, instants and decimals are encoded as a text without escapes. */
function unquoted(encoded: string): string {
  return encoded.startsWith('"') ? encoded.slice(1, -1) : encoded;
}

/** What a column of Arrow keeps as it is, whoever reads it. */
function isText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB || byte === RETURN;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

/** @returns the number of two digits, or -1 */
function numberAt(text: Buffer, at: number): number {
  return isDigit(text[at]) && isDigit(text[at + 1]) ? ((text[at] ?? 0) - ZERO) * 10 + (text[at + 1] ?? 0) - ZERO : -1;
}

function isAfterNumber(byte: number | undefined): boolean {
  return byte === undefined || byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte === LINE_FEED || isBlank(byte);
}

function isAt(text: Buffer, start: number, bytes: Buffer): boolean {
  for (let index = 0; index < bytes.length; index += 1) if (text[start + index] !== bytes[index]) return false;
  return true;
}
