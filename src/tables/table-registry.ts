/** The tables of this server: opens those of the catalogue at the start, creates and drops them. Names are compared without case. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { CLOCK, COMMIT_NOTIFIER, LOGGER, OBJECT_STORE } from '../common/tokens.js';
import { randomUUID } from 'node:crypto';
import pMap from 'p-map';
import { setTimeout as pause } from 'node:timers/promises';
import { AppError, messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { faultPoint } from '../common/fault-points.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import { DropNotices } from '../coordination/drop-notices.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { Engine } from '../engine/duckdb/engine.js';
import { LOGS_PREFIX } from '../storage/keys.js';
import type { ObjectReader, ObjectStore } from '../storage/object-store.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';
import type { Action, MetaDataAction } from '../delta/action.js';
import { CheckpointFiles } from '../delta/checkpoint.js';
import { DeltaLog } from '../delta/delta-log.js';
import { NEXT_FIELD_ID, type Snapshot } from '../delta/snapshot.js';
import { EmptyFile, INITIAL_CONFIGURATION, INITIAL_PROTOCOL } from '../delta/table-protocol.js';
import { TableSchema, toDeltaSchema } from '../delta/table-schema.js';
import { DamagedFiles } from './damaged-files.js';
import { ResidentBudget } from './view/resident-budget.js';
import { BUFFER_SCHEMA, Table } from './table.js';
import { type TableConfig, withSettings, idRuleOf } from './table-config.js';
import { TableDefaults } from './table-defaults.js';
import { TableEvents } from './table-events.js';

const CONFIG_KEY = 'miniodb.config';
/** Where backups stand in the object store; never a table's. */
export const BACKUPS_DIRECTORY = 'backups';
/** Tables whose logs are read at once at the start. */
const OPENING_MAX = 8;
const SETTLE_PAUSE_MS = 1_000;
/** Marks a dropped table in a notification. */
const DROPPED_VERSION = -1;

/** A table that exists, or may exist, and cannot be served. */
export interface OutOfService {
  readonly name: string;
  /** Undefined when the catalogue's own entry is damaged. */
  readonly tableId: string | undefined;
  readonly reason: AppError;
}

@Injectable()
export class TableRegistry {
  readonly #byKey = new Map<string, Table>();
  /** Tables that cannot be served, by name in lower case: nobody reads, writes or makes one of that name, and their writes stay in the log. */
  readonly #outOfService = new Map<string, OutOfService>();
  /** Those of them that failed while they were written to. */
  readonly #untilRestart = new Set<string>();
  /** Creations and drops by name, so that two of the same name do not cross. */
  readonly #changing = new Map<string, Promise<unknown>>();
  readonly #catalogue: Catalogue;
  readonly #checkpoints: CheckpointFiles;

  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly engine: Engine,
    private readonly residentBudget: ResidentBudget,
    private readonly damagedFiles: DamagedFiles,
    private readonly scratch: ScratchFiles,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    private readonly defaults: TableDefaults,
    private readonly config: Config,
    private readonly events: TableEvents,
    /** Set where other nodes have the same tables. */
    @Optional() @Inject(DropNotices) private readonly dropNotices: DropNotices | undefined,
  ) {
    this.#catalogue = new Catalogue(store);
    this.#checkpoints = new CheckpointFiles(store, engine, scratch);
  }

  /** Opens every table of the catalogue and removes what dropped ones left behind. */
  async open(): Promise<void> {
    await this.engine.run(`CREATE SCHEMA ${BUFFER_SCHEMA}`);
    const { live, dropped, damaged } = await this.#catalogue.load();
    for (const { name, reason } of damaged) this.#takeOut({ name, tableId: undefined, reason });
    const tables = await pMap(live, (catalogued) => this.#openIfWhole(catalogued), { concurrency: OPENING_MAX });
    for (const table of tables) if (table) this.#byKey.set(table.name.toLowerCase(), table);
    for (const catalogued of dropped) await this.#purge(catalogued);
  }

  /** @returns undefined for a table whose log is damaged: it is out of service, and the others are not */
  async #openIfWhole(catalogued: CatalogueTable): Promise<Table | undefined> {
    const { name, tableId, directory } = catalogued;
    try {
      const log = this.#logOf(directory);
      return await this.#openTable(catalogued, log, await log.load());
    } catch (error) {
      if (!isDamage(error)) throw error;
      const told =
        error instanceof AppError
          ? error.message
          : `its log below ${directory}/_delta_log/ cannot be understood (${messageOf(error)}); restore it from a backup`;
      this.#takeOut({ name, tableId, reason: new AppError('DATA_CORRUPTION', told, { cause: error }) });
      return undefined;
    }
  }

  /**
   * Stops serving a table whose rows cannot be trusted any more. What the log has for it stays there; a restart tries again.
   * @returns what its callers are told
   */
  takeOutOfService(table: Table, cause: AppError): AppError {
    this.#untilRestart.add(table.id);
    table.outOfService = this.#takeOut({ name: table.name, tableId: table.id, reason: cause });
    this.#byKey.delete(table.name.toLowerCase());
    return table.outOfService;
  }

  #takeOut({ name, tableId, reason }: OutOfService): AppError {
    const told = new AppError('DATA_CORRUPTION', `table ${name} is out of service: ${reason.message}`, { cause: reason });
    const key = name.toLowerCase();
    if (this.#outOfService.get(key)?.reason.message !== told.message) this.logger.error({ err: reason, table_id: tableId }, told.message);
    this.#outOfService.set(key, { name, tableId, reason: told });
    return told;
  }

  /** Tables that exist and are not served, with the reason. */
  outOfService(): OutOfService[] {
    return [...this.#outOfService.values()];
  }

  /** Takes over what other nodes created, and lets go of what they dropped. */
  async refresh(): Promise<void> {
    // Taken before the catalogue is read: a table made meanwhile is not in what is read.
    const known = this.all();
    const { live } = await this.#catalogue.load();
    const liveIds = new Set(live.map(({ tableId }) => tableId));
    for (const table of known)
      // Dropped is what the catalogue says is dropped, not what it lost.
      if (!liveIds.has(table.id) && this.#catalogue.hasSeen(table.id)) await this.#changeAlone(table.name, () => this.#letGo(table));
    for (const catalogued of live) await this.#changeAlone(catalogued.name, () => this.#takeOver(catalogued));
  }

  async #takeOver(catalogued: CatalogueTable): Promise<void> {
    if (this.findById(catalogued.tableId)) return;
    const key = catalogued.name.toLowerCase();
    // Its rows in the buffers are not what the log says: only a restart, which reads the log, makes them so.
    if (this.#untilRestart.has(catalogued.tableId)) return;
    // One of the same name that is dropped goes first, at the next look.
    if (this.find(catalogued.name)) return;
    const table = await this.#openIfWhole(catalogued);
    if (!table) return;
    if (this.#outOfService.delete(key)) await this.events.ask('adopted', table);
    this.#byKey.set(key, table);
    this.logger.info({ table_id: catalogued.tableId }, `table:${catalogued.name} taken over from another node`);
  }

  /** @returns when it is out of sight; what it holds is freed later */
  #letGo(table: Table): Promise<void> {
    if (table.isDropped) return Promise.resolve();
    table.isDropped = true;
    this.#byKey.delete(table.name.toLowerCase());
    this.logger.info({ table_id: table.id }, `${table.logLabel} was dropped by another node`);
    this.events.tell('dropped', table);
    void this.#close(table).catch((error: unknown) => this.logger.error({ err: error }, `${table.logLabel} could not free its resources`));
    return Promise.resolve();
  }

  async #close(table: Table): Promise<void> {
    await this.events.ask('closing', table);
    await table.commits.idle();
    await table.close();
  }

  #logOf(directory: string): DeltaLog {
    const { store, clock, dropNotices } = this;
    return new DeltaLog(store, directory, this.#checkpoints, clock, dropNotices !== undefined);
  }

  async #openTable(catalogued: CatalogueTable, log: DeltaLog, snapshot: Snapshot, store: ObjectReader = this.store): Promise<Table> {
    const { engine, residentBudget, damagedFiles, scratch, logger } = this;
    const config = readConfig(snapshot.metaData, this.defaults.config);
    const emptyFile = new EmptyFile(this.store, engine, scratch, catalogued.directory);
    const onCleanUpError = (error: unknown): void =>
      logger.error({ err: error }, `table:${catalogued.name} could not free unused resources`);
    const table = new Table({
      catalogued,
      config,
      log,
      emptyFile,
      snapshot,
      store,
      engine,
      residentBudget,
      damagedFiles,
      onCleanUpError,
      nextLsn: 1,
    });
    await table.open();
    return table;
  }

  all(): Table[] {
    return [...this.#byKey.values()];
  }

  /** The table of this name, whatever its case. */
  find(name: string): Table | undefined {
    return this.#byKey.get(name.toLowerCase());
  }

  /** @throws AppError NOT_FOUND, with how to make it */
  get(name: string): Table {
    const table = this.find(name);
    if (table) return table;
    this.#assertInService(name);
    throw new AppError('NOT_FOUND', `table ${name} does not exist; create it with POST /v1/tables {"table_name":"${name}"}`);
  }

  findById(id: string): Table | undefined {
    return this.all().find((table) => table.id === id);
  }

  /** @throws AppError ALREADY_EXISTS, RESOURCE_EXHAUSTED past the number of tables allowed */
  create(name: string, config: TableConfig, schema: TableSchema): Promise<Table> {
    return this.createWith(name, ({ tableId, createdMs }) =>
      Promise.resolve([{ protocol: INITIAL_PROTOCOL }, { metaData: firstMetaData(tableId, name, config, schema, createdMs) }]),
    );
  }

  /**
   * Creates a table whose first version has contents.
   * @param contents puts files into the new table's directory and gives the actions of its first version
   * @throws AppError as `create`
   */
  createWith(name: string, contents: (table: CatalogueTable) => Promise<readonly Action[]>): Promise<Table> {
    return this.#changeAlone(name, async () => {
      this.#assertFree(name);
      const tableId = randomUUID();
      const directory = await this.#freeDirectory(name, tableId);
      const create = async (at: string): Promise<Table> => {
        const catalogued: CatalogueTable = { name, tableId, directory: at, createdMs: this.clock.nowMs() };
        const log = this.#logOf(at);
        const snapshot = await log.create(await contents(catalogued));
        faultPoint('table.create.after-log');
        return this.#enter(catalogued, log, snapshot, 'created');
      };
      try {
        return await create(directory);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'CONFLICT') throw error;
        // Another node is making a table of this name: the catalogue decides.
        return create(`${name}-${tableId.slice(0, 8)}`);
      }
    });
  }

  /**
   * Takes a table back into the catalogue whose directory is there.
   * @param contents actions of the first version, should its log be lost
   * @throws AppError as `create`; CONFLICT when it was dropped
   */
  adopt(catalogued: CatalogueTable, contents: readonly Action[]): Promise<Table> {
    return this.#changeAlone(catalogued.name, async () => {
      this.#assertFree(catalogued.name);
      const log = this.#logOf(catalogued.directory);
      const snapshot = (await log.loadIfAny()) ?? (await log.create(contents));
      return this.#enter(catalogued, log, snapshot, 'taken back', (table) => this.events.ask('adopted', table));
    });
  }

  /** @throws AppError DATA_CORRUPTION for a table that exists and cannot be served */
  #assertInService(name: string): void {
    const out = this.#outOfService.get(name.toLowerCase());
    if (out) throw out.reason;
  }

  #assertFree(name: string): void {
    this.#assertInService(name);
    if (this.find(name)) throw new AppError('ALREADY_EXISTS', `table ${name} already exists`);
    if (this.#byKey.size >= this.config.limits.tables_max) {
      throw new AppError('RESOURCE_EXHAUSTED', `there are already ${this.#byKey.size} tables (limits.tables_max); drop one first`);
    }
  }

  async #enter(
    catalogued: CatalogueTable,
    log: DeltaLog,
    snapshot: Snapshot,
    verb: string,
    complete: (table: Table) => Promise<void> = () => Promise.resolve(),
  ): Promise<Table> {
    await this.#catalogue.create(catalogued);
    faultPoint('table.create.after-catalogue');
    const table = await this.#openTable(catalogued, log, snapshot);
    await complete(table);
    this.#byKey.set(table.name.toLowerCase(), table);
    this.announce(table);
    this.logger.info({ table_id: table.id, directory: table.directory }, `${table.logLabel} ${verb}`);
    return table;
  }

  /** True for a table that the catalogue knows, dropped ones included. */
  hasSeen(tableId: string): boolean {
    return this.#catalogue.hasSeen(tableId);
  }

  /** True for a table whose writes must stay in the log, because it exists, or may exist, and cannot take them now. */
  isOutOfService(tableId: string): boolean {
    return this.outOfService().some((out) => out.tableId === tableId);
  }

  wasDropped(name: string, tableId: string): Promise<boolean> {
    return this.#catalogue.wasDropped(name, tableId);
  }

  /** A table to read only, that is not one of this server's: its files come from somewhere else. The caller closes it. */
  openDetached(catalogued: CatalogueTable, snapshot: Snapshot, files: ObjectReader): Promise<Table> {
    return this.#openTable(catalogued, this.#logOf(catalogued.directory), snapshot, files);
  }

  /** The log of a directory, whether or not the catalogue knows it. @returns undefined when there is none */
  loadLog(directory: string): Promise<Snapshot | undefined> {
    return this.#logOf(directory).loadIfAny();
  }

  /**
   * The name itself for the first table of it, later ones get a suffix: a directory is never used twice, because other engines know tables by it. The
   * objects of a dropped table are gone after a while, its entries in the catalogue stay.
   */
  async #freeDirectory(name: string, tableId: string): Promise<string> {
    const later = `${name}-${tableId.slice(0, 8)}`;
    if (name === BACKUPS_DIRECTORY || (await this.#catalogue.wasUsed(name))) return later;
    for await (const _object of this.store.list(`${name}/`)) return later;
    return name;
  }

  /** The table of this name, created with the defaults when it does not exist. */
  async ensure(name: string): Promise<Table> {
    const table = this.find(name);
    if (table) return table;
    try {
      return await this.create(name, this.defaults.config, TableSchema.initial());
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'ALREADY_EXISTS') throw error;
      if (!this.find(name)) await this.refresh();
      return this.get(name);
    }
  }

  /**
   * Commits another configuration to the table's log.
   * @param change gives it from the one that the commit stands on, which may be newer than what readers see: two changes at once both count
   * @returns what it is then
   * @throws AppError what `change` throws
   */
  async configure(table: Table, change: (current: TableConfig) => TableConfig): Promise<TableConfig> {
    await table.commits.run(async () => {
      let text = '';
      const snapshot = await table.log.commit(
        table.snapshot,
        () => ({ name: 'SET TBLPROPERTIES', parameters: { config: text } }),
        ({ metaData }) => {
          text = JSON.stringify(change(readConfig(metaData, this.defaults.config)));
          return [{ metaData: { ...metaData, configuration: { ...metaData.configuration, [CONFIG_KEY]: text } } }];
        },
      );
      await this.events.ask('versionCommitted', table, snapshot);
    });
    this.announce(table);
    this.logger.info({ table_id: table.id }, `${table.logLabel} configured`);
    return table.config;
  }

  /** Takes the configuration that a version of the table has. */
  adoptConfig(table: Table, metaData: MetaDataAction): void {
    table.config = readConfig(metaData, this.defaults.config);
    table.idRule = idRuleOf(table.config);
  }

  /**
   * Drops a table: gone from the catalogue at once, its files as soon as no query reads them.
   * @param check throws to keep the table after all; while it runs, nobody writes to the table
   * @returns data files that went with it
   * @throws AppError UNAVAILABLE when the other nodes cannot be told
   */
  async drop(table: Table, check: () => Promise<void> = () => Promise.resolve()): Promise<number> {
    return this.#changeAlone(table.name, async () => {
      if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} no longer exists`);
      table.isLeaving = true;
      try {
        await this.#announceDrop(table);
        await check();
      } catch (error) {
        await this.#stay(table);
        throw error;
      }
      const catalogued: CatalogueTable = { name: table.name, tableId: table.id, directory: table.directory, createdMs: table.createdMs };
      table.isDropped = true;
      try {
        await this.#catalogue.drop(catalogued);
      } catch (error) {
        // The entry may be there all the same. Until that is known nobody may write to the table.
        void this.#settleDrop(table, catalogued);
        throw error;
      }
      return this.#finishDrop(table, catalogued);
    });
  }

  /** @throws AppError UNAVAILABLE when another node may be there and cannot be told */
  async #announceDrop(table: Table): Promise<void> {
    try {
      await this.dropNotices?.announce(table.id);
    } catch (error) {
      let logs = 0;
      for await (const _log of this.store.list(LOGS_PREFIX)) logs += 1;
      if (logs > 1) throw error;
    }
  }

  async #stay(table: Table): Promise<void> {
    table.isLeaving = false;
    await this.dropNotices?.withdraw(table.id);
  }

  get isShared(): boolean {
    return this.dropNotices !== undefined;
  }

  /**
   * Those tables that another node has dropped or is about to. Asked before writes are logged: Redis knows it in a fraction of a millisecond, and
   * where it cannot be asked, the catalogue does.
   * @throws AppError UNAVAILABLE when neither can be asked
   */
  async leavingElsewhere(tables: readonly Table[]): Promise<ReadonlySet<Table>> {
    const noticed = await this.dropNotices?.among(tables.map(({ id }) => id));
    if (noticed) return new Set(tables.filter(({ id }) => noticed.has(id)));
    try {
      const isLive = await Promise.all(tables.map(({ name, id }) => this.#catalogue.isLive(name, id)));
      return new Set(tables.filter((_table, index) => isLive[index] === false));
    } catch (error) {
      throw new AppError(
        'UNAVAILABLE',
        `neither Redis nor the object store answers whether another node dropped the table, so nothing was stored; writing resumes when one of them answers`,
        { cause: error, retryAfterSeconds: 2 },
      );
    }
  }

  #finishDrop(table: Table, catalogued: CatalogueTable): number {
    faultPoint('table.drop.after-catalogue');
    this.#byKey.delete(table.name.toLowerCase());
    this.notifier.publish({ tableId: table.id, version: DROPPED_VERSION });
    const files = table.snapshot.files.size;
    this.events.tell('dropped', table);
    void this.#removeLater(table, catalogued);
    this.logger.info({ table_id: table.id, files }, `${table.logLabel} dropped`);
    return files;
  }

  /** Finds out whether a drop whose answer was lost has happened, as soon as the store can be asked. */
  async #settleDrop(table: Table, catalogued: CatalogueTable): Promise<void> {
    for (;;) {
      try {
        const { live } = await this.#catalogue.load();
        if (live.some(({ tableId }) => tableId === table.id)) {
          table.isDropped = false;
          await this.#stay(table);
        } else this.#finishDrop(table, catalogued);
        return;
      } catch (error) {
        this.logger.warn(`${table.logLabel} could not find out yet whether it was dropped: ${messageOf(error)}`);
        await pause(SETTLE_PAUSE_MS, undefined, { ref: false });
      }
    }
  }

  async #removeLater(table: Table, catalogued: CatalogueTable): Promise<void> {
    try {
      await this.#close(table);
      await this.#purge(catalogued);
      this.notifier.publish({ tableId: table.id, version: DROPPED_VERSION });
    } catch (error) {
      this.logger.error({ err: error }, `${table.logLabel} files of the dropped table stay until the next start`);
    }
  }

  async #purge(catalogued: CatalogueTable): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.store.list(`${catalogued.directory}/`)) keys.push(key);
    for (const key of keys) await this.store.delete(key);
    await this.#catalogue.purge(catalogued);
  }

  /** Tells followers of a new version. */
  announce(table: Table): void {
    this.notifier.publish({ tableId: table.id, version: table.snapshot.version });
  }

  async #changeAlone<T>(name: string, change: () => Promise<T>): Promise<T> {
    const key = name.toLowerCase();
    const before = this.#changing.get(key) ?? Promise.resolve();
    const after = before.catch(() => undefined).then(change);
    this.#changing.set(key, after);
    try {
      return await after;
    } finally {
      if (this.#changing.get(key) === after) this.#changing.delete(key);
    }
  }
}

/** Failures that come from what is stored; others (a store that is away) may pass. */
function isDamage(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'DATA_CORRUPTION' || error.code === 'NOT_FOUND';
  return error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError;
}

function firstMetaData(tableId: string, name: string, config: TableConfig, schema: TableSchema, nowMs: number): MetaDataAction {
  return {
    id: tableId,
    name,
    format: { provider: 'parquet', options: {} },
    schemaString: toDeltaSchema(schema),
    partitionColumns: [],
    configuration: { ...INITIAL_CONFIGURATION, [CONFIG_KEY]: JSON.stringify(config), [NEXT_FIELD_ID]: String(schema.nextFieldId) },
    createdTime: nowMs,
  };
}

/** The metadata of a table with another schema. */
export function withSchema(metaData: MetaDataAction, schema: TableSchema): MetaDataAction {
  return {
    ...metaData,
    schemaString: toDeltaSchema(schema),
    configuration: { ...metaData.configuration, [NEXT_FIELD_ID]: String(schema.nextFieldId) },
  };
}

/** The configuration that a version of a table has, with the server's defaults for what it leaves open. */
export function readConfig(metaData: MetaDataAction, defaults: TableConfig): TableConfig {
  const stored: unknown = JSON.parse(metaData.configuration[CONFIG_KEY] ?? '{}');
  if (!isJsonObject(stored)) throw new AppError('DATA_CORRUPTION', `table ${metaData.name}: its configuration in the log cannot be read`);
  return withSettings(defaults, stored);
}
