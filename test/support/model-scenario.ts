/**
 * Random operations on a few tables of one server, each mirrored in the reference model, and comparisons of the two in between.
 *
 * One client sends one data operation at a time, so that the expected state is always certain; flushes, compactions and vacuums also run
 * beside the operations, by request and by the server's own decision, because what they do must not be visible. The crash test has the
 * concurrent writers.
 */
import { ModelWrites } from './model-writes.js';
import { ModelReads } from './model-reads.js';
import { ModelRun } from './model-run.js';
import { ModelTable } from './model-table.js';
import type { EntityState } from './reference-table.js';
import { expectSuccess, isSuccess } from './requests.js';
import type { SeededRandom } from './seeded-random.js';

const CONFIG = {
  log: { level: 'warn', file: '' },
  wal: { segment_bytes: 65_536 },
  maintenance: { interval_seconds: 0.5, checkpoint_commits: 7, compaction_files_min: 3, orphan_age_hours: 60 / 3_600 },
};
const BUFFER_ROWS = 40;
/** Past this many rows an id is hard-deleted, so that comparisons stay quick. */
const ROWS_OF_AN_ID_MAX = 30;

const WEIGHTS = {
  write: 200,
  batch: 100,
  bulk: 40,
  largeBulk: 12,
  bulkWithBadLines: 15,
  update: 80,
  partialUpdate: 80,
  softDelete: 40,
  hardDelete: 30,
  restore: 60,
  newField: 20,
  widen: 8,
  refusal: 40,
  flush: 20,
  compact: 12,
  vacuum: 6,
  terminate: 3,
  kill: 6,
  question: 100,
  count: 30,
  firstPage: 30,
  nextPage: 120,
  asOf: 40,
  compare: 30,
} as const;

export type OperationName = keyof typeof WEIGHTS;

export class ModelScenario {
  readonly counts: Record<OperationName, number>;
  readonly #run: ModelRun;
  readonly #writes: ModelWrites;
  readonly #reads: ModelReads;
  readonly #tables: readonly ModelTable[];
  /** A flush or compaction that runs beside the operations. */
  #underWay: Promise<void> = Promise.resolve();

  /** @param leftOut operations that are not done, to look past a known failure */
  constructor(
    random: SeededRandom,
    readonly leftOut: readonly string[] = [],
  ) {
    this.#run = new ModelRun(random, CONFIG);
    this.#writes = new ModelWrites(this.#run);
    this.#reads = new ModelReads(this.#run);
    this.counts = Object.fromEntries(Object.keys(WEIGHTS).map((name) => [name, 0])) as Record<OperationName, number>;
    this.#tables = [
      new ModelTable('model_append', 'append', 'shard', 30, random.fork()),
      new ModelTable('model_upsert', 'upsert', 'shard', 60, random.fork()),
      new ModelTable('model_by_id', 'append', 'id', 5, random.fork()),
    ];
  }

  get rowsCompared(): number {
    return this.#run.rowsCompared;
  }

  async start(): Promise<void> {
    await this.#run.startServer();
    for (const table of this.#tables) {
      const config = { write_mode: table.mode, layout: table.layout, buffer_size: BUFFER_ROWS, flush_interval_seconds: 1 };
      expectSuccess(await this.#run.client.createTable(table.name, config), `create ${table.name}`);
      await this.#writes.store(table, [table.newRow(table.payloads.fullPayload())], 'batch');
    }
  }

  async run(operations: number): Promise<void> {
    const { random } = this.#run;
    for (let operation = 1; operation <= operations; operation += 1) {
      this.#run.operation = operation;
      const table = random.pick(this.#tables);
      const name = random.weighted(WEIGHTS);
      if (this.leftOut.includes(name)) continue;
      this.counts[name] += 1;
      try {
        await this.#perform(name, table);
      } catch (error) {
        throw this.#run.failure(name, table.name, error);
      }
    }
  }

  /** Pages every open result to its end, then compares everything, before and after a last restart. */
  async finish(): Promise<void> {
    try {
      while (this.#reads.openReaders > 0) await this.#reads.nextPage();
      for (const table of this.#tables) await this.#reads.compare(table);
      await this.#restart('terminate');
    } catch (error) {
      throw this.#run.failure('the last comparison', 'model_', error);
    }
  }

  /** Leaves no process behind, whatever happened. */
  async stop(): Promise<void> {
    await this.#run.kill();
  }

  async #perform(name: OperationName, table: ModelTable): Promise<void> {
    const full = table.ids.filter((id) => rowsHeld(table.reference.entity(id)) > ROWS_OF_AN_ID_MAX);
    if (full.length > 0) await this.#writes.delete(table, full, false);
    switch (name) {
      case 'write':
        return this.#writes.store(table, [table.newRow()], 'single');
      case 'batch':
        return this.#writes.store(table, this.#writes.newRows(table, 12), 'batch');
      case 'bulk':
        return this.#writes.store(table, this.#writes.newRows(table, 30), 'bulk');
      case 'largeBulk':
        return this.#writes.store(table, this.#writes.newRows(table, 30), 'largeBulk');
      case 'bulkWithBadLines':
        return this.#writes.bulkWithBadLines(table);
      case 'newField':
        return this.#writes.store(table, [...this.#writes.newRows(table, 3), table.newRow(table.payloads.payloadWithNewField())], 'batch');
      case 'widen':
        return this.#writes.store(table, [table.newRow(table.payloads.payloadThatWidens())], 'single');
      case 'update':
        return this.#writes.update(table);
      case 'partialUpdate':
        return this.#writes.partialUpdate(table);
      case 'softDelete':
        return this.#writes.delete(table, table.someIds(), true);
      case 'hardDelete':
        return this.#writes.delete(table, table.someIds(), false);
      case 'restore':
        return this.#writes.restore(table);
      case 'refusal':
        return this.#writes.refusal(table);
      case 'flush':
        return this.#flush(table);
      case 'compact':
      case 'vacuum':
        return this.#maintain(table, name);
      case 'terminate':
      case 'kill':
        return this.#restart(name);
      case 'question':
        return this.#reads.question(table);
      case 'count':
        return this.#reads.count(table);
      case 'firstPage':
        return this.#reads.firstPage(table);
      case 'nextPage':
        return this.#reads.nextPage();
      case 'asOf':
        return this.#reads.asOf(table);
      case 'compare':
        return this.#reads.compare(table);
    }
  }

  /** After a flush nothing of the table is in a buffer, so its newest version is exactly what is visible. */
  async #flush(table: ModelTable): Promise<void> {
    if (this.#run.random.chance(0.4)) return this.#maintain(table, 'flush');
    this.#run.note(`flush ${table.name}`);
    expectSuccess(await this.#run.client.maintain(table.name, 'flush'), 'flush');
    await this.#reads.rememberVersion(table);
    await this.#reads.compare(table);
  }

  /** Runs the maintenance to its end, or beside the operations that follow. */
  async #maintain(table: ModelTable, action: 'flush' | 'compact' | 'vacuum'): Promise<void> {
    await this.#underWay;
    const isBeside = this.#run.random.chance(0.5);
    this.#run.note(`${action} ${table.name}${isBeside ? ' beside what follows' : ''}`);
    const client = this.#run.client;
    const work = async (): Promise<void> => {
      const answer = await client.maintain(table.name, action);
      // The background maintenance may hold the table: that is said with CONFLICT and harms nobody.
      if (!isSuccess(answer) && answer.json?.error !== 'CONFLICT') expectSuccess(answer, `${action} ${table.name}`);
    };
    this.#underWay = work();
    // A failure shows at the next await of the promise; until then it must not count as unhandled.
    this.#underWay.catch(() => undefined);
    if (!isBeside) {
      await this.#underWay;
      await this.#reads.compare(table);
    }
  }

  async #restart(how: 'terminate' | 'kill'): Promise<void> {
    await this.#underWay;
    this.#run.note(how);
    const { server } = this.#run;
    if (how === 'kill') await server.kill();
    else {
      const exitCode = await server.stop();
      if (exitCode !== 0) throw new Error(`SIGTERM ended the server with ${exitCode}:\n${server.output()}`);
    }
    await this.#run.startServer();
    for (const table of this.#tables) await this.#reads.compare(table);
  }
}

function rowsHeld(state: EntityState): number {
  return state.live.length + state.hidden.length;
}
