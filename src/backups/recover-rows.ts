/** Recovers rows of a range: finds them in the source, leaves out what is there already or takes its place, and stores them in one bulk write. */
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { type RowSelect, StoreAsFile } from '../data/bulk/store-as-file.js';
import { mayHoldRange, rangeCondition, type RowRange } from '../data/write/row-range.js';
import { LSN_COLUMN, type TableSchema } from '../delta/table-schema.js';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import { TableCreation } from '../tables/create-table.js';
import type { Table } from '../tables/table.js';
import type { TableConfig } from '../tables/table-config.js';
import { TableRegistry } from '../tables/table-registry.js';
import type { ReadView } from '../tables/view/read-view.js';
import { selectRows, SOURCE_COLUMN } from '../tables/view/row-sql.js';
import { fitColumns, type FittedColumns } from './recovered-columns.js';
import type { RecoveredTable } from './recovered-table.js';
import type { RecoverRequest } from './recovery.js';

/** Ids that an answer lists. */
const KEYS_LISTED_MAX = 1_000;

/** A table as it was, opened for reading. */
export interface Source {
  readonly name: string;
  readonly config: TableConfig;
  readonly view: ReadView;
}

@Injectable()
export class RowRecovery {
  constructor(
    private readonly engine: Engine,
    private readonly registry: TableRegistry,
    private readonly creation: TableCreation,
    private readonly asFile: StoreAsFile,
  ) {}

  async recover(source: Source, request: RecoverRequest): Promise<RecoveredTable> {
    const { range, overwrite, dryRun } = request;
    const name = request.targetTable ?? source.name;
    const matched = await this.#rowsOf(source, range);
    const { rows: rowsMatched } = await this.#summary(matched);
    const existing = this.registry.find(name);
    const recovered = { table: source.name, target_table: existing?.name ?? name, rows_matched: rowsMatched };
    if (rowsMatched === 0) return { ...recovered, rows_recovered: 0, files_recovered: 0, recovered_keys: [] };
    if (!existing && dryRun) return { ...recovered, ...(await this.#described(matched)) };
    const target = existing ?? (await this.creation.create(name, source.config, source.view.schema));
    const select = (schema: TableSchema): Promise<RowSelect> => this.#select(source, matched, target, schema, request);
    const { sql, release } = await select(target.schema);
    const described = await this.#described(sql).finally(release);
    if (dryRun || described.rows_recovered === 0) return { ...recovered, ...described };
    const effect = overwrite ? { replaces: range } : target.config.write_mode === 'upsert' ? { keepsExisting: true } : {};
    const rows = await this.asFile.storeSelected({ table: target, select, existing: effect });
    return { ...recovered, ...described, rows_recovered: rows };
  }

  /** SQL of the rows of a range in the source, with their places. */
  async #rowsOf({ view }: Source, range: RowRange): Promise<string> {
    const sources = await view.sources(undefined, mayHoldRange(range));
    const where = rangeCondition(range);
    return selectRows(sources, { columns: view.schema.columns, withPlace: true, rows: 'visible', ...(where === '' ? {} : { where }) });
  }

  /** The rows to write, as a table of `schema` has them. Held files are let go by `release`. */
  async #select(
    source: Source,
    matched: string,
    target: Table,
    schema: TableSchema,
    { range, overwrite }: RecoverRequest,
  ): Promise<RowSelect> {
    const isUpsert = target.config.write_mode === 'upsert';
    const fitted = fitColumns(source.view.schema, schema, target.name);
    await this.#assertExact(fitted, matched, target);
    // An upsert table has one row an id: the last one written.
    const newest = isUpsert ? ` QUALIFY row_number() OVER (PARTITION BY s.id ORDER BY s.${LSN_COLUMN} DESC) = 1` : '';
    const select = `SELECT ${fitted.select}, s.${SOURCE_COLUMN}`;
    if (overwrite) return { schema: fitted.schema, sql: `${select} FROM (${matched}) s${newest}`, release: () => undefined };
    const view = target.pin(Number.MAX_SAFE_INTEGER);
    try {
      const columns = schema.columns.slice(0, 2);
      const there = selectRows(await view.sources(undefined, mayHoldRange(isUpsert ? {} : range)), {
        columns,
        withPlace: false,
        rows: 'visible',
      });
      const isSame = isUpsert ? 'e.id = s.id' : 'e.id = s.id AND e."timestamp" = s."timestamp"';
      const sql = `${select} FROM (${matched}) s ANTI JOIN (${there}) e ON ${isSame}${newest}`;
      return { schema: fitted.schema, sql, release: () => view.release() };
    } catch (error) {
      view.release();
      throw error;
    }
  }

  /** @throws AppError CONFLICT naming a column that is DOUBLE now and was an integer too large for that */
  async #assertExact({ inexact }: FittedColumns, matched: string, target: Table): Promise<void> {
    for (const [column, condition] of inexact) {
      const row = await this.engine.row(`SELECT count(*) AS n FROM (${matched}) s WHERE ${condition}`);
      if (asNumber(row['n']) > 0)
        throw new AppError(
          'CONFLICT',
          `table ${target.name}: column ${column} is now DOUBLE, which cannot hold ${asNumber(row['n'])} of the old integers exactly; recover into another table (target_table)`,
        );
    }
  }

  async #summary(rows: string): Promise<{ rows: number; files: number }> {
    const row = await this.engine.row(`SELECT count(*) AS n, count(DISTINCT ${SOURCE_COLUMN}) AS files FROM (${rows})`);
    return { rows: asNumber(row['n']), files: asNumber(row['files']) };
  }

  async #described(rows: string): Promise<Pick<RecoveredTable, 'rows_recovered' | 'files_recovered' | 'recovered_keys'>> {
    const { rows: count, files } = await this.#summary(rows);
    return { rows_recovered: count, files_recovered: files, recovered_keys: await this.keysOf(rows) };
  }

  /** The first ids of some rows. */
  async keysOf(rows: string): Promise<string[]> {
    const keys = await this.engine.rows(`SELECT DISTINCT id FROM (${rows}) ORDER BY id LIMIT ${KEYS_LISTED_MAX}`);
    return keys.map((row) => String(row['id']));
  }
}
