/** Makes a table of what its log says: from here on it can be read and written. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../common/tokens.js';
import type { DeltaLog } from '../delta/delta-log.js';
import type { Snapshot } from '../delta/snapshot.js';
import { Engine } from '../engine/duckdb/engine.js';
import type { ObjectReader, ObjectStore } from '../storage/object-store.js';
import type { CatalogueTable } from './catalogue.js';
import { DamagedFiles } from './damaged-files.js';
import { readConfig } from './stored-config.js';
import { Table } from './table.js';
import { TableBuffers } from './table-buffers.js';
import { TableDefaults } from './table-defaults.js';
import { TableLogs } from './table-logs.js';
import { ResidentBudget } from './view/resident-budget.js';

@Injectable()
export class TableOpener {
  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly engine: Engine,
    private readonly residentBudget: ResidentBudget,
    private readonly damagedFiles: DamagedFiles,
    private readonly buffers: TableBuffers,
    private readonly defaults: TableDefaults,
    private readonly logs: TableLogs,
  ) {}

  /** Before the first table. */
  prepareEngine(): Promise<void> {
    return this.buffers.prepare();
  }

  /** A table of the catalogue, as of the newest version of its log. */
  async open(catalogued: CatalogueTable): Promise<Table> {
    const log = this.logs.at(catalogued.directory);
    return this.openAt(catalogued, log, await log.load());
  }

  /** A table to read only, that is not one of this server's: its files come from somewhere else. The caller closes it. */
  openDetached(catalogued: CatalogueTable, snapshot: Snapshot, files: ObjectReader): Promise<Table> {
    return this.openAt(catalogued, this.logs.at(catalogued.directory), snapshot, files);
  }

  /** @param store where the table's files are */
  async openAt(catalogued: CatalogueTable, log: DeltaLog, snapshot: Snapshot, store: ObjectReader = this.store): Promise<Table> {
    const { engine, residentBudget, damagedFiles, buffers } = this;
    const table = new Table({
      catalogued,
      config: readConfig(snapshot.metaData, this.defaults.config),
      log,
      emptyFile: this.logs.emptyFileOf(catalogued.directory),
      snapshot,
      store,
      engine,
      residentBudget,
      damagedFiles,
      buffers,
      nextLsn: 1,
    });
    await table.open();
    return table;
  }
}
