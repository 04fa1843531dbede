/**
 * What a metadata backup holds of a table, under the names that the same facts have in Redis: its configuration and columns, and its file index, which
 * is enough to write its transaction log anew.
 */
import type { Action } from '../delta/action.js';
import { contentsOf } from '../delta/snapshot.js';
import type { Table } from '../tables/table.js';
import type { TableConfig } from '../tables/table-config.js';

interface Place {
  readonly table_id: string;
  readonly directory: string;
  readonly created_at: string;
}

export interface ConfigEntry extends Place {
  readonly config: TableConfig;
  readonly schema: readonly { readonly name: string; readonly type: string }[];
}

export interface IndexEntry extends Place {
  readonly version: number;
  readonly timestamp: string;
  readonly actions: readonly Action[];
}

export type Entries = Readonly<Record<string, ConfigEntry | IndexEntry>>;

const CONFIG_KEY = /^table:([^:]+):config$/;
const INDEX_KEY = /^index:table:([^:]+):files$/;

export function entriesOf(tables: readonly Table[]): Entries {
  const entries: Record<string, ConfigEntry | IndexEntry> = {};
  for (const table of [...tables].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const { snapshot } = table;
    const place = { table_id: table.id, directory: table.directory, created_at: new Date(table.createdMs).toISOString() };
    entries[`table:${table.name}:config`] = {
      ...place,
      config: table.config,
      schema: snapshot.schema.columns.map(({ name, type }) => ({ name, type })),
    };
    entries[`index:table:${table.name}:files`] = {
      ...place,
      version: snapshot.version,
      timestamp: new Date(snapshot.timestampMs).toISOString(),
      actions: contentsOf(snapshot, snapshot.timestampMs),
    };
  }
  return entries;
}

/** The table that a key speaks of. */
export function tableOfKey(key: string): string | undefined {
  return (CONFIG_KEY.exec(key) ?? INDEX_KEY.exec(key))?.[1];
}

/** What entries say of one table. */
export interface TableEntries {
  readonly name: string;
  readonly config: { readonly key: string; readonly entry: ConfigEntry } | undefined;
  readonly index: { readonly key: string; readonly entry: IndexEntry } | undefined;
}

export function byTable(entries: Entries): TableEntries[] {
  const tables = new Map<string, TableEntries>();
  for (const [key, entry] of Object.entries(entries)) {
    const name = tableOfKey(key);
    if (name === undefined) continue;
    const known = tables.get(name) ?? { name, config: undefined, index: undefined };
    tables.set(name, 'actions' in entry ? { ...known, index: { key, entry } } : { ...known, config: { key, entry } });
  }
  return [...tables.values()];
}
