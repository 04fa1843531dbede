/**
 * CSV (RFC 4180, header line, UTF-8; with commas, semicolons, tabs or bars) as typed rows. Cells are read as text; a column of the table gives its cells their type, and a new column
 * gets the type that all its cells have when they are read as JSON would be: a number is one only if it looks exactly like one, so 007 stays text.
 * An empty cell is no value, a quoted empty cell an empty text.
 */
import { open } from 'node:fs/promises';
import type { DuckDBConnection } from '@duckdb/node-api';
import { invalidArgument } from '../../common/app-error.js';
import { asNumber, type Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import type { ColumnType } from '../../delta/table-schema.js';
import { bodyError } from './body-error.js';
import { LINE_BYTES_MAX } from './bulk-lines.js';
import { assertOneLineEnd, checkCsvText, type Delimiter, delimiterIn } from './csv-text.js';
import type { RefusalList } from './refusal-list.js';
import type { BulkTarget } from './bulk-target.js';
import { FIRST_INSTANT, LAST_INSTANT, TIMESTAMP_PATTERN } from './row-keys.js';

const INTEGER = quoteText('-?(0|[1-9]\\d{0,18})');
const NUMBER = quoteText('-?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?');
const LONG_INTEGER = quoteText('-?\\d{16,}');
const DATE = quoteText('\\d{4}-\\d\\d-\\d\\d');
/** Faults in lines that cannot be cut into cells; more, and it is no CSV. */
const FAULTS_MAX = 100_000;
const HEADER_LINES = 1;
const FIRST_CELLS = 10_000;
const REASON_LENGTH_MAX = 300;
const HEADER_BYTES_MAX = 1_024 * 1_024;

export interface CsvCells {
  /** Lines that could not be cut into cells, sorted. */
  readonly brokenLines: readonly number[];
}

/**
 * Reads the cells of a CSV file as text into a Parquet file.
 * @param refusals takes the lines that are no rows; without it they are refused
 */
export async function readCells(
  engine: Engine,
  csv: string,
  parquet: string,
  { columnsMax, delimiter: given }: Pick<BulkTarget, 'columnsMax' | 'delimiter'>,
  refusals: RefusalList | undefined,
): Promise<CsvCells> {
  const header = await firstLine(csv);
  const delimiter = given ?? delimiterIn(header);
  const lineEnds = await checkCsvText(csv, delimiter);
  const columns = namesIn(header, delimiter, columnsMax).map((name) => `${quoteText(name)}: 'VARCHAR'`);
  const skips = refusals ? `, store_rejects = true, rejects_limit = ${FAULTS_MAX}` : '';
  const cells = `read_csv(${quoteText(csv)}, auto_detect = false, columns = {${columns.join(', ')}}, header = true, delim = ${quoteText(delimiter)}, quote = '"', escape = '"', comment = '', nullstr = '', allow_quoted_nulls = false, strict_mode = true, max_line_size = ${LINE_BYTES_MAX}${skips})`;
  return engine.withConnection(async (connection) => {
    try {
      await connection.run(`COPY (SELECT * FROM ${cells}) TO ${quoteText(parquet)} (FORMAT parquet, COMPRESSION snappy)`);
      return { brokenLines: refusals ? await takeRejects(connection, refusals) : [] };
    } catch (error) {
      assertOneLineEnd(lineEnds);
      throw bodyError(error, 'the body is not CSV that can be read', csv);
    } finally {
      await connection.run('DROP TABLE IF EXISTS reject_errors');
      await connection.run('DROP TABLE IF EXISTS reject_scans');
    }
  });
}

/**
 * The names in the first line, told by hand: the engine would take another line for the header when it likes that one better, and another name for one
 * that is there twice or missing.
 * @throws AppError INVALID_ARGUMENT
 */
function namesIn(header: string, delimiter: Delimiter, columnsMax: number): string[] {
  const names = cellsOf(header, delimiter);
  // The engine takes minutes for a hundred thousand.
  if (names.length > columnsMax)
    throw invalidArgument(`the CSV has ${names.length} columns; a table has at most ${columnsMax} (limits.columns_max)`);
  const seen = new Set<string>();
  for (const [index, name] of names.entries()) {
    if (name === '') throw invalidArgument(`column ${index + 1} of the CSV has no name; the first line must name the columns`);
    if (seen.has(name.toLowerCase())) throw invalidArgument(`column ${name} occurs twice (names are case-insensitive)`, [{ field: name }]);
    seen.add(name.toLowerCase());
  }
  return names;
}

async function firstLine(csv: string): Promise<string> {
  const file = await open(csv);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES_MAX), 0, HEADER_BYTES_MAX, 0);
    const text = buffer.toString('utf8', 0, bytesRead).replace(/^\ufeff/, '');
    return text.split(/\r?\n/, 1)[0] ?? '';
  } finally {
    await file.close();
  }
}

/** @throws AppError INVALID_ARGUMENT when the quotes do not match */
function cellsOf(line: string, delimiter: Delimiter): string[] {
  const cells: string[] = [];
  const between = `(\\${delimiter}|$)`;
  const cell = new RegExp(`\\s*"((?:[^"]|"")*)" *${between}|([^"${delimiter}]*)${between}`, 'y');
  for (let end: string = delimiter; end === delimiter;) {
    const match = cell.exec(line);
    if (!match) throw invalidArgument('the first line of the CSV cannot be read as column names');
    cells.push(match[1]?.replaceAll('""', '"') ?? match[3] ?? '');
    end = match[2] ?? match[4] ?? '';
  }
  return cells;
}

async function takeRejects(connection: DuckDBConnection, refusals: RefusalList): Promise<number[]> {
  const reader = await connection.runAndReadAll(
    'SELECT line, min(error_message) AS reason, count(*) AS faults FROM reject_errors GROUP BY line ORDER BY line',
  );
  const rows = reader.getRowObjects();
  // Past the bound the engine leaves lines out and does not say so.
  if (rows.reduce((sum, row) => sum + asNumber(row['faults']), 0) >= FAULTS_MAX)
    throw invalidArgument(`the CSV has ${FAULTS_MAX} or more faulty lines; it was refused as a whole`);
  refusals.add(
    rows.map((row) => {
      const line = asNumber(row['line']);
      const reason = String(row['reason']).split('\n', 1)[0]?.slice(0, REASON_LENGTH_MAX) ?? '';
      return { index: line - 1 - HEADER_LINES, line, reason };
    }),
  );
  return rows.map((row) => asNumber(row['line']));
}

/** The line in which a row stood, when each row takes one line and these lines, sorted, were left out. */
export function csvOrigin(brokenLines: readonly number[]): (row: number) => number {
  // Lines with rows that come before a broken one.
  const linesBefore = brokenLines.map((line, index) => line - index);
  return (row) => {
    const line = row + HEADER_LINES;
    let [from, to] = [0, linesBefore.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((linesBefore[middle] ?? 0) <= line) from = middle + 1;
      else to = middle;
    }
    return line + from;
  };
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
    const known = name === fields.id ? 'VARCHAR' : name === fields.timestamp ? 'TIMESTAMPTZ' : schema.column(name)?.type;
    return `${typedCell(quoteName(name), found, known)} AS ${quoteName(name)}`;
  });
  return `SELECT ${typed.join(', ')} FROM ${cells}`;
}

/** Conditions of a cell that looks like a value of a type. */
const LOOKS = {
  integer: (cell: string) => `regexp_full_match(${cell}, ${INTEGER}) AND try_cast(${cell} AS BIGINT) IS NOT NULL`,
  // A DOUBLE would round a long integer.
  number: (cell: string) => `regexp_full_match(${cell}, ${NUMBER}) AND NOT regexp_full_match(${cell}, ${LONG_INTEGER}) AND ${isHeld(cell)}`,
  boolean: (cell: string) => `${cell} IN ('true', 'false')`,
  instant: (cell: string) =>
    `regexp_full_match(${cell}, ${TIMESTAMP_PATTERN}) AND try_cast(${cell} AS TIMESTAMPTZ) BETWEEN ${FIRST_INSTANT} AND ${LAST_INSTANT}`,
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

/** SQL of a cell with the type of its column; where not every cell looks like one, each for itself as JSON, so that the one that does not fit is named. */
function typedCell(cell: string, looks: Looks, known: ColumnType | undefined): string {
  const { cells, integer, number, boolean, instant, date, document } = looks;
  if (known === undefined) {
    const type = cells === integer ? 'BIGINT' : cells === number ? 'DOUBLE' : cells === boolean ? 'BOOLEAN' : 'VARCHAR';
    return `${cell}::${type}`;
  }
  switch (known) {
    case 'BIGINT':
    case 'INTEGER':
      return cells === integer ? `${cell}::BIGINT` : asJson(cell);
    case 'DOUBLE':
      return cells === number ? `${cell}::DOUBLE` : asJson(cell);
    case 'BOOLEAN':
      return cells === boolean ? `${cell}::BOOLEAN` : asJson(cell);
    case 'TIMESTAMPTZ':
      return cells === instant ? `${cell}::TIMESTAMPTZ` : cells === integer ? `${cell}::BIGINT` : asJson(cell);
    case 'DATE':
      return cells === date ? `${cell}::DATE` : `${cell}::VARCHAR`;
    case 'JSON':
      return cells === document ? `${cell}::JSON` : `CASE WHEN json_valid(${cell}) THEN ${cell}::JSON ELSE to_json(${cell}) END`;
    // A DECIMAL takes its digits as text, each of them.
    default:
      return `${cell}::VARCHAR`;
  }
}

/** Condition of a number that a DOUBLE holds: it is neither infinite there nor, without being 0, nothing. */
function isHeld(cell: string): string {
  const double = `try_cast(${cell} AS DOUBLE)`;
  return `isfinite(${double}) AND (${double} <> 0 OR regexp_full_match(${cell}, '-?[0.]+([eE].*)?'))`;
}

/** Numbers and truth values as they are, the rest as text. */
function asJson(cell: string): string {
  return `CASE WHEN ${LOOKS.boolean(cell)} OR regexp_full_match(${cell}, ${NUMBER}) AND ${isHeld(cell)} THEN ${cell}::JSON ELSE to_json(${cell}) END`;
}
