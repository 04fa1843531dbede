/**
 * A primary store whose data files also stand in a second one (`backup/replication`). A file that the primary cannot give is fetched from there. Only
 * reading falls back: what is written goes to the primary or nowhere, so the two can never disagree about a table.
 */
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import type { ObjectInfo } from './object-store.js';
import type { RemoteObjectStore } from './remote-object-store.js';

/** After a failure the second store is asked first for so long, so that not every file waits for the first one's deadline. */
const AWAY_MS = 10_000;

export class FallbackObjectStore implements RemoteObjectStore {
  #awayUntilMs = 0;
  #fallbacks = 0;

  constructor(
    private readonly primary: RemoteObjectStore,
    private readonly second: RemoteObjectStore,
    private readonly logger: Logger,
  ) {}

  get name(): string {
    return this.primary.name;
  }

  /** Files that came from the second store. */
  get fallbacks(): number {
    return this.#fallbacks;
  }

  async download(key: string, file: string): Promise<number | undefined> {
    if (performance.now() < this.#awayUntilMs) {
      const bytes = await this.#downloadSecond(key, file).catch(() => undefined);
      if (bytes !== undefined) return bytes;
    }
    let failure: AppError | undefined;
    try {
      const bytes = await this.primary.download(key, file);
      if (bytes !== undefined) return bytes;
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'UNAVAILABLE') throw error;
      this.#awayUntilMs = performance.now() + AWAY_MS;
      failure = error;
    }
    try {
      const bytes = await this.#downloadSecond(key, file);
      if (bytes !== undefined) return bytes;
    } catch (error) {
      throw failure ?? error;
    }
    if (failure) throw failure;
    return undefined;
  }

  async #downloadSecond(key: string, file: string): Promise<number | undefined> {
    const bytes = await this.second.download(key, file);
    if (bytes === undefined) return undefined;
    this.#fallbacks += 1;
    this.logger.warn({ key }, `object ${key} was read from the backup store ${this.second.name}`);
    return bytes;
  }

  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.primary.putIfAbsent(key, bytes);
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.primary.put(key, bytes);
  }

  putFileIfAbsent(key: string, file: string): Promise<boolean> {
    return this.primary.putFileIfAbsent(key, file);
  }

  get(key: string): Promise<Buffer | undefined> {
    return this.primary.get(key);
  }

  list(prefix: string, startAfter?: string): AsyncIterable<ObjectInfo> {
    return this.primary.list(prefix, startAfter);
  }

  delete(key: string): Promise<void> {
    return this.primary.delete(key);
  }

  locationOf(key: string): string {
    return this.primary.locationOf(key);
  }
}
