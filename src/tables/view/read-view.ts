/**
 * What one query sees of one table: a snapshot, the buffers and an LSN, taken together and held until released. The same view gives the same rows
 * however often it is read and whatever happens meanwhile; that is what pages of a result and two mentions of a table in one query rely on.
 */
import pMap from 'p-map';
import { AppError } from '../../common/app-error.js';
import type { LocalObject } from '../../storage/object-store.js';
import { quoteName } from '../../engine/duckdb/sql-text.js';
import { type Extremes, extremesOf } from '../../delta/file-bounds.js';
import { storedColumns } from '../../delta/file-statistics.js';
import type { DataFile } from '../../delta/snapshot.js';
import type { Column, TableSchema } from '../../delta/table-schema.js';
import type { Generation } from '../generation.js';
import type { FileToLoad, ResidentPart } from './resident-rows.js';
import { type OpenFile, type RowSources, selectRows } from './row-sql.js';
import type { Table } from '../table.js';

/** The engine variable that carries a query's LSN, so that the text of a view stays the same while rows come in. */
export const LSN_VARIABLE = 'miniodb_lsn';

/** Files that are fetched at once when they are not on the local disk. */
const OPENING_MAX = 8;

/** More than any table has. */
const ROWS_MAX = 2n ** 63n - 1n;

/** See `hasStableOrder`. */
const STABLE_ROWS_MIN = 100_000;
const STABLE_ROWS_PER_HIDDEN = 20;

export interface ReadViewInit {
  readonly table: Table;
  readonly schema: TableSchema;
  readonly version: number;
  readonly files: readonly { readonly file: DataFile; readonly source: number }[];
  readonly generations: readonly Generation[];
  /** Rows of files that the engine has already, and the files of which it has none. */
  readonly residents: readonly ResidentPart[];
  readonly others: ReadViewInit['files'];
  readonly lsn: number;
  readonly openObject: (file: DataFile) => Promise<LocalObject>;
  readonly unpin: () => void;
}

export class ReadView {
  readonly table: Table;
  readonly schema: TableSchema;
  readonly version: number;
  readonly lsn: number;
  readonly generations: readonly Generation[];
  readonly files: ReadViewInit['files'];
  readonly #bulkFiles: readonly OpenFile[];
  readonly #parts: ReadViewInit;
  readonly #opened: LocalObject[] = [];
  readonly #openedFiles: { readonly file: DataFile; readonly path: string | undefined }[] = [];
  #openFiles: Promise<readonly OpenFile[]> | undefined;
  #callerFiles: Promise<readonly OpenFile[]> | undefined;
  #callerSql: Promise<string> | undefined;
  #keep: (file: DataFile) => boolean = () => true;
  #kept: ReadViewInit['files'] | undefined;
  #isReleased = false;
  #condition: string | undefined;

  constructor(parts: ReadViewInit) {
    this.#parts = parts;
    this.table = parts.table;
    this.schema = parts.schema;
    this.version = parts.version;
    this.lsn = parts.lsn;
    this.files = parts.files;
    this.generations = parts.generations;
    // A bulk file counts once the whole of it is acknowledged; taken now, because the list grows.
    this.#bulkFiles = parts.generations
      .flatMap((generation) => generation.bulkFiles.filter((file) => file.lsnBase + file.statistics.rows - 1 <= parts.lsn))
      .map((file) => ({ ...file, hasEveryColumn: holdsAll(file.statistics, file.statistics.text, parts.schema) }));
  }

  /** Leaves files out that the reader needs no row of. Before the first `open`. */
  keepOnly(keep: (file: DataFile) => boolean): void {
    this.#keep = keep;
    this.#kept = undefined;
  }

  /** Shows only rows that fulfil a condition, whatever a caller's query asks for. Before the first `open`. */
  onlyRows(condition: string | undefined): void {
    this.#condition = condition;
  }

  get isFiltered(): boolean {
    return this.#condition !== undefined;
  }

  /** Data files that are read. */
  get scannedFiles(): DataFile[] {
    return this.#chosen(this.#keep).map(({ file }) => file);
  }

  #chosen(keep: (file: DataFile) => boolean): ReadViewInit['files'] {
    if (keep !== this.#keep) return this.#parts.files.filter(({ file }) => keep(file));
    return (this.#kept ??= this.#parts.files.filter(({ file }) => keep(file)));
  }

  /** Makes the data files readable for the engine: those that `keep` names at the first call, all when it is absent. */
  open(keep = this.#keep): Promise<readonly OpenFile[]> {
    return (this.#openFiles ??= this.#openAll(this.#chosen(keep)));
  }

  #openAll(files: ReadViewInit['files']): Promise<readonly OpenFile[]> {
    return pMap(files, ({ file, source }) => this.#openFile(file, source), { concurrency: OPENING_MAX });
  }

  /** Makes the data files readable that a caller's query needs: those whose rows the engine has not already. */
  openForCaller(): Promise<readonly OpenFile[]> {
    return (this.#callerFiles ??= this.#openAll(this.#filesOfCaller()));
  }

  #filesOfCaller(): ReadViewInit['files'] {
    return this.#parts.others.filter(({ file }) => this.#keep(file));
  }

  /** True when a caller's query opens files, and finds not all rows in the engine. */
  get readsFiles(): boolean {
    return this.#filesOfCaller().length > 0 || this.#bulkFiles.length > 0;
  }

  /** Lets the table load small files that the caller's query had to open. */
  considerResidents(): void {
    const { table, schema } = this;
    if (this.#callerFiles) table.residents.consider(this.#filesOfCaller(), schema, (files) => openFiles(table.pin(0), files));
  }

  /** Data files that were opened, with their places on this disk; without one those that could not be. */
  get openedFiles(): readonly { readonly file: DataFile; readonly path: string | undefined }[] {
    return this.#openedFiles;
  }

  /** A failure of reading this view, as people are told of it: a file that is damaged or missing by its table. */
  async explained(error: unknown): Promise<unknown> {
    return (await this.table.damagedFiles.explain(error, [this])) ?? error;
  }

  async #openFile(file: DataFile, source: number): Promise<OpenFile> {
    const object = await this.#parts.openObject(file).catch((error: unknown) => {
      if (error instanceof AppError && error.code === 'DATA_CORRUPTION') this.#openedFiles.push({ file, path: undefined });
      throw error;
    });
    this.#openedFiles.push({ file, path: object.path });
    // The query may have been stopped while the file was fetched.
    if (this.#isReleased) object.release();
    else this.#opened.push(object);
    return { path: object.path, source, lsnBase: file.lsnBase, hasEveryColumn: holdsAll(file, file.stats, this.schema) };
  }

  /** What `selectRows` needs, with the LSN as SQL. */
  async sources(lsn = String(this.lsn), keep?: (file: DataFile) => boolean): Promise<RowSources> {
    await this.table.buffers.applyAll(this.generations);
    return {
      schema: this.schema,
      masks: this.table.masks,
      files: [...(await this.open(keep)), ...this.#bulkFiles],
      generations: this.generations,
      lsn,
    };
  }

  /**
   * SQL of the table as a caller sees it, reading the LSN from the engine variable. The text is made once: a file that gets its first mask later
   * would move to another branch, and the rows would come in another order.
   */
  callerSql(): Promise<string> {
    return (this.#callerSql ??= this.#makeCallerSql());
  }

  async #makeCallerSql(): Promise<string> {
    const rows = selectRows(await this.#sourcesOfCaller(), { columns: this.schema.columns, withPlace: false, rows: 'visible' });
    if (this.#condition === undefined) return rows;
    // The limit keeps the engine from asking the caller's conditions first: their errors would tell of rows that are not there for the caller.
    return `SELECT * FROM (${rows}) WHERE (${this.#condition}\n) LIMIT ${ROWS_MAX}`;
  }

  async #sourcesOfCaller(): Promise<RowSources> {
    await this.table.buffers.applyAll(this.generations);
    return {
      schema: this.schema,
      masks: this.table.masks,
      files: [...(await this.openForCaller()), ...this.#bulkFiles],
      residents: this.#parts.residents,
      generations: this.generations,
      lsn: `getvariable('${LSN_VARIABLE}')::BIGINT`,
    };
  }

  /** SQL of the number of rows that a caller sees: those of data files from the log, less the hidden ones. Only buffers are read. */
  async countSql(): Promise<string> {
    const { masks } = this.table;
    const stored = this.files.reduce((sum, { file }) => sum + file.rows, 0);
    const masked = this.files.filter(({ source }) => masks.isMasked(source)).map(({ source }) => source);
    const sources: RowSources = { ...(await this.#sourcesOfCaller()), files: this.#bulkFiles, residents: [] };
    const hidden = `SELECT count(*) FROM ${masks.table} WHERE source IN (${masked.join()}) AND since <= ${sources.lsn}`;
    const buffered = selectRows(sources, { columns: this.schema.columns.slice(0, 1), withPlace: false, rows: 'visible' });
    return `SELECT (${stored} - ${masked.length === 0 ? '0' : `(${hidden})`} + (SELECT count(*) FROM (${buffered})))::BIGINT`;
  }

  /**
   * SQL of values of one column among which are the least and the greatest that a caller sees: those of a file whose rows are all visible come from
   * the log, so only the other files and the buffers are read.
   * @returns undefined when no file can be left out
   */
  async extremesSql(column: Column): Promise<string | undefined> {
    const { masks } = this.table;
    const known = new Map<number, Extremes>();
    for (const { file, source } of this.files) {
      const extremes = masks.isMasked(source) ? undefined : extremesOf(file, column);
      if (extremes) known.set(source, extremes);
    }
    if (known.size === 0) return undefined;
    const all = [...known.values()];
    const min = all.reduce((least, extremes) => (extremes.min < least ? extremes.min : least), all[0]?.min ?? 0n);
    const max = all.reduce((greatest, extremes) => (extremes.max > greatest ? extremes.max : greatest), all[0]?.max ?? 0n);
    const sources = await this.#sourcesOfCaller();
    const others: RowSources = {
      ...sources,
      files: sources.files.filter(({ source }) => !known.has(source)),
      residents: this.#parts.residents.filter(({ present }) => [...present].some((source) => !known.has(source))),
    };
    const value = (number: bigint): string =>
      column.type === 'TIMESTAMPTZ' ? `make_timestamptz(${number})` : `CAST(${number} AS ${column.type})`;
    return `SELECT unnest([${value(min)}, ${value(max)}]) AS ${quoteName(column.name)}
      UNION ALL ${selectRows(others, { columns: [column], withPlace: false, rows: 'visible' })}`;
  }

  /**
   * True when reading it again gives the rows in the same order. Hiding rows is a join, and the engine may turn a join around when the hidden rows
   * are not few against the others; then the order is another.
   */
  get hasStableOrder(): boolean {
    const { masks } = this.table;
    const stored = this.#parts.files
      .filter(({ source }) => masks.isMasked(source))
      .map(({ file, source }) => ({ rows: file.rows, hidden: masks.hiddenOf(source) }));
    const buffered = this.generations
      .filter(({ source }) => masks.isMasked(source))
      .map(({ rows, source }) => ({ rows, hidden: masks.hiddenOf(source) }));
    return [...stored, ...buffered].every(({ rows, hidden }) => rows >= STABLE_ROWS_MIN && hidden * STABLE_ROWS_PER_HIDDEN <= rows);
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const object of this.#opened) object.release();
    this.#parts.unpin();
  }
}

/** Some files of a view, readable until the view is released. */
async function openFiles(view: ReadView, files: readonly FileToLoad[]): Promise<{ files: readonly OpenFile[]; release: () => void }> {
  const wanted = new Set(files.map(({ source }) => source));
  const isWanted = new Set(view.files.filter(({ source }) => wanted.has(source)).map(({ file }) => file));
  try {
    return { files: await view.open((file) => isWanted.has(file)), release: () => view.release() };
  } catch (error) {
    view.release();
    throw error;
  }
}

const columnCounts = new WeakMap<object, number>();

/** Columns are only ever added, so a file with as many as the schema has all of them. The count of a file is taken once. */
function holdsAll(file: object, stats: string | undefined, schema: TableSchema): boolean {
  let count = columnCounts.get(file);
  if (count === undefined) columnCounts.set(file, (count = storedColumns(stats)));
  return count === schema.columns.length;
}
