/**
 * Cuts Arrow IPC streams into streams of their own, each with some batches: bytes are copied, and no column is looked at. So the memory that a conversion
 * takes is bounded by a piece, and batches go from the body to the converter as they came. A body may have several streams one after the other, as long
 * as they have the same columns.
 *
 * A batch needs the dictionaries that were current when it came. Each piece begins with the schema and with those, and goes on with the messages in
 * their order.
 *
 * Source: "Encapsulated message format", "IPC Streaming Format" and "Dictionary Messages" of the Arrow columnar format.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { Message, MessageHeader, MetadataVersion } from 'apache-arrow';
import type { SourceField } from '../source-field.js';
import { arrowFields } from './arrow-fields.js';

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
  /** What it says of itself, without its body. */
  readonly metadata: Buffer;
}

/** Where a stream ends: the byte after its mark. */
interface IpcEnd {
  readonly kind: 'end';
  readonly end: number;
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
    /** Of the first stream, as the columns are. */
    private readonly schemaMessage: IpcMessage,
    readonly fields: readonly SourceField[],
  ) {}

  /** @throws Error for what is no stream, or one that was cut */
  static async open(path: string): Promise<IpcPieces> {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      await assertEnded(file, size);
      const schema = await readMessage(file, 0, size);
      if (schema.kind !== MessageHeader.Schema) throw new Error('it does not begin with a schema');
      return new IpcPieces(file, size, schema, arrowFields(schema.metadata));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Streams of the batches, in their order, each with its number; none when no stream has batches.
   * @param share which pieces: of every `of`, the one with this number, so that several can share the work
   * @throws Error when streams have different columns, or for bytes after them that are no stream
   */
  async *pieces(share: PieceShare): AsyncIterable<IpcPiece> {
    let number = 0;
    for await (const { schema, messages } of this.#streams()) {
      const dictionaries = new Map<number, Buffer[]>();
      let before: readonly Buffer[] = [];
      let own: IpcMessage[] = [];
      for await (const found of messages) {
        own.push(found);
        if (found.kind === MessageHeader.DictionaryBatch) noteDictionary(dictionaries, found.message, await this.#bytesOf(found));
        if (sizeOf(own) < PIECE_BYTES || !hasBatch(own)) continue;
        if (number % share.of === share.number) yield { number, stream: await this.#stream(schema, before, own) };
        number += 1;
        own = [];
        before = [...dictionaries.values()].flat();
      }
      if (!hasBatch(own)) continue;
      if (number % share.of === share.number) yield { number, stream: await this.#stream(schema, before, own) };
      number += 1;
    }
  }

  /** A stream with the columns and no batch. */
  empty(): Promise<Buffer> {
    return this.#stream(this.schemaMessage, [], []);
  }

  async #stream(schema: IpcMessage, dictionaries: readonly Buffer[], messages: readonly IpcMessage[]): Promise<Buffer> {
    const bytes = [await this.#bytesOf(schema), ...dictionaries];
    for (const message of messages) bytes.push(await this.#bytesOf(message));
    return Buffer.concat([...bytes, END_OF_STREAM]);
  }

  #bytesOf({ start, end }: IpcMessage): Promise<Buffer> {
    return readRange(this.file, start, end);
  }

  async *#streams(): AsyncIterable<{ schema: IpcMessage; messages: AsyncIterable<IpcMessage> }> {
    let [schema, at, number] = [this.schemaMessage, 0, 1];
    const messages = this.#messages.bind(this);
    async function* untilEnd(): AsyncIterable<IpcMessage> {
      for await (const found of messages(schema.end)) {
        at = found.end;
        if (found.kind !== 'end') yield found;
      }
    }
    for (;;) {
      yield { schema, messages: untilEnd() };
      if (at === this.sizeBytes) return;
      number += 1;
      schema = await this.#schemaAt(at, number);
    }
  }

  /** The schema of a further stream. */
  async #schemaAt(at: number, number: number): Promise<IpcMessage> {
    const found = await readMessage(this.file, at, this.sizeBytes).catch(() => undefined);
    if (found?.kind !== MessageHeader.Schema)
      throw new Error(`it goes on after the end of stream ${number - 1}, at byte ${at}, with bytes that are no Arrow IPC stream`);
    const difference = differenceOf(this.fields, arrowFields(found.metadata));
    if (difference !== undefined)
      throw new Error(`stream ${number} of the body has other columns than the first: ${difference}; send it as a body of its own`);
    return found;
  }

  async *#messages(start: number): AsyncIterable<IpcMessage | IpcEnd> {
    let at = start;
    for (;;) {
      const message = await readMessage(this.file, at, this.sizeBytes);
      const { kind, end } = message;
      if (kind !== 'end' && kind !== MessageHeader.RecordBatch && kind !== MessageHeader.DictionaryBatch)
        throw new Error(`it has a message of kind ${MessageHeader[kind] ?? kind} among its batches`);
      yield message;
      if (kind === 'end') return;
      at = end;
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

/** What the second list of columns has otherwise than the first, or undefined. */
function differenceOf(first: readonly SourceField[], second: readonly SourceField[]): string | undefined {
  for (let index = 0; index < Math.max(first.length, second.length); index += 1) {
    const [before, after] = [first[index], second[index]];
    if (JSON.stringify(before) === JSON.stringify(after)) continue;
    if (!before || !after) return `column ${(before ?? after)?.name ?? ''} is in one of them only`;
    if (before.name !== after.name) return `column ${index + 1} is ${before.name} in the first and ${after.name} in this one`;
    return `column ${before.name} is of another type`;
  }
  return undefined;
}

/** Readers take a stream that was cut for one that is over. */
async function assertEnded(file: FileHandle, sizeBytes: number): Promise<void> {
  const end = sizeBytes > END_OF_STREAM.length ? await readRange(file, sizeBytes - END_OF_STREAM.length, sizeBytes) : Buffer.alloc(0);
  if (!end.equals(END_OF_STREAM))
    throw new Error('it does not end with an end-of-stream mark: it was cut, its writer was not closed, or other bytes follow it');
}

async function readMessage(file: FileHandle, start: number, sizeBytes: number): Promise<IpcMessage | IpcEnd> {
  if (start + LENGTH_BYTES > sizeBytes) throw new Error('it ends within a message');
  const prefix = await readRange(file, start, Math.min(start + MARK_BYTES + LENGTH_BYTES, sizeBytes));
  // Streams from before Arrow 0.15 have no mark.
  const isMarked = prefix.readInt32LE(0) === CONTINUATION;
  if (isMarked && prefix.length < MARK_BYTES + LENGTH_BYTES) throw new Error('it ends within a message');
  const metadataStart = start + (isMarked ? MARK_BYTES + LENGTH_BYTES : LENGTH_BYTES);
  const metadataBytes = prefix.readInt32LE(isMarked ? MARK_BYTES : 0);
  if (metadataBytes === 0) return { kind: 'end', end: metadataStart };
  if (metadataBytes < 0 || metadataBytes > METADATA_BYTES_MAX || metadataStart + metadataBytes > sizeBytes)
    throw new Error(`it has a message of impossible length at byte ${start}`);
  const metadata = await readRange(file, metadataStart, metadataStart + metadataBytes);
  const message = Message.decode(metadata);
  if (message.version < MetadataVersion.V4) throw new Error('it was written in a format from before Arrow 0.8');
  const end = metadataStart + metadataBytes + Number(message.bodyLength);
  if (!(end <= sizeBytes)) throw new Error('it ends within a message');
  return { kind: message.headerType, start, end, message, metadata };
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
