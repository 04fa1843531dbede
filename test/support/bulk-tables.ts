/** What the suites of bulk formats share: one server and one plain engine for a file, bodies that are small or large, tables as text. */
import { afterAll, beforeAll } from '@jest/globals';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { type BulkFormat, type BulkOptions, FORMATS, PlainDuckdb, sendBulk } from './bulk-bodies.js';
import { countOf, eventually, expectSuccess, type JsonRow, rowsOf, tableInfo } from './requests.js';
import { server, useOneServer } from './one-server.js';
import { call, type RunningServer } from './server.js';

export const INT64_MAX = '9223372036854775807';
export const INT64_MIN = '-9223372036854775808';
export const MIB = 1_024 * 1_024;
export const SMALL_BYTES_MAX = 2 * MIB;
export const TYPED: readonly BulkFormat[] = ['parquet', 'arrow'];
export const SIZES = ['small', 'large'] as const;
export type Size = (typeof SIZES)[number];
export const EVERY_FORMAT_AND_SIZE = FORMATS.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size]));

export let duckdb: PlainDuckdb;
let tables = 0;

/** At the top of a test file; with the server of one-server.ts. */
export function useBulkServer(): void {
  useOneServer();

  beforeAll(async () => {
    duckdb = await PlainDuckdb.open();
  });

  afterAll(() => {
    duckdb?.close();
  });
}

/** A name that no table has yet. */
export function newName(what: string): string {
  return `${what.replaceAll(/\W/g, '_').slice(0, 40)}_${(tables += 1)}`;
}

export async function declaredTable(what: string, schema: Readonly<Record<string, string>>, config: JsonRow = {}): Promise<string> {
  const table = newName(what);
  const columns = Object.entries(schema).map(([name, type]) => ({ name, type }));
  expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: table, schema: columns, config }));
  return table;
}

export async function load(table: string, format: BulkFormat, body: Buffer | string, options: BulkOptions = {}): Promise<JsonRow> {
  return expectSuccess(await sendBulk(server, table, format, body, options)).json as JsonRow;
}

export async function columnTypes(table: string): Promise<Record<string, string>> {
  const { schema } = await tableInfo(server, table);
  const columns = (Array.isArray(schema) ? schema : schema.columns) as { name: string; type: string }[];
  return Object.fromEntries(columns.map(({ name, type }) => [name, type.replaceAll(' ', '')]));
}

/** Every value as text, as `PlainDuckdb.texts` has it. */
export async function textsOf(select: string): Promise<(string | null)[][]> {
  const rows = await rowsOf(server, `SELECT COLUMNS(*)::VARCHAR FROM (${select})`);
  return rows.map((row) => Object.values(row) as (string | null)[]);
}

/** Rows of the table, of which there may be none: a refused first body may leave no table. */
export async function rowCount(table: string): Promise<number> {
  const answer = await call(server, 'GET', `/v1/tables/${table}`);
  return answer.status === 404 ? 0 : countOf(server, table);
}

export function bulkFiles(of: RunningServer = server): string[] {
  return readdirSync(path.join(of.dataDir, 'wal', 'bulk'));
}

export async function expectNothingLeft(of: RunningServer = server): Promise<void> {
  const scratch = path.join(of.dataDir, 'tmp');
  await eventually(
    'the scratch directory is empty',
    () => readdirSync(scratch),
    (names) => names.length === 0,
    5_000,
  );
}

/** Rows from 0 up to `count` of a SELECT over `i`; large ones bring text that makes any format's body large. */
export function rowsSelect(columns: string, size: Size, count = 40): string {
  const rows = size === 'small' ? count : Math.max(count, 2_600);
  const pad = size === 'small' ? '' : `, array_to_string(list_transform(range(32), lambda k: md5((i * 32 + k)::VARCHAR)), '') AS pad`;
  return `SELECT ${columns}${pad} FROM range(${rows}) t(i)`;
}

export const IDS = `'r-' || lpad(i::VARCHAR, 6, '0') AS id, TIMESTAMPTZ '2024-01-01 00:00:00.000001+00' + to_microseconds(i * 1000003) AS "timestamp"`;
