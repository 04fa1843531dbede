/** What the tests of backups and recovery share: the requests, and a table's answers word for word. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { expect } from '@jest/globals';
import { type Door, expectStatus, expectSuccess, type JsonRow, tableInfo } from './requests.js';
import { type Answer, call } from './server.js';
import { TEST_STORAGE } from './storage.js';

export const METADATA_ID = /^backup_\d{8}_\d{6}$/;
export const DATA_ID = /^data_\d{8}_\d{6}$/;

/** Nothing happens by itself: neither flushes nor backups nor compactions. */
export const QUIET = {
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 3_600, buffer_size: 1_000_000 },
  backup: { metadata_interval_minutes: 0 },
  maintenance: { compaction: false },
};

/** Makes a metadata backup. */
export async function backUpMetadata(server: Door, body?: JsonRow): Promise<JsonRow> {
  return expectSuccess(await call(server, 'POST', '/v1/metadata/backup', body)).json as JsonRow;
}

export function restoreMetadata(server: Door, body: JsonRow): Promise<Answer> {
  return call(server, 'POST', '/v1/metadata/restore', body);
}

export async function metadataBackups(server: Door, query = ''): Promise<JsonRow[]> {
  const { backups, total } = expectStatus(await call(server, 'GET', `/v1/metadata/backups${query}`), 200).json;
  expect(total).toBe(backups.length);
  return backups as JsonRow[];
}

/** Makes a data backup. */
export async function backUp(server: Door, body: JsonRow = {}): Promise<JsonRow> {
  return expectSuccess(await call(server, 'POST', '/v1/backups', body)).json as JsonRow;
}

export async function dataBackups(server: Door): Promise<JsonRow[]> {
  const { backups, total } = expectStatus(await call(server, 'GET', '/v1/backups'), 200).json;
  expect(total).toBe(backups.length);
  return backups as JsonRow[];
}

export function recover(server: Door, body: JsonRow): Promise<Answer> {
  return call(server, 'POST', '/v1/recover', body);
}

/** A recovery that must succeed. */
export async function recovered(server: Door, body: JsonRow): Promise<JsonRow> {
  return expectSuccess(await recover(server, body)).json as JsonRow;
}

/** What a recovery says of itself, without the sentence: the same for a dry run and the run itself. */
export function figuresOf(answer: JsonRow): JsonRow {
  const { message: _message, ...figures } = answer;
  return figures;
}

/** The answers to queries, byte for byte. */
export async function textsOf(server: Door, queries: readonly string[]): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const sql of queries)
    texts[sql] = expectStatus(await call(server, 'POST', '/v1/query', { sql }, { accept: 'application/x-ndjson' }), 200).text;
  return texts;
}

/** Every row of a table, byte for byte. */
export async function textOf(server: Door, table: string, where = 'true'): Promise<string> {
  const sql = `SELECT * FROM "${table}" WHERE ${where} ORDER BY ALL`;
  return (await textsOf(server, [sql]))[sql] ?? '';
}

/** What a table says of itself that a restore brings back. */
export async function descriptionOf(server: Door, table: string): Promise<JsonRow> {
  const { name, config, schema, stats } = await tableInfo(server, table);
  return { name, config, schema, stats };
}

/** One value of `GET /metrics`; 0 while it is not there. */
export async function metricOf(server: Door, series: string): Promise<number> {
  const { text } = expectStatus(await call(server, 'GET', '/metrics'), 200);
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

/** Every table, as the list says it. */
export async function tableList(server: Door): Promise<string> {
  return expectStatus(await call(server, 'GET', '/v1/tables'), 200).text;
}

export async function tableNames(server: Door): Promise<string[]> {
  const { tables } = JSON.parse(await tableList(server)) as { tables: { name: string }[] };
  return tables.map(({ name }) => name);
}

/** Of a server that is not running. */
export function removeWal(dataDir: string): void {
  rmSync(path.join(dataDir, 'wal'), { recursive: true });
}

/** A Redis database of its own for a server that must not meet the others of the run. */
export function ownRedisDatabase(database: number): Record<string, string> {
  return TEST_STORAGE === 'minio-redis' ? { REDIS_DB: String(database) } : {};
}
