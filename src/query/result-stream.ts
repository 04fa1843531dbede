/** A whole result as a stream of bytes in one of the formats that the engine writes. */
import type { Readable } from 'node:stream';
import { AppError } from '../common/app-error.js';
import type { ScratchFiles } from '../infra/scratch-files.js';
import { quoteText } from '../infra/duckdb/sql-text.js';
import { namedColumns, type QueryRequest, type ReadPath } from './read-path.js';
import { asQueryError } from './query-error.js';
import { parameterTypes, toParameters } from './query-parameters.js';
import { openResultPipe } from './result-pipe.js';

export interface StreamFormat {
  readonly mediaType: string;
  /** Options of COPY. */
  readonly copyOptions: string;
  /** Values as JSON shows them (NaN is null, times are RFC 3339), or as the format has them. */
  readonly asJson: boolean;
}

const CSV_TIMESTAMPS = quoteText('%Y-%m-%dT%H:%M:%S.%fZ');

export const STREAM_FORMATS: readonly StreamFormat[] = [
  { mediaType: 'application/x-ndjson', copyOptions: 'FORMAT json', asJson: true },
  { mediaType: 'text/csv', copyOptions: `FORMAT csv, HEADER true, TIMESTAMPFORMAT ${CSV_TIMESTAMPS}`, asJson: false },
  { mediaType: 'application/vnd.apache.parquet', copyOptions: 'FORMAT parquet', asJson: false },
];

export interface StreamedResult {
  readonly bytes: Readable;
  readonly queryId: string;
}

export class ResultStreams {
  constructor(
    private readonly readPath: ReadPath,
    private readonly scratch: ScratchFiles,
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

  async #run(request: QueryRequest, format: StreamFormat, started: (result: StreamedResult) => void): Promise<void> {
    const analysis = await this.readPath.analyse(request.sql);
    await this.readPath.run(
      request,
      () => this.readPath.pinTables(analysis, request.asOf),
      async (running) => {
        const prepared = await this.readPath.prepare(running, request.sql, toParameters(request.params));
        const limited =
          request.limit === undefined ? prepared : { ...prepared, sql: `SELECT * FROM (\n${prepared.sql}\n) LIMIT ${request.limit}` };
        const pipe = await openResultPipe(this.scratch);
        const stop = (): void => void pipe.destroy(running.query.stoppedWith ?? new AppError('CANCELLED', 'the client went away'));
        running.query.onStop(stop);
        pipe.output.once('close', () => running.query.stop(new AppError('CANCELLED', 'the client went away')));
        started({ bytes: pipe.output, queryId: running.query.id });
        try {
          await running.connection.run(
            `COPY (${namedColumns(limited, format.asJson)}) TO ${quoteText(pipe.path)} (${format.copyOptions})`,
            prepared.parameters,
            parameterTypes(prepared.parameters),
          );
          running.query.onStop(() => undefined);
          pipe.output.removeAllListeners('close');
          await pipe.finish();
        } catch (error) {
          const failure = asQueryError(error, running.query);
          await pipe.destroy(failure);
          throw failure;
        }
        return { page: { columns: prepared.columns, rows: [], hasMore: false, nextCursor: '' }, keepViews: false };
      },
    );
  }
}
