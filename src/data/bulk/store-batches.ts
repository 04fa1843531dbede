/**
 * The quick way of small Arrow bodies: batches that fit their table as they are go into the log and the buffer as bytes, and no row is made of them in
 * JavaScript.
 */
import { Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { ArrowConverter } from '../../engine/arrow/arrow-converter.js';
import { END_OF_STREAM } from '../../engine/arrow/ipc-pieces.js';
import {
  joinedStreams,
  PLAIN_INTEGERS,
  PLAIN_TEXTS,
  type PlainBatch,
  type PlainStream,
  plainSchema,
  plainStream,
  plainType,
} from '../../engine/arrow/plain-stream.js';
import type { SourceField } from '../../engine/source-field.js';
import type { ColumnType, TableSchema } from '../../delta/table-schema.js';
import type { IdRule } from '../../tables/id-rule.js';
import { Table } from '../../tables/table.js';
import { RowsOutdated, type WriteAnswer } from '../write/write-command.js';
import { WritePath } from '../write-path.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import type { BulkFields } from './bulk-lines.js';
import { assertThere, type BulkRequest } from './bulk-request.js';
import { assertReadable } from './source-types.js';

/** Of at most 64 KiB each. */
const SCHEMAS_MAX = 200;
/** Of text in ASCII. */
const PRINTABLE = /^[ -~]*$/;
/** What the reader of the engine calls a column of its own. */
const READERS_COLUMN = 'file_row_number';

const COLUMNS_OF: Readonly<Record<string, readonly ColumnType[]>> = {
  'Int8': ['BIGINT', 'INTEGER'],
  'Int16': ['BIGINT', 'INTEGER'],
  'Int32': ['BIGINT', 'INTEGER'],
  'Int64': ['BIGINT'],
  'UInt8': ['BIGINT', 'INTEGER'],
  'UInt16': ['BIGINT', 'INTEGER'],
  'UInt32': ['BIGINT'],
  'Float32': ['DOUBLE'],
  'Float64': ['DOUBLE'],
  'Bool': ['BOOLEAN'],
  'Utf8': ['VARCHAR'],
  'LargeUtf8': ['VARCHAR'],
  'Date(DAY)': ['DATE'],
  'Timestamp(MILLISECOND)': ['TIMESTAMPTZ'],
  'Timestamp(MICROSECOND)': ['TIMESTAMPTZ'],
}; // prettier-ignore

@Injectable()
export class StoreBatches {
  /** By schema message. */
  readonly #readable = new LRUCache<string, Promise<boolean>>({ max: SCHEMAS_MAX });

  constructor(
    private readonly writePath: WritePath,
    private readonly arrow: ArrowConverter,
    private readonly scratch: ScratchFiles,
  ) {}

  /** @returns undefined, with nothing stored, when the rows have to be looked at */
  async store({ table, fields, idempotency, isGone }: BulkRequest, body: Buffer, rowsMax: number): Promise<WriteAnswer | undefined> {
    if (!(table instanceof Table)) return undefined;
    const stream = plainStream(body);
    if (!stream) return undefined;
    const { schema } = table;
    const rows = stream.batches.reduce((sum, batch) => sum + batch.rows, 0);
    if (rows === 0 || rows > rowsMax || !fitsTable(stream, fields, schema, table.idRule)) return undefined;
    if (!(await this.#isReadable(stream))) return undefined;
    try {
      return await this.writePath.submit(() => {
        assertThere(isGone);
        if (table.isDropped || table.isLeaving) throw new RowsOutdated();
        return { kind: 'arrow', table, schema, stream: stream.bytes, rows, fields };
      }, idempotency);
    } catch (error) {
      if (error instanceof RowsOutdated) return undefined;
      throw error;
    }
  }

  /** True when the converter reads a schema: seen of its message, without rows. */
  #isReadable({ bytes, fields }: PlainStream): Promise<boolean> {
    const schema = plainSchema(bytes);
    const key = schema.toString('latin1');
    const known = this.#readable.get(key);
    if (known) return known;
    const isReadable = this.#canConvert(joinedStreams([Buffer.concat([schema, END_OF_STREAM])]), fields);
    this.#readable.set(key, isReadable);
    return isReadable;
  }

  async #canConvert(stream: Uint8Array<ArrayBuffer>, fields: readonly SourceField[]): Promise<boolean> {
    const file = this.scratch.path('parquet');
    try {
      assertReadable('arrow', fields);
      await this.arrow.streamToParquet(stream, file);
      return true;
    } catch {
      // The other way says why.
      return false;
    } finally {
      await this.scratch.remove(file);
    }
  }
}

function fitsTable({ fields: columns, batches }: PlainStream, fields: BulkFields, schema: TableSchema, idRule: IdRule): boolean {
  const places = { id: indexOf(columns, fields.id), timestamp: indexOf(columns, fields.timestamp) };
  const [id, timestamp] = [columns[places.id], columns[places.timestamp]];
  if (!id || !timestamp || !plainType(timestamp).startsWith('Timestamp')) return false;
  if (!PLAIN_TEXTS.has(plainType(id)) && !PLAIN_INTEGERS.has(plainType(id))) return false;
  const payload = columns.filter((field) => field !== id && field !== timestamp);
  if (columns.some(({ name }) => name.toLowerCase() === READERS_COLUMN) || !payload.every((field) => fitsColumn(field, schema)))
    return false;
  return batches.every(
    (batch) => batch.columns[places.id]?.nulls === 0 && batch.columns[places.timestamp]?.nulls === 0 && areIds(batch, places.id, idRule),
  );
}

function indexOf(columns: readonly SourceField[], name: string): number {
  return columns.findIndex((field) => field.name === name);
}

function fitsColumn(field: SourceField, schema: TableSchema): boolean {
  const column = schema.column(field.name);
  if (column?.name !== field.name || column.fieldId <= 2) return false;
  return COLUMNS_OF[plainType(field)]?.includes(column.type) === true;
}

function areIds({ rows, columns }: PlainBatch, place: number, idRule: IdRule): boolean {
  const texts = columns[place]?.texts;
  // Numbers of any width are ids of the default rule.
  if (!texts) return idRule.isDefault;
  const { bytes, starts } = texts;
  const isPrintable = idRule.isDefault && PRINTABLE.test(bytes.toString('latin1', starts[0], starts[rows]));
  for (let row = 0; row < rows; row += 1) {
    const [start, end] = [starts[row] ?? 0, starts[row + 1] ?? 0];
    if (isPrintable ? end === start || end - start > idRule.lengthMax : !isId(bytes.toString('utf8', start, end), idRule)) return false;
  }
  return true;
}

function isId(id: string, idRule: IdRule): boolean {
  return id.length > 0 && id.length <= idRule.lengthMax && idRule.fits(id);
}
