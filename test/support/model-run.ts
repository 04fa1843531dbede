/** What the parts of one model run share: its decisions, its server, and its journal, from which a failure is told. */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DataClient } from './data-client.js';
import { type MultisetDifference, isEmptyDifference, multisetDifference } from './reference-table.js';
import type { SeededRandom } from './seeded-random.js';
import { type RunningServer, startServer, temporaryDirectory } from './server.js';

const JOURNAL_STEPS_MAX = 20_000;
const STEPS_REPORTED = 25;
const STEP_LENGTH_REPORTED = 200;
const ROWS_REPORTED = 10;

export class ModelRun {
  /** Number of the operation under way. */
  operation = 0;
  rowsCompared = 0;
  #life = 0;
  #server: RunningServer | undefined;
  readonly #dataDir = temporaryDirectory('model');
  readonly #journal: string[] = [];

  constructor(
    readonly random: SeededRandom,
    readonly config: Record<string, unknown>,
  ) {}

  /** How often the server was started. */
  get life(): number {
    return this.#life;
  }

  get server(): RunningServer {
    if (!this.#server) throw new Error('the server was not started');
    return this.#server;
  }

  get client(): DataClient {
    return new DataClient(this.server);
  }

  async startServer(): Promise<void> {
    this.#server = await startServer({ dataDir: this.#dataDir, config: this.config });
    this.#life += 1;
  }

  async kill(): Promise<void> {
    await this.#server?.kill();
  }

  note(what: string): void {
    this.#journal.push(`${this.operation}. ${what}`);
    if (this.#journal.length > JOURNAL_STEPS_MAX) this.#journal.shift();
  }

  expectRows(what: string, expected: readonly string[], actual: readonly string[]): void {
    this.rowsCompared += expected.length;
    const difference = multisetDifference(expected, actual);
    if (!isEmptyDifference(difference)) throw new Error(`${what}: ${describeDifference(difference)}`);
  }

  /** The seed, the difference, the last operations on the table, and where all of them stand. */
  failure(what: string, table: string, error: unknown): Error {
    const steps = this.#journal.filter((step) => step.includes(table) || /\. (kill|terminate)/.test(step)).slice(-STEPS_REPORTED);
    const text = error instanceof Error ? error.message : String(error);
    const file = path.join(tmpdir(), `miniodb-model-failure-${this.random.seed}.txt`);
    writeFileSync(file, `${this.#journal.join('\n')}\n${text}\n\nserver output:\n${this.#server?.output() ?? ''}\n`);
    const place = `SEED=${this.random.seed}, operation ${this.operation}, ${what} ${table} (all operations and the server's output: ${file})`;
    return new Error([`${place}: ${text}`, ...steps.map((step) => step.slice(0, STEP_LENGTH_REPORTED))].join('\n'));
  }
}

function describeDifference({ missing, surplus }: MultisetDifference): string {
  const list = (mark: string, rows: readonly string[]): string[] => rows.slice(0, ROWS_REPORTED).map((row) => `  ${mark} ${row}`);
  return [`${missing.length} rows missing, ${surplus.length} too many`, ...list('missing', missing), ...list('surplus', surplus)].join(
    '\n',
  );
}
