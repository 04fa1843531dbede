/** Queries that run and connections to the stores, with how many there may be: `connection_pool_metrics` of `/v1/metrics`. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { REDIS } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { Admission } from '../query/limits/admission.js';
import { bucketConnections } from '../storage/pool-connections.js';
import { StoragePool } from '../storage/storage-pool.js';

@Injectable()
export class ConnectionPools {
  constructor(
    private readonly config: Config,
    private readonly admission: Admission,
    private readonly pool: StoragePool,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  read(): Record<string, number> {
    const { config, admission, pool } = this;
    const minio = bucketConnections(pool, config);
    const redis = this.redis?.counts ?? { active: 0, idle: 0 };
    return {
      queries_running: admission.running,
      queries_max: config.query.concurrency_max,
      redis_active_connections: redis.active,
      redis_idle_connections: redis.idle,
      minio_active_connections: minio.active,
      minio_idle_connections: minio.idle,
    };
  }
}
