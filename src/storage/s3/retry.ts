/** Repeats requests to S3 that may succeed the next time: at first soon, then ever later, and no longer than the store's deadline. */
import { setTimeout as pause } from 'node:timers/promises';
import { asUnavailable, isWorthRetrying } from './s3-error.js';
import type { S3Options } from './s3-requests.js';

const ATTEMPTS_MAX = 4;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 2_000;

/**
 * @param what failed, for the message
 * @param run is told the number of the attempt, from 1: one before it may have succeeded without our hearing of it
 * @throws AppError UNAVAILABLE when no attempt succeeds; the error itself when repeating it cannot help
 */
export async function withRetries<T>(
  what: string,
  { deadlineMs, section }: Pick<S3Options, 'deadlineMs' | 'section'>,
  run: (attempt: number) => Promise<T>,
): Promise<T> {
  const startedMs = performance.now();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await run(attempt);
    } catch (error) {
      const isLast = attempt >= ATTEMPTS_MAX || performance.now() - startedMs > deadlineMs;
      if (isLast || !isWorthRetrying(error)) throw asUnavailable(error, what, section);
      await pause(Math.min(PAUSE_MS_MIN * 2 ** attempt, PAUSE_MS_MAX) * (0.5 + Math.random() / 2));
    }
  }
}
