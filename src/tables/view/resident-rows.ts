/**
 * Rows of a table's small files, kept in the engine as well, so that a query over thousands of flushes does not open thousands of files (each costs
 * it about 0.1 ms, whatever it holds). The files stay the truth: nothing here is needed for an answer, everything here can be dropped at any time.
 *
 * Rows are loaded behind a query that had to open several small files, with their place in the masks, and never change. A reader takes the rows
 * whose file its snapshot has and reads the other files itself; so each row is seen once, whatever is loaded, replaced or given up meanwhile.
 */
import type { Engine } from '../../engine/duckdb/engine.js';
import { asNumber } from '../../engine/duckdb/engine.js';
import { quoteName } from '../../engine/duckdb/sql-text.js';
import type { DataFile } from '../../delta/snapshot.js';
import type { ColumnType, TableSchema } from '../../delta/table-schema.js';
import type { ResidentBudget } from './resident-budget.js';
import { LOAD_COLUMN, type OpenFile, POSITION_COLUMN, SOURCE_COLUMN, storedRows } from './row-sql.js';

/** A file up to this size is small: opening it costs more than reading its rows. */
const SMALL_FILE_BYTES_MAX = 1_024 * 1_024;
const SMALL_FILE_ROWS_MAX = 20_000;
/** Small files that a query had to open before it is worth loading them. */
const FILES_MIN = 4;
/** Files and bytes of files of one load. */
const LOAD_FILES_MAX = 256;
const LOAD_BYTES_MAX = 4 * 1_024 * 1_024;
/** Rows of one resident table; the next load starts another. */
const TABLE_ROWS_MAX = 2_000_000;
/** A table with a smaller share of rows that are still in files is given up. */
const WANTED_SHARE_MIN = 0.5;
/** After a load that failed, the next one waits so long. */
const FAILURE_PAUSE_MS = 60_000;

/** A table of the engine with rows of small files. Rows are only added, until the whole is dropped. */
export interface ResidentTable {
  readonly name: string;
  readonly schema: TableSchema;
  /** Files whose rows it has, by their number in the masks; also those that are not in the newest snapshot. */
  readonly sources: Map<number, { readonly rows: number }>;
  loads: number;
  rows: number;
  wantedRows: number;
  bytes: number;
}

/** What a reader takes of a resident table. */
export interface ResidentPart {
  readonly table: ResidentTable;
  /** Rows of later loads are not read. */
  readonly loads: number;
  /** Files that are read, by their numbers. */
  readonly present: ReadonlySet<number>;
  /** Files that the table has and the reader's snapshot has not. */
  readonly absent: readonly number[];
}

export interface FileToLoad {
  readonly file: DataFile;
  readonly source: number;
}

export class ResidentRows {
  readonly #tables: ResidentTable[] = [];
  readonly #tableOf = new Map<number, ResidentTable>();
  #nextTable = 1;
  #loading: Promise<void> | undefined;
  #notBeforeMs = 0;
  #isClosed = false;
  /** Grows whenever a reader would take something else than before. */
  revision = 0;
  lastReadMs = 0;

  /**
   * @param tablePrefix beginning of the names of its tables, qualified
   * @param drop drops a resident table once no reader holds it
   */
  constructor(
    private readonly engine: Engine,
    private readonly tablePrefix: string,
    private readonly budget: ResidentBudget,
    private readonly drop: (table: ResidentTable, sql: string) => void,
  ) {}

  get bytes(): number {
    return this.#tables.reduce((sum, table) => sum + table.bytes, 0);
  }

  /** What a reader of these files takes from here. */
  partsOf(sources: ReadonlySet<number>): ResidentPart[] {
    const parts = this.#tables.map((table) => {
      const held = [...table.sources.keys()];
      const present = new Set(held.filter((source) => sources.has(source)));
      return { table, loads: table.loads, present, absent: held.filter((source) => !present.has(source)) };
    });
    return parts.filter(({ present }) => present.size > 0);
  }

  /**
   * Loads, in the background, the small files that a query had to open, when they are several and there is room.
   * @param opened files of the query that are not resident
   * @param open makes files readable until `release`
   */
  consider(
    opened: readonly FileToLoad[],
    schema: TableSchema,
    open: (files: readonly FileToLoad[]) => Promise<{ files: readonly OpenFile[]; release: () => void }>,
  ): void {
    this.lastReadMs = Date.now();
    if (this.#loading || this.#isClosed || Date.now() < this.#notBeforeMs) return;
    const small = opened.filter(({ file, source }) => isSmall(file) && !this.#tableOf.has(source));
    if (small.length < FILES_MIN || !this.budget.hasRoom(this)) return;
    this.#loading = this.#loadAll(small, schema, open)
      .catch(() => {
        // The files are there as before; the engine says what it lacks to the queries that lack it.
        this.#notBeforeMs = Date.now() + FAILURE_PAUSE_MS;
      })
      .finally(() => (this.#loading = undefined));
  }

  async #loadAll(small: readonly FileToLoad[], schema: TableSchema, open: Parameters<ResidentRows['consider']>[2]): Promise<void> {
    for (const batch of batchesOf(small)) {
      if (this.#isClosed || !this.budget.hasRoom(this)) return;
      const { files, release } = await open(batch);
      try {
        // Some may have left the table meanwhile.
        const opened = batch.filter(({ source }) => files.some((file) => file.source === source));
        if (opened.length > 0) await this.#load(opened, files, schema);
      } finally {
        release();
      }
    }
  }

  async #load(batch: readonly FileToLoad[], files: readonly OpenFile[], schema: TableSchema): Promise<void> {
    const table = await this.#tableFor(schema);
    const load = table.loads + 1;
    let bytes: number;
    try {
      await this.engine.run(`INSERT INTO ${table.name} SELECT *, ${load}::INTEGER FROM (${storedRows(table.schema, files)})`);
      bytes = await this.#bytesOf(table, load);
    } catch (error) {
      // Some rows may be there without being counted.
      this.#giveUp(table);
      throw error;
    }
    // Given up meanwhile.
    if (!this.#tables.includes(table)) return;
    const rows = batch.reduce((sum, { file }) => sum + file.rows, 0);
    table.loads = load;
    table.rows += rows;
    table.wantedRows += rows;
    table.bytes += bytes;
    for (const { file, source } of batch) {
      table.sources.set(source, { rows: file.rows });
      this.#tableOf.set(source, table);
    }
    this.revision += 1;
    this.budget.add(this, bytes);
    if (this.#isClosed) this.giveUp();
  }

  /** The newest table, while it has the columns of `schema` and room. */
  async #tableFor(schema: TableSchema): Promise<ResidentTable> {
    const newest = this.#tables.at(-1);
    if (newest && newest.schema.equals(schema) && newest.rows < TABLE_ROWS_MAX) return newest;
    const table: ResidentTable = {
      name: `${this.tablePrefix}_${this.#nextTable++}`,
      schema,
      sources: new Map(),
      loads: 0,
      rows: 0,
      wantedRows: 0,
      bytes: 0,
    };
    const columns = schema.columns.map((column) => `${quoteName(column.name)} ${column.type}`);
    await this.engine.run(
      `CREATE TABLE ${table.name} (${[...columns, `${SOURCE_COLUMN} INTEGER`, `${POSITION_COLUMN} BIGINT`, `${LOAD_COLUMN} INTEGER`].join(', ')})`,
    );
    this.#tables.push(table);
    return table;
  }

  /** Memory of the rows of a load: fixed widths, and the bytes of texts. */
  async #bytesOf({ name, schema }: ResidentTable, load: number): Promise<number> {
    const widths = schema.columns.reduce((sum, { type }) => sum + (WIDTHS.get(type) ?? WIDTH_MAX), PLACE_WIDTH);
    const texts = schema.columns.filter(({ type }) => type === 'VARCHAR' || type === 'JSON');
    const lengths = texts.map((column) => `coalesce(strlen(${quoteName(column.name)}::VARCHAR), 0)`);
    const row = await this.engine.row(
      `SELECT (count(*) * ${widths} + coalesce(sum(${['0', ...lengths].join(' + ')}), 0))::BIGINT AS bytes FROM ${name} WHERE ${LOAD_COLUMN} = ${load}`,
    );
    return asNumber(row['bytes']);
  }

  /** Files that left the table, or have other numbers now. Readers that hold them go on reading their rows. */
  forget(sources: readonly number[]): void {
    const touched = new Set<ResidentTable>();
    for (const source of sources) {
      const table = this.#tableOf.get(source);
      if (!table) continue;
      this.#tableOf.delete(source);
      table.wantedRows -= table.sources.get(source)?.rows ?? 0;
      touched.add(table);
    }
    for (const table of touched) if (table.wantedRows < table.rows * WANTED_SHARE_MIN) this.#giveUp(table);
    if (touched.size > 0) this.revision += 1;
  }

  /** Gives all of it back. */
  giveUp(): void {
    for (const table of [...this.#tables]) this.#giveUp(table);
  }

  #giveUp(table: ResidentTable): void {
    const place = this.#tables.indexOf(table);
    if (place < 0) return;
    this.#tables.splice(place, 1);
    for (const source of table.sources.keys()) if (this.#tableOf.get(source) === table) this.#tableOf.delete(source);
    this.revision += 1;
    this.budget.add(this, -table.bytes);
    this.drop(table, `DROP TABLE IF EXISTS ${table.name}`);
  }

  /** Takes no more rows, and gives back what it has. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#loading;
    this.giveUp();
  }
}

function isSmall({ sizeBytes, rows }: DataFile): boolean {
  return sizeBytes <= SMALL_FILE_BYTES_MAX && rows <= SMALL_FILE_ROWS_MAX;
}

function* batchesOf(files: readonly FileToLoad[]): Iterable<readonly FileToLoad[]> {
  let batch: FileToLoad[] = [];
  let bytes = 0;
  for (const candidate of files) {
    if (batch.length === LOAD_FILES_MAX || (batch.length > 0 && bytes + candidate.file.sizeBytes > LOAD_BYTES_MAX)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(candidate);
    bytes += candidate.file.sizeBytes;
  }
  if (batch.length > 0) yield batch;
}

/** Bytes of a value in the engine's memory; a text, which has its length besides, and a DECIMAL take the most. */
const WIDTH_MAX = 16;
const PLACE_WIDTH = 16;
const WIDTHS: ReadonlyMap<ColumnType, number> = new Map([
  ['BIGINT', 8],
  ['DOUBLE', 8],
  ['TIMESTAMPTZ', 8],
  ['INTEGER', 4],
  ['DATE', 4],
  ['BOOLEAN', 1],
]);
