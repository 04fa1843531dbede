import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import { exposeInstants } from './exact-instants.js';

const BODIES = JSON.parse(readFileSync(new URL('../../../test/fixtures/columnar-bodies.json', import.meta.url), 'utf8')) as Record<
  string,
  string
>;

let directory: string;
let connection: DuckDBConnection;
beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'miniodb-exact-instants-'));
  connection = await (await DuckDBInstance.create(':memory:')).connect();
});
afterAll(() => {
  connection.closeSync();
  rmSync(directory, { recursive: true, force: true });
});

async function rows(sql: string): Promise<unknown[]> {
  return (await connection.runAndReadAll(sql)).getRowsJson();
}

function fileOf(name: string, bytes: Uint8Array): string {
  const file = path.join(directory, name);
  writeFileSync(file, bytes);
  return file;
}

describe('the instants of a Parquet file', () => {
  it('are read with all nanoseconds, whether they are marked as UTC or not', async () => {
    const read = async (name: string): Promise<unknown[]> => {
      const file = fileOf('instants.parquet', Buffer.from(BODIES[name] ?? '', 'base64'));
      expect(await exposeInstants(file)).toBe(true);
      // A reader of its own: it keeps the footers that it has seen.
      const other = await (await DuckDBInstance.create(':memory:')).connect();
      return (await other.runAndReadAll(`SELECT x::VARCHAR, typeof(x) FROM '${file}'`)).getRowsJson();
    };
    expect(await read('parquet timestamp[ns, UTC]')).toEqual([['2024-01-01 00:00:00.123456789', 'TIMESTAMP_NS']]);
    expect(await read('parquet timestamp[ns, None]')).toEqual([['2024-01-01 00:00:00.123456789', 'TIMESTAMP_NS']]);
    expect(await read('parquet timestamp[us]')).toEqual([['2024-01-02 03:04:05', 'TIMESTAMP']]);
  });

  it('are read as the bytes that they are when they are INT96', async () => {
    const file = fileOf('int96.parquet', Buffer.from(BODIES['parquet int96 finer than a microsecond'] ?? '', 'base64'));
    expect(await exposeInstants(file)).toBe(true);
    // 0 nanoseconds of day 2,440,588, and 123,456,789 of day 2,460,311.
    expect(await rows(`SELECT id, hex(x) FROM '${file}'`)).toEqual([
      ['r0', '00000000000000008C3D2500'],
      ['r1', '15CD5B0700000000978A2500'],
    ]);
  });

  it('are as they were in what is no Parquet file', async () => {
    const file = fileOf('text.parquet', Buffer.from('PAR1 and then nothing of the kind'));
    expect(await exposeInstants(file)).toBe(false);
  });
});
