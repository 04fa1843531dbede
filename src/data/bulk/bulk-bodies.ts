/** Makes a bulk body out of a file that a client sent, and removes what that took. */
import { traced } from '../../common/tracing.js';
import type { ArrowConverter, ConvertedIpc } from '../../infra/arrow/arrow-converter.js';
import type { Engine } from '../../infra/duckdb/engine.js';
import { quoteName, quoteTextList } from '../../infra/duckdb/sql-text.js';
import type { ScratchFiles } from '../../infra/scratch-files.js';
import { bodyError } from './body-error.js';
import type { BulkBody } from './bulk-body.js';
import type { BulkFormat } from './bulk-format.js';
import type { BulkTarget } from './bulk-target.js';
import { csvOrigin, readCells, typedCells } from './csv-rows.js';
import { arrayToLines } from './json-array.js';
import { NdjsonBody } from './ndjson-body.js';
import { type ParquetLayout, parquetLayout } from './parquet-layout.js';
import type { RefusalList } from './refusal-list.js';
import { TypedBody, type TypedRows } from './typed-body.js';

const MICROSECONDS_PER_SECOND = 1_000_000;

export class BulkBodies {
  constructor(
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly arrow: ArrowConverter,
  ) {}

  /**
   * Lends the body for as long as `use` runs.
   * @param file as the client sent it, unpacked; stays the caller's
   * @param refusals takes pieces that are no rows; without it they are errors
   * @throws AppError INVALID_ARGUMENT when the file is not of the format
   */
  async use<T>(
    file: string,
    bytes: number,
    format: BulkFormat,
    target: BulkTarget,
    refusals: RefusalList | undefined,
    use: (body: BulkBody) => Promise<T>,
  ): Promise<T> {
    switch (format) {
      case 'ndjson':
        return use(new NdjsonBody(this.engine, target, file, bytes));
      case 'json':
        return this.#withFile('ndjson', async (lines) => {
          const lineBytes = await arrayToLines(this.engine, file, lines, refusals !== undefined);
          return use(new NdjsonBody(this.engine, target, lines, lineBytes));
        });
      case 'csv':
        return this.#withFile('parquet', async (cells) => {
          const { brokenLines } = await readCells(this.engine, file, cells, target.columnsMax, refusals);
          const select = await typedCells(this.engine, cells, target);
          return this.#useTyped(target, { select, bytes, originOf: csvOrigin(brokenLines) }, use);
        });
      case 'parquet':
        return this.#useParquet(target, { files: [file], plainInstants: [] }, bytes, await parquetLayout(this.engine, file), use);
      case 'arrow':
        return this.#withFile('arrow', async (directory) => {
          const converted = await traced('convert', {}, () => this.arrow.toParquet(file, directory));
          return this.#useParquet(target, converted, bytes, undefined, use);
        });
    }
  }

  /**
   * @param layout of a file as the client sent it, when it may become a data file
   */
  async #useParquet<T>(
    target: BulkTarget,
    { files, plainInstants }: ConvertedIpc,
    bytes: number,
    layout: ParquetLayout | undefined,
    use: (body: BulkBody) => Promise<T>,
  ): Promise<T> {
    const instants = plainInstants.map(({ column, perSecond }) => {
      const name = quoteName(column);
      return `make_timestamp(${name} * ${MICROSECONDS_PER_SECOND / perSecond}) AS ${name}`;
    });
    const replaced = instants.length > 0 ? ` REPLACE (${instants.join(', ')})` : '';
    const select = `SELECT *${replaced} FROM read_parquet(${quoteTextList(files)})`;
    try {
      await this.engine.run(`${select} LIMIT 1`);
    } catch (error) {
      throw bodyError(error, 'the body is not Parquet that can be read', ...files);
    }
    return this.#useTyped(target, { select, bytes, originOf: (row) => row, ...(layout ? { layout } : {}) }, use);
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
