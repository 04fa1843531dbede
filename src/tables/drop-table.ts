/** Drops tables: the entry in the catalogue decides, and what the table held goes when nobody reads it any more. */
import { setTimeout as pause } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import { faultPoint } from '../common/fault-points.js';
import type { Logger } from '../common/logger.js';
import { COMMIT_NOTIFIER, LOGGER } from '../common/tokens.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';
import { OtherNodes } from './other-nodes.js';
import { TableRemoval } from './remove-table.js';
import type { Table } from './table.js';
import { TableEvents } from './table-events.js';
import { TableRegistry } from './table-registry.js';

const SETTLE_PAUSE_MS = 1_000;
/** Marks a dropped table in a notification. */
const DROPPED_VERSION = -1;

@Injectable()
export class TableDrops {
  constructor(
    private readonly catalogue: Catalogue,
    private readonly registry: TableRegistry,
    private readonly otherNodes: OtherNodes,
    private readonly removal: TableRemoval,
    private readonly events: TableEvents,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Drops a table: gone from the catalogue at once, its files as soon as no query reads them.
   * @param check throws to keep the table after all; while it runs, nobody writes to the table
   * @returns data files that went with it
   * @throws AppError UNAVAILABLE when the other nodes cannot be told
   */
  async drop(table: Table, check: () => Promise<void> = () => Promise.resolve()): Promise<number> {
    return this.registry.changeAlone(table.name, async () => {
      if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} no longer exists`);
      table.isLeaving = true;
      try {
        await this.otherNodes.announceDrop(table);
        await check();
      } catch (error) {
        await this.#stay(table);
        throw error;
      }
      const catalogued: CatalogueTable = { name: table.name, tableId: table.id, directory: table.directory, createdMs: table.createdMs };
      table.isDropped = true;
      try {
        await this.catalogue.drop(catalogued);
      } catch (error) {
        // The entry may be there all the same. Until that is known nobody may write to the table.
        void this.#settleDrop(table, catalogued);
        throw error;
      }
      return this.#finishDrop(table, catalogued);
    });
  }

  async #stay(table: Table): Promise<void> {
    table.isLeaving = false;
    await this.otherNodes.withdrawDrop(table);
  }

  #finishDrop(table: Table, catalogued: CatalogueTable): number {
    faultPoint('table.drop.after-catalogue');
    this.registry.remove(table);
    this.notifier.publish({ tableId: table.id, version: DROPPED_VERSION });
    const files = table.snapshot.files.size;
    this.events.tell('dropped', table);
    void this.#removeLater(table, catalogued);
    this.logger.info({ table_id: table.id, files }, `${table.logLabel} dropped`);
    return files;
  }

  /** Finds out whether a drop whose answer was lost has happened, as soon as the store can be asked. */
  async #settleDrop(table: Table, catalogued: CatalogueTable): Promise<void> {
    for (;;) {
      try {
        const { live } = await this.catalogue.load();
        if (live.some(({ tableId }) => tableId === table.id)) {
          table.isDropped = false;
          await this.#stay(table);
        } else this.#finishDrop(table, catalogued);
        return;
      } catch (error) {
        this.logger.warn(`${table.logLabel} could not find out yet whether it was dropped: ${messageOf(error)}`);
        await pause(SETTLE_PAUSE_MS, undefined, { ref: false });
      }
    }
  }

  async #removeLater(table: Table, catalogued: CatalogueTable): Promise<void> {
    try {
      await this.removal.close(table);
      await this.removal.purge(catalogued);
      this.notifier.publish({ tableId: table.id, version: DROPPED_VERSION });
    } catch (error) {
      this.logger.error({ err: error }, `${table.logLabel} files of the dropped table stay until the next start`);
    }
  }
}
