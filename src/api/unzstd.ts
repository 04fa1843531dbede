/**
 * Unpacks zstd (RFC 8878) with the reference decoder, compiled to WebAssembly: it checks checksums and declared lengths. The decoder has its own
 * memory for each body, gives at most 128 KiB a step, and the next step waits until those are taken. A window is refused by its header, before
 * the decoder would set memory aside for it; 8 MiB are what the RFC asks of every decoder.
 *
 * The package's own stream is not used: it does not look at the decoder's errors, and has one memory for all.
 */
import { ZSTDDecoder } from 'zstddec/stream';
import { invalidArgument } from '../common/app-error.js';

const WINDOW_BYTES_MAX = 8 * 1_024 * 1_024;
/** Longest part of a frame that tells its window: magic number, descriptor, window, dictionary, size. */
const HEADER_BYTES_MAX = 18;
const MAGIC = 0xfd2fb528;
const POINTER_BYTES = 4;
/** Pieces taken by the decoder at once: what a client sends as one piece may unpack to any length without a word. */
const INPUT_BYTES_MAX = 64 * 1_024;

interface Decoder {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly malloc: (bytes: number) => number;
  readonly ZSTD_createDCtx: () => number;
  readonly ZSTD_DStreamOutSize: () => number;
  /** @returns 0 at the end of a frame, less than 0 for an error */
  readonly ZSTD_decompressStream: (context: number, output: number, input: number) => number;
}

/** Of the decoder; the others say that the bytes are damaged. */
const REASONS: Readonly<Record<number, string>> = {
  10: 'it is not zstd',
  20: 'it is damaged, or its length is not the one it declares',
  22: 'its checksum does not match',
  32: 'it needs a dictionary',
};

/** @throws AppError INVALID_ARGUMENT naming what is wrong with the packing */
export async function* unzstd(packed: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const frames = new Frames(await newDecoder());
  for await (const chunk of packed)
    for (let start = 0; start < chunk.length; start += INPUT_BYTES_MAX) yield* frames.take(chunk.subarray(start, start + INPUT_BYTES_MAX));
  yield* frames.end();
}

class Frames {
  readonly #context: number;
  readonly #input: number;
  readonly #inputBytes: number;
  readonly #output: number;
  readonly #outputSize: number;
  /** Beginning of a frame, as long as it may be too short to be judged; undefined within a frame. */
  #header: Buffer | undefined = Buffer.alloc(0);
  #hasBegun = false;

  constructor(private readonly decoder: Decoder) {
    this.#context = decoder.ZSTD_createDCtx();
    this.#outputSize = decoder.ZSTD_DStreamOutSize();
    this.#inputBytes = decoder.malloc(INPUT_BYTES_MAX + HEADER_BYTES_MAX);
    this.#input = this.#newBuffer(this.#inputBytes);
    this.#output = this.#newBuffer(decoder.malloc(this.#outputSize));
  }

  *take(bytes: Buffer): Iterable<Buffer> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#header) {
        rest = Buffer.concat([this.#header, rest]);
        this.#header = rest;
        if (rest.length < HEADER_BYTES_MAX) return;
        this.#begin();
      }
      rest = yield* this.#decode(rest);
    }
  }

  *end(): Iterable<Buffer> {
    let rest = this.#header;
    while (rest && rest.length > 0) {
      this.#header = rest;
      this.#begin();
      rest = yield* this.#decode(rest);
    }
    if (!this.#header || !this.#hasBegun) throw damaged('it ends too early');
  }

  #begin(): void {
    const window = this.#header && windowOf(this.#header);
    if (window !== undefined && window > WINDOW_BYTES_MAX)
      throw damaged(
        `a frame asks for a window of ${window} bytes, and at most ${WINDOW_BYTES_MAX} are given; pack it without --long and with a level of at most 19`,
      );
    this.#header = undefined;
    this.#hasBegun = true;
  }

  /** Unpacks up to the end of the bytes or of the frame. @returns what is left */
  *#decode(bytes: Buffer): Generator<Buffer, Buffer> {
    this.#heap.set(bytes, this.#inputBytes);
    this.#setBuffer(this.#input, bytes.length);
    for (;;) {
      this.#setBuffer(this.#output, this.#outputSize);
      const result = this.decoder.ZSTD_decompressStream(this.#context, this.#output, this.#input);
      if (result < 0) throw damaged(REASONS[-result] ?? 'it is damaged');
      const written = this.#position(this.#output);
      if (written > 0) yield Buffer.from(this.#heap.subarray(this.#pointer(this.#output), this.#pointer(this.#output) + written));
      const read = this.#position(this.#input);
      if (result === 0) {
        this.#header = Buffer.alloc(0);
        return bytes.subarray(read);
      }
      if (read === bytes.length && written < this.#outputSize) return Buffer.alloc(0);
    }
  }

  /** A `ZSTD_inBuffer` or `ZSTD_outBuffer`: pointer, size, position. */
  #newBuffer(bytes: number): number {
    const buffer = this.decoder.malloc(3 * POINTER_BYTES);
    this.#view.setUint32(buffer, bytes, true);
    return buffer;
  }

  #setBuffer(buffer: number, size: number): void {
    this.#view.setUint32(buffer + POINTER_BYTES, size, true);
    this.#view.setUint32(buffer + 2 * POINTER_BYTES, 0, true);
  }

  #pointer(buffer: number): number {
    return this.#view.getUint32(buffer, true);
  }

  #position(buffer: number): number {
    return this.#view.getUint32(buffer + 2 * POINTER_BYTES, true);
  }

  /** Made anew each time: growing the memory detaches the old one. */
  get #heap(): Uint8Array {
    return new Uint8Array(this.decoder.memory.buffer);
  }

  get #view(): DataView {
    return new DataView(this.decoder.memory.buffer);
  }
}

/** Bytes of the window that a frame asks for (RFC 8878, 3.1.1.1). @returns undefined for what is no frame with data, or too short to be one */
function windowOf(header: Buffer): number | undefined {
  if (header.length < 6 || header.readUInt32LE(0) !== MAGIC) return undefined;
  const descriptor = header.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  if (!isSingleSegment) {
    const base = 2 ** (10 + (header.readUInt8(5) >> 3));
    return base + (base / 8) * (header.readUInt8(5) & 7);
  }
  const sizeAt = 5 + ([0, 1, 2, 4][descriptor & 3] ?? 0);
  const sizeBytes = 2 ** (descriptor >> 6);
  if (header.length < sizeAt + sizeBytes) return undefined;
  return sizeBytes === 8 ? Number(header.readBigUInt64LE(sizeAt)) : header.readUIntLE(sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
}

function damaged(reason: string): Error {
  return invalidArgument(`the body could not be unpacked as zstd: ${reason}`);
}

/** As far as it is used; the types of Node do not have it. */
declare const WebAssembly: {
  instantiate(module: object, imports: Readonly<Record<string, Readonly<Record<string, () => void>>>>): Promise<{ exports: unknown }>;
};

/** Gets at the module that the package has compiled. */
class CompiledModule extends ZSTDDecoder {
  module: object | undefined;
  override _init = (result: { readonly module: object }): void => {
    this.module = result.module;
  };
}

async function compile(): Promise<object> {
  const compiled = new CompiledModule();
  await compiled.init();
  if (!compiled.module) throw new Error('the zstd decoder was not compiled');
  return compiled.module;
}

let compiling: Promise<object> | undefined;

async function newDecoder(): Promise<Decoder> {
  const module = await (compiling ??= compile());
  const { exports } = await WebAssembly.instantiate(module, { env: { emscripten_notify_memory_growth: () => undefined } });
  return exports as Decoder;
}
