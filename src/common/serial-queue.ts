/**
 * Runs tasks one after the other. What changes one table's log (flush, compaction, clean-up) goes through one of these, so that it never
 * races with itself. The number of waiting tasks is bounded: past it the caller is told to come back.
 */
import { AppError } from './app-error.js';

export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(
    private readonly label: string,
    private readonly waitingMax: number,
  ) {}

  /** Runs `task` after all that came before it; its failure does not stop the next one. */
  run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.waitingMax) {
      return Promise.reject(
        new AppError(
          'RESOURCE_EXHAUSTED',
          `${this.label}: ${this.#waiting} tasks are waiting already (limit ${this.waitingMax}); try again later`,
        ),
      );
    }
    this.#waiting += 1;
    const result = this.#tail.then(task).finally(() => (this.#waiting -= 1));
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Settles when everything queued so far has run. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
