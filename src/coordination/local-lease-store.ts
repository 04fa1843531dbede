/** Leases of a single node: a map in the process. */
import type { Clock } from '../common/clock.js';
import type { Lease, LeaseStore } from './lease.js';

export class LocalLeaseStore implements LeaseStore {
  readonly #held = new Map<string, { fence: number; untilMs: number }>();
  #fence = 0;

  constructor(private readonly clock: Clock) {}

  acquire(name: string, ttlMs: number): Promise<Lease | undefined> {
    const holder = this.#held.get(name);
    if (holder && holder.untilMs > this.clock.nowMs()) return Promise.resolve(undefined);
    const fence = ++this.#fence;
    const grant = { fence, untilMs: this.clock.nowMs() + ttlMs };
    this.#held.set(name, grant);
    const isHeld = (): boolean => this.#held.get(name) === grant && grant.untilMs > this.clock.nowMs();
    return Promise.resolve({
      fence,
      isHeld,
      release: () => {
        if (this.#held.get(name) === grant) this.#held.delete(name);
        return Promise.resolve();
      },
    });
  }
}
