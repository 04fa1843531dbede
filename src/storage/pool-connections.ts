/** Connections to a store. Both figures together are as many as there may be, so that their share says how full the pool is. */
import type { Config } from '../config/config.js';
import type { StoragePool } from './storage-pool.js';

export interface PoolConnections {
  readonly active: number;
  readonly idle: number;
}

/** Those to the bucket of the tables; none where there is no bucket. */
export function bucketConnections({ primary }: StoragePool, { minio }: Config): PoolConnections {
  if (!primary) return { active: 0, idle: 0 };
  const { active } = primary.requests.connections;
  return { active, idle: Math.max(0, minio.connections_max - active) };
}
