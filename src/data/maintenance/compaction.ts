/** Merges and purges data files: plan → merge, group by group (`merge.ts`). Reading and writing go on meanwhile; see `rewrite.ts` for how deletes follow. */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, LEASE_STORE, LOGGER } from '../../common/tokens.js';
import type { Clock } from '../../common/clock.js';
import { MaintenanceConfig } from '../../config/config.js';
import type { Logger } from '../../common/logger.js';
import { traced } from '../../common/tracing.js';
import type { LeaseStore } from '../../coordination/lease.js';
import { type DataFile, oldestMs } from '../../delta/snapshot.js';
import type { Table } from '../../tables/table.js';
import { type CompactionRules, planCompaction } from './compaction-plan.js';
import { Merge } from './merge.js';

const LEASE_MS = 600_000;
/** Merges in one run, so that one table does not keep the others waiting. */
const GROUPS_IN_ONE_RUN_MAX = 32;

export interface CompactionResult {
  readonly files_before: number;
  readonly files_after: number;
  readonly rows_purged: number;
}

@Injectable()
export class Compaction {
  constructor(
    private readonly config: MaintenanceConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly merge: Merge,
  ) {}

  /** @param isForced merges whatever can be merged, instead of what is worth it by itself */
  async run(table: Table, isForced: boolean): Promise<CompactionResult> {
    const lease = await this.leases.acquire(`compaction:${table.id}`, LEASE_MS);
    const before = table.snapshot.files.size;
    const rowsBefore = physicalRows(table);
    if (!lease) return { files_before: before, files_after: before, rows_purged: 0 };
    try {
      const groups = this.#plan(table, isForced).slice(0, GROUPS_IN_ONE_RUN_MAX);
      for (const group of groups)
        if (!table.isDropped && lease.isHeld())
          await traced('merge', { 'miniodb.table': table.name, 'miniodb.files': group.length }, () => this.merge.run(table, group, lease));
      const result = {
        files_before: before,
        files_after: table.snapshot.files.size,
        rows_purged: Math.max(0, rowsBefore - physicalRows(table)),
      };
      if (groups.length > 0) this.logger.info(result, `${table.logLabel} compacted`);
      return result;
    } finally {
      await lease.release();
    }
  }

  #plan(table: Table, isForced: boolean): DataFile[][] {
    const { config } = this;
    const rules: CompactionRules = {
      targetFileBytes: config.target_file_bytes,
      filesMin: config.compaction_files_min,
      deletedShareMax: config.deleted_share_max,
      layout: table.config.layout,
      isForced,
    };
    return planCompaction(table.snapshot.files.values(), rules);
  }

  /** How long the oldest file has waited that is worth merging or purging; 0 without one. */
  waitingMs(table: Table): number {
    const files = this.#plan(table, false).flat();
    return files.length === 0 ? 0 : Math.max(0, this.clock.nowMs() - oldestMs(files));
  }
}

function physicalRows(table: Table): number {
  return [...table.snapshot.files.values()].reduce((sum, file) => sum + file.rows, 0);
}
