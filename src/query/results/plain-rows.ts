/**
 * Rows of small results as JSON text, made here from the engine's values. For them the engine's own JSON is not worth its price: the statement would
 * have to be planned once to learn its types and again around them, which takes longer than many a query. The text is the same, to the digit; a value
 * that is not sure to be printed alike sends the result the other way (`PlainRows.isPlain`, `NotPlain`). Large results are the engine's work, off the
 * event loop.
 */
import {
  DuckDBArrayValue,
  type DuckDBDataChunk,
  DuckDBDateValue,
  DuckDBListValue,
  DuckDBStructValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api';

/** Values that are printed before others get a turn: about a millisecond. */
const VALUES_OF_A_TURN = 2_000;

const MICROS_PER_SECOND = 1_000_000n;
const MICRO_DIGITS = 6;
/** Years of four digits, which is what a time has in JSON: 0001 to 9999. */
const [SECONDS_MIN, SECONDS_MAX] = [-62_135_596_800n, 253_402_300_799n];
const SECONDS_PER_DAY = 86_400n;

type Print = (value: DuckDBValue) => string;

/** Thrown for a value that only the engine prints. */
export class NotPlain extends Error {}

const asText: Print = (value) => JSON.stringify(String(value));
const asDigits: Print = (value) => String(value);

const SCALARS: ReadonlyMap<DuckDBTypeId, Print> = new Map<DuckDBTypeId, Print>([
  [DuckDBTypeId.BOOLEAN, asDigits],
  [DuckDBTypeId.TINYINT, asDigits],
  [DuckDBTypeId.SMALLINT, asDigits],
  [DuckDBTypeId.INTEGER, asDigits],
  [DuckDBTypeId.BIGINT, asDigits],
  [DuckDBTypeId.HUGEINT, asDigits],
  [DuckDBTypeId.UTINYINT, asDigits],
  [DuckDBTypeId.USMALLINT, asDigits],
  [DuckDBTypeId.UINTEGER, asDigits],
  [DuckDBTypeId.UBIGINT, asDigits],
  [DuckDBTypeId.FLOAT, printDouble],
  [DuckDBTypeId.DOUBLE, printDouble],
  [DuckDBTypeId.VARCHAR, asText],
  [DuckDBTypeId.ENUM, asText],
  [DuckDBTypeId.UUID, asText],
  [DuckDBTypeId.TIME, asText],
  [DuckDBTypeId.INTERVAL, asText],
  [DuckDBTypeId.BLOB, asText],
  [DuckDBTypeId.DATE, printDate],
  [DuckDBTypeId.TIMESTAMP, printLocalTime],
  [DuckDBTypeId.TIMESTAMP_TZ, printInstant],
]);

/** @returns undefined for a type that only the engine prints */
function printerOf(type: DuckDBType): Print | undefined {
  if (type.alias !== undefined) return type.alias === 'JSON' ? printJson : undefined;
  switch (type.typeId) {
    case DuckDBTypeId.DECIMAL:
      // The engine gives such a type room for a digit before the point.
      return type.width === type.scale ? undefined : asDigits;
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
      return listPrinter(printerOf(type.valueType));
    case DuckDBTypeId.STRUCT:
      return structPrinter(type.entryNames, type.entryTypes.map(printerOf));
    default:
      return SCALARS.get(type.typeId);
  }
}

function listPrinter(item: Print | undefined): Print | undefined {
  if (!item) return undefined;
  return (value) => {
    if (!(value instanceof DuckDBListValue || value instanceof DuckDBArrayValue)) throw new NotPlain();
    return `[${value.items.map((member) => (member === null ? 'null' : item(member))).join()}]`;
  };
}

function structPrinter(names: readonly string[], prints: readonly (Print | undefined)[]): Print | undefined {
  if (names.includes('') || prints.includes(undefined)) return undefined;
  return (value) => {
    if (!(value instanceof DuckDBStructValue)) throw new NotPlain();
    const members = names.map((name, index) => {
      const member = value.entries[name] ?? null;
      return `${JSON.stringify(name)}:${member === null ? 'null' : (prints[index]?.(member) ?? 'null')}`;
    });
    return `{${members.join()}}`;
  };
}

export class PlainRows {
  readonly #prints: readonly (Print | undefined)[];
  readonly #keys: readonly string[];

  constructor(names: readonly string[], types: readonly DuckDBType[]) {
    this.#prints = types.map(printerOf);
    this.#keys = names.map((name, index) => `${index === 0 ? '{' : ','}${JSON.stringify(name)}:`);
  }

  get isPlain(): boolean {
    return this.#prints.every((print) => print !== undefined);
  }

  /** Rows of a chunk, in turns. @throws NotPlain */
  *turns(chunk: DuckDBDataChunk): Iterable<string[]> {
    const columns = this.#prints.map((_, index) => chunk.getColumnValues(index));
    const rowsOfATurn = Math.max(1, Math.floor(VALUES_OF_A_TURN / Math.max(1, columns.length)));
    for (let from = 0; from < chunk.rowCount; from += rowsOfATurn) {
      const rows: string[] = [];
      for (let row = from; row < Math.min(from + rowsOfATurn, chunk.rowCount); row += 1) rows.push(this.#row(columns, row));
      yield rows;
    }
  }

  #row(columns: readonly (readonly DuckDBValue[])[], row: number): string {
    let text = '';
    for (const [index, print] of this.#prints.entries()) {
      const value = columns[index]?.[row] ?? null;
      text += `${this.#keys[index] ?? ''}${value === null || !print ? 'null' : print(value)}`;
    }
    return `${text}}`;
  }
}

/** Shortest text that reads back as the same number, as the engine has it: with a fraction or an exponent, and no plus sign. */
function printDouble(value: DuckDBValue): string {
  const number = Number(value);
  if (!Number.isFinite(number)) return 'null';
  if (Object.is(number, -0)) return '-0.0';
  const text = String(number);
  return /[.e]/.test(text) ? text.replace('e+', 'e') : `${text}.0`;
}

/** The engine also takes for JSON what is none, such as `[1,]`. */
function printJson(value: DuckDBValue): string {
  const text = String(value);
  try {
    JSON.parse(text);
  } catch {
    throw new NotPlain();
  }
  return text;
}

function printInstant(value: DuckDBValue): string {
  if (!(value instanceof DuckDBTimestampTZValue)) throw new NotPlain();
  return `"${isoMicros(value.micros)}Z"`;
}

/** A time of no zone is not one of UTC. */
function printLocalTime(value: DuckDBValue): string {
  if (!(value instanceof DuckDBTimestampValue)) throw new NotPlain();
  return `"${isoMicros(value.micros)}"`;
}

function isoMicros(micros: bigint): string {
  const fraction = ((micros % MICROS_PER_SECOND) + MICROS_PER_SECOND) % MICROS_PER_SECOND;
  const seconds = (micros - fraction) / MICROS_PER_SECOND;
  return `${isoSeconds(seconds)}.${String(fraction).padStart(MICRO_DIGITS, '0')}`;
}

function printDate(value: DuckDBValue): string {
  if (!(value instanceof DuckDBDateValue)) throw new NotPlain();
  return `"${isoSeconds(BigInt(value.days) * SECONDS_PER_DAY).slice(0, 10)}"`;
}

/** @throws NotPlain for infinity and other years than JSON has */
function isoSeconds(seconds: bigint): string {
  if (seconds < SECONDS_MIN || seconds > SECONDS_MAX) throw new NotPlain();
  return new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
}
