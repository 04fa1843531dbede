/**
 * The port to the place that holds the truth: immutable objects under keys with slashes. Local disk and S3 stand behind it; the paths above
 * never know which. Wrappers (metering, cache, retry) implement the same port.
 */
export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export interface ObjectStore {
  /** What the bucket or directory is called in metrics and answers. */
  readonly name: string;

  /**
   * Stores bytes under a key that must not exist; the object is durable and whole when this returns, or it is not there at all.
   * @returns false when the key exists already (another writer was first)
   */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>;

  /** Stores bytes under a key, replacing what is there; for hints that may be lost. */
  put(key: string, bytes: Uint8Array): Promise<void>;

  /**
   * Stores a local file under a key that must not exist, durably. The file may be linked: never write to it again.
   * @returns false when the key exists already
   */
  putFileIfAbsent(key: string, file: string): Promise<boolean>;

  /** @returns the bytes, or undefined when the key does not exist */
  get(key: string): Promise<Buffer | undefined>;

  /** Keys that start with `prefix` and sort after `startAfter`, in order. */
  list(prefix: string, startAfter?: string): AsyncIterable<ObjectInfo>;

  /** Removes a key; it is no error when it does not exist. */
  delete(key: string): Promise<void>;

  /**
   * A path on this machine at which the engine can read the object; it stays readable until `release` is called.
   * @param sizeBytes what the log says; an object of another size is DATA_CORRUPTION
   */
  openLocal(key: string, sizeBytes: number): Promise<LocalObject>;

  /** Where a person or another engine finds a key (absolute path or URL). */
  locationOf(key: string): string;
}

/** What reading a table's files takes. */
export type ObjectReader = Pick<ObjectStore, 'get' | 'openLocal'>;

export interface LocalObject {
  readonly path: string;
  release(): void;
}
