/**
 * The path of buffered rows into the table, stage by stage:
 *
 *   freeze → encode Parquet → upload → commit to the log → publish (drop the buffer, trim the WAL)
 *
 * A flush takes a table at one LSN: rows and deletes up to it are in the commit, nothing later is, and the commit carries that LSN. So a replay after
 * a crash knows exactly what the files hold. Deletes that come while it runs wait in the masks and move along when it publishes.
 */
import { AppError, messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { MS_PER_DAY, MS_PER_SECOND } from '../common/clock.js';
import type { Config } from '../common/config/config.js';
import { faultPoint } from '../common/fault-points.js';
import type { Logger } from '../common/logger.js';
import { noteSpan, traced } from '../common/tracing.js';
import type { Engine } from '../infra/duckdb/engine.js';
import { quoteText } from '../infra/duckdb/sql-text.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import type { ScratchFiles } from '../infra/scratch-files.js';
import type { Action } from '../metadata/delta/action.js';
import { type FileStatistics, textBoundsOf } from '../metadata/delta/file-statistics.js';
import { VectorFile, vectorKey } from '../metadata/delta/deletion-vector.js';
import { removeOf, type Snapshot } from '../metadata/delta/snapshot.js';
import { vectorActions } from '../metadata/delta/table-protocol.js';
import { ID_COLUMN, LSN_COLUMN, type TableSchema, TIMESTAMP_COLUMN } from '../metadata/table-schema.js';
import type { BulkFile, Generation } from '../tables/generation.js';
import { POSITION_COLUMN, readLsns, selectRows, SOURCE_COLUMN } from '../tables/row-sql.js';
import type { Table } from '../tables/table.js';
import { type TableRegistry, withSchema } from '../tables/table-registry.js';
import { addAction, MIXED, newDataPath, SHARD, sortOrder, withVectors, writeDataFile } from './flush/data-files.js';
import { addVectors, type FileVectors, storeVectors } from './flush/vectors.js';
import type { Freshness } from './freshness.js';
import type { Fetched, FollowPath } from './follow-path.js';
import type { IdempotencyKeys } from './write/idempotency.js';
import { seenLogs } from './write/seen-logs.js';
import type { Applier } from './write/apply.js';
import type { WriteAheadLog } from './wal/write-ahead-log.js';
import type { WritePath } from './write-path.js';

/** In a table with `layout: id`, a flush of more ids than this puts them into one file, which compaction sorts out. */
const ID_FILES_MAX = 16;
/** A flush that failed is tried again after this, doubled each time up to the maximum. */
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 30_000;

/** A file that is encoded, and where it belongs. */
interface EncodedFile {
  readonly local: string;
  readonly path: string;
  readonly statistics: FileStatistics;
  /** Every row of it is soft-deleted. */
  readonly isSoft: boolean;
  readonly source: number;
  readonly generation: Generation;
}

/**
 * A flush from its freeze on. One that fails is kept and goes on from the stage where it stopped, so that a store that is away for hours neither gets
 * the same rows under many names nor, when only an answer was lost, twice.
 */
interface Flush {
  readonly generations: readonly Generation[];
  readonly lsn: number;
  schema: TableSchema;
  encoded: readonly EncodedFile[] | undefined;
  isUploaded: boolean;
  /** Vectors that its commit gives to files of the table, by path. */
  readonly vectors: Map<string, string>;
}

interface Retry {
  failures: number;
  notBeforeMs: number;
}

export interface FlushPathParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly engine: Engine;
  readonly store: ObjectStore;
  readonly scratch: ScratchFiles;
  readonly registry: TableRegistry;
  readonly wal: WriteAheadLog;
  readonly applier: Applier;
  readonly writePath: WritePath;
  readonly idempotencyKeys: IdempotencyKeys;
  readonly followPath: FollowPath;
  readonly freshness: Freshness;
}

export interface FlushResult {
  readonly version: number;
  readonly rows: number;
  readonly files: number;
  /** False when nothing waited for it. */
  readonly isCommitted: boolean;
}

export class FlushPath {
  readonly #retries = new Map<Table, Retry>();
  readonly #requested = new Set<Table>();
  readonly #unfinished = new Map<Table, Flush>();
  /** Called after a commit with the table's new version. */
  onCommitted: (table: Table) => void = () => undefined;

  constructor(private readonly parts: FlushPathParts) {}

  /** Starts a flush when the table has reached its limits of rows, bytes or age, and none is under way. */
  considerFlush(table: Table): void {
    if (table.isDropped || this.#requested.has(table) || !this.#isDue(table)) return;
    this.#requested.add(table);
    void this.flush(table)
      .catch((error: unknown) =>
        this.parts.logger.error({ err: error }, `${table.logLabel} flush failed: ${messageOf(error)}; it is tried again`),
      )
      .finally(() => this.#requested.delete(table));
  }

  #isDue(table: Table): boolean {
    const now = this.parts.clock.nowMs();
    if ((this.#retries.get(table)?.notBeforeMs ?? 0) > now) return false;
    const rows = table.generations.reduce((sum, generation) => sum + generation.totalRows, 0);
    const bytes = table.generations.reduce((sum, generation) => sum + generation.bytes, 0);
    const oldest = Math.min(...table.generations.map((generation) => generation.oldestMs ?? Infinity), table.masksSinceMs ?? Infinity);
    return (
      rows >= table.config.buffer_size ||
      bytes >= this.parts.config.buffer.bytes_max / 4 ||
      now - oldest >= table.config.flush_interval_seconds * MS_PER_SECOND
    );
  }

  /** As `flush`, for a caller that runs in the table's commit queue already. */
  flushWithin(table: Table): Promise<FlushResult> {
    return this.#flushNow(table);
  }

  /** Puts everything acknowledged up to now into the table's files. Does nothing when all of it is there. */
  async flush(table: Table): Promise<FlushResult> {
    return table.commits.run(async () => {
      try {
        const result = await traced('flush', { 'miniodb.table': table.name }, () => this.#flushNow(table));
        this.#retries.delete(table);
        return result;
      } catch (error) {
        const failures = (this.#retries.get(table)?.failures ?? 0) + 1;
        const waitMs = Math.min(RETRY_MS_MIN * 2 ** failures, RETRY_MS_MAX);
        this.#retries.set(table, { failures, notBeforeMs: this.parts.clock.nowMs() + waitMs });
        throw error;
      }
    });
  }

  async #flushNow(table: Table): Promise<FlushResult> {
    const left = this.#unfinished.get(table);
    // What an earlier attempt left comes first, as it was; then what came since.
    const earlier = left ? await this.#finish(table, left) : undefined;
    if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} was dropped`);
    const frozen = await this.#freeze(table);
    if (!frozen) {
      await this.trimWal();
      return earlier ?? { version: table.snapshot.version, rows: 0, files: 0, isCommitted: false };
    }
    this.#unfinished.set(table, frozen);
    const result = await this.#finish(table, frozen);
    return { ...result, rows: result.rows + (earlier?.rows ?? 0), files: result.files + (earlier?.files ?? 0) };
  }

  /** The stages after the freeze. Each that is done stays done when a later one fails. */
  async #finish(table: Table, flush: Flush): Promise<FlushResult> {
    const { generations, lsn } = flush;
    const startedMs = this.parts.clock.nowMs();
    try {
      if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} was dropped`);
      faultPoint('flush.before-encode');
      flush.encoded ??= await traced('encode', {}, () => this.#encodeAll(table, flush));
      faultPoint('flush.after-encode');
      const { encoded } = flush;
      if (!flush.isUploaded) await traced('upload', { 'miniodb.files': encoded.length }, () => this.#upload(table, encoded, generations));
      flush.isUploaded = true;
      faultPoint('flush.after-upload');
      const snapshot = await traced('commit', {}, () => this.#commit(table, flush, encoded)).catch(async (error: unknown) => {
        if (error instanceof Outdated) await this.#startOver(table, flush);
        throw error;
      });
      faultPoint('flush.after-commit');
      await traced('publish', {}, () => this.#publishOrFail(table, flush, encoded, snapshot));
    } catch (error) {
      table.masksSinceMs ??= startedMs;
      throw error;
    } finally {
      if (table.isDropped) await this.forget(table);
    }
    this.#noteFreshness(generations);
    await this.forget(table);
    faultPoint('flush.after-publish');
    await this.trimWal();
    this.onCommitted(table);
    const rows = generations.reduce((sum, generation) => sum + generation.totalRows, 0);
    noteSpan({ 'miniodb.rows': rows, 'miniodb.version': table.snapshot.version });
    const files = flush.encoded.length + generations.reduce((sum, generation) => sum + generation.bulkFiles.length, 0);
    this.parts.logger.info(
      { version: table.snapshot.version, rows, files, lsn, duration_ms: this.parts.clock.nowMs() - startedMs },
      `${table.logLabel} flushed`,
    );
    return { version: table.snapshot.version, rows, files, isCommitted: true };
  }

  #noteFreshness(generations: readonly Generation[]): void {
    const oldestMs = Math.min(...generations.map((generation) => generation.oldestMs ?? Infinity));
    if (oldestMs !== Infinity) this.parts.freshness.note('parquet', this.parts.clock.nowMs() - oldestMs);
  }

  /** Another node gave a column another type: the files are written again, with the types of the table as it is now. */
  async #startOver(table: Table, flush: Flush): Promise<void> {
    if (flush.generations.some((generation) => generation.bulkFiles.length > 0))
      throw new AppError(
        'CONFLICT',
        `table ${table.name}: a column became DOUBLE on another node while a bulk body with it waited here; it stays in the write-ahead log`,
      );
    await this.parts.scratch.remove(...(flush.encoded ?? []).map((file) => file.local));
    flush.encoded = undefined;
    flush.isUploaded = false;
    flush.schema = table.schema;
  }

  /** Lets go of an unfinished flush: it is done, or its table was dropped. */
  async forget(table: Table): Promise<void> {
    const flush = this.#unfinished.get(table);
    this.#unfinished.delete(table);
    await this.parts.scratch.remove(...(flush?.encoded ?? []).map((file) => file.local));
  }

  /** Stage 1. Everything applied so far, as generations that get no more rows. */
  async #freeze(table: Table): Promise<Flush | undefined> {
    return this.parts.writePath.exclusive(async () => {
      // Its commit would say that the files hold writes which the buffers lack.
      if (table.outOfService) throw table.outOfService;
      const lsn = this.parts.writePath.appliedLsn;
      const pending = await table.masks.changedSources(table.committedLsn(this.parts.wal.id), lsn);
      const generations = table.generations.filter((generation) => !generation.isEmpty);
      if (generations.length === 0 && pending.length === 0) {
        // Files with hidden rows may have left the table since.
        table.masksSinceMs = undefined;
        table.firstMaskLsn = await table.masks.firstChangeAfter(lsn);
        return undefined;
      }
      if (!table.active.isEmpty) {
        this.parts.applier.forgetBuffer(table.active);
        table.startGeneration(lsn + 1);
      }
      for (const generation of generations) generation.frozenLsn = lsn;
      table.masksSinceMs = undefined;
      return { generations, lsn, schema: table.schema, encoded: undefined, isUploaded: false, vectors: new Map() };
    });
  }

  async #encodeAll(table: Table, { generations, schema, lsn }: Flush): Promise<EncodedFile[]> {
    const encoded: EncodedFile[] = [];
    try {
      for (const generation of generations) await this.#encode(table, schema, generation, lsn, encoded);
      return encoded;
    } catch (error) {
      await this.parts.scratch.remove(...encoded.map((file) => file.local));
      throw error;
    }
  }

  /** Stage 2. The rows of a buffer as Parquet: visible ones, and apart from them those that can be restored. */
  async #encode(table: Table, schema: TableSchema, generation: Generation, lsn: number, files: EncodedFile[]): Promise<void> {
    if (generation.rows === 0) return;
    const { config } = table;
    const sources = { schema, masks: table.masks, files: [], generations: [generation], lsn: String(lsn) };
    for (const rows of ['visible', 'soft'] as const) {
      const sql = selectRows(sources, { columns: schema.columns, withPlace: true, rows });
      for (const { middle, where } of await this.#parts(table, sql)) {
        const local = this.parts.scratch.path('parquet');
        const statistics = await writeDataFile(
          this.parts.engine,
          local,
          where === '' ? sql : `SELECT * FROM (${sql}) WHERE ${where}`,
          schema,
          sortOrder(schema, config.sort_by),
          'snappy',
        );
        if (!statistics) continue;
        const path = newDataPath(middle, dayOf(statistics, this.parts.clock.nowMs()));
        files.push({ local, path, statistics, isSoft: rows === 'soft', source: table.newSource(), generation });
      }
    }
  }

  /** How a flush is cut into files: not at all, or by id where the table's layout asks for it and the ids are few. */
  async #parts(table: Table, rowsSql: string): Promise<{ middle: string; where: string }[]> {
    if (table.config.layout === 'shard') return [{ middle: SHARD, where: '' }];
    const ids = (await this.parts.engine.rows(`SELECT DISTINCT ${ID_COLUMN} FROM (${rowsSql}) LIMIT ${ID_FILES_MAX + 1}`)).map((row) =>
      String(row[ID_COLUMN]),
    );
    const canBePaths = ids.every((id) => /^[A-Za-z0-9_-]+$/.test(id));
    if (ids.length > ID_FILES_MAX || !canBePaths) return [{ middle: MIXED, where: '' }];
    return ids.map((id) => ({ middle: id, where: `${ID_COLUMN} = ${quoteText(id)}` }));
  }

  /** Stage 3. */
  async #upload(table: Table, encoded: readonly EncodedFile[], generations: readonly Generation[]): Promise<void> {
    for (const file of encoded) await this.parts.store.putFileIfAbsent(table.keyOf(file), file.local);
    for (const generation of generations) {
      for (const file of generation.bulkFiles) await this.parts.store.putFileIfAbsent(table.keyOf({ path: bulkPath(file) }), file.path);
    }
  }

  /** Stage 4. COMMIT POINT of the flush. @returns the table with it, and with whatever else was committed since */
  async #commit(table: Table, flush: Flush, encoded: readonly EncodedFile[]): Promise<Snapshot> {
    const { wal, clock, followPath, idempotencyKeys } = this.parts;
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
      const all = [...changes, ...actions];
      const protocol = await vectorActions(current, all, table.emptyFile, nowMs);
      return [...protocol, ...(protocol.some((action) => 'metaData' in action) ? all.filter((action) => !('metaData' in action)) : all)];
    });
  }

  /** Other nodes may have written the same ids of an upsert table, unseen by our writes: of two nodes the one that commits last counts. */
  async #replaceForeign(table: Table, current: Snapshot, { generations, lsn, schema }: Flush): Promise<void> {
    const { wal } = this.parts;
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
    const { wal, store } = this.parts;
    const { generations, lsn } = flush;
    const vectors = new VectorFile();
    const actions: Action[] = [];
    for (const file of encoded) {
      const hidden = file.isSoft ? addVectors(vectors, allPositions(file.statistics.rows)) : undefined;
      actions.push({ add: addAction(file.path, file.statistics, nowMs, { dataChange: true, ...definedVectors(hidden) }) });
    }
    for (const file of generations.flatMap((generation) => generation.bulkFiles)) {
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
    const changed = new Set(await table.masks.changedSources(table.committedLsn(this.parts.wal.id), lsn));
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

  /** Stage 5. A commit that cannot be shown would be written again by the next flush: then only a restart, which reads the log, is safe. */
  async #publishOrFail(table: Table, flush: Flush, encoded: readonly EncodedFile[], snapshot: Snapshot): Promise<void> {
    const fetched = await this.parts.followPath.fetch(table, snapshot, flush);
    try {
      await this.parts.writePath.exclusive(() => this.#publish(table, flush, encoded, snapshot, fetched)).finally(fetched.release);
    } catch (error) {
      this.parts.writePath.fail(`table ${table.name}: a commit could not be shown to readers`, error);
      throw error;
    }
  }

  /** Alone in the writer loop: from one tick to the next, readers get the files instead of the buffers. */
  async #publish(table: Table, flush: Flush, encoded: readonly EncodedFile[], snapshot: Snapshot, fetched: Fetched): Promise<void> {
    const { generations, lsn } = flush;
    for (const file of encoded) await (file.isSoft ? this.#takeSoftMasks(table, file) : this.#moveMasks(table, file, lsn));
    for (const file of encoded) table.adoptSource(file.path, file.source);
    for (const file of generations.flatMap((generation) => generation.bulkFiles)) table.adoptSource(bulkPath(file), file.source);
    table.firstMaskLsn = await table.masks.firstChangeAfter(lsn);
    await this.parts.followPath.show(table, snapshot, flush, fetched);
    table.generations = table.generations.filter((generation) => !generations.includes(generation));
    for (const generation of generations) table.retireGeneration(generation);
  }

  /** Deletes that hit the buffer while it was being flushed now hide rows of its file: the same rows, found by their LSN. */
  async #moveMasks(table: Table, file: EncodedFile, lsn: number): Promise<void> {
    const { source } = file.generation;
    if (!table.masks.isMasked(source)) return;
    await table.masks.add(
      `INSERT INTO ${table.masks.table} SELECT ${file.source}, r.file_row_number, m.since, m.soft, m.changed
       FROM ${readLsns([file.local])} r JOIN ${table.masks.table} m ON m.source = ${source} AND m.pos = r.${LSN_COLUMN} AND m.since > ${lsn}
       RETURNING source, soft, since`,
    );
  }

  /** Every row of a file of soft-deleted rows is hidden; those restored or deleted for good in the meantime are not soft any more. */
  async #takeSoftMasks(table: Table, file: EncodedFile): Promise<void> {
    await table.masks.add(
      `INSERT INTO ${table.masks.table} SELECT ${file.source}, r.file_row_number, 0, m.soft, CASE WHEN m.soft THEN 0 ELSE m.changed END
       FROM ${readLsns([file.local])} r JOIN ${table.masks.table} m ON m.source = ${file.generation.source} AND m.pos = r.${LSN_COLUMN}
       RETURNING source, soft, since`,
    );
  }

  /** Gives back WAL segments whose writes are in the files of their tables. */
  async trimWal(): Promise<void> {
    const { registry, wal, writePath } = this.parts;
    let needed = Math.min(writePath.appliedLsn + 1, writePath.firstHomelessLsn ?? Infinity);
    for (const table of registry.all()) {
      const first = oldestUnflushed(table, wal.id);
      if (first !== undefined) needed = Math.min(needed, first);
    }
    await wal.trim(needed - 1);
  }

  /** Looks at every table's age; called by the scheduler. */
  considerAll(): void {
    for (const table of this.parts.registry.all()) this.considerFlush(table);
  }

  /** Flushes every table, for a stop. Tables that cannot be flushed keep their rows in the WAL. */
  async flushAll(): Promise<void> {
    for (const table of this.parts.registry.all()) {
      try {
        await this.flush(table);
      } catch (error) {
        this.parts.logger.warn({ err: error }, `${table.logLabel} not flushed; its rows stay in the write-ahead log`);
      }
    }
  }
}

/** The files of a flush have a column with another type than the table by now. */
class Outdated extends AppError {
  constructor(column: string) {
    super('UNAVAILABLE', `column ${column} got another type on another node; the flush is done again`);
  }
}

function assertSameTypes(current: TableSchema, written: TableSchema): void {
  for (const { name, fieldId } of written.columns) {
    const column = current.column(name);
    if (column && column.fieldId !== fieldId) throw new Outdated(name);
  }
}

/** The first LSN of a table that only the WAL has. */
function oldestUnflushed(table: Table, walId: string): number | undefined {
  const generation = table.generations.find((candidate) => !candidate.isEmpty);
  const inBuffer = generation ? Math.max(generation.firstLsn, table.committedLsn(walId) + 1) : Infinity;
  const oldest = Math.min(inBuffer, table.firstMaskLsn ?? Infinity);
  return Number.isFinite(oldest) ? oldest : undefined;
}

/** The day of the rows of a file; of the flush when they are of several. */
function dayOf(statistics: FileStatistics, nowMs: number): number {
  const bounds = textBoundsOf(statistics.text, TIMESTAMP_COLUMN);
  if (!bounds) return nowMs;
  const [first, last] = [Date.parse(bounds.min), Date.parse(bounds.max)];
  return Math.floor(first / MS_PER_DAY) === Math.floor(last / MS_PER_DAY) ? first : nowMs;
}

function allPositions(rows: number): { all: number[]; soft: number[] } {
  const all = Array.from({ length: rows }, (_, position) => position);
  return { all, soft: all };
}

function definedVectors(vectors: FileVectors | undefined): Pick<Parameters<typeof addAction>[3], 'vector' | 'softVector'> {
  return { ...(vectors?.vector ? { vector: vectors.vector } : {}), ...(vectors?.softVector ? { softVector: vectors.softVector } : {}) };
}

/** Where a bulk file goes: it keeps its uuid, and the day of its making, which its name carries, is the one of the flush. */
function bulkPath({ path, statistics }: BulkFile): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const day = dayOf(statistics, Date.parse(name.slice(0, 10)));
  return `${SHARD}/${new Date(day).toISOString().slice(0, 10)}/part-${name.slice(11)}`;
}
