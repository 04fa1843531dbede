/**
 * Replaces data files by others with the same rows: the mechanism under compaction and widening.
 *
 * The new files are written while the table goes on changing. Rows deleted in the meantime are found again in the new files by their LSN: those
 * whose delete is committed become deletion vectors in the very commit that brings the files, the others wait in the masks as before.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, OBJECT_STORE } from '../../common/tokens.js';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { faultPoint } from '../../common/fault-points.js';
import { Engine } from '../../engine/duckdb/engine.js';
import type { ObjectStore } from '../../storage/object-store.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import type { Action } from '../../delta/action.js';
import { VectorFile } from '../../delta/deletion-vector.js';
import type { Operation } from '../../delta/delta-log.js';
import type { FileStatistics } from '../../delta/file-statistics.js';
import { type DataFile, removeOf, type Snapshot } from '../../delta/snapshot.js';
import { commitActions } from '../../delta/commit-actions.js';
import type { TableSchema } from '../../delta/table-schema.js';
import type { ReadView } from '../../tables/view/read-view.js';
import { type OpenFile, type RowSources, selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { type Fetched, FollowPath, NOTHING_FETCHED, type OwnChanges } from '../follow-path.js';
import { addAction, newDataPath, sortOrder, writeDataFile } from '../flush/data-files.js';
import { addVectors, storeVectors } from '../flush/vectors.js';
import { insertMasks, movedMasks } from './moved-masks.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';

/** One file to write: which of the rows, and where it goes. */
export interface Segment {
  /** SQL condition on the table's columns; empty for all rows. */
  readonly where: string;
  readonly middle: string;
  readonly dayMs: number;
}

interface NewFile {
  readonly path: string;
  readonly local: string;
  readonly statistics: FileStatistics;
  readonly source: number;
  readonly isSoft: boolean;
}

export interface Rewrite {
  readonly table: Table;
  readonly view: ReadView;
  readonly inputs: readonly DataFile[];
  readonly files: readonly NewFile[];
}

@Injectable()
export class Rewriter {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly scratch: ScratchFiles,
    private readonly wal: WriteAheadLog,
    private readonly followPath: FollowPath,
  ) {}

  /**
   * Writes and uploads the new files. Nothing is visible yet; the caller goes on with `commit` or `discard`, and in any case ends with `close`.
   * @param view pinned and not yet opened
   * @param target schema of the new files; columns whose type differs are cast
   */
  async write(
    table: Table,
    view: ReadView,
    inputs: readonly DataFile[],
    segments: (sources: RowSources) => Promise<Segment[]>,
    target: TableSchema,
  ): Promise<Rewrite> {
    const chosen = new Set(inputs.map((file) => file.path));
    const inputFiles = await view.open((file) => chosen.has(file.path));
    const sources: RowSources = { schema: view.schema, masks: table.masks, files: inputFiles, generations: [], lsn: String(view.lsn) };
    const files: NewFile[] = [];
    const rewrite: Rewrite = { table, view, inputs, files };
    try {
      for (const segment of await segments(sources)) {
        for (const rows of ['visible', 'soft'] as const) {
          const file = await this.#writeSegment(table, sources, segment, rows, target);
          if (file) files.push(file);
        }
      }
      faultPoint('compaction.after-encode');
      for (const file of files) {
        table.uploading.add(file.path);
        await this.store.putFileIfAbsent(table.keyOf(file), file.local);
      }
      faultPoint('compaction.after-upload');
      return rewrite;
    } catch (error) {
      await this.discard(rewrite);
      throw error;
    }
  }

  async #writeSegment(
    table: Table,
    sources: RowSources,
    segment: Segment,
    rows: 'visible' | 'soft',
    target: TableSchema,
  ): Promise<NewFile | undefined> {
    const where = segment.where === '' ? {} : { where: segment.where };
    const select = selectRows(sources, { columns: sources.schema.columns, withPlace: true, rows, ...where });
    const casts = target.columns
      .filter((column) => sources.schema.column(column.name)?.type !== column.type)
      .map((column) => `"${column.name}"::${column.type} AS "${column.name}"`);
    const local = this.scratch.path('parquet');
    const sql = casts.length === 0 ? select : `SELECT * REPLACE (${casts.join(', ')}) FROM (${select})`;
    const statistics = await writeDataFile(this.engine, local, sql, target, sortOrder(target, table.config.sort_by), 'zstd');
    if (!statistics) {
      await this.scratch.remove(local);
      return undefined;
    }
    return { path: newDataPath(segment.middle, segment.dayMs), local, statistics, source: table.newSource(), isSoft: rows === 'soft' };
  }

  /**
   * Commits the exchange; the caller goes on with `publish`. Runs in the table's commit queue.
   * @param change further actions of the same commit (a new schema)
   * @param isAlone the caller is alone in the writer loop
   * @returns the table after it
   */
  async commit(
    rewrite: Rewrite,
    operation: Operation,
    change: (current: Snapshot) => Action[] = () => [],
    isAlone = false,
  ): Promise<Snapshot> {
    const { table, files } = rewrite;
    const committedLsn = table.committedLsn(this.wal.id);
    try {
      await this.#moveCommittedMasks(rewrite, committedLsn);
      const snapshot = await this.#commitFiles(rewrite, operation, committedLsn, change, isAlone);
      faultPoint('compaction.after-commit');
      return snapshot;
    } catch (error) {
      await table.masks.forget(files.map((file) => file.source));
      // After any other failure the commit may have succeeded all the same: then its files are the table's. If not, vacuum finds them.
      if (error instanceof AppError && error.code === 'CONFLICT') await this.discard(rewrite);
      throw error;
    }
  }

  /** Shows the committed files; alone in the writer loop. */
  async publish(rewrite: Rewrite, snapshot: Snapshot, fetched: Fetched): Promise<void> {
    const { table, files } = rewrite;
    await this.#movePendingMasks(rewrite, table.committedLsn(this.wal.id));
    for (const file of files) {
      table.adoptSource(file.path, file.source);
      table.uploading.delete(file.path);
    }
    await this.followPath.show(table, snapshot, ownChanges(rewrite), fetched);
  }

  /** Before the commit: notes in the masks of the new files what the commit hides in them, and everything that could be restored. */
  async #moveCommittedMasks({ table, view, files }: Rewrite, committedLsn: number): Promise<void> {
    const old = (await view.open()).filter((file) => table.masks.isMasked(file.source));
    if (old.length === 0) return;
    const visible = files.filter((file) => !file.isSoft);
    if (visible.length > 0 && view.lsn < committedLsn) {
      const since = `m.since > ${view.lsn} AND m.since <= ${committedLsn}`;
      await table.masks.add(insertMasks(table, movedMasks(table, old, visible.map(asRead), since, 'm.since, m.soft, m.changed')));
    }
    const soft = files.filter((file) => file.isSoft);
    if (soft.length === 0) return;
    const values = '0, m.soft, CASE WHEN m.soft THEN 0 ELSE m.changed END';
    await table.masks.add(insertMasks(table, movedMasks(table, old, soft.map(asRead), `m.since <= ${view.lsn}`, values)));
  }

  /** When the new files are shown: adds what no commit holds yet, as it is by now. The caller is alone in the writer loop. */
  async #movePendingMasks({ table, view, files }: Rewrite, committedLsn: number): Promise<void> {
    const changed = new Set(await table.masks.changedSources(committedLsn, Number.MAX_SAFE_INTEGER));
    const old = (await view.open()).filter((file) => changed.has(file.source));
    if (old.length === 0 || files.length === 0) return;
    const movedLsn = Math.max(view.lsn, committedLsn);
    const visible = files.filter((file) => !file.isSoft);
    if (visible.length > 0)
      await table.masks.add(
        insertMasks(table, movedMasks(table, old, visible.map(asRead), `m.since > ${movedLsn}`, 'm.since, m.soft, m.changed')),
      );
    // Hidden before, and restored or deleted for good since the masks were moved.
    await table.masks.harden(movedMasks(table, old, files.map(asRead), `m.since <= ${movedLsn} AND NOT m.soft`, 'm.changed'));
  }

  /** COMMIT POINT of a compaction or widening. */
  async #commitFiles(
    rewrite: Rewrite,
    operation: Operation,
    committedLsn: number,
    change: (current: Snapshot) => Action[],
    isAlone: boolean,
  ): Promise<Snapshot> {
    const { table, inputs, files } = rewrite;
    const { followPath } = this;
    const nowMs = this.clock.nowMs();
    const adds: Action[] = [];
    const vectors = new VectorFile();
    for (const file of files) {
      const { vector, softVector } = addVectors(vectors, await table.masks.positions(file.source, committedLsn));
      adds.push({
        add: addAction(file.path, file.statistics, nowMs, {
          dataChange: false,
          ...(vector ? { vector } : {}),
          ...(softVector ? { softVector } : {}),
        }),
      });
    }
    await storeVectors(this.store, table, vectors);
    return table.log.commit(table.snapshot, operation, async (current) => {
      assertOurs(table, current, this.wal.id);
      if (current.version !== table.snapshot.version)
        await (isAlone ? followPath.show(table, current, {}, NOTHING_FETCHED) : followPath.follow(table, current));
      const removes = inputs.map((input) => removeOf(liveFile(rewrite, input), nowMs, false));
      return commitActions(current, [...change(current), ...removes, ...adds], table.emptyFile, nowMs);
    });
  }

  /** Removes the local copies, when the rewrite has ended in whatever way. */
  async close(rewrite: Rewrite): Promise<void> {
    await this.scratch.remove(...rewrite.files.map((file) => file.local));
  }

  /** Takes back files that no commit names. */
  async discard(rewrite: Rewrite): Promise<void> {
    for (const file of rewrite.files) {
      await this.store.delete(rewrite.table.keyOf(file));
      rewrite.table.uploading.delete(file.path);
    }
  }
}

function ownChanges({ inputs }: Rewrite): OwnChanges {
  return { removed: new Set(inputs.map((file) => file.path)) };
}

/** The new file as the engine reads it: from where it was written. */
function asRead({ local, source }: NewFile): Pick<OpenFile, 'path' | 'source' | 'lsnBase'> {
  return { path: local, source, lsnBase: undefined };
}

/** The file as the newest version has it. @throws AppError CONFLICT when another writer replaced it or its hidden rows */
function liveFile({ table, view }: Rewrite, input: DataFile): DataFile {
  const file = table.snapshot.files.get(input.path);
  const known = view.files.find((candidate) => candidate.file.path === input.path);
  if (file && known?.source === table.sourceOf(file)) return file;
  throw new AppError('CONFLICT', `${input.path} was replaced by another writer; the next round will try again`);
}

/** @throws AppError CONFLICT when a flush of ours is in the log that we did not hear of: it has to be shown first */
function assertOurs(table: Table, current: Snapshot, walId: string): void {
  if ((current.transactions.get(walId) ?? 0) > table.committedLsn(walId))
    throw new AppError('CONFLICT', `table ${table.name}: a flush is not visible yet; the next round will try again`);
}
