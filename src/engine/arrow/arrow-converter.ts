/**
 * Arrow IPC streams in and out, by way of Parquet, which the engine reads and writes. Each conversion has a worker thread for itself, which is kept for a
 * while afterwards; two share a large stream; few run at once, and none waits.
 */
import { mkdir, stat } from 'node:fs/promises';
import os from 'node:os';
import { Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { AppError, invalidArgument, messageOf } from '../../common/app-error.js';
import type { SourceField } from '../source-field.js';
import { IpcPieces, type PieceShare } from './ipc-pieces.js';

export interface ToParquetJob {
  readonly kind: 'toParquet';
  readonly ipcFile: string;
  readonly directory: string;
  readonly share: PieceShare;
}

/** A stream in memory as one Parquet file. */
export interface StreamJob {
  readonly kind: 'streamToParquet';
  readonly stream: Uint8Array<ArrayBuffer>;
  readonly parquetFile: string;
}

export type ArrowJob = ToParquetJob | StreamJob | { readonly kind: 'toStream'; readonly parquetFile: string };

export type FromWorker =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Parquet files by the number of their piece. */
  | { readonly kind: 'converted'; readonly files: readonly string[] }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly reason: string };

/** A job, or that the main thread has taken one piece of what the job gives. */
export type ToWorker = ArrowJob | 'taken';

/** Workers at once. */
const WORKERS_MAX = 4;
/** So many share the pieces of a stream of this size. */
const SHARERS_MAX = 2;
const SHARED_BYTES_MIN = 32 * 1_024 * 1_024;
const RETRY_SECONDS = 2;
const REASON_LENGTH_MAX = 300;
/** A worker that has converted before takes half the time of a new one, which has its code still to compile; it holds the memory of its largest piece. */
const IDLE_MS = 30_000;

export class ArrowConverter {
  readonly #idle = new Map<Worker, NodeJS.Timeout>();
  #busy = 0;

  /** The columns that a stream declares. @throws AppError INVALID_ARGUMENT when the file is no Arrow IPC stream */
  async fields(ipcFile: string): Promise<readonly SourceField[]> {
    try {
      const ipc = await IpcPieces.open(ipcFile);
      await ipc.close();
      return ipc.fields;
    } catch (error) {
      throw unreadable(messageOf(error));
    }
  }

  /**
   * @param ipcFile whose columns are all of types that the converter keeps, see `fields`
   * @param directory is made, for the Parquet files; whatever comes of the conversion, it is the caller's to remove
   * @returns the files, in the order of their rows
   * @throws AppError INVALID_ARGUMENT when the file is no Arrow IPC stream, RESOURCE_EXHAUSTED when too many conversions run
   */
  async toParquet(ipcFile: string, directory: string): Promise<string[]> {
    await mkdir(directory);
    const isLarge = (await stat(ipcFile)).size >= SHARED_BYTES_MIN;
    const of = isLarge ? Math.max(1, Math.min(SHARERS_MAX, os.availableParallelism(), WORKERS_MAX - this.#busy)) : 1;
    const shares = Array.from({ length: of }, (_, number) =>
      this.#convert({ kind: 'toParquet', ipcFile, directory, share: { number, of } }),
    );
    // All of them, before the directory is removed.
    const ends = await Promise.allSettled(shares);
    const shared = ends.map((end) => {
      if (end.status === 'rejected') throw end.reason;
      return end.value;
    });
    const files = shared.flatMap((share) => Object.entries(share)).sort(([left], [right]) => Number(left) - Number(right));
    return files.map(([, file]) => file);
  }

  /**
   * A stream in memory as one Parquet file. A worker is kept aside for this: it does not fail because others convert.
   * @param stream plain, see `plain-stream.ts`; cannot be used any more
   */
  async streamToParquet(stream: Uint8Array<ArrayBuffer>, parquetFile: string): Promise<void> {
    await this.#convert({ kind: 'streamToParquet', stream, parquetFile }, true);
  }

  async #convert(job: ToParquetJob | StreamJob, isSetAside = false): Promise<readonly string[]> {
    const worker = this.#take(isSetAside);
    let isWell = false;
    try {
      const end = await new Promise<FromWorker>((resolve, reject) => {
        worker.once('message', resolve).once('error', reject);
        worker.once('exit', () => reject(new AppError('INTERNAL', 'the conversion from Arrow ended without an answer')));
        this.#give(worker, job, job.kind === 'streamToParquet' ? [job.stream.buffer] : []);
      });
      if (end.kind === 'failed') throw unreadable(end.reason);
      if (end.kind !== 'converted') throw new AppError('INTERNAL', `the conversion from Arrow answered with ${end.kind}`);
      isWell = true;
      return end.files;
    } finally {
      this.#putBack(worker, isWell);
    }
  }

  /**
   * A Parquet file as an Arrow IPC stream, read as fast as it is taken.
   * @throws AppError RESOURCE_EXHAUSTED when too many conversions run
   */
  toStream(parquetFile: string): Readable {
    const worker = this.#take();
    let isWell = false;
    const stream = new Readable({
      read: () => worker.postMessage('taken' satisfies ToWorker),
      destroy: (error, done) => {
        this.#putBack(worker, isWell);
        done(error);
      },
    });
    // It may break before anybody reads it; a reader is told all the same.
    stream.on('error', () => undefined);
    worker.on('message', (message: FromWorker) => {
      isWell = message.kind === 'done';
      if (message.kind === 'bytes') stream.push(Buffer.from(message.bytes.buffer, message.bytes.byteOffset, message.bytes.byteLength));
      else if (message.kind === 'done') stream.push(null);
      else if (message.kind === 'failed')
        stream.destroy(new AppError('INTERNAL', `the result cannot be written as Arrow: ${message.reason}`));
    });
    worker.once('error', (error) => stream.destroy(error));
    this.#give(worker, { kind: 'toStream', parquetFile });
    return stream;
  }

  #give(worker: Worker, job: ArrowJob, handedOver: readonly ArrayBuffer[] = []): void {
    worker.postMessage(job satisfies ToWorker, handedOver);
  }

  #take(isSetAside = false): Worker {
    if (!isSetAside && this.#busy >= WORKERS_MAX)
      throw new AppError('RESOURCE_EXHAUSTED', `${WORKERS_MAX} conversions to or from Arrow are running already; try again later`, {
        retryAfterSeconds: RETRY_SECONDS,
      });
    this.#busy += 1;
    const [idle] = this.#idle;
    if (!idle) return new Worker(new URL('./arrow-worker.js', import.meta.url));
    const [worker, timer] = idle;
    clearTimeout(timer);
    this.#idle.delete(worker);
    forgetListeners(worker);
    worker.ref();
    return worker;
  }

  /** @param isWell false for one that failed or was left in the middle: it is not used again */
  #putBack(worker: Worker, isWell: boolean): void {
    this.#busy -= 1;
    forgetListeners(worker);
    // It may still say why it ends.
    worker.on('error', () => this.#end(worker));
    worker.on('exit', () => this.#end(worker));
    if (!isWell) return this.#end(worker);
    worker.unref();
    this.#idle.set(worker, setTimeout(() => this.#end(worker), IDLE_MS).unref());
  }

  #end(worker: Worker): void {
    clearTimeout(this.#idle.get(worker));
    this.#idle.delete(worker);
    void worker.terminate();
  }

  close(): void {
    for (const worker of [...this.#idle.keys()]) this.#end(worker);
  }
}

function unreadable(reason: string): AppError {
  return invalidArgument(`the body is not an Arrow IPC stream that can be read: ${reason.slice(0, REASON_LENGTH_MAX)}`);
}

/** Ours; a worker has some of its own, without which it does not give its messages. */
function forgetListeners(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event);
}
