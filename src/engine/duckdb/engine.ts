/**
 * The embedded SQL engine: one DuckDB instance that holds the write buffers, encodes and reads Parquet, and answers queries.
 *
 * It is locked once it is open: it reads and writes only below the directories it was given, loads no extension, and no later statement can
 * change a setting. That is the second lock on callers' SQL; the first is the check of the statement's syntax tree (`query/analyse-sql.ts`).
 * Every call runs on a thread of Node's pool, never on the event loop. A connection runs one statement at a time.
 */
import { mkdirSync } from 'node:fs';
import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';
import { AppError, messageOf } from '../../common/app-error.js';
import { quoteTextList } from './sql-text.js';

const IDLE_CONNECTIONS_MAX = 16;

export type Row = Record<string, DuckDBValue>;
export type Parameters = DuckDBValue[];

export interface EngineOptions {
  /** Below these DuckDB may read and write files; nowhere else. */
  readonly directories: readonly string[];
  readonly spillDirectory: string;
  readonly memoryBytesMax: number;
  /** Of the files that the engine writes when its memory is not enough. */
  readonly spillBytesMax: number;
  readonly threads: number;
}

export class Engine {
  readonly #idle: DuckDBConnection[] = [];

  private constructor(
    private readonly instance: DuckDBInstance,
    readonly memoryBytesMax: number,
  ) {}

  static async open(options: EngineOptions): Promise<Engine> {
    mkdirSync(options.spillDirectory, { recursive: true });
    const { memoryBytesMax } = options;
    const instance = await DuckDBInstance.create(':memory:', {
      memory_limit: `${memoryBytesMax}B`,
      temp_directory: options.spillDirectory,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      allow_community_extensions: 'false',
      threads: String(options.threads),
    });
    const engine = new Engine(instance, memoryBytesMax);
    await engine.#lock(options);
    return engine;
  }

  async #lock({ directories, spillBytesMax }: EngineOptions): Promise<void> {
    const connection = await this.instance.connect();
    await connection.run("SET GLOBAL TimeZone = 'UTC'");
    // Data files never change once written, so what is known of one stays true.
    await connection.run('SET GLOBAL parquet_metadata_cache = true');
    await connection.run("SET GLOBAL validate_external_file_cache = 'NO_VALIDATION'");
    // DuckDB 1.5.6 fails with an internal error where a window over a join keeps its first rows (one in six of such statements; test/right-answers.test.ts).
    await connection.run("SET GLOBAL disabled_optimizers = 'top_n_window_elimination'");
    // As an option of the new instance it would be shown and not kept to.
    await connection.run(`SET GLOBAL max_temp_directory_size = '${spillBytesMax}B'`);
    await connection.run(`SET GLOBAL allowed_directories = ${quoteTextList(directories)}`);
    await connection.run('SET GLOBAL enable_external_access = false');
    await connection.run('SET GLOBAL lock_configuration = true');
    this.#idle.push(connection);
  }

  /** Lends a connection for as long as `use` runs. */
  async withConnection<T>(use: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const connection = this.#idle.pop() ?? (await this.instance.connect());
    try {
      return await use(connection);
    } finally {
      if (this.#idle.length < IDLE_CONNECTIONS_MAX) this.#idle.push(connection);
      else connection.closeSync();
    }
  }

  /** A connection of one's own; the caller closes it. */
  connect(): Promise<DuckDBConnection> {
    return this.instance.connect();
  }

  /** Runs one statement of ours for its effect. */
  async run(sql: string, parameters?: Parameters): Promise<void> {
    await this.withConnection((connection) => connection.run(sql, parameters));
  }

  /** Runs one statement of ours and gives all its rows; for small results. 64-bit integers come as bigint. */
  async rows(sql: string, parameters?: Parameters): Promise<Row[]> {
    return this.withConnection(async (connection) => (await connection.runAndReadAll(sql, parameters)).getRowObjects());
  }

  /** The only row of a statement of ours. */
  async row(sql: string, parameters?: Parameters): Promise<Row> {
    const [row] = await this.rows(sql, parameters);
    if (row === undefined) throw new AppError('INTERNAL', 'the engine returned no row where one was expected');
    return row;
  }

  close(): void {
    for (const connection of this.#idle.splice(0)) connection.closeSync();
    this.instance.closeSync();
  }
}

/** True when the engine stopped a statement because it was told to. */
export function isInterrupt(error: unknown): boolean {
  return messageOf(error).startsWith('INTERRUPT Error');
}

/** True when the engine ran out of its memory or of room for its spill files. */
export function isOutOfMemory(error: unknown): boolean {
  return /^(Out of Memory Error|.*failed to (offload|allocate))/i.test(messageOf(error));
}

/** A value of the engine that is a whole number, as `number`; exact up to 2^53, which counts, sizes and LSNs stay below. */
export function asNumber(value: DuckDBValue | undefined): number {
  if (typeof value === 'bigint' || typeof value === 'number') return Number(value);
  throw new AppError('INTERNAL', `the engine returned ${String(value)} where a number was expected`);
}
