/** How long requests take, by what they do: the longest of each, and none for ever. */
import { performance } from 'node:perf_hooks';

/** A request that takes longer is not slow, it hangs. */
const HANGING_MS = 60_000;

export class RequestTimes {
  readonly #longestMs = new Map<string, number>();

  /** @throws Error when the answer does not come at all */
  async time<T>(what: string, ask: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    let deadline: NodeJS.Timeout | undefined;
    const hanging = new Promise<never>((_resolve, reject) => {
      deadline = setTimeout(() => reject(new Error(`${what}: no answer within ${HANGING_MS} ms`)), HANGING_MS);
    });
    try {
      return await Promise.race([ask(), hanging]);
    } finally {
      clearTimeout(deadline);
      this.#longestMs.set(what, Math.max(this.#longestMs.get(what) ?? 0, performance.now() - startedMs));
    }
  }

  /** The longest of each kind since the last call, in whole milliseconds. */
  take(): Record<string, number> {
    const longest = Object.fromEntries([...this.#longestMs].sort().map(([what, ms]) => [what, Math.ceil(ms)]));
    this.#longestMs.clear();
    return longest;
  }
}
