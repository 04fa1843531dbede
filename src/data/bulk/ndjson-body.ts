/** NDJSON as it came: the engine reads it in one go when its fields and types are plain, and its lines are the lines. */
import type { Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import type { Column, TableSchema } from '../../delta/table-schema.js';
import type { BulkBody, BulkLines, BulkPlan } from './bulk-body.js';
import { decideColumns, type FieldUse } from './bulk-columns.js';
import { LINE_BYTES_MAX } from './bulk-lines.js';
import type { BulkTarget } from './bulk-target.js';
import { idSql, type KeyField, timestampSql } from './row-keys.js';

export class NdjsonBody implements BulkBody {
  constructor(
    private readonly engine: Engine,
    private readonly target: BulkTarget,
    private readonly file: string,
    readonly bytes: number,
  ) {}

  async plan(stored: TableSchema): Promise<BulkPlan | undefined> {
    const { fields, columnsMax } = this.target;
    const columns = await decideColumns(this.engine, this.file, fields, stored, columnsMax);
    if (!columns) return undefined;
    const { rows, schema } = columns;
    const id = idSql(keyField(columns.id, fields.id), rows, this.target);
    const timestamp = timestampSql(keyField(columns.timestamp, fields.timestamp), rows, this.target);
    if (id === undefined || timestamp === undefined) return undefined;
    const types = [
      `${quoteText(fields.id)}: 'VARCHAR'`,
      `${quoteText(fields.timestamp)}: 'VARCHAR'`,
      ...columns.payload.map(({ column }) => fieldType(column)),
    ];
    const given = new Set(columns.payload.map(({ column }) => column.name));
    const payload = schema.payloadColumns.map((column) =>
      given.has(column.name) ? quoteName(column.name) : `NULL::${column.type} AS ${quoteName(column.name)}`,
    );
    return {
      rows,
      schema,
      lacksIds: columns.id.rows < rows,
      select: `SELECT ${[`${id} AS id`, `${timestamp} AS "timestamp"`, ...payload].join(', ')} FROM ${ndjson(this.file, types)}`,
      payload: columns.payload.map(({ column, use }) => ({ column, rows: use.rows, hasIntegers: true })),
    };
  }

  lines(): Promise<BulkLines> {
    return Promise.resolve({ file: this.file, bytes: this.bytes, newTypes: new Map(), originOf: (line) => line });
  }
}

/** SQL that reads NDJSON into columns of given types: `'name': 'TYPE'`. */
export function ndjson(file: string, types: readonly string[]): string {
  return `read_ndjson(${quoteText(file)}, columns = {${types.join(', ')}}, maximum_object_size = ${LINE_BYTES_MAX})`;
}

export function fieldType(column: Column): string {
  return `${quoteText(column.name)}: ${quoteText(column.type)}`;
}

/** Keys are read as text whatever they are. */
function keyField({ types, rows }: FieldUse, field: string): KeyField {
  const all = [...types];
  const isText = all.every((type) => type === 'VARCHAR');
  const isInteger = all.every((type) => type === 'BIGINT' || type === 'UBIGINT');
  return { value: quoteName(field), kind: isText ? 'text' : isInteger ? 'integer' : 'other', rows };
}
