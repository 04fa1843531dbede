/**
 * Rows that have types already, because their format has (Parquet, Arrow) or because they were told from the text (CSV): a SELECT of them, and what
 * its columns become in the table. A column of the table takes a type that holds every value exactly; anything else is looked at row by row, which
 * then names the value that does not fit.
 */
import { stat } from 'node:fs/promises';
import { type DuckDBDecimalType, type DuckDBType, DuckDBTypeId, type DuckDBValue, TIMESTAMP, TIMESTAMPTZ } from '@duckdb/node-api';
import { AppError, invalidArgument } from '../../common/app-error.js';
import { asNumber, type Engine } from '../../engine/duckdb/engine.js';
import { anyWithin } from '../../engine/duckdb/any-within.js';
import { JSON_CHANGES, jsonExpression } from '../../engine/duckdb/json-expression.js';
import { type Changes, mapLeaves } from '../../engine/duckdb/map-leaves.js';
import { textExpression } from '../../engine/duckdb/text-expression.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import type { ScratchFiles } from '../../storage/scratch-files.js';
import type { ColumnMeasure } from '../../delta/file-statistics.js';
import {
  assertColumnName,
  type Column,
  type ColumnType,
  decimalOf,
  ID_COLUMN,
  type TableSchema,
  TIMESTAMP_COLUMN,
} from '../../delta/table-schema.js';
import { bodyError } from './body-error.js';
import type { BulkBody, BulkLines, BulkPlan, PlannedColumn, ReadyFile } from './bulk-body.js';
import type { BulkTarget } from './bulk-target.js';
import { isSortedBy, type ParquetLayout } from './parquet-layout.js';
import { floorToMicros, idSql, type KeyField, timestampSql } from './row-keys.js';

const DECIMAL_DIGITS_MAX = 38;

/** Kinds of types that are handled alike. */
type Kind = 'integer' | 'float' | 'decimal' | 'boolean' | 'text' | 'date' | 'instant' | 'nested' | 'other';

interface Field {
  readonly name: string;
  readonly type: DuckDBType;
  readonly kind: Kind;
  /** SQL of the value. */
  readonly value: string;
}

export interface TypedRows {
  /** SELECT of the rows. */
  readonly select: string;
  readonly bytes: number;
  readonly originOf: (row: number) => number;
  /** Set when they are all that is in a Parquet file which may be good enough for a data file. */
  readonly layout?: ParquetLayout;
  /** Columns that the table gets even if no row has a value. */
  readonly declared?: ReadonlySet<string>;
}

export class TypedBody implements BulkBody {
  readonly bytes: number;
  #lines: string | undefined;

  private constructor(
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly target: BulkTarget,
    private readonly rows: TypedRows,
    private readonly fields: readonly Field[],
  ) {
    this.bytes = rows.bytes;
  }

  /** @throws AppError INVALID_ARGUMENT for a column whose name or type no table has */
  static async open(engine: Engine, scratch: ScratchFiles, target: BulkTarget, rows: TypedRows): Promise<TypedBody> {
    const fields = await fieldsOf(engine, rows.select);
    for (const field of fields) assertUsable(field, target);
    return new TypedBody(engine, scratch, target, rows, fields);
  }

  async plan(stored: TableSchema): Promise<BulkPlan | undefined> {
    const { fields, columnsMax } = this.target;
    const survey = await this.#survey();
    const { rows, counts, lossy } = survey;
    if (lossy > 0) return undefined;
    const keyOf = (name: string): KeyField => {
      const field = this.fields.find((candidate) => candidate.name === name);
      return field
        ? { value: field.value, kind: keyKind(field.kind), rows: counts.get(name) ?? 0 }
        : { value: 'NULL', kind: 'other', rows: 0 };
    };
    const id = idSql(keyOf(fields.id), rows, this.target);
    const timestamp = timestampSql(keyOf(fields.timestamp), rows, this.target);
    let schema = stored;
    const payload: PlannedColumn[] = [];
    const values = new Map<string, string>();
    for (const field of this.#payloadFields()) {
      const used = counts.get(field.name) ?? 0;
      if (used === 0 && (!this.rows.declared?.has(field.name) || schema.column(field.name))) continue;
      if (!schema.column(field.name)) {
        if (schema.columns.length >= columnsMax) return undefined;
        schema = schema.with(field.name, newType(field));
      }
      const column = schema.column(field.name);
      const value = column && fitted(field, column);
      if (!column || value === undefined || values.has(column.name)) return undefined;
      values.set(column.name, value);
      payload.push({ column, rows: used, hasIntegers: field.kind === 'integer' });
    }
    if (id === undefined || timestamp === undefined) return undefined;
    const selected = schema.payloadColumns.map(
      (column) => `${values.get(column.name) ?? 'NULL'}::${column.type} AS ${quoteName(column.name)}`,
    );
    const asItIs = await this.#asItIs(schema, survey);
    return {
      rows,
      schema,
      lacksIds: (counts.get(fields.id) ?? 0) < rows,
      ...(asItIs ? { asItIs } : {}),
      select: `SELECT ${[`${id} AS id`, `${timestamp} AS "timestamp"`, ...selected].join(', ')} FROM (${this.rows.select})`,
      payload,
    };
  }

  /** @param schema of the table, with the columns that the rows bring */
  async #asItIs(schema: TableSchema, { rows, counts, bounds }: Survey): Promise<ReadyFile | undefined> {
    const { layout } = this.rows;
    const { fields, config } = this.target;
    if (!layout || rows === 0 || fields.id !== ID_COLUMN || fields.timestamp !== TIMESTAMP_COLUMN) return undefined;
    if (counts.get(ID_COLUMN) !== rows || counts.get(TIMESTAMP_COLUMN) !== rows) return undefined;
    const columns = schema.columns.filter(({ name, type }) => layout.types.get(name) === type);
    if (columns.length !== layout.types.size) return undefined;
    // Rows of one time may come in any order: no query skips row groups by what comes after it.
    const [first] = config.sort_by.map((name) => schema.column(name)).filter((column) => column !== undefined);
    if (first && !(layout.types.has(first.name) && (await isSortedBy(this.engine, layout.file, first.name)))) return undefined;
    const measures = columns.map(({ name }): [string, ColumnMeasure] => [
      name,
      { min: bounds.get(name)?.min, max: bounds.get(name)?.max, nullCount: String(rows - (counts.get(name) ?? 0)), hasNan: false },
    ]);
    return { path: layout.file, columns, measure: { rows, columns: new Map(measures) } };
  }

  async lines(): Promise<BulkLines> {
    await this.remove();
    const file = (this.#lines = this.scratch.path('ndjson'));
    const columns = this.fields.map((field) => `${this.#lineValue(field)} AS ${quoteName(field.name)}`);
    try {
      await this.engine.run(`COPY (SELECT ${columns.join(', ')} FROM (${this.rows.select})) TO ${quoteText(file)} (FORMAT json)`);
    } catch (error) {
      throw bodyError(error, 'the rows of the body cannot be read');
    }
    const newTypes = new Map(this.#payloadFields().map((field) => [field.name, newType(field)]));
    const declared = new Map([...newTypes].filter(([name]) => this.rows.declared?.has(name)));
    return { file, bytes: (await stat(file)).size, newTypes, declared, originOf: this.rows.originOf };
  }

  #lineValue(field: Field): string {
    const isTime = field.name === this.target.fields.timestamp;
    // A date stands for its first instant, as in the other way.
    return isTime && field.kind === 'date' ? instantLine(`${field.value}::TIMESTAMP`) : lineValue(field);
  }

  /** Removes the lines. */
  async remove(): Promise<void> {
    if (this.#lines !== undefined) await this.scratch.remove(this.#lines);
    this.#lines = undefined;
  }

  #payloadFields(): readonly Field[] {
    const { fields } = this.target;
    return this.fields.filter(({ name }) => name !== fields.id && name !== fields.timestamp);
  }

  /** One look at all rows. */
  async #survey(): Promise<Survey> {
    const counts = this.fields.map((field, index) => `count(${field.value}) AS c${index}`);
    const bounds = this.rows.layout
      ? this.fields.map(({ value }, index) => `min(${value})::VARCHAR AS l${index}, max(${value})::VARCHAR AS h${index}`)
      : [];
    const isLost = ['false', ...this.fields.flatMap((field) => lossOf(field) ?? [])].join(' OR ');
    const row = await this.engine.row(
      `SELECT ${['count(*) AS n', `count(*) FILTER (WHERE ${isLost}) AS lossy`, ...counts, ...bounds].join(', ')} FROM (${this.rows.select})`,
    );
    return {
      rows: asNumber(row['n']),
      counts: new Map(this.fields.map(({ name }, index) => [name, asNumber(row[`c${index}`])])),
      bounds: new Map(this.fields.map(({ name }, index) => [name, { min: textOf(row[`l${index}`]), max: textOf(row[`h${index}`]) }])),
      lossy: asNumber(row['lossy']),
    };
  }
}

interface Survey {
  readonly rows: number;
  /** Rows in which a field has a value, by field. */
  readonly counts: ReadonlyMap<string, number>;
  /** Least and greatest value of a field, by field, where its file may become a data file. */
  readonly bounds: ReadonlyMap<string, Pick<ColumnMeasure, 'min' | 'max'>>;
  /** Rows with a value that a table would not hold as it is. */
  readonly lossy: number;
}

function textOf(value: DuckDBValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

async function fieldsOf(engine: Engine, select: string): Promise<Field[]> {
  return engine.withConnection(async (connection) => {
    const statement = await connection.prepare(select);
    try {
      return Array.from({ length: statement.columnCount }, (_, index) => {
        const [name, type] = [statement.columnName(index), statement.columnType(index)];
        if (type.typeId === DuckDBTypeId.TIMESTAMP_NS)
          return { name, type: TIMESTAMP, kind: 'instant', value: microsecondsOf(quoteName(name)) };
        const isJson = type.alias === 'JSON';
        // JSON has a null of its own, which is no value here.
        const value = isJson ? `nullif(${quoteName(name)}::VARCHAR, 'null')::JSON` : quoteName(name);
        return { name, type, kind: kindOf(type), value };
      });
    } finally {
      statement.destroySync();
    }
  });
}

/** SQL of an instant without its nanoseconds, cut towards the past like those in a text; a cast would cut towards 1970. */
function microsecondsOf(value: string): string {
  return `make_timestamp(${floorToMicros(`epoch_ns(${value})`)})`;
}

function assertUsable({ name, type, kind }: Field, { fields }: BulkTarget): void {
  if (name !== fields.id && name !== fields.timestamp) assertColumnName(name);
  if (kind === 'other')
    throw invalidArgument(`column ${name} is ${type.toString()}, which no column can hold; send it as text or as a number`, [
      { field: name },
    ]);
}

function kindOf(type: DuckDBType): Kind {
  switch (type.typeId) {
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.BIGINT:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.UINTEGER:
    case DuckDBTypeId.UBIGINT:
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
      return 'integer';
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return 'float';
    case DuckDBTypeId.DECIMAL:
      return 'decimal';
    case DuckDBTypeId.BOOLEAN:
      return 'boolean';
    case DuckDBTypeId.VARCHAR:
      return type.alias === 'JSON' ? 'nested' : 'text';
    case DuckDBTypeId.ENUM:
    case DuckDBTypeId.UUID:
      return 'text';
    case DuckDBTypeId.DATE:
      return 'date';
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_S:
    case DuckDBTypeId.TIMESTAMP_MS:
    case DuckDBTypeId.TIMESTAMP_TZ:
      return 'instant';
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
    case DuckDBTypeId.STRUCT:
    case DuckDBTypeId.MAP:
      return 'nested';
    default:
      return 'other';
  }
}

function keyKind(kind: Kind): KeyField['kind'] {
  return kind === 'text' || kind === 'integer' || kind === 'instant' || kind === 'date' ? kind : 'other';
}

/** The type of a column that there is not yet. */
function newType({ kind, type }: Field): ColumnType {
  switch (kind) {
    case 'integer':
      return 'BIGINT';
    case 'float':
      return 'DOUBLE';
    case 'decimal': {
      const { width, scale } = type as DuckDBDecimalType;
      return `DECIMAL(${width},${scale})`;
    }
    case 'boolean':
      return 'BOOLEAN';
    case 'text':
      return 'VARCHAR';
    case 'date':
      return 'DATE';
    case 'instant':
      return 'TIMESTAMPTZ';
    case 'nested':
      return 'JSON';
    case 'other':
      throw new AppError('INTERNAL', 'a column of no usable type was let in');
  }
}

/** SQL of a field's value for a column that holds it exactly (an overflow is an error of the statement), or undefined. */
function fitted(field: Field, column: Column): string | undefined {
  const { kind, type, value } = field;
  if (column.fieldId <= 2) return undefined;
  const decimal = decimalOf(column.type);
  if (decimal) {
    if (kind === 'integer') return value;
    const { width, scale } = type as DuckDBDecimalType;
    return kind === 'decimal' && scale <= decimal.scale && width - scale <= decimal.precision - decimal.scale ? value : undefined;
  }
  switch (column.type) {
    case 'BIGINT':
    case 'INTEGER':
      return kind === 'integer' ? value : undefined;
    case 'DOUBLE':
      return kind === 'integer' || kind === 'float' ? value : undefined;
    case 'BOOLEAN':
      return kind === 'boolean' ? value : undefined;
    case 'VARCHAR':
      return kind === 'text' ? `${value}::VARCHAR` : undefined;
    case 'DATE':
      return kind === 'date' ? value : undefined;
    case 'TIMESTAMPTZ':
      return kind === 'instant' ? value : undefined;
    case 'JSON':
      return kind === 'nested' ? nestedJson(value, type) : undefined;
    default:
      return undefined;
  }
}

/**
 * Condition of a value that a table would not hold as it is: NaN and infinity have no place in JSON, through which records come, and are refused
 * whatever the format; instants have microseconds, and the years that RFC 3339 can write.
 */
function lossOf({ kind, type, value }: Field): string | undefined {
  if (kind === 'float') return `NOT isfinite(${value})`;
  if (kind === 'nested') return nonFiniteWithin(value, type);
  return kind === 'instant' || kind === 'date' ? isBeyondYears(value, type) : undefined;
}

/** Comparing takes a tenth of the time of asking for the year; narrower types would overflow in a comparison. */
function isBeyondYears(value: string, { typeId }: DuckDBType): string {
  switch (typeId) {
    case DuckDBTypeId.DATE:
      return `${value} NOT BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'`;
    case DuckDBTypeId.TIMESTAMP:
      return `${value} NOT BETWEEN TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'`;
    case DuckDBTypeId.TIMESTAMP_TZ:
      return `${value} NOT BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'`;
    default:
      return `NOT isfinite(${value}) OR year(${value}) NOT BETWEEN 1 AND 9999`;
  }
}

function nonFiniteWithin(value: string, type: DuckDBType): string | undefined {
  return anyWithin(value, type, (inner, { typeId }) =>
    typeId === DuckDBTypeId.FLOAT || typeId === DuckDBTypeId.DOUBLE ? `NOT isfinite(${inner})` : undefined,
  );
}

/** SQL of a value as a line of JSON has it: what JSON has no word for goes as text, so that it is refused by name and not lost. */
function lineValue({ kind, type, value }: Field): string {
  switch (kind) {
    case 'float':
      return `CASE WHEN isfinite(${value}) THEN to_json(${value}::DOUBLE) WHEN ${value} IS NOT NULL THEN to_json(${value}::VARCHAR) END`;
    case 'nested': {
      const json = nestedJson(value, type);
      const isLost = nonFiniteWithin(value, type);
      // The engine prints NaN in JSON as it is, and the other expression prints null.
      return isLost === undefined ? json : `CASE WHEN ${isLost} THEN to_json(${value}) ELSE ${json} END`;
    }
    case 'decimal':
      return decimalLine(value, type as DuckDBDecimalType);
    case 'instant':
      return instantLine(value);
    case 'text':
      return `${value}::VARCHAR`;
    default:
      return value;
  }
}

const LOCAL_TIMES: ReadonlySet<DuckDBTypeId> = new Set([DuckDBTypeId.TIMESTAMP, DuckDBTypeId.TIMESTAMP_S, DuckDBTypeId.TIMESTAMP_MS]);

/** SQL of a value of a column of JSON: a time of no zone within it is one of UTC, as it is in a column of its own. */
function nestedJson(value: string, type: DuckDBType): string {
  const changes: Changes = {
    ...JSON_CHANGES,
    value: (inner, innerType, depth) =>
      LOCAL_TIMES.has(innerType.typeId) ? instantLine(inner) : JSON_CHANGES.value(inner, innerType, depth),
  };
  return `to_json(${mapLeaves(value, type, changes)})`;
}

/** A time of no zone is one of UTC here. */
function instantLine(value: string): string {
  return textExpression(`${value}::TIMESTAMPTZ`, TIMESTAMPTZ);
}

/** The engine prints a DECIMAL without digits before its point as `.5`, which is no JSON. */
function decimalLine(value: string, type: DuckDBDecimalType): string {
  const { width, scale } = type;
  return width === scale && scale === DECIMAL_DIGITS_MAX
    ? `regexp_replace(${value}::VARCHAR, '^(-?)\\.', '\\10.')`
    : jsonExpression(value, type);
}
