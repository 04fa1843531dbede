/**
 * Refuses callers who ask more often than they may: queries are counted by API key (by address where nobody has to say who they are), logins by
 * address. Each node counts for itself. Stands behind the guard that finds out who calls.
 */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { SYSTEM } from '../common/access.js';
import { AppError } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import type { RateLimitsConfig } from '../config/config.js';
import { type RequestContext, requestContext } from '../common/request-context.js';
import { RATE_LIMIT, type RateLimit } from '../api/rate-limited.js';

const WINDOW_SECONDS = 60;

export class RateLimitGuard implements CanActivate {
  readonly #reflector = new Reflector();
  readonly #limits = new Map<unknown, RateLimit | undefined>();
  readonly #limiters: Readonly<Record<RateLimit, RateLimiterMemory | undefined>>;

  constructor({ queries_per_minute: queries, logins_per_minute: logins }: RateLimitsConfig) {
    this.#limiters = { queries: limiterOf(queries), logins: limiterOf(logins) };
  }

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const limit = this.#limitOf(context);
    const limiter = limit && this.#limiters[limit];
    if (!limiter) return true;
    return assertMayGoOn(limiter, limit, callerOf(requestContext.getStore(), limit));
  }

  #limitOf(context: ExecutionContext): RateLimit | undefined {
    const handler = context.getHandler();
    if (!this.#limits.has(handler)) this.#limits.set(handler, this.#reflector.get<RateLimit | undefined>(RATE_LIMIT, handler));
    return this.#limits.get(handler);
  }
}

/** @returns undefined for no limit */
function limiterOf(perMinute: number): RateLimiterMemory | undefined {
  return perMinute === 0 ? undefined : new RateLimiterMemory({ points: perMinute, duration: WINDOW_SECONDS });
}

function callerOf(context: RequestContext | undefined, limit: RateLimit): string {
  const { principal, peer = '' } = context ?? {};
  return limit === 'logins' || !principal || principal === SYSTEM ? `address ${peer}` : `key ${principal.id}`;
}

/** @throws AppError RESOURCE_EXHAUSTED */
async function assertMayGoOn(limiter: RateLimiterMemory, limit: RateLimit, caller: string): Promise<true> {
  try {
    await limiter.consume(caller);
    return true;
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    throw new AppError(
      'RESOURCE_EXHAUSTED',
      `${caller} has used up its ${limiter.points} ${limit} per minute (rate_limits.${limit}_per_minute)`,
      {
        retryAfterSeconds: Math.max(1, Math.ceil(refusal.msBeforeNext / MS_PER_SECOND)),
      },
    );
  }
}
