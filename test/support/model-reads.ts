/** The reading operations of the model test: each asks the server something whose answer the reference state gives. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ModelRun } from './model-run.js';
import { type ModelTable, type PagedQuery, canonicalRows } from './model-table.js';
import { timestampText } from './payload-value.js';
import type { ReferenceRow, ReferenceSnapshot } from './reference-table.js';
import { expectSuccess } from './requests.js';
import { type Answer, call } from './server.js';
import { pageOf, queryRows, readFirstPage, readTable, requestNextPage, streamTable } from './table-reader.js';

const PAGE_ROWS_MAX = 40;
const READERS_MAX = 6;
const VERSIONS_MAX = 20;

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

export class ModelReads {
  readonly #run: ModelRun;
  #readers: PagingReader[] = [];

  constructor(run: ModelRun) {
    this.#run = run;
  }

  /** Results that have another page. */
  get openReaders(): number {
    return this.#readers.length;
  }

  /** To be called when nothing of the table is in a buffer: then its newest version is exactly what is visible. */
  async rememberVersion(table: ModelTable): Promise<void> {
    const snapshot = table.reference.snapshot();
    const answer = expectSuccess(await call(this.#run.server, 'GET', `/v1/tables/${table.name}/history`), 'history');
    const version = newestVersion(answer);
    // Commits carry milliseconds: keep clear of the one before and of the one that comes next.
    await pause(5);
    const instant = new Date().toISOString();
    await pause(5);
    this.#run.note(`version ${version} of ${table.name} remembered, instant ${instant}`);
    table.versions.push({ version, instant, snapshot });
    if (table.versions.length > VERSIONS_MAX) table.versions.splice(this.#run.random.integer(0, VERSIONS_MAX), 1);
  }

  async question(table: ModelTable): Promise<void> {
    const question = table.question();
    this.#run.note(`question ${table.name} WHERE ${question.sql}`);
    const { reference } = table;
    const actual = await readTable(this.#run.server, table.name, reference.columns, { where: question.sql });
    this.#run.expectRows(`WHERE ${question.sql}`, canonicalRows(reference.snapshot(), question), actual);
  }

  async count(table: ModelTable): Promise<void> {
    const question = table.question();
    const rows = table.reference.rows();
    const [answered] = await queryRows(
      this.#run.server,
      `SELECT COUNT(*) AS all_rows, COUNT(*) FILTER (WHERE ${question.sql}) AS some_rows, SUM(n) AS total FROM ${table.name}`,
    );
    const expected = [rows.length, rows.filter((row) => question.holds(row)).length, sumOfN(rows)].map(String);
    const actual = [answered?.['all_rows'], answered?.['some_rows'], answered?.['total']].map(String);
    if (expected.join() !== actual.join()) throw new Error(`counts of ${question.sql}: expected ${expected.join()}, got ${actual.join()}`);
  }

  async firstPage(table: ModelTable): Promise<void> {
    if (this.#readers.length >= READERS_MAX) return this.nextPage();
    const query = table.pagedQuery();
    const limit = this.#run.random.integer(1, PAGE_ROWS_MAX);
    const snapshot = table.reference.snapshot();
    this.#run.note(`first page of ${limit}: ${query.sql}`);
    const page = await readFirstPage(this.#run.server, query.sql, snapshot.columns, limit);
    const reader = { table, query, snapshot, limit, life: this.#run.life, rows: [...page.rows], cursor: page.nextCursor ?? '' };
    if (reader.rows.length > limit) throw new Error(`a page of ${reader.rows.length} rows, asked for ${limit}`);
    if (page.nextCursor === undefined) this.#finishReader(reader);
    else this.#readers.push(reader);
  }

  async nextPage(): Promise<void> {
    if (this.#readers.length === 0) return;
    const reader = this.#run.random.pick(this.#readers);
    this.#run.note(`next page of ${reader.query.sql}`);
    const answer = await requestNextPage(this.#run.server, reader.query.sql, reader.cursor, reader.limit);
    if (reader.life !== this.#run.life && answer.status >= 400 && answer.status < 500) {
      // A restart may end a result, if it says so; it must never continue with other rows.
      this.#readers = this.#readers.filter((other) => other !== reader);
      return;
    }
    const page = pageOf(expectSuccess(answer, `next page of ${reader.query.sql}`), reader.snapshot.columns);
    if (page.rows.length > reader.limit) throw new Error(`a page of ${page.rows.length} rows, asked for ${reader.limit}`);
    reader.rows.push(...page.rows);
    reader.cursor = page.nextCursor ?? '';
    if (page.nextCursor === undefined) this.#finishReader(reader);
  }

  #finishReader(reader: PagingReader): void {
    this.#readers = this.#readers.filter((other) => other !== reader);
    this.#run.expectRows(`all pages of ${reader.query.sql}`, reader.query.rows(reader.snapshot), reader.rows);
  }

  async asOf(table: ModelTable): Promise<void> {
    if (table.versions.length === 0) return;
    const { version, instant, snapshot } = this.#run.random.pick(table.versions);
    const asOf = this.#run.random.chance(0.7) ? version : instant;
    this.#run.note(`as of ${asOf} ${table.name}`);
    const actual = await readTable(this.#run.server, table.name, snapshot.columns, { asOf });
    this.#run.expectRows(`as of ${asOf}`, canonicalRows(snapshot), actual);
  }

  /** Rows, columns and statistics of the whole table. */
  async compare(table: ModelTable): Promise<void> {
    const { server } = this.#run;
    const snapshot = table.reference.snapshot();
    this.#run.expectRows('the whole table', canonicalRows(snapshot), await streamTable(server, table.name, snapshot.columns));

    const page = await readFirstPage(server, `SELECT * FROM ${table.name}`, snapshot.columns, 1);
    const expectedColumns = [...snapshot.columns].map(([name, type]) => `${name} ${type}`);
    const actualColumns = page.columns.slice(2).map(({ name, type }) => `${name.toLowerCase()} ${type}`);
    this.#run.expectRows('the columns', expectedColumns, actualColumns);

    const answer = expectSuccess(await call(server, 'GET', `/v1/tables/${table.name}`), 'table info');
    const { record_count, oldest_record, newest_record, deleted_records } = answer.json.table_info.stats;
    const hidden = sumOf(table.ids, (id) => table.reference.entity(id).hidden.length);
    const instants = table.reference.rows().map((row) => row.timestampMicros);
    const [oldest, newest] = [least(instants), greatest(instants)].map((micros) => (micros === undefined ? null : timestampText(micros)));
    const expected = JSON.stringify({
      record_count: instants.length,
      oldest_record: oldest,
      newest_record: newest,
      deleted_records: hidden,
    });
    const actual = JSON.stringify({ record_count, oldest_record, newest_record, deleted_records });
    if (expected !== actual) throw new Error(`statistics of ${table.name}: expected ${expected}, got ${actual}`);
  }
}

function newestVersion(answer: Answer): number {
  const versions: { version: number }[] = answer.json.history;
  return Math.max(...versions.map(({ version }) => version));
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
