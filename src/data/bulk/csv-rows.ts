/**
 * CSV (RFC 4180, comma, header line, UTF-8) as typed rows. Cells are read as text; a column of the table gives its cells their type, and a new column
 * gets the type that all its cells have when they are read as JSON would be: a number is one only if it looks exactly like one, so 007 stays text.
 * An empty cell is no value, a quoted empty cell an empty text.
 */
import type { DuckDBConnection } from '@duckdb/node-api';
import { type AppError, invalidArgument, messageOf } from '../../common/app-error.js';
import { asNumber, type Engine } from '../../infra/duckdb/engine.js';
import { quoteName, quoteText } from '../../infra/duckdb/sql-text.js';
import type { ColumnType } from '../../metadata/table-schema.js';
import { LINE_BYTES_MAX } from './bulk-lines.js';
import type { RefusalList } from './refusal-list.js';
import type { BulkTarget } from './bulk-target.js';

const INTEGER = quoteText('-?(0|[1-9]\\d{0,17})');
const NUMBER = quoteText('-?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?');
const LONG_INTEGER = quoteText('-?\\d{16,}');
const INSTANT = quoteText('\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?(Z|[+-]\\d\\d:\\d\\d)');
const DATE = quoteText('\\d{4}-\\d\\d-\\d\\d');
/** Lines that cannot be cut into cells; more, and it is no CSV. */
const BROKEN_LINES_MAX = 100_000;
const HEADER_LINES = 1;
const FIRST_CELLS = 10_000;

export interface CsvCells {
  /** Lines that could not be cut into cells, sorted. */
  readonly brokenLines: readonly number[];
}

/**
 * Reads the cells of a CSV file as text into a Parquet file.
 * @param refusals takes the lines that are no rows; without it they are refused
 */
export async function readCells(engine: Engine, csv: string, parquet: string, refusals: RefusalList | undefined): Promise<CsvCells> {
  return engine.withConnection(async (connection) => {
    await assertHeader(connection, csv);
    const skips = refusals ? `, store_rejects = true, rejects_limit = ${BROKEN_LINES_MAX}` : '';
    try {
      await connection.run(
        `COPY (SELECT * FROM ${csvCall(csv, `header = true${skips}`)}) TO ${quoteText(parquet)} (FORMAT parquet, COMPRESSION snappy)`,
      );
      return { brokenLines: refusals ? await takeRejects(connection, refusals) : [] };
    } catch (error) {
      throw notCsv(error, csv);
    } finally {
      await connection.run('DROP TABLE IF EXISTS reject_errors');
      await connection.run('DROP TABLE IF EXISTS reject_scans');
    }
  });
}

function csvCall(file: string, options: string): string {
  return `read_csv(${quoteText(file)}, ${options}, all_varchar = true, delim = ',', quote = '"', escape = '"', comment = '', nullstr = '', allow_quoted_nulls = false, strict_mode = true, max_line_size = ${LINE_BYTES_MAX})`;
}

/** The engine would give a name that is there twice or missing another one in silence. */
async function assertHeader(connection: DuckDBConnection, file: string): Promise<void> {
  let names: unknown[];
  try {
    const reader = await connection.runAndReadAll(`SELECT * FROM ${csvCall(file, 'header = false')} LIMIT 1`);
    names = reader.getRows()[0] ?? [];
  } catch (error) {
    throw notCsv(error, file);
  }
  const seen = new Set<string>();
  for (const [index, name] of names.entries()) {
    if (typeof name !== 'string' || name === '')
      throw invalidArgument(`column ${index + 1} of the CSV has no name; the first line must name the columns`);
    if (seen.has(name.toLowerCase()))
      throw invalidArgument(`column ${name} is there twice (names are compared without case)`, [{ field: name }]);
    seen.add(name.toLowerCase());
  }
}

async function takeRejects(connection: DuckDBConnection, refusals: RefusalList): Promise<number[]> {
  const reader = await connection.runAndReadAll('SELECT line, min(error_message) AS reason FROM reject_errors GROUP BY line ORDER BY line');
  const rows = reader.getRowObjects();
  for (const row of rows) {
    const line = asNumber(row['line']);
    refusals.add({ index: line - 1 - HEADER_LINES, line, reason: shortened(String(row['reason'])) });
  }
  return rows.map((row) => asNumber(row['line']));
}

function notCsv(error: unknown, file: string): AppError {
  return invalidArgument(`the body is not CSV as it is read here: ${shortened(messageOf(error).replaceAll(file, 'body'))}`);
}

function shortened(message: string): string {
  return (message.split('\n').find((line) => line.trim() !== '') ?? message).slice(0, 300);
}

/** The line in which a row stood, when each row takes one line and these lines were left out. */
export function csvOrigin(brokenLines: readonly number[]): (row: number) => number {
  return (row) => brokenLines.reduce((line, broken) => (broken <= line ? line + 1 : line), row + HEADER_LINES);
}

/** SELECT of the cells with types. */
export async function typedCells(engine: Engine, parquet: string, { fields, schema }: BulkTarget): Promise<string> {
  const cells = `read_parquet(${quoteText(parquet)})`;
  const names = (await engine.rows(`SELECT column_name AS name FROM (DESCRIBE SELECT * FROM ${cells})`)).map((row) => String(row['name']));
  // What the first cells do not look like, the others need not be asked for.
  const everyLook = Object.keys(LOOKS) as Look[];
  const first = await countLooks(engine, `(FROM ${cells} LIMIT ${FIRST_CELLS})`, names, () => everyLook);
  const looks = await countLooks(engine, cells, names, (index) => everyLook.filter((look) => first[index]?.[look] === first[index]?.cells));
  const typed = names.map((name, index) => {
    const found = looks[index] ?? { cells: 0 };
    const type = name === fields.id ? 'VARCHAR' : typeOf(found, name === fields.timestamp ? undefined : schema.column(name)?.type);
    return `${quoteName(name)}::${type} AS ${quoteName(name)}`;
  });
  return `SELECT ${typed.join(', ')} FROM ${cells}`;
}

/** Conditions of a cell that looks like a value of a type. */
const LOOKS = {
  integer: (cell: string) => `regexp_full_match(${cell}, ${INTEGER})`,
  // A DOUBLE would round a long integer.
  number: (cell: string) =>
    `regexp_full_match(${cell}, ${NUMBER}) AND NOT regexp_full_match(${cell}, ${LONG_INTEGER}) AND isfinite(try_cast(${cell} AS DOUBLE))`,
  boolean: (cell: string) => `${cell} IN ('true', 'false')`,
  instant: (cell: string) => `regexp_full_match(${cell}, ${INSTANT}) AND try_cast(${cell} AS TIMESTAMPTZ) IS NOT NULL`,
  date: (cell: string) => `regexp_full_match(${cell}, ${DATE}) AND try_cast(${cell} AS DATE) IS NOT NULL`,
  document: (cell: string) => `json_valid(${cell})`,
} as const;
type Look = keyof typeof LOOKS;

/** How many cells of a column have a value, and how many of them look like one of a type, as far as that was asked for. */
type Looks = { readonly cells: number } & Partial<Readonly<Record<Look, number>>>;

async function countLooks(
  engine: Engine,
  cells: string,
  names: readonly string[],
  asked: (index: number) => readonly Look[],
): Promise<readonly Looks[]> {
  const columns = names.map((name, index) => {
    const cell = quoteName(name);
    const counts = asked(index).map((look) => `, '${look}', count(*) FILTER (WHERE ${LOOKS[look](cell)})`);
    return `json_object('cells', count(${cell})${counts.join('')})::VARCHAR AS c${index}`;
  });
  const row = await engine.row(`SELECT ${columns.join(', ')} FROM ${cells}`);
  return names.map((_, index) => JSON.parse(String(row[`c${index}`])) as Looks);
}

/** The column's own type when every cell looks like one; else what the cells look like, so that the one that does not fit is named. */
function typeOf({ cells, integer, number, boolean, instant, date, document }: Looks, known: ColumnType | undefined): ColumnType {
  const fits: Partial<Record<ColumnType, number | undefined>> = {
    DOUBLE: number, BOOLEAN: boolean, TIMESTAMPTZ: instant, DATE: date, JSON: document, VARCHAR: cells,
  }; // prettier-ignore
  if (known !== undefined && fits[known] === cells) return known;
  if (cells === integer) return 'BIGINT';
  if (cells === number) return 'DOUBLE';
  return cells === boolean ? 'BOOLEAN' : 'VARCHAR';
}
