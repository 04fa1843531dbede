/** Flushes tables because another node needs their rows in files. */
import { Injectable } from '@nestjs/common';
import { FlushPath } from '../data/flush-path.js';
import { CatalogueSync } from '../tables/catalogue-sync.js';
import { TableRegistry } from '../tables/table-registry.js';

@Injectable()
export class FlushesForOthers {
  constructor(
    private readonly registry: TableRegistry,
    private readonly sync: CatalogueSync,
    private readonly flushPath: FlushPath,
  ) {}

  /** A table that only the other node knows has no rows here. */
  async flush(tableIds: readonly string[]): Promise<void> {
    if (tableIds.some((id) => !this.registry.findById(id))) await this.sync.refresh();
    for (const id of tableIds) {
      const table = this.registry.findById(id);
      if (table && !table.isDropped) await this.flushPath.flush(table);
    }
  }
}
