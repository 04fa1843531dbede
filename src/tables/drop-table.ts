/** Drops tables: the entry in the catalogue decides, and what the table held goes when nobody reads it any more. */
import { setTimeout as pause } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import { counted } from '../common/counted.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';
import { FinishDrop } from './finish-drop.js';
import { OtherNodes } from './other-nodes.js';
import type { Table } from './table.js';
import { TableEvents } from './table-events.js';
import { TableInfoReader } from './table-info.js';
import { TableRegistry } from './table-registry.js';

const SETTLE_PAUSE_MS = 1_000;

@Injectable()
export class TableDrops {
  constructor(
    private readonly catalogue: Catalogue,
    private readonly registry: TableRegistry,
    private readonly otherNodes: OtherNodes,
    private readonly reader: TableInfoReader,
    private readonly events: TableEvents,
    private readonly finishDrop: FinishDrop,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Drops a table: gone from the catalogue at once, its files as soon as no query reads them.
   * @param cascade also when it has rows
   * @returns data files that went with it
   * @throws AppError CONFLICT when it has rows and may not be dropped with them, UNAVAILABLE when the other nodes cannot be told
   */
  async drop(table: Table, cascade: boolean): Promise<number> {
    if (!cascade) await this.#assertEmpty(table);
    return this.registry.changeAlone(table.name, async () => {
      if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} no longer exists`);
      table.isLeaving = true;
      try {
        await this.otherNodes.announceDrop(table);
        // Once more now that nobody writes to it any more, with what buffers hold, here and on other nodes.
        if (!cascade) {
          await this.events.ask('rowsNeeded', [table]);
          await this.#assertEmpty(table);
        }
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
      return this.finishDrop.run(table, catalogued);
    });
  }

  async #assertEmpty(table: Table): Promise<void> {
    const { record_count: rows } = await this.reader.stats(table);
    if (rows > 0) throw new AppError('CONFLICT', `table ${table.name} has ${counted(rows, 'row')}; drop it with cascade=true`);
  }

  async #stay(table: Table): Promise<void> {
    table.isLeaving = false;
    await this.otherNodes.withdrawDrop(table);
  }

  /** Finds out whether a drop whose answer was lost has happened, as soon as the store can be asked. */
  async #settleDrop(table: Table, catalogued: CatalogueTable): Promise<void> {
    for (;;) {
      try {
        const { live } = await this.catalogue.load();
        if (live.some(({ tableId }) => tableId === table.id)) {
          table.isDropped = false;
          await this.#stay(table);
        } else this.finishDrop.run(table, catalogued);
        return;
      } catch (error) {
        this.logger.warn(`${table.logLabel} could not find out yet whether it was dropped: ${messageOf(error)}`);
        await pause(SETTLE_PAUSE_MS, undefined, { ref: false });
      }
    }
  }
}
