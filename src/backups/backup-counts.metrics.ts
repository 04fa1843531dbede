/** Metrics of backups and of the ways back. */
import { makeCounterProvider, makeGaugeProvider } from '@willsoto/nestjs-prometheus';
import type { Counter, Gauge } from 'prom-client';
import { BackupCounts } from './backup-counts.js';

const BACKUP_OPERATIONS_TOTAL = 'miniodb_backup_operations_total';
const RESTORE_OPERATIONS_TOTAL = 'miniodb_restore_operations_total';
const BACKUP_SIZE_BYTES = 'miniodb_backup_size_bytes';
const BACKUP_DURATION_SECONDS = 'miniodb_backup_duration_seconds';

export const BACKUP_METRICS = [
  makeCounterProvider({
    name: BACKUP_OPERATIONS_TOTAL,
    help: 'Backups of metadata and data',
    labelNames: ['status'],
    inject: [BackupCounts],
    collect(this: Counter, { backups }: BackupCounts) {
      this.reset();
      for (const [status, count] of Object.entries(backups)) this.inc({ status }, count);
    },
  }),
  makeCounterProvider({
    name: RESTORE_OPERATIONS_TOTAL,
    help: 'Restores of metadata and recoveries of data',
    labelNames: ['status'],
    inject: [BackupCounts],
    collect(this: Counter, { restores }: BackupCounts) {
      this.reset();
      for (const [status, count] of Object.entries(restores)) this.inc({ status }, count);
    },
  }),
  makeGaugeProvider({
    name: BACKUP_SIZE_BYTES,
    help: 'Bytes copied by a backup of this server; the newest 20 only',
    labelNames: ['backup_id'],
    inject: [BackupCounts],
    collect(this: Gauge, { sizes }: BackupCounts) {
      this.reset();
      for (const [id, bytes] of sizes) this.set({ backup_id: id }, bytes);
    },
  }),
  makeGaugeProvider({
    name: BACKUP_DURATION_SECONDS,
    help: 'Duration of the newest backup of each type',
    labelNames: ['type'],
    inject: [BackupCounts],
    collect(this: Gauge, { durations }: BackupCounts) {
      for (const [type, seconds] of durations) this.set({ type }, seconds);
    },
  }),
];
