/** How far the copy in the backup bucket is behind: `replication_stats` of `/v1/status`. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { Replicator } from '../backups/replication/replicator.js';
import { StoragePool } from '../storage/storage-pool.js';

@Injectable()
export class ReplicationStats {
  constructor(
    @Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined,
    private readonly pool: StoragePool,
  ) {}

  read(): Record<string, number> {
    const { replicator } = this;
    if (!replicator) return { enabled: 0 };
    const { lagSeconds, tablesBehind, copiedBytes, failures } = replicator.state;
    return {
      enabled: 1,
      lag_seconds: lagSeconds,
      tables_behind: tablesBehind,
      copied_bytes: copiedBytes,
      failures,
      fallback_reads: this.pool.fallbacks,
    };
  }
}
