/**
 * Makes BIGINT columns DOUBLE: the one change of a column's type there is, because JSON writers send 21 today and 21.5 tomorrow. All files are
 * written anew and exchanged together with the schema in one commit, so that no reader ever meets two types; that needs no feature of any reader.
 * Done only when every value is exact as a double and the table is small enough to rewrite while a client waits: for all columns that a write
 * needs, or for none.
 */
import { Injectable } from '@nestjs/common';
import { Engine } from '../../engine/duckdb/engine.js';
import { selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { FlushPath } from '../flush-path.js';
import { OtherLogs } from '../wal/other-logs.js';
import { inexactColumns } from './exact-as-double.js';
import { RewriteAsDouble } from './rewrite-as-double.js';

/** About ten seconds of rewriting on two cores. */
const TABLE_BYTES_MAX = 1_024 ** 3;

@Injectable()
export class Widening {
  constructor(
    private readonly engine: Engine,
    private readonly otherLogs: OtherLogs,
    private readonly flushPath: FlushPath,
    private readonly rewriteAsDouble: RewriteAsDouble,
  ) {}

  /** @returns those of the columns that cannot become DOUBLE; when there are any, none was changed */
  async widen(table: Table, names: readonly string[]): Promise<readonly string[]> {
    return table.commits.run(async () => {
      const columns = names.filter((name) => table.schema.column(name)?.type === 'BIGINT');
      // Somebody else was faster.
      if (columns.length === 0) return [];
      // Another node may hold buffered rows of the old type.
      if (await this.otherLogs.areThere()) return columns;
      await this.flushPath.flushWithin(table);
      const bytes = [...table.snapshot.files.values()].reduce((sum, file) => sum + file.sizeBytes, 0);
      if (bytes > TABLE_BYTES_MAX) return columns;
      const inexact = await this.#inexactColumns(table, columns);
      return inexact.length > 0 ? inexact : this.rewriteAsDouble.run(table, columns);
    });
  }

  async #inexactColumns(table: Table, columns: readonly string[]): Promise<string[]> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources();
      const all = (['visible', 'soft'] as const).map((rows) =>
        selectRows(sources, { columns: view.schema.columns, withPlace: false, rows }),
      );
      return await inexactColumns(this.engine, `(${all.join(' UNION ALL ')})`, columns);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }
}
