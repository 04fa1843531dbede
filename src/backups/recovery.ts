/**
 * Brings rows back, from a data backup or from an older version of a table:
 *
 *   choose the source → find the rows of the range → leave out what is there already, or take its place → one bulk write
 *
 * A range is any mix of ids, a pattern of ids and a time range. A table that is gone comes back with its files as they were. Everything goes in as one
 * logged write a table, so it is there as a whole or not at all.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import type { RowRange } from '../data/write/row-range.js';
import { type AsOf, pinAsOf } from '../query/paging/as-of.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BackupCounts } from './backup-counts.js';
import { BackupRecovery } from './recover-from-backup.js';
import { RowRecovery } from './recover-rows.js';
import type { RecoverResult } from './recovered-table.js';

export interface RecoverRequest {
  /** Neither this nor `asOf`: the newest backup. */
  readonly backupId: string | undefined;
  readonly asOf: AsOf | undefined;
  /** Undefined: every table of the backup. */
  readonly table: string | undefined;
  /** Undefined: the table itself. */
  readonly targetTable: string | undefined;
  /** Node whose newest backup is used. */
  readonly nodeId: string | undefined;
  readonly range: RowRange;
  /** Rows of the range take the place of those that are there now. */
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

@Injectable()
export class Recovery {
  constructor(
    private readonly registry: TableRegistry,
    private readonly rows: RowRecovery,
    private readonly backups: BackupRecovery,
    private readonly counts: BackupCounts,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * @throws AppError NOT_FOUND when the backup, table or version is not there or no row fits, DATA_CORRUPTION for a damaged backup, CONFLICT for a
   *   column that has another type by now
   */
  recover(request: RecoverRequest): Promise<RecoverResult> {
    return request.dryRun ? this.#recoverNow(request) : this.counts.restore(() => this.#recoverNow(request));
  }

  async #recoverNow(request: RecoverRequest): Promise<RecoverResult> {
    const result = request.asOf ? await this.#fromVersion(request, request.asOf) : await this.backups.recover(request);
    if (result.tables.every(({ rows_matched: rows, isWhole }) => rows === 0 && !isWhole))
      throw new AppError('NOT_FOUND', `no row of ${result.source} matches the request; nothing was recovered`);
    if (!request.dryRun)
      for (const { target_table: target, rows_recovered: rows } of result.tables)
        this.logger.info({ rows }, `table:${target} restore from ${result.source}`);
    return result;
  }

  async #fromVersion(request: RecoverRequest, asOf: AsOf): Promise<RecoverResult> {
    const table = this.registry.get(request.table ?? '');
    const view = (await pinAsOf([table], asOf)).get(table.name);
    if (!view) throw new AppError('INTERNAL', `version of table ${table.name} was not pinned`);
    try {
      const source = { name: table.name, config: table.config, view };
      return { source: `version ${view.version} of table ${table.name}`, tables: [await this.rows.recover(source, request)] };
    } finally {
      view.release();
    }
  }
}
