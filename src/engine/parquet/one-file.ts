/**
 * Refuses a body of several Parquet files one after the other. The footer of the last one is the only one that is found; the others would be lost, or
 * worse, read in its place, because the footer says by their distance from the beginning where pages are.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { invalidArgument } from '../../common/app-error.js';
import { asNumber, type Engine } from '../duckdb/engine.js';
import { quoteText } from '../duckdb/sql-text.js';

const MAGIC = Buffer.from('PAR1');
/** The end of one file and the beginning of the next. */
const SEAM = Buffer.concat([MAGIC, MAGIC]);
/** Length of the footer and the magic word. */
const TAIL_BYTES = 8;
const CHUNK_BYTES = 1_024 * 1_024;

/** @throws AppError INVALID_ARGUMENT */
export async function assertOneFile(engine: Engine, path: string): Promise<void> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, size - TAIL_BYTES, TAIL_BYTES);
    if (!(await readAt(file, 0, MAGIC.length)).equals(MAGIC)) throw invalidArgument('the body does not begin as a Parquet file does');
    const footerStart = size - TAIL_BYTES - tail.readUInt32LE(0);
    // As long as the files before the last one; else there are only indexes and filters.
    const unused = footerStart - (await pagesEnd(engine, path));
    const at = await seamBefore(file, Math.min(unused, size - TAIL_BYTES));
    if (at !== undefined)
      throw invalidArgument(
        `the body is several Parquet files one after the other, of which the first ends at byte ${at}; send each by itself`,
      );
  } finally {
    await file.close();
  }
}

/** Where the footer says that the last page ends. */
async function pagesEnd(engine: Engine, path: string): Promise<number> {
  const row = await engine.row(
    `SELECT max(least(data_page_offset, CASE WHEN dictionary_page_offset > 0 THEN dictionary_page_offset ELSE data_page_offset END) + total_compressed_size) AS bytes
       FROM parquet_metadata(${quoteText(path)})`,
  );
  return asNumber(row['bytes'] ?? MAGIC.length);
}

/** Where a file that begins at byte 0 ends, if another follows within so many bytes. */
async function seamBefore(file: FileHandle, bytes: number): Promise<number | undefined> {
  for (let start = 0; start < bytes; start += CHUNK_BYTES) {
    const chunk = await readAt(file, start, Math.min(CHUNK_BYTES + SEAM.length - 1, bytes + SEAM.length - 1 - start));
    for (let at = chunk.indexOf(SEAM); at !== -1; at = chunk.indexOf(SEAM, at + 1))
      if (await isFooterBefore(file, start + at)) return start + at + MAGIC.length;
  }
  return undefined;
}

/** Text may have the same bytes: a footer begins with the version of the format, as the number of its first field. */
async function isFooterBefore(file: FileHandle, magicAt: number): Promise<boolean> {
  if (magicAt < TAIL_BYTES) return false;
  const length = (await readAt(file, magicAt - 4, 4)).readUInt32LE(0);
  const from = magicAt - 4 - length;
  if (length === 0 || from < MAGIC.length) return false;
  const [field, version] = await readAt(file, from, 2);
  return field === VERSION_FIELD && version !== undefined && version > 0 && version <= VERSION_MAX;
}

/** Field 1, a 32-bit number, in the Thrift compact protocol; versions there are, doubled. */
const [VERSION_FIELD, VERSION_MAX] = [0x15, 8];

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}
