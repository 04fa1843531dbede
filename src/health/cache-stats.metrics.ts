/** Metrics of answers and of data files that are kept. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { CacheStats } from './cache-stats.js';

const CACHE_HITS_TOTAL = 'miniodb_cache_hits_total';
const CACHE_MISSES_TOTAL = 'miniodb_cache_misses_total';
const CACHE_HIT_RATIO = 'miniodb_cache_hit_ratio';

export const CACHE_METRICS = [
  makeCounterProvider({
    name: CACHE_HITS_TOTAL,
    help: 'Cache hits: answers and files already present',
    labelNames: ['cache_type', 'table'],
    inject: [CacheStats],
    collect(this: Counter, caches: CacheStats) {
      this.reset();
      for (const { type, byTable } of caches.read()) for (const [table, { hits }] of byTable) this.inc({ cache_type: type, table }, hits);
    },
  }),
  makeCounterProvider({
    name: CACHE_MISSES_TOTAL,
    help: 'Cache misses: answers computed and files fetched',
    labelNames: ['cache_type', 'table'],
    inject: [CacheStats],
    collect(this: Counter, caches: CacheStats) {
      this.reset();
      for (const { type, byTable } of caches.read())
        for (const [table, { misses }] of byTable) this.inc({ cache_type: type, table }, misses);
    },
  }),
  makeGaugeProvider({
    name: CACHE_HIT_RATIO,
    help: 'Share of cache hits, 0 to 1',
    labelNames: ['cache_type'],
    inject: [CacheStats],
    collect(this: Gauge, caches: CacheStats) {
      for (const { type, hits, misses } of caches.read()) if (hits + misses > 0) this.set({ cache_type: type }, hits / (hits + misses));
    },
  }),
];
