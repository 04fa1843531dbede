/**
 * Bodies of the write routes, read by hand: this is the hottest path of the server, and a general validator costs more than everything else in it.
 * What is not known is refused, like everywhere.
 */
import { AppError, invalidArgument } from '../common/app-error.js';
import { isJsonObject } from '../common/json.js';
import { assertTableName } from '../tables/table-name.js';
import type { BulkFields } from './bulk/bulk-lines.js';
import { type Delimiter, DELIMITERS } from './bulk/csv-text.js';
import type { IdStrategy } from '../tables/table-config.js';
import { idText, type RecordInput } from './write/record.js';
import { TIMESTAMP_UNITS, type TimestampUnit } from './write/timestamp.js';
import type { RowOptions } from './write/write-command.js';

export interface WriteRequest {
  readonly table: string;
  readonly records: readonly RecordInput[];
  readonly isBatch: boolean;
}

const RECORD_FIELDS = new Set(['id', 'timestamp', 'payload']);
const FLAT_FIELDS = new Set(['table', ...RECORD_FIELDS]);

/** `{table, data:{…}}`, `{table, id, timestamp, payload}` or `{table, records:[…]}`. @throws AppError INVALID_ARGUMENT */
export function parseWrite(body: unknown, recordsMax: number): WriteRequest {
  const object = bodyObject(body);
  const { table, data, records } = object;
  assertTableName(table);
  const forms = [data !== undefined, records !== undefined, 'payload' in object].filter(Boolean).length;
  if (forms > 1) throw invalidArgument('send exactly one of data, records and payload', [{ field: 'data' }]);
  if (records !== undefined) {
    assertFields(object, new Set(['table', 'records']), '');
    return { table, records: batchOf(records, recordsMax), isBatch: true };
  }
  if (data !== undefined) {
    assertFields(object, new Set(['table', 'data']), '');
    return { table, records: [recordOf(data, 'data')], isBatch: false };
  }
  assertFields(object, FLAT_FIELDS, '');
  if (!('payload' in object))
    throw invalidArgument(
      'the record is missing: send {"table", "data": {"id", "timestamp", "payload"}}, {"table", "id", "timestamp", "payload"} or {"table", "records": […]}',
      [{ field: 'data' }],
    );
  return { table, records: [checkedRecord(object, 'payload')], isBatch: false };
}

function batchOf(records: unknown, recordsMax: number): RecordInput[] {
  if (!Array.isArray(records)) throw invalidArgument('records must be an array', [{ field: 'records' }]);
  if (records.length === 0) throw invalidArgument('records must not be empty', [{ field: 'records' }]);
  if (records.length > recordsMax)
    throw new AppError(
      'PAYLOAD_TOO_LARGE',
      `records has ${records.length} entries; a batch has at most ${recordsMax} (limits.batch_records_max)`,
    );
  return records.map((record, index) => recordOf(record, `records[${index}]`));
}

function recordOf(value: unknown, name: string): RecordInput {
  if (!isJsonObject(value)) throw invalidArgument(`${name} must be an object with id, timestamp and payload`, [{ field: name }]);
  assertFields(value, RECORD_FIELDS, `${name}.`);
  return checkedRecord(value, `${name}.payload`);
}

function checkedRecord(value: Record<string, unknown>, payloadName: string): RecordInput {
  const { id, timestamp, payload } = value;
  if (payload !== undefined && payload !== null && !isJsonObject(payload))
    throw invalidArgument(`${payloadName} must be an object`, [{ field: payloadName }]);
  return { id, timestamp, payload };
}

export interface UpdateRequest {
  readonly table: string;
  readonly id: string;
  readonly payload: Record<string, unknown>;
  readonly timestamp: unknown;
  readonly partial: boolean;
}

/** @throws AppError INVALID_ARGUMENT */
export function parseUpdate(body: unknown): UpdateRequest {
  const object = bodyObject(body);
  assertFields(object, new Set(['table', 'id', 'payload', 'timestamp', 'partial']), '');
  const { table, payload, timestamp, partial = false } = object;
  const id = idText(object['id']);
  assertTableName(table);
  if (id === undefined || id === '') throw invalidArgument('id must be a text that is not empty, or a whole number', [{ field: 'id' }]);
  if (!isJsonObject(payload)) throw invalidArgument('payload must be an object', [{ field: 'payload' }]);
  return { table, id, payload, timestamp, partial: toBoolean(partial, 'partial') };
}

export interface IdsRequest {
  readonly table: string;
  readonly ids: readonly string[];
  readonly soft: boolean;
}

/** Body of DELETE, or of a restore. @throws AppError INVALID_ARGUMENT */
export function parseIds(body: unknown, idsMax: number, knowsSoftDelete: boolean): IdsRequest {
  const object = bodyObject(body);
  assertFields(object, new Set(['table', 'id', 'ids', ...(knowsSoftDelete ? ['soft_delete'] : [])]), '');
  const { table, id, ids, soft_delete: soft = false } = object;
  assertTableName(table);
  if ((id === undefined) === (ids === undefined)) throw invalidArgument('send either id or ids', [{ field: 'id' }]);
  const list = (ids === undefined ? [id] : Array.isArray(ids) ? (ids as unknown[]) : [undefined]).map(idText);
  if (!list.every((entry): entry is string => entry !== undefined && entry !== '' && entry.isWellFormed())) {
    throw invalidArgument(
      ids === undefined
        ? 'id must be a text that is not empty, or a whole number'
        : 'ids must be an array of texts that are not empty, or whole numbers',
      [{ field: ids === undefined ? 'id' : 'ids' }],
    );
  }
  if (list.length === 0) throw invalidArgument('ids must not be empty', [{ field: 'ids' }]);
  if (list.length > idsMax)
    throw new AppError('PAYLOAD_TOO_LARGE', `ids has ${list.length} entries; at most ${idsMax} per request (limits.ids_max)`);
  return { table, ids: [...new Set(list)], soft: toBoolean(soft, 'soft_delete') };
}

function bodyObject(body: unknown): Record<string, unknown> {
  if (isJsonObject(body)) return body;
  throw invalidArgument(
    body === undefined
      ? 'the request body is missing; send a JSON object with Content-Type: application/json'
      : 'the request body must be a JSON object',
  );
}

function assertFields(object: Record<string, unknown>, known: ReadonlySet<string>, prefix: string): void {
  for (const field of Object.keys(object)) {
    if (!known.has(field))
      throw invalidArgument(`unknown field ${prefix}${field.slice(0, 100)}; allowed: ${[...known].join(', ')}`, [
        { field: prefix + field.slice(0, 100) },
      ]);
  }
}

/** JSON has booleans; query parameters have their names. */
export function toBoolean(value: unknown, field: string): boolean {
  if (typeof value === 'boolean') return value;
  if (value === 'true') return true;
  if (value === 'false' || value === undefined) return false;
  throw invalidArgument(`${field} must be true or false`, [{ field }]);
}

/** What the query of a bulk request, or the first message of a bulk stream, says about the body. */
export interface BulkDescription {
  readonly table: string;
  readonly fields: BulkFields;
  readonly options: RowOptions;
  readonly delimiter: Delimiter | undefined;
}

/** @throws AppError INVALID_ARGUMENT naming what cannot be used */
export function parseBulk(described: Readonly<Record<string, unknown>>): BulkDescription {
  const {
    table,
    id_field: id = 'id',
    id_strategy: idStrategy,
    timestamp_field: timestamp = 'timestamp',
    timestamp_unit: unit,
    on_error: onError = 'abort',
    delimiter,
    ...unknown
  } = described;
  assertNoOthers(unknown);
  assertTableName(table);
  if (onError !== 'abort' && onError !== 'skip') throw invalidArgument('on_error must be abort or skip', [{ field: 'on_error' }]);
  if (!isFieldName(id) || !isFieldName(timestamp))
    throw invalidArgument('id_field and timestamp_field must be field names', [{ field: 'id_field' }]);
  if (idStrategy !== undefined && !isBulkIdStrategy(idStrategy))
    throw invalidArgument(`id_strategy must be one of ${BULK_ID_STRATEGIES.join(', ')}`, [{ field: 'id_strategy' }]);
  return {
    table,
    fields: { id, timestamp },
    options: { onError, idStrategy, timestampUnit: parseTimestampUnit(unit) },
    delimiter: parseDelimiter(delimiter),
  };
}

/** Those that need no setting of the table. */
export const BULK_ID_STRATEGIES = ['user_provided', 'uuid', 'snowflake'] as const satisfies readonly IdStrategy[];

function isBulkIdStrategy(value: unknown): value is (typeof BULK_ID_STRATEGIES)[number] {
  return BULK_ID_STRATEGIES.some((strategy) => strategy === value);
}

/** @throws AppError INVALID_ARGUMENT */
export function parseTimestampUnit(value: unknown): TimestampUnit | undefined {
  if (value === undefined) return undefined;
  const unit = TIMESTAMP_UNITS.find((known) => known === value);
  if (unit) return unit;
  throw invalidArgument(`timestamp_unit must be one of ${TIMESTAMP_UNITS.join(', ')}`, [{ field: 'timestamp_unit' }]);
}

const DELIMITER_NAMES: Readonly<Record<string, Delimiter>> = { comma: ',', semicolon: ';', tab: '\t', bar: '|' };

function parseDelimiter(value: unknown): Delimiter | undefined {
  if (value === undefined) return undefined;
  const delimiter = DELIMITERS.find((known) => known === value) ?? (typeof value === 'string' ? DELIMITER_NAMES[value] : undefined);
  if (delimiter) return delimiter;
  throw invalidArgument(`delimiter must be one of ${Object.keys(DELIMITER_NAMES).join(', ')}`, [{ field: 'delimiter' }]);
}

function isFieldName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 255;
}

export function assertNoOthers(others: Record<string, unknown>): void {
  const [name] = Object.keys(others);
  if (name !== undefined) throw invalidArgument(`unknown query parameter ${name.slice(0, 100)}`, [{ field: name.slice(0, 100) }]);
}
