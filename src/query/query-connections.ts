/**
 * Connections for callers' queries. Each has its own temporary views, named like the tables: that is how a statement reads the pinned state of a
 * table under the plain name, and nothing else. A view that already says the right thing is left as it is, so a query on an unchanged table
 * creates none.
 */
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import { LRUCache } from 'lru-cache';
import type { Engine } from '../engine/duckdb/engine.js';
import { quoteName } from '../engine/duckdb/sql-text.js';
import { registerAllow } from './limits/memory-gate.js';
import { guardedFunctionsSql } from './limits/amplifiers.js';
import type { MemoryWatch } from './limits/memory-watch.js';
import type { Meaning } from './prepared-statement.js';
import type { RunningQuery } from './limits/running-queries.js';
import { LSN_VARIABLE, type ReadView } from '../tables/view/read-view.js';

const IDLE_MAX = 8;
/** Views that one connection keeps; past it the connection is closed after use. */
const VIEWS_MAX = 200;

/** Statements that a connection keeps ready, the newest, and the characters of all of them. */
const STATEMENTS_MAX = 64;
const STATEMENT_CHARACTERS_MAX = 256 * 1_024;

export class QueryConnection {
  /** Text of each view, by its name in lower case. */
  readonly views = new Map<string, string>();
  lsn: number | undefined;
  readonly #statements = new LRUCache<string, DuckDBPreparedStatement>({
    max: STATEMENTS_MAX,
    maxSize: STATEMENT_CHARACTERS_MAX,
    sizeCalculation: (_statement, key) => key.length,
    dispose: (statement) => statement.destroySync(),
  });
  /** What callers' statements mean, while the views stay as they are. */
  readonly meanings = new LRUCache<string, Meaning>({
    max: STATEMENTS_MAX,
    maxSize: STATEMENT_CHARACTERS_MAX,
    sizeCalculation: (_meaning, key) => key.length,
  });

  /** The query that runs on it now. */
  query: RunningQuery | undefined;

  /** @param guard number by which functions of a guarded connection ask; undefined: all functions are the engine's own */
  constructor(
    readonly connection: DuckDBConnection,
    readonly guard: number | undefined,
  ) {}

  /**
   * A statement ready to run, understood once as long as nothing it reads changes. It has the LSN in it, so it ends with that, too. (Statements over
   * Parquet files are planned again at every run: the engine keeps no plan of a function that reads files.)
   * @param kinds of the parameters, which a plan depends on
   */
  async statement(sql: string, kinds: string): Promise<DuckDBPreparedStatement> {
    const key = `${kinds}|${sql}`;
    const kept = this.#statements.get(key);
    if (kept) return kept;
    const statement = await this.connection.prepare(sql);
    this.#statements.set(key, statement);
    return statement;
  }

  /** The views or the LSN are others now. */
  forgetStatements(): void {
    this.#statements.clear();
    this.meanings.clear();
  }

  close(): void {
    this.forgetStatements();
    this.connection.closeSync();
  }
}

export class QueryConnections {
  readonly #idle: QueryConnection[] = [];
  /** Of statements that may make large values; see `bounds/amplifiers.ts`. */
  readonly #idleGuarded: QueryConnection[] = [];
  readonly #guarded = new Map<number, QueryConnection>();
  #nextGuard = 1;

  constructor(private readonly engine: Engine) {}

  /** Lets functions of guarded connections ask for the memory that they will take. */
  async open(watch: MemoryWatch): Promise<void> {
    await this.engine.withConnection((connection) => {
      registerAllow(connection, watch, (guard) => this.#guarded.get(guard)?.query);
      return Promise.resolve();
    });
  }

  async take(query: RunningQuery, isGuarded: boolean): Promise<QueryConnection> {
    const taken = isGuarded
      ? (this.#idleGuarded.pop() ?? (await this.#openGuarded()))
      : (this.#idle.pop() ?? new QueryConnection(await this.engine.connect(), undefined));
    taken.query = query;
    return taken;
  }

  async #openGuarded(): Promise<QueryConnection> {
    const guard = this.#nextGuard++;
    const opened = new QueryConnection(await this.engine.connect(), guard);
    await opened.connection.run(guardedFunctionsSql(guard).join(';'));
    this.#guarded.set(guard, opened);
    return opened;
  }

  /** @param isClean false after a failure or an interrupt: the connection is not used again */
  giveBack(taken: QueryConnection, isClean: boolean): void {
    taken.query = undefined;
    const idle = taken.guard === undefined ? this.#idle : this.#idleGuarded;
    if (isClean && idle.length < IDLE_MAX && taken.views.size <= VIEWS_MAX) idle.push(taken);
    else this.#close(taken);
  }

  /** Lets the names of the tables mean the pinned views. */
  async bind(taken: QueryConnection, views: ReadonlyMap<string, ReadView>): Promise<void> {
    for (const [name, view] of views) {
      const text = await view.callerSql();
      const key = name.toLowerCase();
      if (taken.views.get(key) === text) continue;
      taken.views.delete(key);
      taken.forgetStatements();
      await taken.connection.run(`CREATE OR REPLACE TEMP VIEW ${quoteName(key)} AS ${text}`);
      taken.views.set(key, text);
    }
    const lsn = Math.max(0, ...[...views.values()].map((view) => view.lsn));
    if (taken.lsn === lsn) return;
    taken.forgetStatements();
    taken.lsn = undefined;
    await taken.connection.run(`SET VARIABLE ${LSN_VARIABLE} = ${lsn}::BIGINT`);
    taken.lsn = lsn;
  }

  #close(taken: QueryConnection): void {
    if (taken.guard !== undefined) this.#guarded.delete(taken.guard);
    taken.close();
  }

  close(): void {
    for (const idle of [...this.#idle.splice(0), ...this.#idleGuarded.splice(0)]) this.#close(idle);
  }
}
