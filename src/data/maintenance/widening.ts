/**
 * Makes a BIGINT column DOUBLE: the one change of a column's type there is, because JSON writers send 21 today and 21.5 tomorrow. All files are
 * written anew and exchanged together with the schema in one commit, so that no reader ever meets two types; that needs no feature of any reader.
 * Done only when every value is exact as a double and the table is small enough to rewrite while a client waits.
 */
import type { Logger } from '../../common/logger.js';
import { asNumber, type Engine } from '../../infra/duckdb/engine.js';
import { quoteName } from '../../infra/duckdb/sql-text.js';
import type { TableSchema } from '../../metadata/table-schema.js';
import { selectRows } from '../../tables/row-sql.js';
import type { Table } from '../../tables/table.js';
import { withSchema } from '../../tables/table-registry.js';
import { SHARD } from '../flush/data-files.js';
import type { FlushPath } from '../flush-path.js';
import type { WritePath } from '../write-path.js';
import type { Rewrite, Rewriter } from './rewrite.js';

/** About ten seconds of rewriting on two cores. */
const TABLE_BYTES_MAX = 1_024 ** 3;
const EXACT_MAX = 2 ** 53;

export interface WideningParts {
  readonly engine: Engine;
  readonly logger: Logger;
  readonly flushPath: FlushPath;
  readonly writePath: WritePath;
  readonly rewriter: Rewriter;
}

export class Widening {
  constructor(private readonly parts: WideningParts) {}

  /** @returns true when the column is DOUBLE now (also when somebody else was faster), false when the rule does not allow it */
  async widen(table: Table, columnName: string): Promise<boolean> {
    return table.commits.run(async () => {
      if (table.schema.column(columnName)?.type !== 'BIGINT') return true;
      await this.parts.flushPath.flushWithin(table);
      const bytes = [...table.snapshot.files.values()].reduce((sum, file) => sum + file.sizeBytes, 0);
      if (bytes > TABLE_BYTES_MAX || !(await this.#isExact(table, columnName))) return false;
      await this.#rewrite(table, columnName);
      return true;
    });
  }

  async #isExact(table: Table, columnName: string): Promise<boolean> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const column = quoteName(columnName);
      const sources = await view.sources();
      const all = (['visible', 'soft'] as const).map((rows) =>
        selectRows(sources, { columns: view.schema.columns, withPlace: false, rows }),
      );
      const row = await this.parts.engine.row(
        `SELECT count(*) FILTER (WHERE ${column} NOT BETWEEN ${-EXACT_MAX} AND ${EXACT_MAX}) AS n FROM (${all.join(' UNION ALL ')})`,
      );
      return asNumber(row['n']) === 0;
    } finally {
      view.release();
    }
  }

  async #rewrite(table: Table, columnName: string): Promise<void> {
    const { writePath, rewriter } = this.parts;
    const target = table.snapshot.schema.retyped(columnName, 'DOUBLE');
    const view = table.pin(writePath.appliedLsn);
    try {
      const inputs = [...table.snapshot.files.values()];
      const segment = { where: '', middle: SHARD, dayMs: table.snapshot.timestampMs };
      const rewrite = await rewriter.write(table, view, inputs, () => Promise.resolve(inputs.length > 0 ? [segment] : []), target);
      const done = await writePath.exclusive(async () => {
        // Rows that came since the flush are still BIGINT in the buffer; bulk files would have to be written anew, so then it is all done again.
        const { active } = table;
        if (active.bulkFiles.length > 0 || table.schema.columns.length !== target.columns.length) return false;
        await rewriter.commit(rewrite, { name: 'CHANGE COLUMN', parameters: { column: columnName, type: 'DOUBLE' } }, (current) => [
          { metaData: withSchema(current.metaData, target) },
        ]);
        try {
          await this.#showWidened(table, rewrite, columnName, target);
        } catch (error) {
          throw writePath.fail(`table ${table.name}: a widened column could not be shown to readers`, error);
        }
        return true;
      });
      if (!done) await rewriter.discard(rewrite);
      else this.parts.logger.info({ column: columnName, files: inputs.length }, `${table.logLabel} column ${columnName} is DOUBLE now`);
    } finally {
      view.release();
    }
  }

  async #showWidened(table: Table, rewrite: Rewrite, columnName: string, target: TableSchema): Promise<void> {
    const { active } = table;
    if (active.schema) {
      await this.parts.engine.run(`ALTER TABLE ${active.bufferTable} ALTER COLUMN ${quoteName(columnName)} TYPE DOUBLE`);
      active.schema = target;
    }
    table.schema = target;
    await this.parts.rewriter.publish(rewrite);
  }
}
