import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { CpuUsage } from './cpu-usage.js';

const CPU_USAGE_PERCENT = 'miniodb_cpu_usage_percent';

export const CPU_METRICS = [
  makeGaugeProvider({
    name: CPU_USAGE_PERCENT,
    help: 'Percent of one processor; query_engine is the part of process used by all threads except the main one',
    labelNames: ['component'],
    inject: [CpuUsage],
    collect(this: Gauge, cpu: CpuUsage) {
      for (const [component, percent] of Object.entries(cpu.read())) this.set({ component }, percent);
    },
  }),
];
