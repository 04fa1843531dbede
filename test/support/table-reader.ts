/**
 * Reads whole results through POST /v1/query and gives each row the spelling of the reference model, digits included.
 */
import { parse } from 'lossless-json';
import { canonicalOfAnswer } from './payload-value.js';
import { type Columns, canonicalText } from './reference-table.js';
import { type Door, UnexpectedAnswer, expectSuccess } from './requests.js';
import { type Answer, call } from './server.js';

export interface ReadOptions {
  readonly where?: string;
  /** A version of the table, or an instant. */
  readonly asOf?: number | string;
}

/** Every row of a table, canonical, through the streamed form of the query. */
export async function streamTable(server: Door, table: string, columns: Columns): Promise<string[]> {
  const body = { sql: `SELECT * FROM "${table}"` };
  const answer = await call(server, 'POST', '/v1/query', body, { accept: 'application/x-ndjson' });
  expectSuccess(answer, `query ${JSON.stringify(body)}`);
  return answer.text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => canonicalOfJson(parse(line), columns));
}

/** The same, or some of it, as one page of JSON. */
export async function readTable(server: Door, table: string, columns: Columns, options: ReadOptions = {}): Promise<string[]> {
  const sql = `SELECT * FROM "${table}"${options.where ? ` WHERE ${options.where}` : ''}`;
  const body = { sql, limit: 10_000, ...(options.asOf === undefined ? {} : { as_of: options.asOf }) };
  const answer = expectSuccess(await call(server, 'POST', '/v1/query', body), `query ${JSON.stringify(body)}`);
  const page = pageOf(answer, columns);
  if (page.nextCursor !== undefined) throw new UnexpectedAnswer(`more than one page: ${sql}`, answer);
  return [...page.rows];
}

export interface Page {
  /** Canonical rows. */
  readonly rows: readonly string[];
  /** As the answer names them. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly nextCursor: string | undefined;
}

/** The first page of a result. */
export async function readFirstPage(server: Door, sql: string, columns: Columns, limit: number): Promise<Page> {
  const answer = await call(server, 'POST', '/v1/query', { sql, limit });
  return pageOf(expectSuccess(answer, `first page of ${sql}`), columns);
}

export function requestNextPage(server: Door, sql: string, cursor: string, limit: number): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql, cursor, limit });
}

export function pageOf(answer: Answer, columns: Columns): Page {
  const page = parse(answer.text) as any;
  if (page.row_count.value !== String(page.rows.length)) throw new UnexpectedAnswer('row_count differs from the number of rows', answer);
  const hasCursor = typeof page.next_cursor === 'string' && page.next_cursor !== '';
  if (page.has_more !== hasCursor) throw new UnexpectedAnswer('has_more and next_cursor disagree', answer);
  return {
    rows: page.rows.map((row: unknown) => canonicalOfJson(row, columns)),
    columns: page.columns,
    nextCursor: hasCursor ? page.next_cursor : undefined,
  };
}

/** Rows of any query, as lossless-json parsed them. */
export async function queryRows(server: Door, sql: string): Promise<Record<string, unknown>[]> {
  const answer = expectSuccess(await call(server, 'POST', '/v1/query', { sql, limit: 10_000 }), sql);
  const page = parse(answer.text) as any;
  if (page.has_more) throw new UnexpectedAnswer(`more than one page: ${sql}`, answer);
  return page.rows;
}

function canonicalOfJson(row: unknown, columns: Columns): string {
  const cells: string[] = [];
  let id = '?';
  let timestamp = '?';
  for (const [name, value] of Object.entries(row as Record<string, unknown>)) {
    if (name === 'id') id = String(value);
    else if (name === 'timestamp') timestamp = String(value);
    else if (value !== null) cells.push(`${name.toLowerCase()}=${canonicalOfAnswer(value, columns.get(name.toLowerCase()))}`);
  }
  return canonicalText(id, timestamp, cells);
}
