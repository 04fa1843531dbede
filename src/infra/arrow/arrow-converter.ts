/**
 * Arrow IPC streams in and out, by way of Parquet, which the engine reads and writes. Each conversion has a worker thread of its own, whose memory
 * goes with it; few run at once, and few wait.
 */
import { Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { AppError, invalidArgument } from '../../common/app-error.js';

export type ArrowJob =
  | { readonly kind: 'toParquet'; readonly ipcFile: string; readonly parquetFile: string }
  | { readonly kind: 'toStream'; readonly parquetFile: string };

/** A column of instants that Parquet holds as plain numbers since 1970. */
export interface PlainInstants {
  readonly column: string;
  readonly perSecond: 1 | 1_000;
}

export type FromWorker =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'done'; readonly plainInstants: readonly PlainInstants[] }
  | { readonly kind: 'failed'; readonly reason: string };

/** The main thread has taken one piece. */
export type ToWorker = 'taken';

const WORKERS_MAX = 4;
const RETRY_SECONDS = 2;

export class ArrowConverter {
  #workers = 0;

  /**
   * @returns the columns that the file holds as plain numbers
   * @throws AppError INVALID_ARGUMENT when the file is no Arrow IPC stream, RESOURCE_EXHAUSTED when too many conversions run
   */
  async toParquet(ipcFile: string, parquetFile: string): Promise<readonly PlainInstants[]> {
    const worker = this.#start({ kind: 'toParquet', ipcFile, parquetFile });
    return new Promise<readonly PlainInstants[]>((resolve, reject) => {
      worker.once('message', (end: FromWorker) => {
        if (end.kind === 'failed')
          reject(invalidArgument(`the body is not an Arrow IPC stream that can be read: ${end.reason.slice(0, 300)}`));
        else resolve(end.kind === 'done' ? end.plainInstants : []);
      });
      worker.once('error', reject);
      worker.once('exit', () => reject(new AppError('INTERNAL', 'the conversion from Arrow ended without an answer')));
    }).finally(() => worker.terminate());
  }

  /**
   * A Parquet file as an Arrow IPC stream, read as fast as it is taken.
   * @throws AppError RESOURCE_EXHAUSTED when too many conversions run
   */
  toStream(parquetFile: string): Readable {
    const worker = this.#start({ kind: 'toStream', parquetFile });
    const stream = new Readable({
      read: () => worker.postMessage('taken' satisfies ToWorker),
      destroy: (error, done) => void worker.terminate().then(() => done(error), done),
    });
    // It may break before anybody reads it; a reader is told all the same.
    stream.on('error', () => undefined);
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'bytes') stream.push(Buffer.from(message.bytes.buffer, message.bytes.byteOffset, message.bytes.byteLength));
      else if (message.kind === 'done') stream.push(null);
      else stream.destroy(new AppError('INTERNAL', `the result cannot be written as Arrow: ${message.reason}`));
    });
    worker.once('error', (error) => stream.destroy(error));
    return stream;
  }

  #start(job: ArrowJob): Worker {
    if (this.#workers >= WORKERS_MAX)
      throw new AppError('RESOURCE_EXHAUSTED', `${WORKERS_MAX} conversions to or from Arrow run already; try again later`, {
        retryAfterSeconds: RETRY_SECONDS,
      });
    this.#workers += 1;
    const worker = new Worker(new URL('./arrow-worker.js', import.meta.url), { workerData: job });
    worker.once('exit', () => (this.#workers -= 1));
    return worker;
  }
}
