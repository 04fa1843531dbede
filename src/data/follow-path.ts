/**
 * The path of a commit to the readers, whoever made it:
 *
 *   read the log → load what the new version hides → carry over our own deletes that are not committed → show it
 *
 * A table's log may have other writers: other nodes, or this one in a commit whose answer was lost. What they replaced is exchanged here between two
 * ticks of the writer loop, so that a reader meets the table before or after, and a delete of ours that waits for its commit follows its row into
 * the file where it stands now.
 */
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, OBJECT_STORE } from '../common/tokens.js';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import type { LocalObject, ObjectStore } from '../storage/object-store.js';
import { quoteName } from '../engine/duckdb/sql-text.js';
import { vectorKey } from '../delta/deletion-vector.js';
import type { DataFile, Snapshot } from '../delta/snapshot.js';
import type { TableSchema } from '../delta/table-schema.js';
import type { OpenFile } from '../tables/view/row-sql.js';
import type { HiddenRows, Table } from '../tables/table.js';
import { TableConfiguration } from '../tables/configure-table.js';
import { insertMasks, movedMasks } from './maintenance/moved-masks.js';
import { WriteAheadLog } from './wal/write-ahead-log.js';
import { TableEvents } from '../tables/table-events.js';
import { GroupCommit } from './write/group-commit.js';

/** Integers beyond these are not exact as DOUBLE. */
const EXACT_DOUBLE_MAX = 2 ** 53;

/** What a commit of ours changed: its masks are right already. */
export interface OwnChanges {
  /** Paths of files that it took out. */
  readonly removed?: ReadonlySet<string>;
  /** Vectors that it gave to files, by path. */
  readonly vectors?: ReadonlyMap<string, string>;
}

/** Hidden rows by path, and files that stay on the local disk until `release`. */
export interface Fetched {
  readonly vectors: ReadonlyMap<string, HiddenRows>;
  readonly release: () => void;
}

export const NOTHING_FETCHED: Fetched = { vectors: new Map(), release: () => undefined };

@Injectable()
export class FollowPath {
  constructor(
    private readonly engine: Engine,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly configuration: TableConfiguration,
    private readonly wal: WriteAheadLog,
    private readonly groupCommit: GroupCommit,
    events: TableEvents,
  ) {
    events.before('versionCommitted', (table, snapshot) => this.follow(table, snapshot));
  }

  /**
   * Reads the log on and shows what is new. In the table's commit queue; not in the writer loop.
   * @returns false when a flush of ours is in it whose answer was lost: its rows must be shown together with dropping their buffer, which the next
   *   flush does
   */
  async catchUp(table: Table): Promise<boolean> {
    const newest = await table.log.refresh(table.snapshot);
    if (this.#hasUnseenFlush(table, newest)) return false;
    if (newest.version > table.snapshot.version) await this.follow(table, newest);
    return true;
  }

  /** True when a version holds rows of our log that we still have in buffers. */
  #hasUnseenFlush(table: Table, snapshot: Snapshot): boolean {
    const { id } = this.wal;
    return (snapshot.transactions.get(id) ?? 0) > table.committedLsn(id);
  }

  /** Shows a newer version. */
  async follow(table: Table, snapshot: Snapshot): Promise<void> {
    const fetched = await this.fetch(table, snapshot);
    try {
      await this.groupCommit.exclusive(() => this.show(table, snapshot, {}, fetched));
    } finally {
      fetched.release();
    }
  }

  /** What showing a version needs from the store, fetched before the writer loop has to wait for it. */
  async fetch(table: Table, snapshot: Snapshot, own: OwnChanges = {}): Promise<Fetched> {
    const before = table.snapshot;
    const vectors = new Map<string, HiddenRows>();
    const read = table.vectorReader();
    for (const file of snapshot.files.values()) {
      const isNew = !before.files.has(file.path) && !table.knowsSource(file.path);
      if (isNew || hasForeignVector(file, before, own)) vectors.set(file.path, await read(file));
    }
    const { removed, added } = difference(before, snapshot, own);
    const pending = await this.#withPendingMasks(table, removed);
    const opened: LocalObject[] = [];
    const release = (): void => opened.forEach((object) => object.release());
    try {
      if (pending.length > 0)
        for (const file of [...pending, ...added]) opened.push(await this.store.openLocal(table.keyOf(file), file.sizeBytes));
    } catch (error) {
      release();
      throw error;
    }
    return { vectors, release };
  }

  /** Shows a newer version; the caller is alone in the writer loop. */
  async show(table: Table, snapshot: Snapshot, own: OwnChanges, { vectors }: Fetched): Promise<void> {
    const before = table.snapshot;
    const { removed, added } = difference(before, snapshot, own);
    await this.#retypeBuffers(table, snapshot.schema);
    for (const file of added) {
      if (!table.knowsSource(file.path)) await table.loadSource(file, vectors.get(file.path) ?? (await table.vectorReader()(file)));
    }
    await this.#carryMasks(table, removed, added);
    const retiredSources = await this.#takeForeignVectors(table, before, snapshot, own, vectors);
    const schema = snapshot.schema.withColumns(table.schema.columns);
    // The same object as long as it says the same: prepared statements are kept by it.
    if (!schema.equals(table.schema)) table.schema = schema;
    table.snapshot = snapshot;
    table.retireFiles([...before.files.values()].filter((file) => !snapshot.files.has(file.path)));
    if (retiredSources.length > 0) table.retireSources(retiredSources);
    this.configuration.adopt(table, snapshot.metaData);
  }

  /** Our deletes that no commit holds yet, for rows of files that somebody else replaced: the rows stand in the new files now. */
  async #carryMasks(table: Table, removed: readonly DataFile[], added: readonly DataFile[]): Promise<void> {
    const pending = await this.#withPendingMasks(table, removed);
    if (pending.length === 0 || added.length === 0) return;
    const opened: LocalObject[] = [];
    const open = async (file: DataFile): Promise<OpenFile> => {
      const object = await this.store.openLocal(table.keyOf(file), file.sizeBytes);
      opened.push(object);
      return { path: object.path, source: table.sourceOf(file), lsnBase: file.lsnBase, hasEveryColumn: false };
    };
    try {
      const old: OpenFile[] = [];
      for (const file of pending) old.push(await open(file));
      const now: OpenFile[] = [];
      for (const file of added) now.push(await open(file));
      const committedLsn = table.committedLsn(this.wal.id);
      await table.masks.add(insertMasks(table, movedMasks(table, old, now, `m.since > ${committedLsn}`, 'm.since, m.soft, m.changed')));
      await table.masks.harden(movedMasks(table, old, now, `m.changed > ${committedLsn} AND NOT m.soft`, 'm.changed'));
    } finally {
      for (const object of opened) object.release();
    }
  }

  async #withPendingMasks(table: Table, files: readonly DataFile[]): Promise<DataFile[]> {
    if (files.length === 0) return [];
    const changed = new Set(await table.masks.changedSources(table.committedLsn(this.wal.id), Number.MAX_SAFE_INTEGER));
    return files.filter((file) => changed.has(table.sourceOf(file)));
  }

  /**
   * Files whose deletion vector somebody else replaced get a new number in the masks, with what the new vector hides and our own pending deletes;
   * views in use keep the old number.
   * @returns the old numbers
   */
  async #takeForeignVectors(
    table: Table,
    before: Snapshot,
    snapshot: Snapshot,
    own: OwnChanges,
    vectors: ReadonlyMap<string, HiddenRows>,
  ): Promise<number[]> {
    const retired: number[] = [];
    for (const file of snapshot.files.values()) {
      if (!hasForeignVector(file, before, own)) continue;
      const old = table.sourceOf(file);
      const source = await table.loadSource(file, vectors.get(file.path) ?? (await table.vectorReader()(file)));
      const committedLsn = table.committedLsn(this.wal.id);
      await table.masks.add(
        `INSERT INTO ${table.masks.table} SELECT ${source}, m.pos, m.since, m.soft, m.changed FROM ${table.masks.table} m
         WHERE m.source = ${old} AND m.since > ${committedLsn} AND m.pos NOT IN (SELECT pos FROM ${table.masks.table} WHERE source = ${source})
         RETURNING source, soft, since`,
      );
      await table.masks.harden(
        `SELECT ${source}, m.pos, m.changed FROM ${table.masks.table} m WHERE m.source = ${old} AND m.changed > ${committedLsn} AND NOT m.soft`,
      );
      retired.push(old);
    }
    return retired;
  }

  /** Another node made a BIGINT column DOUBLE: our buffered rows follow, if they are exact. */
  async #retypeBuffers(table: Table, schema: TableSchema): Promise<void> {
    for (const generation of table.generations) {
      const before = generation.schema;
      if (!before) continue;
      await table.buffers.applyAll([generation]);
      const retyped = schema.columns.filter((column) => {
        const known = before.column(column.name);
        return known !== undefined && known.type !== column.type;
      });
      for (const column of retyped) {
        const name = quoteName(column.name);
        const row = await this.engine.row(
          `SELECT count(*) AS n FROM ${generation.bufferTable} WHERE ${name} NOT BETWEEN ${-EXACT_DOUBLE_MAX} AND ${EXACT_DOUBLE_MAX}`,
        );
        if (asNumber(row['n']) > 0)
          throw new AppError(
            'CONFLICT',
            `table ${table.name}: column ${column.name} became DOUBLE on another node, but rows here contain integers that a DOUBLE cannot hold; they stay in the write-ahead log`,
          );
        await this.engine.run(`ALTER TABLE ${generation.bufferTable} ALTER COLUMN ${name} TYPE ${column.type}`);
        generation.schema = schema;
      }
    }
  }
}

/** Files that somebody else took out, and all that came in. */
function difference(before: Snapshot, snapshot: Snapshot, own: OwnChanges): { removed: DataFile[]; added: DataFile[] } {
  return {
    removed: [...before.files.values()].filter((file) => !snapshot.files.has(file.path) && own.removed?.has(file.path) !== true),
    added: [...snapshot.files.values()].filter((file) => !before.files.has(file.path)),
  };
}

function hasForeignVector(file: DataFile, before: Snapshot, own: OwnChanges): boolean {
  const known = before.files.get(file.path);
  const key = vectorsOf(file);
  return known !== undefined && vectorsOf(known) !== key && own.vectors?.get(file.path) !== key;
}

/** Tells the hidden rows of a file, restorable ones apart. */
function vectorsOf(file: DataFile): string {
  return `${vectorKey(file.vector)}|${vectorKey(file.softVector)}`;
}
