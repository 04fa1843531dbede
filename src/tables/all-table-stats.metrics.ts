/** Metrics of what each table holds. */
import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { Config } from '../config/config.js';
import { AllTableStats } from './all-table-stats.js';

const TABLE_RECORD_COUNT = 'miniodb_table_record_count';
const TABLE_FILE_COUNT = 'miniodb_table_file_count';
const TABLE_SIZE_BYTES = 'miniodb_table_size_bytes';
const STORAGE_OBJECTS_TOTAL = 'miniodb_storage_objects_total';

export const TABLE_STATS_METRICS = [
  makeGaugeProvider({
    name: TABLE_RECORD_COUNT,
    help: 'Rows visible to queries',
    labelNames: ['table'],
    inject: [AllTableStats],
    async collect(this: Gauge, tables: AllTableStats) {
      const read = await tables.read();
      this.reset();
      for (const [table, stats] of read) this.set({ table: table.name }, stats.record_count);
    },
  }),
  makeGaugeProvider({
    name: TABLE_FILE_COUNT,
    help: 'Data files',
    labelNames: ['table'],
    inject: [AllTableStats],
    async collect(this: Gauge, tables: AllTableStats) {
      const read = await tables.read();
      this.reset();
      for (const [table, stats] of read) this.set({ table: table.name }, stats.file_count);
    },
  }),
  makeGaugeProvider({
    name: TABLE_SIZE_BYTES,
    help: 'Bytes of data files',
    labelNames: ['table'],
    inject: [AllTableStats],
    async collect(this: Gauge, tables: AllTableStats) {
      const read = await tables.read();
      this.reset();
      for (const [table, stats] of read) this.set({ table: table.name }, stats.size_bytes);
    },
  }),
  makeGaugeProvider({
    name: STORAGE_OBJECTS_TOTAL,
    help: 'Data files in the object store',
    labelNames: ['bucket', 'table'],
    inject: [AllTableStats, Config],
    async collect(this: Gauge, tables: AllTableStats, { storage, minio }: Config) {
      const bucket = storage.kind === 'local' ? 'local' : minio.bucket;
      const read = await tables.read();
      this.reset();
      for (const [table, stats] of read) this.set({ bucket, table: table.name }, stats.file_count);
    },
  }),
];
