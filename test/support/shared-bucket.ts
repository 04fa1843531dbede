/** Settings of nodes that share a bucket and meet in one Redis. */
import type { RedisServer } from '../servers/redis.js';
import type { ObjectStoreAddress } from '../servers/shared-servers.js';

export function sharedBucketEnvironment(store: ObjectStoreAddress, redis: RedisServer, bucket: string): Record<string, string> {
  return {
    STORAGE: 'minio',
    MINIO_ENDPOINT: `${store.host}:${store.port}`,
    MINIO_ACCESS_KEY: store.accessKey,
    MINIO_SECRET_KEY: store.secretKey,
    MINIO_BUCKET: bucket,
    REDIS_MODE: 'standalone',
    REDIS_HOST: redis.host,
    REDIS_PORT: String(redis.port),
    REDIS_PASSWORD: redis.password,
  };
}
