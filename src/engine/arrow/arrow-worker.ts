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
import type { ArrowJob, FromWorker, ToParquetJob, ToWorker } from './arrow-converter.js';
import { END_OF_STREAM, IpcPieces } from './ipc-pieces.js';

/** Rows of a batch that is given out. */
const BATCH_ROWS = 16_384;
const ROW_GROUP_ROWS = 122_880;
/** Batches given out that nobody has taken yet. */
const UNTAKEN_MAX = 4;
const PREFIX_BYTES = 8;

/** Each piece becomes a file of its own: writing them as one would take twice the time, most of it for going back and forth between batches. */
async function toParquet({ ipcFile, directory, share }: ToParquetJob): Promise<string[]> {
  const ipc = await IpcPieces.open(ipcFile);
  try {
    const files: string[] = [];
    const write = async (stream: Uint8Array, number: number): Promise<void> => {
      const file = path.join(directory, `${number}.parquet`);
      files[number] = file;
      await writeFile(file, writeParquet(Table.fromIPCStream(stream), quickProperties()));
    };
    for await (const { stream, number } of ipc.pieces(share)) await write(stream, number);
    // A stream without batches still says which columns there are.
    if (files.length === 0 && share.number === 0) await write(await ipc.empty(), 0);
    return files;
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
      end = { kind: 'converted', files: await toParquet(job) };
    } else if (job.kind === 'streamToParquet') {
      await writeFile(job.parquetFile, writeParquet(Table.fromIPCStream(job.stream), quickProperties()));
      end = { kind: 'converted', files: [job.parquetFile] };
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
