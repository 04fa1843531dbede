/**
 * Converts between Arrow IPC streams and Parquet files, off the event loop, piece by piece: memory is bounded by a piece, not by the data. Runs as a
 * worker thread with one job, see `arrow-converter.ts`.
 *
 * Source of the message framing: "Encapsulated message format" and "IPC Streaming Format" of the Arrow columnar format.
 */
import { createWriteStream, openAsBlob } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { ReadableStream as WebStream } from 'node:stream/web';
import { pipeline } from 'node:stream/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { DataType, DateUnit, type Schema, Table as JsTable, tableToIPC, TimeUnit } from 'apache-arrow';
import {
  Compression,
  EnabledStatistics,
  ParquetFile,
  type RecordBatch,
  Table,
  transformParquetStream,
  writeParquet,
  WriterPropertiesBuilder,
} from 'parquet-wasm';
import type { ArrowJob, FromWorker, PlainInstants, ToWorker } from './arrow-converter.js';
import { END_OF_STREAM, IpcPieces } from './ipc-pieces.js';

/** Rows of a batch that is given out. */
const BATCH_ROWS = 16_384;
const ROW_GROUP_ROWS = 122_880;
/** Batches given out that nobody has taken yet. */
const UNTAKEN_MAX = 4;
const PREFIX_BYTES = 8;

async function toParquet(ipcFile: string, parquetFile: string): Promise<readonly PlainInstants[]> {
  const ipc = await IpcPieces.open(ipcFile);
  try {
    const { schema } = ipc;
    assertReadable(schema);
    // The file is read once and thrown away: what makes it small or quick to search would take most of the time.
    const properties = new WriterPropertiesBuilder()
      .setCompression(Compression.UNCOMPRESSED)
      .setMaxRowGroupSize(ROW_GROUP_ROWS)
      .setDictionaryEnabled(false)
      .setStatisticsEnabled(EnabledStatistics.None)
      .build();
    const batches = batchesOf(ipc);
    const first = await batches.next();
    if (first.done !== true) {
      const parquet = await transformParquetStream(webStream(first.value, batches), properties);
      await pipeline(Readable.fromWeb(parquet as WebStream), createWriteStream(parquetFile));
    } else {
      // A stream without rows still says which columns there are.
      await writeFile(parquetFile, writeParquet(Table.fromIPCStream(tableToIPC(new JsTable(schema), 'stream')), properties));
    }
    return schema.fields.flatMap(({ name, type }) => {
      const perSecond = plainPerSecond(type as DataType);
      return perSecond === undefined ? [] : [{ column: name, perSecond }];
    });
  } finally {
    await ipc.close();
  }
}

/** Parquet has no such instants: they come out as plain numbers, so many a second. */
function plainPerSecond(type: DataType): 1 | 1_000 | undefined {
  if (DataType.isTimestamp(type) && type.unit === TimeUnit.SECOND) return 1;
  return DataType.isDate(type) && type.unit === DateUnit.MILLISECOND ? 1_000 : undefined;
}

/** Of types that no table has, some would come out of Parquet as plain numbers. */
function assertReadable({ fields }: Schema): void {
  const seen = new Set<string>();
  for (const { name, type } of fields) {
    if (seen.has(name.toLowerCase())) throw new Error(`column ${name} is there twice (names are compared without case)`);
    seen.add(name.toLowerCase());
    if (DataType.isDuration(type) || DataType.isTime(type) || DataType.isInterval(type))
      throw new Error(`column ${name} is ${String(type)}, which is not read; send an instant, text or a number`);
  }
}

/** Batches with rows. */
async function* batchesOf(ipc: IpcPieces): AsyncGenerator<RecordBatch, undefined> {
  for await (const piece of ipc.pieces())
    for (const batch of Table.fromIPCStream(piece).recordBatches()) if (batch.numRows > 0) yield batch;
  return undefined;
}

function webStream(first: RecordBatch, others: AsyncGenerator<RecordBatch, undefined>): ReadableStream {
  return new WebStream({
    start: (controller) => controller.enqueue(first),
    pull: async (controller) => {
      const { value, done } = await others.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  }) as ReadableStream;
}

/** Posts the stream piece by piece, a few ahead of who takes them. */
async function toStream(parquetFile: string, port: MessagePort): Promise<void> {
  let untaken = 0;
  let wake: () => void = () => undefined;
  port.on('message', (_taken: ToWorker) => {
    untaken -= 1;
    wake();
  });
  const give = async (bytes: Uint8Array): Promise<void> => {
    while (untaken >= UNTAKEN_MAX) await new Promise<void>((resolve) => (wake = resolve));
    untaken += 1;
    const message: FromWorker = { kind: 'bytes', bytes };
    port.postMessage(message, [bytes.buffer as ArrayBuffer]);
  };
  const file = await ParquetFile.fromFile(await openAsBlob(parquetFile));
  const schema = file.schema().intoIPCStream();
  await give(schema.slice(0, schema.length - END_OF_STREAM.length));
  const batches = (await file.stream({ batchSize: BATCH_ROWS })) as unknown as AsyncIterable<RecordBatch>;
  for await (const batch of batches) {
    const stream = batch.intoIPCStream();
    await give(stream.slice(schemaBytes(stream), stream.length - END_OF_STREAM.length));
  }
  await give(schema.slice(schema.length - END_OF_STREAM.length));
  port.removeAllListeners('message');
}

/** Length of the schema message that a stream begins with. */
function schemaBytes(stream: Uint8Array): number {
  return PREFIX_BYTES + new DataView(stream.buffer, stream.byteOffset).getInt32(4, true);
}

async function run(job: ArrowJob, port: MessagePort): Promise<void> {
  let end: FromWorker;
  try {
    const plainInstants = job.kind === 'toParquet' ? await toParquet(job.ipcFile, job.parquetFile) : [];
    if (job.kind === 'toStream') await toStream(job.parquetFile, port);
    end = { kind: 'done', plainInstants };
  } catch (error) {
    end = { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(end);
}

if (parentPort) await run(workerData as ArrowJob, parentPort);
