/**
 * Everything that a server keeps in its object store, past the server: files of its data directory, or the bucket that belongs to that directory
 * (TEST_STORAGE). Tests look into it, damage it and wipe parts of it.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Client } from 'minio';
import { testObjectStore } from '../servers/shared-servers.js';
import { storageEnvironment } from './storage.js';

export interface StoredObjects {
  /** Names below a prefix, sorted, with their bytes. */
  list(prefix?: string): Promise<Map<string, number>>;
  read(name: string): Promise<Buffer>;
  write(name: string, bytes: Buffer): Promise<void>;
  remove(names: Iterable<string>): Promise<void>;
}

/** The store of the tables of a server with this data directory. */
export async function storedObjects(dataDir: string): Promise<StoredObjects> {
  const { MINIO_BUCKET: bucket } = storageEnvironment(dataDir);
  return bucket === undefined ? directoryStore(path.join(dataDir, 'objects')) : bucketStore((await testObjectStore()).client, bucket);
}

export function bucketStore(client: Client, bucket: string): StoredObjects {
  return {
    list: async (prefix = '') => {
      const found: [string, number][] = [];
      const listed = client.listObjectsV2(bucket, prefix, true) as AsyncIterable<{ readonly name: string; readonly size: number }>;
      for await (const { name, size } of listed) found.push([name, size]);
      return sorted(found);
    },
    read: async (name) => buffer(await client.getObject(bucket, name)),
    write: async (name, bytes) => void (await client.putObject(bucket, name, bytes, bytes.length)),
    remove: async (names) => {
      const failures = await client.removeObjects(bucket, [...names]);
      if (failures.some(Boolean)) throw new Error(`objects of ${bucket} could not be removed: ${JSON.stringify(failures)}`);
    },
  };
}

function directoryStore(directory: string): StoredObjects {
  const fileOf = (name: string): string => path.join(directory, name);
  return {
    list: (prefix = '') => {
      const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.startsWith(prefix));
      const found = names.map((name) => [name, statSync(fileOf(name), { throwIfNoEntry: false })] as const);
      return Promise.resolve(sorted(found.flatMap(([name, stat]) => (stat?.isFile() ? [[name, stat.size] as [string, number]] : []))));
    },
    read: (name) => Promise.resolve(readFileSync(fileOf(name))),
    write: (name, bytes) => {
      const directory = path.dirname(fileOf(name));
      mkdirSync(directory, { recursive: true });
      // A new file in the place of the old one: that may be linked to another name, which must keep its bytes.
      const temporary = path.join(directory, `.${randomUUID()}.tmp`);
      writeFileSync(temporary, bytes);
      renameSync(temporary, fileOf(name));
      return Promise.resolve();
    },
    remove: (names) => {
      for (const name of names) rmSync(fileOf(name));
      return Promise.resolve();
    },
  };
}

function sorted(found: readonly [string, number][]): Map<string, number> {
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Removes what has such a name. @returns how many objects went */
export async function removeWhere(store: StoredObjects, isDoomed: (name: string) => boolean): Promise<number> {
  const doomed = [...(await store.list()).keys()].filter(isDoomed);
  if (doomed.length > 0) await store.remove(doomed);
  return doomed.length;
}

/** Runs something while one byte of an object is another. @param offset from the end when negative */
export async function whileFlipped(store: StoredObjects, name: string, offset: number, run: () => Promise<unknown>): Promise<void> {
  const damaged = Buffer.from(await store.read(name));
  const at = offset < 0 ? damaged.length + offset : offset;
  damaged.writeUInt8(damaged.readUInt8(at) ^ 0x01, at);
  await whileReplaced(store, name, damaged, run);
}

/** Runs something while an object has other bytes; without any it is missing. */
export async function whileReplaced(
  store: StoredObjects,
  name: string,
  bytes: Buffer | undefined,
  run: () => Promise<unknown>,
): Promise<void> {
  const intact = await store.read(name);
  await (bytes === undefined ? store.remove([name]) : store.write(name, bytes));
  try {
    await run();
  } finally {
    await store.write(name, intact);
  }
}
