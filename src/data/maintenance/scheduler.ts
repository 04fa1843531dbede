/**
 * Starts what nobody asks for: flushes of buffers that have grown old, and from time to time a round over the tables for retention, compaction,
 * checkpoints and vacuum. One round at a time; a failing table is logged and does not stop the others.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, COMMIT_NOTIFIER, LOGGER } from '../../common/tokens.js';
import { AppError } from '../../common/app-error.js';
import { MS_PER_HOUR, MS_PER_SECOND } from '../../common/clock.js';
import type { Clock } from '../../common/clock.js';
import { MaintenanceConfig } from '../../config/config.js';
import type { Logger } from '../../common/logger.js';
import type { CommitNotifier } from '../../coordination/commit-notifier.js';
import type { Table } from '../../tables/table.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { FlushWhenDue } from '../flush/flush-when-due.js';
import { Compaction } from './compaction.js';
import { Housekeeping } from './housekeeping.js';

/** How often ages are looked at; a flush interval is a whole number of seconds. */
const AGE_CHECK_MS = 250;

@Injectable()
export class Scheduler {
  readonly #changed = new Set<string>();
  #timers: NodeJS.Timeout[] = [];
  #round: Promise<void> | undefined;
  #vacuumedMs: number;
  #isStopped = false;
  #rounds = 0;

  constructor(
    private readonly config: MaintenanceConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    private readonly flushWhenDue: FlushWhenDue,
    private readonly compaction: Compaction,
    private readonly housekeeping: Housekeeping,
  ) {
    this.#vacuumedMs = clock.nowMs();
    notifier.subscribe(({ tableId }) => this.#changed.add(tableId));
  }

  start(): void {
    const ageTimer = setInterval(() => this.flushWhenDue.considerAll(), AGE_CHECK_MS);
    const roundTimer = setInterval(() => this.#startRound(), this.config.interval_seconds * MS_PER_SECOND);
    this.#timers = [ageTimer, roundTimer];
    // Tables found at the start may have work left over from before.
    for (const table of this.registry.all()) this.#changed.add(table.id);
  }

  get rounds(): number {
    return this.#rounds;
  }

  #startRound(): void {
    if (this.#round || this.#isStopped) return;
    this.#round = this.#runRound().finally(() => {
      this.#round = undefined;
      this.#rounds += 1;
    });
  }

  async #runRound(): Promise<void> {
    const isVacuumDue = this.clock.nowMs() - this.#vacuumedMs >= MS_PER_HOUR;
    if (isVacuumDue) this.#vacuumedMs = this.clock.nowMs();
    for (const table of this.registry.all()) {
      if (this.#isStopped) return;
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

  /** Starts nothing more, and waits for the round under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#round;
  }
}
