/** Several nodes on one bucket: who is there, what others committed, and what people read in Redis. With one node it knows that node. */
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import { messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import { DataModule } from '../data/data.module.js';
import { FlushPath } from '../data/flush-path.js';
import { FollowPath } from '../data/follow-path.js';
import { DeclareColumns } from '../data/maintenance/declare-columns.js';
import { Widening } from '../data/maintenance/widening.js';
import { isOnlyLog, startedLogs } from '../data/wal/lsn-range.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { WritePath } from '../data/write-path.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import type { CommitNotifier } from '../infra/coordination/commit-notifier.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER, OBJECT_STORE, REDIS } from '../infra/infra.module.js';
import { StoragePool } from '../infra/object-store/storage-pool.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import type { Table } from '../tables/table.js';
import { TableRegistry } from '../tables/table-registry.js';
import { Follower } from './follower.js';
import { NodeDirectory } from './node-directory.js';
import { NodeRequests } from './node-requests.js';
import { TableKeys } from './table-keys.js';

const OPTIONAL_REDIS = { token: REDIS, optional: true };

@Module({
  imports: [DataModule],
  providers: [
    {
      provide: NodeDirectory,
      inject: [Config, CLOCK, LOGGER, WriteAheadLog, OBJECT_STORE, OPTIONAL_REDIS],
      useFactory: (
        { node_id: nodeId, redis: { heartbeat_seconds: heartbeatSeconds } }: Config,
        clock: Clock,
        logger: Logger,
        { id: walId }: WriteAheadLog,
        store: ObjectStore,
        redis?: RedisConnection,
      ) => new NodeDirectory({ redis, clock, logger, nodeId, heartbeatSeconds, walId, startedLogs: () => startedLogs(store) }),
    },
    {
      provide: NodeRequests,
      inject: [Config, LOGGER, NodeDirectory, TableRegistry, FlushPath, OPTIONAL_REDIS],
      useFactory: (
        { node_id: nodeId }: Config,
        logger: Logger,
        nodes: NodeDirectory,
        registry: TableRegistry,
        flushPath: FlushPath,
        redis?: RedisConnection,
      ) => redis && new NodeRequests({ redis, nodes, nodeId, logger, flush: (tableIds) => flushTables(registry, flushPath, tableIds) }),
    },
    {
      provide: Follower,
      inject: [Config, LOGGER, TableRegistry, COMMIT_NOTIFIER, FollowPath, FlushPath],
      useFactory: (
        { redis }: Config,
        logger: Logger,
        registry: TableRegistry,
        notifier: CommitNotifier,
        followPath: FollowPath,
        flushPath: FlushPath,
      ) => new Follower({ logger, registry, notifier, followPath, flushPath, pollSeconds: redis.poll_seconds }),
    },
    {
      provide: TableKeys,
      inject: [TableRegistry, COMMIT_NOTIFIER, StoragePool, LOGGER, OPTIONAL_REDIS],
      useFactory: (registry: TableRegistry, notifier: CommitNotifier, pool: StoragePool, logger: Logger, redis?: RedisConnection) =>
        redis && new TableKeys({ redis, registry, notifier, pool, logger }),
    },
  ],
  exports: [DataModule, NodeDirectory],
})
export class ClusterModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly nodes: NodeDirectory,
    private readonly follower: Follower,
    private readonly writePath: WritePath,
    private readonly followPath: FollowPath,
    private readonly flushPath: FlushPath,
    private readonly widening: Widening,
    @Optional() @Inject(TableKeys) private readonly tableKeys: TableKeys | undefined,
    @Inject(LOGGER) private readonly logger: Logger,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly wal: WriteAheadLog,
    private readonly registry: TableRegistry,
    @Optional() @Inject(NodeRequests) private readonly requests: NodeRequests | undefined,
  ) {
    // Before the first request: from here on columns are agreed upon before rows have them.
    if (!redis) return;
    this.registry.gatherRows = (tables) => this.#gatherRows(tables);
    this.nodes.onTwin = (error) => void this.writePath.fail(error.message, error);
    const declareColumns = new DeclareColumns(this.followPath, this.flushPath);
    this.writePath.declareColumns = (table, columns) => declareColumns.run(table, columns);
    this.widening.mayRetype = () => isOnlyLog(this.store, this.wal.id);
  }

  onApplicationBootstrap(): void {
    if (!this.redis) return;
    this.nodes.onHeartbeat = async () => this.tableKeys?.refresh();
    this.tableKeys?.start();
    this.follower.start();
    void this.#warnOfWeaknesses(this.redis);
  }

  async #gatherRows(tables: readonly Table[]): Promise<void> {
    for (const table of tables) await this.flushPath.flush(table);
    await this.requests?.flushElsewhere(tables.map(({ id }) => id));
    for (const table of tables) await table.commits.run(() => this.followPath.catchUp(table));
  }

  async #warnOfWeaknesses(redis: RedisConnection): Promise<void> {
    try {
      for (const line of await redis.run('settings of Redis', () => redis.weaknesses())) this.logger.warn(`Redis: ${line}`);
    } catch (error) {
      this.logger.warn({ err: error }, `the settings of Redis could not be checked: ${messageOf(error)}`);
    }
  }

  async onApplicationShutdown(): Promise<void> {
    await this.follower.stop();
    await this.tableKeys?.stop();
    await this.nodes.stop();
  }
}

/** What another node asks for. A table that only it knows has no rows here. */
async function flushTables(registry: TableRegistry, flushPath: FlushPath, tableIds: readonly string[]): Promise<void> {
  if (tableIds.some((id) => !registry.findById(id))) await registry.refresh();
  for (const id of tableIds) {
    const table = registry.findById(id);
    if (table && !table.isDropped) await flushPath.flush(table);
  }
}
