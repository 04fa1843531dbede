/** Backups of metadata and of data, and the way back. */
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { DataModule } from '../data/data.module.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import type { LeaseStore } from '../coordination/lease.js';
import { CLOCK, COMMIT_NOTIFIER, LEASE_STORE, LOGGER, OBJECT_STORE } from '../common/tokens.js';
import type { ObjectStore } from '../storage/object-store.js';
import { StoragePool } from '../storage/storage-pool.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { TableEvents } from '../tables/table-events.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from './backup-counts.js';
import { BackupsController } from './backups.controller.js';
import { DataBackups } from './data-backups.js';
import { Recovery } from './recovery.js';
import { MetadataBackups } from '../metadata/metadata-backups.js';
import { MetadataRestore } from '../metadata/metadata-restore.js';
import { MetadataController } from '../metadata/metadata.controller.js';
import { Replicator } from './replication/replicator.js';

@Module({
  imports: [DataModule],
  controllers: [MetadataController, BackupsController],
  providers: [
    BackupCounts,
    MetadataBackups,
    MetadataRestore,
    DataBackups,
    {
      provide: Replicator,
      inject: [Config, CLOCK, LOGGER, COMMIT_NOTIFIER, LEASE_STORE, TableRegistry, OBJECT_STORE, StoragePool, ScratchFiles, TableEvents],
      useFactory: (
        { backup }: Config,
        clock: Clock,
        logger: Logger,
        notifier: CommitNotifier,
        leases: LeaseStore,
        registry: TableRegistry,
        store: ObjectStore,
        pool: StoragePool,
        scratch: ScratchFiles,
        events: TableEvents,
      ) =>
        pool.backup && backup.replication
          ? new Replicator(clock, logger, notifier, leases, registry, store, pool, scratch, events)
          : undefined,
    },
    Recovery,
  ],
  exports: [BackupCounts, Replicator],
})
export class BackupModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly metadataBackups: MetadataBackups,
    @Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined,
  ) {}

  onApplicationBootstrap(): void {
    this.metadataBackups.start();
    this.replicator?.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.metadataBackups.stop();
    await this.replicator?.stop();
  }
}
