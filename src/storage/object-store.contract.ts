/**
 * What every object store does, run against each: the local one, S3, and the fakes of the tests. All that is above the port relies on it; most of
 * all on put-if-absent, which is the commit point of everything.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from '@jest/globals';
import { expectThat } from '../../test/support/expectations.js';
import type { ObjectStore } from './object-store.js';

const WRITERS = 20;

/**
 * @param open gives a store without objects
 * @param scratchDirectory on the same file system as a local store; undefined: any
 */
export function objectStoreContract(label: string, open: () => Promise<ObjectStore>, scratchDirectory?: () => string): void {
  describe(`${label} as an object store`, () => {
    const ownDirectory = mkdtempSync(path.join(tmpdir(), 'contract-'));
    afterAll(() => rmSync(ownDirectory, { recursive: true }));

    let store: ObjectStore;
    beforeEach(async () => {
      store = await open();
    });

    const scratchFile = async (text: string): Promise<string> => {
      const file = path.join(scratchDirectory?.() ?? ownDirectory, `${randomUUID()}.part`);
      await writeFile(file, text);
      return file;
    };

    const textOf = async (key: string): Promise<string | undefined> => (await store.get(key))?.toString();

    const keysBelow = async (prefix: string, startAfter?: string): Promise<string[]> => {
      const keys: string[] = [];
      for await (const { key } of store.list(prefix, startAfter)) keys.push(key);
      return keys;
    };

    it('gives back what was put, and nothing for a key that was not', async () => {
      expect(await store.putIfAbsent('t/_delta_log/0.json', Buffer.from('zero'))).toBe(true);
      await store.put('t/hint', Buffer.from([0, 255, 10]));
      expect(await textOf('t/_delta_log/0.json')).toBe('zero');
      expect(await store.get('t/hint')).toEqual(Buffer.from([0, 255, 10]));
      for (const key of ['t/none', 'none']) expectThat(await store.get(key), key).toBeUndefined();
    });

    it('keeps an object of no bytes', async () => {
      await store.putIfAbsent('empty', Buffer.alloc(0));
      expect(await store.get('empty')).toEqual(Buffer.alloc(0));
      expect(await store.putIfAbsent('empty', Buffer.from('x'))).toBe(false);
    });

    it('never replaces an object by put-if-absent, of bytes or of a file', async () => {
      expect(await store.putIfAbsent('k', Buffer.from('first'))).toBe(true);
      expect(await store.putIfAbsent('k', Buffer.from('second'))).toBe(false);
      expect(await store.putFileIfAbsent('k', await scratchFile('third'))).toBe(false);
      expect(await textOf('k')).toBe('first');
    });

    it('replaces an object by put', async () => {
      await store.put('hint', Buffer.from('a long first text'));
      await store.put('hint', Buffer.from('short'));
      expect(await textOf('hint')).toBe('short');
    });

    it('stores a file, which is then no longer needed', async () => {
      const file = await scratchFile('rows');
      expect(await store.putFileIfAbsent('t/shard-0/2024-01-01/part-1.parquet', file)).toBe(true);
      await writeFile(await scratchFile('other'), 'other');
      expect(await textOf('t/shard-0/2024-01-01/part-1.parquet')).toBe('rows');
    });

    it('lets one of many writers of a key win, and tells the others', async () => {
      for (const kind of ['bytes', 'files'] as const) {
        const put = async (writer: number): Promise<boolean> =>
          kind === 'bytes'
            ? store.putIfAbsent(`race/${kind}`, Buffer.from(`writer ${writer}`))
            : store.putFileIfAbsent(`race/${kind}`, await scratchFile(`writer ${writer}`));
        const won = await Promise.all(Array.from({ length: WRITERS }, (_value, writer) => put(writer)));
        expect(won.filter((hasWon) => hasWon)).toHaveLength(1);
        expect(await textOf(`race/${kind}`)).toBe(`writer ${won.indexOf(true)}`);
      }
    });

    it('never shows a part of an object while it is written', async () => {
      const size = 3_000_000;
      const writes = Array.from({ length: 4 }, (_value, writer) => store.putIfAbsent('large', Buffer.alloc(size, writer + 1)));
      const replacing = Array.from({ length: 4 }, (_value, writer) => store.put('replaced', Buffer.alloc(size, writer + 1)));
      const seen = new Set<string>();
      let isDone = false;
      const done = Promise.all([...writes, ...replacing]).finally(() => (isDone = true));
      do {
        for (const key of ['large', 'replaced']) {
          const bytes = await store.get(key);
          if (bytes === undefined) continue;
          seen.add(key);
          expect(bytes.length).toBe(size);
          expectThat(bytes.equals(Buffer.alloc(size, bytes[0] ?? 0)), `${key} is of one writer`).toBe(true);
          for await (const { sizeBytes } of store.list(key)) expect(sizeBytes).toBe(size);
        }
      } while (!isDone || seen.size < 2);
      await done;
    });

    it('lists keys in the order of their characters, with size and time', async () => {
      const keys = ['a', 'a-b/c', 'a.json', 'a/b', 'a/b-c/d', 'a/b.json', 'a/b/c', 'a0', 'aa', 'B', 'a/10', 'a/9', '_a'];
      await Promise.all(keys.filter((key) => key !== 'a' && key !== 'a/b').map((key) => store.put(key, Buffer.from(key))));
      const expected = keys.filter((key) => key !== 'a' && key !== 'a/b').sort();
      expect(await keysBelow('')).toEqual(expected);
      for await (const { key, sizeBytes, modifiedMs } of store.list('')) {
        expect(sizeBytes).toBe(key.length);
        expect(Math.abs(modifiedMs - Date.now())).toBeLessThan(60_000);
      }
    });

    it('lists the keys with a prefix, which need not end at a slash', async () => {
      for (const key of ['t/log/1', 't/log/2', 't/logs/1', 't/lo', 'u/log/1', 't2/log/1']) await store.put(key, Buffer.from('x'));
      expect(await keysBelow('t/log/')).toEqual(['t/log/1', 't/log/2']);
      expect(await keysBelow('t/log')).toEqual(['t/log/1', 't/log/2', 't/logs/1']);
      expect(await keysBelow('t')).toEqual(['t/lo', 't/log/1', 't/log/2', 't/logs/1', 't2/log/1']);
      expect(await keysBelow('t/log/1')).toEqual(['t/log/1']);
      expect(await keysBelow('none/')).toEqual([]);
      expect(await keysBelow('t/log/1/')).toEqual([]);
    });

    it('lists only what sorts after a key, whether that key exists or not', async () => {
      for (const key of ['t/1', 't/2', 't/3/a', 't/4']) await store.put(key, Buffer.from('x'));
      expect(await keysBelow('t/', 't/2')).toEqual(['t/3/a', 't/4']);
      expect(await keysBelow('t/', 't/2.')).toEqual(['t/3/a', 't/4']);
      expect(await keysBelow('t/', 't/3')).toEqual(['t/3/a', 't/4']);
      expect(await keysBelow('t/', 't/3/a')).toEqual(['t/4']);
      expect(await keysBelow('t/', 'a')).toHaveLength(4);
      expect(await keysBelow('t/', 'z')).toEqual([]);
    });

    it('lists nothing that is not wholly written', async () => {
      const writing = Array.from({ length: 5 }, (_value, writer) => store.putIfAbsent(`w/${writer}`, Buffer.alloc(500_000)));
      let isDone = false;
      const done = Promise.all(writing).finally(() => (isDone = true));
      while (!isDone) for (const key of await keysBelow('w/')) expect(key).toMatch(/^w\/[0-4]$/);
      await done;
      expect(await keysBelow('w/')).toHaveLength(5);
    });

    it('removes an object, and does not mind one that is not there', async () => {
      await store.put('t/a/b', Buffer.from('x'));
      await store.put('t/c', Buffer.from('x'));
      await store.delete('t/a/b');
      for (const key of ['t/a/b', 't/none', 'none/at/all']) await store.delete(key);
      expect(await keysBelow('')).toEqual(['t/c']);
    });

    it('has no object below another', async () => {
      await store.put('t/a/b', Buffer.from('x'));
      expect(await store.get('t/a/b/c')).toBeUndefined();
      await store.delete('t/a/b/c');
      expect(await keysBelow('')).toEqual(['t/a/b']);
    });

    it('has no object under the beginning of a key', async () => {
      await store.put('t/a/b', Buffer.from('x'));
      expect(await store.get('t/a')).toBeUndefined();
      await store.delete('t/a');
      expect(await keysBelow('')).toEqual(['t/a/b']);
    });

    it('takes a key again once it was removed', async () => {
      await store.putIfAbsent('k', Buffer.from('old'));
      await store.delete('k');
      expect(await store.putIfAbsent('k', Buffer.from('new'))).toBe(true);
      expect(await textOf('k')).toBe('new');
    });

    it('stores and removes side by side', async () => {
      await Promise.all(
        Array.from({ length: WRITERS }, async (_value, index) => {
          for (let round = 0; round < 3; round += 1) {
            expect(await store.putIfAbsent(`same/directory/${index}`, Buffer.from('x'))).toBe(true);
            await store.delete(`same/directory/${index}`);
          }
        }),
      );
      expect(await keysBelow('')).toEqual([]);
    });

    it('opens an object as a file that stays readable until it is released', async () => {
      await store.putIfAbsent('t/part.parquet', Buffer.from('rows'));
      const object = await store.openLocal('t/part.parquet', 4);
      expect(await readFile(object.path, 'utf8')).toBe('rows');
      object.release();
    });

    it('says where a key is', () => {
      expect(store.locationOf('t/part.parquet')).toContain('t/part.parquet');
      expect(store.name).not.toBe('');
    });
  });
}
