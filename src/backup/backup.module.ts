/** Backups of metadata and of data, and the way back. */
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import { BulkPath } from '../data/bulk-path.js';
import { DataModule } from '../data/data.module.js';
import { WritePath } from '../data/write-path.js';
import type { CommitNotifier } from '../infra/coordination/commit-notifier.js';
import type { LeaseStore } from '../infra/coordination/lease.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, COMMIT_NOTIFIER, LEASE_STORE, LOGGER, OBJECT_STORE, REDIS } from '../infra/infra.module.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import { StoragePool } from '../infra/object-store/storage-pool.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import { ScratchFiles } from '../infra/scratch-files.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from './backup-counts.js';
import { BackupsController } from './backups.controller.js';
import { DataBackups } from './data/data-backups.js';
import { Recovery } from './data/recovery.js';
import { MetadataBackups } from './metadata/metadata-backups.js';
import { MetadataRestore } from './metadata/metadata-restore.js';
import { MetadataController } from './metadata.controller.js';
import { Replicator } from './replication/replicator.js';

@Module({
  imports: [DataModule],
  controllers: [MetadataController, BackupsController],
  providers: [
    { provide: BackupCounts, inject: [LOGGER], useFactory: (logger: Logger) => new BackupCounts(logger) },
    {
      provide: MetadataBackups,
      inject: [Config, CLOCK, LOGGER, TableRegistry, StoragePool, LEASE_STORE, BackupCounts, { token: REDIS, optional: true }],
      useFactory: (
        config: Config,
        clock: Clock,
        logger: Logger,
        registry: TableRegistry,
        pool: StoragePool,
        leases: LeaseStore,
        counts: BackupCounts,
        redis?: RedisConnection,
      ) => new MetadataBackups({ config, clock, logger, registry, pool, leases, counts, redis }),
    },
    {
      provide: MetadataRestore,
      inject: [Config, MetadataBackups, TableRegistry, OBJECT_STORE, LOGGER, BackupCounts],
      useFactory: (
        { backup }: Config,
        backups: MetadataBackups,
        registry: TableRegistry,
        store: ObjectStore,
        logger: Logger,
        counts: BackupCounts,
      ) => new MetadataRestore({ backups, registry, store, logger, counts, parallelMax: backup.parallel_max }),
    },
    {
      provide: DataBackups,
      inject: [Config, CLOCK, LOGGER, TableRegistry, OBJECT_STORE, StoragePool, LEASE_STORE, BackupCounts],
      useFactory: (
        config: Config,
        clock: Clock,
        logger: Logger,
        registry: TableRegistry,
        store: ObjectStore,
        pool: StoragePool,
        leases: LeaseStore,
        counts: BackupCounts,
      ) => new DataBackups({ config, clock, logger, registry, store, pool, leases, counts }),
    },
    {
      provide: Replicator,
      inject: [Config, CLOCK, LOGGER, COMMIT_NOTIFIER, LEASE_STORE, TableRegistry, OBJECT_STORE, StoragePool, ScratchFiles],
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
      ) => {
        if (!pool.backup || !backup.replication) return undefined;
        const replicator = new Replicator({ clock, logger, notifier, leases, registry, store, pool, scratch });
        registry.onDropped = (table) => replicator.forget(table);
        return replicator;
      },
    },
    {
      provide: Recovery,
      inject: [Engine, LOGGER, ScratchFiles, OBJECT_STORE, StoragePool, TableRegistry, WritePath, BulkPath, BackupCounts],
      useFactory: (
        engine: Engine,
        logger: Logger,
        scratch: ScratchFiles,
        store: ObjectStore,
        pool: StoragePool,
        registry: TableRegistry,
        writePath: WritePath,
        bulkPath: BulkPath,
        counts: BackupCounts,
      ) => new Recovery({ engine, logger, scratch, store, pool, registry, writePath, bulkPath, counts }),
    },
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
