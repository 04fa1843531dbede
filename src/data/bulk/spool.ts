/** Takes a request body to disk as it comes, unpacked, with a bound on its size. The event loop only moves bytes. */
import { createHash, type Hash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { unpackers } from '../../api/content-encoding.js';
import { AppError, isSystemError, invalidArgument, messageOf } from '../../common/app-error.js';

export interface Spooled {
  readonly bytes: number;
  /** SHA-256 of the unpacked body; empty unless asked for. */
  readonly digest: string;
}

/** @throws AppError PAYLOAD_TOO_LARGE past the bound, INVALID_ARGUMENT when the packing is damaged */
export async function spool(
  body: Readable,
  encoding: string | undefined,
  file: string,
  bytesMax: number,
  wantsDigest: boolean,
): Promise<Spooled> {
  const counter = new Counter(bytesMax, wantsDigest ? createHash('sha256') : undefined);
  try {
    const unpacking = unpackers(encoding);
    // Made before anything can fail: a stream would make the file later, when it may have been cleared away.
    const handle = await open(file, 'w');
    await pipeline([body, ...unpacking, counter, handle.createWriteStream()]);
  } catch (error) {
    if (error instanceof AppError) throw error;
    if (isSystemError(error, 'ENOSPC', 'EDQUOT'))
      throw new AppError('UNAVAILABLE', 'the body could not be received: the disk is full; free some space and send it again', {
        cause: error,
      });
    if (isSystemError(error, 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'))
      throw new AppError('CANCELLED', 'the client disconnected before the whole body arrived', { cause: error });
    throw invalidArgument(`the body could not be read: ${messageOf(error)}`);
  }
  return { bytes: counter.bytes, digest: counter.digest };
}

class Counter extends Transform {
  bytes = 0;

  constructor(
    private readonly bytesMax: number,
    private readonly hash: Hash | undefined,
  ) {
    super();
  }

  get digest(): string {
    return this.hash?.digest('base64') ?? '';
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.bytes += chunk.length;
    this.hash?.update(chunk);
    if (this.bytes > this.bytesMax)
      done(new AppError('PAYLOAD_TOO_LARGE', `the body has more than ${this.bytesMax} bytes (limits.bulk_bytes_max); send it in parts`));
    else done(null, chunk);
  }
}
