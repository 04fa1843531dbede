/**
 * Applies logged writes to buffers and masks, in the order of their LSNs. Only the writer loop and the replay call this, one call at a time.
 *
 * Neighbouring inserts, replacements and deletes of a table are applied together: all rows go in with one INSERT, then one statement hides, for
 * each replaced or deleted id, the rows with a smaller LSN than its own. LSNs keep the order inside such a run, so nothing needs to be split.
 */
import { Inject, Injectable } from '@nestjs/common';
import path from 'node:path';
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { CLOCK, DATA_PATHS } from '../../common/tokens.js';
import type { DataPaths } from '../../config/data-paths.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { asNumber, Engine } from '../../engine/duckdb/engine.js';
import { patiently } from '../../engine/duckdb/patiently.js';
import { textsOf } from '../../engine/arrow/plain-stream.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { LSNS_PER_WAL } from '../wal/lsn-range.js';
import { LSN_COLUMN, type TableSchema } from '../../delta/table-schema.js';
import type { BulkFile, Generation } from '../../tables/generation.js';
import { POSITION_COLUMN, readIds, selectRows, SOURCE_COLUMN } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { insertLinesSql, TableBuffers } from '../../tables/table-buffers.js';
import type { Applicable, ApplicableArrow, ApplicableBulk, ApplicableDelete, ApplicableRestore, ApplicableRows } from './applicable.js';
import { idsOf } from './applicable.js';
import { idCondition, mayHoldIds } from './find-rows.js';
import { mayHoldRange, rangeCondition } from './row-range.js';

/** A write together with the table it belongs to, and the table's columns once the write is in. */
export interface Addressed {
  readonly table: Table;
  readonly schema: TableSchema;
  readonly write: Applicable;
}

/** Hides the rows of an id that were written before it. */
interface IdOperation {
  readonly id: string;
  readonly lsn: number;
  readonly soft: boolean;
  /** Asked for as a delete, not as the replacement by a newer row. */
  readonly isDelete: boolean;
  readonly seen: readonly number[];
}

interface PreparedInsert {
  readonly schema: TableSchema;
  readonly statement: DuckDBPreparedStatement;
}

@Injectable()
export class Applier {
  readonly #inserts = new Map<string, PreparedInsert>();
  #connection: DuckDBConnection | undefined;

  constructor(
    private readonly engine: Engine,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(DATA_PATHS) private readonly paths: DataPaths,
    private readonly wal: WriteAheadLog,
    private readonly buffers: TableBuffers,
  ) {}

  /**
   * @param onDamage told of a table one of whose data files cannot be read: its writes are not applied from there on, those of the others are
   * @returns rows hidden or restored, by the LSN of the write that did it
   */
  async apply(writes: readonly Addressed[], onDamage: (table: Table, error: AppError) => void): Promise<Map<number, number>> {
    const affected = new Map<number, number>();
    for (const [table, own] of groupByTable(writes)) {
      try {
        for (const run of runsOf(own)) {
          for (const [lsn, count] of await this.#applyRun(table, run)) affected.set(lsn, count);
        }
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'DATA_CORRUPTION') throw error;
        onDamage(table, error);
      }
      table.lastWriteMs = this.clock.nowMs();
    }
    return affected;
  }

  async #applyRun(table: Table, run: readonly Addressed[]): Promise<Map<number, number>> {
    const schema = run.at(-1)?.schema ?? table.schema;
    const writes = run.map(({ write }) => write);
    const [first] = writes;
    if (first?.kind === 'restore') return this.#restore(table, schema, first);
    if (first?.kind === 'bulk') return this.#takeBulkFile(table, schema, first);
    if (first?.kind === 'arrow') return this.#takeBatches(table, schema, first);
    const rows = writes.filter((write) => write.kind === 'rows');
    if (rows.length > 0) await this.#insert(table, schema, rows);
    const operations = writes.flatMap((write) => idOperations(write, table));
    return operations.length === 0 ? new Map<number, number>() : this.#hide(table, operations);
  }

  async #insert(table: Table, schema: TableSchema, writes: readonly ApplicableRows[]): Promise<void> {
    const generation = table.active;
    await this.buffers.fit(generation, schema);
    const lines = linesOf(writes);
    const statement = await this.#preparedInsert(generation, generation.schema ?? schema);
    statement.bindBlob(1, lines);
    statement.bindVarchar(2, JSON.stringify(lsnRanges(writes)));
    await patiently(() => statement.run());
    generation.rows += writes.reduce((sum, write) => sum + write.lsnCount, 0);
    generation.bytes += lines.length;
    generation.oldestMs ??= this.clock.nowMs();
    generation.seenFirst ??= writes[0]?.seen ?? [];
  }

  async #takeBatches(table: Table, schema: TableSchema, write: ApplicableArrow): Promise<Map<number, number>> {
    const { stream, fields, firstLsn, lsnCount: rows } = write;
    const generation = table.active;
    generation.rows += rows;
    generation.bytes += stream.length;
    generation.oldestMs ??= this.clock.nowMs();
    generation.seenFirst ??= write.seen ?? [];
    await this.buffers.take(generation, schema, { stream, fields, rows, firstLsn });
    if (table.config.write_mode !== 'upsert') return new Map();
    const ids = textsOf(stream, fields.id);
    return this.#hide(
      table,
      ids.map((id, index) => ({ id, lsn: firstLsn + index, soft: false, isDelete: false, seen: write.seen ?? [] })),
    );
  }

  async #preparedInsert(generation: Generation, schema: TableSchema): Promise<DuckDBPreparedStatement> {
    const known = this.#inserts.get(generation.bufferTable);
    if (known?.schema === schema) return known.statement;
    known?.statement.destroySync();
    this.#connection ??= await this.engine.connect();
    const statement = await this.#connection.prepare(insertLinesSql(generation.bufferTable, schema));
    this.#inserts.set(generation.bufferTable, { schema, statement });
    return statement;
  }

  /** Frees what is kept for a buffer that gets no more rows. */
  forgetBuffer(generation: Generation): void {
    this.#inserts.get(generation.bufferTable)?.statement.destroySync();
    this.#inserts.delete(generation.bufferTable);
  }

  /** Hides the rows that the operations name. Rows hidden already stay as they are; of several operations on a row the first one counts. */
  async #hide(table: Table, operations: readonly IdOperation[]): Promise<Map<number, number>> {
    const ids = [...new Set(operations.map((operation) => operation.id))];
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources(undefined, mayHoldIds(ids));
      const matches = selectRows(sources, {
        columns: table.schema.columns.slice(0, 1),
        withPlace: true,
        rows: 'visible',
        where: idCondition(ids),
      });
      const listed = `SELECT unnest(from_json(${quoteText(JSON.stringify(operations.map(({ id }) => id)))}, '["VARCHAR"]')) AS id,
        unnest(from_json(${quoteText(JSON.stringify(operations.map(({ lsn }) => lsn)))}, '["BIGINT"]')) AS lsn,
        unnest(from_json(${quoteText(JSON.stringify(operations.map(({ soft }) => soft)))}, '["BOOLEAN"]')) AS soft,
        unnest(from_json(${quoteText(JSON.stringify(operations.map(({ seen }) => seen)))}, '[["BIGINT"]]')) AS seen`;
      const hidden = await patiently(() =>
        table.masks.add(
          `INSERT INTO ${table.masks.table}
         SELECT m.${SOURCE_COLUMN}, m.${POSITION_COLUMN}, min(o.lsn), arg_min(o.soft, o.lsn), min(o.lsn)
         FROM (${matches}) m JOIN (${listed}) o ON o.id = m.id AND ${this.#isOlder(`m.${LSN_COLUMN}`, 'o.lsn', 'o.seen')}
         GROUP BY m.${SOURCE_COLUMN}, m.${POSITION_COLUMN} RETURNING source, soft, since`,
        ),
      );
      await this.#forgetSoftDeleted(table, operations);
      if (hidden.size > 0) this.#noteMasks(table, Math.min(...hidden.keys()));
      return hidden;
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** SQL: a row was there when a write was made. Rows of other nodes were if the files held their log so far (`seen`, a list). */
  #isOlder(row: string, write: string, seen: string): string {
    // LSNs of another range belong to logs of other nodes.
    const { lsnEnd } = this.wal;
    const isOwn = `${row} >= ${lsnEnd - LSNS_PER_WAL} AND ${row} < ${lsnEnd}`;
    const isSeen = `len(list_filter(${seen}, s -> s // ${LSNS_PER_WAL} = ${row} // ${LSNS_PER_WAL} AND ${row} <= s)) > 0`;
    return `CASE WHEN ${isOwn} THEN ${row} < ${write} ELSE ${isSeen} END`;
  }

  #noteMasks(table: Table, lsn: number): void {
    table.masksSinceMs ??= this.clock.nowMs();
    table.firstMaskLsn = Math.min(table.firstMaskLsn ?? lsn, lsn);
  }

  /** A hard delete also ends the chance to restore what was soft-deleted before it. */
  async #forgetSoftDeleted(table: Table, operations: readonly IdOperation[]): Promise<void> {
    const hard = operations.filter((operation) => !operation.soft && operation.isDelete);
    if (hard.length === 0 || !table.masks.hasSoft) return;
    const listed = `SELECT unnest(from_json(${quoteText(JSON.stringify(hard.map(({ id }) => id)))}, '["VARCHAR"]')) AS id,
      unnest(from_json(${quoteText(JSON.stringify(hard.map(({ lsn }) => lsn)))}, '["BIGINT"]')) AS lsn`;
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const soft = await this.#softRowsSql(table, view, [...new Set(hard.map(({ id }) => id))]);
      const rows = `SELECT s.${SOURCE_COLUMN}, s.${POSITION_COLUMN}, max(o.lsn) AS lsn FROM (${soft}) s JOIN (${listed}) o ON o.id = s.id GROUP BY ALL`;
      await this.#harden(table, rows);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /**
   * Makes soft-deleted rows ordinary deleted ones.
   * @param rows SQL of source, position and the LSN of what ends their chance to be restored
   * @returns how many
   */
  async #harden(table: Table, rows: string): Promise<number> {
    const changes = await table.masks.harden(rows);
    if (changes.length > 0)
      this.#noteMasks(
        table,
        changes.reduce((first, lsn) => Math.min(first, lsn)),
      );
    return changes.length;
  }

  async #softRowsSql(table: Table, view: ReturnType<Table['pin']>, ids: readonly string[]): Promise<string> {
    const sources = await view.sources(undefined, mayHoldIds(ids));
    return selectRows(sources, { columns: view.schema.columns, withPlace: true, rows: 'soft', where: idCondition(ids) });
  }

  /** Soft-deleted rows that a restore of these ids brings back: all of them, or the newest of each id in an upsert table. */
  async #restorable(table: Table, view: ReturnType<Table['pin']>, ids: readonly string[]): Promise<string> {
    const rows = await this.#softRowsSql(table, view, ids);
    if (table.config.write_mode === 'append') return rows;
    return `SELECT * FROM (${rows}) QUALIFY row_number() OVER (PARTITION BY id ORDER BY ${LSN_COLUMN} DESC) = 1`;
  }

  /** @returns how many rows a restore would bring back now */
  async countRestorable(table: Table, ids: readonly string[]): Promise<number> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const row = await this.engine.row(`SELECT count(*) AS n FROM (${await this.#restorable(table, view, ids)})`);
      return asNumber(row['n']);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** @returns those of the ids that have a visible row */
  async visibleIds(table: Table, ids: readonly string[]): Promise<string[]> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources(undefined, mayHoldIds(ids));
      const rows = selectRows(sources, {
        columns: table.schema.columns.slice(0, 1),
        withPlace: false,
        rows: 'visible',
        where: idCondition(ids),
      });
      return (await this.engine.rows(`SELECT DISTINCT id FROM (${rows}) ORDER BY id LIMIT 10`)).map((row) => String(row['id']));
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  async #restore(table: Table, schema: TableSchema, write: ApplicableRestore): Promise<Map<number, number>> {
    const generation = table.active;
    await this.buffers.fit(generation, schema);
    const view = table.pin(write.firstLsn - 1);
    try {
      const restorable = await this.#restorable(table, view, write.ids);
      const rows = `SELECT * FROM (${restorable}) WHERE ${this.#isOlder(LSN_COLUMN, String(write.firstLsn), listOf(write.seen ?? []))}`;
      const names = schema.columnList;
      const kept = `${generation.bufferTable}_restored`;
      await this.engine.run(`CREATE TABLE ${kept} AS SELECT * FROM (${rows})`);
      try {
        await this.engine.run(
          `INSERT INTO ${generation.bufferTable} (${LSN_COLUMN}, ${names})
           SELECT ${write.firstLsn} + row_number() OVER (ORDER BY ${LSN_COLUMN}) - 1, ${names} FROM ${kept}`,
        );
        const restored = await this.#harden(table, `SELECT ${SOURCE_COLUMN}, ${POSITION_COLUMN}, ${write.firstLsn} AS lsn FROM ${kept}`);
        generation.rows += restored;
        generation.bytes += restored * 200;
        generation.oldestMs ??= this.clock.nowMs();
        return new Map([[write.firstLsn, restored]]);
      } finally {
        await this.engine.run(`DROP TABLE ${kept}`);
      }
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  async #takeBulkFile(table: Table, schema: TableSchema, write: ApplicableBulk): Promise<Map<number, number>> {
    const { firstLsn, statistics } = write;
    const file = { path: path.join(this.paths.bulk, write.fileName), statistics, lsnBase: firstLsn, source: table.newSource(), schema };
    if (write.replaces) await this.#hideReplaced(table, write, file);
    const doubled = write.keepsExisting ? await this.#hideDoubled(table, file, firstLsn) : 0;
    table.active.bulkFiles.push(file);
    table.active.oldestMs ??= this.clock.nowMs();
    return new Map([[firstLsn, statistics.rows - doubled]]);
  }

  /** Hides the rows that those of a bulk file take the place of: of its range, and in an upsert table of its ids. */
  async #hideReplaced(table: Table, { replaces = {}, firstLsn, seen = [] }: ApplicableBulk, file: BulkFile): Promise<void> {
    const isUpsert = table.config.write_mode === 'upsert';
    const range = rangeCondition(replaces);
    const where = isUpsert && range !== '' ? `(${range}) OR id IN (SELECT b.id FROM ${readIds(file.path)} b)` : range;
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const sources = await view.sources(undefined, isUpsert ? undefined : mayHoldRange(replaces));
      const columns = table.schema.columns.slice(0, 2);
      const rows = selectRows(sources, { columns, withPlace: true, rows: 'visible', ...(where === '' ? {} : { where }) });
      const hidden = await patiently(() =>
        table.masks.addAt(
          firstLsn,
          `SELECT ${SOURCE_COLUMN}, ${POSITION_COLUMN}, ${firstLsn}, false, ${firstLsn} FROM (${rows}) WHERE ${this.#isOlder(LSN_COLUMN, String(firstLsn), listOf(seen))}`,
        ),
      );
      if (hidden > 0) this.#noteMasks(table, firstLsn);
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** Hides those rows of a bulk file whose id the table has already. */
  async #hideDoubled(table: Table, file: BulkFile, lsn: number): Promise<number> {
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const columns = table.schema.columns.slice(0, 1);
      const rows = selectRows(await view.sources(), { columns, withPlace: false, rows: 'visible' });
      return await patiently(() =>
        table.masks.addAt(
          lsn,
          `SELECT ${file.source}, r.file_row_number, ${lsn}, false, ${lsn}
           FROM ${readIds(file.path)} r SEMI JOIN (${rows}) e ON e.id = r.id`,
        ),
      );
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }
}

function listOf(lsns: readonly number[]): string {
  return `[${lsns.join()}]::BIGINT[]`;
}

function groupByTable(writes: readonly Addressed[]): Map<Table, Addressed[]> {
  const groups = new Map<Table, Addressed[]>();
  for (const addressed of writes) {
    if (addressed.table.isDropped || addressed.table.outOfService) continue;
    const group = groups.get(addressed.table);
    if (group) group.push(addressed);
    else groups.set(addressed.table, [addressed]);
  }
  return groups;
}

/** Neighbours that can be applied together; a restore and a bulk file stand alone. */
function runsOf(writes: readonly Addressed[]): Addressed[][] {
  const runs: Addressed[][] = [];
  for (const addressed of writes) {
    const last = runs.at(-1);
    if (last?.[0] && !standsAlone(addressed) && !standsAlone(last[0])) last.push(addressed);
    else runs.push([addressed]);
  }
  return runs;
}

function standsAlone({ write }: Addressed): boolean {
  return write.kind === 'restore' || write.kind === 'bulk' || write.kind === 'arrow';
}

/** The lines of several writes, one after the other. */
function linesOf(writes: readonly ApplicableRows[]): Buffer {
  const [first, ...others] = writes;
  if (first && others.length === 0) return first.lines;
  return Buffer.concat(writes.flatMap(({ lines }, index) => (index === 0 ? [lines] : [LINE_END, lines])));
}

const LINE_END = Buffer.from('\n');

/** The LSNs of their rows, as [first, end) of each piece without a gap. */
function lsnRanges(writes: readonly ApplicableRows[]): [number, number][] {
  const ranges: [number, number][] = [];
  for (const { firstLsn, lsnCount } of writes) {
    const last = ranges.at(-1);
    if (last?.[1] === firstLsn) last[1] += lsnCount;
    else ranges.push([firstLsn, firstLsn + lsnCount]);
  }
  return ranges;
}

function idOperations(write: Applicable, table: Table): IdOperation[] {
  if (write.kind === 'delete')
    return (write satisfies ApplicableDelete).ids.map((id) => ({
      id,
      lsn: write.firstLsn,
      soft: write.soft,
      isDelete: true,
      seen: write.seen ?? [],
    }));
  if (write.kind !== 'rows' || !(write.replaces || table.config.write_mode === 'upsert')) return [];
  return idsOf(write).map((id, index) => ({ id, lsn: write.firstLsn + index, soft: false, isDelete: false, seen: write.seen ?? [] }));
}
