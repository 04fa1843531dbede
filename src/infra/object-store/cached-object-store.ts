/**
 * A remote store with a local cache of the objects that the engine reads, and with a second store to fetch them from while the first is away.
 * Only objects that never change are taken from the second store; the table's logs are read from the first alone, so nothing stale is served.
 */
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import type { FileCache } from './file-cache.js';
import type { LocalObject, ObjectInfo, ObjectStore } from './object-store.js';
import type { RemoteObjectStore } from './remote-object-store.js';

export class CachedObjectStore implements ObjectStore {
  #fallbackReads = 0;

  constructor(
    private readonly remote: RemoteObjectStore,
    readonly cache: FileCache,
    private readonly fallback: RemoteObjectStore | undefined,
    private readonly logger: Logger,
  ) {}

  get name(): string {
    return this.remote.name;
  }

  /** Objects that came from the second store because the first was away. */
  get fallbackReads(): number {
    return this.#fallbackReads;
  }

  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.remote.putIfAbsent(key, bytes);
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.remote.put(key, bytes);
  }

  async putFileIfAbsent(key: string, file: string): Promise<boolean> {
    const isNew = await this.remote.putFileIfAbsent(key, file);
    if (isNew) await this.cache.adopt(key, file);
    return isNew;
  }

  get(key: string): Promise<Buffer | undefined> {
    return this.remote.get(key);
  }

  list(prefix: string, startAfter?: string): AsyncIterable<ObjectInfo> {
    return this.remote.list(prefix, startAfter);
  }

  async delete(key: string): Promise<void> {
    await this.remote.delete(key);
    await this.cache.drop(key);
  }

  openLocal(key: string, sizeBytes: number): Promise<LocalObject> {
    return this.cache.use(key, sizeBytes, (file) => this.#download(key, file));
  }

  async #download(key: string, file: string): Promise<number | undefined> {
    try {
      return await this.remote.download(key, file);
    } catch (error) {
      if (!this.fallback || !(error instanceof AppError) || error.code !== 'UNAVAILABLE') throw error;
      const sizeBytes = await this.fallback.download(key, file).catch((reason: unknown) => {
        this.logger.warn({ err: reason }, `object ${key} could not be read from the backup store either`);
        return undefined;
      });
      if (sizeBytes === undefined) throw error;
      this.#fallbackReads += 1;
      return sizeBytes;
    }
  }

  locationOf(key: string): string {
    return this.remote.locationOf(key);
  }
}
