/** A whole result as a stream of bytes in one of the formats that the engine writes, or that is made of one of them. */
import { Injectable } from '@nestjs/common';
import type { Readable } from 'node:stream';
import type { DuckDBType } from '@duckdb/node-api';
import { AppError } from '../../common/app-error.js';
import { ArrowConverter } from '../../engine/arrow/arrow-converter.js';
import { jsonExpression } from '../../engine/duckdb/json-expression.js';
import { parquetExpression } from '../../engine/duckdb/parquet-expression.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { textExpression } from '../../engine/duckdb/text-expression.js';
import { namedColumns, type Prepared } from '../prepared-statement.js';
import { TablePins } from '../pin-tables.js';
import { QueryErrors } from '../query-error.js';
import type { QueryRequest } from '../query-request.js';
import { QueryRunner, type Running } from '../run-query.js';
import { Understanding } from '../understand.js';
import { parameterTypes, toParameters } from '../query-parameters.js';
import { openResultPipe } from './result-pipe.js';

export interface StreamFormat {
  readonly mediaType: string;
  /** What the answer says it is, where that is more. */
  readonly contentType?: string;
  /** Options of COPY. */
  readonly copyOptions: string;
  /** SQL of a value as the format has it. */
  readonly value: (expression: string, type: DuckDBType) => string;
  /** The engine writes a file, which becomes the stream afterwards. */
  readonly byFile: boolean;
}

/** A stream of Arrow is read from Parquet, some row groups at a time. */
const ARROW_ROW_GROUP_ROWS = 20_480;

export const STREAM_FORMATS: readonly StreamFormat[] = [
  { mediaType: 'application/x-ndjson', copyOptions: 'FORMAT json', value: jsonExpression, byFile: false },
  {
    mediaType: 'text/csv',
    contentType: 'text/csv; charset=utf-8',
    copyOptions: 'FORMAT csv, HEADER true',
    value: textExpression,
    byFile: false,
  },
  { mediaType: 'application/vnd.apache.parquet', copyOptions: 'FORMAT parquet', value: parquetExpression, byFile: false },
  {
    mediaType: 'application/vnd.apache.arrow.stream',
    copyOptions: `FORMAT parquet, COMPRESSION uncompressed, ROW_GROUP_SIZE ${ARROW_ROW_GROUP_ROWS}`,
    value: parquetExpression,
    byFile: true,
  },
];

export interface StreamedResult {
  readonly bytes: Readable;
  readonly queryId: string;
}

type Started = (result: StreamedResult) => void;

@Injectable()
export class ResultStreams {
  constructor(
    private readonly understanding: Understanding,
    private readonly pins: TablePins,
    private readonly runner: QueryRunner,
    private readonly errors: QueryErrors,
    private readonly scratch: ScratchFiles,
    private readonly arrow: ArrowConverter,
  ) {}

  /**
   * Starts a query whose result is streamed. What is wrong with the statement is thrown here, before the first byte; a failure after it breaks the
   * connection, so that half a result never looks like a whole one.
   */
  start(request: QueryRequest, format: StreamFormat): Promise<StreamedResult> {
    return new Promise((resolve, reject) => {
      void this.#run(request, format, resolve).catch(reject);
    });
  }

  async #run(request: QueryRequest, format: StreamFormat, started: Started): Promise<void> {
    const analysis = await this.understanding.analyse(request.sql);
    const plan = { pin: () => this.pins.pin(analysis, request), mayAmplify: analysis.mayAmplify };
    await this.runner.run(request, plan, async (running) => {
      const prepared = await this.understanding.prepare(running, request.sql, toParameters(request.params));
      const limited =
        request.limit === undefined ? prepared : { ...prepared, sql: `SELECT * FROM (\n${prepared.sql}\n) LIMIT ${request.limit}` };
      const copy = (file: string): string => `COPY (${namedColumns(limited, format.value)}) TO ${quoteText(file)} (${format.copyOptions})`;
      await (format.byFile ? this.#byFile(running, prepared, copy, started) : this.#byPipe(running, prepared, copy, started));
      return { result: undefined };
    });
  }

  async #byPipe(running: Running, { parameters }: Prepared, copy: (file: string) => string, started: Started): Promise<void> {
    const pipe = await openResultPipe(this.scratch);
    const { query } = running;
    try {
      query.assertGoesOn();
      query.onStop(() => pipe.break(query.stoppedWith ?? new AppError('CANCELLED', 'the client went away')));
      pipe.output.once('close', () => query.stop(new AppError('CANCELLED', 'the client went away')));
      started({ bytes: pipe.output, queryId: query.id });
      await running.connection.run(copy(pipe.path), parameters, parameterTypes(parameters));
      query.onStop(() => undefined);
      pipe.output.removeAllListeners('close');
      query.assertGoesOn();
      pipe.finish();
    } catch (error) {
      const failure = await this.errors.asTold(error, query, running.views);
      pipe.break(failure);
      throw failure;
    } finally {
      await pipe.close();
    }
  }

  async #byFile(running: Running, { parameters }: Prepared, copy: (file: string) => string, started: Started): Promise<void> {
    const file = this.scratch.path('parquet');
    try {
      await running.connection.run(copy(file), parameters, parameterTypes(parameters));
      const bytes = this.arrow.toStream(file);
      bytes.once('close', () => void this.scratch.remove(file));
      started({ bytes, queryId: running.query.id });
    } catch (error) {
      await this.scratch.remove(file);
      throw error;
    }
  }
}
