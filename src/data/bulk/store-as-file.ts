/** Rows that become a data file of their own: the file is written beside the log, synced, and named by one record of it. */
import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { faultPoint } from '../../common/fault-points.js';
import type { TableSchema } from '../../delta/table-schema.js';
import type { Table } from '../../tables/table.js';
import { type BulkCommand, RowsOutdated, type WriteAnswer } from '../write/write-command.js';
import { WritePath } from '../write-path.js';
import type { BulkBody } from './bulk-body.js';
import { BulkFiles, type BulkParquet } from './bulk-files.js';
import { assertThere, bulkAnswer, type BulkAnswer, type BulkRequest } from './bulk-request.js';
import { EncodeBulk } from './encode-bulk.js';
import type { RefusalList } from './refusal-list.js';
import { StoreAsRows } from './store-as-rows.js';

const ATTEMPTS_MAX = 5;

/** A SELECT with the columns of a schema; `release` lets go of what it reads. */
export interface RowSelect {
  readonly schema: TableSchema;
  readonly sql: string;
  readonly release: () => void;
}

/** Rows that a SELECT gives, for a table whose schema may change until they are in. */
export interface SelectedRows {
  readonly table: Table;
  /** The columns that the rows have in a table of this schema, and their SELECT. Asked again when the schema changed meanwhile. */
  readonly select: (schema: TableSchema) => Promise<RowSelect>;
  /** What they do to the rows that are there. */
  readonly existing: Pick<BulkCommand, 'replaces' | 'keepsExisting'>;
}

@Injectable()
export class StoreAsFile {
  constructor(
    private readonly encoding: EncodeBulk,
    private readonly files: BulkFiles,
    private readonly writePath: WritePath,
    private readonly asRows: StoreAsRows,
  ) {}

  /** Stores a body. @param refusalsBefore rows that were refused while it was opened */
  async store(given: BulkRequest, body: BulkBody, refusalsBefore: RefusalList): Promise<BulkAnswer> {
    let request = given;
    const narrow = new Set<string>();
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { nextFieldId } = request.table.schema;
      const refusals = refusalsBefore.copy();
      let parquet: BulkParquet | undefined;
      try {
        parquet = await this.encoding.encode(request, body, refusals, narrow);
        if (!parquet) return this.asRows.nothingStored(refusals);
        assertThere(request.isGone);
        const table = await request.ensureTable(parquet.lacksIds);
        request = { ...request, table };
        return bulkAnswer(await this.#log({ ...request, table }, parquet, nextFieldId), refusals);
      } catch (error) {
        // Other writes brought columns meanwhile: the field ids in the file may be theirs now.
        if (!(error instanceof RowsOutdated)) throw error;
      } finally {
        if (parquet) await this.files.removeUnlogged(parquet);
      }
    }
    throw new AppError('UNAVAILABLE', `table ${request.table.name}: its columns keep changing while this body is stored; send it again`);
  }

  /** Stores rows that come out of the engine, all in one instant. @returns how many became visible */
  async storeSelected({ table, select, existing }: SelectedRows): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { nextFieldId } = table.schema;
      const { schema, sql, release } = await select(table.schema);
      const parquet = await this.files.write(table, schema, sql).finally(release);
      if (!parquet) return 0;
      try {
        return (await this.#log({ table, idempotency: undefined, isGone: () => false }, parquet, nextFieldId, existing)).count;
      } catch (error) {
        if (!(error instanceof RowsOutdated)) throw error;
      } finally {
        await this.files.removeUnlogged(parquet);
      }
    }
    throw new AppError('UNAVAILABLE', `table ${table.name}: its columns keep changing while these rows are stored; try again`);
  }

  async #log(
    request: Pick<BulkRequest, 'idempotency' | 'isGone'> & { readonly table: Table },
    parquet: BulkParquet,
    nextFieldIdBefore: number,
    existing: SelectedRows['existing'] = {},
  ): Promise<WriteAnswer> {
    const { table, idempotency, isGone } = request;
    await this.files.sync(parquet);
    faultPoint('bulk.after-file');
    assertThere(isGone);
    const columns = parquet.schema.columns.filter((column) => !table.schema.column(column.name));
    const file = { path: parquet.file, statistics: parquet.statistics };
    const answer = await this.writePath.submit(() => ({ kind: 'bulk', table, file, columns, nextFieldIdBefore, ...existing }), idempotency);
    faultPoint('bulk.after-log');
    return answer;
  }
}
