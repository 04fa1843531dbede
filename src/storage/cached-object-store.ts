/** A remote store with a local cache of the objects that the engine reads. */
import type { FileCache } from './file-cache.js';
import type { LocalObject, ObjectInfo, ObjectStore } from './object-store.js';
import type { RemoteObjectStore } from './remote-object-store.js';

export class CachedObjectStore implements ObjectStore {
  constructor(
    private readonly remote: RemoteObjectStore,
    readonly cache: FileCache,
  ) {}

  get name(): string {
    return this.remote.name;
  }

  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.remote.putIfAbsent(key, bytes);
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.remote.put(key, bytes);
  }

  async putFileIfAbsent(key: string, file: string): Promise<boolean> {
    const isNew = await this.remote.putFileIfAbsent(key, file);
    // One that is there already is ours too, from an attempt whose answer was lost; of a log's objects another node may have made it.
    if (isNew || !key.includes('/_delta_log/')) await this.cache.adopt(key, file);
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
    return this.cache.use(key, sizeBytes, (file) => this.remote.download(key, file));
  }

  locationOf(key: string): string {
    return this.remote.locationOf(key);
  }
}
