/**
 * Which types of Parquet and Arrow are read, as a table: what the engine has to make of each for its values to be exact, and what column they become.
 * What is not in the table is refused by name. Neither the engine nor the converter is left to choose: both take types that they do not know for others
 * (a DECIMAL of 50 digits for a DOUBLE, seconds for bare numbers) and say nothing.
 *
 * docs/bulk.md has the same table; `source-types.spec.ts` compares them.
 */
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { type AppError, invalidArgument } from '../../common/app-error.js';
import type { SourceField } from '../../engine/source-field.js';

export type ColumnarFormat = 'parquet' | 'arrow';

export interface ReadType {
  /** As the engine reads it; of what has children, only the outermost. */
  readonly engine: EngineType;
  readonly column: 'BIGINT' | 'DOUBLE' | 'DECIMAL' | 'BOOLEAN' | 'VARCHAR' | 'DATE' | 'TIMESTAMPTZ' | 'JSON' | 'no column';
  /** Set when it cannot be read within a list, a struct or a map. */
  readonly onlyOutside?: OutsideReason;
  /** What has to be done to the value that the engine reads, because that is not yet what was meant. */
  readonly conversion?: Conversion;
}

/** A name of `DuckDBTypeId`; JSON, which is a VARCHAR of that alias; or what the values are that a dictionary or runs stand for. */
type EngineType = keyof typeof DuckDBTypeId | 'JSON' | 'its values';
export type Conversion = 'int96' | 'utc nanoseconds' | 'seconds' | 'milliseconds of a day' | 'text of JSON';
type OutsideReason = 'which is not read inside a list, a struct or a map';

/** JSON numbers become DOUBLE when they are read again: these many digits survive that. */
const DIGITS_INSIDE_MAX = 15;
const DIGITS_MAX = 38;

const onlyOutside: OutsideReason = 'which is not read inside a list, a struct or a map';
const bigint = (engine: EngineType): ReadType => ({ engine, column: 'BIGINT' });
const instant = (engine: EngineType): ReadType => ({ engine, column: 'TIMESTAMPTZ' });
const text = (engine: EngineType): ReadType => ({ engine, column: 'VARCHAR' });
const nested = (engine: EngineType): ReadType => ({ engine, column: 'JSON' });
const DECIMAL: ReadType = { engine: 'DECIMAL', column: 'DECIMAL' };

export const READ_TYPES: Readonly<Record<ColumnarFormat, Readonly<Record<string, ReadType>>>> = {
  parquet: {
    'INT32': bigint('INTEGER'),
    'INT32 INT_8': bigint('TINYINT'),
    'INT32 INT_16': bigint('SMALLINT'),
    'INT32 INT_32': bigint('INTEGER'),
    'INT64': bigint('BIGINT'),
    'INT64 INT_64': bigint('BIGINT'),
    'INT32 UINT_8': bigint('UTINYINT'),
    'INT32 UINT_16': bigint('USMALLINT'),
    'INT32 UINT_32': bigint('UINTEGER'),
    'INT64 UINT_64': bigint('UBIGINT'),
    'FLOAT': { engine: 'FLOAT', column: 'DOUBLE' },
    'DOUBLE': { engine: 'DOUBLE', column: 'DOUBLE' },
    'FIXED_LEN_BYTE_ARRAY FLOAT16': { engine: 'FLOAT', column: 'DOUBLE' },
    'INT32 DECIMAL': DECIMAL,
    'INT64 DECIMAL': DECIMAL,
    'FIXED_LEN_BYTE_ARRAY DECIMAL': DECIMAL,
    'BYTE_ARRAY DECIMAL': DECIMAL,
    'BOOLEAN': { engine: 'BOOLEAN', column: 'BOOLEAN' },
    'BYTE_ARRAY STRING': text('VARCHAR'),
    'BYTE_ARRAY ENUM': text('VARCHAR'),
    'FIXED_LEN_BYTE_ARRAY UUID': text('UUID'),
    'INT32 DATE': { engine: 'DATE', column: 'DATE' },
    'INT64 TIMESTAMP_MILLIS': instant('TIMESTAMP'),
    'INT64 TIMESTAMP_MILLIS UTC': instant('TIMESTAMP_TZ'),
    'INT64 TIMESTAMP_MICROS': instant('TIMESTAMP'),
    'INT64 TIMESTAMP_MICROS UTC': instant('TIMESTAMP_TZ'),
    'INT64 TIMESTAMP_NANOS': { ...instant('TIMESTAMP_NS'), onlyOutside },
    'INT64 TIMESTAMP_NANOS UTC': { ...instant('TIMESTAMP_NS'), onlyOutside, conversion: 'utc nanoseconds' },
    'INT96': { ...instant('BLOB'), onlyOutside, conversion: 'int96' },
    'BYTE_ARRAY JSON': nested('JSON'),
    'LIST': nested('LIST'),
    'STRUCT': nested('STRUCT'),
    'MAP': nested('MAP'),
    'INT32 NULL': { engine: 'INTEGER', column: 'no column' },
  },
  arrow: {
    'Int8': bigint('TINYINT'),
    'Int16': bigint('SMALLINT'),
    'Int32': bigint('INTEGER'),
    'Int64': bigint('BIGINT'),
    'UInt8': bigint('UTINYINT'),
    'UInt16': bigint('USMALLINT'),
    'UInt32': bigint('UINTEGER'),
    'UInt64': bigint('UBIGINT'),
    'Float16': { engine: 'FLOAT', column: 'DOUBLE' },
    'Float32': { engine: 'FLOAT', column: 'DOUBLE' },
    'Float64': { engine: 'DOUBLE', column: 'DOUBLE' },
    'Decimal32': DECIMAL,
    'Decimal64': DECIMAL,
    'Decimal128': DECIMAL,
    'Decimal256': DECIMAL,
    'Bool': { engine: 'BOOLEAN', column: 'BOOLEAN' },
    'Utf8': text('VARCHAR'),
    'LargeUtf8': text('VARCHAR'),
    'Utf8View': text('VARCHAR'),
    'Date(DAY)': { engine: 'DATE', column: 'DATE' },
    'Date(MILLISECOND)': { engine: 'BIGINT', column: 'DATE', onlyOutside, conversion: 'milliseconds of a day' },
    'Timestamp(SECOND)': { ...instant('BIGINT'), onlyOutside, conversion: 'seconds' },
    'Timestamp(SECOND) UTC': { ...instant('BIGINT'), onlyOutside, conversion: 'seconds' },
    'Timestamp(MILLISECOND)': instant('TIMESTAMP'),
    'Timestamp(MILLISECOND) UTC': instant('TIMESTAMP_TZ'),
    'Timestamp(MICROSECOND)': instant('TIMESTAMP'),
    'Timestamp(MICROSECOND) UTC': instant('TIMESTAMP_TZ'),
    'Timestamp(NANOSECOND)': { ...instant('TIMESTAMP_NS'), onlyOutside },
    'Timestamp(NANOSECOND) UTC': { ...instant('TIMESTAMP_NS'), onlyOutside, conversion: 'utc nanoseconds' },
    'Utf8 arrow.json': { ...nested('VARCHAR'), onlyOutside, conversion: 'text of JSON' },
    'List': nested('LIST'),
    'LargeList': nested('LIST'),
    'ListView': nested('LIST'),
    'LargeListView': nested('LIST'),
    'FixedSizeList': nested('LIST'),
    'Struct': nested('STRUCT'),
    'Map': nested('MAP'),
    'Null': { engine: 'INTEGER', column: 'no column' },
  },
}; // prettier-ignore

/** The lines of the table in docs/bulk.md. */
export function readTypesTable(): string[] {
  const columns = [...new Set(Object.values(READ_TYPES).flatMap((types) => Object.values(types).map(({ column }) => column)))];
  return columns.map((column) => {
    const cells = [READ_TYPES.parquet, READ_TYPES.arrow].map((types) =>
      Object.entries(types)
        .filter(([, read]) => read.column === column)
        .map(([type, read]) => `${type}${read.onlyOutside ? ' ¹' : ''}`)
        .join(', '),
    );
    return `| ${column} | ${cells.join(' | ')} |`;
  });
}

/** Encodings of Arrow that stand for other values: they are read as what they stand for when that is flat. */
const ENCODINGS = new Set(['Dictionary', 'RunEndEncoded']);
/** Values that the converter ends in the middle of when they are encoded so. */
const NEVER_ENCODED = /^(Utf8View|BinaryView|Null)$/;

const FORMAT_NAMES: Readonly<Record<ColumnarFormat, string>> = { parquet: 'Parquet', arrow: 'Arrow' };

/** What to do about types that are not read; the first that fits the type. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/^(Dictionary|RunEndEncoded)/, 'which is not read; cast it to plain text or numbers before it is written'],
  [/ \S*\.\S*$/, 'which is an extension type that is not read; send it as text'],
  [/TIME_|^Time\(|INTERVAL|^Interval|^Duration/, 'which no column of a table holds; send it as text or as a number'],
  [/BYTE_ARRAY|Binary/, 'which is binary data, and no column of a table holds that; send it as text, for example in base64'],
  [/./, 'which is not read; send it as text or as a number'],
];

/**
 * @throws AppError INVALID_ARGUMENT naming the first column whose name or type cannot be kept
 */
export function assertReadable(format: ColumnarFormat, fields: readonly SourceField[]): void {
  assertNames(fields, undefined);
  for (const field of fields) assertFieldReadable(format, field, field.name, []);
}

/** @param within names from the column down to the field, empty for the column itself */
function assertFieldReadable(format: ColumnarFormat, given: SourceField, column: string, within: readonly string[]): void {
  const field = decoded(given);
  const isInside = within.length > 0;
  const refuse = (why: string): AppError => {
    const type = `${FORMAT_NAMES[format]} ${typeText(field)}`;
    const place = isInside ? `has ${type} inside (${[column, ...within].join('.')})` : `is ${type}`;
    return invalidArgument(`column ${column} ${place}, ${why}`, [{ field: column }]);
  };
  const read = readType(format, field);
  if (!read) throw refuse(REMEDIES.find(([types]) => types.test(field.type))?.[1] ?? '');
  if (isInside && read.onlyOutside) throw refuse(`${read.onlyOutside}; ${remedyInside(read)}`);
  if (field.decimal) {
    const digitsMax = isInside ? DIGITS_INSIDE_MAX : DIGITS_MAX;
    const remedy = `cast it to DECIMAL(${digitsMax},s), or to text`;
    const { precision, scale } = field.decimal;
    if (scale < 0 || scale > precision) throw refuse(`whose scale is not from 0 to its precision; ${remedy}`);
    if (precision > digitsMax)
      throw refuse(
        isInside
          ? `which is not exact inside a list, a struct or a map; ${remedy}`
          : `which has more digits than a column holds; ${remedy}`,
      );
  }
  if (read.engine === 'LIST' && field.children.length !== 1) throw refuse('which declares no element; send it as text');
  if (read.engine === 'MAP') assertMapKey(format, field, refuse);
  if (read.engine === 'STRUCT') {
    if (field.children.length === 0) throw refuse('which has no fields; leave the column out');
    assertNames(field.children, column);
  }
  for (const child of field.children) assertFieldReadable(format, child, column, [...within, child.name]);
}

function remedyInside({ column, conversion }: ReadType): string {
  if (column === 'TIMESTAMPTZ') return 'cast it to an instant in microseconds';
  return conversion === 'text of JSON' ? 'cast it to plain text' : 'cast it to a date in days';
}

/** JSON has text for keys: a number that is printed one way or another would be another key. */
function assertMapKey(format: ColumnarFormat, { children }: SourceField, refuse: (why: string) => AppError): void {
  const [key] = children;
  const column = key && readType(format, decoded(key))?.column;
  if (children.length !== 2 || column === undefined || !['VARCHAR', 'BIGINT', 'BOOLEAN', 'DATE'].includes(column))
    throw refuse('whose keys are no text, integers, booleans or dates; cast the keys to text');
}

/** Names are compared without case, in tables as in the engine, which would rename all but the first. */
function assertNames(fields: readonly SourceField[], column: string | undefined): void {
  const seen = new Map<string, string>();
  for (const [index, { name }] of fields.entries()) {
    const refuse = (what: string): AppError =>
      invalidArgument(`${column === undefined ? '' : `column ${column}: `}${what}`, [{ field: column ?? name }]);
    const noun = column === undefined ? 'column' : 'field';
    if (name === '') throw refuse(`${noun} ${index + 1} has an empty name; give it one`);
    const before = seen.get(name.toLowerCase());
    if (before !== undefined)
      throw refuse(
        `${noun} ${name} is there twice (names are compared without case${before === name ? '' : `: ${before}, ${name}`}); rename one of them`,
      );
    seen.set(name.toLowerCase(), name);
  }
}

/** What a column stands for, without the way in which it is encoded. */
export function decoded(field: SourceField): SourceField {
  const [values] = field.children;
  if (!ENCODINGS.has(field.type) || !values) return field;
  if (values.children.length > 0 || NEVER_ENCODED.test(values.type))
    return { ...field, type: `${field.type}(${values.type})`, children: [] };
  return { ...values, name: field.name };
}

export function readType(format: ColumnarFormat, field: SourceField): ReadType | undefined {
  const types = READ_TYPES[format];
  return Object.hasOwn(types, field.type) ? types[field.type] : undefined;
}

function typeText({ type, decimal }: SourceField): string {
  return decimal ? `${type}(${decimal.precision},${decimal.scale})` : type;
}

/** True when the engine reads a field, which is readable, as the table says. */
export function isReadAs(format: ColumnarFormat, given: SourceField, type: DuckDBType): boolean {
  const field = decoded(given);
  const read = readType(format, field);
  const name = type.alias === 'JSON' ? 'JSON' : DuckDBTypeId[type.typeId];
  if (read?.engine !== name) return false;
  const [first, second] = field.children;
  switch (type.typeId) {
    case DuckDBTypeId.DECIMAL: {
      const { width, scale } = type;
      return width === field.decimal?.precision && scale === field.decimal.scale;
    }
    case DuckDBTypeId.LIST:
      return first !== undefined && isReadAs(format, first, type.valueType);
    case DuckDBTypeId.MAP:
      return (
        first !== undefined && second !== undefined && isReadAs(format, first, type.keyType) && isReadAs(format, second, type.valueType)
      );
    case DuckDBTypeId.STRUCT:
      return (
        field.children.length === type.entryNames.length &&
        field.children.every((child, index) => {
          const entryType = type.entryTypes[index];
          return child.name === type.entryNames[index] && entryType !== undefined && isReadAs(format, child, entryType);
        })
      );
    default:
      return true;
  }
}
