/**
 * Objects of a remote store as files on the local disk, for the engine to read. Objects never change and keys are never used again, so a file that
 * is whole stays true for ever: nothing is asked of the store for one that is here, also after a restart.
 *
 * Bounded in bytes: the files used longest ago go first, but never one that somebody reads. A file is written under another name and renamed when it
 * is whole, so a crash leaves nothing half. Several who want the same object share one fetch.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { copyFile, link, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { CacheCounts } from '../common/cache-counts.js';
import { AppError, isSystemError } from '../common/app-error.js';
import type { LocalObject } from './object-store.js';

const SUFFIX = '.object';
const PARTIAL_SUFFIX = '.partial';

interface CachedFile {
  readonly path: string;
  readonly sizeBytes: number;
  readers: number;
}

/** Fetches an object into a file. @returns its size, or undefined when there is no such object */
export type Fetch = (file: string) => Promise<number | undefined>;

export class FileCache {
  /** In the order of use: the first was used longest ago. */
  readonly #files = new Map<string, CachedFile>();
  readonly #fetching = new Map<string, Promise<CachedFile>>();
  #bytes = 0;
  #reservedBytes = 0;
  #partials = 0;
  /** By directory of the table. */
  readonly counts = new CacheCounts();

  private constructor(
    private readonly directory: string,
    private readonly bytesMax: number,
  ) {}

  /** Takes over what an earlier process left whole. */
  static open(directory: string, bytesMax: number): FileCache {
    mkdirSync(directory, { recursive: true });
    const cache = new FileCache(directory, bytesMax);
    const found: { name: string; sizeBytes: number; usedMs: number }[] = [];
    for (const name of readdirSync(directory)) {
      if (!name.endsWith(SUFFIX)) rmSync(path.join(directory, name), { force: true, recursive: true });
      else {
        const { size, atimeMs, mtimeMs } = statSync(path.join(directory, name));
        found.push({ name, sizeBytes: size, usedMs: Math.max(atimeMs, mtimeMs) });
      }
    }
    for (const { name, sizeBytes } of found.sort((a, b) => a.usedMs - b.usedMs)) cache.#insert(name, sizeBytes);
    cache.#makeRoom(0);
    return cache;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get fileCount(): number {
    return this.#files.size;
  }

  /**
   * The object as a local file, fetched when it is not here.
   * @throws AppError DATA_CORRUPTION when the object does not exist or has another size, RESOURCE_EXHAUSTED when there is no room for it
   */
  async use(key: string, sizeBytes: number, fetch: Fetch): Promise<LocalObject> {
    const name = nameOf(key);
    let file = this.#files.get(name);
    const isThere = file?.sizeBytes === sizeBytes;
    this.counts.note(key.slice(0, key.indexOf('/')), isThere);
    if (!file || !isThere) file = await this.#fetchOnce(name, key, sizeBytes, fetch);
    file.readers += 1;
    this.#touch(name, file);
    let isReleased = false;
    const held = file;
    return {
      path: file.path,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        held.readers -= 1;
        this.#makeRoom(0);
      },
    };
  }

  #fetchOnce(name: string, key: string, sizeBytes: number, fetch: Fetch): Promise<CachedFile> {
    let fetching = this.#fetching.get(name);
    if (!fetching) {
      fetching = this.#fetch(name, key, sizeBytes, fetch).finally(() => this.#fetching.delete(name));
      this.#fetching.set(name, fetching);
    }
    return fetching;
  }

  async #fetch(name: string, key: string, sizeBytes: number, fetch: Fetch): Promise<CachedFile> {
    await this.#forget(name);
    if (!this.#makeRoom(sizeBytes)) {
      throw new AppError(
        'RESOURCE_EXHAUSTED',
        `the files being read take ${this.#bytes + this.#reservedBytes} bytes of the cache, and ${sizeBytes} more do not fit; raise cache.bytes_max (${this.bytesMax}), or read less at once`,
        { retryAfterSeconds: 2 },
      );
    }
    this.#reservedBytes += sizeBytes;
    const partial = this.#partialPath();
    try {
      const fetched = await fetch(partial);
      if (fetched === undefined)
        throw new AppError('DATA_CORRUPTION', `object ${key} is named in the table's log but does not exist in the store`);
      if (fetched !== sizeBytes)
        throw new AppError('DATA_CORRUPTION', `object ${key} has ${fetched} bytes, the table's log says ${sizeBytes}`);
      await rename(partial, this.#pathOf(name));
      return this.#insert(name, sizeBytes);
    } catch (error) {
      await rm(partial, { force: true });
      if (isSystemError(error, 'ENOSPC', 'EDQUOT'))
        throw new AppError('UNAVAILABLE', 'the disk of the cache is full; free some space, or lower cache.bytes_max', {
          cause: error,
          retryAfterSeconds: 5,
        });
      throw error;
    } finally {
      this.#reservedBytes -= sizeBytes;
    }
  }

  /** Keeps a file that was just stored under a key, so that reading it needs no fetch. Best effort: without room it is left out. */
  async adopt(key: string, file: string): Promise<void> {
    const name = nameOf(key);
    const partial = this.#partialPath();
    try {
      const { size: sizeBytes } = await stat(file);
      if (this.#files.has(name) || !this.#makeRoom(sizeBytes)) return;
      await link(file, partial).catch(() => copyFile(file, partial));
      await rename(partial, this.#pathOf(name));
      this.#insert(name, sizeBytes);
    } catch {
      // The object is in the store: whoever wants it fetches it.
      await rm(partial, { force: true });
    }
  }

  /** Drops the copy of an object that was deleted, unless somebody reads it. */
  async drop(key: string): Promise<void> {
    const name = nameOf(key);
    if (this.#files.get(name)?.readers === 0) await this.#forget(name);
  }

  async #forget(name: string): Promise<void> {
    const file = this.#files.get(name);
    if (!file) return;
    this.#files.delete(name);
    this.#bytes -= file.sizeBytes;
    await rm(file.path, { force: true });
  }

  #insert(name: string, sizeBytes: number): CachedFile {
    const file: CachedFile = { path: this.#pathOf(name), sizeBytes, readers: 0 };
    this.#files.set(name, file);
    this.#bytes += sizeBytes;
    return file;
  }

  #touch(name: string, file: CachedFile): void {
    if (this.#files.get(name) !== file) return;
    this.#files.delete(name);
    this.#files.set(name, file);
    const now = new Date();
    // For the order after a restart; of no other use.
    try {
      utimesSync(file.path, now, now);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
    }
  }

  /** Removes files nobody reads until so many bytes more fit. @returns false when they do not */
  #makeRoom(sizeBytes: number): boolean {
    for (const [name, file] of this.#files) {
      if (this.#bytes + this.#reservedBytes + sizeBytes <= this.bytesMax) break;
      if (file.readers > 0) continue;
      this.#files.delete(name);
      this.#bytes -= file.sizeBytes;
      rmSync(file.path, { force: true });
    }
    return this.#bytes + this.#reservedBytes + sizeBytes <= this.bytesMax;
  }

  #partialPath(): string {
    return path.join(this.directory, `${process.pid}-${++this.#partials}${PARTIAL_SUFFIX}`);
  }

  #pathOf(name: string): string {
    return path.join(this.directory, name);
  }
}

function nameOf(key: string): string {
  return createHash('sha256').update(key).digest('hex') + SUFFIX;
}
