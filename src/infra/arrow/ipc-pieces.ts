/**
 * Cuts an Arrow IPC stream into streams of its own, each with some batches: bytes are copied, and no column is looked at. So the memory that a conversion
 * takes is bounded by a piece, and batches go from the body to the converter as they came.
 *
 * A batch needs the dictionaries that were current when it came. Each piece begins with the schema and with those, and goes on with the messages in
 * their order.
 *
 * Source: "Encapsulated message format", "IPC Streaming Format" and "Dictionary Messages" of the Arrow columnar format.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { Message, MessageHeader, MetadataVersion, RecordBatchReader, type Schema } from 'apache-arrow';

/** A piece is closed at this size; one batch may be larger. */
const PIECE_BYTES = 8 * 1_024 * 1_024;
/** A continuation mark and a length of 0. */
export const END_OF_STREAM = Buffer.from('ffffffff00000000', 'hex');
const CONTINUATION = -1;
const [MARK_BYTES, LENGTH_BYTES] = [4, 4];
/** More than any schema or batch of sound size says of itself. */
const METADATA_BYTES_MAX = 256 * 1_024 * 1_024;

/** A message of a stream, and where it stands. */
interface IpcMessage {
  readonly kind: MessageHeader;
  /** Of the whole message, its marks included. */
  readonly start: number;
  readonly end: number;
  readonly message: Message;
}

export interface IpcPiece {
  readonly number: number;
  /** A whole stream. */
  readonly stream: Buffer;
}

export interface PieceShare {
  readonly number: number;
  readonly of: number;
}

export class IpcPieces {
  private constructor(
    private readonly file: FileHandle,
    private readonly sizeBytes: number,
    private readonly schemaMessage: IpcMessage,
    readonly schema: Schema,
    private readonly schemaBytes: Buffer,
  ) {}

  /** @throws Error for what is no stream, or one that was cut */
  static async open(path: string): Promise<IpcPieces> {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      await assertEnded(file, size);
      const first = await readMessage(file, 0, size);
      if (first?.kind !== MessageHeader.Schema) throw new Error('it does not begin with a schema');
      const bytes = await readRange(file, first.start, first.end);
      const { schema } = RecordBatchReader.from(Buffer.concat([bytes, END_OF_STREAM])).open();
      return new IpcPieces(file, size, first, schema, bytes);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Streams of the batches, in their order, each with its number; none for a stream without batches.
   * @param share which pieces: of every `of`, the one with this number, so that several can share the work
   */
  async *pieces(share: PieceShare): AsyncIterable<IpcPiece> {
    const dictionaries = new Map<number, Buffer[]>();
    let number = 0;
    let before: readonly Buffer[] = [];
    let own: IpcMessage[] = [];
    for await (const found of this.#messages()) {
      own.push(found);
      if (found.kind === MessageHeader.DictionaryBatch) noteDictionary(dictionaries, found.message, await this.#bytesOf(found));
      if (sizeOf(own) < PIECE_BYTES || !hasBatch(own)) continue;
      if (number % share.of === share.number) yield { number, stream: await this.#stream(before, own) };
      number += 1;
      own = [];
      before = [...dictionaries.values()].flat();
    }
    if (hasBatch(own) && number % share.of === share.number) yield { number, stream: await this.#stream(before, own) };
  }

  async #stream(dictionaries: readonly Buffer[], messages: readonly IpcMessage[]): Promise<Buffer> {
    const bytes = [];
    for (const message of messages) bytes.push(await this.#bytesOf(message));
    return Buffer.concat([this.schemaBytes, ...dictionaries, ...bytes, END_OF_STREAM]);
  }

  #bytesOf({ start, end }: IpcMessage): Promise<Buffer> {
    return readRange(this.file, start, end);
  }

  async *#messages(): AsyncIterable<IpcMessage> {
    let at = this.schemaMessage.end;
    for (;;) {
      const message = await readMessage(this.file, at, this.sizeBytes);
      if (!message) return;
      const { kind } = message;
      if (kind !== MessageHeader.RecordBatch && kind !== MessageHeader.DictionaryBatch)
        throw new Error(`it has a message of kind ${MessageHeader[kind] ?? kind} among its batches`);
      yield message;
      at = message.end;
    }
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

function sizeOf(messages: readonly IpcMessage[]): number {
  return messages.reduce((sum, { start, end }) => sum + end - start, 0);
}

function hasBatch(messages: readonly IpcMessage[]): boolean {
  return messages.some(({ kind }) => kind === MessageHeader.RecordBatch);
}

/** A dictionary takes the place of the one of its number before it, or adds to it. */
function noteDictionary(dictionaries: Map<number, Buffer[]>, message: Message, bytes: Buffer): void {
  if (!message.isDictionaryBatch()) return;
  const { id, isDelta } = message.header();
  dictionaries.set(Number(id), isDelta ? [...(dictionaries.get(Number(id)) ?? []), bytes] : [bytes]);
}

/** Readers take a stream that was cut for one that is over. */
async function assertEnded(file: FileHandle, sizeBytes: number): Promise<void> {
  const end = sizeBytes > END_OF_STREAM.length ? await readRange(file, sizeBytes - END_OF_STREAM.length, sizeBytes) : Buffer.alloc(0);
  if (!end.equals(END_OF_STREAM)) throw new Error('it has no end-of-stream mark: it was cut, or its writer was not closed');
}

/** @returns undefined at the end of the stream */
async function readMessage(file: FileHandle, start: number, sizeBytes: number): Promise<IpcMessage | undefined> {
  if (start + MARK_BYTES + LENGTH_BYTES > sizeBytes) throw new Error('it ends within a message');
  const prefix = await readRange(file, start, start + MARK_BYTES + LENGTH_BYTES);
  // Streams from before Arrow 0.15 have no mark.
  const isMarked = prefix.readInt32LE(0) === CONTINUATION;
  const metadataStart = start + (isMarked ? MARK_BYTES + LENGTH_BYTES : LENGTH_BYTES);
  const metadataBytes = prefix.readInt32LE(isMarked ? MARK_BYTES : 0);
  if (metadataBytes === 0) return undefined;
  if (metadataBytes < 0 || metadataBytes > METADATA_BYTES_MAX || metadataStart + metadataBytes > sizeBytes)
    throw new Error(`it has a message of impossible length at byte ${start}`);
  const message = Message.decode(await readRange(file, metadataStart, metadataStart + metadataBytes));
  if (message.version < MetadataVersion.V4) throw new Error('it was written in a format from before Arrow 0.8');
  const end = metadataStart + metadataBytes + Number(message.bodyLength);
  if (!(end <= sizeBytes)) throw new Error('it ends within a message');
  return { kind: message.headerType, start, end, message };
}

async function readRange(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(end - start);
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
    if (bytesRead === 0) throw new Error('it ends within a message');
    at += bytesRead;
  }
  return bytes;
}
