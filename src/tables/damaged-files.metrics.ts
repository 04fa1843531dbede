/** Metrics of what cannot be read: data files, and whole tables. */
import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { DamagedFiles } from './damaged-files.js';
import { TableRegistry } from './table-registry.js';

const TABLE_DAMAGED_FILES = 'miniodb_table_damaged_files';
const TABLES_OUT_OF_SERVICE = 'miniodb_tables_out_of_service';

export const DAMAGE_METRICS = [
  makeGaugeProvider({
    name: TABLE_DAMAGED_FILES,
    help: 'Data files that were found damaged or missing',
    labelNames: ['table'],
    inject: [TableRegistry, DamagedFiles],
    async collect(this: Gauge, registry: TableRegistry, damagedFiles: DamagedFiles) {
      const damaged = await damagedFiles.byTable();
      this.reset();
      for (const { name } of registry.all()) this.set({ table: name }, damaged.get(name)?.length ?? 0);
    },
  }),
  makeGaugeProvider({
    name: TABLES_OUT_OF_SERVICE,
    help: 'Tables that exist and cannot be served',
    inject: [TableRegistry],
    collect(this: Gauge, registry: TableRegistry) {
      this.set(registry.outOfService().length);
    },
  }),
];
