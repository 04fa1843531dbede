/**
 * Finds out whether a part does its work by letting it do some. Nothing is stored, and no figure of queries or writes moves.
 *
 * All who ask within a second get the same outcome: health is open to everybody, and must not be a way to keep the disk busy.
 */
import { Inject, Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import { LOGGER } from '../../common/tokens.js';

/** A component that takes longer to answer does not work. Shorter than a scrape may take: figures are wanted most when a store hangs. */
const TRIAL_MS_MAX = 5_000;
const KEPT_MS = 1_000;
/** Health is open to everybody: names of files are for the log, and for those who may read the table. */
const DAMAGE = 'a table is damaged; see `tables`';

@Injectable()
export class Trial {
  constructor(
    private readonly indicators: HealthIndicatorService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Up when the work is done within five seconds, down with the reason otherwise. */
  of(component: string, work: () => Promise<unknown>): PromiseLike<HealthIndicatorResult> {
    const quietly = (): Promise<void> =>
      work().then(
        () => undefined,
        (error: unknown) => {
          throw this.#asToldToAll(component, error);
        },
      );
    return this.indicators.check(component).attempt(quietly).withTimeout(TRIAL_MS_MAX).cacheFor(KEPT_MS);
  }

  /** Health is open to everybody: what the engine or the system says of a failure has paths in it and goes to the log. */
  #asToldToAll(component: string, error: unknown): Error {
    if (error instanceof AppError && error.code === 'DATA_CORRUPTION') return new Error(DAMAGE);
    if (error instanceof AppError) return error;
    this.logger.warn({ err: error }, `health: ${component} is not working`);
    return new Error('it is not working; the log has the details');
  }
}
