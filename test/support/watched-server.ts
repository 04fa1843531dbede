/** A server with everything that can be watched: a bucket, Redis, and nothing that happens by itself. */
import { randomUUID } from 'node:crypto';
import { type ObjectStoreServer, startObjectStore } from '../servers/radosgw.js';
import { type RedisServer, startRedis } from '../servers/redis.js';
import { QUIET } from './backups.js';
import { type RunningServer, startServer } from './server.js';
import { sharedBucketEnvironment } from './shared-bucket.js';

export interface WatchedServer extends RunningServer {
  readonly store: ObjectStoreServer;
  readonly redis: RedisServer;
  readonly bucket: string;
  readonly nodeId: string;
  /** Connections to the bucket. */
  readonly connectionsMax: number;
  /** Another node of the same bucket and Redis. */
  startOther(nodeId: string): Promise<RunningServer>;
  /** Ends it and the servers it uses. */
  end(): Promise<void>;
}

export async function startWatchedServer(nodeId: string): Promise<WatchedServer> {
  const [store, redis] = await Promise.all([startObjectStore(), startRedis()]);
  const bucket = `watched-${randomUUID()}`;
  const env = sharedBucketEnvironment(store, redis, bucket);
  const connectionsMax = 8;
  // An outage of the store is over soon; a start on a busy machine must not take for one what is slow.
  const minio = { connections_max: connectionsMax, idle_timeout_ms: 1_500, deadline_ms: 3_000 };
  const stopStores = async (): Promise<void> => void (await Promise.all([store.stop(), redis.stop()]));
  try {
    const server = await startServer({ config: { ...QUIET, minio, node_id: nodeId }, env });
    const end = async (): Promise<void> => {
      await server.kill();
      await stopStores();
    };
    const startOther = (otherId: string): Promise<RunningServer> => startServer({ config: { ...QUIET, node_id: otherId }, env });
    return { ...server, store, redis, bucket, nodeId, connectionsMax, startOther, end };
  } catch (error) {
    await stopStores();
    throw error;
  }
}
