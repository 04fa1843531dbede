/**
 * Looks at a large NDJSON body as a whole and decides whether the engine may read it in one go: which fields there are, of which JSON types, and
 * whether each fits its column. The engine alone would round, cut and NULL in silence, so anything but a clear yes gives undefined, and the rows
 * are then read line by line.
 */
import { asNumber, type Engine } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { assertColumnName, type Column, type TableSchema } from '../../delta/table-schema.js';
import { type BulkFields, LINE_BYTES_MAX } from './bulk-lines.js';
import { hasNestedKeysOnce } from './nested-keys.js';

/**
 * What the engine reads and JSON does not have, or that it reads as 0: a comma at the end of a list, NaN and infinity, a number that may be too small
 * for a DOUBLE. May also stand in a text: that only costs time.
 */
const NOT_PLAIN = quoteText(
  [',\\s*[}\\]]', '[:,\\[]\\s*-?(?i:nan|inf|infinity)\\s*[,}\\]]', '[:,\\[]\\s*-?[\\d.]+[eE]-\\d{3}', '0\\.0{200}'].join('|'),
);
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
function ndjsonObjects(file: string): string {
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
  const uses = await fieldUses(engine, file, columnsMax);
  if (!uses) return undefined;
  const { rows, byField } = uses;
  const none = (): FieldUse => ({ types: new Set(), rows: 0 });
  const id = byField.get(fields.id) ?? none();
  const timestamp = byField.get(fields.timestamp) ?? none();
  let schema = stored;
  const payload: { column: Column; use: FieldUse }[] = [];
  for (const [field, use] of byField) {
    if (field === fields.id || field === fields.timestamp) continue;
    // Also where it has no value: a name that cannot be a column's is refused, not passed over.
    if (!schema.column(field) && !isColumnName(field)) return undefined;
    if (use.rows === 0) continue;
    if (!schema.column(field)) {
      const type = newType(use.types);
      if (type === undefined || schema.columns.length >= columnsMax) return undefined;
      schema = schema.with(field, type);
    }
    const column = schema.column(field);
    if (column?.name !== field || column.fieldId <= 2 || !fits(column, use.types)) return undefined;
    payload.push({ column, use });
  }
  const hasNested = payload.some(({ use }) => use.types.has('OBJECT') || use.types.has('ARRAY'));
  if (hasNested && !(await hasNestedKeysOnce(file))) return undefined;
  return { rows, id, timestamp, payload, schema };
}

async function fieldUses(engine: Engine, file: string, fieldsMax: number): Promise<FieldUses | undefined> {
  const objects = ndjsonObjects(file);
  return (
    (await usesOf(engine, objects, await fieldNames(engine, `(SELECT json FROM ${objects} LIMIT 1000)`, fieldsMax))) ??
    usesOf(engine, objects, await fieldNames(engine, objects, fieldsMax))
  );
}

/** @returns undefined when there are more than `fieldsMax` */
async function fieldNames(engine: Engine, objects: string, fieldsMax: number): Promise<string[] | undefined> {
  const rows = await engine.rows(`SELECT DISTINCT unnest(json_keys(json)) AS field FROM ${objects} LIMIT ${fieldsMax + 1}`);
  return rows.length > fieldsMax ? undefined : rows.map((row) => String(row['field']));
}

interface FieldUses {
  readonly rows: number;
  readonly byField: ReadonlyMap<string, FieldUse>;
}

/**
 * Which types the fields have, told for each field and type, however many combinations there are of them.
 * @returns undefined for a body that is not plain: with fields that the list lacks (a row has more keys then than were asked for) or one twice, or
 * with what the engine reads and JSON does not have
 */
async function usesOf(engine: Engine, objects: string, fields: readonly string[] | undefined): Promise<FieldUses | undefined> {
  if (!fields || fields.length === 0 || fields.some((field) => field === '' || field.includes('"'))) return undefined;
  const paths = fields.map((field) => quoteText(`$."${field}"`));
  const shapes = `SELECT json_type(json, [${paths.join(', ')}]) AS types, len(json_keys(json)) AS keys, regexp_matches(json, ${NOT_PLAIN}) AS odd, count(*) AS n FROM ${objects} GROUP BY ALL`;
  const pieces = `SELECT generate_subscripts(types, 1) AS field, unnest(types) AS type, odd OR keys <> list_aggregate(types, 'count') AS odd, n FROM (${shapes})`;
  const counts = await engine.rows(`SELECT field, type, bool_or(odd) AS odd, sum(n)::BIGINT AS n FROM (${pieces}) GROUP BY ALL`);
  const uses = fields.map((): FieldUse => ({ types: new Set(), rows: 0 }));
  let rows = 0;
  for (const { field, type, odd, n } of counts) {
    const use = uses[asNumber(field) - 1];
    if (odd === true || !use) return undefined;
    if (asNumber(field) === 1) rows += asNumber(n);
    if (typeof type !== 'string' || type === 'NULL') continue;
    use.types.add(type);
    use.rows += asNumber(n);
  }
  return { rows, byField: new Map(fields.map((field, index) => [field, uses[index] ?? { types: new Set(), rows: 0 }])) };
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
