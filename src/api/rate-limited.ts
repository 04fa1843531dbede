/** Marks routes that one caller may use so often a minute and no more; see `rate_limits` in the configuration. */
import { SetMetadata } from '@nestjs/common';

/** `queries` of one principal, `logins` of one address. */
export type RateLimit = 'queries' | 'logins';

export const RATE_LIMIT = Symbol('rate limit');

export const RateLimited = (limit: RateLimit): MethodDecorator => SetMetadata(RATE_LIMIT, limit);
