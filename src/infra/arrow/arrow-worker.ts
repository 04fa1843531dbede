/**
 * Converts between Arrow IPC streams and Parquet files, off the event loop, piece by piece: memory is bounded by a piece, not by the data. Runs as a
 * worker thread with one job at a time, see `arrow-converter.ts`.
 *
 * Source of the message framing: "Encapsulated message format" and "IPC Streaming Format" of the Arrow columnar format.
 */
import { openAsBlob } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { DataType, DateUnit, type Schema, Table as JsTable, tableToIPC, TimeUnit } from 'apache-arrow';
import {
  Compression,
  EnabledStatistics,
  ParquetFile,
  type RecordBatch,
  Table,
  writeParquet,
  type WriterProperties,
  WriterPropertiesBuilder,
} from 'parquet-wasm';
import type { ArrowJob, ConvertedIpc, FromWorker, PlainInstants, ToParquetJob, ToWorker } from './arrow-converter.js';
import { END_OF_STREAM, IpcPieces } from './ipc-pieces.js';

/** Rows of a batch that is given out. */
const BATCH_ROWS = 16_384;
const ROW_GROUP_ROWS = 122_880;
/** Batches given out that nobody has taken yet. */
const UNTAKEN_MAX = 4;
const PREFIX_BYTES = 8;

/** Each piece becomes a file of its own: writing them as one would take twice the time, most of it for going back and forth between batches. */
async function toParquet({ ipcFile, directory, share }: ToParquetJob): Promise<ConvertedIpc> {
  const ipc = await IpcPieces.open(ipcFile);
  try {
    const { schema } = ipc;
    assertReadable(schema);
    const files: string[] = [];
    const write = async (stream: Uint8Array, number: number): Promise<void> => {
      const file = path.join(directory, `${number}.parquet`);
      files[number] = file;
      await writeFile(file, writeParquet(Table.fromIPCStream(stream), quickProperties()));
    };
    for await (const { stream, number } of ipc.pieces(share)) await write(stream, number);
    // A stream without batches still says which columns there are.
    if (files.length === 0 && share.number === 0) await write(tableToIPC(new JsTable(schema), 'stream'), 0);
    return { files, plainInstants: plainInstantsOf(schema) };
  } finally {
    await ipc.close();
  }
}

/** The files are read once and thrown away: what makes them small or quick to search would take most of the time. */
function quickProperties(): WriterProperties {
  return new WriterPropertiesBuilder()
    .setCompression(Compression.UNCOMPRESSED)
    .setMaxRowGroupSize(ROW_GROUP_ROWS)
    .setDictionaryEnabled(false)
    .setStatisticsEnabled(EnabledStatistics.None)
    .build();
}

function plainInstantsOf(schema: Schema): PlainInstants[] {
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

/** Posts the stream piece by piece, a few ahead of who takes them. */
async function toStream(parquetFile: string, port: MessagePort): Promise<void> {
  let untaken = 0;
  let wake: () => void = () => undefined;
  const onTaken = (message: ToWorker): void => {
    if (message !== 'taken') return;
    untaken -= 1;
    wake();
  };
  port.on('message', onTaken);
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
  port.off('message', onTaken);
}

/** Length of the schema message that a stream begins with. */
function schemaBytes(stream: Uint8Array): number {
  return PREFIX_BYTES + new DataView(stream.buffer, stream.byteOffset).getInt32(4, true);
}

async function run(job: ArrowJob, port: MessagePort): Promise<void> {
  let end: FromWorker;
  try {
    if (job.kind === 'toParquet') {
      end = { kind: 'converted', ...(await toParquet(job)) };
    } else {
      await toStream(job.parquetFile, port);
      end = { kind: 'done' };
    }
  } catch (error) {
    end = { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(end);
}

const port = parentPort;
port?.on('message', (message: ToWorker) => {
  if (message !== 'taken') void run(message, port);
});
