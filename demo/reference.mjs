/** DuckDB in this process, on the source files themselves: it prepares what we send and says what the right answers are. */
import { rmSync } from 'node:fs';
import { DuckDBInstance } from '@duckdb/node-api';

const INSTANT = '%Y-%m-%dT%H:%M:%S.%fZ';

export class Reference {
  #instance;
  #connection;

  constructor(instance, connection) {
    this.#instance = instance;
    this.#connection = connection;
  }

  /** @param {readonly import('./sources.mjs').Source[]} sources become views named like the tables */
  static async open(sources) {
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    await connection.run("SET TimeZone = 'UTC'");
    for (const { table, select } of sources) await connection.run(`CREATE VIEW ${table} AS ${select}`);
    return new Reference(instance, connection);
  }

  async countRows(table) {
    const [row] = (await this.answer(`SELECT count(*) AS rows FROM ${table}`)).rows;
    return Number(row.rows);
  }

  /**
   * Writes some rows of a source as newline-delimited JSON, has them used, and removes the file.
   * A file and not a pipe, because a request that the server asks to repeat later (429) must be sent again.
   */
  async withRowsAsJson({ table }, { from, count }, file, use) {
    const rows = `SELECT * REPLACE (strftime(timestamp, '${INSTANT}') AS timestamp) FROM ${table} LIMIT ${count} OFFSET ${from}`;
    await this.#connection.run(`COPY (${rows}) TO '${file.replaceAll("'", "''")}' (FORMAT json)`);
    try {
      return await use();
    } finally {
      rmSync(file, { force: true });
    }
  }

  /** @returns {Promise<{columns: readonly string[], rows: readonly Record<string, unknown>[]}>} BIGINT and wider as text */
  async answer(sql) {
    const result = await this.#connection.runAndReadAll(sql);
    return { columns: result.columnNames(), rows: result.getRowObjectsJson() };
  }

  close() {
    this.#connection.closeSync();
    this.#instance.closeSync();
  }
}
