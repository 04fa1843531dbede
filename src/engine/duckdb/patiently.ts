/** Statements that must not fail because the engine's memory is taken for a while. */
import { setTimeout as pause } from 'node:timers/promises';
import { isOutOfMemory } from './engine.js';

/** Together about a minute. */
const ATTEMPTS_MAX = 40;
const WAIT_MS = 100;
const WAIT_MS_MAX = 2_000;

/** Runs one statement. Queries share the engine's memory: when they have all of it, this waits for them instead of failing. */
export async function patiently<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await run();
    } catch (error) {
      if (!isOutOfMemory(error) || attempt === ATTEMPTS_MAX) throw error;
      await pause(Math.min(WAIT_MS * attempt, WAIT_MS_MAX));
    }
  }
}
