/**
 * Converts between Arrow IPC streams and Parquet files, off the event loop, batch by batch: memory is bounded by a batch, not by the data. Runs as a
 * worker thread with one job, see `arrow-converter.ts`.
 *
 * Source of the message framing: "Encapsulated message format" and "IPC Streaming Format" of the Arrow columnar format.
 */
import { createReadStream, createWriteStream, openAsBlob } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { ReadableStream as WebStream } from 'node:stream/web';
import { pipeline } from 'node:stream/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import {
  DataType,
  DateUnit,
  type RecordBatch as JsBatch,
  RecordBatchReader,
  type Schema,
  Table as JsTable,
  tableToIPC,
  TimeUnit,
} from 'apache-arrow';
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

/** Rows of a batch that is given out. */
const BATCH_ROWS = 16_384;
const ROW_GROUP_ROWS = 122_880;
/** Batches given out that nobody has taken yet. */
const UNTAKEN_MAX = 4;
const READ_BYTES = 1_024 * 1_024;
/** A continuation mark and a length of 0. */
const END_OF_STREAM = Buffer.from('ffffffff00000000', 'hex');
const PREFIX_BYTES = 8;

async function toParquet(ipcFile: string, parquetFile: string): Promise<readonly PlainInstants[]> {
  await assertEnded(ipcFile);
  const reader = await RecordBatchReader.from(createReadStream(ipcFile, { highWaterMark: READ_BYTES }));
  await reader.open();
  // The reader forgets it at the end.
  const { schema } = reader;
  assertReadable(schema);
  // The file is read once and thrown away: what makes it small or quick to search would take two thirds of the time.
  const properties = new WriterPropertiesBuilder()
    .setCompression(Compression.SNAPPY)
    .setMaxRowGroupSize(ROW_GROUP_ROWS)
    .setDictionaryEnabled(false)
    .setStatisticsEnabled(EnabledStatistics.None)
    .build();
  const first = await nextBatch(reader);
  if (first) {
    const parquet = await transformParquetStream(wasmBatches(reader, first), properties);
    await pipeline(Readable.fromWeb(parquet as WebStream), createWriteStream(parquetFile));
  } else {
    // A stream without rows still says which columns there are.
    await writeFile(parquetFile, writeParquet(Table.fromIPCStream(tableToIPC(new JsTable(schema), 'stream')), properties));
  }
  return schema.fields.flatMap(({ name, type }) => {
    const perSecond = plainPerSecond(type as DataType);
    return perSecond === undefined ? [] : [{ column: name, perSecond }];
  });
}

/** Parquet has no such instants: they come out as plain numbers, so many a second. */
function plainPerSecond(type: DataType): 1 | 1_000 | undefined {
  if (DataType.isTimestamp(type) && type.unit === TimeUnit.SECOND) return 1;
  return DataType.isDate(type) && type.unit === DateUnit.MILLISECOND ? 1_000 : undefined;
}

/** The reader takes a stream that was cut for one that is over. */
async function assertEnded(ipcFile: string): Promise<void> {
  const file = await open(ipcFile);
  try {
    const { size } = await file.stat();
    const end = Buffer.alloc(END_OF_STREAM.length);
    if (size > end.length) await file.read(end, 0, end.length, size - end.length);
    if (!end.equals(END_OF_STREAM)) throw new Error('it has no end-of-stream mark: it was cut, or its writer was not closed');
  } finally {
    await file.close();
  }
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

function wasmBatches(reader: RecordBatchReader, first: JsBatch): ReadableStream {
  const waiting: RecordBatch[] = wasmBatch(first);
  return new WebStream({
    pull: async (controller) => {
      while (waiting.length === 0) {
        const batch = await nextBatch(reader);
        if (!batch) return controller.close();
        waiting.push(...wasmBatch(batch));
      }
      controller.enqueue(waiting.shift());
    },
  }) as ReadableStream;
}

function wasmBatch(batch: JsBatch): RecordBatch[] {
  return Table.fromIPCStream(tableToIPC(new JsTable([batch]), 'stream')).recordBatches();
}

/** The next batch with rows; the reader makes one without any for a stream that has none. */
async function nextBatch(reader: RecordBatchReader): Promise<JsBatch | undefined> {
  for (;;) {
    const { value, done } = (await reader.next()) as IteratorResult<JsBatch, undefined>;
    if (done === true) return undefined;
    if (value.numRows > 0) return value;
  }
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
