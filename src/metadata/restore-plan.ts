/** What a restore of metadata does to one table: nothing, give it its old configuration, take it back, or make it anew without rows. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { OBJECT_STORE } from '../common/tokens.js';
import { objectsOf } from '../delta/objects-of.js';
import { applyActions, type Snapshot } from '../delta/snapshot.js';
import { parseColumnType, TableSchema } from '../delta/table-schema.js';
import type { ObjectStore } from '../storage/object-store.js';
import { Catalogue, type CatalogueTable } from '../tables/catalogue.js';
import { TableConfiguration } from '../tables/configure-table.js';
import { TableCreation } from '../tables/create-table.js';
import type { Table } from '../tables/table.js';
import { assertChangeable, type TableConfig } from '../tables/table-config.js';
import { TableLogs } from '../tables/table-logs.js';
import { TableRegistry } from '../tables/table-registry.js';
import type { ConfigEntry, IndexEntry, TableEntries } from './metadata-entries.js';
import type { RestoreRequest } from './metadata-restore.js';

/** Cuts long differences in answers. */
const DIFFERENCE_LENGTH_MAX = 500;

/** What becomes of one entry. */
export interface Step {
  readonly key: string;
  readonly outcome: 'ok' | 'skipped' | 'error';
  readonly text: string;
}

/** What becomes of a table: its entries, and what has to be done for those that are `ok`. */
export interface Plan {
  readonly steps: readonly Step[];
  readonly apply?: () => Promise<unknown>;
}

@Injectable()
export class RestorePlans {
  constructor(
    private readonly registry: TableRegistry,
    private readonly catalogue: Catalogue,
    private readonly logs: TableLogs,
    private readonly creation: TableCreation,
    private readonly configuration: TableConfiguration,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
  ) {}

  plan(entries: TableEntries, request: Pick<RestoreRequest, 'overwrite'>): Plan | Promise<Plan> {
    const live = this.registry.find(entries.name);
    if (live) return this.#planLive(live, entries, request);
    return entries.index ? this.#planLost(entries, entries.index.entry) : this.#planEmpty(entries);
  }

  /** The table is there. */
  #planLive(live: Table, { config, index }: TableEntries, { overwrite }: Pick<RestoreRequest, 'overwrite'>): Plan {
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
        apply = () => this.configuration.configure(live, () => config.entry.config);
      }
    }
    return { steps, ...(apply ? { apply } : {}) };
  }

  /** The table is gone from the catalogue: its log is taken as it is, or written anew when it is lost. */
  async #planLost(entries: TableEntries, index: IndexEntry): Promise<Plan> {
    const catalogued: CatalogueTable = {
      name: entries.name,
      tableId: index.table_id,
      directory: index.directory,
      createdMs: Date.parse(index.created_at),
    };
    // Its writes may still stand in write-ahead logs: the old table must not come back with them.
    if (await this.catalogue.wasDropped(entries.name, index.table_id)) return this.#planDropped(entries);
    const found = await this.logs.loadIfAny(index.directory);
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
      apply: () => this.creation.adopt(catalogued, index.actions),
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
      apply: () => this.creation.create(entries.name, entry.config, schemaOf(entry)),
    };
  }
}

export function keysOf({ config, index }: TableEntries): string[] {
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
