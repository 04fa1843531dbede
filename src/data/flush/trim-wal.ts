/** Gives back segments of the log whose writes are in the files of their tables. */
import { Injectable } from '@nestjs/common';
import { TableRegistry } from '../../tables/table-registry.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { BufferManager } from '../buffer/buffer-manager.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { Replay } from '../write/replay.js';

@Injectable()
export class TrimWal {
  constructor(
    private readonly registry: TableRegistry,
    private readonly buffers: BufferManager,
    private readonly visible: VisibleLsn,
    private readonly wal: WriteAheadLog,
    private readonly replay: Replay,
  ) {}

  async run(): Promise<void> {
    let needed = Math.min(this.visible.value + 1, this.replay.firstHomelessLsn ?? Infinity);
    for (const table of this.registry.all()) needed = Math.min(needed, this.buffers.oldestUnflushed(table) ?? Infinity);
    await this.wal.trim(needed - 1);
  }
}
