import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { HealthScore } from './health-score.js';

const SYSTEM_HEALTH_SCORE = 'miniodb_system_health_score';

export const HEALTH_SCORE_METRICS = [
  makeGaugeProvider({
    name: SYSTEM_HEALTH_SCORE,
    help: 'Health, 0 to 100; see docs/operations.md',
    inject: [HealthScore],
    async collect(this: Gauge, score: HealthScore) {
      this.set(await score.read());
    },
  }),
];
