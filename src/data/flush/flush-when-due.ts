/** Starts the flushes that nobody asked for: of tables whose buffers have reached a limit of rows, bytes or age. One that fails is retried later. */
import { Inject, Injectable } from '@nestjs/common';
import { messageOf } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/logger.js';
import { CLOCK, LOGGER } from '../../common/tokens.js';
import type { Table } from '../../tables/table.js';
import { TableEvents } from '../../tables/table-events.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { BufferManager } from '../buffer/buffer-manager.js';
import { FlushPath } from '../flush-path.js';

/** A flush that failed is retried after this, doubled each time up to the maximum. */
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 30_000;

interface Retry {
  readonly failures: number;
  readonly notBeforeMs: number;
}

@Injectable()
export class FlushWhenDue {
  readonly #retries = new Map<Table, Retry>();
  readonly #running = new Set<Table>();

  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly buffers: BufferManager,
    private readonly flushPath: FlushPath,
    events: TableEvents,
  ) {
    events.on('applied', (table) => this.consider(table));
    events.on('committed', (table) => this.#retries.delete(table));
    events.on('dropped', (table) => this.#retries.delete(table));
  }

  /** Looks at every table; called by the scheduler. */
  considerAll(): void {
    for (const table of this.registry.all()) this.consider(table);
  }

  /** Starts a flush of a table when it is due and none is under way. */
  consider(table: Table): void {
    if (table.isDropped || this.#running.has(table) || !this.#mayTry(table) || !this.buffers.isDue(table)) return;
    this.#running.add(table);
    void this.flushPath
      .flush(table)
      .catch((error: unknown) => this.#noteFailure(table, error))
      .finally(() => this.#running.delete(table));
  }

  #mayTry(table: Table): boolean {
    return (this.#retries.get(table)?.notBeforeMs ?? 0) <= this.clock.nowMs();
  }

  #noteFailure(table: Table, error: unknown): void {
    const failures = (this.#retries.get(table)?.failures ?? 0) + 1;
    const waitMs = Math.min(RETRY_MS_MIN * 2 ** failures, RETRY_MS_MAX);
    if (!table.isDropped) this.#retries.set(table, { failures, notBeforeMs: this.clock.nowMs() + waitMs });
    this.logger.error({ err: error }, `${table.logLabel} flush failed: ${messageOf(error)}; it will be retried`);
  }
}
