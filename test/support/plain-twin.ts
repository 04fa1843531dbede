/** Plain DuckDB with the same rows as the tables of a server: what the server's answers are compared with. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type DuckDBConnection, DuckDBInstance, type DuckDBResultReader, type DuckDBValue } from '@duckdb/node-api';
import { quoted } from '../right-answers/expected-table.js';
import { tableInfo } from './requests.js';
import { temporaryDirectory } from './server.js';

export class PlainTwin {
  private constructor(
    private readonly instance: DuckDBInstance,
    private readonly connection: DuckDBConnection,
  ) {}

  static async create(): Promise<PlainTwin> {
    // The one optimizer that the server goes without as well, for its defects: see engine.ts.
    const instance = await DuckDBInstance.create(':memory:', { threads: '1', disabled_optimizers: 'top_n_window_elimination' });
    const connection = await instance.connect();
    await connection.run("SET TimeZone = 'UTC'");
    return new PlainTwin(instance, connection);
  }

  /** @param lines flat JSON objects, one a row, in the order in which the server got them */
  async copy(server: { readonly rest: string }, table: string, lines: readonly string[]): Promise<void> {
    const { schema } = await tableInfo(server, table);
    const columns = (schema as { name: string; type: string }[]).map(({ name, type }) => `${quoted(name)}: '${type}'`).join(', ');
    const file = path.join(temporaryDirectory('plain-twin'), 'rows.ndjson');
    writeFileSync(file, lines.join('\n'));
    await this.connection.run(
      `CREATE TABLE ${quoted(table)} AS FROM read_json('${file}', format = 'newline_delimited', columns = {${columns}})`,
    );
  }

  ask(sql: string, params?: string): Promise<DuckDBResultReader> {
    const values = params === undefined ? undefined : (JSON.parse(params) as DuckDBValue[] | Record<string, DuckDBValue>);
    return this.connection.runAndReadAll(sql, values);
  }

  close(): void {
    this.connection.closeSync();
    this.instance.closeSync();
  }
}
