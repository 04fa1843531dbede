/** The statistics of every table, counted once for all the metrics of a scrape. */
import { Injectable } from '@nestjs/common';
import { onceATick } from '../common/once-a-tick.js';
import { TableInfoReader, type TableStats } from './table-info.js';
import type { Table } from './table.js';
import { TableRegistry } from './table-registry.js';

@Injectable()
export class AllTableStats {
  /** Exact, as `TableInfoReader.stats`; a table that is dropped meanwhile is left out. */
  readonly read = onceATick(() => this.#read());

  constructor(
    private readonly registry: TableRegistry,
    private readonly reader: TableInfoReader,
  ) {}

  async #read(): Promise<ReadonlyMap<Table, TableStats>> {
    const read = new Map<Table, TableStats>();
    for (const table of this.registry.all()) {
      const stats = await this.reader.stats(table).catch((error: unknown) => {
        if (table.isDropped) return undefined;
        throw error;
      });
      if (stats) read.set(table, stats);
    }
    return read;
  }
}
