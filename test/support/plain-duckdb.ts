/** The engine alone, without our server: what it makes of a statement. */
import { DuckDBInstance } from '@duckdb/node-api';
import type { JsonRow } from './requests.js';

export async function duckdb(sql: string): Promise<JsonRow[]> {
  const instance = await DuckDBInstance.create(':memory:');
  try {
    const connection = await instance.connect();
    return (await connection.runAndReadAll(sql)).getRowObjectsJson();
  } finally {
    instance.closeSync();
  }
}
