/** Metrics of the bucket of the tables: connections to it, and what it is asked. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { Config } from '../config/config.js';
import { bucketConnections } from './pool-connections.js';
import { StoragePool } from './storage-pool.js';

const MINIO_POOL_ACTIVE_CONNECTIONS = 'miniodb_minio_pool_active_connections';
const MINIO_POOL_IDLE_CONNECTIONS = 'miniodb_minio_pool_idle_connections';
const OBJECT_STORE_REQUESTS_TOTAL = 'miniodb_object_store_requests_total';
const OBJECT_STORE_FAILED_REQUESTS_TOTAL = 'miniodb_object_store_failed_requests_total';

export const STORAGE_METRICS = [
  makeGaugeProvider({
    name: MINIO_POOL_ACTIVE_CONNECTIONS,
    help: 'Connections to the object store: in use',
    labelNames: ['node'],
    inject: [StoragePool, Config],
    collect(this: Gauge, pool: StoragePool, config: Config) {
      this.set({ node: config.node_id }, bucketConnections(pool, config).active);
    },
  }),
  makeGaugeProvider({
    name: MINIO_POOL_IDLE_CONNECTIONS,
    help: 'Connections to the object store: idle',
    labelNames: ['node'],
    inject: [StoragePool, Config],
    collect(this: Gauge, pool: StoragePool, config: Config) {
      this.set({ node: config.node_id }, bucketConnections(pool, config).idle);
    },
  }),
  makeCounterProvider({
    name: OBJECT_STORE_REQUESTS_TOTAL,
    help: 'Requests to the bucket of the tables',
    labelNames: ['node', 'kind'],
    inject: [StoragePool, Config],
    collect(this: Counter, { primary }: StoragePool, { node_id: node }: Config) {
      this.reset();
      for (const [kind, count] of Object.entries(primary?.requests.counts.requests ?? {}))
        this.inc({ node, kind: kind.toLowerCase() }, count);
    },
  }),
  makeCounterProvider({
    name: OBJECT_STORE_FAILED_REQUESTS_TOTAL,
    help: 'Requests that the bucket left unanswered or answered with 5xx',
    labelNames: ['node'],
    inject: [StoragePool, Config],
    collect(this: Counter, { primary }: StoragePool, { node_id: node }: Config) {
      this.reset();
      this.inc({ node }, primary?.requests.counts.failed ?? 0);
    },
  }),
];
