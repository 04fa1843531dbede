/**
 * The S3 store and the Redis server of a test file. Those that the environment names are used, and the store that global-setup.ts starts for
 * all files of a run is named there; otherwise the first test that asks starts one, which ends with the file. Files do not disturb each other:
 * each has buckets of its own, and a Redis of its own. One that pauses or kills the store starts its own (radosgw.ts).
 *
 *   const store = await testObjectStore();        in beforeAll
 *   const bucket = await store.newBucket();
 *   afterAll(closeTestServers);
 */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { Client } from 'minio';
import { startObjectStore } from './radosgw.js';
import { startRedis } from './redis.js';

const REGION = 'us-east-1';

export interface ObjectStoreAddress {
  /** With scheme, without a path. */
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
}

export interface TestObjectStore extends ObjectStoreAddress {
  readonly client: Client;
  /** Makes an empty bucket that nobody else uses; gives its name. */
  newBucket(): Promise<string>;
}

export interface TestRedis {
  readonly url: string;
  /** A prefix for keys that nobody else uses. */
  newKeyPrefix(): string;
}

let objectStore: Promise<TestObjectStore> | undefined;
let redis: Promise<TestRedis> | undefined;
const cleanUps: (() => Promise<void>)[] = [];

/** The same store for every caller of this test file. */
export function testObjectStore(): Promise<TestObjectStore> {
  return (objectStore ??= connectObjectStore());
}

/** The same server for every caller of this test file. */
export function testRedis(): Promise<TestRedis> {
  return (redis ??= connectRedis());
}

/** For afterAll: stops what was started, and removes from servers of the environment what this file put there. */
export async function closeTestServers(): Promise<void> {
  objectStore = undefined;
  redis = undefined;
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
}

export function objectStoreClient({ endpoint, host, port, accessKey, secretKey, region }: ObjectStoreAddress): Client {
  return new Client({ endPoint: host, port, useSSL: endpoint.startsWith('https:'), accessKey, secretKey, region });
}

async function connectObjectStore(): Promise<TestObjectStore> {
  const named = process.env['TEST_S3_ENDPOINT'];
  const address = named ? objectStoreOfEnvironment(named) : await ownObjectStore();
  const client = objectStoreClient(address);
  const newBucket = async (): Promise<string> => {
    const bucket = `miniodb-test-${randomName()}`;
    await client.makeBucket(bucket, address.region);
    if (named) cleanUps.push(() => removeBucket(client, bucket));
    return bucket;
  };
  return { ...address, client, newBucket };
}

function objectStoreOfEnvironment(endpoint: string): ObjectStoreAddress {
  const { TEST_S3_ACCESS_KEY: accessKey, TEST_S3_SECRET_KEY: secretKey, TEST_S3_REGION: region } = process.env;
  if (!accessKey || !secretKey) throw new Error('TEST_S3_ENDPOINT is set: TEST_S3_ACCESS_KEY and TEST_S3_SECRET_KEY must be, too');
  const { protocol, hostname: host, port } = new URL(endpoint);
  return { endpoint, host, port: Number(port) || (protocol === 'https:' ? 443 : 80), accessKey, secretKey, region: region ?? REGION };
}

async function ownObjectStore(): Promise<ObjectStoreAddress> {
  const server = await startObjectStore();
  cleanUps.push(() => server.stop());
  return server;
}

async function connectRedis(): Promise<TestRedis> {
  const named = process.env['TEST_REDIS_URL'];
  const url = named ? named : await ownRedis();
  const newKeyPrefix = (): string => {
    const prefix = `miniodb-test-${randomName()}:`;
    if (named) cleanUps.push(() => removeKeys(url, prefix));
    return prefix;
  };
  return { url, newKeyPrefix };
}

async function ownRedis(): Promise<string> {
  const server = await startRedis();
  cleanUps.push(() => server.stop());
  return server.url;
}

async function removeBucket(client: Client, bucket: string): Promise<void> {
  const names: string[] = [];
  for await (const { name } of client.listObjectsV2(bucket, '', true) as AsyncIterable<{ readonly name: string }>) names.push(name);
  const failures = await client.removeObjects(bucket, names);
  if (failures.some(Boolean)) throw new Error(`objects of ${bucket} could not be removed: ${JSON.stringify(failures)}`);
  await client.removeBucket(bucket);
}

async function removeKeys(url: string, prefix: string): Promise<void> {
  const client = new Redis(url);
  try {
    for await (const keys of client.scanStream({ match: `${prefix}*`, count: 1_000 }) as AsyncIterable<string[]>) {
      if (keys.length > 0) await client.unlink(keys);
    }
  } finally {
    client.disconnect();
  }
}

function randomName(): string {
  return randomBytes(6).toString('hex');
}
