/** Stage 2 of a write: the command is checked against its table, encoded, and gets its LSNs. Columns it adds are the table's from here on. */
import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { Engine } from '../../engine/duckdb/engine.js';
import type { TableSchema } from '../../delta/table-schema.js';
import type { Table } from '../../tables/table.js';
import { OtherNodes } from '../../tables/other-nodes.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { type Applicable, lastLsn } from './applicable.js';
import { Applier } from './apply.js';
import { encodeRecords, WideningNeeded } from './encode-records.js';
import { EncodeRulesOfTables } from './encode-rules.js';
import { LsnCounter } from './lsn-counter.js';
import { newestRows } from './newest-rows.js';
import type { RecordInput } from './record.js';
import { seenLogs } from './seen-logs.js';
import type { Outcome, Prepared, Submission } from './waiting.js';
import type { ArrowCommand, BulkCommand, MergeCommand, RowsCommand, WriteAnswer } from './write-command.js';

const NO_TABLES: ReadonlySet<Table> = new Set();

@Injectable()
export class PrepareWrite {
  constructor(
    private readonly engine: Engine,
    private readonly otherNodes: OtherNodes,
    private readonly wal: WriteAheadLog,
    private readonly applier: Applier,
    private readonly visible: VisibleLsn,
    private readonly lsns: LsnCounter,
    private readonly rules: EncodeRulesOfTables,
  ) {}

  /**
   * @param settled when everything that was logged before is applied
   * @returns what is to be logged, or how the command leaves the loop without that
   * @throws AppError for a command that does not fit its table
   */
  async run(submission: Submission, settled: Promise<void>): Promise<Prepared | Outcome> {
    const { command } = submission;
    const { table } = command;
    if (table.outOfService) throw table.outOfService;
    if (table.isDropped || table.isLeaving) return { kind: 'leaving' };
    if (lacksFiles(submission)) return { kind: 'fetch' };
    switch (command.kind) {
      case 'rows':
        return this.#rows(submission, command);
      case 'arrow':
        return this.#arrow(submission, command);
      case 'merge':
        await settled;
        return this.#rows(submission, await this.#asRows(command));
      case 'delete':
        return this.#delete(submission, table, command.ids, command.soft);
      case 'restore':
        await settled;
        return this.#restore(submission, table, command.ids);
      case 'bulk':
        return this.#bulk(submission, command);
    }
  }

  /** Those tables that other nodes drop. @throws AppError UNAVAILABLE when that cannot be known */
  async leavingOf(tables: ReadonlySet<Table>): Promise<ReadonlySet<Table>> {
    return this.otherNodes.mayExist ? this.otherNodes.dropping([...tables]) : NO_TABLES;
  }

  #rows(submission: Submission, command: RowsCommand): Prepared | Outcome {
    const { table, replaces, records } = command;
    let encoded;
    try {
      encoded = encodeRecords(records, table.schema, this.rules.of(table, command), submission.fixed);
    } catch (error) {
      if (error instanceof WideningNeeded) return { kind: 'widen', columns: error.columns };
      throw error;
    }
    if (encoded.records.length === 0) return this.#nothingStored([], encoded.refusals);
    const columns = addedColumns(table.schema, encoded.schema);
    if (this.otherNodes.mayExist && columns.length > 0) return { kind: 'declare', columns };
    table.schema = encoded.schema;
    const write: Applicable = {
      kind: 'rows',
      tableId: table.id,
      lines: Buffer.from(encoded.records.map((record) => `${record.text}}`).join('\n')),
      replaces,
      columns,
      ...(replaces || table.config.write_mode === 'upsert' ? this.#seenBy(table) : {}),
      ...this.lsns.take(encoded.records.length),
      ...keyOf(submission),
    };
    const ids = encoded.records.map((record) => record.id);
    return { table, schema: encoded.schema, write, answer: { lsn: lastLsn(write), ids, count: ids.length, refusals: encoded.refusals } };
  }

  #arrow(submission: Submission, { table, schema, stream, rows, fields, ids }: ArrowCommand): Prepared | Outcome {
    if (!table.schema.equals(schema)) return { kind: 'outdated' };
    const write: Applicable = {
      kind: 'arrow',
      tableId: table.id,
      stream,
      fields,
      ...(table.config.write_mode === 'upsert' ? this.#seenBy(table) : {}),
      ...this.lsns.take(rows),
      ...keyOf(submission),
    };
    return { table, schema: table.schema, write, answer: { lsn: lastLsn(write), ids: ids?.() ?? [], count: rows, refusals: [] } };
  }

  #nothingStored(ids: readonly string[], refusals: WriteAnswer['refusals']): Outcome {
    return { kind: 'stored', answer: { lsn: this.visible.value, ids, count: 0, refusals } };
  }

  /** A merge as the row that comes out of it, read when everything before it is applied. */
  async #asRows({ table, id, payload, timestamp }: MergeCommand): Promise<RowsCommand> {
    const newest = (await newestRows(this.engine, table, [id])).get(id);
    const record: RecordInput = {
      id,
      timestamp: timestamp ?? newest?.timestamp,
      payload: newest ? mergeFields(newest.payload, payload) : payload,
    };
    return { kind: 'rows', table, records: [record], replaces: true, onError: 'abort' };
  }

  #delete(submission: Submission, table: Table, ids: readonly string[], soft: boolean): Prepared {
    const write: Applicable = {
      kind: 'delete',
      tableId: table.id,
      ids,
      soft,
      ...this.#seenBy(table),
      ...this.lsns.take(1),
      ...keyOf(submission),
    };
    return { table, schema: table.schema, write, answer: { lsn: write.firstLsn, ids, count: 0, refusals: [] } };
  }

  async #restore(submission: Submission, table: Table, ids: readonly string[]): Promise<Prepared | Outcome> {
    if (table.config.write_mode === 'upsert') {
      const live = await this.applier.visibleIds(table, ids);
      if (live.length > 0)
        throw new AppError(
          'CONFLICT',
          `table ${table.name} keeps one row per id; these ids already have a row: ${live.join(', ')}; delete it first`,
        );
    }
    const count = await this.applier.countRestorable(table, ids);
    if (count === 0) return this.#nothingStored(ids, []);
    const write: Applicable = {
      kind: 'restore',
      tableId: table.id,
      ids,
      ...this.#seenBy(table),
      ...this.lsns.take(count),
      ...keyOf(submission),
    };
    return { table, schema: table.schema, write, answer: { lsn: lastLsn(write), ids, count, refusals: [] } };
  }

  #bulk(submission: Submission, { table, file, columns, nextFieldIdBefore, replaces, keepsExisting }: BulkCommand): Prepared | Outcome {
    if (table.schema.nextFieldId !== nextFieldIdBefore) return { kind: 'outdated' };
    if (this.otherNodes.mayExist && columns.length > 0) return { kind: 'declare', columns };
    table.schema = table.schema.withColumns(columns);
    const { statistics } = file;
    const write: Applicable = {
      kind: 'bulk',
      tableId: table.id,
      fileName: file.path.slice(file.path.lastIndexOf('/') + 1),
      statistics,
      columns,
      ...(replaces ? { replaces, ...this.#seenBy(table) } : {}),
      ...(keepsExisting ? { keepsExisting: true } : {}),
      ...this.lsns.take(statistics.rows),
      ...keyOf(submission),
    };
    return { table, schema: table.schema, write, answer: { lsn: lastLsn(write), ids: [], count: statistics.rows, refusals: [] } };
  }

  #seenBy(table: Table): { seen?: readonly number[] } {
    const seen = seenLogs(table.snapshot, this.wal.id);
    return seen.length === 0 ? {} : { seen };
  }
}

/** True when a commit brought files since the command's own were fetched. */
function lacksFiles({ command, held }: Submission): boolean {
  if (!held) return false;
  return [...command.table.snapshot.files.values()].some((file) => !held.paths.has(file.path) && held.mayHold(file));
}

function keyOf({ idempotency }: Submission): { idempotencyKey?: string; fingerprint?: string } {
  return idempotency ? { idempotencyKey: idempotency.key, fingerprint: idempotency.fingerprint } : {};
}

function addedColumns(before: TableSchema, after: TableSchema): TableSchema['columns'] {
  return before === after ? [] : after.columns.slice(before.columns.length);
}

/** `fields` over `base`; names are compared without case, and null takes a field away. */
function mergeFields(base: Record<string, unknown>, fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const replaced = new Set(Object.keys(fields).map((field) => field.toLowerCase()));
  const kept = Object.entries(base).filter(([field]) => !replaced.has(field.toLowerCase()));
  return { ...Object.fromEntries(kept), ...fields };
}
