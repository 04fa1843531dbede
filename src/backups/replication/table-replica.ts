/**
 * Copies one table to the backup store, commit by commit: the files that a commit names, then the commit. So the copy is a Delta Lake table at every
 * moment, at some version, and a server that is pointed at the backup bucket finds it.
 *
 * `_replica/DIRECTORY.json` says how far a copy is and of which table; a directory that belongs to another table of the same name is cleared first.
 */
import { existsSync } from 'node:fs';
import { AppError } from '../../common/app-error.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { RemoteObjectStore } from '../../storage/remote-object-store.js';
import type { ScratchFiles } from '../../storage/scratch-files.js';
import { type AddAction, decodeActions } from '../../delta/action.js';
import { objectsOfFile } from '../../delta/objects-of.js';
import type { Table } from '../../tables/table.js';

const MARKERS = '_replica/';
const VERSION_DIGITS = 20;
const LOG_OBJECT = /\/(\d{20})\.(json|checkpoint\.parquet)$/;

interface Marker {
  readonly table_id: string;
  /** The newest version that is there as a whole; -1: none. */
  readonly version: number;
}

export class TableReplica {
  #version = -1;
  readonly #keys: Set<string>;

  private constructor(
    private readonly table: Table,
    private readonly from: ObjectStore,
    private readonly to: RemoteObjectStore,
    private readonly scratch: ScratchFiles,
    keys: Set<string>,
  ) {
    this.#keys = keys;
  }

  /** Finds out how far the copy is. */
  static async open(table: Table, from: ObjectStore, to: RemoteObjectStore, scratch: ScratchFiles): Promise<TableReplica> {
    const keys = new Set<string>();
    for await (const { key } of to.list(`${table.directory}/`)) keys.add(key);
    const replica = new TableReplica(table, from, to, scratch, keys);
    const marker = await readMarker(table, to);
    if (marker) replica.#version = marker.version;
    else await replica.#clear();
    return replica;
  }

  /** The newest version that the copy has; -1: none. */
  get version(): number {
    return this.#version;
  }

  async #clear(): Promise<void> {
    for (const key of this.#keys) await this.to.delete(key);
    this.#keys.clear();
    await this.#mark(-1);
  }

  async #mark(version: number): Promise<void> {
    await this.to.put(markerKeyOf(this.table), Buffer.from(JSON.stringify({ table_id: this.table.id, version } satisfies Marker)));
    this.#version = version;
  }

  /**
   * Brings the copy up to the table's newest version.
   * @param mayGoOn asked before each commit
   * @returns bytes copied
   */
  async catchUp(mayGoOn: () => boolean): Promise<number> {
    const { snapshot } = this.table;
    // Another node may have gone on with it.
    this.#version = Math.max(this.#version, (await readMarker(this.table, this.to))?.version ?? -1);
    let copied = 0;
    while (this.#version < snapshot.version && mayGoOn()) {
      const version = this.#version + 1;
      const commit = await this.from.get(this.#commitKey(version));
      copied += commit ? await this.#copyCommit(version, commit) : await this.#copyCheckpoint();
    }
    return copied;
  }

  #commitKey(version: number): string {
    return `${this.table.directory}/_delta_log/${String(version).padStart(VERSION_DIGITS, '0')}.json`;
  }

  async #copyCommit(version: number, commit: Buffer): Promise<number> {
    let copied = commit.length;
    for (const action of decodeActions(commit)) if ('add' in action) copied += await this.#copyNamed(action.add);
    const key = this.#commitKey(version);
    if (!(await this.to.putIfAbsent(key, commit)) && !commit.equals((await this.to.get(key)) ?? Buffer.alloc(0)))
      throw new AppError(
        'CONFLICT',
        `${key} in the backup store differs from the commit in the tables' store: something else wrote to the copy; move ${this.table.directory}/ away in the backup store`,
      );
    this.#keys.add(key);
    await this.#mark(version);
    return copied;
  }

  /** The data file and deletion vectors of an add. What a later version took out and a vacuum removed is not needed. */
  async #copyNamed(add: AddAction): Promise<number> {
    let copied = 0;
    for (const { path, sizeBytes } of objectsOfFile(add)) copied += await this.#copy(path, sizeBytes);
    return copied;
  }

  async #copy(path: string, sizeBytes: number | undefined): Promise<number> {
    const key = this.table.keyOf({ path });
    if (this.#keys.has(key)) return 0;
    const copied = sizeBytes === undefined ? await this.#copySmall(key) : await this.#copyFile(key, sizeBytes);
    if (copied === undefined) {
      if (this.table.snapshot.files.has(path)) throw new AppError('DATA_CORRUPTION', `${key} is missing from the tables' store`);
      return 0;
    }
    this.#keys.add(key);
    return copied;
  }

  async #copySmall(key: string): Promise<number | undefined> {
    const bytes = await this.from.get(key);
    if (bytes) await this.to.putIfAbsent(key, bytes);
    return bytes?.length;
  }

  async #copyFile(key: string, sizeBytes: number): Promise<number | undefined> {
    let object;
    try {
      object = await this.from.openLocal(key, sizeBytes);
    } catch (error) {
      if (error instanceof AppError && error.code === 'DATA_CORRUPTION') return undefined;
      throw error;
    }
    try {
      // A local store does not look before it is read.
      if (!existsSync(object.path)) return undefined;
      await this.to.putFileIfAbsent(key, object.path);
      return sizeBytes;
    } finally {
      object.release();
    }
  }

  /** The commits that come next were cleaned up: the copy goes on from the newest checkpoint. */
  async #copyCheckpoint(): Promise<number> {
    let newest: { key: string; version: number; sizeBytes: number } | undefined;
    for await (const { key, sizeBytes } of this.from.list(`${this.table.directory}/_delta_log/`)) {
      const [, version, kind] = LOG_OBJECT.exec(key) ?? [];
      if (kind === 'checkpoint.parquet') newest = { key, version: Number(version), sizeBytes };
    }
    if (!newest || newest.version <= this.#version)
      throw new AppError('DATA_CORRUPTION', `table ${this.table.name}: version ${this.#version + 1} is missing from its log`);
    const { files, emptyFile } = this.table.snapshot;
    let copied = 0;
    for (const file of [...files.values(), ...(emptyFile ? [emptyFile] : [])]) copied += await this.#copyNamed(file.add);
    copied += (await this.#copyFile(newest.key, newest.sizeBytes)) ?? 0;
    const hint = await this.from.get(`${this.table.directory}/_delta_log/_last_checkpoint`);
    if (hint) await this.to.put(`${this.table.directory}/_delta_log/_last_checkpoint`, hint);
    await this.#mark(newest.version);
    return copied;
  }

  /**
   * Removes from the copy what a vacuum removed from the table.
   * @returns objects removed
   */
  async sweep(): Promise<number> {
    const there = new Set<string>();
    for await (const { key } of this.from.list(`${this.table.directory}/`)) there.add(key);
    // A store that lost the table's own files is no model for what to remove.
    const live = [...this.table.snapshot.files.values()].map((file) => this.table.keyOf(file));
    if (live.some((key) => !there.has(key)) || !there.has(this.#commitKey(this.table.snapshot.version))) return 0;
    const doomed: string[] = [];
    for await (const { key } of this.to.list(`${this.table.directory}/`)) if (!there.has(key)) doomed.push(key);
    for (const key of doomed) {
      await this.to.delete(key);
      this.#keys.delete(key);
    }
    return doomed.length;
  }
}

/** Removes the copy of a dropped table; that of a later one of its name stays. */
export async function removeReplica(table: Table, to: RemoteObjectStore): Promise<void> {
  const marker = markerKeyOf(table);
  if ((await readMarker(table, to)) === undefined) return;
  const doomed: string[] = [];
  for await (const { key } of to.list(`${table.directory}/`)) doomed.push(key);
  for (const key of doomed) await to.delete(key);
  await to.delete(marker);
}

function markerKeyOf({ directory }: Table): string {
  return `${MARKERS}${directory}.json`;
}

/** @returns undefined when there is none, or that of another table */
async function readMarker(table: Table, to: RemoteObjectStore): Promise<Marker | undefined> {
  const bytes = await to.get(markerKeyOf(table));
  const marker = bytes && (JSON.parse(bytes.toString()) as Marker);
  return marker?.table_id === table.id ? marker : undefined;
}
