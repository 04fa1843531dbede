/** Why this server takes no more writes, once it does not: what is in memory can no longer be trusted. What is acknowledged is safe in the log. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import { LOGGER } from '../../common/tokens.js';

@Injectable()
export class WriterFailure {
  #error: AppError | undefined;

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /** Ends writing until a restart. @returns the error that every write gets from now on: the first one that was given */
  fail(what: string, cause: unknown): AppError {
    this.#error ??= new AppError('UNAVAILABLE', `${what}, so this server accepts no more writes; restart it to replay the log`, {
      cause,
      retryAfterSeconds: 30,
    });
    this.logger.fatal({ err: cause }, this.#error.message);
    return this.#error;
  }

  get error(): AppError | undefined {
    return this.#error;
  }
}
