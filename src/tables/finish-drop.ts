/** What follows when the catalogue has no entry of a table any more: nobody finds it, everybody is told, and its files go when nobody reads them. */
import { Inject, Injectable } from '@nestjs/common';
import { faultPoint } from '../common/fault-points.js';
import type { Logger } from '../common/logger.js';
import { COMMIT_NOTIFIER, LOGGER } from '../common/tokens.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import type { CatalogueTable } from './catalogue.js';
import { TableRemoval } from './remove-table.js';
import type { Table } from './table.js';
import { TableEvents } from './table-events.js';
import { TableRegistry } from './table-registry.js';

/** Marks a dropped table in a notification. */
const DROPPED_VERSION = -1;

@Injectable()
export class FinishDrop {
  constructor(
    private readonly registry: TableRegistry,
    private readonly removal: TableRemoval,
    private readonly events: TableEvents,
    @Inject(COMMIT_NOTIFIER) private readonly notifier: CommitNotifier,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** @returns data files that go with it */
  run(table: Table, catalogued: CatalogueTable): number {
    faultPoint('table.drop.after-catalogue');
    this.registry.remove(table);
    this.notifier.publish({ tableId: table.id, version: DROPPED_VERSION });
    const files = table.snapshot.files.size;
    this.events.tell('dropped', table);
    void this.#removeLater(table, catalogued);
    this.logger.info({ table_id: table.id, files }, `${table.logLabel} dropped`);
    return files;
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
