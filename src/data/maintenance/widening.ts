/**
 * Makes a BIGINT column DOUBLE: the one change of a column's type there is, because JSON writers send 21 today and 21.5 tomorrow. All files are
 * written anew and exchanged together with the schema in one commit, so that no reader ever meets two types; that needs no feature of any reader.
 * Done only when every value is exact as a double and the table is small enough to rewrite while a client waits.
 */
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import { asNumber, type Engine } from '../../infra/duckdb/engine.js';
import { quoteName } from '../../infra/duckdb/sql-text.js';
import type { Action } from '../../metadata/delta/action.js';
import type { Snapshot } from '../../metadata/delta/snapshot.js';
import type { TableSchema } from '../../metadata/table-schema.js';
import { selectRows } from '../../tables/row-sql.js';
import type { Table } from '../../tables/table.js';
import { withSchema } from '../../tables/table-registry.js';
import { SHARD } from '../flush/data-files.js';
import { NOTHING_FETCHED } from '../follow-path.js';
import type { FlushPath } from '../flush-path.js';
import type { WriteAheadLog } from '../wal/write-ahead-log.js';
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
  readonly wal: WriteAheadLog;
}

export class Widening {
  constructor(private readonly parts: WideningParts) {}

  /** False while another node may hold buffered rows of the column's old type; asked where several nodes write the same tables. */
  mayRetype: () => Promise<boolean> = () => Promise.resolve(true);

  /** @returns true when the column is DOUBLE now (also when somebody else was faster), false when the rule does not allow it */
  async widen(table: Table, columnName: string): Promise<boolean> {
    return table.commits.run(async () => {
      if (table.schema.column(columnName)?.type !== 'BIGINT') return true;
      if (!(await this.mayRetype())) return false;
      await this.parts.flushPath.flushWithin(table);
      const bytes = [...table.snapshot.files.values()].reduce((sum, file) => sum + file.sizeBytes, 0);
      if (bytes > TABLE_BYTES_MAX || !(await this.#isExact(table, columnName))) return false;
      return this.#rewrite(table, columnName);
    });
  }

  async #isBufferExact({ active }: Table, columnName: string): Promise<boolean> {
    if (!active.schema?.column(columnName)) return true;
    const row = await this.parts.engine.row(`SELECT count(*) FILTER (WHERE ${inexact(columnName)}) AS n FROM ${active.bufferTable}`);
    return asNumber(row['n']) === 0;
  }

  async #isExact(table: Table, columnName: string): Promise<boolean> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources();
      const all = (['visible', 'soft'] as const).map((rows) =>
        selectRows(sources, { columns: view.schema.columns, withPlace: false, rows }),
      );
      const row = await this.parts.engine.row(
        `SELECT count(*) FILTER (WHERE ${inexact(columnName)}) AS n FROM (${all.join(' UNION ALL ')})`,
      );
      return asNumber(row['n']) === 0;
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** @returns false when a row that came meanwhile forbids it */
  async #rewrite(table: Table, columnName: string): Promise<boolean> {
    const { writePath, rewriter, wal } = this.parts;
    const target = table.snapshot.schema.retyped(columnName, 'DOUBLE');
    const view = table.pin(table.committedLsn(wal.id));
    try {
      const inputs = [...table.snapshot.files.values()];
      const segment = { where: '', middle: SHARD, dayMs: table.snapshot.timestampMs };
      const rewrite = await rewriter.write(table, view, inputs, () => Promise.resolve(inputs.length > 0 ? [segment] : []), target);
      let outcome: 'done' | 'again' | 'refused';
      try {
        outcome = await writePath.exclusive(async () => this.#exchange(table, rewrite, columnName, target));
      } finally {
        await rewriter.close(rewrite);
      }
      if (outcome !== 'done') await rewriter.discard(rewrite);
      else this.parts.logger.info({ column: columnName, files: inputs.length }, `${table.logLabel} column ${columnName} is DOUBLE now`);
      return outcome !== 'refused';
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** Alone in the writer loop. */
  async #exchange(table: Table, rewrite: Rewrite, columnName: string, target: TableSchema): Promise<'done' | 'again' | 'refused'> {
    // Rows that came since the flush are still BIGINT in the buffer; bulk files would have to be written anew, so then it is all done again.
    const { active } = table;
    if (active.bulkFiles.length > 0 || table.schema.columns.length !== target.columns.length) return 'again';
    if (!(await this.#isBufferExact(table, columnName))) return 'refused';
    const operation = { name: 'CHANGE COLUMN', parameters: { column: columnName, type: 'DOUBLE' } };
    const change = (current: Snapshot): Action[] => {
      if (current.schema.nextFieldId !== target.nextFieldId - 1)
        throw new AppError('CONFLICT', `table ${table.name}: another node changed its columns; try again`);
      return [{ metaData: withSchema(current.metaData, target) }];
    };
    const snapshot = await this.parts.rewriter.commit(rewrite, operation, change, true);
    try {
      await this.#showWidened(table, rewrite, columnName, target, snapshot);
    } catch (error) {
      throw this.parts.writePath.fail(`table ${table.name}: a widened column could not be shown to readers`, error);
    }
    return 'done';
  }

  async #showWidened(table: Table, rewrite: Rewrite, columnName: string, target: TableSchema, snapshot: Snapshot): Promise<void> {
    const { active } = table;
    if (active.schema) {
      await this.parts.engine.run(`ALTER TABLE ${active.bufferTable} ALTER COLUMN ${quoteName(columnName)} TYPE DOUBLE`);
      active.schema = target;
    }
    table.schema = target;
    await this.parts.rewriter.publish(rewrite, snapshot, NOTHING_FETCHED);
  }
}

/** SQL that holds for integers that a double does not hold exactly. */
function inexact(columnName: string): string {
  return `${quoteName(columnName)} NOT BETWEEN ${-EXACT_MAX} AND ${EXACT_MAX}`;
}
