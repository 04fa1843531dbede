/** Redis is connected; says nothing where there is no Redis. The node goes on without it. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { REDIS } from '../../common/tokens.js';
import type { RedisConnection } from '../../coordination/redis-connection.js';
import { degradedBy, type Indicator } from './indicator.js';

@Injectable()
export class RedisHealth implements Indicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  check(): Promise<HealthIndicatorResult> {
    const { redis } = this;
    if (!redis) return Promise.resolve({});
    const trouble = redis.isReady ? undefined : (redis.lastError ?? 'not connected yet');
    return Promise.resolve(degradedBy(trouble, 'redis', this.indicators));
  }
}
