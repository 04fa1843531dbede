/**
 * The start of this node's data: the log was opened with the tables; here it is checked against what the store knows of it, read back into the
 * buffers, and the directory of bulk files is cleaned. Only then requests come.
 */
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { StorageConfig } from '../config/config.js';
import { BulkFiles } from './bulk/bulk-files.js';
import { LostLog } from './wal/lost-log.js';
import { Fence, Replay } from './write/replay.js';

@Injectable()
export class OpenData {
  constructor(
    private readonly storage: StorageConfig,
    private readonly lostLog: LostLog,
    private readonly fence: Fence,
    private readonly replay: Replay,
    private readonly bulkFiles: BulkFiles,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async run(): Promise<void> {
    await this.lostLog.look();
    if (this.storage.kind !== 'local') await this.fence.run();
    const replayed = await this.replay.run();
    if (replayed > 0) this.logger.info({ writes: replayed }, 'writes replayed from the write-ahead log');
    await this.bulkFiles.open();
  }
}
