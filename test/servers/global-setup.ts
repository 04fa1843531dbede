/**
 * For runs with TEST_STORAGE (see test/support/storage.ts): starts the servers that all test files of the run share, unless the environment names
 * some. Each data directory has a bucket of its own in them.
 */
import { TEST_STORAGE } from '../support/storage.js';
import { startObjectStore } from './radosgw.js';
import { startRedis } from './redis.js';

export default async function setup(): Promise<() => Promise<void>> {
  const stops: (() => Promise<void>)[] = [];
  if (TEST_STORAGE !== 'local' && !process.env['TEST_S3_ENDPOINT']) {
    const store = await startObjectStore();
    stops.push(() => store.stop());
    Object.assign(process.env, {
      TEST_S3_ENDPOINT: store.endpoint,
      TEST_S3_ACCESS_KEY: store.accessKey,
      TEST_S3_SECRET_KEY: store.secretKey,
      TEST_S3_REGION: store.region,
    });
  }
  if (TEST_STORAGE === 'minio-redis' && !process.env['TEST_REDIS_URL']) {
    const redis = await startRedis();
    stops.push(() => redis.stop());
    process.env['TEST_REDIS_URL'] = redis.url;
  }
  return async () => {
    for (const stop of stops) await stop();
  };
}
