/** Frees what a dropped table holds: in this process, and in the object store. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../common/tokens.js';
import type { ObjectStore } from '../storage/object-store.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';
import type { Table } from './table.js';
import { TableEvents } from './table-events.js';

@Injectable()
export class TableRemoval {
  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly catalogue: Catalogue,
    private readonly events: TableEvents,
  ) {}

  /** @returns when nobody reads the table any more */
  async close(table: Table): Promise<void> {
    await this.events.ask('closing', table);
    await table.commits.idle();
    await table.close();
  }

  /** Deletes the objects of a table that is not in the catalogue any more. */
  async purge(catalogued: CatalogueTable): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.store.list(`${catalogued.directory}/`)) keys.push(key);
    for (const key of keys) await this.store.delete(key);
    await this.catalogue.purge(catalogued);
  }
}
