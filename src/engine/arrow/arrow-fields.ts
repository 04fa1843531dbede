/**
 * The columns that the schema message of an Arrow IPC stream declares. Read from the message itself: the reader of apache-arrow refuses some types
 * without a word about the column, and neither it nor the converter says what a type was before they made another of it.
 *
 * Source: Schema.fbs and "Extension Types" of the Arrow columnar format.
 */
import { DateUnit, TimeUnit } from 'apache-arrow';
import { Date as DateType } from 'apache-arrow/fb/date';
import { Decimal } from 'apache-arrow/fb/decimal';
import { Endianness } from 'apache-arrow/fb/endianness';
import type { Field } from 'apache-arrow/fb/field';
import { FloatingPoint } from 'apache-arrow/fb/floating-point';
import { Int } from 'apache-arrow/fb/int';
import { Message } from 'apache-arrow/fb/message';
import { Precision } from 'apache-arrow/fb/precision';
import { Schema } from 'apache-arrow/fb/schema';
import { Time } from 'apache-arrow/fb/time';
import { Timestamp } from 'apache-arrow/fb/timestamp';
import { Type } from 'apache-arrow/fb/type';
import { ByteBuffer } from 'flatbuffers';
import type { SourceField } from '../source-field.js';

const EXTENSION_NAME = 'ARROW:extension:name';
const NESTING_MAX = 64;
/** Fields, and characters of names and metadata. A message may point to one field from many places, so that its length bounds neither. */
const PARTS_MAX = 4_000_000;

/**
 * @param metadata of a schema message, without its length
 * @throws Error for a schema that no machine of today writes
 */
export function arrowFields(metadata: Uint8Array): SourceField[] {
  const schema = Message.getRootAsMessage(new ByteBuffer(metadata)).header(new Schema()) as Schema | null;
  if (!schema) throw new Error('it does not begin with a schema');
  // The converter would take the bytes of each number the other way round.
  if (schema.endianness() !== Endianness.Little) throw new Error('its numbers are big-endian; send them little-endian');
  return new FieldReader().fields(schema.fieldsLength(), (index) => schema.fields(index));
}

class FieldReader {
  #parts = 0;

  fields(length: number, at: (index: number) => Field | null, depth = 0): SourceField[] {
    if (depth > NESTING_MAX) throw new Error(`it has columns nested deeper than ${NESTING_MAX} levels`);
    return this.#listOf(length, at).map((field) => this.#field(field, depth));
  }

  #field(field: Field, depth: number): SourceField {
    const name = this.#counted(field.name());
    const members = this.fields(field.childrenLength(), (index) => field.children(index), depth + 1);
    const encoded: SourceField = { name, ...typeOf(field, members) };
    const extension = this.#listOf(field.customMetadataLength(), (index) => field.customMetadata(index)).find(
      (pair) => this.#counted(pair.key()) === EXTENSION_NAME,
    );
    const value = extension ? { ...encoded, type: `${encoded.type} ${this.#counted(extension.value())}` } : encoded;
    return field.dictionary() ? { name, type: 'Dictionary', children: [value] } : value;
  }

  #listOf<T>(length: number, at: (index: number) => T | null): T[] {
    this.#count(length);
    return Array.from({ length }, (_, index) => at(index)).filter((member) => member !== null);
  }

  #counted(text: string | null): string {
    this.#count(text?.length ?? 0);
    return text ?? '';
  }

  #count(parts: number): void {
    this.#parts += parts;
    if (this.#parts > PARTS_MAX) throw new Error('its schema is too large; send fewer columns, with shorter names and metadata');
  }
}

function typeOf(field: Field, members: readonly SourceField[]): Omit<SourceField, 'name'> {
  const leaf = (type: string): Omit<SourceField, 'name'> => ({ type, children: [] });
  const type = field.typeType();
  switch (type) {
    case Type.Int: {
      const int = field.type(new Int()) as Int;
      return leaf(`${int.isSigned() ? 'Int' : 'UInt'}${int.bitWidth()}`);
    }
    case Type.FloatingPoint:
      return leaf({ [Precision.HALF]: 'Float16', [Precision.SINGLE]: 'Float32', [Precision.DOUBLE]: 'Float64' }[precisionOf(field)]);
    case Type.Decimal: {
      const decimal = field.type(new Decimal()) as Decimal;
      return { ...leaf(`Decimal${decimal.bitWidth()}`), decimal: { precision: decimal.precision(), scale: decimal.scale() } };
    }
    case Type.Date:
      return leaf(`Date(${DateUnit[(field.type(new DateType()) as DateType).unit()]})`);
    case Type.Time:
      return leaf(`Time(${TimeUnit[(field.type(new Time()) as Time).unit()]})`);
    case Type.Timestamp: {
      const timestamp = field.type(new Timestamp()) as Timestamp;
      return leaf(`Timestamp(${TimeUnit[timestamp.unit()]})${timestamp.timezone() ? ' UTC' : ''}`);
    }
    case Type.Struct_:
      return { type: 'Struct', children: members };
    case Type.Map:
      // Key and value stand in a struct of their own.
      return { type: 'Map', children: members[0]?.children ?? [] };
    case Type.RunEndEncoded:
      // The ends of the runs come first.
      return { type: 'RunEndEncoded', children: members.slice(1) };
    default:
      return { type: Type[type] ?? `type ${String(type)}`, children: members };
  }
}

function precisionOf(field: Field): Precision {
  return (field.type(new FloatingPoint()) as FloatingPoint).precision();
}
