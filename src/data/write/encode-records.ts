/**
 * Checks records against a table and encodes them as the lines that WAL and buffer take. New fields become columns; their types are decided on the
 * whole request, not on its first row. Pure but for the ids and the time it is given: nothing of the table changes here.
 */
import { AppError, invalidArgument } from '../../common/app-error.js';
import type { MakeId } from '../../common/make-id.js';
import { isJsonObject, LosslessNumber } from '../../common/json.js';
import { assertColumnName, type Column, type ColumnType, ID_COLUMN, type TableSchema, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import type { IdRule } from '../../tables/id-rule.js';
import { encodeValue, inferType } from './encode-value.js';
import { type EncodedRecord, idText, type RecordInput, type RecordRefusal } from './record.js';
import { canonicalTimestamp, fromMs } from './timestamp.js';
import type { RowOptions } from './write-command.js';

/** Longest piece of a refused value that a message shows. */
const SHOWN_LENGTH_MAX = 60;

export interface EncodeRules extends Omit<RowOptions, 'idStrategy'> {
  readonly tableName: string;
  readonly idRule: IdRule;
  /** Makes ids for records without one; undefined refuses them. */
  readonly makeId: MakeId | undefined;
  readonly nowMs: number;
  readonly columnsMax: number;
  readonly depthMax: number;
}

export interface EncodedRequest {
  readonly records: readonly EncodedRecord[];
  readonly refusals: readonly RecordRefusal[];
  /** The table's schema with the columns that the request adds. */
  readonly schema: TableSchema;
}

/**
 * Thrown for fractions that stored BIGINT columns would take if they were DOUBLE, once everything else in the request fits: the write path then
 * widens the columns and tries again. Earlier, a request that is refused in the end would have changed the table.
 */
export class WideningNeeded extends Error {
  constructor(readonly columns: readonly string[]) {
    super(`columns ${columns.join(', ')} must become DOUBLE`);
  }
}

/** A refusal of one field of one record. */
class FieldRefused extends Error {
  constructor(
    readonly field: string,
    reason: string,
  ) {
    super(reason);
  }
}

/**
 * @param fixed stored columns whose widening was refused: a fraction for one is a misfit then
 * @throws AppError INVALID_ARGUMENT for records that do not fit; WideningNeeded
 */
export function encodeRecords(
  inputs: readonly RecordInput[],
  stored: TableSchema,
  rules: EncodeRules,
  fixed: ReadonlySet<string> = NONE_FIXED,
): EncodedRequest {
  const draft = new SchemaDraft(stored, rules, fixed);
  // A column that began as BIGINT and met a fraction starts the request over as DOUBLE; each round settles one column.
  for (;;) {
    const encoded = encodeAll(inputs, draft, rules);
    if (!encoded) continue;
    const widened = draft.widened();
    if (widened.length > 0) throw new WideningNeeded(widened);
    if (encoded.records.length > 0) for (const [name, type] of rules.declared ?? []) draft.declare(name, type);
    return { ...encoded, schema: draft.schema };
  }
}

const NONE_FIXED: ReadonlySet<string> = new Set();

function encodeAll(inputs: readonly RecordInput[], draft: SchemaDraft, rules: EncodeRules): Omit<EncodedRequest, 'schema'> | undefined {
  const records: EncodedRecord[] = [];
  const refusals: RecordRefusal[] = [];
  for (const [index, input] of inputs.entries()) {
    const schemaBefore = draft.schema;
    try {
      records.push(encodeRecord(input, draft, rules));
    } catch (error) {
      if (error instanceof DraftRetyped) return undefined;
      if (!(error instanceof FieldRefused) && !(error instanceof AppError && error.code === 'INVALID_ARGUMENT')) throw error;
      draft.undo(schemaBefore);
      const refusal = refusalOf(error, input, index);
      if (rules.onError === 'abort') throw invalidArgument(describeRefusal(refusal, rules.tableName, inputs.length), [refusal]);
      refusals.push(refusal);
    }
  }
  return { records, refusals };
}

function refusalOf(error: Error, input: RecordInput, index: number): RecordRefusal {
  return {
    index,
    ...(input.line === undefined ? {} : { line: input.line }),
    ...(typeof input.id === 'string' ? { id: input.id.slice(0, SHOWN_LENGTH_MAX) } : {}),
    ...fieldOf(error),
    reason: error.message,
  };
}

function fieldOf(error: Error): { field?: string } {
  if (error instanceof FieldRefused) return { field: error.field };
  const [detail] = error instanceof AppError ? error.details : [];
  return isJsonObject(detail) && typeof detail['field'] === 'string' ? { field: detail['field'] } : {};
}

function describeRefusal(refusal: RecordRefusal, tableName: string, count: number): string {
  const place = refusal.line !== undefined ? `line ${refusal.line}: ` : count > 1 ? `record ${refusal.index}: ` : '';
  return `table ${tableName}: ${place}${refusal.reason}`;
}

function encodeRecord(input: RecordInput, draft: SchemaDraft, rules: EncodeRules): EncodedRecord {
  const id = checkedId(input.id, rules);
  const timestamp = checkedTimestamp(input.timestamp, rules);
  let text = `"${ID_COLUMN}":${JSON.stringify(id)},"${TIMESTAMP_COLUMN}":"${timestamp}"`;
  if (input.payload === undefined || input.payload === null) return { id, text };
  if (!isJsonObject(input.payload)) throw new FieldRefused('payload', `payload must be an object, got ${shown(input.payload)}`);
  let isSpelledOtherwise = false;
  for (const field of Object.keys(input.payload)) {
    const value = input.payload[field];
    if (value === null || value === undefined) {
      if (!draft.schema.column(field)) assertColumnName(field);
      continue;
    }
    const column = draft.columnFor(field, value);
    isSpelledOtherwise ||= field !== column.name;
    text += keyOf(column) + draft.encode(column, value);
  }
  // Two fields of one column: one of them at least is not spelled as the column is.
  if (isSpelledOtherwise) assertNamedOnce(input.payload, draft.schema);
  draft.settle();
  return { id, text };
}

/** What stands before the value of a column in the text of a row. A column is the same object in all rows. */
const keys = new WeakMap<Column, string>();

function keyOf(column: Column): string {
  let key = keys.get(column);
  if (key === undefined) keys.set(column, (key = `,${JSON.stringify(column.name)}:`));
  return key;
}

function assertNamedOnce(payload: Readonly<Record<string, unknown>>, schema: TableSchema): void {
  const seen = new Set<string>();
  for (const [field, value] of Object.entries(payload)) {
    const name = value === null || value === undefined ? undefined : schema.column(field)?.name;
    if (name === undefined) continue;
    if (seen.has(name)) throw new FieldRefused(field, `field ${field} occurs twice (names are case-insensitive)`);
    seen.add(name);
  }
}

function checkedId(id: unknown, rules: EncodeRules): string {
  if (id === undefined || id === null || id === '') {
    if (rules.makeId && id !== '') return rules.makeId();
    throw new FieldRefused(
      ID_COLUMN,
      id === ''
        ? 'id must not be empty'
        : `id is missing, and the table generates none; have it generate them: PATCH /v1/tables/${rules.tableName} {"config":{"id_strategy":"uuid"}}`,
    );
  }
  const text = idText(id);
  if (text === undefined) throw new FieldRefused(ID_COLUMN, `id must be a string or a whole number, got ${shown(id)}`);
  assertId(text, rules);
  return text;
}

/** @throws AppError INVALID_ARGUMENT when an id does not follow the table's rule, CONFLICT when no id can */
function assertId(id: string, { idRule: rule, tableName }: EncodeRules): void {
  if (rule.refusal !== undefined)
    throw new AppError(
      'CONFLICT',
      `table ${tableName} takes no rows, because its config.id_validation cannot be used: ${rule.refusal}; ` +
        `set another with PATCH /v1/tables/${tableName}`,
    );
  if (id.length < 1 || id.length > rule.lengthMax || !rule.fits(id))
    throw invalidArgument(`id ${shown(id)} is not allowed: it must be ${rule.description}`, [{ field: ID_COLUMN }]);
}

function checkedTimestamp(value: unknown, { nowMs, timestampUnit }: EncodeRules): string {
  const timestamp = value === undefined || value === null ? fromMs(nowMs) : canonicalTimestamp(value, timestampUnit);
  if (timestamp !== undefined) return timestamp;
  throw new FieldRefused(
    TIMESTAMP_COLUMN,
    `timestamp ${shown(value)} is not an instant: send text such as 2024-01-01T10:00:00Z or 2024-01-01, or a number since 1970 (set timestamp_unit to s, ms, us or ns)`,
  );
}

/** Tells `encodeAll` to start over with another type of a column. */
class DraftRetyped extends Error {}

/** The schema that the request would leave. */
class SchemaDraft {
  schema: TableSchema;
  readonly #wantsDouble: Column[] = [];

  constructor(
    private readonly stored: TableSchema,
    private readonly rules: EncodeRules,
    private readonly fixed: ReadonlySet<string>,
  ) {
    this.schema = stored;
  }

  columnFor(field: string, value: unknown): Column {
    const known = this.schema.column(field);
    if (known && known.fieldId > 2) return known;
    assertColumnName(field);
    const type = this.rules.newTypes?.get(field) ?? inferType(value);
    if (type === undefined) throw new FieldRefused(field, `field ${field} has a value of an unknown type`);
    if (this.schema.columns.length >= this.rules.columnsMax) throw new FieldRefused(field, this.#tooMany(field));
    this.schema = this.schema.with(field, type);
    return this.columnFor(field, value);
  }

  /** A column that no record needs. */
  declare(name: string, type: ColumnType): void {
    if (this.schema.column(name)) return;
    if (this.schema.columns.length >= this.rules.columnsMax) throw invalidArgument(this.#tooMany(name), [{ field: name }]);
    this.schema = this.schema.with(name, type);
  }

  #tooMany(field: string): string {
    return `field ${field} would be column ${this.rules.columnsMax + 1}; a table has at most ${this.rules.columnsMax} (limits.columns_max)`;
  }

  /** Carries out what a record asked for, now that all of it was taken: a column that must be DOUBLE. */
  settle(): void {
    const wanted = this.#wantsDouble.splice(0);
    if (wanted.length === 0) return;
    for (const column of wanted) this.schema = this.schema.retypedUnused(column.name, 'DOUBLE');
    throw new DraftRetyped();
  }

  /** Stored columns that have another type here. */
  widened(): string[] {
    if (this.schema === this.stored) return [];
    return this.stored.columns.filter(({ name, type }) => this.schema.column(name)?.type !== type).map(({ name }) => name);
  }

  /** Takes back what a refused record brought. */
  undo(schema: TableSchema): void {
    this.schema = schema;
    this.#wantsDouble.length = 0;
  }

  encode(column: Column, value: unknown): string {
    const encoded = encodeValue(value, column.type, this.rules.depthMax);
    if (typeof encoded === 'string') return encoded;
    if (encoded.wantsDouble && column.type === 'BIGINT' && !this.fixed.has(column.name)) {
      const asDouble = encodeValue(value, 'DOUBLE', this.rules.depthMax);
      if (typeof asDouble === 'string') {
        this.#wantsDouble.push(column);
        return asDouble;
      }
    }
    throw new FieldRefused(
      column.name,
      `column ${column.name} is ${column.type}, got ${shown(value)}${encoded.reason ? `: ${encoded.reason}` : ''}`,
    );
  }
}

/** A value as a message shows it: cut, and never more than its beginning. */
function shown(value: unknown): string {
  if (value instanceof LosslessNumber) return value.value.slice(0, SHOWN_LENGTH_MAX);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  const text = value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value);
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text;
}
