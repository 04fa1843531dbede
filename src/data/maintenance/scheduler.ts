/** Starts what nobody asks for: flushes of buffers that have grown old, and from time to time a round of maintenance. One round at a time. */
import { Injectable } from '@nestjs/common';
import { MS_PER_SECOND } from '../../common/clock.js';
import { MaintenanceConfig } from '../../config/config.js';
import { FlushWhenDue } from '../flush/flush-when-due.js';
import { MaintenanceRound } from './maintenance-round.js';

/** How often ages are looked at; a flush interval is a whole number of seconds. */
const AGE_CHECK_MS = 250;

@Injectable()
export class Scheduler {
  #timers: NodeJS.Timeout[] = [];
  #underWay: Promise<void> | undefined;
  #isStopped = false;
  #rounds = 0;

  constructor(
    private readonly config: MaintenanceConfig,
    private readonly flushWhenDue: FlushWhenDue,
    private readonly round: MaintenanceRound,
  ) {}

  start(): void {
    const ageTimer = setInterval(() => this.flushWhenDue.considerAll(), AGE_CHECK_MS);
    const roundTimer = setInterval(() => this.#startRound(), this.config.interval_seconds * MS_PER_SECOND);
    this.#timers = [ageTimer, roundTimer];
    this.round.expectWorkEverywhere();
  }

  /** Rounds that have ended. */
  get rounds(): number {
    return this.#rounds;
  }

  #startRound(): void {
    if (this.#underWay || this.#isStopped) return;
    this.#underWay = this.round
      .run(() => !this.#isStopped)
      .finally(() => {
        this.#underWay = undefined;
        this.#rounds += 1;
      });
  }

  /** Starts nothing more, and waits for the round under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#underWay;
  }
}
