/**
 * Gives the columns of a Parquet file that someone else wrote the field ids of a table, by a new footer over the same data pages.
 * Sources: `FileMetaData` and `SchemaElement` of parquet.thrift; the Thrift compact protocol. What is not about field ids is copied byte for byte,
 * so nothing that this file does not know of is lost.
 */
import { type FileHandle, open } from 'node:fs/promises';

/** Ids of the fields of parquet.thrift that matter here. */
const FILE_SCHEMA = 2;
const ELEMENT_NAME = 4;
const ELEMENT_FIELD_ID = 9;

const MAGIC = 'PAR1';
/** Length of the footer and the magic word. */
const TAIL_BYTES = 8;
const FOOTER_BYTES_MAX = 64 * 1_024 * 1_024;

/** Types of the compact protocol. A boolean field has its value in its type. */
const TRUE = 1;
const FALSE = 2;
const BYTE = 3;
const I16 = 4;
const I32 = 5;
const I64 = 6;
const DOUBLE = 7;
const BINARY = 8;
const LIST = 9;
const SET = 10;
const MAP = 11;
const STRUCT = 12;

/** Collections of this many members or more have their size after the header. */
const SIZE_IN_HEADER_MAX = 15;

/**
 * Writes the ids into the file.
 * @param fieldIds by name of the column, for every column of a file without nested ones
 * @returns false when the file has no plain footer, and is as it was
 */
export async function writeFieldIds(path: string, fieldIds: ReadonlyMap<string, number>): Promise<boolean> {
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, size - TAIL_BYTES, TAIL_BYTES);
    const footerBytes = tail.readUInt32LE(0);
    const start = size - TAIL_BYTES - footerBytes;
    if (tail.toString('latin1', 4) !== MAGIC || footerBytes > FOOTER_BYTES_MAX || start < MAGIC.length) return false;
    const footer = withFieldIds(await readAt(file, start, footerBytes), fieldIds);
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

/** @throws Error for a footer that cannot be read, or a column without an id */
export function withFieldIds(footer: Buffer, fieldIds: ReadonlyMap<string, number>): Buffer {
  const reader = new CompactReader(footer);
  const schema = reader.structFields().find(({ id, type }) => id === FILE_SCHEMA && type === LIST);
  if (!schema) throw new Error('the footer has no schema');
  reader.position = schema.from;
  const { size } = reader.collectionHeader();
  const before = footer.subarray(0, reader.position);
  // The first element is the root.
  const elements = Array.from({ length: size }, (_, index) => {
    const from = reader.position;
    const fields = reader.structFields();
    return index === 0 ? footer.subarray(from, reader.position) : elementWithFieldId(footer, fields, fieldIds);
  });
  return Buffer.concat([before, ...elements, footer.subarray(reader.position)]);
}

function elementWithFieldId(footer: Buffer, fields: readonly Field[], fieldIds: ReadonlyMap<string, number>): Buffer {
  const nameField = fields.find(({ id }) => id === ELEMENT_NAME);
  if (!nameField) throw new Error('a column of the footer has no name');
  const nameReader = new CompactReader(footer, nameField.from);
  const nameBytes = nameReader.size();
  const name = footer.toString('utf8', nameReader.position, nameReader.position + nameBytes);
  const fieldId = fieldIds.get(name);
  if (fieldId === undefined) throw new Error(`column ${name} has no field id`);
  const values = fields
    .filter(({ id }) => id !== ELEMENT_FIELD_ID)
    .map(({ id, type, from, to }) => ({ id, type, bytes: footer.subarray(from, to) }));
  // Zigzag: a positive number is doubled.
  values.push({ id: ELEMENT_FIELD_ID, type: I32, bytes: varint(2 * fieldId) });
  values.sort((a, b) => a.id - b.id);
  let last = 0;
  const parts = values.flatMap(({ id, type, bytes }) => {
    const header = Buffer.of(((id - last) << 4) | type);
    last = id;
    return [header, bytes];
  });
  return Buffer.concat([...parts, Buffer.of(0)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.of(...bytes, rest);
}

/** A field of a struct and where its value stands. */
interface Field {
  readonly id: number;
  readonly type: number;
  readonly from: number;
  readonly to: number;
}

/** Finds its way through a message without knowing what the message says. */
class CompactReader {
  constructor(
    private readonly bytes: Buffer,
    public position = 0,
  ) {}

  /** The fields of the struct that begins here; stands behind it afterwards. */
  structFields(): Field[] {
    const fields: Field[] = [];
    for (let id = 0; ;) {
      const header = this.#byte();
      if (header === 0) return fields;
      const type = header & 0x0f;
      const step = header >> 4;
      id = step === 0 ? this.#zigzag() : id + step;
      const from = this.position;
      this.#skipField(type);
      fields.push({ id, type, from, to: this.position });
    }
  }

  collectionHeader(): { type: number; size: number } {
    const header = this.#byte();
    const size = header >> 4;
    return { type: header & 0x0f, size: size === SIZE_IN_HEADER_MAX ? this.size() : size };
  }

  /** A size, as it stands before what it measures. */
  size(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  #zigzag(): number {
    const value = this.size();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  #byte(): number {
    const byte = this.bytes[this.position];
    if (byte === undefined) throw new Error('the footer ends in the middle of a value');
    this.position += 1;
    return byte;
  }

  #skipField(type: number): void {
    if (type !== TRUE && type !== FALSE) this.#skipValue(type);
  }

  #skipValue(type: number): void {
    switch (type) {
      // As a member of a collection; as a field it has no value of its own.
      case TRUE:
      case FALSE:
      case BYTE:
        this.position += 1;
        break;
      case I16:
      case I32:
      case I64:
        while (this.#byte() >= 0x80);
        break;
      case DOUBLE:
        this.position += 8;
        break;
      case BINARY: {
        // The size moves the position, too.
        const bytes = this.size();
        this.position += bytes;
        break;
      }
      case LIST:
      case SET:
        this.#skipCollection();
        break;
      case MAP:
        this.#skipMap();
        break;
      case STRUCT:
        this.structFields();
        break;
      default:
        throw new Error(`the footer has a value of the unknown type ${type}`);
    }
  }

  #skipCollection(): void {
    const { type, size } = this.collectionHeader();
    for (let index = 0; index < size; index += 1) this.#skipValue(type);
  }

  #skipMap(): void {
    const size = this.size();
    if (size === 0) return;
    const types = this.#byte();
    for (let index = 0; index < size; index += 1) {
      this.#skipValue(types >> 4);
      this.#skipValue(types & 0x0f);
    }
  }
}
