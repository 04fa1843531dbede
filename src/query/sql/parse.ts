/** The engine's own parser: the syntax tree of a statement, as the text of JSON. The call is prepared once, because it comes before every new statement. */
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import type { Engine } from '../../engine/duckdb/engine.js';

const CALL = 'SELECT json_serialize_sql($1::VARCHAR)::VARCHAR';
/** Calls that are kept ready. */
const IDLE_MAX = 8;

interface Call {
  readonly connection: DuckDBConnection;
  readonly statement: DuckDBPreparedStatement;
}

export class SqlParser {
  readonly #idle: Call[] = [];

  constructor(private readonly engine: Engine) {}

  async tree(sql: string): Promise<string> {
    const call = this.#idle.pop() ?? (await this.#open());
    try {
      call.statement.bindVarchar(1, sql);
      const result = await call.statement.run();
      const [row] = await result.getRows();
      return String(row?.[0]);
    } finally {
      if (this.#idle.length < IDLE_MAX) this.#idle.push(call);
      else close(call);
    }
  }

  async #open(): Promise<Call> {
    const connection = await this.engine.connect();
    return { connection, statement: await connection.prepare(CALL) };
  }

  close(): void {
    for (const call of this.#idle.splice(0)) close(call);
  }
}

function close({ connection, statement }: Call): void {
  statement.destroySync();
  connection.closeSync();
}
