/**
 * The path of a bulk body:
 *
 *   spool → decide columns → Parquet beside the WAL → log its name → visible (and later moved into the table by the next flush)
 *
 * A large body is parsed and encoded by the engine in one go, on all cores, sorted, straight into a data file; its rows never pass through
 * JavaScript or the buffer. Only what does not fit at first sight is read line by line, to say which row and field it is. Small bodies take the
 * way of ordinary writes, so that they do not become small files: small NDJSON straight from memory, where all of it fits.
 */
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { traced } from '../common/tracing.js';
import { LimitsConfig } from '../config/config.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { sniffFormat } from './bulk/bulk-format.js';
import { BulkBodies } from './bulk/bulk-bodies.js';
import type { BulkBody } from './bulk/bulk-body.js';
import { assertThere, type BulkAnswer, bulkAnswer, type BulkRequest } from './bulk/bulk-request.js';
import { RefusalList } from './bulk/refusal-list.js';
import { SpooledBody, SpoolMemory } from './bulk/spool.js';
import { StoreBatches } from './bulk/store-batches.js';
import { StoreAsFile } from './bulk/store-as-file.js';
import { StoreAsRows } from './bulk/store-as-rows.js';
import { StoreText } from './write/store-text.js';
import type { WriteAnswer } from './write/write-command.js';

/** Bodies up to this size go through the buffer. */
const SMALL_BYTES_MAX = 2 * 1_024 * 1_024;
/** Small bodies in memory at once; others wait on disk. */
const MEMORY_BYTES_MAX = 64 * 1_024 * 1_024;
/** Bodies for upsert tables, whose rows must meet the buffer one by one. */
const UPSERT_BYTES_MAX = 64 * 1_024 * 1_024;
/** Rows that go through the buffer at once: all of them are checked and encoded without a turn of the event loop between. */
const SMALL_ROWS_MAX = 20_000;
/** They are in memory together. */
const UPSERT_ROWS_MAX = 1_000_000;

@Injectable()
export class BulkPath {
  readonly #memory = new SpoolMemory(MEMORY_BYTES_MAX, SMALL_BYTES_MAX);

  constructor(
    private readonly limits: LimitsConfig,
    private readonly scratch: ScratchFiles,
    private readonly bodies: BulkBodies,
    private readonly text: StoreText,
    private readonly batches: StoreBatches,
    private readonly asRows: StoreAsRows,
    private readonly asFile: StoreAsFile,
  ) {}

  /** Stores a body. All or nothing under `abort`; under `skip` the rows that fit. */
  async store(given: BulkRequest): Promise<BulkAnswer> {
    const path = this.scratch.path('body');
    let spooled: SpooledBody | undefined;
    try {
      const bytesMax = this.limits.bulk_bytes_max;
      spooled = await traced('spool', {}, () =>
        SpooledBody.receive(given.body, given.encoding, path, bytesMax, given.idempotency !== undefined, this.#memory),
      );
      const { digest } = spooled;
      const request = given.idempotency
        ? { ...given, idempotency: { ...given.idempotency, fingerprint: given.idempotency.fingerprint + digest } }
        : given;
      const inMemory = spooled.inMemory();
      const answer = inMemory && (await this.#storeQuickly(request, inMemory));
      if (answer) return bulkAnswer(answer, new RefusalList());
      return await this.#storeFile(request, await spooled.file(), spooled.bytes);
    } finally {
      await spooled?.discard();
    }
  }

  /** @returns undefined, with nothing stored, when the rows have to be looked at */
  async #storeQuickly(request: BulkRequest, body: Buffer): Promise<WriteAnswer | undefined> {
    const { table, fields, options, idempotency, isGone, format } = request;
    if (format === 'arrow') return this.batches.store(request, body, SMALL_ROWS_MAX);
    if (format !== 'ndjson') return undefined;
    return this.text.store({
      table,
      text: body,
      form: { kind: 'lines', ...fields },
      options,
      rowsMax: SMALL_ROWS_MAX,
      wantsIds: false,
      idempotency,
      assertStill: () => assertThere(isGone),
    });
  }

  async #storeFile(request: BulkRequest, file: string, bytes: number): Promise<BulkAnswer> {
    const format = request.format ?? (await sniffFormat(file));
    const refusals = new RefusalList();
    return this.bodies.use(file, bytes, format, request, refusals, (body) => this.#storeBody(request, body, refusals));
  }

  /** @param refusals rows that were refused while the body was opened */
  async #storeBody(request: BulkRequest, body: BulkBody, refusals: RefusalList): Promise<BulkAnswer> {
    const isUpsert = request.table.config.write_mode === 'upsert';
    if (body.bytes > SMALL_BYTES_MAX && !isUpsert) return this.asFile.store(request, body, refusals);
    const lines = await body.lines();
    // Packed formats unpack to many times their size.
    if (lines.bytes > SMALL_BYTES_MAX && !isUpsert) return this.asFile.store(request, body, refusals);
    if (lines.bytes > UPSERT_BYTES_MAX)
      throw new AppError(
        'PAYLOAD_TOO_LARGE',
        `a bulk body for an upsert table may have at most ${UPSERT_BYTES_MAX} bytes as NDJSON; send it in parts`,
      );
    const listed = refusals.copy();
    const records = await this.asRows.read(request, lines, isUpsert ? UPSERT_ROWS_MAX : SMALL_ROWS_MAX, listed);
    if (records) return this.asRows.store(request, records, lines, listed);
    if (!isUpsert) return this.asFile.store(request, body, refusals);
    throw new AppError('PAYLOAD_TOO_LARGE', `a bulk body for an upsert table may have at most ${UPSERT_ROWS_MAX} rows; send it in parts`);
  }
}
