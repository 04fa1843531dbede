/** What nodes say of themselves in Redis: under which address they are reached, which log they write, and that they live. */
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import { isJsonObject } from '../common/json.js';
import type { RedisConnection } from '../coordination/redis-connection.js';

export const SERVICES_KEY = 'nodes:services';
export const HEALTH_PREFIX = 'nodes:health:';
/** Hash of node to the id of its log, which tells to which store it belongs, also when it is gone. */
export const LOGS_KEY = 'nodes:logs';

export interface LastHeartbeat {
  readonly address: string;
  /** Unix seconds. */
  readonly lastSeen: number;
  /** Another one for each start of a process. */
  readonly instance: string;
}

/** @returns undefined for a node that has not said for two heartbeats that it lives */
export async function lastHeartbeat(redis: RedisConnection, nodeId: string): Promise<LastHeartbeat | undefined> {
  const text = await redis.run('state of a node', (client) => client.get(HEALTH_PREFIX + nodeId));
  const health: unknown = text ? JSON.parse(text) : undefined;
  if (!isJsonObject(health)) return undefined;
  const { address, last_seen: lastSeen, instance } = health;
  return {
    address: typeof address === 'string' ? address : '',
    lastSeen: typeof lastSeen === 'number' ? lastSeen : 0,
    instance: typeof instance === 'string' ? instance : '',
  };
}

export function nowSeconds(clock: Clock): number {
  return Math.floor(clock.nowMs() / MS_PER_SECOND);
}
