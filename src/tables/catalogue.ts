/**
 * Which tables there are. `_catalogue/NAME/N.json` (name in lower case) is a small log, one per table name: each entry is put-if-absent, the last one
 * holds. A table exists from its `create` entry on and is gone from its `drop` entry on, whatever files are still there; the next table of that
 * name gets a new id and a new directory, so nothing of the old one can come back.
 */
import { Inject, Injectable } from '@nestjs/common';
import pMap from 'p-map';
import { AppError } from '../common/app-error.js';
import { isJsonObject } from '../common/json.js';
import { OBJECT_STORE } from '../common/tokens.js';
import type { ObjectStore } from '../storage/object-store.js';

/** Where backups stand in the object store; never a table's. */
export const BACKUPS_DIRECTORY = 'backups';
const PREFIX = '_catalogue/';
const SEQUENCE_DIGITS = 20;
const ATTEMPTS_MAX = 10;
const READING_MAX = 8;

export interface CatalogueTable {
  readonly name: string;
  readonly tableId: string;
  /** Key of its directory in the object store. */
  readonly directory: string;
  readonly createdMs: number;
}

type Entry =
  | ({ readonly action: 'create' } & CatalogueTable)
  /** Files may still have to be removed. */
  | ({ readonly action: 'drop' } & CatalogueTable)
  /** Nothing of the table is left. */
  | ({ readonly action: 'purge' } & CatalogueTable);

const ACTIONS: readonly unknown[] = ['create', 'drop', 'purge'] satisfies Entry['action'][];

/** A name whose entries cannot all be read: whether it has a table, and which, is not known. */
export interface DamagedName {
  /** In lower case. */
  readonly name: string;
  readonly reason: AppError;
}

interface NameState {
  readonly live: CatalogueTable | undefined;
  readonly dropped: readonly CatalogueTable[];
  /** Ids of all tables that ever had the name. */
  readonly ids: readonly string[];
}

@Injectable()
export class Catalogue {
  /** What was read last, by name: entries never change, so the same keys mean the same state. */
  readonly #states = new Map<string, { readonly keys: string; readonly state: NameState }>();

  constructor(@Inject(OBJECT_STORE) private readonly store: ObjectStore) {}

  /** The tables that exist, the dropped ones whose files are not removed yet, and the names of which nothing can be said. */
  async load(): Promise<{ live: CatalogueTable[]; dropped: CatalogueTable[]; damaged: DamagedName[] }> {
    const keysByName = new Map<string, string[]>();
    for await (const { key } of this.store.list(PREFIX)) {
      const name = key.slice(PREFIX.length, key.lastIndexOf('/'));
      keysByName.set(name, [...(keysByName.get(name) ?? []), key]);
    }
    for (const name of this.#states.keys()) if (!keysByName.has(name)) this.#states.delete(name);
    const damaged: DamagedName[] = [];
    const stateOf = ([name, keys]: [string, string[]]): Promise<NameState> =>
      this.#knownStateOf(name, keys).catch((error: unknown) => {
        if (!(error instanceof AppError) || error.code !== 'DATA_CORRUPTION') throw error;
        this.#states.delete(name);
        damaged.push({ name, reason: error });
        return { live: undefined, dropped: [], ids: [] };
      });
    const states = await pMap(keysByName, stateOf, { concurrency: READING_MAX });
    return {
      damaged,
      live: states.flatMap(({ live }) => live ?? []),
      dropped: states.flatMap(({ dropped }) => dropped),
    };
  }

  async #knownStateOf(name: string, keys: readonly string[]): Promise<NameState> {
    const joined = keys.join();
    const known = this.#states.get(name);
    if (known?.keys === joined) return known.state;
    const state = await this.#stateOf(keys);
    this.#states.set(name, { keys: joined, state });
    return state;
  }

  /** What the entries of one name come to. */
  async #stateOf(keys: readonly string[]): Promise<NameState> {
    const state = { live: undefined as CatalogueTable | undefined, dropped: [] as CatalogueTable[], ids: [] as string[] };
    for (const entry of await Promise.all(keys.map((key) => this.#read(key)))) {
      const { action, ...table } = entry;
      state.ids.push(table.tableId);
      if (action === 'create') state.live = table;
      else if (action === 'drop') {
        state.live = undefined;
        state.dropped.push(table);
      } else state.dropped = state.dropped.filter(({ tableId }) => tableId !== table.tableId);
    }
    return state;
  }

  /** True for a table that exists or was dropped, as of the last `load`. */
  hasSeen(tableId: string): boolean {
    return [...this.#states.values()].some(({ state }) => state.ids.includes(tableId));
  }

  /** True for a name that a table had at any time. Entries are never removed, so this is known for ever. */
  async wasUsed(name: string): Promise<boolean> {
    for await (const _entry of this.store.list(`${PREFIX}${name.toLowerCase()}/`)) return true;
    return false;
  }

  /**
   * The name itself for the first table of it, later ones get a suffix: a directory is never used twice, because other engines know tables by it. The
   * objects of a dropped table are gone after a while, its entries in the catalogue stay.
   */
  async freeDirectory(name: string, tableId: string): Promise<string> {
    const later = laterDirectory(name, tableId);
    if (name === BACKUPS_DIRECTORY || (await this.wasUsed(name))) return later;
    for await (const _object of this.store.list(`${name}/`)) return later;
    return name;
  }

  /** True for a table that existed and was dropped. */
  async wasDropped(name: string, tableId: string): Promise<boolean> {
    const keys: string[] = [];
    for await (const { key } of this.store.list(`${PREFIX}${name.toLowerCase()}/`)) keys.push(key);
    const { live, ids } = await this.#stateOf(keys);
    return live?.tableId !== tableId && ids.includes(tableId);
  }

  /** True for a table that exists. */
  async isLive(name: string, tableId: string): Promise<boolean> {
    const keys: string[] = [];
    for await (const { key } of this.store.list(`${PREFIX}${name.toLowerCase()}/`)) keys.push(key);
    return (await this.#knownStateOf(name.toLowerCase(), keys)).live?.tableId === tableId;
  }

  /** Makes a table exist. @throws AppError ALREADY_EXISTS; CONFLICT for one that was dropped */
  async create(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, ({ live, ids }) => {
      if (live?.tableId !== table.tableId && ids.includes(table.tableId))
        throw new AppError('CONFLICT', `table ${table.name} was dropped; the rest of its log cannot be restored`);
      if (live) throw new AppError('ALREADY_EXISTS', `table ${table.name} already exists`);
      return { action: 'create', ...table };
    });
  }

  /** Makes a table not exist; does nothing when it is another incarnation by now. */
  async drop(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, ({ live }) => (live?.tableId === table.tableId ? { action: 'drop', ...table } : undefined));
  }

  /** Notes that a dropped table's files are gone. */
  async purge(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, ({ dropped }) =>
      dropped.some(({ tableId }) => tableId === table.tableId) ? { action: 'purge', ...table } : undefined,
    );
  }

  async #append(name: string, next: (state: NameState) => Entry | undefined): Promise<void> {
    const prefix = `${PREFIX}${name.toLowerCase()}/`;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const keys: string[] = [];
      for await (const { key } of this.store.list(prefix)) keys.push(key);
      const entry = next(await this.#stateOf(keys));
      if (entry === undefined) return;
      const last = keys.at(-1);
      const sequence = last === undefined ? 0 : Number(last.slice(prefix.length, prefix.length + SEQUENCE_DIGITS)) + 1;
      const key = `${prefix}${String(sequence).padStart(SEQUENCE_DIGITS, '0')}.json`;
      if (await this.store.putIfAbsent(key, Buffer.from(JSON.stringify(entry)))) return;
    }
    throw new AppError(
      'UNAVAILABLE',
      `the catalogue entry of table ${name} was changed ${ATTEMPTS_MAX} times by other nodes meanwhile; try again`,
    );
  }

  async #read(key: string): Promise<Entry> {
    const bytes = await this.store.get(key);
    const entry = bytes && entryOf(bytes);
    if (entry) return entry;
    const prefix = key.slice(0, key.lastIndexOf('/') + 1);
    throw new AppError(
      'DATA_CORRUPTION',
      `catalogue entry ${key} ${bytes ? 'is damaged' : 'vanished'}: put it back from a copy, or move ${prefix} away; then restart the server, ` +
        'and if it was moved away take the table back with POST /v1/metadata/restore',
    );
  }
}

/** Directory of a table whose name had a table before. */
export function laterDirectory(name: string, tableId: string): string {
  return `${name}-${tableId.slice(0, 8)}`;
}

/** @returns undefined for bytes that are no entry */
function entryOf(bytes: Buffer): Entry | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    if (!isJsonObject(value)) return undefined;
    const { action, name, tableId, directory } = value;
    const isEntry = ACTIONS.includes(action) && [name, tableId, directory].every((text) => typeof text === 'string' && text !== '');
    return isEntry ? (value as unknown as Entry) : undefined;
  } catch {
    return undefined;
  }
}
