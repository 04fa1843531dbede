/**
 * Random operations on a few tables of one server, each mirrored in the reference model, and comparisons of the two in between.
 *
 * One client sends one data operation at a time, so that the expected state is always certain; flushes, compactions and vacuums also run
 * beside the operations, by request and by the server's own decision, because what they do must not be visible. The crash test has the
 * concurrent writers.
 */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { DataClient, padded } from './data-client.js';
import { randomRefusal } from './model-refusals.js';
import { ModelTable, type PagedQuery, canonicalRows } from './model-table.js';
import { type ClientRecord, flatRecordJson, timestampText } from './payload-value.js';
import {
  type EntityState,
  type MultisetDifference,
  type ReferenceRow,
  type ReferenceSnapshot,
  hardDeleted,
  isEmptyDifference,
  merged,
  multisetDifference,
  replaced,
  restored,
  softDeleted,
  written,
} from './reference-table.js';
import type { SeededRandom } from './seeded-random.js';
import { type Answer, type RunningServer, call, startServer, temporaryDirectory } from './server.js';
import { expectSuccess, isSuccess, pageOf, queryRows, readFirstPage, readTable, requestNextPage, streamTable } from './table-reader.js';

const CONFIG = {
  log: { level: 'warn', file: '' },
  wal: { segment_bytes: 65_536 },
  query: { cursor_ttl_seconds: 600 },
  maintenance: { interval_seconds: 0.5, checkpoint_commits: 7, compaction_files_min: 3, orphan_age_hours: 60 / 3_600 },
};
const BUFFER_ROWS = 40;
const PAGE_ROWS_MAX = 40;
const READERS_MAX = 6;
const VERSIONS_MAX = 20;
const JOURNAL_STEPS_MAX = 20_000;
const STEPS_REPORTED = 25;
const STEP_LENGTH_REPORTED = 200;
const ROWS_REPORTED = 10;
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

/** A result that is being paged through while the table changes under it. */
interface PagingReader {
  readonly table: ModelTable;
  readonly query: PagedQuery;
  readonly snapshot: ReferenceSnapshot;
  readonly limit: number;
  /** The server's life in which it began. */
  readonly life: number;
  readonly rows: string[];
  cursor: string;
}

export class ModelScenario {
  readonly counts: Record<OperationName, number>;
  rowsCompared = 0;
  readonly #tables: readonly ModelTable[];
  readonly #dataDir = temporaryDirectory('model');
  readonly #journal: string[] = [];
  #server: RunningServer | undefined;
  #life = 0;
  #readers: PagingReader[] = [];
  /** A flush or compaction that runs beside the operations. */
  #underWay: Promise<void> = Promise.resolve();
  #operation = 0;

  /** @param leftOut operations that are not done, to look past a known failure */
  constructor(
    readonly random: SeededRandom,
    readonly leftOut: readonly string[] = [],
  ) {
    this.counts = Object.fromEntries(Object.keys(WEIGHTS).map((name) => [name, 0])) as Record<OperationName, number>;
    this.#tables = [
      new ModelTable('model_append', 'append', 'shard', 30, random.fork()),
      new ModelTable('model_upsert', 'upsert', 'shard', 60, random.fork()),
      new ModelTable('model_by_id', 'append', 'id', 5, random.fork()),
    ];
  }

  async start(): Promise<void> {
    await this.#startServer();
    for (const table of this.#tables) {
      const config = { write_mode: table.mode, layout: table.layout, buffer_size: BUFFER_ROWS, flush_interval_seconds: 1 };
      expectSuccess(`create ${table.name}`, await this.#client.createTable(table.name, config));
      await this.#store(table, [table.newRow(table.payloads.fullPayload())], 'batch');
    }
  }

  async run(operations: number): Promise<void> {
    for (this.#operation = 1; this.#operation <= operations; this.#operation += 1) {
      const table = this.random.pick(this.#tables);
      const name = this.random.weighted(WEIGHTS);
      if (this.leftOut.includes(name)) continue;
      this.counts[name] += 1;
      try {
        await this.#perform(name, table);
      } catch (error) {
        throw this.#failure(name, table.name, error);
      }
    }
  }

  /** Pages every open result to its end, then compares everything, before and after a last restart. */
  async finish(): Promise<void> {
    try {
      while (this.#readers.length > 0) await this.#nextPage();
      for (const table of this.#tables) await this.#compare(table);
      await this.#restart('terminate');
      await this.#underWay;
    } catch (error) {
      throw this.#failure('the last comparison', 'model_', error);
    } finally {
      await this.stop();
    }
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  get #client(): DataClient {
    if (!this.#server) throw new Error('the server was not started');
    return new DataClient(this.#server);
  }

  async #perform(name: OperationName, table: ModelTable): Promise<void> {
    const full = table.ids.filter((id) => rowsHeld(table.reference.entity(id)) > ROWS_OF_AN_ID_MAX);
    if (full.length > 0) await this.#delete(table, full, false);
    switch (name) {
      case 'write':
        return this.#store(table, [table.newRow()], 'single');
      case 'batch':
        return this.#store(table, this.#newRows(table, 12), 'batch');
      case 'bulk':
        return this.#store(table, this.#newRows(table, 30), 'bulk');
      case 'largeBulk':
        return this.#store(table, this.#newRows(table, 30), 'largeBulk');
      case 'bulkWithBadLines':
        return this.#bulkWithBadLines(table);
      case 'newField':
        return this.#store(table, [...this.#newRows(table, 3), table.newRow(table.payloads.payloadWithNewField())], 'batch');
      case 'widen':
        return this.#store(table, [table.newRow(table.payloads.payloadThatWidens())], 'single');
      case 'update':
        return this.#update(table);
      case 'partialUpdate':
        return this.#partialUpdate(table);
      case 'softDelete':
        return this.#delete(table, table.someIds(), true);
      case 'hardDelete':
        return this.#delete(table, table.someIds(), false);
      case 'restore':
        return this.#restore(table);
      case 'refusal':
        return this.#refusal(table);
      case 'flush':
        return this.#flush(table);
      case 'compact':
      case 'vacuum':
        return this.#maintain(table, name);
      case 'terminate':
      case 'kill':
        return this.#restart(name);
      case 'question':
        return this.#question(table);
      case 'count':
        return this.#count(table);
      case 'firstPage':
        return this.#firstPage(table);
      case 'nextPage':
        return this.#nextPage();
      case 'asOf':
        return this.#asOf(table);
      case 'compare':
        return this.#compare(table);
    }
  }

  // Writes.

  #newRows(table: ModelTable, countMax: number): NewRow[] {
    return Array.from({ length: this.random.integer(1, countMax + 1) }, () => table.newRow());
  }

  async #store(table: ModelTable, rows: readonly NewRow[], door: Door): Promise<void> {
    const records = rows.map(({ record }) => record);
    this.#note(`${door} ${table.name} ${records.map(flatRecordJson).join(' ')}`);
    const answer = expectSuccess(door, await this.#send(table, records, door));
    if (door !== 'single') expectField(answer, 'count', records.length);
    for (const newRow of rows) rememberWrite(table, newRow);
  }

  #send(table: ModelTable, records: readonly ClientRecord[], door: Door): Promise<Answer> {
    const [first] = records;
    if (!first) throw new Error('nothing to store');
    switch (door) {
      case 'single':
        return this.#client.write(table.name, first, this.random.chance(0.05) ? '?ack=flushed' : '');
      case 'batch':
        return this.#client.writeBatch(table.name, records);
      case 'bulk':
        return this.#client.bulk(table.name, records.map(flatRecordJson));
      case 'largeBulk':
        return this.#client.bulk(table.name, padded(records.map(flatRecordJson)));
    }
  }

  /** `on_error=skip`: the good lines are stored, the bad ones listed, and nothing of a bad line stays, not even its new column. */
  async #bulkWithBadLines(table: ModelTable): Promise<void> {
    const good = this.#newRows(table, 10);
    const bad = this.random.some(BAD_LINES, this.random.integer(1, BAD_LINES.length + 1));
    const goodLines = good.map((newRow) => ({ text: flatRecordJson(newRow.record), newRow }));
    const lines = this.random.shuffled<{ text: string; newRow?: NewRow }>([...goodLines, ...bad.map((text) => ({ text }))]);
    const texts = lines.map(({ text }) => text);
    this.#note(`bulk with bad lines ${table.name} ${texts.join(' ')}`);
    const body = this.random.chance(0.5) ? padded(texts) : texts;
    const answer = expectSuccess('bulk with bad lines', await this.#client.bulk(table.name, body, '&on_error=skip'));
    expectField(answer, 'count', good.length);
    expectField(answer, 'refused_count', bad.length);
    const expectedLines = lines.flatMap(({ newRow }, index) => (newRow ? [] : [index + 1]));
    const actualLines = answer.json.errors.map(({ line }: { line: number }) => line);
    if (expectedLines.join() !== actualLines.join()) throw new Error(`bad lines ${expectedLines.join()}, answered ${answer.text}`);
    for (const { newRow } of lines) if (newRow) rememberWrite(table, newRow);
  }

  async #update(table: ModelTable): Promise<void> {
    const { row, record } = table.newRow();
    this.#note(`replace ${table.name} ${flatRecordJson(record)}`);
    expectSuccess('replace', await this.#client.replace(table.name, record));
    table.reference.learnColumns(record.payload);
    table.reference.set(row.id, replaced(table.reference.entity(row.id), row));
  }

  async #partialUpdate(table: ModelTable): Promise<void> {
    const { row, record } = table.newRow();
    // Without a row to merge into, a missing timestamp would mean "now", which the model cannot know.
    const keepTimestamp = table.reference.entity(row.id).live.length > 0 && this.random.chance(0.5);
    this.#note(`merge ${table.name} ${flatRecordJson(record)}${keepTimestamp ? ' without its timestamp' : ''}`);
    const timestamp = keepTimestamp ? undefined : record.timestampMicros;
    expectSuccess('merge', await this.#client.merge(table.name, record.id, record.payload, timestamp));
    table.reference.learnColumns(record.payload);
    table.reference.set(row.id, merged(table.reference.entity(row.id), row, record.payload, keepTimestamp));
  }

  async #delete(table: ModelTable, ids: readonly string[], softDelete: boolean): Promise<void> {
    this.#note(`${softDelete ? 'soft' : 'hard'} delete ${table.name} ${ids.join(' ')}`);
    const answer = expectSuccess('delete', await this.#client.delete(table.name, ids, softDelete));
    expectField(answer, 'deleted_count', sumOf(ids, (id) => table.reference.entity(id).live.length));
    for (const id of ids) {
      table.reference.set(id, softDelete ? softDeleted(table.reference.entity(id)) : hardDeleted());
    }
  }

  async #restore(table: ModelTable): Promise<void> {
    const restorable = table.ids.filter((id) => table.reference.entity(id).hidden.length > 0);
    if (restorable.length === 0) return;
    const id = this.random.pick(restorable);
    const state = table.reference.entity(id);
    this.#note(`restore ${table.name} ${id}`);
    const answer = await this.#client.restore(table.name, [id]);
    if (table.mode === 'upsert' && state.live.length > 0) return expectRefusal(answer, 'CONFLICT');
    expectSuccess('restore', answer);
    expectField(answer, 'restored_count', table.mode === 'upsert' ? 1 : state.hidden.length);
    table.reference.set(id, restored(state, table.mode, table.nextOrders(state.hidden.length)));
  }

  async #refusal(table: ModelTable): Promise<void> {
    const refusal = randomRefusal(table);
    this.#note(`refusal ${table.name}: ${refusal.description}`);
    const answer = await refusal.send(this.#client);
    expectRefusal(answer, 'INVALID_ARGUMENT');
    if (!JSON.stringify(answer.json).includes(refusal.names)) {
      throw new Error(`the refusal of ${refusal.description} does not name ${refusal.names}: ${answer.text}`);
    }
  }

  // What must not be visible.

  /** After a flush nothing of the table is in a buffer, so its newest version is exactly what is visible. */
  async #flush(table: ModelTable): Promise<void> {
    if (this.random.chance(0.4)) return this.#maintain(table, 'flush');
    this.#note(`flush ${table.name}`);
    expectSuccess('flush', await this.#client.maintain(table.name, 'flush'));
    table.versions.push(await this.#rememberVersion(table));
    if (table.versions.length > VERSIONS_MAX) table.versions.splice(this.random.integer(0, VERSIONS_MAX), 1);
    await this.#compare(table);
  }

  async #rememberVersion(table: ModelTable): Promise<{ version: number; instant: string; snapshot: ReferenceSnapshot }> {
    const snapshot = table.reference.snapshot();
    const answer = expectSuccess('history', await call(this.#client.server, 'GET', `/v1/tables/${table.name}/history`));
    const version = newestVersion(answer);
    // Commits carry milliseconds: keep clear of the one before and of the one that comes next.
    await pause(5);
    const instant = new Date().toISOString();
    await pause(5);
    this.#note(`version ${version} of ${table.name} remembered, instant ${instant}`);
    return { version, instant, snapshot };
  }

  /** Runs the maintenance to its end, or beside the operations that follow. */
  async #maintain(table: ModelTable, action: 'flush' | 'compact' | 'vacuum'): Promise<void> {
    await this.#underWay;
    const isBeside = this.random.chance(0.5);
    this.#note(`${action} ${table.name}${isBeside ? ' beside what follows' : ''}`);
    const client = this.#client;
    const work = async (): Promise<void> => {
      const answer = await client.maintain(table.name, action);
      // The background maintenance may hold the table: that is said with CONFLICT and harms nobody.
      if (!isSuccess(answer) && answer.json?.error !== 'CONFLICT') expectSuccess(`${action} ${table.name}`, answer);
    };
    this.#underWay = work();
    // A failure shows at the next await of the promise; until then it must not count as unhandled.
    this.#underWay.catch(() => undefined);
    if (!isBeside) {
      await this.#underWay;
      await this.#compare(table);
    }
  }

  async #restart(how: 'terminate' | 'kill'): Promise<void> {
    await this.#underWay;
    this.#note(how);
    const server = this.#server;
    if (!server) return;
    if (how === 'kill') await server.kill();
    else {
      const exitCode = await server.stop();
      if (exitCode !== 0) throw new Error(`SIGTERM ended the server with ${exitCode}:\n${server.output()}`);
    }
    await this.#startServer();
    for (const table of this.#tables) await this.#compare(table);
  }

  async #startServer(): Promise<void> {
    this.#server = await startServer({ dataDir: this.#dataDir, config: CONFIG });
    this.#life += 1;
  }

  // Reads.

  async #question(table: ModelTable): Promise<void> {
    const question = table.question();
    this.#note(`question ${table.name} WHERE ${question.sql}`);
    const { reference } = table;
    const actual = await readTable(this.#client.server, table.name, reference.columns, { where: question.sql });
    this.#expectRows(`WHERE ${question.sql}`, canonicalRows(reference.snapshot(), question), actual);
  }

  async #count(table: ModelTable): Promise<void> {
    const question = table.question();
    const rows = table.reference.rows();
    const [answered] = await queryRows(
      this.#client.server,
      `SELECT COUNT(*) AS all_rows, COUNT(*) FILTER (WHERE ${question.sql}) AS some_rows, SUM(n) AS total FROM ${table.name}`,
    );
    const expected = [rows.length, rows.filter((row) => question.holds(row)).length, sumOfN(rows)].map(String);
    const actual = [answered?.['all_rows'], answered?.['some_rows'], answered?.['total']].map(String);
    if (expected.join() !== actual.join()) throw new Error(`counts of ${question.sql}: expected ${expected.join()}, got ${actual.join()}`);
  }

  async #firstPage(table: ModelTable): Promise<void> {
    if (this.#readers.length >= READERS_MAX) return this.#nextPage();
    const query = table.pagedQuery();
    const limit = this.random.integer(1, PAGE_ROWS_MAX);
    const snapshot = table.reference.snapshot();
    this.#note(`first page of ${limit}: ${query.sql}`);
    const page = await readFirstPage(this.#client.server, query.sql, snapshot.columns, limit);
    const reader = { table, query, snapshot, limit, life: this.#life, rows: [...page.rows], cursor: page.nextCursor ?? '' };
    if (reader.rows.length > limit) throw new Error(`a page of ${reader.rows.length} rows, asked for ${limit}`);
    if (page.nextCursor === undefined) this.#finishReader(reader);
    else this.#readers.push(reader);
  }

  async #nextPage(): Promise<void> {
    if (this.#readers.length === 0) return;
    const reader = this.random.pick(this.#readers);
    this.#note(`next page of ${reader.query.sql}`);
    const answer = await requestNextPage(this.#client.server, reader.query.sql, reader.cursor, reader.limit);
    if (reader.life !== this.#life && answer.status >= 400 && answer.status < 500) {
      // A restart may end a result, if it says so; it must never continue with other rows.
      this.#readers = this.#readers.filter((other) => other !== reader);
      return;
    }
    const page = pageOf(expectSuccess(`next page of ${reader.query.sql}`, answer), reader.snapshot.columns);
    if (page.rows.length > reader.limit) throw new Error(`a page of ${page.rows.length} rows, asked for ${reader.limit}`);
    reader.rows.push(...page.rows);
    reader.cursor = page.nextCursor ?? '';
    if (page.nextCursor === undefined) this.#finishReader(reader);
  }

  #finishReader(reader: PagingReader): void {
    this.#readers = this.#readers.filter((other) => other !== reader);
    this.#expectRows(`all pages of ${reader.query.sql}`, reader.query.rows(reader.snapshot), reader.rows);
  }

  async #asOf(table: ModelTable): Promise<void> {
    if (table.versions.length === 0) return;
    const { version, instant, snapshot } = this.random.pick(table.versions);
    const asOf = this.random.chance(0.7) ? version : instant;
    this.#note(`as of ${asOf} ${table.name}`);
    const actual = await readTable(this.#client.server, table.name, snapshot.columns, { asOf });
    this.#expectRows(`as of ${asOf}`, canonicalRows(snapshot), actual);
  }

  /** Rows, columns and statistics of the whole table. */
  async #compare(table: ModelTable): Promise<void> {
    const { server } = this.#client;
    const snapshot = table.reference.snapshot();
    this.#expectRows('the whole table', canonicalRows(snapshot), await streamTable(server, table.name, snapshot.columns));

    const page = await readFirstPage(server, `SELECT * FROM ${table.name}`, snapshot.columns, 1);
    const expectedColumns = [...snapshot.columns].map(([name, type]) => `${name} ${type}`);
    const actualColumns = page.columns.slice(2).map(({ name, type }) => `${name.toLowerCase()} ${type}`);
    this.#expectRows('the columns', expectedColumns, actualColumns);

    const answer = expectSuccess('table info', await call(server, 'GET', `/v1/tables/${table.name}`));
    const { record_count, oldest_record, newest_record, deleted_records } = answer.json.table_info.stats;
    const hidden = sumOf(table.ids, (id) => table.reference.entity(id).hidden.length);
    const instants = table.reference.rows().map((row) => row.timestampMicros);
    const [oldest, newest] = [least(instants), greatest(instants)].map((micros) => (micros === undefined ? null : timestampText(micros)));
    const expected = JSON.stringify({ record_count: instants.length, oldest_record: oldest, newest_record: newest, deleted_records: hidden });
    const actual = JSON.stringify({ record_count, oldest_record, newest_record, deleted_records });
    if (expected !== actual) throw new Error(`statistics of ${table.name}: expected ${expected}, got ${actual}`);
  }

  // Reports.

  #expectRows(what: string, expected: readonly string[], actual: readonly string[]): void {
    this.rowsCompared += expected.length;
    const difference = multisetDifference(expected, actual);
    if (isEmptyDifference(difference)) return;
    throw new Error(`${what}: ${describeDifference(difference)}`);
  }

  #note(what: string): void {
    this.#journal.push(`${this.#operation}. ${what}`);
    if (this.#journal.length > JOURNAL_STEPS_MAX) this.#journal.shift();
  }

  /** The seed, the difference, the last operations on the table, and where all of them stand. */
  #failure(what: string, table: string, error: unknown): Error {
    const steps = this.#journal.filter((step) => step.includes(table) || /\. (kill|terminate)/.test(step)).slice(-STEPS_REPORTED);
    const text = error instanceof Error ? error.message : String(error);
    const file = path.join(tmpdir(), `miniodb-model-failure-${this.random.seed}.txt`);
    writeFileSync(file, `${this.#journal.join('\n')}\n${text}\n\nserver output:\n${this.#server?.output() ?? ''}\n`);
    const shown = steps.map((step) => step.slice(0, STEP_LENGTH_REPORTED));
    return new Error(`SEED=${this.random.seed}, operation ${this.#operation}, ${what} ${table} (all operations and the server's output: ${file}): ${text}\n${shown.join('\n')}`);
  }
}

type NewRow = ReturnType<ModelTable['newRow']>;
type Door = 'single' | 'batch' | 'bulk' | 'largeBulk';

const BAD_LINES = [
  '{"id":"e_1","n":"thirty","never_stored":1}',
  '{"id":"e_1","n":1',
  '{"id":"not allowed","n":1}',
  '{"id":"e_1","timestamp":"yesterday","n":1}',
  '[1, 2, 3]',
  '{"id":"e_1","ratio":9007199254740993}',
];

function rememberWrite(table: ModelTable, { row, record }: NewRow): void {
  table.reference.learnColumns(record.payload);
  table.reference.set(row.id, written(table.reference.entity(row.id), row, table.mode));
}

function describeDifference({ missing, surplus }: MultisetDifference): string {
  const list = (mark: string, rows: readonly string[]): string[] => rows.slice(0, ROWS_REPORTED).map((row) => `  ${mark} ${row}`);
  return [`${missing.length} rows missing, ${surplus.length} too many`, ...list('missing', missing), ...list('surplus', surplus)].join('\n');
}

function expectField(answer: Answer, field: string, value: number): void {
  if (answer.json[field] !== value) throw new Error(`${field} is ${answer.json[field]}, must be ${value}: ${answer.text.slice(0, 500)}`);
}

function expectRefusal(answer: Answer, code: string): void {
  if (answer.json?.error !== code) throw new Error(`expected ${code}, got HTTP ${answer.status} ${answer.text.slice(0, 500)}`);
}

function newestVersion(answer: Answer): number {
  const versions: { version: number }[] = answer.json.history;
  return Math.max(...versions.map(({ version }) => version));
}

function rowsHeld(state: EntityState): number {
  return state.live.length + state.hidden.length;
}

function sumOf<T>(members: readonly T[], valueOf: (member: T) => number): number {
  return members.reduce((sum, member) => sum + valueOf(member), 0);
}

function sumOfN(rows: readonly ReferenceRow[]): bigint | null {
  const values = rows.flatMap((row) => row.payload.get('n')?.jsonText ?? []);
  return values.length === 0 ? null : values.reduce((sum, text) => sum + BigInt(text), 0n);
}

function least(values: readonly bigint[]): bigint | undefined {
  return values.reduce<bigint | undefined>((least, value) => (least === undefined || value < least ? value : least), undefined);
}

function greatest(values: readonly bigint[]): bigint | undefined {
  return values.reduce<bigint | undefined>((greatest, value) => (greatest === undefined || value > greatest ? value : greatest), undefined);
}
