/**
 * What POST /v1/query lets in and what it keeps out. The statements stand in `corpus/refused.sql.txt` and
 * `corpus/accepted.sql.txt`; every refused one that could be a subquery is also tried inside other queries, because a guard
 * that looks at the outermost level only is the usual mistake.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DuckDBInstance } from '@duckdb/node-api';
import { differenceBetween, parseKeepingDigits, type ReceivedAnswer } from './right-answers/compare-answers.js';
import { type BenchmarkTable, benchmarkTables } from './support/benchmark-tables.js';
import { expectThat } from './support/expectations.js';
import { PlainTwin } from './support/plain-twin.js';
import { type Answer, call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';

const CORPUS = fileURLToPath(new URL('./corpus/', import.meta.url));
const SECRET_TEXT = 'not-for-the-eyes-of-a-query';
const KEYWORD_TABLES = ['order', 'group', 'load', 'set', 'copy'] as const;
const KEYWORD_COLUMNS = ['order', 'group', 'select', 'load', 'set', 'copy', 'from'] as const;
const BENCHMARK_TABLES = benchmarkTables();
const IN_FLIGHT = 6;
const PAGE_ROWS_MAX = 10_000;
const COMPLAINTS_SHOWN_MAX = 12;
const REFUSALS: Readonly<Record<number, readonly string[]>> = {
  400: ['INVALID_ARGUMENT'],
  403: ['PERMISSION_DENIED'],
  404: ['NOT_FOUND'],
};
const STREAMS = ['application/x-ndjson', 'text/csv', 'application/vnd.apache.arrow.stream', 'application/vnd.apache.parquet'];
/** Table functions that read nothing but their arguments. */
const HARMLESS_TABLE_FUNCTIONS = ['range', 'generate_series', 'unnest', 'json_each', 'json_tree', 'repeat', 'repeat_row'];

/** What `write` stored, by table. */
const linesWritten = new Map<string, string[]>();

let server: RunningServer;
let plain: PlainTwin;
let targetDirectory: string;
let secretFile: string;

interface Statement {
  readonly title: string;
  readonly sql: string;
  /** The JSON text of the request's params. */
  readonly params?: string;
  /** Refused by the engine where it is used; without harm where it is not. */
  readonly isBindError?: boolean;
  /** Its rows differ from one run to the next. */
  readonly isAnyAnswer?: boolean;
}

beforeAll(async () => {
  targetDirectory = path.join(temporaryDirectory('sql-guard'), 'target');
  mkdirSync(targetDirectory);
  secretFile = path.join(temporaryDirectory('sql-guard'), 'secret.csv');
  writeFileSync(secretFile, `a,b\n1,${SECRET_TEXT}\n`);
  server = await startServer({ config: { tables: { flush_interval_seconds: 3600 } } });
  plain = await PlainTwin.create();
  await fillTables();
});

afterAll(async () => {
  await server?.stop();
  plain?.close();
});

describe('what is refused', () => {
  it('refuses every hostile statement with a proper error', async () => {
    const statements = readCorpus('refused.sql.txt');
    expect(statements.length).toBeGreaterThanOrEqual(800);
    expect(await complaints(statements, complaintAboutRefusal)).toEqual([]);
  });

  it('refuses the same statements inside other queries', async () => {
    const statements = readCorpus('refused.sql.txt').filter(({ sql }) =>
      /^(SELECT|FROM|WITH|TABLE|VALUES|PIVOT|UNPIVOT|SHOW|DESCRIBE|SUMMARIZE|\()/i.test(sql),
    );
    const wrapped = statements.flatMap(({ title, sql, params, isBindError }) =>
      wrappingsOf(sql, isBindError === true).map((outer, index) => ({
        title: `${title}, wrapping ${index}`,
        sql: outer,
        params,
      })),
    );
    expect(await complaints(wrapped, complaintAboutRefusal)).toEqual([]);
  });

  it.each(STREAMS)('refuses every hostile statement that asks for a stream of %s', async (accept) => {
    const statements = readCorpus('refused.sql.txt');
    expect(await complaints(statements, complaintAboutRefusal, { accept })).toEqual([]);
  });

  it('refuses every table function of the engine that is not known to be harmless', async () => {
    const calls = await tableFunctionCalls();
    expect(calls.length).toBeGreaterThan(60);
    expect(await complaints(calls, complaintAboutRefusal)).toEqual([]);
  });

  // A function that a new version of the engine brings is in neither file, and fails here until someone has looked at it.
  it('has an attempt with every function of the engine that is not known to look at its arguments only', async () => {
    const attempts = readCorpus('refused.sql.txt').map(({ sql }) => sql.toLowerCase());
    const reaching = await reachingFunctions();
    expect(reaching.length).toBeGreaterThan(180);
    expect(reaching.filter(({ name, isPragma }) => !attempts.some((sql) => attemptOf(name, isPragma).test(sql)))).toEqual([]);
  });

  it.each([
    ['no sql', {}],
    ['a number', { sql: 1 }],
    ['null', { sql: null }],
    ['a list', { sql: ['SELECT 1'] }],
    ['an object', { sql: { text: 'SELECT 1' } }],
    ['an empty text', { sql: '' }],
    ['blanks', { sql: ' \n\t ' }],
    ['params that are a text', { sql: 'SELECT $1', params: 'x' }],
    ['too few params', { sql: 'SELECT $1, $2', params: [1] }],
    ['an unknown name in params', { sql: 'SELECT $a', params: { b: 1 } }],
    ['a NUL character', { sql: 'SELECT 1\u0000; DROP TABLE t' }],
    ['a lone surrogate', '{"sql":"SELECT \'\\ud83e\' FROM hidden"}'],
  ])('refuses %s', async (_label, body) => {
    const answer = await call(server, 'POST', '/v1/query', body);
    expect(complaintAboutRefusal(answer, '')).toBeUndefined();
  });

  it('was not changed by any of it', async () => {
    expect(readdirSync(targetDirectory)).toEqual([]);
    const tables = await call(server, 'GET', '/v1/tables');
    expect(tables.json.total).toBe(2 + KEYWORD_TABLES.length + BENCHMARK_TABLES.length);
    expect((await ask('SELECT count(*) AS c FROM t')).json.rows).toEqual([{ c: 4 }]);
    expect((await ask(`SELECT "timestamp" FROM t WHERE id = 'a'`)).json.rows).toEqual([{ timestamp: '2024-01-01T10:00:00.000000Z' }]);
    await write('t', 'e', { n: 9 });
    expect((await ask('SELECT count(*) AS c FROM t')).json.rows).toEqual([{ c: 5 }]);
    const removed = await call(server, 'DELETE', '/v1/data', { table: 't', id: 'e', soft_delete: false });
    expect(removed.json.deleted_count).toBe(1);
  });
});

describe('what is answered', () => {
  it('answers every legitimate query', async () => {
    const statements = readCorpus('accepted.sql.txt');
    expect(statements.length).toBeGreaterThanOrEqual(470);
    expect(await complaints(statements, complaintAboutAnswer)).toEqual([]);
  });

  it('gives the answers of plain DuckDB', async () => {
    const statements = readCorpus('accepted.sql.txt').filter(({ isAnyAnswer }) => isAnyAnswer !== true);
    expect(statements.length).toBeGreaterThanOrEqual(430);
    const found: string[] = [];
    for (const statement of statements) {
      const difference = await differenceFromPlain(statement);
      if (difference !== undefined) found.push(`${statement.title}: ${difference}\n${statement.sql}`);
    }
    expect(found).toEqual([]);
  });

  it('answers every legitimate query as a stream of NDJSON', async () => {
    const statements = readCorpus('accepted.sql.txt');
    expect(await complaints(statements, complaintAboutLines, { accept: 'application/x-ndjson' })).toEqual([]);
  });

  it('answers or refuses a call of any scalar function, and never fails', async () => {
    const calls = await scalarFunctionCalls();
    expect(calls.length).toBeGreaterThan(500);
    expect(await complaints(calls, complaintAboutFailure)).toEqual([]);
    expect((await ask('SELECT count(*) AS c FROM t')).json.rows).toEqual([{ c: 4 }]);
  });
});

// ---- the tables -------------------------------------------------------------------------------------------------------

async function fillTables(): Promise<void> {
  await write('t', 'a', '{"n":1,"d":1.5,"s":"abc","b":true,"j":{"a":1,"b":"x"},"maybe":null}', '2024-01-01T10:00:00Z');
  await write('t', 'b', '{"n":2,"d":2.25,"s":"a b","b":false,"j":{"a":2},"maybe":5}', '2024-01-02T10:00:00Z');
  await flush('t');
  await write('t', 'c', '{"n":3,"d":-1.0,"s":"x","b":true,"j":{}}', '2024-01-03T10:00:00Z');
  await write('t', 'd', '{"n":3,"s":""}', '2024-01-03T10:00:00Z');
  await write('u', 'a', { v: 7 }, '2024-01-01T00:00:00Z');
  await write('u', 'b', { v: 8 }, '2024-01-01T00:00:00Z');
  for (const table of KEYWORD_TABLES) {
    await write(table, 'a', Object.fromEntries(KEYWORD_COLUMNS.map((column, index) => [column, column === 'order' ? index : column])));
  }
  for (const [table, lines] of linesWritten) await plain.copy(server, table, lines);
  for (const table of BENCHMARK_TABLES) await fillBenchmarkTable(table);
}

async function fillBenchmarkTable({ name, columns, rows }: BenchmarkTable): Promise<void> {
  const schema = Object.entries(columns).map(([column, type]) => ({ name: column, type }));
  const created = await call(server, 'POST', '/v1/tables', { table_name: name, schema });
  expectThat(created.status, created.text).toBeLessThan(300);
  const lines = rows.map((row, index) => JSON.stringify({ id: `${name}-${index}`, timestamp: '2024-01-01T00:00:00Z', ...row }));
  // Half of the rows in a data file, half in the buffer.
  const half = Math.ceil(lines.length / 2);
  await loadLines(name, lines.slice(0, half));
  await flush(name);
  if (half < lines.length) await loadLines(name, lines.slice(half));
  await plain.copy(server, name, lines);
}

async function loadLines(table: string, lines: readonly string[]): Promise<void> {
  const headers = { 'content-type': 'application/x-ndjson' };
  const answer = await call(server, 'POST', `/v1/data/bulk?table=${table}`, `${lines.join('\n')}\n`, headers);
  expectThat(answer.status, answer.text).toBe(200);
}

async function write(table: string, id: string, payload: unknown, timestamp = '2024-01-01T00:00:00Z'): Promise<void> {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const answer = await call(server, 'POST', '/v1/data', `{"table":"${table}","id":"${id}","timestamp":"${timestamp}","payload":${text}}`);
  expectThat(answer.status, answer.text).toBe(200);
  const line = `{"id":"${id}","timestamp":"${timestamp}",${text.slice(1)}`;
  linesWritten.set(table, [...(linesWritten.get(table) ?? []), line]);
}

async function flush(table: string): Promise<void> {
  const answer = await call(server, 'POST', `/v1/tables/${table}/flush`);
  expectThat(answer.status, answer.text).toBe(200);
}

// ---- the statements ---------------------------------------------------------------------------------------------------

function readCorpus(file: string): Statement[] {
  const [, ...blocks] = readFileSync(path.join(CORPUS, file), 'utf8').split(/^### /m);
  return blocks.map(statementOf);
}

function statementOf(block: string): Statement {
  const [title = '', ...lines] = block.trimEnd().split('\n');
  const params = lines[0]?.startsWith('#params: ') ? lines.shift()?.slice('#params: '.length) : undefined;
  const isBindError = lines[0] === '#bind-error' && lines.shift() !== undefined;
  const isAnyAnswer = lines[0] === '#any-answer' && lines.shift() !== undefined;
  const sql = lines
    .join('\n')
    .replaceAll('${SECRET}', secretFile)
    .replaceAll('${DATA_DIR}', server.dataDir)
    .replaceAll('${TARGET}', targetDirectory);
  return { title, sql, params, isBindError, isAnyAnswer };
}

function wrappingsOf(sql: string, isBindError: boolean): string[] {
  return [
    `SELECT * FROM (${sql}) AS wrapped`,
    `WITH wrapped AS (${sql}) SELECT * FROM wrapped`,
    ...(isBindError ? [] : [`WITH unused AS (${sql}) SELECT 1`]),
    `SELECT EXISTS (${sql})`,
    `SELECT 1 UNION ALL (SELECT 1 FROM (${sql}) AS wrapped)`,
    `SELECT id FROM t ORDER BY (SELECT 1 FROM (${sql}) AS wrapped LIMIT 1)`,
    `SELECT id FROM t LIMIT (SELECT 1 FROM (${sql}) AS wrapped LIMIT 1)`,
  ];
}

async function tableFunctionCalls(): Promise<Statement[]> {
  const functions = await engineFunctions(`function_type IN ('table', 'table_macro', 'pragma')`);
  return functions
    .filter(({ name }) => !HARMLESS_TABLE_FUNCTIONS.includes(name))
    .flatMap(({ name, parameterTypes }) => {
      const parameters = parameterTypes.map(() => `'x'`).join(', ');
      return [`FROM "${name}"(${parameters})`, `SELECT * FROM ${name}()`].map((sql) => ({ title: name, sql }));
    });
}

async function scalarFunctionCalls(): Promise<Statement[]> {
  const functions = await engineFunctions(`function_type IN ('scalar', 'macro') AND function_name SIMILAR TO '[a-z_]+[a-z_0-9]*'`);
  return functions.map(({ name, parameterTypes }) => {
    const parameters = parameterTypes.map((type) => (/^[A-Z0-9]+$/.test(type) ? `NULL::${type}` : 'NULL'));
    return { title: name, sql: `SELECT "${name}"(${parameters.join(', ')}) IS NULL AS nothing` };
  });
}

interface ReachingFunction {
  readonly name: string;
  readonly isPragma: boolean;
}

/** All of the engine but operators and those of harmless-functions.txt. */
async function reachingFunctions(): Promise<ReachingFunction[]> {
  const [, list = ''] = readFileSync(path.join(CORPUS, 'harmless-functions.txt'), 'utf8').split('\n\n');
  const harmless = new Set([...list.trim().split(/\s+/), ...HARMLESS_TABLE_FUNCTIONS]);
  const pragmas = await engineFunctions(`function_type = 'pragma' AND function_name <> 'version'`);
  const others = await engineFunctions(`function_type <> 'pragma' AND function_name SIMILAR TO '[a-zA-Z_].*'`);
  return [
    ...pragmas.map(({ name }) => ({ name, isPragma: true })),
    ...others.filter(({ name }) => !harmless.has(name)).map(({ name }) => ({ name, isPragma: false })),
  ];
}

function attemptOf(name: string, isPragma: boolean): RegExp {
  return new RegExp(isPragma ? `^pragma ${name}\\b` : `(?<![a-z_])"?${name}"?\\(`);
}

interface EngineFunction {
  readonly name: string;
  readonly parameterTypes: readonly string[];
}

async function engineFunctions(condition: string): Promise<EngineFunction[]> {
  const engine = await DuckDBInstance.create(':memory:');
  const connection = await engine.connect();
  const reader = await connection.runAndReadAll(
    `SELECT DISTINCT ON (function_name) function_name AS name, coalesce(list_transform(parameter_types, lambda x : coalesce(x, 'ANY')), []) AS types
     FROM duckdb_functions() WHERE ${condition} ORDER BY function_name, len(parameters)`,
  );
  const functions = reader.getRowObjectsJson().map((row) => ({
    name: String(row['name']),
    parameterTypes: Array.isArray(row['types']) ? row['types'].map(String) : [],
  }));
  connection.closeSync();
  engine.closeSync();
  return functions;
}

// ---- asking and judging -----------------------------------------------------------------------------------------------

function ask(sql: string, params?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const parameters = params === undefined ? '' : `,"params":${params}`;
  return call(server, 'POST', '/v1/query', `{"sql":${JSON.stringify(sql)}${parameters}}`, headers);
}

/** Asks all of them, a few at once, and gives what is wrong with the answers. */
async function complaints(
  statements: readonly Statement[],
  complaintAbout: (answer: Answer, sql: string) => string | undefined,
  headers: Record<string, string> = {},
): Promise<string[]> {
  const found: string[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let statement = statements[next++]; statement !== undefined; statement = statements[next++]) {
      const complaint = complaintAbout(await ask(statement.sql, statement.params, headers), statement.sql);
      if (complaint !== undefined) found.push(`${statement.title}: ${complaint}\n${statement.sql}`);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  const surplus = found.length - COMPLAINTS_SHOWN_MAX;
  return surplus > 0 ? [...found.slice(0, COMPLAINTS_SHOWN_MAX), `and ${surplus} more`] : found;
}

function complaintAboutRefusal(answer: Answer, sql: string): string | undefined {
  const { status, json, text } = answer;
  const codes = REFUSALS[status];
  if (codes === undefined) return `answered ${status}: ${text.slice(0, 300)}`;
  if (!codes.includes(json?.error) || json?.code !== status) return `the body does not fit ${status}: ${text.slice(0, 300)}`;
  if (typeof json.message !== 'string' || json.message === '') return `no message: ${text.slice(0, 300)}`;
  if (typeof json.request_id !== 'string' || json.request_id === '') return `no request_id: ${text.slice(0, 300)}`;
  return complaintAboutLeak(text, sql);
}

function complaintAboutLeak(text: string, sql: string): string | undefined {
  if (text.includes(SECRET_TEXT)) return `shows the secret: ${text.slice(0, 300)}`;
  if (text.includes(server.dataDir) && !sql.includes(server.dataDir)) return `shows the data directory: ${text.slice(0, 300)}`;
  if (/node_modules|\bat \S+ \(|\.js:\d+/.test(text)) return `shows a stack trace: ${text.slice(0, 300)}`;
  return undefined;
}

function complaintAboutAnswer(answer: Answer): string | undefined {
  const { status, json, text } = answer;
  if (status !== 200) return `answered ${status}: ${text.slice(0, 300)}`;
  if (!Array.isArray(json?.rows) || !Array.isArray(json.columns)) return `not an answer: ${text.slice(0, 300)}`;
  if (json.row_count !== json.rows.length) return `row_count ${json.row_count} for ${json.rows.length} rows`;
  if (text.includes('_lsn')) return `shows the hidden column: ${text.slice(0, 300)}`;
  const names: string[] = json.columns.map((column: { name: string }) => column.name);
  if (new Set(names).size !== names.length) return `column names are not told apart: ${names.join(', ')}`;
  const widths = new Set(json.rows.map((row: object) => Object.keys(row).length));
  if (widths.size > 1 || (widths.size === 1 && !widths.has(names.length))) return `rows do not have the columns ${names.join(', ')}`;
  return undefined;
}

async function differenceFromPlain({ sql, params }: Statement): Promise<string | undefined> {
  const parameters = params === undefined ? '' : `,"params":${params}`;
  const answer = await call(server, 'POST', '/v1/query', `{"sql":${JSON.stringify(sql)},"limit":${PAGE_ROWS_MAX}${parameters}}`);
  if (answer.status !== 200) return `answered ${answer.status}: ${answer.text.slice(0, 300)}`;
  try {
    // The order of additions is free, and with it the last digit of a sum of doubles.
    const rules = { isOrdered: false, isApproximate: true };
    return differenceBetween(await plain.ask(sql, params), parseKeepingDigits(answer.text) as ReceivedAnswer, rules);
  } catch (error) {
    return String(error);
  }
}

function complaintAboutLines({ status, text }: Answer): string | undefined {
  if (status !== 200) return `answered ${status}: ${text.slice(0, 300)}`;
  if (text.includes('_lsn')) return `shows the hidden column: ${text.slice(0, 300)}`;
  const broken = text.split('\n').find((line) => line !== '' && !isJsonObject(line));
  return broken === undefined ? undefined : `not a JSON object: ${broken.slice(0, 300)}`;
}

function isJsonObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function complaintAboutFailure(answer: Answer, sql: string): string | undefined {
  return answer.status === 200 ? undefined : complaintAboutRefusal(answer, sql);
}
