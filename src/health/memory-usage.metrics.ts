import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { BufferManager } from '../data/buffer/buffer-manager.js';
import { MemoryUsage } from './memory-usage.js';

const MEMORY_USAGE_BYTES = 'miniodb_memory_usage_bytes';

export const MEMORY_METRICS = [
  makeGaugeProvider({
    name: MEMORY_USAGE_BYTES,
    help: 'Memory',
    labelNames: ['component'],
    inject: [MemoryUsage, BufferManager],
    async collect(this: Gauge, memory: MemoryUsage, buffers: BufferManager) {
      const used = await memory.read();
      this.set({ component: 'process' }, used.rss_bytes);
      this.set({ component: 'query_engine' }, used.engine_bytes);
      this.set({ component: 'small_files' }, used.small_files_bytes);
      this.set({ component: 'buffer' }, buffers.bytes);
    },
  }),
];
