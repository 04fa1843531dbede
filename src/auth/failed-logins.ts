/**
 * Refuses wrong secrets of a key or an address for a while when there were too many. That says no more than that they are wrong, and right ones pass:
 * a secret is compared by one SHA-256 and has 256 bits, or what an administrator chose, so what counts is that tries are noticed and cost no more than that.
 */
import { LRUCache } from 'lru-cache';
import { AppError } from '../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';

/** Keys and addresses that are remembered; those that failed longest ago are forgotten first. */
const REMEMBERED_MAX = 20_000;

interface Failures {
  readonly count: number;
  readonly lastMs: number;
}

export class FailedLogins {
  readonly #failures = new LRUCache<string, Failures>({ max: REMEMBERED_MAX });

  /**
   * @param failuresMax in a row
   * @param lockSeconds since the last of them
   */
  constructor(
    private readonly failuresMax: number,
    private readonly lockSeconds: number,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError RESOURCE_EXHAUSTED while one of them is locked out */
  assertOpen(...names: readonly string[]): void {
    for (const name of names) {
      const failures = this.#recent(name);
      if (!failures || failures.count < this.failuresMax) continue;
      const waitMs = failures.lastMs + this.lockSeconds * MS_PER_SECOND - this.clock.nowMs();
      throw new AppError('RESOURCE_EXHAUSTED', `${failures.count} logins failed; wrong secrets are not looked at for a while`, {
        retryAfterSeconds: Math.max(1, Math.ceil(waitMs / MS_PER_SECOND)),
      });
    }
  }

  noteFailure(...names: readonly string[]): void {
    for (const name of names) this.#failures.set(name, { count: (this.#recent(name)?.count ?? 0) + 1, lastMs: this.clock.nowMs() });
  }

  noteSuccess(...names: readonly string[]): void {
    for (const name of names) this.#failures.delete(name);
  }

  #recent(name: string): Failures | undefined {
    const failures = this.#failures.get(name);
    return failures && failures.lastMs + this.lockSeconds * MS_PER_SECOND > this.clock.nowMs() ? failures : undefined;
  }
}
