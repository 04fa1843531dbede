/**
 * Which tables there are. `_catalogue/NAME/N.json` (name in lower case) is a small log a table name: each entry is put-if-absent, the last one
 * holds. A table exists from its `create` entry on and is gone from its `drop` entry on, whatever files are still there; the next table of that
 * name gets a new id and a new directory, so nothing of the old one can come back.
 */
import { AppError } from '../../common/app-error.js';
import type { ObjectStore } from '../../infra/object-store/object-store.js';

const PREFIX = '_catalogue/';
const SEQUENCE_DIGITS = 20;
const ATTEMPTS_MAX = 10;

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

export class Catalogue {
  constructor(private readonly store: ObjectStore) {}

  /** The tables that exist, and the dropped ones whose files are not removed yet. */
  async load(): Promise<{ live: CatalogueTable[]; dropped: CatalogueTable[] }> {
    const last = new Map<string, string>();
    for await (const { key } of this.store.list(PREFIX)) last.set(key.slice(0, key.lastIndexOf('/')), key);
    const entries = await Promise.all([...last.values()].map((key) => this.#read(key)));
    return {
      live: entries.filter((entry) => entry.action === 'create'),
      dropped: entries.filter((entry) => entry.action === 'drop'),
    };
  }

  /** Makes a table exist. @throws AppError ALREADY_EXISTS */
  async create(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, (last) => {
      if (last?.action === 'create') throw new AppError('ALREADY_EXISTS', `table ${table.name} exists already`);
      return { action: 'create', ...table };
    });
  }

  /** Makes a table not exist; does nothing when it is another incarnation by now. */
  async drop(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, (last) =>
      last?.action === 'create' && last.tableId === table.tableId ? { action: 'drop', ...table } : undefined,
    );
  }

  /** Notes that a dropped table's files are gone. */
  async purge(table: CatalogueTable): Promise<void> {
    await this.#append(table.name, (last) =>
      last?.action === 'drop' && last.tableId === table.tableId ? { action: 'purge', ...table } : undefined,
    );
  }

  async #append(name: string, next: (last: Entry | undefined) => Entry | undefined): Promise<void> {
    const prefix = `${PREFIX}${name.toLowerCase()}/`;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      let lastKey: string | undefined;
      for await (const { key } of this.store.list(prefix)) lastKey = key;
      const entry = next(lastKey === undefined ? undefined : await this.#read(lastKey));
      if (entry === undefined) return;
      const sequence = lastKey === undefined ? 0 : Number(lastKey.slice(prefix.length, prefix.length + SEQUENCE_DIGITS)) + 1;
      const key = `${prefix}${String(sequence).padStart(SEQUENCE_DIGITS, '0')}.json`;
      if (await this.store.putIfAbsent(key, Buffer.from(JSON.stringify(entry)))) return;
    }
    throw new AppError('UNAVAILABLE', `the catalogue entry of table ${name} was overtaken ${ATTEMPTS_MAX} times by other nodes`);
  }

  async #read(key: string): Promise<Entry> {
    const bytes = await this.store.get(key);
    if (bytes === undefined) throw new AppError('DATA_CORRUPTION', `catalogue entry ${key} vanished`);
    return JSON.parse(bytes.toString()) as Entry;
  }
}
