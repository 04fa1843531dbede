/** Metrics of what is written to each table. */
import type { Provider } from '@nestjs/common';
import { makeCounterProvider } from '@willsoto/nestjs-prometheus';
import type { Counter } from 'prom-client';
import { type Operation, OperationCounts } from './operation-counts.js';

const STREAM_WRITE_RECORDS_TOTAL = 'miniodb_stream_write_records_total';

function operationsTotal(operation: Operation): Provider {
  return makeCounterProvider({
    name: `miniodb_${operation}_operations_total`,
    help: `Requests that ${operation} rows`,
    labelNames: ['table', 'status'],
    inject: [OperationCounts],
    collect(this: Counter, counts: OperationCounts) {
      this.reset();
      for (const { table, outcome, count } of counts.of(operation)) this.inc({ table, status: outcome }, count);
    },
  });
}

export const OPERATION_METRICS = [
  operationsTotal('write'),
  operationsTotal('update'),
  operationsTotal('delete'),
  makeCounterProvider({
    name: STREAM_WRITE_RECORDS_TOTAL,
    help: 'Records of StreamWrite',
    labelNames: ['table', 'status'],
    inject: [OperationCounts],
    collect(this: Counter, counts: OperationCounts) {
      this.reset();
      for (const [table, { stored, refused }] of counts.streamedRecords()) {
        this.inc({ table, status: 'success' }, stored);
        this.inc({ table, status: 'error' }, refused);
      }
    },
  }),
];
