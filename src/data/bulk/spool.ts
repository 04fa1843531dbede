/**
 * Takes a request body as it comes, unpacked, with a bound on its size: a small one into memory, where there is room, any other to disk. The event
 * loop only moves bytes.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { unpackers } from '../../api/content-encoding.js';
import { AppError, isSystemError, invalidArgument, messageOf } from '../../common/app-error.js';

/** What a piece takes besides its bytes: a body may come byte by byte. */
const PIECE_BYTES = 256;

/** Memory for small bodies, all together. */
export class SpoolMemory {
  #taken = 0;

  constructor(
    private readonly bytesMax: number,
    readonly bodyBytesMax: number,
  ) {}

  /** @returns false when there is not so much */
  take(bytes: number): boolean {
    if (this.#taken + bytes > this.bytesMax) return false;
    this.#taken += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#taken -= bytes;
  }
}

export class SpooledBody {
  #bytes = 0;
  #pieces: Buffer[] | undefined = [];
  #inMemory = 0;
  #handle: FileHandle | undefined;
  #digest = '';
  #isOnDisk = false;
  #adding: Promise<void> | undefined;

  private constructor(
    private readonly path: string,
    private readonly memory: SpoolMemory,
  ) {}

  /**
   * @param encoding value of Content-Encoding
   * @param file where it is, or would be
   * @throws AppError PAYLOAD_TOO_LARGE past the bound, INVALID_ARGUMENT when the packing is damaged
   */
  static async receive(
    body: Readable,
    encoding: string | undefined,
    file: string,
    bytesMax: number,
    wantsDigest: boolean,
    memory: SpoolMemory,
  ): Promise<SpooledBody> {
    const spooled = new SpooledBody(file, memory);
    const counter = new Counter(bytesMax, wantsDigest ? createHash('sha256') : undefined);
    try {
      const sink = new Writable({
        write: (piece: Buffer, _encoding, done) => {
          spooled.#adding = spooled.#add(piece).then(() => done(), done);
        },
      });
      await pipeline([body, ...unpackers(encoding), counter, sink]);
      await spooled.#handle?.close();
      spooled.#digest = counter.digest;
      return spooled;
    } catch (error) {
      // A body that breaks off does not wait for its last piece.
      await spooled.#adding;
      await spooled.#handle?.close();
      await spooled.discard();
      throw asAppError(error);
    }
  }

  /** Unpacked. */
  get bytes(): number {
    return this.#bytes;
  }

  /** SHA-256 of the unpacked body; empty unless asked for. */
  get digest(): string {
    return this.#digest;
  }

  /** The body, where it is in memory. */
  inMemory(): Buffer | undefined {
    if (this.#pieces && this.#pieces.length > 1) this.#pieces = [Buffer.concat(this.#pieces)];
    return this.#pieces && (this.#pieces[0] ?? Buffer.alloc(0));
  }

  /** The body as a file. */
  async file(): Promise<string> {
    const text = this.inMemory();
    this.#isOnDisk = true;
    if (text) await writeFile(this.path, text);
    this.#release();
    return this.path;
  }

  /** Gives back the memory, and removes the file. */
  async discard(): Promise<void> {
    this.#release();
    if (this.#isOnDisk) await rm(this.path, { force: true });
  }

  #release(): void {
    this.memory.giveBack(this.#inMemory);
    this.#inMemory = 0;
    this.#pieces = undefined;
  }

  async #add(piece: Buffer): Promise<void> {
    this.#bytes += piece.length;
    const bytes = piece.length + PIECE_BYTES;
    if (this.#pieces && this.#bytes <= this.memory.bodyBytesMax && this.memory.take(bytes)) {
      this.#inMemory += bytes;
      this.#pieces.push(piece);
      return;
    }
    this.#isOnDisk = true;
    this.#handle ??= await open(this.path, 'w');
    const text = this.inMemory();
    this.#release();
    if (text) await this.#handle.appendFile(text);
    await this.#handle.appendFile(piece);
  }
}

function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT'))
    return new AppError('UNAVAILABLE', 'the body could not be received: the disk is full; free some space and send it again', {
      cause: error,
    });
  if (isSystemError(error, 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'))
    return new AppError('CANCELLED', 'the client disconnected before the whole body arrived', { cause: error });
  return invalidArgument(`the body could not be read: ${messageOf(error)}`);
}

class Counter extends Transform {
  #bytes = 0;

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
    this.#bytes += chunk.length;
    this.hash?.update(chunk);
    if (this.#bytes > this.bytesMax)
      done(new AppError('PAYLOAD_TOO_LARGE', `the body has more than ${this.bytesMax} bytes (limits.bulk_bytes_max); send it in parts`));
    else done(null, chunk);
  }
}
