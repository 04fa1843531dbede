/**
 * The path of buffered rows into the table, stage by stage:
 *
 *   freeze → encode Parquet → upload → commit to the log → publish (drop the buffer) → trim the WAL
 *
 * A flush takes a table at one LSN: rows and deletes up to it are in the commit, nothing later is, and the commit carries that LSN. So a replay after
 * a crash knows exactly what the files hold. Deletes that come while it runs wait in the masks and move along when it publishes.
 */
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { faultPoint } from '../common/fault-points.js';
import { traced } from '../common/tracing.js';
import type { Table } from '../tables/table.js';
import { CommitFlush, Outdated } from './flush/commit.js';
import { EncodeRows } from './flush/encode.js';
import { bulkFilesOf, type Flush } from './flush/flush.js';
import { FlushReport } from './flush/flush-report.js';
import { FreezeBuffers } from './flush/freeze.js';
import { PublishFlush } from './flush/publish.js';
import { TrimWal } from './flush/trim-wal.js';
import { UploadFiles } from './flush/upload.js';

export interface FlushResult {
  readonly version: number;
  readonly rows: number;
  readonly files: number;
  /** False when nothing waited for it. */
  readonly isCommitted: boolean;
}

@Injectable()
export class FlushPath {
  readonly #unfinished = new Map<Table, Flush>();

  constructor(
    private readonly freezeBuffers: FreezeBuffers,
    private readonly encodeRows: EncodeRows,
    private readonly uploadFiles: UploadFiles,
    private readonly commitFlush: CommitFlush,
    private readonly publishFlush: PublishFlush,
    private readonly trimWal: TrimWal,
    private readonly report: FlushReport,
  ) {}

  /** Puts everything acknowledged up to now into the table's files. Does nothing when all of it is there. */
  flush(table: Table): Promise<FlushResult> {
    return table.commits.run(() => traced('flush', { 'miniodb.table': table.name }, () => this.flushWithin(table)));
  }

  /** As `flush`, for a caller that runs in the table's commit queue already. */
  async flushWithin(table: Table): Promise<FlushResult> {
    const left = this.#unfinished.get(table);
    // What an earlier attempt left comes first, as it was; then what came since.
    const earlier = left ? await this.#finish(table, left) : undefined;
    assertNotDropped(table);
    const frozen = await this.freezeBuffers.run(table);
    if (!frozen) {
      await this.trimWal.run();
      return earlier ?? { version: table.snapshot.version, rows: 0, files: 0, isCommitted: false };
    }
    this.#unfinished.set(table, frozen);
    const result = await this.#finish(table, frozen);
    return { ...result, rows: result.rows + (earlier?.rows ?? 0), files: result.files + (earlier?.files ?? 0) };
  }

  /** The stages after the freeze. Each that is done stays done when a later one fails. */
  async #finish(table: Table, flush: Flush): Promise<FlushResult> {
    const startedMs = this.report.begin();
    try {
      assertNotDropped(table);
      faultPoint('flush.before-encode');
      const encoded = (flush.encoded ??= await traced('encode', {}, () => this.encodeRows.run(table, flush)));
      faultPoint('flush.after-encode');
      if (!flush.isUploaded) await traced('upload', { 'miniodb.files': encoded.length }, () => this.uploadFiles.run(table, flush));
      faultPoint('flush.after-upload');
      const snapshot = await traced('commit', {}, () => this.commitFlush.run(table, flush, encoded)).catch(async (error: unknown) => {
        if (error instanceof Outdated) await this.#startOver(table, flush);
        throw error;
      });
      faultPoint('flush.after-commit');
      await traced('publish', {}, () => this.publishFlush.run(table, flush, encoded, snapshot));
    } catch (error) {
      table.masksSinceMs ??= startedMs;
      throw error;
    } finally {
      if (table.isDropped) await this.forget(table);
    }
    await this.forget(table);
    faultPoint('flush.after-publish');
    await this.trimWal.run();
    return this.report.of(table, flush, startedMs);
  }

  /** Another node gave a column another type: the files are written again, with the types of the table as it is now. */
  async #startOver(table: Table, flush: Flush): Promise<void> {
    if (bulkFilesOf(flush).length > 0)
      throw new AppError(
        'CONFLICT',
        `table ${table.name}: a column became DOUBLE on another node while a bulk body that uses it was waiting here; the body stays in the write-ahead log`,
      );
    await this.encodeRows.discard(flush);
    flush.encoded = undefined;
    flush.isUploaded = false;
    flush.schema = table.schema;
  }

  /** Lets go of an unfinished flush: it is done, or its table was dropped. */
  async forget(table: Table): Promise<void> {
    const flush = this.#unfinished.get(table);
    this.#unfinished.delete(table);
    if (flush) await this.encodeRows.discard(flush);
  }
}

function assertNotDropped(table: Table): void {
  if (table.isDropped) throw new AppError('NOT_FOUND', `table ${table.name} was dropped`);
}
