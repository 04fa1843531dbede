/**
 * Objects as files below one directory.
 *
 * Put-if-absent is: write a temporary file, fsync it, link(2) it to its name (which fails when the name exists), fsync the directory. A plain
 * exclusive create would be wrong: a reader could see the file half written. Names that start with a dot are ours and never listed.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, type FileHandle, link, mkdir, open, readFile, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { AppError, isSystemError, messageOf } from '../common/app-error.js';
import type { LocalObject, ObjectInfo, ObjectStore } from './object-store.js';
import type { RemoteObjectStore } from './remote-object-store.js';

const KEY = /^[A-Za-z0-9_][A-Za-z0-9_.=-]*(\/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*$/;
/** What `deleteEmptyParents` meets when a directory still has files, or is gone already. */
const NOT_EMPTY = ['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'];
const DIRECTORY_ATTEMPTS_MAX = 4;

export class LocalObjectStore implements ObjectStore, RemoteObjectStore {
  readonly name = 'local';

  constructor(private readonly root: string) {}

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.#into(key, async (target) => {
      const temporary = await writeTemporary(target, bytes);
      try {
        if (!(await linkIfAbsent(temporary, target))) return false;
      } finally {
        await unlink(temporary);
      }
      await syncDirectory(path.dirname(target));
      return true;
    });
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#into(key, async (target) => {
      await rename(await writeTemporary(target, bytes), target);
      await syncDirectory(path.dirname(target));
    });
  }

  async putFileIfAbsent(key: string, file: string): Promise<boolean> {
    return this.#into(key, async (target) => {
      await syncAndClose(await open(file, 'r'));
      const isNew = await linkIfAbsent(file, target).catch((error: unknown) => {
        if (isSystemError(error, 'EXDEV')) return copyIfAbsent(file, target);
        throw error;
      });
      if (isNew) await syncDirectory(path.dirname(target));
      return isNew;
    });
  }

  async get(key: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.locationOf(key));
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'EISDIR')) return undefined;
      throw asUnavailable(error, key);
    }
  }

  async *list(prefix: string, startAfter = ''): AsyncIterable<ObjectInfo> {
    const directory = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    for await (const key of this.#keysBelow(directory)) {
      if (!key.startsWith(prefix) || key <= startAfter) continue;
      try {
        const { size, mtimeMs } = await stat(this.locationOf(key));
        yield { key, sizeBytes: size, modifiedMs: mtimeMs };
      } catch (error) {
        if (!isSystemError(error, 'ENOENT')) throw asUnavailable(error, key);
      }
    }
  }

  /** Keys below a directory key (empty, or with a slash at its end) in the order of their text, as S3 lists them. */
  async *#keysBelow(directory: string): AsyncIterable<string> {
    let entries;
    try {
      entries = await readdir(path.join(this.root, directory), { withFileTypes: true });
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return;
      throw asUnavailable(error, directory);
    }
    const names = entries
      .filter((entry) => !entry.name.startsWith('.'))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
    for (const name of names.sort()) {
      if (name.endsWith('/')) yield* this.#keysBelow(directory + name);
      else yield directory + name;
    }
  }

  async delete(key: string): Promise<void> {
    const target = this.locationOf(key);
    try {
      await unlink(target);
    } catch (error) {
      if (isSystemError(error, 'EISDIR', 'EPERM', 'ENOTDIR')) return;
      if (!isSystemError(error, 'ENOENT')) throw asUnavailable(error, key);
    }
    await this.#deleteEmptyParents(path.dirname(target));
  }

  async #deleteEmptyParents(directory: string): Promise<void> {
    for (let at = directory; at.startsWith(this.root + path.sep); at = path.dirname(at)) {
      try {
        await rmdir(at);
      } catch (error) {
        if (isSystemError(error, ...NOT_EMPTY)) return;
        throw error;
      }
    }
  }

  openLocal(key: string): Promise<LocalObject> {
    return Promise.resolve({ path: this.locationOf(key), release: () => undefined });
  }

  /** Links the object to another place. */
  async download(key: string, file: string): Promise<number | undefined> {
    const object = this.locationOf(key);
    try {
      await link(object, file).catch((error: unknown) => {
        if (isSystemError(error, 'EXDEV')) return copyFile(object, file);
        throw error;
      });
      return (await stat(file)).size;
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw asUnavailable(error, key);
    }
  }

  locationOf(key: string): string {
    return path.join(this.root, key);
  }

  /** Runs `write` with the path of a key whose directory exists; again if `delete` removed the empty directory in between. */
  async #into<T>(key: string, write: (target: string) => Promise<T>): Promise<T> {
    for (let attemptsLeft = DIRECTORY_ATTEMPTS_MAX; ; attemptsLeft -= 1) {
      try {
        return await write(await this.#prepare(key));
      } catch (error) {
        if (attemptsLeft > 1 && isSystemError(error, 'ENOENT')) continue;
        throw error instanceof AppError ? error : asUnavailable(error, key);
      }
    }
  }

  async #prepare(key: string): Promise<string> {
    if (!KEY.test(key)) throw new AppError('INTERNAL', `"${key}" is not a usable object key`);
    const target = this.locationOf(key);
    const made = await mkdir(path.dirname(target), { recursive: true });
    // A new directory is an entry of its parent: without this it, and all below it, could vanish with the power.
    if (made !== undefined) {
      for (let at = path.dirname(target); at.length >= path.dirname(made).length; at = path.dirname(at)) await syncDirectory(at);
    }
    return target;
  }
}

async function linkIfAbsent(file: string, target: string): Promise<boolean> {
  try {
    await link(file, target);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    throw error;
  }
}

/** For a file on another device, which cannot be linked. */
async function copyIfAbsent(file: string, target: string): Promise<boolean> {
  const temporary = temporaryBeside(target);
  try {
    await copyFile(file, temporary);
    await syncAndClose(await open(temporary, 'r'));
    return await linkIfAbsent(temporary, target);
  } finally {
    await rm(temporary, { force: true });
  }
}

function temporaryBeside(target: string): string {
  return path.join(path.dirname(target), `.${randomUUID()}.tmp`);
}

async function writeTemporary(target: string, bytes: Uint8Array): Promise<string> {
  const temporary = temporaryBeside(target);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(bytes);
    } finally {
      await syncAndClose(handle);
    }
    return temporary;
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

async function syncAndClose(handle: FileHandle): Promise<void> {
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  await syncAndClose(await open(directory, 'r'));
}

function asUnavailable(error: unknown, key: string): AppError {
  const remedy = isSystemError(error, 'ENOSPC', 'EDQUOT')
    ? 'the disk is full; free some space, and the server resumes by itself'
    : messageOf(error);
  return new AppError('UNAVAILABLE', `object ${key} could not be read or written: ${remedy}`, { cause: error, retryAfterSeconds: 5 });
}
