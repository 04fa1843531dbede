/**
 * Converts between Arrow IPC streams and Parquet files, off the event loop, batch by batch: memory is bounded by a batch, not by the data. Runs as a
 * worker thread with one job, see `arrow-converter.ts`.
 *
 * Source of the message framing: "Encapsulated message format" and "IPC Streaming Format" of the Arrow columnar format.
 */
import { createReadStream, createWriteStream, openAsBlob } from 'node:fs';
import { Readable } from 'node:stream';
import { ReadableStream as WebStream } from 'node:stream/web';
import { pipeline } from 'node:stream/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { type RecordBatch as JsBatch, RecordBatchReader, Table as JsTable, tableToIPC } from 'apache-arrow';
import { Compression, EnabledStatistics, ParquetFile, type RecordBatch, Table, transformParquetStream, WriterPropertiesBuilder } from 'parquet-wasm';
import type { ArrowJob, FromWorker, ToWorker } from './arrow-converter.js';

/** Rows of a batch that is given out. */
const BATCH_ROWS = 16_384;
const ROW_GROUP_ROWS = 122_880;
/** Batches given out that nobody has taken yet. */
const UNTAKEN_MAX = 4;
const READ_BYTES = 1_024 * 1_024;
/** 0xFFFFFFFF and a length of 0. */
const END_OF_STREAM_BYTES = 8;
const PREFIX_BYTES = 8;

async function toParquet(ipcFile: string, parquetFile: string): Promise<void> {
  const reader = await RecordBatchReader.from(createReadStream(ipcFile, { highWaterMark: READ_BYTES }));
  await reader.open();
  // The file is read once and thrown away: what makes it small or quick to search would take two thirds of the time.
  const properties = new WriterPropertiesBuilder()
    .setCompression(Compression.SNAPPY)
    .setMaxRowGroupSize(ROW_GROUP_ROWS)
    .setDictionaryEnabled(false)
    .setStatisticsEnabled(EnabledStatistics.None)
    .build();
  const parquet = await transformParquetStream(wasmBatches(reader), properties);
  await pipeline(Readable.fromWeb(parquet as WebStream), createWriteStream(parquetFile));
}

function wasmBatches(reader: RecordBatchReader): ReadableStream {
  const waiting: RecordBatch[] = [];
  let wasAnythingGiven = false;
  const next = async (): Promise<RecordBatch | undefined> => {
    while (waiting.length === 0) {
      const batch = await nextBatch(reader);
      if (!batch && wasAnythingGiven) return undefined;
      // A stream without rows still says which columns there are.
      const table = batch ? new JsTable([batch]) : new JsTable(reader.schema);
      waiting.push(...Table.fromIPCStream(tableToIPC(table, 'stream')).recordBatches());
      if (!batch && waiting.length === 0) throw new Error('it has no record batch');
    }
    wasAnythingGiven = true;
    return waiting.shift();
  };
  return new WebStream({
    pull: async (controller) => {
      const batch = await next();
      if (batch) controller.enqueue(batch);
      else controller.close();
    },
  }) as ReadableStream;
}

async function nextBatch(reader: RecordBatchReader): Promise<JsBatch | undefined> {
  const { value, done } = (await reader.next()) as IteratorResult<JsBatch, undefined>;
  return done === true ? undefined : value;
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
  await give(schema.slice(0, schema.length - END_OF_STREAM_BYTES));
  const batches = (await file.stream({ batchSize: BATCH_ROWS })) as unknown as AsyncIterable<RecordBatch>;
  for await (const batch of batches) {
    const stream = batch.intoIPCStream();
    await give(stream.slice(schemaBytes(stream), stream.length - END_OF_STREAM_BYTES));
  }
  await give(schema.slice(schema.length - END_OF_STREAM_BYTES));
  port.removeAllListeners('message');
}

/** Length of the schema message that a stream begins with. */
function schemaBytes(stream: Uint8Array): number {
  return PREFIX_BYTES + new DataView(stream.buffer, stream.byteOffset).getInt32(4, true);
}

async function run(job: ArrowJob, port: MessagePort): Promise<void> {
  let end: FromWorker;
  try {
    await (job.kind === 'toParquet' ? toParquet(job.ipcFile, job.parquetFile) : toStream(job.parquetFile, port));
    end = { kind: 'done' };
  } catch (error) {
    end = { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(end);
}

if (parentPort) await run(workerData as ArrowJob, parentPort);
