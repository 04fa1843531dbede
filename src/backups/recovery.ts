/**
 * Brings rows back, from a data backup or from an older version of a table:
 *
 *   choose the source → find the rows of the range → leave out what is there already, or take its place → one bulk write
 *
 * A range is any mix of ids, a pattern of ids and a time range. A table that is gone comes back with its files as they were. Everything goes in as one
 * logged write a table, so it is there as a whole or not at all.
 */
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, OBJECT_STORE } from '../common/tokens.js';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { BulkPath, type RowSelect } from '../data/bulk-path.js';
import { mayHoldRange, rangeCondition, type RowRange } from '../data/write/row-range.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { LsnCounter } from '../data/write/lsn-counter.js';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import { StoragePool } from '../storage/storage-pool.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import type { CatalogueTable } from '../tables/catalogue.js';
import type { Action } from '../delta/action.js';
import { LSN_COLUMN, type TableSchema } from '../delta/table-schema.js';
import { type AsOf, pinAsOf } from '../query/paging/as-of.js';
import type { ReadView } from '../tables/view/read-view.js';
import { selectRows, SOURCE_COLUMN } from '../tables/view/row-sql.js';
import type { Table } from '../tables/table.js';
import type { TableConfig } from '../tables/table-config.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from './backup-counts.js';
import { BACKUP_DIRECTORY, BackupFiles } from './backup-files.js';
import { type BackupTable, listBackupIds, type Manifest, readManifest, snapshotOf } from './manifest.js';
import { fitColumns, type FittedColumns } from './recovered-columns.js';

/** Ids that an answer lists. */
const KEYS_LISTED_MAX = 1_000;

export interface RecoverRequest {
  /** Neither this nor `asOf`: the newest backup. */
  readonly backupId: string | undefined;
  readonly asOf: AsOf | undefined;
  /** Undefined: every table of the backup. */
  readonly table: string | undefined;
  /** Undefined: the table itself. */
  readonly targetTable: string | undefined;
  /** Node whose newest backup is used. */
  readonly nodeId: string | undefined;
  readonly range: RowRange;
  /** Rows of the range take the place of those that are there now. */
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

export interface RecoveredTable {
  readonly table: string;
  readonly target_table: string;
  /** Rows of the range in the source. */
  readonly rows_matched: number;
  readonly rows_recovered: number;
  /** Files of the source that hold rows of the range. */
  readonly files_recovered: number;
  /** The first of their ids. */
  readonly recovered_keys: readonly string[];
}

/** The table was not there: it comes back as it was, whatever it holds. */
interface RecoveredWhole extends RecoveredTable {
  readonly isWhole?: true;
}

export interface RecoverResult {
  /** A backup's id, or what version of a table. */
  readonly source: string;
  readonly tables: readonly RecoveredWhole[];
}

/** A table as it was, opened for reading. */
interface Source {
  readonly name: string;
  readonly config: TableConfig;
  readonly view: ReadView;
}

@Injectable()
export class Recovery {
  constructor(
    private readonly engine: Engine,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly scratch: ScratchFiles,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly pool: StoragePool,
    private readonly registry: TableRegistry,
    private readonly groupCommit: GroupCommit,
    private readonly lsns: LsnCounter,
    private readonly bulkPath: BulkPath,
    private readonly counts: BackupCounts,
  ) {}

  /**
   * @throws AppError NOT_FOUND when the backup, table or version is not there or no row fits, DATA_CORRUPTION for a damaged backup, CONFLICT for a
   *   column that has another type by now
   */
  recover(request: RecoverRequest): Promise<RecoverResult> {
    return request.dryRun ? this.#recoverNow(request) : this.counts.restore(() => this.#recoverNow(request));
  }

  async #recoverNow(request: RecoverRequest): Promise<RecoverResult> {
    const result = request.asOf ? await this.#fromVersion(request, request.asOf) : await this.#fromBackup(request);
    if (result.tables.every(({ rows_matched: rows, isWhole }) => rows === 0 && !isWhole))
      throw new AppError('NOT_FOUND', `no row of ${result.source} matches the request; nothing was recovered`);
    if (!request.dryRun)
      for (const { target_table: target, rows_recovered: rows } of result.tables)
        this.logger.info({ rows }, `table:${target} restore from ${result.source}`);
    return result;
  }

  async #fromVersion(request: RecoverRequest, asOf: AsOf): Promise<RecoverResult> {
    const table = this.registry.get(request.table ?? '');
    const view = (await pinAsOf([table], asOf)).get(table.name);
    if (!view) throw new AppError('INTERNAL', `version of table ${table.name} was not pinned`);
    try {
      const source = { name: table.name, config: table.config, view };
      return { source: `version ${view.version} of table ${table.name}`, tables: [await this.#recoverRows(source, request)] };
    } finally {
      view.release();
    }
  }

  async #fromBackup(request: RecoverRequest): Promise<RecoverResult> {
    const store = await this.pool.openBackups();
    const manifest = await chooseBackup(store, request);
    const tables: RecoveredWhole[] = [];
    for (const backedUp of chooseTables(manifest, request)) {
      const files = new BackupFiles(store, this.scratch, manifest.backup_id, backedUp);
      try {
        tables.push(await this.#recoverTable(backedUp, files, request));
      } finally {
        await files.close();
      }
    }
    return { source: `backup ${manifest.backup_id}`, tables };
  }

  async #recoverTable(backedUp: BackupTable, files: BackupFiles, request: RecoverRequest): Promise<RecoveredWhole> {
    const target = request.targetTable ?? backedUp.name;
    const isWhole = Object.keys(request.range).length === 0 && !this.registry.find(target);
    if (isWhole && !request.dryRun) return this.#recoverWhole(backedUp, files, target);
    const catalogued: CatalogueTable = {
      name: backedUp.name,
      tableId: backedUp.table_id,
      directory: BACKUP_DIRECTORY,
      createdMs: Date.parse(backedUp.created_at),
    };
    const detached = await this.registry.openDetached(catalogued, snapshotOf(backedUp), files);
    const view = detached.pin(Number.MAX_SAFE_INTEGER);
    try {
      const recovered = await this.#recoverRows({ name: backedUp.name, config: detached.config, view }, request);
      return isWhole ? { ...recovered, files_recovered: view.files.length, isWhole } : recovered;
    } finally {
      view.release();
      await detached.close();
    }
  }

  /** The table is not there: its files become those of a new one, with rows that wait for their restore, and at the cost of a copy. */
  async #recoverWhole(backedUp: BackupTable, files: BackupFiles, target: string): Promise<RecoveredWhole> {
    const { registry, store, groupCommit, lsns } = this;
    const table = await registry.createWith(target, async ({ tableId, directory, createdMs }) => {
      // All are verified before the first is stored, so that a damaged backup leaves nothing behind.
      for (const object of backedUp.objects) await files.fetch(object);
      for (const object of backedUp.objects) await store.putFileIfAbsent(`${directory}/${object.path}`, await files.fetch(object));
      return backedUp.actions.map((action): Action =>
        'metaData' in action ? { metaData: { ...action.metaData, id: tableId, name: target, createdTime: createdMs } } : action,
      );
    });
    // Later writes must be younger than the rows that came with their numbers from elsewhere.
    await groupCommit.exclusive(() => Promise.resolve(lsns.raiseTo(table)));
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const rows = selectRows(await view.sources(), { columns: view.schema.columns.slice(0, 1), withPlace: false, rows: 'visible' });
      return {
        table: backedUp.name,
        target_table: table.name,
        rows_matched: backedUp.rows,
        rows_recovered: backedUp.rows,
        files_recovered: view.files.length,
        recovered_keys: await this.#keysOf(rows),
        isWhole: true,
      };
    } finally {
      view.release();
    }
  }

  async #recoverRows(source: Source, request: RecoverRequest): Promise<RecoveredTable> {
    const { registry } = this;
    const { range, overwrite, dryRun } = request;
    const name = request.targetTable ?? source.name;
    const matched = await this.#rowsOf(source, range);
    const { rows: rowsMatched } = await this.#summary(matched);
    const existing = registry.find(name);
    const recovered = { table: source.name, target_table: existing?.name ?? name, rows_matched: rowsMatched };
    if (rowsMatched === 0) return { ...recovered, rows_recovered: 0, files_recovered: 0, recovered_keys: [] };
    if (!existing && dryRun) return { ...recovered, ...(await this.#described(matched)) };
    const target = existing ?? (await registry.create(name, source.config, source.view.schema));
    const select = (schema: TableSchema): Promise<RowSelect> => this.#select(source, matched, target, schema, request);
    const { sql, release } = await select(target.schema);
    const described = await this.#described(sql).finally(release);
    if (dryRun || described.rows_recovered === 0) return { ...recovered, ...described };
    const effect = overwrite ? { replaces: range } : target.config.write_mode === 'upsert' ? { keepsExisting: true } : {};
    const rows = await this.bulkPath.storeSelected({ table: target, select, existing: effect });
    return { ...recovered, ...described, rows_recovered: rows };
  }

  /** SQL of the rows of a range in the source, with their places. */
  async #rowsOf({ view }: Source, range: RowRange): Promise<string> {
    const sources = await view.sources(undefined, mayHoldRange(range));
    const where = rangeCondition(range);
    return selectRows(sources, { columns: view.schema.columns, withPlace: true, rows: 'visible', ...(where === '' ? {} : { where }) });
  }

  /** The rows to write, as a table of `schema` has them. Held files are let go by `release`. */
  async #select(
    source: Source,
    matched: string,
    target: Table,
    schema: TableSchema,
    { range, overwrite }: RecoverRequest,
  ): Promise<RowSelect> {
    const isUpsert = target.config.write_mode === 'upsert';
    const fitted = fitColumns(source.view.schema, schema, target.name);
    await this.#assertExact(fitted, matched, target);
    // An upsert table has one row an id: the last one written.
    const newest = isUpsert ? ` QUALIFY row_number() OVER (PARTITION BY s.id ORDER BY s.${LSN_COLUMN} DESC) = 1` : '';
    const select = `SELECT ${fitted.select}, s.${SOURCE_COLUMN}`;
    if (overwrite) return { schema: fitted.schema, sql: `${select} FROM (${matched}) s${newest}`, release: () => undefined };
    const view = target.pin(Number.MAX_SAFE_INTEGER);
    try {
      const columns = schema.columns.slice(0, 2);
      const there = selectRows(await view.sources(undefined, mayHoldRange(isUpsert ? {} : range)), {
        columns,
        withPlace: false,
        rows: 'visible',
      });
      const isSame = isUpsert ? 'e.id = s.id' : 'e.id = s.id AND e."timestamp" = s."timestamp"';
      const sql = `${select} FROM (${matched}) s ANTI JOIN (${there}) e ON ${isSame}${newest}`;
      return { schema: fitted.schema, sql, release: () => view.release() };
    } catch (error) {
      view.release();
      throw error;
    }
  }

  /** @throws AppError CONFLICT naming a column that is DOUBLE now and was an integer too large for that */
  async #assertExact({ inexact }: FittedColumns, matched: string, target: Table): Promise<void> {
    for (const [column, condition] of inexact) {
      const row = await this.engine.row(`SELECT count(*) AS n FROM (${matched}) s WHERE ${condition}`);
      if (asNumber(row['n']) > 0)
        throw new AppError(
          'CONFLICT',
          `table ${target.name}: column ${column} is now DOUBLE, which cannot hold ${asNumber(row['n'])} of the old integers exactly; recover into another table (target_table)`,
        );
    }
  }

  async #summary(rows: string): Promise<{ rows: number; files: number }> {
    const row = await this.engine.row(`SELECT count(*) AS n, count(DISTINCT ${SOURCE_COLUMN}) AS files FROM (${rows})`);
    return { rows: asNumber(row['n']), files: asNumber(row['files']) };
  }

  async #described(rows: string): Promise<Pick<RecoveredTable, 'rows_recovered' | 'files_recovered' | 'recovered_keys'>> {
    const { rows: count, files } = await this.#summary(rows);
    return { rows_recovered: count, files_recovered: files, recovered_keys: await this.#keysOf(rows) };
  }

  async #keysOf(rows: string): Promise<string[]> {
    const keys = await this.engine.rows(`SELECT DISTINCT id FROM (${rows}) ORDER BY id LIMIT ${KEYS_LISTED_MAX}`);
    return keys.map((row) => String(row['id']));
  }
}

async function chooseBackup(store: RemoteObjectStore, { backupId, nodeId }: RecoverRequest): Promise<Manifest> {
  if (backupId !== undefined) return readManifest(store, backupId);
  for (const id of (await listBackupIds(store)).reverse()) {
    const manifest = await readManifest(store, id);
    if (nodeId === undefined || manifest.node_id === nodeId) return manifest;
  }
  throw new AppError(
    'NOT_FOUND',
    `there is no data backup${nodeId === undefined ? '' : ` of node ${nodeId}`} yet; make one with POST /v1/backups`,
  );
}

function chooseTables({ backup_id: id, tables }: Manifest, { table, targetTable }: RecoverRequest): readonly BackupTable[] {
  if (table === undefined) {
    if (targetTable !== undefined && tables.length !== 1)
      throw new AppError('INVALID_ARGUMENT', `backup ${id} has ${tables.length} tables; set table to the one that goes into target_table`);
    return tables;
  }
  const found = tables.filter(({ name }) => name.toLowerCase() === table.toLowerCase());
  if (found.length > 0) return found;
  throw new AppError(
    'NOT_FOUND',
    `backup ${id} does not contain table ${table}; it contains ${tables.map(({ name }) => name).join(', ') || 'none'}`,
  );
}
