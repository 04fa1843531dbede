/** An object store whose objects are fetched into local files: one that the engine cannot read in place (`file-cache.ts`), or backups. */
import type { ObjectStore } from './object-store.js';

export interface RemoteObjectStore extends Omit<ObjectStore, 'openLocal'> {
  /**
   * Fetches an object into a new local file, verified.
   * @returns its size, or undefined when the key does not exist
   */
  download(key: string, file: string): Promise<number | undefined>;
}
