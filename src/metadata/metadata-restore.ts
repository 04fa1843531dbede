/**
 * Brings the metadata of a backup back: choose the backup → pick entries → plan, table by table → do it.
 *
 * The tables' logs are the truth, so nothing here takes rows away: a table whose log is there keeps it, newer or not. What a restore can do is give
 * a table its old configuration again (with `overwrite`), take a table back into the catalogue, and write its log anew when that is lost and every data
 * file is still there.
 */
import { Config } from '../config/config.js';
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, OBJECT_STORE } from '../common/tokens.js';
import pMap from 'p-map';
import { AppError, messageOf } from '../common/app-error.js';
import { globFilter } from '../common/glob.js';
import type { Logger } from '../common/logger.js';
import type { ObjectStore } from '../storage/object-store.js';
import { objectsOf } from '../delta/objects-of.js';
import { applyActions, type Snapshot } from '../delta/snapshot.js';
import { parseColumnType, TableSchema } from '../delta/table-schema.js';
import type { CatalogueTable } from '../tables/catalogue.js';
import type { Table } from '../tables/table.js';
import { assertChangeable, type TableConfig } from '../tables/table-config.js';
import { tableNameFilter } from '../tables/table-name.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from '../backups/backup-counts.js';
import { byTable, type ConfigEntry, type Entries, type IndexEntry, type TableEntries, tableOfKey } from './metadata-entries.js';
import { MetadataBackups, type StoredBackup } from './metadata-backups.js';

/** Cuts long differences in answers. */
const DIFFERENCE_LENGTH_MAX = 500;

export interface RestoreRequest {
  /** `backup_YYYYMMDD_HHMMSS.json`, its key, or a glob of either; the newest that fits is taken. */
  readonly backupFile: string | undefined;
  readonly fromLatest: boolean;
  readonly dryRun: boolean;
  readonly overwrite: boolean;
  readonly validate: boolean;
  readonly parallel: boolean;
  readonly tablePattern: string | undefined;
  readonly keyPatterns: readonly string[];
}

export interface RestoreResult {
  readonly backupFile: string;
  readonly total: number;
  readonly ok: number;
  readonly skipped: number;
  readonly errors: readonly string[];
  /** What became, or would become, of each entry. */
  readonly details: Readonly<Record<string, string>>;
}

/** What becomes of one entry. */
interface Step {
  readonly key: string;
  readonly outcome: 'ok' | 'skipped' | 'error';
  readonly text: string;
}

/** What becomes of a table: its entries, and what has to be done for those that are `ok`. */
interface Plan {
  readonly steps: readonly Step[];
  readonly apply?: () => Promise<unknown>;
}

@Injectable()
export class MetadataRestore {
  constructor(
    private readonly backups: MetadataBackups,
    private readonly registry: TableRegistry,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly counts: BackupCounts,
    private readonly config: Config,
  ) {}

  /**
   * @throws AppError NOT_FOUND when there is no such backup or no entry of it fits, DATA_CORRUPTION for a damaged one, CONFLICT when entries could
   *   not be restored (others were: the details tell)
   */
  restore(request: RestoreRequest): Promise<RestoreResult> {
    return request.dryRun ? this.#restoreNow(request) : this.counts.restore(() => this.#restoreNow(request));
  }

  async #restoreNow(request: RestoreRequest): Promise<RestoreResult> {
    const { backups, logger, config } = this;
    const stored = await this.#choose(request);
    const { entries } = await backups.read(stored, request.validate);
    const tables = byTable(pick(entries, request, stored.fileName));
    const concurrency = request.parallel ? config.backup.parallel_max : 1;
    const steps = (await pMap(tables, (table) => this.#restoreTable(table, request), { concurrency })).flat();
    const countOf = (outcome: Step['outcome']): number => steps.filter((step) => step.outcome === outcome).length;
    const result = {
      backupFile: stored.fileName,
      total: steps.length,
      ok: countOf('ok'),
      skipped: countOf('skipped'),
      errors: steps.filter(({ outcome }) => outcome === 'error').map(({ key, text }) => `${key}: ${text}`),
      details: Object.fromEntries(steps.map(({ key, text }) => [key, text])),
    };
    if (request.dryRun) return result;
    logger.info({ ok: result.ok, skipped: result.skipped, failed: result.errors.length }, `metadata restore from ${stored.fileName}`);
    if (result.errors.length > 0)
      throw new AppError(
        'CONFLICT',
        `${result.errors.length} of ${result.total} entries of ${stored.fileName} could not be restored, ${result.ok} were restored, ${result.skipped} needed no change`,
        { details: steps.map(({ key, outcome, text }) => ({ key, outcome, reason: text })) },
      );
    return result;
  }

  async #choose({ backupFile, fromLatest }: RestoreRequest): Promise<StoredBackup> {
    const all = await this.backups.list();
    if (fromLatest || backupFile === undefined) {
      const [newest] = all;
      if (newest) return newest;
      throw new AppError('NOT_FOUND', 'there is no metadata backup yet; make one with POST /v1/metadata/backup');
    }
    const fits = globFilter(backupFile);
    const found = all.find(({ fileName, key }) => fits(fileName) || fits(key));
    if (found) return found;
    const known = all.slice(0, 3).map(({ fileName }) => fileName);
    throw new AppError(
      'NOT_FOUND',
      `no metadata backup matches ${backupFile}; ${known.length > 0 ? `the newest are ${known.join(', ')}` : 'there are none yet'}`,
    );
  }

  async #restoreTable(entries: TableEntries, request: RestoreRequest): Promise<readonly Step[]> {
    try {
      const { steps, apply } = await this.#plan(entries, request);
      if (apply && !request.dryRun) await apply();
      return steps;
    } catch (error) {
      return keysOf(entries).map((key) => ({ key, outcome: 'error' as const, text: messageOf(error) }));
    }
  }

  #plan(entries: TableEntries, request: RestoreRequest): Plan | Promise<Plan> {
    const live = this.registry.find(entries.name);
    if (live) return this.#planLive(live, entries, request);
    return entries.index ? this.#planLost(entries, entries.index.entry) : this.#planEmpty(entries);
  }

  /** The table is there. */
  #planLive(live: Table, { config, index }: TableEntries, { overwrite }: RestoreRequest): Plan {
    const steps: Step[] = [];
    let apply: Plan['apply'];
    if (index) steps.push({ key: index.key, outcome: 'skipped', text: indexText(live, index.entry) });
    if (config) {
      const difference = differenceOf(live.config, config.entry.config);
      if (difference === '') steps.push({ key: config.key, outcome: 'skipped', text: 'the table already has this configuration' });
      else if (!overwrite)
        steps.push({
          key: config.key,
          outcome: 'skipped',
          text: `the table's configuration differs (set overwrite to restore it): ${difference}`,
        });
      else {
        assertChangeable(live.config, config.entry.config);
        steps.push({ key: config.key, outcome: 'ok', text: `configuration: ${difference}` });
        apply = () => this.registry.configure(live, () => config.entry.config);
      }
    }
    return { steps, ...(apply ? { apply } : {}) };
  }

  /** The table is gone from the catalogue: its log is taken as it is, or written anew when it is lost. */
  async #planLost(entries: TableEntries, index: IndexEntry): Promise<Plan> {
    const { registry } = this;
    const catalogued: CatalogueTable = {
      name: entries.name,
      tableId: index.table_id,
      directory: index.directory,
      createdMs: Date.parse(index.created_at),
    };
    // Its writes may still stand in write-ahead logs: the old table must not come back with them.
    if (await registry.wasDropped(entries.name, index.table_id)) return this.#planDropped(entries);
    const found = await registry.loadLog(index.directory);
    if (found && found.metaData.id !== index.table_id) throw new AppError('CONFLICT', `${index.directory} now holds another table`);
    if (found && found.version < index.version)
      throw new AppError(
        'CONFLICT',
        `the log in ${index.directory} ends at version ${found.version}, before the backup's version ${index.version}: commits are lost; move that log away, then restore again`,
      );
    await this.#assertComplete(index, found ?? applyActions(undefined, index.version, index.actions));
    const text = found
      ? `the table is restored with its log, at version ${found.version}`
      : `the table is restored, with a new log written from version ${index.version}`;
    return {
      steps: keysOf(entries).map((key) => ({ key, outcome: 'ok', text })),
      apply: () => registry.adopt(catalogued, index.actions),
    };
  }

  /** @throws AppError CONFLICT when files of the table are not in the store any more */
  async #assertComplete({ directory }: IndexEntry, snapshot: Snapshot): Promise<void> {
    const missing = new Map(objectsOf(snapshot).map(({ path, sizeBytes }) => [`${directory}/${path}`, sizeBytes]));
    const named = missing.size;
    for await (const { key, sizeBytes } of this.store.list(`${directory}/`)) {
      const expected = missing.get(key);
      if (expected === undefined || expected === sizeBytes) missing.delete(key);
    }
    const [first] = missing.keys();
    if (first !== undefined)
      throw new AppError(
        'CONFLICT',
        `${missing.size} of the ${named} files of the table are no longer in the store (the first is ${first}); recover the rows from a data backup with POST /v1/recover`,
      );
  }

  /** The table was dropped, and its rows with it. */
  #planDropped(entries: TableEntries): Plan {
    const { steps, apply } = this.#planEmpty({ ...entries, index: undefined });
    const text = 'the table was dropped with its rows; recover them from a data backup with POST /v1/recover';
    const index: Step[] = entries.index ? [{ key: entries.index.key, outcome: apply ? 'skipped' : 'error', text }] : [];
    return { steps: [...steps, ...index], ...(apply ? { apply } : {}) };
  }

  /** Only the configuration was asked for: a table without rows. */
  #planEmpty(entries: TableEntries): Plan {
    const entry = entries.config?.entry;
    if (!entry) return { steps: [] };
    return {
      steps: keysOf(entries).map((key) => ({
        key,
        outcome: 'ok',
        text: 'an empty table with this configuration and these columns is created',
      })),
      apply: () => this.registry.create(entries.name, entry.config, schemaOf(entry)),
    };
  }
}

/** The entries that filters and patterns let through. @throws AppError NOT_FOUND when there are none */
function pick(entries: Entries, { tablePattern, keyPatterns }: RestoreRequest, fileName: string): Entries {
  const fitsTable = tableNameFilter(tablePattern);
  const keyFilters = keyPatterns.map(globFilter);
  const isWanted = (key: string): boolean =>
    (keyFilters.length === 0 || keyFilters.some((fits) => fits(key))) && (tablePattern === undefined || fitsTable(tableOfKey(key) ?? ''));
  const picked = Object.entries(entries).filter(([key]) => isWanted(key));
  if (picked.length > 0) return Object.fromEntries(picked);
  const asked = [
    ...(tablePattern === undefined ? [] : [`table_pattern ${tablePattern}`]),
    ...(keyPatterns.length === 0 ? [] : [`key_patterns ${keyPatterns.join(', ')}`]),
  ];
  throw new AppError(
    'NOT_FOUND',
    `no entry of ${fileName} matches ${asked.join(' and ') || 'the request'}: it has ${Object.keys(entries).length} entries; nothing was restored`,
  );
}

function keysOf({ config, index }: TableEntries): string[] {
  return [config?.key, index?.key].filter((key) => key !== undefined);
}

function indexText(live: Table, { table_id: tableId, version }: IndexEntry): string {
  if (live.id !== tableId) return 'another table of this name exists and is kept; POST /v1/recover recovers rows from a data backup';
  return `the table has its own log, at version ${live.snapshot.version} (backup: ${version}); recover rows of an earlier version with POST /v1/recover`;
}

/** Settings that would change, as text. */
function differenceOf(current: TableConfig, other: TableConfig): string {
  const fields = new Set([...Object.keys(current), ...Object.keys(other)] as (keyof TableConfig)[]);
  const text = [...fields]
    .filter((field) => JSON.stringify(current[field]) !== JSON.stringify(other[field]))
    .map((field) => `${field} ${JSON.stringify(current[field])} → ${JSON.stringify(other[field])}`)
    .join(', ');
  return text.length > DIFFERENCE_LENGTH_MAX ? `${text.slice(0, DIFFERENCE_LENGTH_MAX)}…` : text;
}

function schemaOf({ schema }: ConfigEntry): TableSchema {
  const builtIn = new Set(TableSchema.initial().columns.map(({ name }) => name));
  return schema
    .filter(({ name }) => !builtIn.has(name))
    .reduce((made, { name, type }) => made.with(name, parseColumnType(type)), TableSchema.initial());
}
