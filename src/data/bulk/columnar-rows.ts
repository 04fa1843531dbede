/**
 * A SELECT of the rows of Parquet files, whoever wrote them, that gives each column as its own schema means it: types that the table of
 * `source-types.ts` knows, read as it says, with every digit.
 */
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { AppError, invalidArgument } from '../../common/app-error.js';
import { anyWithin } from '../../engine/duckdb/any-within.js';
import { asNumber, type Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteTextList } from '../../engine/duckdb/sql-text.js';
import type { SourceField } from '../../engine/source-field.js';
import { bodyError } from './body-error.js';
import { type ColumnarFormat, type Conversion, decoded, isReadAs, readType } from './source-types.js';

const MILLISECONDS_PER_DAY = 86_400_000;
/** Day 0 of INT96 is long before 1970. */
const JULIAN_DAY_OF_1970 = 2_440_588;

export interface ColumnarRows {
  readonly select: string;
  /** Columns that are there even if they have no value anywhere: their type is known. */
  readonly declared: ReadonlySet<string>;
}

/** True when the engine would cut instants unless the files' footers are changed, see `exposeInstants`. */
export function hasHiddenDigits(format: ColumnarFormat, fields: readonly SourceField[]): boolean {
  return fields.some((field) => ['int96', 'utc nanoseconds'].includes(readType(format, decoded(field))?.conversion ?? ''));
}

/**
 * @param format that declares the columns; the files are Parquet in either case
 * @param files without hidden digits
 * @param fields that are readable
 * @throws AppError INVALID_ARGUMENT for a file that is damaged, or a value that cannot be kept
 */
export async function columnarRows(
  engine: Engine,
  format: ColumnarFormat,
  files: readonly string[],
  fields: readonly SourceField[],
): Promise<ColumnarRows> {
  const conversions = fields.flatMap((field): [string, Conversion][] => {
    const conversion = readType(format, decoded(field))?.conversion;
    return conversion ? [[field.name, conversion]] : [];
  });
  const from = `read_parquet(${quoteTextList(files)}, hive_partitioning = false)`;
  try {
    const columns = await columnsOf(engine, `SELECT * FROM ${from}`);
    assertReadAs(format, fields, columns);
    await assertKept(engine, from, [...conversions.flatMap(lossOf), ...columns.flatMap(repeatedKeysOf)]);
    const replaced = conversions.flatMap(([name, conversion]) => {
      const sql = convertedSql(quoteName(name), conversion);
      return sql === undefined ? [] : [`${sql} AS ${quoteName(name)}`];
    });
    const select = `SELECT *${replaced.length > 0 ? ` REPLACE (${replaced.join(', ')})` : ''} FROM ${from}`;
    await engine.run(`${select} LIMIT 1`);
    const declared = fields.filter((field) => readType(format, decoded(field))?.column !== 'no column').map(({ name }) => name);
    return { select, declared: new Set(declared) };
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw bodyError(error, `the body is not ${format === 'parquet' ? 'Parquet' : 'an Arrow IPC stream'} that can be read`, ...files);
  }
}

interface EngineColumn {
  readonly name: string;
  readonly type: DuckDBType;
}

async function columnsOf(engine: Engine, select: string): Promise<EngineColumn[]> {
  return engine.withConnection(async (connection) => {
    const statement = await connection.prepare(select);
    try {
      return Array.from({ length: statement.columnCount }, (_, index) => ({
        name: statement.columnName(index),
        type: statement.columnType(index),
      }));
    } finally {
      statement.destroySync();
    }
  });
}

/** The engine says what the footer has, but reads it by rules of its own. */
function assertReadAs(format: ColumnarFormat, fields: readonly SourceField[], columns: readonly EngineColumn[]): void {
  for (const [index, field] of fields.entries()) {
    const column = columns[index];
    if (column?.name === field.name && isReadAs(format, field, column.type)) continue;
    const type = column ? column.type.toString() : 'nothing';
    throw invalidArgument(
      `column ${field.name} is ${decoded(field).type}, which would be read as ${type}; send it as text or as a number`,
      [{ field: field.name }],
    );
  }
  if (columns.length !== fields.length) throw invalidArgument(`the body declares ${fields.length} columns and has ${columns.length}`);
}

/** SQL of the value that was meant, or undefined where the engine reads just that. */
function convertedSql(name: string, conversion: Conversion): string | undefined {
  switch (conversion) {
    case 'utc nanoseconds':
      return undefined;
    case 'int96':
      return `make_timestamp((${int96Days(name)} - ${JULIAN_DAY_OF_1970}) * ${MILLISECONDS_PER_DAY}000 + (${int96Nanoseconds(name)} // 1000)::BIGINT)`;
    case 'seconds':
      return `make_timestamp(${name} * 1000000)`;
    case 'milliseconds of a day':
      return `DATE '1970-01-01' + (${name} // ${MILLISECONDS_PER_DAY})::INTEGER`;
    case 'text of JSON':
      return `${name}::JSON`;
  }
}

/** Nanoseconds of the day in 8 bytes and the day in 4, the least significant byte first. */
function int96Digits(name: string): string {
  return `array_to_string(list_reverse(regexp_extract_all(hex(${name}), '..')), '')`;
}

function int96Days(name: string): string {
  return `('0x' || ${int96Digits(name)}[1:8])::BIGINT`;
}

function int96Nanoseconds(name: string): string {
  return `('0x' || ${int96Digits(name)}[9:24])::UBIGINT`;
}

/** Something in a column that would be lost. */
interface Loss {
  readonly column: string;
  /** SQL that is true for such a value. */
  readonly condition: string;
  readonly reason: string;
}

function lossOf([column, conversion]: readonly [string, Conversion]): Loss[] {
  const name = quoteName(column);
  switch (conversion) {
    case 'milliseconds of a day':
      return [
        {
          column,
          condition: `${name} % ${MILLISECONDS_PER_DAY} <> 0`,
          reason: 'is a date with a time of day; cast the column to a date in days, or to an instant',
        },
      ];
    default:
      return [];
  }
}

/** A JSON object has each key once: of two values, one would be lost. */
function repeatedKeysOf({ name, type }: EngineColumn): Loss[] {
  const condition = anyWithin(quoteName(name), type, (value, { typeId }) =>
    typeId === DuckDBTypeId.MAP ? `len(list_distinct(map_keys(${value}))) <> len(map_keys(${value}))` : undefined,
  );
  return condition ? [{ column: name, condition, reason: 'has a map with the same key twice; keep one value per key' }] : [];
}

/** @throws AppError INVALID_ARGUMENT naming column and row of a value that would be lost */
async function assertKept(engine: Engine, from: string, losses: readonly Loss[]): Promise<void> {
  if (losses.length === 0) return;
  const first = losses.map(({ condition }, index) => `min(row) FILTER (WHERE ${condition}) AS r${index}`);
  const found = await engine.row(`SELECT ${first.join(', ')} FROM (SELECT *, row_number() OVER () AS row FROM ${from})`);
  for (const [index, { column, reason }] of losses.entries()) {
    const row = found[`r${index}`];
    if (row === null || row === undefined) continue;
    const line = asNumber(row);
    throw invalidArgument(`row ${line}: the value of column ${column} ${reason}`, [{ line, field: column, reason: `it ${reason}` }]);
  }
}
