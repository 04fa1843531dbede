/** Metrics of caches, memory and health. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { BufferManager } from '../data/buffer/buffer-manager.js';
import { StateReader } from './state-reader.js';

const CACHE_HITS_TOTAL = 'miniodb_cache_hits_total';
const CACHE_MISSES_TOTAL = 'miniodb_cache_misses_total';
const CACHE_HIT_RATIO = 'miniodb_cache_hit_ratio';
const SYSTEM_HEALTH_SCORE = 'miniodb_system_health_score';
const MEMORY_USAGE_BYTES = 'miniodb_memory_usage_bytes';

export const STATE_METRICS = [
  makeCounterProvider({
    name: CACHE_HITS_TOTAL,
    help: 'Cache hits: answers and files already present',
    labelNames: ['cache_type', 'table'],
    inject: [StateReader],
    collect(this: Counter, state: StateReader) {
      this.reset();
      for (const { type, byTable } of state.cacheStats())
        for (const [table, { hits }] of byTable) this.inc({ cache_type: type, table }, hits);
    },
  }),
  makeCounterProvider({
    name: CACHE_MISSES_TOTAL,
    help: 'Cache misses: answers computed and files fetched',
    labelNames: ['cache_type', 'table'],
    inject: [StateReader],
    collect(this: Counter, state: StateReader) {
      this.reset();
      for (const { type, byTable } of state.cacheStats())
        for (const [table, { misses }] of byTable) this.inc({ cache_type: type, table }, misses);
    },
  }),
  makeGaugeProvider({
    name: CACHE_HIT_RATIO,
    help: 'Share of cache hits, 0 to 1',
    labelNames: ['cache_type'],
    inject: [StateReader],
    collect(this: Gauge, state: StateReader) {
      for (const { type, hits, misses } of state.cacheStats())
        if (hits + misses > 0) this.set({ cache_type: type }, hits / (hits + misses));
    },
  }),
  makeGaugeProvider({
    name: SYSTEM_HEALTH_SCORE,
    help: 'Health, 0 to 100; see docs/operations.md',
    inject: [StateReader],
    async collect(this: Gauge, state: StateReader) {
      this.set(await state.healthScore());
    },
  }),
  makeGaugeProvider({
    name: MEMORY_USAGE_BYTES,
    help: 'Memory',
    labelNames: ['component'],
    inject: [StateReader, BufferManager],
    async collect(this: Gauge, state: StateReader, buffers: BufferManager) {
      const used = await state.memory();
      this.set({ component: 'process' }, used['rss_bytes'] ?? 0);
      this.set({ component: 'query_engine' }, used['engine_bytes'] ?? 0);
      this.set({ component: 'small_files' }, used['small_files_bytes'] ?? 0);
      this.set({ component: 'buffer' }, buffers.bytes);
    },
  }),
];
