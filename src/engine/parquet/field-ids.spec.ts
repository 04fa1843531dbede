import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import * as arrow from 'apache-arrow';
import { Compression, Table, writeParquet, WriterPropertiesBuilder } from 'parquet-wasm/node';
import { withFieldIds, writeFieldIds } from './field-ids.js';

const SELECT = `SELECT i AS n, 'text ' || i AS "größe", i / 7 AS ratio, i % 2 = 0 AS flag, TIMESTAMPTZ '2024-01-01' + to_seconds(i) AS t FROM range(3000) r(i)`;
const NAMES = ['n', 'größe', 'ratio', 'flag', 't'];

let directory: string;
let connection: DuckDBConnection;
let original: string;
beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'miniodb-field-ids-'));
  connection = await (await DuckDBInstance.create(':memory:')).connect();
  original = path.join(directory, 'original.parquet');
  await connection.run(`COPY (${SELECT}) TO '${original}' (FORMAT parquet, ROW_GROUP_SIZE 2048, KV_METADATA {origin: 'elsewhere'})`);
});
afterAll(() => {
  connection.closeSync();
  rmSync(directory, { recursive: true, force: true });
});

async function rows(sql: string): Promise<unknown[]> {
  return (await connection.runAndReadAll(sql)).getRowsJson();
}

async function fieldIdsOf(file: string): Promise<unknown[]> {
  return (await rows(`SELECT field_id::INTEGER FROM parquet_schema('${file}')`)).flat();
}

function copyOf(file: string, name: string): string {
  const copy = path.join(directory, name);
  copyFileSync(file, copy);
  return copy;
}

/** Everything that a footer says, besides field ids and where and how long it is. */
async function footerOf(file: string): Promise<unknown[]> {
  return Promise.all([
    rows(`SELECT * EXCLUDE (file_name, field_id) FROM parquet_schema('${file}')`),
    rows(`SELECT * EXCLUDE (file_name) FROM parquet_metadata('${file}')`),
    rows(`SELECT * EXCLUDE (file_name) FROM parquet_kv_metadata('${file}')`),
    rows(`SELECT * EXCLUDE (file_name, file_size_bytes, footer_size) FROM parquet_file_metadata('${file}')`),
  ]);
}

describe('field ids of a Parquet file', () => {
  it.each([
    ['small', [1, 2, 16, 17, 18]],
    ['of several bytes', [63, 64, 8_191, 8_192, 2 ** 31 - 1]],
  ])('are written, and nothing else changes: %s', async (_title, ids) => {
    const file = copyOf(original, `${ids[0]}.parquet`);
    expect(await writeFieldIds(file, new Map(NAMES.map((name, index) => [name, ids[index] ?? 0])))).toBe(true);
    expect(await fieldIdsOf(file)).toEqual([null, ...ids]);
    expect(await footerOf(file)).toEqual(await footerOf(original));
    expect(await rows(`FROM '${file}'`)).toEqual(await rows(`FROM '${original}'`));
  });

  it('replace those that are there', async () => {
    const file = path.join(directory, 'numbered.parquet');
    await connection.run(`COPY (${SELECT}) TO '${file}' (FORMAT parquet, FIELD_IDS {n: 900000, "größe": 2, ratio: 3, flag: 4, t: 5})`);
    expect(await writeFieldIds(file, new Map(NAMES.map((name, index) => [name, 50 + index])))).toBe(true);
    expect(await fieldIdsOf(file)).toEqual([null, 50, 51, 52, 53, 54]);
    expect(await rows(`FROM '${file}'`)).toEqual(await rows(`FROM '${original}'`));
  });

  it('are written into the file of another writer', async () => {
    const table = new arrow.Table({
      n: arrow.vectorFromArray([1n, 2n, null], new arrow.Int64()),
      text: arrow.vectorFromArray(['a', 'b', 'c'], new arrow.Utf8()),
      day: arrow.vectorFromArray([new Date(0), null, new Date(86_400_000)], new arrow.DateDay()),
    });
    const properties = new WriterPropertiesBuilder().setCompression(Compression.ZSTD).build();
    const file = path.join(directory, 'rust.parquet');
    writeFileSync(file, writeParquet(Table.fromIPCStream(arrow.tableToIPC(table, 'stream')), properties));
    const before = copyOf(file, 'rust-before.parquet');
    expect(await writeFieldIds(file, new Map([['n', 16], ['text', 17], ['day', 18]]))).toBe(true); // prettier-ignore
    expect(await fieldIdsOf(file)).toEqual([null, 16, 17, 18]);
    expect(await footerOf(file)).toEqual(await footerOf(before));
    expect(await rows(`FROM '${file}'`)).toEqual(await rows(`FROM '${before}'`));
  });

  it('are refused for a column that has none, and the file stays as it was', async () => {
    const file = copyOf(original, 'incomplete.parquet');
    await expect(writeFieldIds(file, new Map([['n', 1]]))).rejects.toThrow('column größe has no field id');
    expect(readFileSync(file).equals(readFileSync(original))).toBe(true);
  });

  it('have no place in what is no Parquet file', async () => {
    const file = path.join(directory, 'text.parquet');
    writeFileSync(file, 'PAR1 and then nothing of the kind');
    expect(await writeFieldIds(file, new Map())).toBe(false);
    expect(() => withFieldIds(Buffer.from([0x15, 0x02]), new Map())).toThrow('the footer ends in the middle of a value');
  });
});
