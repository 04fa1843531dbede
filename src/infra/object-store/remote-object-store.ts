/** An object store that the engine cannot read in place: its objects must be fetched first (`file-cache.ts`). */
import type { ObjectStore } from './object-store.js';

export interface RemoteObjectStore extends Omit<ObjectStore, 'openLocal'> {
  /**
   * Fetches an object into a new local file, verified.
   * @returns its size, or undefined when the key does not exist
   */
  download(key: string, file: string): Promise<number | undefined>;
}
