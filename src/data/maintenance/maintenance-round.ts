/** A round over the tables for retention, compaction, checkpoints and vacuum. A failing table is logged and does not stop the others. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { type Clock, MS_PER_HOUR } from '../../common/clock.js';
import type { Logger } from '../../common/logger.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER } from '../../common/tokens.js';
import { MaintenanceConfig } from '../../config/config.js';
import type { CommitNotifier } from '../../coordination/commit-notifier.js';
import type { Table } from '../../tables/table.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { Compaction } from './compaction.js';
import { Housekeeping } from './housekeeping.js';

@Injectable()
export class MaintenanceRound {
  /** Ids of tables that may have something to compact. */
  readonly #changed = new Set<string>();
  #vacuumedMs: number;

  constructor(
    private readonly config: MaintenanceConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    @Inject(COMMIT_NOTIFIER) notifier: CommitNotifier,
    private readonly compaction: Compaction,
    private readonly housekeeping: Housekeeping,
  ) {
    this.#vacuumedMs = clock.nowMs();
    notifier.subscribe(({ tableId }) => this.#changed.add(tableId));
  }

  /** Tables found at the start may have work left over from before. */
  expectWorkEverywhere(): void {
    for (const table of this.registry.all()) this.#changed.add(table.id);
  }

  /** @param mayGoOn asked before each table */
  async run(mayGoOn: () => boolean): Promise<void> {
    const isVacuumDue = this.clock.nowMs() - this.#vacuumedMs >= MS_PER_HOUR;
    if (isVacuumDue) this.#vacuumedMs = this.clock.nowMs();
    for (const table of this.registry.all()) {
      if (!mayGoOn()) return;
      await this.#maintain(table, isVacuumDue);
    }
  }

  async #maintain(table: Table, isVacuumDue: boolean): Promise<void> {
    const { housekeeping, compaction, config, logger } = this;
    try {
      await housekeeping.applyRetention(table);
      if (this.#changed.delete(table.id) && config.compaction) await compaction.run(table, false);
      await housekeeping.checkpointIfDue(table);
      if (isVacuumDue) await housekeeping.vacuum(table);
    } catch (error) {
      this.#changed.add(table.id);
      if (table.isDropped) return;
      const isOvertaken = error instanceof AppError && error.code === 'CONFLICT';
      if (isOvertaken) logger.info(`${table.logLabel} changed during its maintenance, which will be repeated`);
      else if (error instanceof AppError && error.code === 'UNAVAILABLE')
        logger.warn(`${table.logLabel} maintenance waits: ${error.message}`);
      else logger.error({ err: error }, `${table.logLabel} maintenance failed; it will be retried`);
    }
  }
}
