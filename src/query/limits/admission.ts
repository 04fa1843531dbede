/** Lets a bounded number of queries run, a bounded number wait for a bounded time, and refuses the rest at once. Turns go in order of arrival. */
import { AppError } from '../../common/app-error.js';

interface Waiting {
  readonly start: () => void;
}

/** Who asks for a turn. */
export interface Applicant {
  /** Milliseconds that it can wait at most, whatever the queue allows. */
  readonly waitMs?: number;
  /** Fails when it does not want a turn any more. */
  readonly stopped?: Promise<never>;
}

export class Admission {
  #running = 0;
  readonly #waiting: Waiting[] = [];
  #refused = 0;

  constructor(
    private readonly concurrencyMax: number,
    private readonly queueMax: number,
    private readonly waitMs: number,
  ) {}

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get refused(): number {
    return this.#refused;
  }

  /**
   * Waits for a turn.
   * @returns a function that ends it
   * @throws AppError RESOURCE_EXHAUSTED when there is none in time, or what the applicant was stopped with
   */
  async enter(applicant: Applicant = {}): Promise<() => void> {
    if (this.#running >= this.concurrencyMax) await this.#wait(applicant);
    else this.#running += 1;
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.#leave();
    };
  }

  /** The one who leaves hands its place to the first who waits, so `#running` stays as it is. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next.start();
    else this.#running -= 1;
  }

  #wait({ waitMs = Infinity, stopped }: Applicant): Promise<void> {
    if (this.#waiting.length >= this.queueMax)
      return Promise.reject(this.#refusal(`${this.#waiting.length} queries are waiting already (query.queue_max)`));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        start: () => {
          clearTimeout(deadline);
          resolve();
        },
      };
      const giveUp = (reason: AppError): void => {
        const place = this.#waiting.indexOf(waiting);
        // It has its turn already.
        if (place < 0) return;
        clearTimeout(deadline);
        this.#waiting.splice(place, 1);
        reject(reason);
      };
      const limitMs = Math.min(waitMs, this.waitMs);
      const limit = waitMs < this.waitMs ? 'its timeout_ms' : 'query.queue_wait_ms';
      const deadline = setTimeout(() => giveUp(this.#refusal(`this one did not get a slot within ${limitMs} ms (${limit})`)), limitMs);
      stopped?.catch(giveUp);
      this.#waiting.push(waiting);
    });
  }

  #refusal(reason: string): AppError {
    this.#refused += 1;
    return new AppError('RESOURCE_EXHAUSTED', `the server runs ${this.concurrencyMax} queries at once and ${reason}; try again later`, {
      retryAfterSeconds: 2,
    });
  }
}
