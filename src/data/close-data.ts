/** The end of this node's data: nothing more is taken, what waits is written, and everything is flushed, so that the next start is quick. */
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { TableRegistry } from '../tables/table-registry.js';
import { FlushPath } from './flush-path.js';
import { Scheduler } from './maintenance/scheduler.js';
import { WriteAheadLog } from './wal/write-ahead-log.js';
import { GroupCommit } from './write/group-commit.js';

@Injectable()
export class CloseData {
  constructor(
    private readonly scheduler: Scheduler,
    private readonly groupCommit: GroupCommit,
    private readonly registry: TableRegistry,
    private readonly flushPath: FlushPath,
    private readonly wal: WriteAheadLog,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async run(): Promise<void> {
    await this.scheduler.stop();
    await this.groupCommit.stop();
    for (const table of this.registry.all()) {
      try {
        await this.flushPath.flush(table);
      } catch (error) {
        this.logger.warn({ err: error }, `${table.logLabel} not flushed; its rows stay in the write-ahead log`);
      }
    }
    await this.wal.close();
    this.logger.info('all tables flushed, write-ahead log closed');
  }
}
