import { makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Gauge } from 'prom-client';
import { Config } from '../../config/config.js';
import { WriteAheadLog } from './write-ahead-log.js';

const WAL_SIZE_BYTES = 'miniodb_wal_size_bytes';
const WAL_LIMIT_BYTES = 'miniodb_wal_limit_bytes';

export const WAL_METRICS = [
  makeGaugeProvider({
    name: WAL_SIZE_BYTES,
    help: 'Bytes of the write-ahead log',
    labelNames: ['node'],
    inject: [WriteAheadLog, Config],
    collect(this: Gauge, wal: WriteAheadLog, { node_id: node }: Config) {
      this.set({ node }, wal.bytes);
    },
  }),
  makeGaugeProvider({
    name: WAL_LIMIT_BYTES,
    help: 'Size of the write-ahead log above which writes are refused, in bytes',
    labelNames: ['node'],
    inject: [Config],
    collect(this: Gauge, { node_id: node, wal }: Config) {
      this.set({ node }, wal.bytes_max);
    },
  }),
];
