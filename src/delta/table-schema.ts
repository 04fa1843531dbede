/**
 * The columns of a table and their types. A column keeps its field id and its physical type for ever (Parquet files carry the id); the one
 * change of type there is, BIGINT to DOUBLE, rewrites the files (`data/maintenance/widening.ts`). Schemas are values: a change makes a new one.
 */
import { AppError, invalidArgument } from '../common/app-error.js';
import { quoteName } from '../engine/duckdb/sql-text.js';

type SimpleType = 'BIGINT' | 'INTEGER' | 'DOUBLE' | 'BOOLEAN' | 'VARCHAR' | 'JSON' | 'TIMESTAMPTZ' | 'DATE';
export type ColumnType = SimpleType | `DECIMAL(${number},${number})`;

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  /** Parquet field id; never used again, also after a table of this name is dropped and made anew. */
  readonly fieldId: number;
}

export const ID_COLUMN = 'id';
export const ID_FIELD_ID = 1;
export const TIMESTAMP_COLUMN = 'timestamp';
/** Physical column of every data file and buffer: the order of writing. Not part of the table's schema, so other readers never see it. */
export const LSN_COLUMN = '_lsn';
export const LSN_FIELD_ID = 3;
const FIRST_PAYLOAD_FIELD_ID = 16;
const COLUMN_NAME_LENGTH_MAX = 255;
/** Characters that Delta forbids in names without column mapping, and the quote, which the engine's statistics use around names. */
const FORBIDDEN_IN_NAMES = /[ ,;{}()\n\t="]/;
const RESERVED_PREFIX = '_miniodb';
const RESERVED_NAMES = new Set([ID_COLUMN, TIMESTAMP_COLUMN, LSN_COLUMN]);
const DECIMAL = /^DECIMAL\((\d{1,2}),\s*(\d{1,2})\)$/;
const TYPE_SYNONYMS: Readonly<Record<string, SimpleType>> = {
  BIGINT: 'BIGINT', INT8: 'BIGINT', LONG: 'BIGINT', INT64: 'BIGINT',
  INTEGER: 'INTEGER', INT: 'INTEGER', INT4: 'INTEGER', INT32: 'INTEGER',
  DOUBLE: 'DOUBLE', FLOAT8: 'DOUBLE', FLOAT: 'DOUBLE', REAL: 'DOUBLE',
  BOOLEAN: 'BOOLEAN', BOOL: 'BOOLEAN',
  VARCHAR: 'VARCHAR', STRING: 'VARCHAR', TEXT: 'VARCHAR',
  JSON: 'JSON',
  TIMESTAMPTZ: 'TIMESTAMPTZ', TIMESTAMP: 'TIMESTAMPTZ', 'TIMESTAMP WITH TIME ZONE': 'TIMESTAMPTZ',
  DATE: 'DATE',
}; // prettier-ignore

export class TableSchema {
  readonly #byKey: ReadonlyMap<string, Column>;

  private constructor(
    readonly columns: readonly Column[],
    /** The field id that the next new column gets. */
    readonly nextFieldId: number,
  ) {
    this.#byKey = new Map(columns.map((column) => [column.name.toLowerCase(), column]));
  }

  /** The columns that every table has. */
  static initial(): TableSchema {
    const id: Column = { name: ID_COLUMN, type: 'VARCHAR', fieldId: ID_FIELD_ID };
    const timestamp: Column = { name: TIMESTAMP_COLUMN, type: 'TIMESTAMPTZ', fieldId: 2 };
    return new TableSchema([id, timestamp], FIRST_PAYLOAD_FIELD_ID);
  }

  static of(columns: readonly Column[], nextFieldId: number): TableSchema {
    return new TableSchema(columns, nextFieldId);
  }

  /** The column of this name, whatever its case. */
  column(name: string): Column | undefined {
    return this.#byKey.get(name.toLowerCase());
  }

  /** This schema with one more column. @throws AppError INVALID_ARGUMENT when the name cannot be used */
  with(name: string, type: ColumnType): TableSchema {
    assertColumnName(name);
    if (this.column(name)) throw invalidArgument(`column ${name} already exists`);
    return new TableSchema([...this.columns, { name, type, fieldId: this.nextFieldId }], this.nextFieldId + 1);
  }

  /** This schema with columns that another writer of the same table named, ids included. */
  withColumns(columns: readonly Column[]): TableSchema {
    const added = columns.filter((column) => !this.column(column.name));
    if (added.length === 0) return this;
    return new TableSchema([...this.columns, ...added], Math.max(this.nextFieldId, ...added.map((column) => column.fieldId + 1)));
  }

  /** This schema with another type for one column. The new column gets a new field id: its values stand in other files. */
  retyped(name: string, type: ColumnType): TableSchema {
    const columns = this.columns.map((column) => (column.name === name ? { name, type, fieldId: this.nextFieldId } : column));
    return new TableSchema(columns, this.nextFieldId + 1);
  }

  /** This schema with another type for a column that no stored row has yet. */
  retypedUnused(name: string, type: ColumnType): TableSchema {
    return new TableSchema(
      this.columns.map((column) => (column.name === name ? { ...column, type } : column)),
      this.nextFieldId,
    );
  }

  /** True when it has the same columns in the same order. */
  equals(other: TableSchema): boolean {
    return (
      this === other ||
      (this.nextFieldId === other.nextFieldId &&
        this.columns.length === other.columns.length &&
        this.columns.every((column, index) => {
          const { name, type, fieldId } = other.columns[index] ?? {};
          return column.name === name && column.type === type && column.fieldId === fieldId;
        }))
    );
  }

  /** The payload's columns: all but id and timestamp. */
  get payloadColumns(): readonly Column[] {
    return this.columns.slice(2);
  }

  /** Names for a select list. */
  get columnList(): string {
    return this.columns.map((column) => quoteName(column.name)).join(', ');
  }
}

/** @throws AppError INVALID_ARGUMENT naming the field and the reason */
export function assertColumnName(name: string): void {
  const refuse = (reason: string): never => {
    throw invalidArgument(`field ${JSON.stringify(name.slice(0, 80))} cannot be a column: ${reason}`, [
      { field: name.slice(0, 300), reason },
    ]);
  };
  if (name === '') refuse('its name is empty');
  if (name.length > COLUMN_NAME_LENGTH_MAX) refuse(`its name is longer than ${COLUMN_NAME_LENGTH_MAX} characters`);
  if (RESERVED_NAMES.has(name.toLowerCase()) || name.toLowerCase().startsWith(RESERVED_PREFIX))
    refuse('the name is reserved; send the field under another name');
  if (FORBIDDEN_IN_NAMES.test(name)) refuse('a column name must not contain a space or any of , ; { } ( ) = " or a line break or a tab');

  if (/[\u0000-\u001f]/.test(name) || !name.isWellFormed()) refuse('a column name must be printable text');
}

/** Reads a type as a person writes it. @throws AppError INVALID_ARGUMENT naming the types there are */
export function parseColumnType(text: string): ColumnType {
  const upper = text.trim().toUpperCase();
  const simple = TYPE_SYNONYMS[upper];
  if (simple) return simple;
  const decimal = DECIMAL.exec(upper.replaceAll(' ', ''));
  const [precision, scale] = [Number(decimal?.[1]), Number(decimal?.[2])];
  if (decimal && precision >= 1 && precision <= 38 && scale <= precision) return `DECIMAL(${precision},${scale})`;
  throw invalidArgument(
    `unknown column type "${text}"; use BIGINT, INTEGER, DOUBLE, BOOLEAN, VARCHAR, JSON, TIMESTAMPTZ, DATE or DECIMAL(p,s) with p up to 38`,
  );
}

/** Precision and scale of a DECIMAL type, or undefined for the others. */
export function decimalOf(type: ColumnType): { readonly precision: number; readonly scale: number } | undefined {
  const match = DECIMAL.exec(type);
  return match ? { precision: Number(match[1]), scale: Number(match[2]) } : undefined;
}

const DELTA_TYPES: Readonly<Record<SimpleType, string>> = {
  BIGINT: 'long',
  INTEGER: 'integer',
  DOUBLE: 'double',
  BOOLEAN: 'boolean',
  VARCHAR: 'string',
  JSON: 'string',
  TIMESTAMPTZ: 'timestamp',
  DATE: 'date',
};

interface DeltaField {
  readonly name: string;
  readonly type: unknown;
  readonly nullable: boolean;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** `schemaString` of a Delta table's metaData: the "schema serialization format" of the Delta protocol. */
export function toDeltaSchema(schema: TableSchema): string {
  const fields = schema.columns.map((column): DeltaField => {
    const decimal = decimalOf(column.type);
    return {
      name: column.name,
      type: decimal ? `decimal(${decimal.precision},${decimal.scale})` : DELTA_TYPES[column.type as SimpleType],
      nullable: true,
      metadata: { 'miniodb.type': column.type, 'miniodb.fieldId': column.fieldId },
    };
  });
  return JSON.stringify({ type: 'struct', fields });
}

/** Reads back what `toDeltaSchema` wrote. @throws AppError DATA_CORRUPTION when it is not a schema of ours */
export function fromDeltaSchema(schemaString: string, nextFieldId: number): TableSchema {
  const { fields } = JSON.parse(schemaString) as { fields: readonly DeltaField[] };
  const columns = fields.map((field): Column => {
    const { 'miniodb.type': type, 'miniodb.fieldId': fieldId } = field.metadata;
    if (typeof type !== 'string' || typeof fieldId !== 'number') {
      throw new AppError('DATA_CORRUPTION', `column ${field.name} in the table's log was not written by this server`);
    }
    return { name: field.name, type: type as ColumnType, fieldId };
  });
  return TableSchema.of(columns, nextFieldId);
}
