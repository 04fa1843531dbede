/** Metrics of Redis: connections to it, and what came of calls; all 0 without Redis. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { REDIS } from '../common/tokens.js';
import { Config } from '../config/config.js';
import type { RedisConnection } from './redis-connection.js';

const REDIS_POOL_ACTIVE_CONNECTIONS = 'miniodb_redis_pool_active_connections';
const REDIS_POOL_IDLE_CONNECTIONS = 'miniodb_redis_pool_idle_connections';
const REDIS_CALLS_TOTAL = 'miniodb_redis_calls_total';

const inject = [Config, { token: REDIS, optional: true }];

export const REDIS_METRICS = [
  makeGaugeProvider({
    name: REDIS_POOL_ACTIVE_CONNECTIONS,
    help: 'Connections to Redis: in use',
    labelNames: ['node'],
    inject,
    collect(this: Gauge, { node_id: node }: Config, redis?: RedisConnection) {
      this.set({ node }, redis?.counts.active ?? 0);
    },
  }),
  makeGaugeProvider({
    name: REDIS_POOL_IDLE_CONNECTIONS,
    help: 'Connections to Redis: idle',
    labelNames: ['node'],
    inject,
    collect(this: Gauge, { node_id: node }: Config, redis?: RedisConnection) {
      this.set({ node }, redis?.counts.idle ?? 0);
    },
  }),
  makeCounterProvider({
    name: REDIS_CALLS_TOTAL,
    help: 'Calls to Redis',
    labelNames: ['node', 'status'],
    inject,
    collect(this: Counter, { node_id: node }: Config, redis?: RedisConnection) {
      const { calls, failures } = redis?.counts ?? { calls: 0, failures: 0 };
      this.reset();
      this.inc({ node, status: 'success' }, calls - failures);
      this.inc({ node, status: 'error' }, failures);
    },
  }),
];
