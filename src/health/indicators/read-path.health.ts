/**
 * A row of one table is read the way queries read it, of another table each time: from its buffers and its smallest file. Nothing is fetched for it:
 * whether the store answers is another indicator.
 */
import { Injectable } from '@nestjs/common';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { StorageConfig } from '../../config/config.js';
import { Engine } from '../../engine/duckdb/engine.js';
import type { Table } from '../../tables/table.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { selectRows } from '../../tables/view/row-sql.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import type { Indicator } from './indicator.js';
import { Trial } from './trial.js';

@Injectable()
export class ReadPathHealth implements Indicator {
  #turn = 0;

  constructor(
    private readonly trial: Trial,
    private readonly storage: StorageConfig,
    private readonly engine: Engine,
    private readonly registry: TableRegistry,
    private readonly visible: VisibleLsn,
  ) {}

  check(): PromiseLike<HealthIndicatorResult> {
    return this.trial.of('read_path', () => this.#read());
  }

  async #read(): Promise<void> {
    const tables = this.registry.all();
    const table = tables[this.#turn++ % Math.max(1, tables.length)];
    if (!table) return;
    try {
      await this.#readFrom(table);
    } catch (error) {
      if (!table.isDropped && !table.outOfService) throw error;
    }
  }

  async #readFrom(table: Table): Promise<void> {
    const view = table.pin(this.visible.value);
    try {
      const files = this.storage.kind !== 'local' ? [] : view.files.map(({ file }) => file);
      const [smallest] = files.sort((left, right) => left.sizeBytes - right.sizeBytes);
      const sources = await view.sources(undefined, (file) => file === smallest);
      const rows = selectRows(sources, { columns: view.schema.columns.slice(0, 2), withPlace: false, rows: 'visible' });
      await this.engine.rows(`SELECT count(*) FROM (SELECT * FROM (${rows}) LIMIT 1)`);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }
}
