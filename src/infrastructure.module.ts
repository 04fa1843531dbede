/** What everything above stands on: configuration, clock, log, engine, object store, leases. */
import { type DynamicModule, Global, Inject, Module, type OnApplicationShutdown, Optional } from '@nestjs/common';
import { type Clock, systemClock } from './common/clock.js';
import { Config } from './config/config.js';
import type { Logger } from './common/logger.js';
import { LocalCommitNotifier } from './coordination/commit-notifier.js';
import type { LeaseStore } from './coordination/lease.js';
import { LocalLeaseStore } from './coordination/local-lease-store.js';
import { RedisCommitNotifier } from './coordination/redis-commit-notifier.js';
import { RedisLeaseStore } from './coordination/redis-lease-store.js';
import { Engine } from './engine/duckdb/engine.js';
import { spillRoom } from './engine/duckdb/spill-room.js';
import { StoragePool } from './storage/storage-pool.js';
import { STORAGE_METRICS } from './storage/storage-pool.metrics.js';
import { RedisConnection } from './coordination/redis-connection.js';
import { REDIS_METRICS } from './coordination/redis-connection.metrics.js';
import { ArrowConverter } from './engine/arrow/arrow-converter.js';
import { ScratchFiles } from './storage/scratch-files.js';
import { CLOCK, COMMIT_NOTIFIER, DATA_PATHS, LEASE_STORE, LOGGER, OBJECT_STORE, REDIS } from './common/tokens.js';
import { dataPaths } from './config/data-paths.js';
import { DropNotices } from './coordination/drop-notices.js';

/** Each section of the configuration under its own class, so that a part asks for the one it needs. */
function sectionsOf(config: Config): { provide: new () => object; useValue: object }[] {
  const sections = Object.values<unknown>({ ...config }).filter((value): value is object => typeof value === 'object' && value !== null);
  return sections
    .filter((section) => section.constructor !== Object && section.constructor !== Array)
    .map((section) => ({ provide: section.constructor as new () => object, useValue: section }));
}

@Global()
@Module({})
export class InfraModule implements OnApplicationShutdown {
  constructor(
    private readonly engine: Engine,
    private readonly pool: StoragePool,
    private readonly arrow: ArrowConverter,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  static forRoot(config: Config, logger: Logger, clock: Clock = systemClock): DynamicModule {
    const paths = dataPaths(config.data_dir);
    const sections = sectionsOf(config);
    const { memory_bytes_max: memoryBytesMax, spill_bytes_max: spillBytesMax, threads } = config.query;
    return {
      module: InfraModule,
      providers: [
        { provide: Config, useValue: config },
        ...sections,
        { provide: LOGGER, useValue: logger },
        { provide: CLOCK, useValue: clock },
        { provide: DATA_PATHS, useValue: paths },
        { provide: ScratchFiles, useFactory: () => ScratchFiles.open(paths.scratch) },
        ArrowConverter,
        {
          provide: Engine,
          useFactory: async () =>
            Engine.open({
              directories: [paths.objects, paths.cache, paths.bulk, paths.scratch],
              spillDirectory: paths.spill,
              memoryBytesMax,
              spillBytesMax: spillBytesMax || (await spillRoom(paths.spill, config.wal.bytes_max)),
              threads,
            }),
        },
        {
          provide: StoragePool,
          inject: [LEASE_STORE],
          useFactory: (leases: LeaseStore) => StoragePool.open(config, paths, leases, logger),
        },
        { provide: OBJECT_STORE, inject: [StoragePool], useFactory: (pool: StoragePool) => pool.store },
        {
          provide: REDIS,
          useFactory: () => (config.redis.mode === 'none' ? undefined : new RedisConnection(config.redis, logger)),
        },
        {
          provide: LEASE_STORE,
          inject: [{ token: REDIS, optional: true }],
          useFactory: (redis?: RedisConnection) => (redis ? new RedisLeaseStore(redis) : new LocalLeaseStore(clock)),
        },
        {
          provide: DropNotices,
          inject: [{ token: REDIS, optional: true }],
          useFactory: (redis?: RedisConnection) => redis && new DropNotices(redis),
        },
        {
          provide: COMMIT_NOTIFIER,
          inject: [{ token: REDIS, optional: true }],
          useFactory: (redis?: RedisConnection) => (redis ? new RedisCommitNotifier(redis) : new LocalCommitNotifier()),
        },
        ...STORAGE_METRICS,
        ...REDIS_METRICS,
      ],
      exports: [
        Config,
        ...sections.map(({ provide }) => provide),
        DropNotices,
        LOGGER,
        CLOCK,
        DATA_PATHS,
        ScratchFiles,
        ArrowConverter,
        Engine,
        StoragePool,
        OBJECT_STORE,
        REDIS,
        LEASE_STORE,
        COMMIT_NOTIFIER,
      ],
    };
  }

  onApplicationShutdown(): void {
    this.arrow.close();
    this.engine.close();
    this.pool.close();
    this.redis?.close();
  }
}
