/**
 * What keeps a table's directory in order: checkpoints, clean-up of the log, retention of old rows, removal of objects that nothing names.
 * Everything here may be interrupted at any point and done again.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, LEASE_STORE, LOGGER, OBJECT_STORE } from '../../common/tokens.js';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { MS_PER_DAY, MS_PER_HOUR } from '../../common/clock.js';
import { MaintenanceConfig } from '../../config/config.js';
import type { Logger } from '../../common/logger.js';
import type { Lease, LeaseStore } from '../../coordination/lease.js';
import type { ObjectStore } from '../../storage/object-store.js';
import { objectsOf, objectsOfFile } from '../../delta/objects-of.js';
import { textBoundsOf } from '../../delta/file-statistics.js';
import { type DataFile, removeOf } from '../../delta/snapshot.js';
import { vectorActions } from '../../delta/table-protocol.js';
import { TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { Table } from '../../tables/table.js';
import { FollowPath } from '../follow-path.js';

/** One that takes longer is left off; the next round goes on. */
const VACUUM_LEASE_MS = 600_000;

export interface VacuumResult {
  readonly objects_removed: number;
  readonly log_entries_removed: number;
}

@Injectable()
export class Housekeeping {
  readonly #checkpointed = new WeakMap<Table, number>();

  constructor(
    private readonly config: MaintenanceConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    private readonly followPath: FollowPath,
  ) {}

  /** Writes a checkpoint when enough commits came since the last one. */
  async checkpointIfDue(table: Table): Promise<void> {
    const { version } = table.snapshot;
    // Of a table that was opened now, nobody knows whether the checkpoint of this very version was written.
    const last = this.#checkpointed.get(table) ?? version - 1 - ((version - 1) % this.config.checkpoint_commits);
    if (table.isDropped || version === 0 || version - last < this.config.checkpoint_commits) {
      this.#checkpointed.set(table, last);
      return;
    }
    await table.commits.run(async () => {
      await table.log.checkpoint(table.snapshot, this.#timeTravelStartMs());
      this.#checkpointed.set(table, table.snapshot.version);
    });
    this.logger.info({ version }, `${table.logLabel} checkpoint written`);
  }

  #timeTravelStartMs(): number {
    return this.clock.nowMs() - this.config.time_travel_hours * MS_PER_HOUR;
  }

  /** Takes out files whose every row is older than the table keeps rows. @returns files taken out */
  async applyRetention(table: Table): Promise<number> {
    const days = table.config.retention_days;
    if (days === 0 || table.isDropped) return 0;
    const cutoffMs = this.clock.nowMs() - days * MS_PER_DAY;
    const isExpired = (file: DataFile): boolean => {
      const bounds = textBoundsOf(file.stats, TIMESTAMP_COLUMN);
      return bounds !== undefined && Date.parse(bounds.max) < cutoffMs;
    };
    if (![...table.snapshot.files.values()].some(isExpired)) return 0;
    return table.commits.run(async () => {
      const expired = [...table.snapshot.files.values()].filter(isExpired);
      const nowMs = this.clock.nowMs();
      const { followPath } = this;
      const snapshot = await table.log.commit(
        table.snapshot,
        { name: 'DELETE', parameters: { reason: 'retention', files: String(expired.length) } },
        async (current) => {
          if (current.version !== table.snapshot.version) await followPath.follow(table, current);
          const removes = expired
            .filter((file) => current.files.has(file.path))
            .map((file) => removeOf(current.files.get(file.path) ?? file, nowMs, true));
          return [...(await vectorActions(current, removes, table.emptyFile, nowMs)), ...removes];
        },
      );
      await followPath.follow(table, snapshot);
      this.logger.info({ files: expired.length, retention_days: days }, `${table.logLabel} expired rows removed`);
      return expired.length;
    });
  }

  /**
   * Removes data files and deletion vectors that no version within time travel names, and the log entries before that time. Objects younger than
   * the orphan age stay in any case: a flush or compaction may be about to commit them.
   */
  async vacuum(table: Table): Promise<VacuumResult> {
    const lease = await this.leases.acquire(`vacuum:${table.id}`, VACUUM_LEASE_MS);
    // Another node does it.
    if (!lease) return { objects_removed: 0, log_entries_removed: 0 };
    try {
      return await this.#vacuumAlone(table, lease);
    } finally {
      await lease.release();
    }
  }

  #vacuumAlone(table: Table, lease: Lease): Promise<VacuumResult> {
    return table.commits.run(async () => {
      const named = this.#namedObjects(table);
      const orphanBeforeMs = this.clock.nowMs() - this.config.orphan_age_hours * MS_PER_HOUR;
      const doomed: string[] = [];
      for await (const { key, modifiedMs } of this.store.list(`${table.directory}/`)) {
        const path = key.slice(table.directory.length + 1);
        if (!path.startsWith('_delta_log/') && !named.has(path) && modifiedMs <= orphanBeforeMs) doomed.push(key);
      }
      for (const key of doomed) {
        if (!lease.isHeld()) throw new AppError('CONFLICT', `table ${table.name}: the lease for its vacuum was lost`);
        await this.store.delete(key);
      }
      // A node that looks only now and then must find the versions that follow its own.
      const logEntries = await table.log.cleanUp(Math.min(this.#timeTravelStartMs(), orphanBeforeMs));
      if (doomed.length + logEntries > 0)
        this.logger.info({ objects: doomed.length, log_entries: logEntries }, `${table.logLabel} vacuumed`);
      return { objects_removed: doomed.length, log_entries_removed: logEntries };
    });
  }

  #namedObjects(table: Table): Set<string> {
    const { snapshot } = table;
    const reachable = [...snapshot.tombstones.values()].filter(({ deletionTimestamp }) => deletionTimestamp >= this.#timeTravelStartMs());
    const objects = [
      ...objectsOf(snapshot),
      ...table.pinnedFiles().flatMap(({ add }) => objectsOfFile(add)),
      ...reachable.flatMap((removed) => objectsOfFile(removed)),
    ];
    return new Set([...table.uploading, ...objects.map(({ path }) => path)]);
  }
}
