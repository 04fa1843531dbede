/** Whether Redis is there, and what came of calls to it: `redis_stats` of `/v1/status`. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { REDIS } from '../common/tokens.js';
import type { RedisConnection } from '../coordination/redis-connection.js';

@Injectable()
export class RedisStats {
  constructor(@Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined) {}

  read(): Record<string, number> {
    const { redis } = this;
    if (!redis) return { enabled: 0 };
    const { calls, failures, active, idle } = redis.counts;
    return {
      enabled: 1,
      reachable: redis.isReady ? 1 : 0,
      calls,
      failed_calls: failures,
      active_connections: active,
      idle_connections: idle,
    };
  }
}
