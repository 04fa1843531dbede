import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { LocalObjectStore } from './local-object-store.js';
import { objectStoreContract } from './object-store.contract.js';

let root: string;
let stores = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'miniodb-objects-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newDirectory(): string {
  stores += 1;
  return path.join(root, String(stores));
}

objectStoreContract(
  'LocalObjectStore',
  () => Promise.resolve(new LocalObjectStore(newDirectory())),
  () => root,
);

describe('local object store', () => {
  it('leaves no temporary file behind, whoever won', async () => {
    const directory = newDirectory();
    const store = new LocalObjectStore(directory);
    await Promise.all(Array.from({ length: 10 }, () => store.putIfAbsent('t/k', Buffer.from('x'))));
    await store.put('t/hint', Buffer.from('y'));
    expect(readdirSync(path.join(directory, 't')).sort()).toEqual(['hint', 'k']);
  });

  it('does not list what a crash left half written', async () => {
    const directory = newDirectory();
    const store = new LocalObjectStore(directory);
    await store.put('t/k', Buffer.from('x'));
    writeFileSync(path.join(directory, 't', '.3f0c.tmp'), 'half');
    const keys: string[] = [];
    for await (const { key } of store.list('t/')) keys.push(key);
    expect(keys).toEqual(['t/k']);
  });

  it('removes directories that became empty, and not its own', async () => {
    const directory = newDirectory();
    const store = new LocalObjectStore(directory);
    await store.put('t/a/b/c', Buffer.from('x'));
    await store.put('u/k', Buffer.from('x'));
    await store.delete('t/a/b/c');
    expect(readdirSync(directory)).toEqual(['u']);
    await store.delete('u/k');
    expect(existsSync(directory)).toBe(true);
  });

  it.each(['../x', 'a/../../x', '/etc/x', 'a//b', 'a/', '.hidden', 'a/.hidden', '', 'a\\b', 'a b', 'a\u0000b', 'ä'])(
    'stores nothing under %j',
    async (key) => {
      const store = new LocalObjectStore(newDirectory());
      await expect(store.putIfAbsent(key, Buffer.from('x'))).rejects.toMatchObject({ code: 'INTERNAL' });
      await expect(store.put(key, Buffer.from('x'))).rejects.toMatchObject({ code: 'INTERNAL' });
    },
  );

  it('stores nothing and leaves nothing behind when the disk has no room', async () => {
    const directory = newDirectory();
    const store = new LocalObjectStore(directory);
    await store.put('t/k', Buffer.from('old'));
    await withFileSizeMax(1_000, async () => {
      await expect(store.putIfAbsent('t/new', Buffer.alloc(5_000))).rejects.toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 5 });
      await expect(store.put('t/k', Buffer.alloc(5_000))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    });
    expect(readdirSync(path.join(directory, 't'))).toEqual(['k']);
    expect((await store.get('t/k'))?.toString()).toBe('old');
    expect(await store.putIfAbsent('t/new', Buffer.alloc(5_000))).toBe(true);
  });
});

/** Runs `task` while no file of this process can grow past a size: a disk without room, as far as `write` can tell. */
async function withFileSizeMax(bytes: number, task: () => Promise<unknown>): Promise<void> {
  const limit = (value: number | 'unlimited'): void =>
    void execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${value}:unlimited`]);
  limit(bytes);
  try {
    await task();
  } finally {
    limit('unlimited');
  }
}
