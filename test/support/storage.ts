/**
 * Where the servers of a test run keep their tables: local files, or a bucket for each data directory (TEST_STORAGE=minio), with Redis beside it
 * (TEST_STORAGE=minio-redis). So every suite runs unchanged on each of them.
 */
import { createHash } from 'node:crypto';

export const TEST_STORAGE = process.env['TEST_STORAGE'] ?? 'local';

/** Environment of a server with this data directory. The same directory finds the same bucket again. */
export function storageEnvironment(dataDir: string): Record<string, string> {
  if (TEST_STORAGE === 'local') return {};
  const digest = createHash('sha256').update(dataDir).digest('hex');
  const bucket = `test-${digest.slice(0, 24)}`;
  // Servers of one Redis need names of their own, though their buckets are different.
  const redis = TEST_STORAGE === 'minio-redis' ? { ...redisEnvironment(), NODE_ID: `node-${digest.slice(0, 12)}` } : {};
  return { STORAGE: 'minio', MINIO_BUCKET: bucket, ...s3Environment(), ...redis };
}

function s3Environment(): Record<string, string> {
  return {
    MINIO_ENDPOINT: required('TEST_S3_ENDPOINT').replace(/^https?:\/\//, ''),
    MINIO_ACCESS_KEY: required('TEST_S3_ACCESS_KEY'),
    MINIO_SECRET_KEY: required('TEST_S3_SECRET_KEY'),
  };
}

function redisEnvironment(): Record<string, string> {
  const url = new URL(process.env['TEST_REDIS_URL'] ?? redisOfThisWorker());
  return { REDIS_MODE: 'standalone', REDIS_HOST: url.hostname, REDIS_PORT: url.port, REDIS_PASSWORD: url.password };
}

/** Workers are numbered from 1; their servers stand in that order, see test/servers/global-setup.ts. */
function redisOfThisWorker(): string {
  const urls = required('TEST_REDIS_URLS_OF_WORKERS').split(' ');
  return urls[Number(process.env['JEST_WORKER_ID'] ?? 1) - 1] ?? required('TEST_REDIS_URL');
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} must be set for TEST_STORAGE=${TEST_STORAGE}`);
  return value;
}
