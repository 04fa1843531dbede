/**
 * Finds its way through a message of the Thrift compact protocol without knowing what the message says: which fields there are, and where they stand.
 * Source: "Thrift compact protocol encoding".
 */

/** Types of the compact protocol. A boolean field has its value in its type. */
export const TRUE = 1;
export const FALSE = 2;
const BYTE = 3;
const I16 = 4;
export const I32 = 5;
const I64 = 6;
const DOUBLE = 7;
const BINARY = 8;
export const LIST = 9;
const SET = 10;
const MAP = 11;
const STRUCT = 12;

/** Collections of this many members or more have their size after the header. */
const SIZE_IN_HEADER_MAX = 15;

/** A field of a struct and where its value stands. */
export interface Field {
  readonly id: number;
  readonly type: number;
  readonly from: number;
  readonly to: number;
}

export class CompactReader {
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

export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.of(...bytes, rest);
}
