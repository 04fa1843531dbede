/** Several nodes on one bucket: who is there, what others committed, and what people read in Redis. With one node it knows that node. */
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import { messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER, REDIS } from '../common/tokens.js';
import { DataModule } from '../data/data.module.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { Follower } from './follower.js';
import { Heartbeat } from './heartbeat.js';
import { NodeDirectory } from './node-directory.js';
import { FlushesForOthers } from './flush-for-others.js';
import { NodeRequests } from './node-requests.js';
import { TableKeys } from './table-keys.js';

@Module({
  imports: [DataModule],
  providers: [Heartbeat, NodeDirectory, FlushesForOthers, NodeRequests, Follower, TableKeys],
  exports: [DataModule, NodeDirectory],
})
export class ClusterModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly heartbeat: Heartbeat,
    private readonly follower: Follower,
    private readonly tableKeys: TableKeys,
    @Inject(LOGGER) private readonly logger: Logger,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  onApplicationBootstrap(): void {
    if (!this.redis) return;
    this.tableKeys.start();
    this.follower.start();
    void this.#warnOfWeaknesses(this.redis);
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
    await this.tableKeys.stop();
    await this.heartbeat.stop();
  }
}
