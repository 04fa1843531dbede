/**
 * Looks at a large NDJSON body as a whole and decides whether the engine may read it in one go: which fields there are, of which JSON types, and
 * whether each fits its column. The engine alone would round, cut and NULL in silence, so anything but a clear yes gives undefined, and the rows
 * are then read line by line.
 */
import type { DuckDBListValue } from '@duckdb/node-api';
import { asNumber, type Engine } from '../../infra/duckdb/engine.js';
import { quoteText } from '../../infra/duckdb/sql-text.js';
import { assertColumnName, type Column, type TableSchema } from '../../metadata/table-schema.js';
import { type BulkFields, LINE_BYTES_MAX } from './bulk-lines.js';

/** Different combinations of fields and types that are looked at; more, and the body is no uniform one. */
const SHAPES_MAX = 10_000;

export interface FieldUse {
  /** JSON types of the field's values, as the engine names them, without NULL. */
  readonly types: Set<string>;
  /** Rows in which it has a value. */
  rows: number;
}

export interface BulkColumns {
  readonly rows: number;
  readonly id: FieldUse;
  readonly timestamp: FieldUse;
  /** Payload fields that have a value somewhere, with their column and use. */
  readonly payload: readonly { readonly column: Column; readonly use: FieldUse }[];
  /** The table's schema with the columns that the body adds. */
  readonly schema: TableSchema;
}

/** SQL of the lines of an NDJSON file as JSON objects, in a column named `json`. */
export function ndjsonObjects(file: string): string {
  return `read_ndjson_objects(${quoteText(file)}, maximum_object_size = ${LINE_BYTES_MAX})`;
}

/** @returns undefined when the body has to be read line by line */
export async function decideColumns(
  engine: Engine,
  file: string,
  fields: BulkFields,
  stored: TableSchema,
  columnsMax: number,
): Promise<BulkColumns | undefined> {
  const uses = await fieldUses(engine, file);
  if (!uses) return undefined;
  const { rows, byField } = uses;
  const none = (): FieldUse => ({ types: new Set(), rows: 0 });
  const id = byField.get(fields.id) ?? none();
  const timestamp = byField.get(fields.timestamp) ?? none();
  let schema = stored;
  const payload: { column: Column; use: FieldUse }[] = [];
  for (const [field, use] of byField) {
    if (field === fields.id || field === fields.timestamp || use.rows === 0) continue;
    if (!schema.column(field)) {
      const type = newType(use.types);
      if (type === undefined || !isColumnName(field) || schema.columns.length >= columnsMax) return undefined;
      schema = schema.with(field, type);
    }
    const column = schema.column(field);
    if (column?.name !== field || column.fieldId <= 2 || !fits(column, use.types)) return undefined;
    payload.push({ column, use });
  }
  return { rows, id, timestamp, payload, schema };
}

async function fieldUses(engine: Engine, file: string): Promise<{ rows: number; byField: Map<string, FieldUse> } | undefined> {
  const objects = ndjsonObjects(file);
  const names = await engine.rows(`SELECT DISTINCT unnest(json_keys(json)) AS field FROM (SELECT json FROM ${objects} LIMIT 1000)`);
  let fields = names.map((row) => String(row['field']));
  let shapes = await shapesOf(engine, objects, fields);
  if (shapes === 'unknown fields') {
    fields = (await engine.rows(`SELECT DISTINCT unnest(json_keys(json)) AS field FROM ${objects}`)).map((row) => String(row['field']));
    shapes = await shapesOf(engine, objects, fields);
  }
  if (shapes === 'unknown fields' || shapes.length > SHAPES_MAX) return undefined;
  const byField = new Map(fields.map((field): [string, FieldUse] => [field, { types: new Set(), rows: 0 }]));
  let rows = 0;
  for (const shape of shapes) {
    rows += shape.rows;
    shape.types.forEach((type, index) => {
      const use = byField.get(fields[index] ?? '');
      if (!use || type === null || type === 'NULL') return;
      use.types.add(type);
      use.rows += shape.rows;
    });
  }
  return { rows, byField };
}

interface Shape {
  readonly types: readonly (string | null)[];
  readonly rows: number;
}

/** Which combinations of types the fields have. A row with more keys than were asked for has a field that the list lacks, or one twice. */
async function shapesOf(engine: Engine, objects: string, fields: readonly string[]): Promise<Shape[] | 'unknown fields'> {
  if (fields.length === 0 || fields.some((field) => field === '' || field.includes('"'))) return 'unknown fields';
  const paths = fields.map((field) => quoteText(`$."${field}"`));
  const rows = await engine.rows(
    `SELECT json_type(json, [${paths.join(', ')}]) AS types, len(json_keys(json)) AS keys, count(*) AS n FROM ${objects} GROUP BY ALL LIMIT ${SHAPES_MAX + 1}`,
  );
  const shapes: Shape[] = [];
  for (const row of rows) {
    const types = (row['types'] as DuckDBListValue).items.map((type) => (typeof type === 'string' ? type : null));
    if (asNumber(row['keys']) !== types.filter((type) => type !== null).length) return 'unknown fields';
    shapes.push({ types, rows: asNumber(row['n']) });
  }
  return shapes;
}

function newType(types: ReadonlySet<string>): Column['type'] | undefined {
  const all = [...types];
  if (all.every((type) => type === 'BIGINT' || type === 'UBIGINT')) return 'BIGINT';
  if (all.every((type) => type === 'BIGINT' || type === 'UBIGINT' || type === 'DOUBLE')) return 'DOUBLE';
  if (all.every((type) => type === 'VARCHAR')) return 'VARCHAR';
  if (all.every((type) => type === 'BOOLEAN')) return 'BOOLEAN';
  return all.every((type) => type === 'OBJECT' || type === 'ARRAY') ? 'JSON' : undefined;
}

const FITTING: Readonly<Record<string, readonly string[]>> = {
  BIGINT: ['BIGINT', 'UBIGINT'],
  DOUBLE: ['BIGINT', 'UBIGINT', 'DOUBLE'],
  BOOLEAN: ['BOOLEAN'],
  VARCHAR: ['VARCHAR'],
  JSON: ['BIGINT', 'UBIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'OBJECT', 'ARRAY'],
};

function fits(column: Column, types: ReadonlySet<string>): boolean {
  const fitting = FITTING[column.type];
  return fitting !== undefined && [...types].every((type) => fitting.includes(type));
}

function isColumnName(field: string): boolean {
  try {
    assertColumnName(field);
    return true;
  } catch {
    return false;
  }
}
