import type { FactoryProvider } from '@nestjs/common';
import { Gauge } from 'prom-client';
import { metricToken } from '../../common/metric-token.js';
import { Config } from '../../config/config.js';
import { Replicator } from './replicator.js';

const REPLICATION_LAG_SECONDS = 'miniodb_replication_lag_seconds';

/** Made here and not by `makeGaugeProvider`, which has no way to leave a metric out: a server without a backup bucket does not have this one. */
const replicationLag: FactoryProvider<Gauge | undefined> = {
  provide: metricToken(REPLICATION_LAG_SECONDS),
  inject: [Config, { token: Replicator, optional: true }],
  useFactory: ({ node_id: node }: Config, replicator?: Replicator) =>
    replicator &&
    new Gauge({
      name: REPLICATION_LAG_SECONDS,
      help: 'Age of the oldest commit that the backup bucket does not have yet',
      labelNames: ['node'],
      collect() {
        this.set({ node }, replicator.state.lagSeconds);
      },
    }),
};

export const REPLICATION_METRICS = [replicationLag];
