/**
 * Arrow IPC files (Feather version 2) as streams: a file is a stream between a mark with its padding and a footer, which is not needed to read it in
 * order.
 *
 * Source: "IPC File Format" of the Arrow columnar format.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { invalidArgument } from '../../common/app-error.js';

const MARK = 'ARROW1';
/** The mark is padded to eight bytes. */
const HEAD_BYTES = 8;
const LENGTH_BYTES = 4;
const TAIL_BYTES = LENGTH_BYTES + MARK.length;

/**
 * Copies the stream out of a file.
 * @returns false for what does not begin like a file: it may be a stream
 * @throws AppError INVALID_ARGUMENT for a file that was cut
 */
export async function fileToStream(file: string, stream: string): Promise<boolean> {
  const handle = await open(file);
  let end: number;
  try {
    const { size } = await handle.stat();
    const head = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    if (head.buffer.toString('latin1', 0, MARK.length) !== MARK) return false;
    const tail = await handle.read(Buffer.alloc(TAIL_BYTES), 0, TAIL_BYTES, Math.max(0, size - TAIL_BYTES));
    const footerBytes = tail.buffer.readInt32LE(0);
    end = size - TAIL_BYTES - footerBytes;
    const isWhole = tail.buffer.toString('latin1', LENGTH_BYTES) === MARK && footerBytes > 0 && end > HEAD_BYTES;
    if (!isWhole) throw invalidArgument('the body is an Arrow IPC file without its end; it was cut, or is damaged');
  } finally {
    await handle.close();
  }
  await pipeline(createReadStream(file, { start: HEAD_BYTES, end: end - 1 }), createWriteStream(stream));
  return true;
}
