/** Backups of data, the copy in a second bucket, and the way back. */
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { DataModule } from '../data/data.module.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER } from '../common/tokens.js';
import { StoragePool } from '../storage/storage-pool.js';
import { TableEvents } from '../tables/table-events.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from './backup-counts.js';
import { BACKUP_METRICS } from './backup-counts.metrics.js';
import { BackupsController } from './backups.controller.js';
import { CopyTable } from './copy-table.js';
import { DataBackups } from './data-backups.js';
import { MakeBackup } from './make-backup.js';
import { ReadableManifests } from './readable-manifests.js';
import { BackupRecovery } from './recover-from-backup.js';
import { RowRecovery } from './recover-rows.js';
import { WholeTableRecovery } from './recover-whole-table.js';
import { Recovery } from './recovery.js';
import { Copies } from './replication/copies.js';
import { Replicator } from './replication/replicator.js';
import { REPLICATION_METRICS } from './replication/replicator.metrics.js';

@Module({
  imports: [DataModule],
  controllers: [BackupsController],
  providers: [
    BackupCounts,
    CopyTable,
    ReadableManifests,
    MakeBackup,
    DataBackups,
    Copies,
    {
      provide: Replicator,
      inject: [Config, CLOCK, LOGGER, COMMIT_NOTIFIER, TableRegistry, StoragePool, Copies, TableEvents],
      useFactory: (
        { backup }: Config,
        clock: Clock,
        logger: Logger,
        notifier: CommitNotifier,
        registry: TableRegistry,
        pool: StoragePool,
        copies: Copies,
        events: TableEvents,
      ) => (pool.backup && backup.replication ? new Replicator(clock, logger, notifier, registry, pool, copies, events) : undefined),
    },
    RowRecovery,
    WholeTableRecovery,
    BackupRecovery,
    Recovery,
    ...BACKUP_METRICS,
    ...REPLICATION_METRICS,
  ],
  exports: [DataModule, BackupCounts, Replicator],
})
export class BackupsModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(@Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined) {}

  onApplicationBootstrap(): void {
    this.replicator?.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.replicator?.stop();
  }
}
