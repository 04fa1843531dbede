/** Rows that are not in data files yet, and the write-ahead log: `buffer_stats` of `/v1/status`. */
import { Injectable } from '@nestjs/common';
import { Config } from '../config/config.js';
import { BufferManager } from '../data/buffer/buffer-manager.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { TableRegistry } from '../tables/table-registry.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';

@Injectable()
export class BufferStats {
  constructor(
    private readonly config: Config,
    private readonly registry: TableRegistry,
    private readonly buffers: BufferManager,
    private readonly groupCommit: GroupCommit,
    private readonly visible: VisibleLsn,
    private readonly wal: WriteAheadLog,
  ) {}

  read(): Record<string, number> {
    const { registry, buffers, groupCommit, visible, wal, config } = this;
    const generations = registry.all().flatMap((table) => table.generations);
    return {
      tables: registry.all().length,
      buffered_rows: generations.reduce((sum, generation) => sum + generation.totalRows, 0),
      buffered_bytes: buffers.bytes,
      buffer_bytes_max: config.buffer.bytes_max,
      queued_bytes: groupCommit.queuedBytes,
      wal_bytes: wal.bytes,
      wal_bytes_max: config.wal.bytes_max,
      wal_segments: wal.segmentCount,
      visible_lsn: visible.value,
    };
  }

  /** Share of the room for the write-ahead log that is in use; at 1 writes are refused. */
  get walShare(): number {
    return this.wal.bytes / this.config.wal.bytes_max;
  }
}
