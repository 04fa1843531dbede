/**
 * The servers that all test files of a run share: one S3 store, where each file has buckets of its own, and for runs that keep their tables in
 * a bucket with Redis (see test/support/storage.ts) one Redis for each worker, because the server's keys have no prefix. What the environment
 * names is used instead. A file that runs alone starts what it needs by itself.
 */
import { startObjectStore } from './radosgw.js';
import { startRedis } from './redis.js';
import { bundleServer } from './server-bundle.js';

export interface PlannedRun {
  /** How many files may want a server. */
  readonly files: number;
  readonly workers: number;
}

/** With fewer files the bundle takes longer than it saves. */
const BUNDLE_FILES_MIN = 3;

/** Gives what stops them. */
export default async function startSharedServers({ files, workers }: PlannedRun): Promise<() => Promise<void>> {
  const stops: (() => Promise<void>)[] = [];
  const keepsTablesThere = process.env['TEST_STORAGE'] !== undefined && process.env['TEST_STORAGE'] !== 'local';
  if (files === 0 || (files === 1 && !keepsTablesThere)) return () => Promise.resolve();
  if (!process.env['TEST_SERVER_MAIN'] && files >= BUNDLE_FILES_MIN) {
    const { main, remove } = await bundleServer();
    stops.push(() => Promise.resolve(remove()));
    process.env['TEST_SERVER_MAIN'] = main;
  }
  if (!process.env['TEST_S3_ENDPOINT']) {
    const store = await startObjectStore();
    stops.push(() => store.stop());
    Object.assign(process.env, {
      TEST_S3_ENDPOINT: store.endpoint,
      TEST_S3_ACCESS_KEY: store.accessKey,
      TEST_S3_SECRET_KEY: store.secretKey,
      TEST_S3_REGION: store.region,
    });
  }
  if (!process.env['TEST_REDIS_URL']) {
    const servers = await Promise.all(Array.from({ length: workers }, startRedis));
    stops.push(...servers.map((redis) => () => redis.stop()));
    process.env['TEST_REDIS_URLS_OF_WORKERS'] = servers.map(({ url }) => url).join(' ');
  }
  return async () => {
    for (const stop of stops) await stop();
  };
}
