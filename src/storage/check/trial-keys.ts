/** The keys of one trial: all below a prefix that nobody else uses, and remembered, so that they can be removed without trusting the store's lists. */
import { randomUUID } from 'node:crypto';
import pMap from 'p-map';
import type { RemoteObjectStore } from '../remote-object-store.js';

export const PARALLEL_REQUESTS = 32;

export class TrialKeys {
  readonly prefix = `_check-storage/${randomUUID()}/`;
  readonly #given = new Set<string>();

  key(name: string): string {
    const key = this.prefix + name;
    this.#given.add(key);
    return key;
  }

  /** @throws Error when something is left under the prefix */
  async removeAll(store: RemoteObjectStore): Promise<void> {
    await this.#remove(store, [...this.#given]);
    await this.#remove(store, await keysBelow(store, this.prefix));
  }

  async #remove(store: RemoteObjectStore, keys: readonly string[]): Promise<void> {
    const [first] = keys;
    if (first === undefined) return;
    try {
      // Alone at first: a store that is gone would make each of a thousand wait.
      await store.delete(first);
      await pMap(keys, (key) => store.delete(key), { concurrency: PARALLEL_REQUESTS, stopOnError: false });
    } catch (error) {
      const [cause] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
      throw new Error(`objects under ${store.locationOf(this.prefix)} could not be removed; remove them yourself`, { cause });
    }
  }
}

export async function keysBelow(store: RemoteObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix, startAfter)) keys.push(key);
  return keys;
}
