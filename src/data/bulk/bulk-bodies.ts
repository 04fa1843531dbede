/** Makes a bulk body out of a file that a client sent, and removes what that took. */
import { copyFile, link } from 'node:fs/promises';
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { CLOCK } from '../../common/tokens.js';
import { traced } from '../../common/tracing.js';
import { LimitsConfig } from '../../config/config.js';
import { ArrowConverter } from '../../engine/arrow/arrow-converter.js';
import { fileToStream } from '../../engine/arrow/ipc-file.js';
import { Engine } from '../../engine/duckdb/engine.js';
import { exposeInstants } from '../../engine/parquet/exact-instants.js';
import { assertOneFile } from '../../engine/parquet/one-file.js';
import { parquetFields } from '../../engine/parquet/parquet-fields.js';
import type { SourceField } from '../../engine/source-field.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import { bodyError } from './body-error.js';
import type { BulkBody } from './bulk-body.js';
import type { BulkFormat } from './bulk-format.js';
import type { BulkRequest } from './bulk-request.js';
import type { BulkTarget } from './bulk-target.js';
import { columnarRows, hasHiddenDigits } from './columnar-rows.js';
import { csvOrigin, readCells, typedCells } from './csv-rows.js';
import { valuesToLines } from './json-values.js';
import { NdjsonBody } from './ndjson-body.js';
import { parquetLayout } from './parquet-layout.js';
import type { RefusalList } from './refusal-list.js';
import { assertReadable, type ColumnarFormat } from './source-types.js';
import { TypedBody, type TypedRows } from './typed-body.js';

@Injectable()
export class BulkBodies {
  constructor(
    private readonly limits: LimitsConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly arrow: ArrowConverter,
  ) {}

  /**
   * Lends the body for as long as `use` runs.
   * @param file as the client sent it, unpacked; stays the caller's
   * @param listed takes pieces that are no rows, where the request skips them
   * @throws AppError INVALID_ARGUMENT when the file is not of the format
   */
  async use<T>(
    file: string,
    bytes: number,
    format: BulkFormat,
    request: BulkRequest,
    listed: RefusalList,
    use: (body: BulkBody) => Promise<T>,
  ): Promise<T> {
    const target = this.#targetOf(request);
    const refusals = request.options.onError === 'skip' ? listed : undefined;
    switch (format) {
      case 'ndjson':
        return use(new NdjsonBody(this.engine, target, file, bytes));
      case 'json':
        return this.#withFile('ndjson', async (lines) => {
          const lineBytes = await valuesToLines(this.engine, file, lines, refusals !== undefined);
          return use(
            lineBytes === undefined
              ? new NdjsonBody(this.engine, target, file, bytes)
              : new NdjsonBody(this.engine, target, lines, lineBytes),
          );
        });
      case 'csv':
        return this.#useCells(target, file, bytes, refusals, use);
      case 'tsv':
        return this.#useCells({ ...target, delimiter: '\t' }, file, bytes, refusals, use);
      case 'parquet':
        return this.#useParquet(target, file, bytes, use);
      case 'arrow':
        return this.#withFile('arrow', async (stream) =>
          this.#useArrow(target, (await fileToStream(file, stream)) ? stream : file, bytes, use),
        );
    }
  }

  #targetOf({ table: { config, schema }, fields, options, delimiter }: BulkRequest): BulkTarget {
    return { config, schema, fields, options, delimiter, nowMs: this.clock.nowMs(), columnsMax: this.limits.columns_max };
  }

  #useCells<T>(
    target: BulkTarget,
    file: string,
    bytes: number,
    refusals: RefusalList | undefined,
    use: (body: BulkBody) => Promise<T>,
  ): Promise<T> {
    return this.#withFile('parquet', async (cells) => {
      const { brokenLines } = await readCells(this.engine, file, cells, target, refusals);
      const select = await typedCells(this.engine, cells, target);
      return this.#useTyped(target, { select, bytes, originOf: csvOrigin(brokenLines) }, use);
    });
  }

  async #useParquet<T>(target: BulkTarget, file: string, bytes: number, use: (body: BulkBody) => Promise<T>): Promise<T> {
    const fields = await this.#readable(file, () => parquetFields(this.engine, file));
    assertReadable('parquet', fields);
    await this.#readable(file, () => assertOneFile(this.engine, file));
    if (hasHiddenDigits('parquet', fields))
      return this.#withFile('parquet', async (exposed) => {
        // Of another name: the engine keeps the footers that it has read.
        await link(file, exposed).catch(() => copyFile(file, exposed));
        await this.#readable(file, () => exposeInstants(exposed));
        return this.#useTyped(target, await this.#typedRows('parquet', [exposed], fields, bytes), use);
      });
    const layout = await parquetLayout(this.engine, file);
    const rows = await this.#typedRows('parquet', [file], fields, bytes);
    return this.#useTyped(target, { ...rows, ...(layout ? { layout } : {}) }, use);
  }

  /** What is wrong with a Parquet file is the client's to mend. */
  async #readable<T>(file: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw error instanceof AppError ? error : bodyError(error, 'the body is not Parquet that can be read', file);
    }
  }

  async #useArrow<T>(target: BulkTarget, file: string, bytes: number, use: (body: BulkBody) => Promise<T>): Promise<T> {
    const fields = await this.arrow.fields(file);
    assertReadable('arrow', fields);
    return this.#withFile('arrow', async (directory) => {
      const files = await traced('convert', {}, () => this.arrow.toParquet(file, directory));
      if (hasHiddenDigits('arrow', fields)) for (const converted of files) await exposeInstants(converted);
      return this.#useTyped(target, await this.#typedRows('arrow', files, fields, bytes), use);
    });
  }

  async #typedRows(format: ColumnarFormat, files: readonly string[], fields: readonly SourceField[], bytes: number): Promise<TypedRows> {
    return { ...(await columnarRows(this.engine, format, files, fields)), bytes, originOf: (row) => row };
  }

  async #useTyped<T>(target: BulkTarget, rows: TypedRows, use: (body: BulkBody) => Promise<T>): Promise<T> {
    const body = await TypedBody.open(this.engine, this.scratch, target, rows);
    try {
      return await use(body);
    } finally {
      await body.remove();
    }
  }

  async #withFile<T>(extension: string, use: (file: string) => Promise<T>): Promise<T> {
    const file = this.scratch.path(extension);
    try {
      return await use(file);
    } finally {
      await this.scratch.remove(file);
    }
  }
}
