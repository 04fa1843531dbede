/** Stage 4 of a flush: its files, the rows that deletes hide in older ones, and how far the log is in the table, in one commit. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { CLOCK, OBJECT_STORE } from '../../common/tokens.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { Action } from '../../delta/action.js';
import { commitActions } from '../../delta/commit-actions.js';
import { VectorFile, vectorKey } from '../../delta/deletion-vector.js';
import { removeOf, type Snapshot } from '../../delta/snapshot.js';
import { LSN_COLUMN, type TableSchema } from '../../delta/table-schema.js';
import { POSITION_COLUMN, selectRows, SOURCE_COLUMN } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { withSchema } from '../../tables/stored-config.js';
import { FollowPath } from '../follow-path.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { IdempotencyKeys } from '../write/idempotency.js';
import { seenLogs } from '../write/seen-logs.js';
import { addAction, withVectors } from './data-files.js';
import { bulkFilesOf, bulkPath, type EncodedFile, type Flush } from './flush.js';
import { addVectors, type FileVectors, storeVectors } from './vectors.js';

@Injectable()
export class CommitFlush {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly wal: WriteAheadLog,
    private readonly idempotencyKeys: IdempotencyKeys,
    private readonly followPath: FollowPath,
  ) {}

  /** COMMIT POINT of the flush. @returns the table with it, and with whatever else was committed since */
  async run(table: Table, flush: Flush, encoded: readonly EncodedFile[]): Promise<Snapshot> {
    const { wal, clock, followPath, idempotencyKeys } = this;
    const { lsn, schema } = flush;
    await idempotencyKeys.save();
    const rows = encoded.reduce((sum, file) => sum + file.statistics.rows, 0);
    return table.log.commit(table.snapshot, { name: 'WRITE', parameters: { rows: String(rows), lsn: String(lsn) } }, async (current) => {
      // An earlier attempt whose answer was lost had succeeded.
      if ((current.transactions.get(wal.id) ?? 0) >= lsn) return [];
      if (current.version !== table.snapshot.version) await followPath.follow(table, current);
      if (table.config.write_mode === 'upsert') await this.#replaceForeign(table, current, flush);
      const nowMs = clock.nowMs();
      const actions = await this.#actions(table, flush, encoded, nowMs);
      assertSameTypes(current.schema, schema);
      const merged = current.schema.withColumns(schema.columns);
      const changes: Action[] = merged === current.schema ? [] : [{ metaData: withSchema(current.metaData, merged) }];
      return commitActions(current, [...changes, ...actions], table.emptyFile, nowMs);
    });
  }

  /** Other nodes may have written the same ids of an upsert table, unseen by our writes: of two nodes the one that commits last counts. */
  async #replaceForeign(table: Table, current: Snapshot, { generations, lsn, schema }: Flush): Promise<void> {
    const { wal } = this;
    const now = seenLogs(current, wal.id).join();
    if (generations.every(({ seenFirst }) => seenFirst === undefined || seenFirst.join() === now)) return;
    const columns = schema.columns.slice(0, 1);
    const own = { schema, masks: table.masks, files: [], generations, lsn: String(lsn) };
    const view = table.pin(lsn);
    try {
      const stored = selectRows({ ...(await view.sources()), generations: [] }, { columns, withPlace: true, rows: 'visible' });
      await table.masks.add(
        `INSERT INTO ${table.masks.table} SELECT s.${SOURCE_COLUMN}, s.${POSITION_COLUMN}, ${lsn}, false, ${lsn}
         FROM (${stored}) s SEMI JOIN (${selectRows(own, { columns, withPlace: false, rows: 'visible' })}) o ON o.id = s.id
         WHERE s.${LSN_COLUMN} < ${wal.lsnStart} OR s.${LSN_COLUMN} >= ${wal.lsnEnd} RETURNING source, soft, since`,
      );
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  async #actions(table: Table, flush: Flush, encoded: readonly EncodedFile[], nowMs: number): Promise<Action[]> {
    const { wal, store } = this;
    const { lsn } = flush;
    const vectors = new VectorFile();
    const actions: Action[] = [];
    for (const file of encoded) {
      const hidden = file.isSoft ? addVectors(vectors, allPositions(file.statistics.rows)) : undefined;
      actions.push({ add: addAction(file.path, file.statistics, nowMs, { dataChange: true, ...definedVectors(hidden) }) });
    }
    for (const file of bulkFilesOf(flush)) {
      const hidden = addVectors(vectors, await table.masks.positions(file.source, lsn));
      actions.push({
        add: addAction(bulkPath(file), file.statistics, nowMs, { dataChange: true, lsnBase: file.lsnBase, ...definedVectors(hidden) }),
      });
    }
    actions.push(...(await this.#vectorChanges(table, flush, vectors, nowMs)));
    actions.push({ txn: { appId: wal.id, version: lsn, lastUpdated: nowMs } });
    await storeVectors(store, table, vectors);
    return actions;
  }

  /** Files of the table whose hidden rows changed since the last commit, and those whose vector stands in the log as older servers wrote it. */
  async #vectorChanges(table: Table, { lsn, vectors: given }: Flush, vectors: VectorFile, nowMs: number): Promise<Action[]> {
    const changed = new Set(await table.masks.changedSources(table.committedLsn(this.wal.id), lsn));
    const actions: Action[] = [];
    for (const file of table.snapshot.files.values()) {
      const source = table.sourceOf(file);
      if (!changed.has(source) && file.vector?.storageType !== 'i') continue;
      const positions = await table.masks.positions(source, lsn);
      // When only what can be restored differs, other readers see the same file: a remove and an add of it would name one file and vector twice in a
      // commit, which the protocol forbids.
      const hidesTheSame = positions.all.length === (file.vector?.cardinality ?? 0);
      const keepsVector = hidesTheSame && file.vector?.storageType !== 'i';
      const softVector = vectors.add(positions.soft);
      const vector = keepsVector ? file.vector : vectors.add(positions.all);
      given.set(file.path, `${vectorKey(vector)}|${vectorKey(softVector)}`);
      if (!keepsVector) actions.push(removeOf(file, nowMs, !hidesTheSame));
      actions.push({ add: withVectors(file.add, vector, softVector, !hidesTheSame) });
    }
    return actions;
  }
}

/** The files of a flush have a column with another type than the table by now. */
export class Outdated extends AppError {
  constructor(column: string) {
    super('UNAVAILABLE', `column ${column} got another type on another node; the flush will be repeated`);
  }
}

function assertSameTypes(current: TableSchema, written: TableSchema): void {
  for (const { name, fieldId } of written.columns) {
    const column = current.column(name);
    if (column && column.fieldId !== fieldId) throw new Outdated(name);
  }
}

function allPositions(rows: number): { all: number[]; soft: number[] } {
  const all = Array.from({ length: rows }, (_, position) => position);
  return { all, soft: all };
}

function definedVectors(vectors: FileVectors | undefined): Pick<Parameters<typeof addAction>[3], 'vector' | 'softVector'> {
  return { ...(vectors?.vector ? { vector: vectors.vector } : {}), ...(vectors?.softVector ? { softVector: vectors.softVector } : {}) };
}
