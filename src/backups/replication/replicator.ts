/**
 * Keeps the backup bucket a copy of all tables, a little behind: told of commits, it copies them one after the other, and tries again for as long as one
 * of the stores is away. One of several nodes does it for a table at a time.
 *
 * The copy has the same keys as the original, so a server whose `minio` section names the backup bucket serves it.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, COMMIT_NOTIFIER, LOGGER } from '../../common/tokens.js';
import { AppError, messageOf } from '../../common/app-error.js';
import { type Clock, MS_PER_HOUR, MS_PER_SECOND } from '../../common/clock.js';
import type { Logger } from '../../common/logger.js';
import type { CommitNotifier } from '../../coordination/commit-notifier.js';
import type { RemoteObjectStore } from '../../storage/remote-object-store.js';
import { StoragePool } from '../../storage/storage-pool.js';
import type { Table } from '../../tables/table.js';
import { TableEvents } from '../../tables/table-events.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { Copies } from './copies.js';

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;
/** Another node copies; what it leaves is looked at again after this. */
const ELSEWHERE_MS = 5 * MS_PER_SECOND;

export interface ReplicationState {
  /** How long the oldest commit, or change of the catalogue, that is not copied yet has waited. */
  readonly lagSeconds: number;
  readonly tablesBehind: number;
  readonly copiedBytes: number;
  readonly failures: number;
  readonly lastError: string | undefined;
}

@Injectable()
export class Replicator {
  /** Since when a table has commits that are not copied. */
  readonly #behind = new Map<Table, number>();
  /** Since when there may be shared objects that are not copied, anew for each note; undefined: none. */
  #sharedBehind: { readonly sinceMs: number } | undefined;
  #dropped: Table[] = [];
  #isRunning = false;
  #round: Promise<void> = Promise.resolve();
  #wakeUp: (() => void) | undefined;
  #end: (() => void) | undefined;
  #copiedBytes = 0;
  #failures = 0;
  #lastError: string | undefined;
  #sweptMs: number;

  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    private readonly registry: TableRegistry,
    private readonly pool: StoragePool,
    private readonly copies: Copies,
    events: TableEvents,
  ) {
    this.#sweptMs = clock.nowMs();
    events.on('dropped', (table) => this.forget(table));
    this.#noteShared();
  }

  start(): void {
    const { notifier, registry } = this;
    for (const table of registry.all()) this.#note(table);
    this.#end = notifier.subscribe(({ tableId, version }) => {
      const table = registry.findById(tableId);
      if (table) this.#note(table);
      if (!table || version <= 0) this.#noteShared();
      this.#wakeUp?.();
    });
    this.#isRunning = true;
    this.#round = this.#loop();
  }

  #note(table: Table): void {
    if (!this.#behind.has(table)) this.#behind.set(table, this.clock.nowMs());
  }

  #noteShared(): void {
    this.#sharedBehind = { sinceMs: this.#sharedBehind?.sinceMs ?? this.clock.nowMs() };
  }

  /** Told of a table whose directory is being removed. */
  forget(table: Table): void {
    this.#dropped.push(table);
    this.#behind.delete(table);
    this.#noteShared();
    this.#wakeUp?.();
  }

  get state(): ReplicationState {
    const oldest = Math.min(...this.#behind.values(), this.#sharedBehind?.sinceMs ?? Infinity);
    return {
      lagSeconds: Number.isFinite(oldest) ? Math.max(0, (this.clock.nowMs() - oldest) / MS_PER_SECOND) : 0,
      tablesBehind: this.#behind.size,
      copiedBytes: this.#copiedBytes,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  async #loop(): Promise<void> {
    let waitMs = RETRY_MS_MIN;
    while (this.#isRunning) {
      try {
        await this.#copyAll();
        if (this.#lastError !== undefined) this.logger.info('copying to the backup store resumed');
        this.#lastError = undefined;
        waitMs = RETRY_MS_MIN;
        await this.#sleep(this.#behind.size > 0 ? ELSEWHERE_MS : this.#sharedBehind ? 0 : MS_PER_HOUR);
      } catch (error) {
        this.#failures += 1;
        if (this.#lastError === undefined)
          this.logger.warn({ err: error }, `copying to the backup store failed: ${messageOf(error)}; it will be retried`);
        this.#lastError = messageOf(error);
        waitMs = Math.min(waitMs * 2, RETRY_MS_MAX);
        await this.#sleep(waitMs, true);
      }
    }
  }

  /** @param isPatient not to be ended early by a commit */
  #sleep(ms: number, isPatient = false): Promise<void> {
    if (!this.#isRunning) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stopSleep = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#wakeUp = isPatient ? undefined : this.#stopSleep;
    });
  }

  #stopSleep: (() => void) | undefined;

  async #copyAll(): Promise<void> {
    const { registry, clock, pool } = this;
    const to = await pool.openBackups();
    let failure: Error | undefined;
    for (const table of [...this.#behind.keys()]) {
      if (!this.#isRunning) return;
      try {
        await this.#copyTable(table, to);
      } catch (error) {
        failure ??= error instanceof Error ? error : new Error(String(error));
        // A store that is away is so for all of them.
        if (error instanceof AppError && error.code === 'UNAVAILABLE') break;
      }
    }
    if (failure !== undefined) throw failure;
    while (this.#dropped[0]) {
      await this.copies.remove(this.#dropped[0], to);
      this.#dropped.shift();
    }
    if (this.#sharedBehind && this.#isRunning) await this.#copyShared(to);
    if (clock.nowMs() - this.#sweptMs < MS_PER_HOUR) return;
    this.#sweptMs = clock.nowMs();
    await this.copies.sweep(registry.all());
  }

  async #copyTable(table: Table, to: RemoteObjectStore): Promise<void> {
    const { bytes, hasCaughtUp } = await this.copies.copyTable(table, to, () => this.#isRunning);
    this.#copiedBytes += bytes;
    // Asked now and not before: a commit that came while the lease was given back is noted already.
    if (this.copies.isCurrent(table)) this.#behind.delete(table);
    else if (hasCaughtUp) this.#behind.set(table, this.clock.nowMs());
  }

  async #copyShared(to: RemoteObjectStore): Promise<void> {
    const noted = this.#sharedBehind;
    await this.copies.copyShared(to);
    if (this.#sharedBehind === noted) this.#sharedBehind = undefined;
  }

  /** Ends after the commit that is being copied. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#end?.();
    this.#stopSleep?.();
    await this.#round;
  }
}
