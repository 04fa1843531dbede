/** Saves the metadata from time to time, and says how that stands. */
import { Inject, Injectable } from '@nestjs/common';
import { messageOf } from '../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { CLOCK, LOGGER } from '../common/tokens.js';
import { Config } from '../config/config.js';
import { TableRegistry } from '../tables/table-registry.js';
import { MetadataBackups } from './metadata-backups.js';
import { StoredBackups } from './stored-backups.js';

const MS_PER_MINUTE = 60 * MS_PER_SECOND;
/** The longest that a timer of Node waits. */
const TIMER_MS_MAX = 2 ** 31 - 1;

@Injectable()
export class BackupSchedule {
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #nextMs: number | undefined;

  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly stored: StoredBackups,
    private readonly backups: MetadataBackups,
  ) {}

  /** Begins the schedule. */
  start(): void {
    const intervalMs = this.config.backup.metadata_interval_minutes * MS_PER_MINUTE;
    if (intervalMs > 0) this.#plan(Math.min(intervalMs, MS_PER_MINUTE));
  }

  #plan(waitMs: number): void {
    if (this.#isStopped) return;
    this.#nextMs = this.clock.nowMs() + waitMs;
    this.#timer = setTimeout(() => void this.#runDue(), Math.min(waitMs, TIMER_MS_MAX));
    this.#timer.unref();
  }

  /** One of several nodes does it: the others find its backup when they look. */
  async #runDue(): Promise<void> {
    const { config, clock, logger } = this;
    const intervalMs = config.backup.metadata_interval_minutes * MS_PER_MINUTE;
    let waitMs = intervalMs;
    try {
      const [newest] = await this.stored.list();
      const ageMs = newest ? clock.nowMs() - newest.timeMs : Infinity;
      // A server without tables may be one that lost its catalogue: it must not put an empty backup before the one that is needed now.
      if (ageMs >= intervalMs && this.registry.all().length > 0) await this.backups.create(false);
      else waitMs = intervalMs - ageMs;
      await this.stored.tellRedis();
    } catch (error) {
      waitMs = Math.min(intervalMs, MS_PER_MINUTE);
      logger.warn({ err: error }, `scheduled metadata backup did not run: ${messageOf(error)}`);
    }
    this.#plan(Math.max(MS_PER_SECOND, waitMs));
  }

  /** What the status route says; reads the list of backups. */
  async status(): Promise<{ state: Record<string, string>; lastMs: number | undefined; nextMs: number | undefined; isHealthy: boolean }> {
    const stored = await this.stored.list();
    const { metadata_interval_minutes: minutes } = this.config.backup;
    const failure = this.backups.lastFailure;
    const state = {
      state: this.backups.isRunning ? 'running' : 'idle',
      last_result: failure !== undefined ? `failed: ${failure}` : stored.length > 0 ? 'success' : 'none yet',
      backups: String(stored.length),
      schedule: minutes === 0 ? 'off' : `every ${minutes} minutes`,
    };
    return { state, lastMs: stored[0]?.timeMs, nextMs: this.#nextMs, isHealthy: failure === undefined };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.backups.idle();
  }
}
