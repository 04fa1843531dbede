import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { expectThat } from '../../test/support/expectations.js';
import { LocalObjectStore } from '../storage/local-object-store.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';

let root: string;
let store: LocalObjectStore;
let catalogue: Catalogue;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'miniodb-catalogue-'));
  store = new LocalObjectStore(root);
  catalogue = new Catalogue(store);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function table(name: string, incarnation = 1): CatalogueTable {
  return {
    name,
    tableId: `id-${name.toLowerCase()}-${incarnation}`,
    directory: incarnation === 1 ? name : `${name}-${incarnation}`,
    createdMs: 1_000 + incarnation,
  };
}

/** What a server that starts now would find. */
async function loaded(): Promise<{ live: string[]; dropped: string[] }> {
  const { live, dropped } = await new Catalogue(store).load();
  return { live: live.map(({ tableId }) => tableId), dropped: dropped.map(({ tableId }) => tableId) };
}

describe('catalogue', () => {
  it('is empty at first', async () => {
    expect(await loaded()).toEqual({ live: [], dropped: [] });
  });

  it('has a table from its creation on, with all that is known of it', async () => {
    await catalogue.create(table('Users'));
    await catalogue.create(table('orders'));
    const { live } = await new Catalogue(store).load();
    expect(live).toEqual(expect.arrayContaining([expect.objectContaining(table('Users')), expect.objectContaining(table('orders'))]));
    expect(live).toHaveLength(2);
  });

  it('refuses a second table of a name, whatever its case', async () => {
    await catalogue.create(table('Users'));
    for (const name of ['Users', 'users', 'USERS'])
      await expectThat(catalogue.create(table(name, 2)), name).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    expect(await loaded()).toEqual({ live: ['id-users-1'], dropped: [] });
  });

  it('tells names apart of which one begins the other', async () => {
    await catalogue.create(table('user'));
    await catalogue.create(table('users'));
    await catalogue.drop(table('user'));
    expect(await loaded()).toEqual({ live: ['id-users-1'], dropped: ['id-user-1'] });
  });

  it('has no table from its drop on, and remembers its files until they are gone', async () => {
    await catalogue.create(table('t'));
    await catalogue.drop(table('t'));
    expect(await loaded()).toEqual({ live: [], dropped: ['id-t-1'] });
    await catalogue.purge(table('t'));
    expect(await loaded()).toEqual({ live: [], dropped: [] });
  });

  it('takes a name again after its drop, purged or not', async () => {
    await catalogue.create(table('t', 1));
    await catalogue.drop(table('t', 1));
    await catalogue.create(table('t', 2));
    expect(await loaded()).toMatchObject({ live: ['id-t-2'] });
    await catalogue.drop(table('t', 2));
    await catalogue.purge(table('t', 2));
    await catalogue.create(table('t', 3));
    expect(await loaded()).toEqual({ live: ['id-t-3'], dropped: ['id-t-1'] });
  });

  it('does not lose the files of a dropped table when its name is taken again', async () => {
    await catalogue.create(table('t', 1));
    await catalogue.drop(table('t', 1));
    await catalogue.create(table('t', 2));
    expect((await loaded()).dropped).toEqual(['id-t-1']);
  });

  it('does not drop or purge another incarnation', async () => {
    await catalogue.create(table('t', 1));
    await catalogue.drop(table('t', 1));
    await catalogue.create(table('t', 2));
    await catalogue.drop(table('t', 1));
    await catalogue.purge(table('t', 1));
    expect((await loaded()).live).toEqual(['id-t-2']);
    await catalogue.drop(table('t', 2));
    await catalogue.purge(table('t', 1));
    expect((await loaded()).dropped).toContain('id-t-2');
  });

  it('can drop and purge twice', async () => {
    await catalogue.create(table('t'));
    for (let round = 0; round < 2; round += 1) await catalogue.drop(table('t'));
    for (let round = 0; round < 2; round += 1) await catalogue.purge(table('t'));
    await catalogue.drop(table('none'));
    expect(await loaded()).toEqual({ live: [], dropped: [] });
  });

  it('keeps the order of more entries than there are digits', async () => {
    for (let incarnation = 1; incarnation <= 6; incarnation += 1) {
      await catalogue.create(table('t', incarnation));
      await catalogue.drop(table('t', incarnation));
    }
    await catalogue.create(table('t', 7));
    expect((await loaded()).live).toEqual(['id-t-7']);
  });
});

describe('catalogues of several nodes on one store', () => {
  const NODES = 8;
  const nodes = (): Catalogue[] => Array.from({ length: NODES }, () => new Catalogue(store));

  it('let one create a table, and tell the others', async () => {
    const results = await Promise.allSettled(nodes().map((node, index) => node.create(table('t', index + 1))));
    const winners = results.flatMap((result, index) => (result.status === 'fulfilled' ? [index + 1] : []));
    expect(winners).toHaveLength(1);
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ALREADY_EXISTS' });
    expect((await loaded()).live).toEqual([`id-t-${winners[0]}`]);
  });

  it('all drop a table that several want gone, and it stays gone', async () => {
    await catalogue.create(table('t'));
    await Promise.all(nodes().map((node) => node.drop(table('t'))));
    expect(await loaded()).toEqual({ live: [], dropped: ['id-t-1'] });
  });

  it('never drop the table that took the place of the one they mean', async () => {
    await catalogue.create(table('t', 1));
    await catalogue.drop(table('t', 1));
    await Promise.all([
      catalogue.create(table('t', 2)),
      ...nodes().flatMap((node) => [node.drop(table('t', 1)), node.purge(table('t', 1))]),
    ]);
    expect((await loaded()).live).toEqual(['id-t-2']);
  });

  it('create many tables side by side', async () => {
    await Promise.all(nodes().map((node, index) => node.create(table(`t${index}`))));
    expect((await loaded()).live).toHaveLength(NODES);
  });
});

describe('a damaged entry of the catalogue', () => {
  it.each(['', '{', 'null', '[]', '{"action":"create"}', '{"action":"other","name":"a","tableId":"b","directory":"c"}'])(
    'that is %j leaves the other names as they are, and is named',
    async (text) => {
      await catalogue.create(table('broken'));
      await catalogue.create(table('whole'));
      const key = '_catalogue/broken/00000000000000000000.json';
      await store.put(key, Buffer.from(text));
      const fresh = new Catalogue(store);
      const { live, damaged } = await fresh.load();
      expect(live.map(({ name }) => name)).toEqual(['whole']);
      expect(damaged).toEqual([{ name: 'broken', reason: expect.objectContaining({ code: 'DATA_CORRUPTION' }) }]);
      expect(damaged[0]?.reason.message).toContain(key);
      expectThat(fresh.hasSeen('id-broken-1'), 'whether it was dropped is not known').toBe(false);
      await expect(fresh.create(table('broken', 2))).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    },
  );

  it('is read anew when it is back', async () => {
    await catalogue.create(table('broken'));
    const key = '_catalogue/broken/00000000000000000000.json';
    const bytes = (await store.get(key)) ?? Buffer.alloc(0);
    await store.put(key, Buffer.from('{'));
    const fresh = new Catalogue(store);
    await fresh.load();
    await store.put(key, bytes);
    expect((await fresh.load()).live).toHaveLength(1);
  });
});
