/** Metrics of what StreamQuery sends. */
import { makeCounterProvider } from '@willsoto/nestjs-prometheus';
import type { Counter } from 'prom-client';
import { isNameOfTable, TableRegistry } from '../tables/table-registry.js';
import { QueryStreamCounts } from './stream-counts.js';

const STREAM_QUERY_BATCHES_TOTAL = 'miniodb_stream_query_batches_total';
const STREAM_QUERY_RECORDS_TOTAL = 'miniodb_stream_query_records_total';

export const STREAM_QUERY_METRICS = [
  makeCounterProvider({
    name: STREAM_QUERY_BATCHES_TOTAL,
    help: 'Batches of StreamQuery',
    labelNames: ['table', 'status'],
    inject: [QueryStreamCounts, TableRegistry],
    collect(this: Counter, { byTable }: QueryStreamCounts, registry: TableRegistry) {
      this.reset();
      for (const [table, { batches }] of byTable) if (isNameOfTable(registry, table)) this.inc({ table, status: 'success' }, batches);
    },
  }),
  makeCounterProvider({
    name: STREAM_QUERY_RECORDS_TOTAL,
    help: 'Records of StreamQuery',
    labelNames: ['table'],
    inject: [QueryStreamCounts, TableRegistry],
    collect(this: Counter, { byTable }: QueryStreamCounts, registry: TableRegistry) {
      this.reset();
      for (const [table, { records }] of byTable) if (isNameOfTable(registry, table)) this.inc({ table }, records);
    },
  }),
];
