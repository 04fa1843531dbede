/**
 * Connections for callers' queries. Each has its own temporary views, named like the tables: that is how a statement reads the pinned state of a
 * table under the plain name, and nothing else. A view that already says the right thing is left as it is, so a query on an unchanged table
 * creates none.
 */
import type { DuckDBConnection } from '@duckdb/node-api';
import type { Engine } from '../infra/duckdb/engine.js';
import { quoteName } from '../infra/duckdb/sql-text.js';
import { LSN_VARIABLE, type ReadView } from '../tables/read-view.js';

const IDLE_MAX = 8;
/** Views that one connection keeps; past it the connection is closed after use. */
const VIEWS_MAX = 200;

export interface QueryConnection {
  readonly connection: DuckDBConnection;
  /** Text of each view, by its name in lower case. */
  readonly views: Map<string, string>;
  lsn: number | undefined;
}

export class QueryConnections {
  readonly #idle: QueryConnection[] = [];

  constructor(private readonly engine: Engine) {}

  async take(): Promise<QueryConnection> {
    return this.#idle.pop() ?? { connection: await this.engine.connect(), views: new Map<string, string>(), lsn: undefined };
  }

  /** @param isClean false after a failure or an interrupt: the connection is not used again */
  giveBack(taken: QueryConnection, isClean: boolean): void {
    if (isClean && this.#idle.length < IDLE_MAX && taken.views.size <= VIEWS_MAX) this.#idle.push(taken);
    else taken.connection.closeSync();
  }

  /** Lets the names of the tables mean the pinned views. */
  async bind(taken: QueryConnection, views: ReadonlyMap<string, ReadView>): Promise<void> {
    for (const [name, view] of views) {
      const text = await view.callerSql();
      const key = name.toLowerCase();
      if (taken.views.get(key) === text) continue;
      taken.views.delete(key);
      await taken.connection.run(`CREATE OR REPLACE TEMP VIEW ${quoteName(key)} AS ${text}`);
      taken.views.set(key, text);
    }
    const lsn = Math.max(0, ...[...views.values()].map((view) => view.lsn));
    if (taken.lsn === lsn) return;
    await taken.connection.run(`SET VARIABLE ${LSN_VARIABLE} = ${lsn}::BIGINT`);
    taken.lsn = lsn;
  }

  close(): void {
    for (const { connection } of this.#idle.splice(0)) connection.closeSync();
  }
}
