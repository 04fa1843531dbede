/**
 * Writes all files of a table anew with some columns as DOUBLE, and exchanges files and schema in one commit, while nothing is written to the table: its
 * buffer changes with them.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import { LOGGER } from '../../common/tokens.js';
import { Engine } from '../../engine/duckdb/engine.js';
import { quoteName } from '../../engine/duckdb/sql-text.js';
import type { Action } from '../../delta/action.js';
import type { Snapshot } from '../../delta/snapshot.js';
import type { TableSchema } from '../../delta/table-schema.js';
import { withSchema } from '../../tables/stored-config.js';
import type { Table } from '../../tables/table.js';
import { SHARD } from '../flush/data-files.js';
import { NOTHING_FETCHED } from '../follow-path.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { GroupCommit } from '../write/group-commit.js';
import { WriterFailure } from '../write/writer-failure.js';
import { inexactColumns } from './exact-as-double.js';
import { type Rewrite, Rewriter } from './rewrite.js';

@Injectable()
export class RewriteAsDouble {
  constructor(
    private readonly engine: Engine,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly rewriter: Rewriter,
    private readonly wal: WriteAheadLog,
  ) {}

  /** @returns columns that rows which came meanwhile forbid */
  async run(table: Table, columns: readonly string[]): Promise<readonly string[]> {
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
    await table.buffers.applyAll([active]);
    const inexact = await inexactColumns(this.engine, active.bufferTable, buffered);
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
