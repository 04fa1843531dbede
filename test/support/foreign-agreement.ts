/**
 * Asks our server and ClickHouse the same questions about a table and wants the same answers: the columns, every row as text, sums,
 * filters, and the bare count() that a reader may answer from the log's statistics alone.
 */
import type { ClickHouse } from './clickhouse.js';
import { expectThat } from './expectations.js';
import { type Door, type JsonRow, expectStatus, tableInfo } from './requests.js';
import { call } from './server.js';

interface Column {
  readonly name: string;
  readonly type: string;
}

/** The same question in both dialects (`{table}` is the table); most are the same text. */
interface Question {
  readonly ours: string;
  readonly theirs: string;
}

const ROWS_SHOWN = 5;

/** What holds for every table of the tests: they all have an id and a timestamp. */
const COUNTS = ['count(*)', 'count(id)', 'count(DISTINCT id)', 'count(timestamp)'];

/**
 * @param filters conditions in the SQL that both engines understand, e.g. `"n" > 5`
 * @param sums columns whose sum stays within 64 bits
 */
export async function expectSameAnswers(
  server: Door,
  clickHouse: ClickHouse,
  table: string,
  { filters = [], sums = [] }: { readonly filters?: readonly string[]; readonly sums?: readonly string[] } = {},
): Promise<void> {
  const { location } = await tableInfo(server, table);
  const columns = await columnsOf(server, table);
  const questions = [rowsAsText(columns), ...numbers(columns, filters, sums)];
  const theirs = await clickHouse.read(location as string, [
    'DESCRIBE {table}',
    'SELECT count() AS value FROM {table}',
    ...questions.map((question) => question.theirs),
  ]);
  const [described = [], bareCount = [], theirRows = [], ...theirNumbers] = theirs;
  const [ourRows = [], ...ourNumbers] = await Promise.all(questions.map(async (question) => answerOf(server, table, question.ours)));

  expectThat(described.map((column) => column['name']).sort(), 'columns').toEqual(columns.map((column) => column.name).sort());
  expectThat(differences(asTexts(theirRows), asTexts(ourRows)), 'rows').toEqual({ onlyTheirs: [], onlyOurs: [] });
  expectThat(bareCount, 'bare count()').toEqual([{ value: String(ourRows.length) }]);
  questions.slice(1).forEach((question, index) => {
    expectThat(textOf(theirNumbers[index]), question.ours).toEqual(textOf(ourNumbers[index]));
  });
}

async function columnsOf(server: Door, table: string): Promise<readonly Column[]> {
  const answer = expectStatus(await call(server, 'POST', '/v1/query', { sql: `SELECT * FROM "${table}" LIMIT 0` }), 200);
  return answer.json.columns as readonly Column[];
}

/** Every column by a text that both engines print alike; DOUBLE stays a number, because only its value is comparable. */
function rowsAsText(columns: readonly Column[]): Question {
  const list = (expression: (column: Column) => string): string =>
    columns.map((column) => `${expression(column)} AS "${column.name}"`).join(', ');
  return { ours: `SELECT ${list(ourText)} FROM {table}`, theirs: `SELECT ${list(theirText)} FROM {table}` };
}

function ourText({ name, type }: Column): string {
  if (type === 'DOUBLE') return `"${name}"`;
  return type.startsWith('TIMESTAMP') ? `CAST(epoch_us("${name}") AS VARCHAR)` : `CAST("${name}" AS VARCHAR)`;
}

function theirText({ name, type }: Column): string {
  if (type === 'DOUBLE') return `"${name}"`;
  const [, scale] = /^DECIMAL\(\d+,(\d+)\)$/.exec(type) ?? [];
  // Its toString() leaves out trailing zeros.
  if (scale !== undefined) return `toDecimalString("${name}", ${scale})`;
  return type.startsWith('TIMESTAMP') ? `toString(toUnixTimestamp64Micro("${name}"))` : `toString("${name}")`;
}

function numbers(columns: readonly Column[], filters: readonly string[], sums: readonly string[]): Question[] {
  const nulls = columns.map((column) => `"${column.name}" IS NULL`);
  return [
    ...COUNTS.map((count) => alike(`SELECT ${count} AS value FROM {table}`)),
    ...[...nulls, ...filters].map((filter) => alike(`SELECT count(*) AS value FROM {table} WHERE ${filter}`)),
    ...sums.map((column) => alike(`SELECT sum("${column}") AS value FROM {table}`)),
    ...sums.map((column) => alike(`SELECT max("${column}") AS value FROM {table} WHERE "${column}" < 50`)),
  ];
}

function alike(sql: string): Question {
  return { ours: sql, theirs: sql };
}

async function answerOf(server: Door, table: string, sql: string): Promise<readonly JsonRow[]> {
  const body = { sql: sql.replaceAll('{table}', `"${table}"`) };
  const answer = expectStatus(await call(server, 'POST', '/v1/query', body, { accept: 'application/x-ndjson' }), 200);
  const lines = answer.text.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as JsonRow);
}

/** A row is compared as its columns' names and values, in one order of names. */
function asTexts(rows: readonly JsonRow[]): string[] {
  return rows.map((row) => JSON.stringify(Object.entries(row).sort(([one], [other]) => (one < other ? -1 : 1))));
}

/** Rows carry no order but may repeat. Only some that differ are shown: whole tables in a report help nobody. */
function differences(theirs: readonly string[], ours: readonly string[]): { onlyTheirs: string[]; onlyOurs: string[] } {
  return { onlyTheirs: surplus(theirs, ours), onlyOurs: surplus(ours, theirs) };
}

function surplus(rows: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const row of others) left.set(row, (left.get(row) ?? 0) + 1);
  const unmatched = rows.filter((row) => {
    const count = left.get(row) ?? 0;
    left.set(row, count - 1);
    return count <= 0;
  });
  return unmatched.length <= ROWS_SHOWN ? unmatched : [...unmatched.slice(0, ROWS_SHOWN), `... ${unmatched.length} in all`];
}

/** A 64-bit number comes as text from one side and as a number from the other; a sum of nothing is NULL here and 0 there. */
function textOf(rows: readonly JsonRow[] | undefined): string[] | undefined {
  return rows?.map((row) => String(row['value'] ?? 0));
}
