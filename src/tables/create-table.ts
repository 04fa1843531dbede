/** Creates tables: first the log of a directory, then the entry in the catalogue that makes the table exist. */
import { randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { faultPoint } from '../common/fault-points.js';
import { CLOCK } from '../common/tokens.js';
import type { Action } from '../delta/action.js';
import type { DeltaLog } from '../delta/delta-log.js';
import type { Snapshot } from '../delta/snapshot.js';
import { INITIAL_PROTOCOL } from '../delta/table-protocol.js';
import { TableSchema } from '../delta/table-schema.js';
import { Catalogue, type CatalogueTable, laterDirectory } from './catalogue.js';
import { TableOpener } from './open-table.js';
import { firstMetaData } from './stored-config.js';
import type { Table } from './table.js';
import type { TableConfig } from './table-config.js';
import { TableEvents } from './table-events.js';
import { TableLogs } from './table-logs.js';
import { TableRegistry } from './table-registry.js';

@Injectable()
export class TableCreation {
  constructor(
    private readonly catalogue: Catalogue,
    private readonly registry: TableRegistry,
    private readonly opener: TableOpener,
    private readonly logs: TableLogs,
    private readonly events: TableEvents,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** @throws AppError ALREADY_EXISTS, RESOURCE_EXHAUSTED past the number of tables allowed */
  create(name: string, config: TableConfig, schema = TableSchema.initial()): Promise<Table> {
    return this.createWith(name, ({ tableId, createdMs }) =>
      Promise.resolve([{ protocol: INITIAL_PROTOCOL }, { metaData: firstMetaData(tableId, name, config, schema, createdMs) }]),
    );
  }

  /**
   * Creates a table whose first version has contents.
   * @param contents puts files into the new table's directory and gives the actions of its first version
   * @throws AppError as `create`
   */
  createWith(name: string, contents: (table: CatalogueTable) => Promise<readonly Action[]>): Promise<Table> {
    return this.registry.changeAlone(name, async () => {
      this.registry.assertFree(name);
      const tableId = randomUUID();
      const create = async (directory: string): Promise<Table> => {
        const catalogued: CatalogueTable = { name, tableId, directory, createdMs: this.clock.nowMs() };
        const log = this.logs.at(directory);
        const snapshot = await log.create(await contents(catalogued));
        faultPoint('table.create.after-log');
        return this.#enter(catalogued, log, snapshot, 'created');
      };
      try {
        return await create(await this.catalogue.freeDirectory(name, tableId));
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'CONFLICT') throw error;
        // Another node is making a table of this name: the catalogue decides.
        return create(laterDirectory(name, tableId));
      }
    });
  }

  /**
   * Takes a table back into the catalogue whose directory is there.
   * @param contents actions of the first version, should its log be lost
   * @throws AppError as `create`; CONFLICT when it was dropped
   */
  adopt(catalogued: CatalogueTable, contents: readonly Action[]): Promise<Table> {
    return this.registry.changeAlone(catalogued.name, async () => {
      this.registry.assertFree(catalogued.name);
      const log = this.logs.at(catalogued.directory);
      const snapshot = (await log.loadIfAny()) ?? (await log.create(contents));
      return this.#enter(catalogued, log, snapshot, 'taken back', (table) => this.events.ask('adopted', table));
    });
  }

  async #enter(
    catalogued: CatalogueTable,
    log: DeltaLog,
    snapshot: Snapshot,
    verb: string,
    complete: (table: Table) => Promise<void> = () => Promise.resolve(),
  ): Promise<Table> {
    await this.catalogue.create(catalogued);
    faultPoint('table.create.after-catalogue');
    const table = await this.opener.openAt(catalogued, log, snapshot);
    await complete(table);
    this.registry.add(table, verb);
    this.events.tell('committed', table);
    return table;
  }
}
