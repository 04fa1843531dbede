import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { MS_PER_SECOND } from '../../common/clock.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { Compaction } from './compaction.js';

const TABLE_UNCOMPACTED_SECONDS = 'miniodb_table_uncompacted_seconds';

export const COMPACTION_METRICS = [
  makeGaugeProvider({
    name: TABLE_UNCOMPACTED_SECONDS,
    help: 'Age of the oldest data file waiting to be merged or purged; 0 if there is none',
    labelNames: ['table'],
    inject: [TableRegistry, Compaction],
    collect(this: Gauge, registry: TableRegistry, compaction: Compaction) {
      this.reset();
      for (const table of registry.all()) this.set({ table: table.name }, compaction.waitingMs(table) / MS_PER_SECOND);
    },
  }),
];
