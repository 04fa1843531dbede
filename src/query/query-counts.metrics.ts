/** Metrics of the queries that read each table. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { isNameOfTable, TableRegistry } from '../tables/table-registry.js';
import { QueryStatistics } from './query-counts.js';

const QUERY_OPERATIONS_TOTAL = 'miniodb_query_operations_total';
const QUERY_SUCCESS_RATE = 'miniodb_query_success_rate';

export const QUERY_METRICS = [
  makeCounterProvider({
    name: QUERY_OPERATIONS_TOTAL,
    help: 'Queries',
    labelNames: ['table', 'status'],
    inject: [QueryStatistics, TableRegistry],
    collect(this: Counter, { byTable }: QueryStatistics, registry: TableRegistry) {
      this.reset();
      for (const [table, { succeeded, failed }] of byTable) {
        if (!isNameOfTable(registry, table)) continue;
        this.inc({ table, status: 'success' }, succeeded);
        this.inc({ table, status: 'error' }, failed);
      }
    },
  }),
  makeGaugeProvider({
    name: QUERY_SUCCESS_RATE,
    help: 'Share of queries that succeeded, 0 to 1',
    labelNames: ['table'],
    inject: [QueryStatistics, TableRegistry],
    collect(this: Gauge, { byTable }: QueryStatistics, registry: TableRegistry) {
      this.reset();
      for (const [table, { succeeded, failed }] of byTable)
        if (isNameOfTable(registry, table)) this.set({ table }, succeeded / (succeeded + failed));
    },
  }),
];
