/** The files of one table in a backup, fetched and verified when they are first read. */
import { createHash } from 'node:crypto';
import { AppError } from '../common/app-error.js';
import type { LocalObject, ObjectReader } from '../storage/object-store.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import type { ScratchFiles } from '../storage/scratch-files.js';
import { digestOfFile } from './file-digest.js';
import type { BackupObject, BackupTable } from './manifest.js';

/** Stands for the table's directory in keys. */
export const BACKUP_DIRECTORY = 'backup';

export class BackupFiles implements ObjectReader {
  readonly #objects: ReadonlyMap<string, BackupObject>;
  readonly #fetched = new Map<string, Promise<string>>();

  constructor(
    private readonly store: RemoteObjectStore,
    private readonly scratch: ScratchFiles,
    private readonly backupId: string,
    { objects }: BackupTable,
  ) {
    this.#objects = new Map(objects.map((object) => [object.path, object]));
  }

  async get(key: string): Promise<Buffer | undefined> {
    const object = this.#objectOf(key);
    const bytes = await this.store.get(object.key);
    if (bytes === undefined || createHash('sha256').update(bytes).digest('hex') !== object.sha256) throw this.#damaged(object);
    return bytes;
  }

  async openLocal(key: string): Promise<LocalObject> {
    return { path: await this.fetch(this.#objectOf(key)), release: () => undefined };
  }

  /** @returns a local file with the object's bytes; it stays until `close` */
  fetch(object: BackupObject): Promise<string> {
    const known = this.#fetched.get(object.path);
    if (known) return known;
    const fetched = this.#fetchNow(object);
    this.#fetched.set(object.path, fetched);
    return fetched;
  }

  async #fetchNow(object: BackupObject): Promise<string> {
    const file = this.scratch.path('backup');
    const bytes = await this.store.download(object.key, file);
    if (bytes === object.size_bytes && (await digestOfFile(file)) === object.sha256) return file;
    await this.scratch.remove(file);
    throw this.#damaged(object);
  }

  #objectOf(key: string): BackupObject {
    const object = this.#objects.get(key.slice(BACKUP_DIRECTORY.length + 1));
    if (!object) throw new AppError('DATA_CORRUPTION', `backup ${this.backupId} does not contain ${key}, although its manifest names it`);
    return object;
  }

  #damaged({ key }: BackupObject): AppError {
    return new AppError('DATA_CORRUPTION', `backup ${this.backupId} is damaged: ${key} is missing or has changed; use another backup`);
  }

  async close(): Promise<void> {
    for (const fetched of this.#fetched.values()) {
      const file = await fetched.catch(() => undefined);
      if (file !== undefined) await this.scratch.remove(file);
    }
  }
}
