/** Whether other nodes have the same tables, and what nodes tell each other about drops. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { OBJECT_STORE } from '../common/tokens.js';
import { DropNotices } from '../coordination/drop-notices.js';
import { LOGS_PREFIX } from '../storage/keys.js';
import type { ObjectStore } from '../storage/object-store.js';
import { Catalogue } from './catalogue.js';
import type { Table } from './table.js';

@Injectable()
export class OtherNodes {
  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly catalogue: Catalogue,
    /** Set where other nodes have the same tables. */
    @Optional() @Inject(DropNotices) private readonly dropNotices: DropNotices | undefined,
  ) {}

  /** True where other nodes may have the same tables. */
  get mayExist(): boolean {
    return this.dropNotices !== undefined;
  }

  /**
   * Tells them that a table is about to be dropped.
   * @throws AppError UNAVAILABLE when another node may be there and cannot be told
   */
  async announceDrop(table: Table): Promise<void> {
    try {
      await this.dropNotices?.announce(table.id);
    } catch (error) {
      let logs = 0;
      for await (const _log of this.store.list(LOGS_PREFIX)) logs += 1;
      if (logs > 1) throw error;
    }
  }

  /** The table was not dropped. */
  async withdrawDrop(table: Table): Promise<void> {
    await this.dropNotices?.withdraw(table.id);
  }

  /**
   * Those tables that another node has dropped or is about to. Asked before writes are logged: Redis knows it in a fraction of a millisecond, and
   * where it cannot be asked, the catalogue does.
   * @throws AppError UNAVAILABLE when neither can be asked
   */
  async dropping(tables: readonly Table[]): Promise<ReadonlySet<Table>> {
    const noticed = await this.dropNotices?.among(tables.map(({ id }) => id));
    if (noticed) return new Set(tables.filter(({ id }) => noticed.has(id)));
    try {
      const isLive = await Promise.all(tables.map(({ name, id }) => this.catalogue.isLive(name, id)));
      return new Set(tables.filter((_table, index) => isLive[index] === false));
    } catch (error) {
      throw new AppError(
        'UNAVAILABLE',
        `neither Redis nor the object store answers whether another node dropped the table, so nothing was stored; writing resumes when one of them answers`,
        { cause: error, retryAfterSeconds: 2 },
      );
    }
  }
}
