/**
 * Makes BIGINT columns DOUBLE: the one change of a column's type there is, because JSON writers send 21 today and 21.5 tomorrow. All files are
 * written anew and exchanged together with the schema in one commit, so that no reader ever meets two types; that needs no feature of any reader.
 * Done only when every value is exact as a double and the table is small enough to rewrite while a client waits: for all columns that a write
 * needs, or for none.
 */
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '../../common/tokens.js';
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import { asNumber, Engine } from '../../engine/duckdb/engine.js';
import { quoteName } from '../../engine/duckdb/sql-text.js';
import type { Action } from '../../delta/action.js';
import type { Snapshot } from '../../delta/snapshot.js';
import type { TableSchema } from '../../delta/table-schema.js';
import { selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { withSchema } from '../../tables/stored-config.js';
import { SHARD } from '../flush/data-files.js';
import { NOTHING_FETCHED } from '../follow-path.js';
import { FlushPath } from '../flush-path.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { OtherLogs } from '../wal/other-logs.js';
import { GroupCommit } from '../write/group-commit.js';
import { WriterFailure } from '../write/writer-failure.js';
import { type Rewrite, Rewriter } from './rewrite.js';

/** About ten seconds of rewriting on two cores. */
const TABLE_BYTES_MAX = 1_024 ** 3;
const EXACT_MAX = 2 ** 53;

@Injectable()
export class Widening {
  constructor(
    private readonly engine: Engine,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly flushPath: FlushPath,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly otherLogs: OtherLogs,
    private readonly rewriter: Rewriter,
    private readonly wal: WriteAheadLog,
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
      return inexact.length > 0 ? inexact : this.#rewrite(table, columns);
    });
  }

  async #inexactColumns(table: Table, columns: readonly string[]): Promise<string[]> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources();
      const all = (['visible', 'soft'] as const).map((rows) =>
        selectRows(sources, { columns: view.schema.columns, withPlace: false, rows }),
      );
      return await this.#inexactIn(`(${all.join(' UNION ALL ')})`, columns);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** The columns of a relation that hold an integer which a double does not. */
  async #inexactIn(relation: string, columns: readonly string[]): Promise<string[]> {
    const counts = columns.map(
      (name, index) => `count(*) FILTER (WHERE ${quoteName(name)} NOT BETWEEN ${-EXACT_MAX} AND ${EXACT_MAX}) AS c${index}`,
    );
    const row = await this.engine.row(`SELECT ${counts.join(', ')} FROM ${relation}`);
    return columns.filter((_name, index) => asNumber(row[`c${index}`]) > 0);
  }

  /** @returns columns that rows which came meanwhile forbid */
  async #rewrite(table: Table, columns: readonly string[]): Promise<readonly string[]> {
    const { groupCommit, rewriter, wal } = this;
    const target = columns.reduce((schema, name) => schema.retyped(name, 'DOUBLE'), table.snapshot.schema);
    const view = table.pin(table.committedLsn(wal.id));
    try {
      const inputs = [...table.snapshot.files.values()];
      const segment = { where: '', middle: SHARD, dayMs: table.snapshot.timestampMs };
      const rewrite = await rewriter.write(table, view, inputs, () => Promise.resolve(inputs.length > 0 ? [segment] : []), target);
      let outcome: 'done' | 'again' | readonly string[];
      try {
        outcome = await groupCommit.exclusive(async () => this.#exchange(table, rewrite, columns, target));
      } finally {
        await rewriter.close(rewrite);
      }
      if (outcome !== 'done') await rewriter.discard(rewrite);
      else this.logger.info({ columns, files: inputs.length }, `${table.logLabel} DOUBLE now: ${columns.join(', ')}`);
      return typeof outcome === 'string' ? [] : outcome;
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** Alone in the writer loop. @returns the columns that forbid it, if there are any */
  async #exchange(
    table: Table,
    rewrite: Rewrite,
    columns: readonly string[],
    target: TableSchema,
  ): Promise<'done' | 'again' | readonly string[]> {
    // Rows that came since the flush are still BIGINT in the buffer; bulk files would have to be written anew, so then it is all done again.
    const { active } = table;
    if (active.bulkFiles.length > 0 || table.schema.columns.length !== target.columns.length) return 'again';
    const buffered = columns.filter((name) => active.schema?.column(name));
    const inexact = buffered.length === 0 ? [] : await this.#inexactIn(active.bufferTable, buffered);
    if (inexact.length > 0) return inexact;
    const operation = { name: 'CHANGE COLUMN', parameters: { column: columns.join(', '), type: 'DOUBLE' } };
    const change = (current: Snapshot): Action[] => {
      if (current.schema.nextFieldId !== target.nextFieldId - columns.length)
        throw new AppError('CONFLICT', `table ${table.name}: another node changed its columns; try again`);
      return [{ metaData: withSchema(current.metaData, target) }];
    };
    const snapshot = await this.rewriter.commit(rewrite, operation, change, true);
    try {
      await this.#showWidened(table, rewrite, buffered, target, snapshot);
    } catch (error) {
      throw this.failure.fail(`table ${table.name}: widened columns could not be shown to readers`, error);
    }
    return 'done';
  }

  async #showWidened(table: Table, rewrite: Rewrite, buffered: readonly string[], target: TableSchema, snapshot: Snapshot): Promise<void> {
    const { active } = table;
    for (const name of buffered) await this.engine.run(`ALTER TABLE ${active.bufferTable} ALTER COLUMN ${quoteName(name)} TYPE DOUBLE`);
    active.schema = active.schema && buffered.reduce((schema, name) => schema.retypedUnused(name, 'DOUBLE'), active.schema);
    table.schema = target;
    await this.rewriter.publish(rewrite, snapshot, NOTHING_FETCHED);
  }
}
