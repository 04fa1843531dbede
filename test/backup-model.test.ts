/**
 * Recovery after random histories: a random table is written to, backed up, written to again, and then a random part of the backup, or of an older
 * version, comes back. A model of the documented rule says which rows must be there: without force_overwrite those whose id and timestamp no present
 * row has (in an upsert table: whose id is not there), with it the rows of the range as they were.
 *
 * SEED=... repeats a run, RECOVERY_ROUNDS=... sets its length.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { closeTestServers } from './servers/shared-servers.js';
import { backUp, figuresOf, QUIET, recover, recovered } from './support/backups.js';
import { expectThat } from './support/expectations.js';
import {
  instantText,
  isInRange,
  type ModelRange,
  type ModelRow,
  ModelTable,
  modelTexts,
  type WriteMode,
} from './support/recovery-model.js';
import { expectSuccess, flush, type JsonRow, rowsOf, tableInfo, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { call, type RunningServer, startServer } from './support/server.js';
import { TEST_STORAGE } from './support/storage.js';

const ROUNDS = Number(process.env['RECOVERY_ROUNDS'] ?? (TEST_STORAGE === 'local' ? 30 : 8));
const STEPS_MAX = 14;
const IDS = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'];
const PATTERNS = ['a*', '?1', '[ab]*', '*[2-3]', 'c1', '*', 'zz*'];
const MICROS_PER_DAY = 86_400_000_000n;
/** 2024-02-28, a day before the 29th. */
const FIRST_DAY = BigInt(Date.parse('2024-02-28T00:00:00Z')) * 1_000n;
const DAYS = 4;
/** A few instants of each day, so that the same id and timestamp meet often, and rows stand on both sides of each border. */
const OFFSETS = [0n, 1n, 43_200_000_000n, MICROS_PER_DAY - 1n];

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ config: QUIET });
});

afterAll(async () => {
  await server?.kill();
  await closeTestServers();
});

async function createModelTable(name: string, config: JsonRow): Promise<void> {
  const schema = [{ name: 'n', type: 'BIGINT' }];
  expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: name, config, schema }));
}

interface Source {
  readonly request: JsonRow;
  /** Its rows, in the order of their writing. */
  readonly rows: readonly ModelRow[];
}

class Round {
  readonly model: ModelTable;
  readonly table: string;
  readonly #random: SeededRandom;
  #counter = 0;

  constructor(random: SeededRandom, round: number) {
    this.#random = random;
    this.table = `model_${round}`;
    this.model = new ModelTable(random.chance(0.5) ? 'append' : 'upsert');
  }

  async create(): Promise<void> {
    await createModelTable(this.table, { write_mode: this.model.mode, layout: this.#random.chance(0.2) ? 'id' : 'shard' });
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step += 1) await this.#step();
  }

  async #step(): Promise<void> {
    const action = this.#random.weighted({ write: 8, replace: 3, delete: 3, softDelete: 2, flush: 4, compact: 1 });
    const ids = this.#random.some(IDS, this.#random.integer(1, 4));
    switch (action) {
      case 'write':
        return this.#write();
      case 'replace':
        return this.#replace();
      case 'delete':
      case 'softDelete':
        return this.#delete(ids, action === 'softDelete');
      case 'flush':
        return flush(server, this.table);
      case 'compact':
        expectSuccess(await call(server, 'POST', `/v1/tables/${this.table}/compact`));
    }
  }

  async #write(): Promise<void> {
    const rows = Array.from({ length: this.#random.integer(1, 9) }, () => this.#row());
    const records = rows.map(({ id, micros, n }) => ({ id, timestamp: instantText(micros), payload: { n } }));
    await writeBatch(server, this.table, records);
    for (const row of rows) this.model.write(row);
  }

  async #replace(): Promise<void> {
    const row = this.#row();
    const body = { table: this.table, id: row.id, timestamp: instantText(row.micros), payload: { n: row.n } };
    expectSuccess(await call(server, 'PUT', '/v1/data', body));
    this.model.replace(row);
  }

  async #delete(ids: readonly string[], isSoft: boolean): Promise<void> {
    const answer = expectSuccess(await call(server, 'DELETE', '/v1/data', { table: this.table, ids, soft_delete: isSoft }));
    expect(answer.json.deleted_count).toBe(this.model.delete(ids, isSoft));
  }

  #row(): ModelRow {
    return { id: this.#random.pick(IDS), micros: this.#instant(), n: (this.#counter += 1) };
  }

  #instant(): bigint {
    return FIRST_DAY + BigInt(this.#random.integer(0, DAYS)) * MICROS_PER_DAY + this.#random.pick(OFFSETS);
  }

  /** The table as it is now, for a recovery later. */
  async save(): Promise<Source> {
    const rows = this.model.visible;
    if (this.#random.chance(0.6)) {
      const type = this.#random.pick(['full', 'incremental']);
      const { backup_id: id } = await backUp(server, { tables: [this.table], type });
      return { request: { backup_id: id, table: this.table }, rows };
    }
    await flush(server, this.table);
    const { version } = await tableInfo(server, this.table);
    return { request: { as_of: version, table: this.table }, rows };
  }

  /** One random recovery, compared with the model. */
  async recover(source: Source): Promise<void> {
    const { body, range } = this.#range();
    const overwrite = this.#random.chance(0.4);
    const target = await this.#target(source);
    const request: JsonRow = { ...source.request, ...body, ...target.request, force_overwrite: overwrite };
    const told = JSON.stringify(request);
    const matching = source.rows.filter((row) => isInRange(row, range));
    if (matching.length === 0) {
      expectThat((await recover(server, request)).status, told).toBe(404);
      if (target.model) await expectRows(target.name, target.model, told);
      return;
    }
    const dry = await recovered(server, { ...request, dry_run: true });
    if (target.model) await expectRows(target.name, target.model, `after the dry run of ${told}`);
    const answer = await recovered(server, request);
    expectThat(figuresOf(answer), `figures of ${told}`).toEqual(figuresOf(dry));
    const model = target.model ?? new ModelTable(this.model.mode);
    const coming = model.recover(matching, range, overwrite);
    await expectRows(target.name, model, told);
    expectThat({ rows: answer['rows_recovered'] as number, keys: answer['recovered_keys'] as string[] }, told).toEqual({
      rows: coming.length,
      keys: [...new Set(coming.map(({ id }) => id))].sort(),
    });
    const again = await recovered(server, { ...request, force_overwrite: false });
    expectThat(again['rows_recovered'], `again ${told}`).toBe(0);
    await this.#settle(target.name, model, told);
  }

  /** The table itself, a new one, or one that is there and may have another mode. */
  async #target(source: Source): Promise<{ name: string; model: ModelTable | undefined; request: JsonRow }> {
    const kind = this.#random.weighted({ itself: 6, fresh: 1, existing: 1 });
    if (kind === 'itself') return { name: this.table, model: this.model, request: {} };
    const name = `${this.table}_${kind}_${(this.#counter += 1)}`;
    if (kind === 'fresh') return { name, model: undefined, request: { target_table: name } };
    const mode: WriteMode = this.#random.pick(['append', 'upsert']);
    const model = new ModelTable(mode);
    await createModelTable(name, { write_mode: mode });
    const rows = [...this.#random.some(source.rows, 4), this.#row()];
    await writeBatch(
      server,
      name,
      rows.map(({ id, micros }, index) => ({ id, timestamp: instantText(micros), payload: { n: -index } })),
    );
    rows.forEach(({ id, micros }, index) => model.write({ id, micros, n: -index }));
    return { name, model, request: { target_table: name } };
  }

  #range(): { body: JsonRow; range: ModelRange } {
    const ids = this.#random.chance(0.25) ? this.#random.some([...IDS, 'zzz'], this.#random.integer(1, 4)) : undefined;
    const idPattern = this.#random.chance(0.25) ? this.#random.pick(PATTERNS) : undefined;
    const [from, to] = this.#times();
    const idsStandWithTimes = this.#random.chance(0.3);
    const byId = { ...(ids && !idsStandWithTimes ? { ids } : {}), ...(idPattern === undefined ? {} : { id_pattern: idPattern }) };
    const byTime = { ...(ids && idsStandWithTimes ? { ids } : {}), ...from?.body, ...to?.body };
    return {
      body: {
        ...(Object.keys(byId).length > 0 ? { id_range: byId } : {}),
        ...(Object.keys(byTime).length > 0 ? { time_range: byTime } : {}),
      },
      range: {
        ...(ids ? { ids } : {}),
        ...(idPattern === undefined ? {} : { idPattern }),
        ...(from ? { fromMicros: from.micros } : {}),
        ...(to ? { toMicros: to.micros } : {}),
      },
    };
  }

  #times(): [{ body: JsonRow; micros: bigint } | undefined, { body: JsonRow; micros: bigint } | undefined] {
    const [first = 0n, second = 0n] = [this.#instant(), this.#instant()].sort((a, b) => (a < b ? -1 : 1));
    const from = this.#random.chance(0.5) ? this.#border('start_date', first, 0n) : undefined;
    const to = this.#random.chance(0.5) ? this.#border('end_date', second, MICROS_PER_DAY) : undefined;
    return from && to && from.micros >= to.micros ? [from, undefined] : [from, to];
  }

  /** A day, or an instant. */
  #border(field: string, micros: bigint, dayMicros: bigint): { body: JsonRow; micros: bigint } {
    if (this.#random.chance(0.5)) return { body: { [field]: instantText(micros) }, micros };
    const day = micros - (micros % MICROS_PER_DAY);
    return { body: { [field]: instantText(day).slice(0, 10) }, micros: day + dayMicros };
  }

  /** The rows stay as they are when the buffers become files, and the files others. */
  async #settle(name: string, model: ModelTable, told: string): Promise<void> {
    if (this.#random.chance(0.5)) await flush(server, name);
    if (this.#random.chance(0.3)) expectSuccess(await call(server, 'POST', `/v1/tables/${name}/compact`));
    await expectRows(name, model, `settled after ${told}`);
  }
}

async function expectRows(table: string, model: ModelTable, told: string): Promise<void> {
  const rows = await rowsOf(server, `SELECT id, "timestamp", n FROM ${table}`);
  const texts = rows.map(({ id, timestamp, n }) => `${id} ${timestamp} ${n}`).sort();
  expectThat(texts, `${model.mode} table ${table} ${told}`).toEqual(modelTexts(model.visible));
}

test(
  `${ROUNDS} random histories and recoveries`,
  async () => {
    const random = new SeededRandom(seedOfThisRun());
    console.log(`recovery model: SEED=${random.seed} RECOVERY_ROUNDS=${ROUNDS}`);
    const models = new Map<string, ModelTable>();
    for (let round = 1; round <= ROUNDS; round += 1) {
      const each = new Round(random.fork(), round);
      try {
        await each.create();
        await each.run(random.integer(1, STEPS_MAX));
        const sources = [await each.save()];
        await each.run(random.integer(0, STEPS_MAX));
        if (random.chance(0.3)) sources.push(await each.save());
        for (let recovery = random.integer(1, 4); recovery > 0; recovery -= 1) {
          await each.recover(random.pick(sources));
          await each.run(random.integer(0, 4));
        }
        await expectRows(each.table, each.model, 'at the end');
      } catch (error) {
        throw new Error(`round ${round} of SEED=${random.seed}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
      models.set(each.table, each.model);
    }
    await server.kill();
    server = await startServer({ config: QUIET, dataDir: server.dataDir });
    for (const [table, model] of models) await expectRows(table, model, `after a restart, SEED=${random.seed}`);
  },
  60_000 + ROUNDS * 20_000,
);
