/** Metrics of the rows that wait in buffers. */
import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { MS_PER_SECOND } from '../../common/clock.js';
import { Config } from '../../config/config.js';
import { AllTableStats } from '../../tables/all-table-stats.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { BufferManager } from './buffer-manager.js';

const BUFFER_SIZE_BYTES = 'miniodb_buffer_size_bytes';
const TABLE_BUFFER_UTILIZATION = 'miniodb_table_buffer_utilization';
const TABLE_UNFLUSHED_SECONDS = 'miniodb_table_unflushed_seconds';

export const BUFFER_METRICS = [
  makeGaugeProvider({
    name: BUFFER_SIZE_BYTES,
    help: 'Bytes of buffered rows',
    labelNames: ['node', 'table'],
    inject: [TableRegistry, Config],
    collect(this: Gauge, registry: TableRegistry, { node_id: node }: Config) {
      this.reset();
      for (const table of registry.all()) this.set({ node, table: table.name }, table.bufferedBytes);
    },
  }),
  makeGaugeProvider({
    name: TABLE_BUFFER_UTILIZATION,
    help: 'Buffered rows as a share of buffer_size',
    labelNames: ['table'],
    inject: [AllTableStats],
    async collect(this: Gauge, tables: AllTableStats) {
      const read = await tables.read();
      this.reset();
      for (const [table, stats] of read) this.set({ table: table.name }, stats.buffered_records / table.config.buffer_size);
    },
  }),
  makeGaugeProvider({
    name: TABLE_UNFLUSHED_SECONDS,
    help: 'Age of the oldest row that is not in a data file yet; 0 if there is none',
    labelNames: ['table'],
    inject: [TableRegistry, BufferManager],
    collect(this: Gauge, registry: TableRegistry, buffers: BufferManager) {
      this.reset();
      for (const table of registry.all()) this.set({ table: table.name }, buffers.unflushedMs(table) / MS_PER_SECOND);
    },
  }),
];
