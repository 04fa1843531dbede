/**
 * Keeps this node's tables at the newest version that any node committed: told by notification, and by looking from time to time for what it was not
 * told. Also learns of tables that others created or dropped.
 */
import { Inject, Injectable } from '@nestjs/common';
import { COMMIT_NOTIFIER, LOGGER } from '../common/tokens.js';
import { AppError, messageOf } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { FlushPath } from '../data/flush-path.js';
import { FollowPath } from '../data/follow-path.js';
import { Config } from '../config/config.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import type { Table } from '../tables/table.js';
import { CatalogueSync } from '../tables/catalogue-sync.js';
import { TableRegistry } from '../tables/table-registry.js';

@Injectable()
export class Follower {
  /** Tables whose log is being read, and whether it has to be read again. */
  readonly #following = new Map<Table, boolean>();
  #timer: NodeJS.Timeout | undefined;
  #end: (() => void) | undefined;
  #looking: Promise<void> | undefined;

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly sync: CatalogueSync,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    private readonly followPath: FollowPath,
    private readonly flushPath: FlushPath,
    private readonly config: Config,
  ) {}

  start(): void {
    const { notifier, registry, config } = this;
    this.#end = notifier.subscribeForeign(({ tableId, version }) => {
      const table = registry.findById(tableId);
      if (!table || version < 0) this.#look();
      else if (version > table.snapshot.version) this.#followSoon(table);
    });
    this.#timer = setInterval(() => this.#look(), config.redis.poll_seconds * MS_PER_SECOND);
  }

  /** Looks at the catalogue and at every log; one round at a time. */
  #look(): void {
    this.#looking ??= this.#lookNow().finally(() => (this.#looking = undefined));
  }

  async #lookNow(): Promise<void> {
    try {
      await this.sync.refresh();
      for (const table of this.registry.all()) await this.#follow(table);
    } catch (error) {
      this.logger.warn({ err: error }, `could not look for commits of other nodes: ${messageOf(error)}`);
    }
  }

  #followSoon(table: Table): void {
    if (this.#following.has(table)) {
      this.#following.set(table, true);
      return;
    }
    this.#following.set(table, false);
    void this.#follow(table).finally(() => {
      const isAgain = this.#following.get(table) === true;
      this.#following.delete(table);
      if (isAgain) this.#followSoon(table);
    });
  }

  async #follow(table: Table): Promise<void> {
    if (table.isDropped) return;
    const { followPath, flushPath, logger } = this;
    try {
      if (!(await table.commits.run(() => followPath.catchUp(table)))) await flushPath.flush(table);
    } catch (error) {
      if (table.isDropped || (error instanceof AppError && error.code === 'RESOURCE_EXHAUSTED')) return;
      logger.warn({ err: error }, `${table.logLabel} commits of other nodes could not be shown: ${messageOf(error)}; it will be retried`);
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#end?.();
    await this.#looking;
  }
}
