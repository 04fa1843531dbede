/**
 * Gives a Parquet file that someone else wrote a new footer over the same data pages. What is not about the columns that are changed is copied byte for
 * byte, so nothing that this file does not know of is lost.
 * Sources: `FileMetaData` and `SchemaElement` of parquet.thrift; the Thrift compact protocol.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { CompactReader, type Field, I32, LIST, varint } from './compact-protocol.js';

/** Id of the field of FileMetaData that lists the columns. */
const FILE_SCHEMA = 2;

const MAGIC = 'PAR1';
/** Length of the footer and the magic word. */
const TAIL_BYTES = 8;
const FOOTER_BYTES_MAX = 64 * 1_024 * 1_024;

/** A field of a column's element, and the bytes of its value. */
export interface ElementField {
  readonly id: number;
  readonly type: number;
  readonly bytes: Buffer;
}

/** @returns the fields that a column of the footer is to have; those it has when nothing changes */
export type ColumnChange = (fields: readonly ElementField[]) => readonly ElementField[];

/** @returns false when the file has no plain footer, and is as it was */
export async function rewriteFooter(path: string, change: ColumnChange): Promise<boolean> {
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, size - TAIL_BYTES, TAIL_BYTES);
    const footerBytes = tail.readUInt32LE(0);
    const start = size - TAIL_BYTES - footerBytes;
    if (tail.toString('latin1', 4) !== MAGIC || footerBytes > FOOTER_BYTES_MAX || start < MAGIC.length) return false;
    const footer = withColumns(await readAt(file, start, footerBytes), change);
    const end = Buffer.alloc(TAIL_BYTES);
    end.writeUInt32LE(footer.length, 0);
    end.write(MAGIC, 4, 'latin1');
    const written = Buffer.concat([footer, end]);
    await file.write(written, 0, written.length, start);
    await file.truncate(start + written.length);
    return true;
  } finally {
    await file.close();
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  if (bytesRead !== length) throw new Error(`the file ends after ${bytesRead} of ${length} bytes at ${position}`);
  return bytes;
}

/** @throws Error for a footer that cannot be read */
export function withColumns(footer: Buffer, change: ColumnChange): Buffer {
  const reader = new CompactReader(footer);
  const schema = reader.structFields().find(({ id, type }) => id === FILE_SCHEMA && type === LIST);
  if (!schema) throw new Error('the footer has no schema');
  reader.position = schema.from;
  const { size } = reader.collectionHeader();
  const before = footer.subarray(0, reader.position);
  // The first element is the root.
  const elements: Buffer[] = [];
  for (let index = 0; index < size; index += 1) {
    const from = reader.position;
    const fields = reader.structFields();
    elements.push(index === 0 ? footer.subarray(from, reader.position) : changedElement(footer, fields, change));
  }
  return Buffer.concat([before, ...elements, footer.subarray(reader.position)]);
}

function changedElement(footer: Buffer, fields: readonly Field[], change: ColumnChange): Buffer {
  const values = [...change(fields.map(({ id, type, from, to }) => ({ id, type, bytes: footer.subarray(from, to) })))];
  values.sort((a, b) => a.id - b.id);
  let last = 0;
  const parts = values.flatMap(({ id, type, bytes }) => {
    const header = Buffer.of(((id - last) << 4) | type);
    last = id;
    return [header, bytes];
  });
  return Buffer.concat([...parts, Buffer.of(0)]);
}

/** A field that is a number from 0 up. */
export function numberField(id: number, value: number): ElementField {
  // Zigzag: a positive number is doubled.
  return { id, type: I32, bytes: varint(2 * value) };
}
