/** What every lease store does, run against each: the one of a single node, and those that several nodes share. */
import { beforeEach, describe, expect, it } from '@jest/globals';
import type { LeaseStore } from './lease.js';

export interface LeaseStoreUnderTest {
  readonly leases: LeaseStore;
  /** Lets time pass, as the store sees it. */
  readonly pass: (ms: number) => Promise<void>;
}

const TTL_MS = 1_000;

/** @param open gives a store in which nothing is held */
export function leaseStoreContract(label: string, open: () => Promise<LeaseStoreUnderTest>): void {
  describe(`${label} as a lease store`, () => {
    let leases: LeaseStore;
    let pass: LeaseStoreUnderTest['pass'];
    beforeEach(async () => {
      ({ leases, pass } = await open());
    });

    const held = async (name: string): Promise<NonNullable<Awaited<ReturnType<LeaseStore['acquire']>>>> => {
      const lease = await leases.acquire(name, TTL_MS);
      if (!lease) throw new Error(`${name} is held by somebody else`);
      return lease;
    };

    it('gives a name to one holder', async () => {
      const grants = await Promise.all(Array.from({ length: 20 }, () => leases.acquire('compaction:t', TTL_MS)));
      expect(grants.filter((grant) => grant !== undefined)).toHaveLength(1);
    });

    it('keeps names apart', async () => {
      const [one, other] = [await held('compaction:t'), await held('compaction:u')];
      expect([one.isHeld(), other.isHeld()]).toEqual([true, true]);
    });

    it('gives the name on when its holder releases it', async () => {
      const first = await held('a');
      await first.release();
      expect(first.isHeld()).toBe(false);
      expect((await held('a')).isHeld()).toBe(true);
    });

    it('gives the name on when the time is over, and tells the holder', async () => {
      const first = await held('a');
      await pass(TTL_MS - 100);
      expect(first.isHeld()).toBe(true);
      expect(await leases.acquire('a', TTL_MS)).toBeUndefined();
      await pass(200);
      expect(first.isHeld()).toBe(false);
      expect((await held('a')).isHeld()).toBe(true);
      expect(first.isHeld()).toBe(false);
    });

    it('has a fence that grows with every grant of a name', async () => {
      const fences: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        const lease = await held('a');
        fences.push(lease.fence);
        if (round % 2 === 0) await lease.release();
        else await pass(TTL_MS + 1);
      }
      expect(new Set(fences).size).toBe(5);
      expect(fences).toEqual([...fences].sort((a, b) => a - b));
    });

    it('does not take the name from a successor when an old holder releases it', async () => {
      const old = await held('a');
      await pass(TTL_MS + 1);
      const successor = await held('a');
      await old.release();
      expect(successor.isHeld()).toBe(true);
      expect(await leases.acquire('a', TTL_MS)).toBeUndefined();
    });

    it('can be released twice', async () => {
      const lease = await held('a');
      await lease.release();
      await lease.release();
      expect(await leases.acquire('a', TTL_MS)).toBeDefined();
    });
  });
}
