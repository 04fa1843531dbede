/**
 * One table while the server runs: its newest snapshot, the buffers on top of it, the masks, and who looks at them.
 *
 * All of its state is changed in two places only: rows and masks by the writer loop (`data/write-path.ts`), snapshots by what runs in `commits`.
 * Reading goes through `pin`, which takes snapshot, buffers and LSN together in one tick, so a reader never meets a half-made change.
 */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import { AppError } from '../common/app-error.js';
import { SerialQueue } from '../common/serial-queue.js';
import type { Engine } from '../engine/duckdb/engine.js';
import type { LocalObject, ObjectReader } from '../storage/object-store.js';
import type { CatalogueTable } from './catalogue.js';
import type { DeletionVectorDescriptor } from '../delta/action.js';
import { readVector, vectorObjectName } from '../delta/deletion-vector.js';
import type { DeltaLog } from '../delta/delta-log.js';
import type { DataFile, Snapshot } from '../delta/snapshot.js';
import type { EmptyFile } from '../delta/table-protocol.js';
import type { TableSchema } from '../delta/table-schema.js';
import type { DamagedFiles } from './damaged-files.js';
import { Generation } from './generation.js';
import { Masks } from './view/masks.js';
import { ReadView, type ReadViewInit } from './view/read-view.js';
import type { ResidentBudget } from './view/resident-budget.js';
import { ResidentRows, type ResidentTable } from './view/resident-rows.js';
import { type IdRule, idRuleOf } from './id-rule.js';
import { BUFFER_SCHEMA, type TableBuffers } from './table-buffers.js';
import type { TableConfig } from './table-config.js';

/** Flushes, compactions and other commits that may wait for their turn. */
const WAITING_COMMITS_MAX = 1_000;
/** Objects with deletion vectors that are kept while the files of one version are read. */
const VECTOR_BYTES_KEPT_MAX = 16 * 1_024 * 1_024;

/** Positions in a file, sorted. */
export interface HiddenRows {
  readonly all: readonly number[];
  /** Those of them that can be restored. */
  readonly soft: readonly number[];
}

/** Files of a version as a view reads them. Made once for a version, because a query should cost the same with ten files and with ten thousand. */
interface PinnedFiles extends Pick<ReadViewInit, 'files' | 'residents' | 'others'> {
  /** Numbers of the files in the masks. */
  readonly sources: ReadonlySet<number>;
}

/** What a pinned view reads. */
interface Held extends PinnedFiles {
  readonly generations: readonly Generation[];
}

export interface TableInit {
  readonly catalogued: CatalogueTable;
  readonly config: TableConfig;
  readonly log: DeltaLog;
  readonly emptyFile: EmptyFile;
  readonly snapshot: Snapshot;
  readonly store: ObjectReader;
  readonly engine: Engine;
  readonly residentBudget: ResidentBudget;
  readonly damagedFiles: DamagedFiles;
  readonly buffers: TableBuffers;
  /** LSN from which the first generation may hold rows. */
  readonly nextLsn: number;
}

export class Table {
  readonly name: string;
  readonly id: string;
  readonly directory: string;
  readonly createdMs: number;
  readonly log: DeltaLog;
  readonly emptyFile: EmptyFile;
  readonly masks: Masks;
  readonly residents: ResidentRows;
  readonly damagedFiles: DamagedFiles;
  readonly buffers: TableBuffers;
  /** What changes the log: one after the other. */
  readonly commits: SerialQueue;

  /** What readers see. A commit is shown by `data/follow-path.ts`, together with the buffers it replaces. */
  snapshot: Snapshot;
  /** May be ahead of the snapshot's: columns of rows that are not flushed yet. */
  schema: TableSchema;
  config: TableConfig;
  idRule: IdRule;
  /** Oldest first; the last one is active. */
  generations: Generation[] = [];
  isDropped = false;
  /** It is being dropped: nothing is written to it until that is decided. */
  isLeaving = false;
  /** Set when its buffers lack what the log has: nothing may be read from it, written to it or flushed. */
  outOfService: AppError | undefined;
  lastWriteMs: number | undefined;
  /** Counts groups of writes that queries have begun to see. */
  visibleChanges = 0;
  /** Since when stored rows are hidden that no commit hides yet. */
  masksSinceMs: number | undefined;
  /** LSN of the first of them. */
  firstMaskLsn: number | undefined;

  readonly #store: ObjectReader;
  readonly #engine: Engine;
  readonly #sources = new Map<string, number>();
  #sourcesRevision = 0;
  #pinnable: (PinnedFiles & { readonly snapshot: Snapshot; readonly revision: number }) | undefined;
  readonly #label = randomUUID().replaceAll('-', '').slice(0, 12);
  #nextSource = 1;
  /** Files that each pinned view reads. */
  readonly #pins = new Map<number, Held>();
  /** Paths of files that are being written and that no commit names yet. */
  readonly uploading = new Set<string>();
  #nextPin = 1;
  #retired: { readonly isHeldBy: (held: Held) => boolean; readonly cleanUp: () => Promise<void> }[] = [];

  constructor(parts: TableInit) {
    this.name = parts.catalogued.name;
    this.id = parts.catalogued.tableId;
    this.directory = parts.catalogued.directory;
    this.createdMs = parts.catalogued.createdMs;
    this.log = parts.log;
    this.emptyFile = parts.emptyFile;
    this.damagedFiles = parts.damagedFiles;
    this.snapshot = parts.snapshot;
    this.schema = parts.snapshot.schema;
    this.config = parts.config;
    this.idRule = idRuleOf(parts.config);
    this.#store = parts.store;
    this.#engine = parts.engine;
    this.buffers = parts.buffers;
    this.masks = new Masks(parts.engine, `${BUFFER_SCHEMA}.masks_${this.#label}`);
    this.residents = new ResidentRows(parts.engine, `${BUFFER_SCHEMA}.files_${this.#label}`, parts.residentBudget, (table, sql) =>
      this.#retireResidents(table, sql),
    );
    this.commits = new SerialQueue(`table ${this.name}`, WAITING_COMMITS_MAX);
    this.startGeneration(parts.nextLsn);
  }

  /** Creates what the engine holds of this table, and loads the hidden positions of its files. */
  async open(): Promise<void> {
    await this.masks.create();
    const read = this.vectorReader();
    for (const file of this.snapshot.files.values()) await this.#load(this.sourceOf(file), await read(file));
  }

  /** Takes a newer version as if it had been opened at that one. Only while nothing was written or read yet. */
  async reopen(snapshot: Snapshot): Promise<void> {
    this.snapshot = snapshot;
    this.schema = snapshot.schema;
    this.residents.giveUp();
    this.#sources.clear();
    this.#sourcesRevision += 1;
    await this.masks.destroy();
    await this.open();
  }

  /** Reads the hidden rows of files as the log has them. One reader fetches an object once, though it holds the vectors of many files. */
  vectorReader(): (file: DataFile) => Promise<HiddenRows> {
    const objects = new LRUCache<string, Buffer>({
      maxSize: VECTOR_BYTES_KEPT_MAX,
      sizeCalculation: ({ length }) => Math.max(length, 1),
    });
    const positionsOf = async (descriptor: DeletionVectorDescriptor | undefined): Promise<number[]> => {
      if (!descriptor) return [];
      const name = vectorObjectName(descriptor);
      if (name === undefined) return readVector(descriptor, undefined);
      const bytes = objects.get(name) ?? (await this.#store.get(`${this.directory}/${name}`));
      if (bytes) objects.set(name, bytes);
      return readVector(descriptor, bytes);
    };
    return async (file) => ({ all: await positionsOf(file.vector), soft: await positionsOf(file.softVector) });
  }

  #load(source: number, { all, soft }: HiddenRows): Promise<void> {
    return this.masks.load(source, all, new Set(soft));
  }

  get active(): Generation {
    const active = this.generations.at(-1);
    if (!active) throw new AppError('INTERNAL', `table ${this.name} has no active buffer`);
    return active;
  }

  /** Freezes the active generation, if there is one, by starting the next. Only the writer loop may call this. */
  startGeneration(firstLsn: number): void {
    const source = this.newSource();
    this.generations.push(new Generation(source, firstLsn, `${BUFFER_SCHEMA}.rows_${this.#label}_${source}`));
  }

  /** A number for something that masks can refer to. */
  newSource(): number {
    return this.#nextSource++;
  }

  /** The number of a data file in the masks; the same for all its deletion vectors. */
  sourceOf(file: Pick<DataFile, 'path'>): number {
    let source = this.#sources.get(file.path);
    if (source === undefined) this.#setSource(file.path, (source = this.newSource()));
    return source;
  }

  #setSource(path: string, source: number): void {
    this.#sources.set(path, source);
    this.#sourcesRevision += 1;
  }

  /** Lets a file keep the number it had before it became a data file. */
  adoptSource(path: string, source: number): void {
    this.#setSource(path, source);
  }

  knowsSource(path: string): boolean {
    return this.#sources.has(path);
  }

  /** Takes the hidden rows of a file from the log, for a file that another node committed or whose vector it replaced. */
  async loadSource(file: DataFile, hidden: HiddenRows): Promise<number> {
    const source = this.newSource();
    await this.#load(source, hidden);
    this.#setSource(file.path, source);
    return source;
  }

  keyOf(file: Pick<DataFile, 'path'>): string {
    return `${this.directory}/${file.path}`;
  }

  /** A data file on this disk, until it is released. */
  openFile(file: DataFile): Promise<LocalObject> {
    return this.#store.openLocal(this.keyOf(file), file.sizeBytes);
  }

  /** Takes everything a query at `lsn` sees, in this very tick. The caller opens and later releases the view. */
  pin(lsn: number): ReadView {
    const pinned = this.#pinnedFiles();
    const generations = this.generations.filter((generation) => !generation.isEmpty);
    return new ReadView({
      table: this,
      schema: this.schema,
      version: this.snapshot.version,
      files: pinned.files,
      generations,
      residents: pinned.residents,
      others: pinned.others,
      lsn,
      openObject: (file) => this.openFile(file),
      unpin: this.#takePin({ ...pinned, generations }),
    });
  }

  #pinnedFiles(): PinnedFiles {
    const { snapshot } = this;
    if (this.#pinnable?.snapshot === snapshot && this.#pinnable.revision === this.#revision) return this.#pinnable;
    const files = [...snapshot.files.values()].map((file) => ({ file, source: this.sourceOf(file) }));
    const sources = new Set(files.map(({ source }) => source));
    const residents = this.residents.partsOf(sources);
    const others = residents.length === 0 ? files : files.filter(({ source }) => !residents.some(({ present }) => present.has(source)));
    // The revision is taken last: a file that had no number has one now.
    this.#pinnable = { snapshot, files, sources, residents, others, revision: this.#revision };
    return this.#pinnable;
  }

  /** Another number whenever the same version would be pinned otherwise. */
  get #revision(): number {
    return this.#sourcesRevision + this.residents.revision;
  }

  /** The table at an older version: what was committed then, without buffers. */
  async pinVersion(snapshot: Snapshot): Promise<ReadView> {
    const files = [...snapshot.files.values()].map((file) => ({ file, source: this.newSource() }));
    const sources = new Set(files.map(({ source }) => source));
    const unpin = this.#takePin({ files, sources, residents: [], others: files, generations: [] });
    try {
      const read = this.vectorReader();
      for (const { file, source } of files) await this.#load(source, { ...(await read(file)), soft: [] });
    } catch (error) {
      unpin();
      throw error;
    }
    return new ReadView({
      table: this,
      schema: snapshot.schema,
      version: snapshot.version,
      files,
      generations: [],
      residents: [],
      others: files,
      lsn: Number.MAX_SAFE_INTEGER,
      openObject: (file) => this.openFile(file),
      unpin: () => {
        unpin();
        this.retire(
          () => false,
          () => this.masks.forget(files.map(({ source }) => source)),
        );
      },
    });
  }

  #takePin(held: Held): () => void {
    const pin = this.#nextPin++;
    this.#pins.set(pin, held);
    return () => {
      this.#pins.delete(pin);
      this.#cleanUpRetired();
    };
  }

  /** Files that views in use read, besides those of the newest version. */
  pinnedFiles(): DataFile[] {
    return [...this.#pins.values()].flatMap((held) => held.files.map(({ file }) => file));
  }

  /** Runs `cleanUp` once no pinned view holds what it frees. */
  retire(isHeldBy: (held: Held) => boolean, cleanUp: () => Promise<void>): void {
    this.#retired.push({ isHeldBy, cleanUp });
    this.#cleanUpRetired();
  }

  #cleanUpRetired(): void {
    const held = [...this.#pins.values()];
    const due = this.#retired.filter(({ isHeldBy }) => !held.some(isHeldBy));
    this.#retired = this.#retired.filter((retired) => !due.includes(retired));
    for (const { cleanUp } of due)
      this.#cleaning = this.#cleaning.then(cleanUp).catch((error: unknown) => this.buffers.couldNotFree(this.name, error));
  }

  #cleaning: Promise<void> = Promise.resolve();

  /** Takes a flushed generation out of the engine and its bulk files off the disk, once nobody reads them. */
  retireGeneration(generation: Generation): void {
    this.retire(
      (held) => held.generations.includes(generation),
      async () => {
        await this.buffers.drop(generation);
        await this.masks.forget([generation.source]);
        for (const file of generation.bulkFiles) await rm(file.path, { force: true });
      },
    );
  }

  /** Takes files that left the table out of the masks, once nobody reads them. */
  retireFiles(files: readonly DataFile[]): void {
    const sources = files.map((file) => this.sourceOf(file));
    for (const file of files) this.#sources.delete(file.path);
    this.#sourcesRevision += 1;
    this.retireSources(sources);
  }

  /** Forgets the masks that files had under these numbers, once nobody reads the files as they were. */
  retireSources(sources: readonly number[]): void {
    this.residents.forget(sources);
    this.retire(
      (held) => sources.some((source) => held.sources.has(source)),
      () => this.masks.forget(sources),
    );
  }

  #retireResidents(table: ResidentTable, sql: string): void {
    this.retire(
      (held) => held.residents.some((part) => part.table === table),
      () => this.#engine.run(sql),
    );
  }

  /** Frees everything the engine holds of a dropped table, once nobody reads it. */
  async close(): Promise<void> {
    for (const generation of this.generations) this.retireGeneration(generation);
    await this.residents.close();
    await new Promise<void>((resolve) => {
      this.retire(
        () => true,
        async () => {
          await this.masks.destroy();
          resolve();
        },
      );
    });
  }

  /** Bytes of its rows in buffers. */
  get bufferedBytes(): number {
    return this.generations.reduce((bytes, generation) => bytes + generation.bytes, 0);
  }

  /** Another text whenever a query may see something else than before. */
  get state(): string {
    return `${this.id}:${this.snapshot.version}:${this.visibleChanges}:${this.schema.nextFieldId}`;
  }

  /** LSNs of a WAL that are in the table's files. */
  committedLsn(walId: string): number {
    return this.snapshot.transactions.get(walId) ?? 0;
  }

  /** A name for error messages and logs. */
  get logLabel(): string {
    return `table:${this.name}`;
  }
}
