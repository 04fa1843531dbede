/**
 * Bodies of bulk requests in every format, made from a SELECT that the plain engine runs: what a format can say is the engine's word and
 * apache-arrow's, not the server's.
 */
import {
  type DuckDBConnection,
  type DuckDBDateValue,
  type DuckDBDecimalValue,
  DuckDBInstance,
  type DuckDBListValue,
  type DuckDBMapValue,
  type DuckDBStructValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api';
import * as arrow from 'apache-arrow';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Answer, temporaryDirectory } from './server.js';

export const FORMATS = ['ndjson', 'json', 'csv', 'parquet', 'arrow'] as const;
export type BulkFormat = (typeof FORMATS)[number];

export const MEDIA_TYPES: Readonly<Record<BulkFormat, string>> = {
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  csv: 'text/csv',
  parquet: 'application/vnd.apache.parquet',
  arrow: 'application/vnd.apache.arrow.stream',
};

const RFC3339 = `'%Y-%m-%dT%H:%M:%S.%fZ'`;
const INT_BYTES = 16;

/** The engine by itself, in UTC as the server is. */
export class PlainDuckdb {
  readonly #directory = temporaryDirectory('bodies');
  #counter = 0;

  private constructor(
    private readonly instance: DuckDBInstance,
    private readonly connection: DuckDBConnection,
  ) {}

  static async open(): Promise<PlainDuckdb> {
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    await connection.run("SET TimeZone = 'UTC'");
    return new PlainDuckdb(instance, connection);
  }

  close(): void {
    this.connection.closeSync();
    this.instance.closeSync();
  }

  async run(sql: string): Promise<void> {
    await this.connection.run(sql);
  }

  async rows(select: string): Promise<Record<string, DuckDBValue>[]> {
    return (await this.connection.runAndReadAll(select)).getRowObjects();
  }

  /** Every value as the text that the engine casts it to: exact, and comparable across types. */
  async texts(select: string): Promise<(string | null)[][]> {
    const reader = await this.connection.runAndReadAll(`SELECT COLUMNS(*)::VARCHAR FROM (${select})`);
    return reader.getRows() as (string | null)[][];
  }

  /** Names and types of a SELECT's columns. */
  async types(select: string): Promise<Record<string, string>> {
    const rows = await this.rows(`SELECT column_name, column_type FROM (DESCRIBE ${select})`);
    return Object.fromEntries(rows.map((row) => [String(row['column_name']), String(row['column_type'])]));
  }

  /** A path of a file that there is not yet. */
  file(extension: string): string {
    return path.join(this.#directory, `${(this.#counter += 1)}.${extension}`);
  }

  async copy(select: string, options: string): Promise<Buffer> {
    const file = this.file('body');
    await this.run(`COPY (${select}) TO '${file}' (${options})`);
    return readFileSync(file);
  }

  /** The rows of a SELECT as a body. Instants go as RFC 3339 where the format has text only, and nested values as JSON in CSV. */
  async body(format: BulkFormat, select: string): Promise<Buffer> {
    switch (format) {
      case 'ndjson':
        return this.copy(await this.#asText(select, false), 'FORMAT json');
      case 'json':
        return this.copy(await this.#asText(select, false), 'FORMAT json, ARRAY true');
      case 'csv':
        return this.copy(await this.#asText(select, true), 'FORMAT csv, HEADER true');
      case 'parquet':
        return this.copy(select, 'FORMAT parquet');
      case 'arrow':
        return this.arrow(select);
    }
  }

  async #asText(select: string, isFlat: boolean): Promise<string> {
    const columns = Object.entries(await this.types(select)).map(([name, type]) => {
      const quoted = `"${name}"`;
      if (type.startsWith('TIMESTAMP')) return `strftime(${quoted}::TIMESTAMP, ${RFC3339}) AS ${quoted}`;
      const isNested = type === 'JSON' || /^(STRUCT|MAP)|\]$/.test(type);
      return isNested && isFlat ? `CASE WHEN ${quoted} IS NOT NULL THEN to_json(${quoted})::VARCHAR END AS ${quoted}` : quoted;
    });
    return `SELECT ${columns.join(', ')} FROM (${select})`;
  }

  /** An Arrow IPC stream of several record batches. */
  async arrow(select: string, batches = 3): Promise<Buffer> {
    const reader = await this.connection.runAndReadAll(select);
    const [names, types, columns] = [reader.columnNames(), reader.columnTypes(), reader.getColumns()];
    const rows = columns[0]?.length ?? 0;
    const step = Math.max(1, Math.ceil(rows / batches));
    const tables: arrow.Table[] = [];
    for (let start = 0; start === 0 || start < rows; start += step) {
      const vectors = names.map((name, index): [string, arrow.Vector] => {
        const type = types[index];
        if (!type) throw new Error(`column ${name} has no type`);
        return [name, arrowVector((columns[index] ?? []).slice(start, start + step), type)];
      });
      tables.push(new arrow.Table(Object.fromEntries(vectors)));
    }
    const [first, ...others] = tables;
    if (!first) throw new Error('an Arrow body needs columns');
    return Buffer.from(arrow.tableToIPC(first.concat(...others), 'stream'));
  }
}

function arrowVector(values: readonly DuckDBValue[], type: DuckDBType): arrow.Vector {
  switch (type.typeId) {
    case DuckDBTypeId.TIMESTAMP:
    case DuckDBTypeId.TIMESTAMP_TZ:
      return fixed64(values, new arrow.TimestampMicrosecond(type.typeId === DuckDBTypeId.TIMESTAMP_TZ ? 'UTC' : null), 'micros');
    case DuckDBTypeId.TIMESTAMP_MS:
      return fixed64(values, new arrow.TimestampMillisecond(), 'millis');
    case DuckDBTypeId.TIMESTAMP_S:
      return fixed64(values, new arrow.TimestampSecond(), 'seconds');
    case DuckDBTypeId.TIMESTAMP_NS:
      return fixed64(values, new arrow.TimestampNanosecond(), 'nanos');
    case DuckDBTypeId.DECIMAL: {
      const { width, scale } = type;
      return arrowDecimals(
        values.map((value) => (value === null ? null : (value as DuckDBDecimalValue).value)),
        width,
        scale,
      );
    }
    case DuckDBTypeId.HUGEINT:
      return arrowDecimals(values as (bigint | null)[], 38, 0);
    default:
      return arrow.vectorFromArray(
        values.map((value) => (value === null ? null : plain(value, type))),
        arrowType(type),
      );
  }
}

/** Builders of apache-arrow take milliseconds as a number, which has too few digits: the buffers are made here. */
function fixed64(values: readonly DuckDBValue[], type: arrow.Timestamp, unit: string): arrow.Vector {
  const data = BigInt64Array.from(values, (value) => (value === null ? 0n : (value as unknown as Record<string, bigint>)[unit]) ?? 0n);
  return arrow.makeVector(arrow.makeData({ type, data, length: values.length, ...validity(values) }));
}

function arrowDecimals(values: readonly (bigint | null)[], precision: number, scale: number): arrow.Vector {
  const bytes = Buffer.alloc(values.length * INT_BYTES);
  for (const [index, value] of values.entries()) {
    const unsigned = BigInt.asUintN(128, value ?? 0n);
    bytes.writeBigUInt64LE(unsigned & 0xffff_ffff_ffff_ffffn, index * INT_BYTES);
    bytes.writeBigUInt64LE(unsigned >> 64n, index * INT_BYTES + 8);
  }
  const data = new Uint32Array(new Uint8Array(bytes).buffer);
  const type = new arrow.Decimal(scale, precision, 128);
  return arrow.makeVector(arrow.makeData({ type, data, length: values.length, ...validity(values) }));
}

function validity(values: readonly unknown[]): { nullCount: number; nullBitmap: Uint8Array } {
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 64) * 8);
  let nullCount = 0;
  for (const [index, value] of values.entries()) {
    if (value === null) nullCount += 1;
    else nullBitmap[index >> 3] = (nullBitmap[index >> 3] ?? 0) | (1 << (index % 8));
  }
  return { nullCount, nullBitmap };
}

function arrowType(type: DuckDBType): arrow.DataType {
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return new arrow.Bool();
    case DuckDBTypeId.TINYINT:
      return new arrow.Int8();
    case DuckDBTypeId.SMALLINT:
      return new arrow.Int16();
    case DuckDBTypeId.INTEGER:
      return new arrow.Int32();
    case DuckDBTypeId.BIGINT:
      return new arrow.Int64();
    case DuckDBTypeId.UTINYINT:
      return new arrow.Uint8();
    case DuckDBTypeId.USMALLINT:
      return new arrow.Uint16();
    case DuckDBTypeId.UINTEGER:
      return new arrow.Uint32();
    case DuckDBTypeId.UBIGINT:
      return new arrow.Uint64();
    case DuckDBTypeId.FLOAT:
      return new arrow.Float32();
    case DuckDBTypeId.DOUBLE:
      return new arrow.Float64();
    case DuckDBTypeId.DATE:
      return new arrow.DateDay();
    case DuckDBTypeId.VARCHAR:
    case DuckDBTypeId.UUID:
      return new arrow.Utf8();
    case DuckDBTypeId.ENUM:
      return new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32());
    case DuckDBTypeId.LIST:
      return new arrow.List(new arrow.Field('item', arrowType(type.valueType), true));
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type;
      return new arrow.Struct(entryNames.map((name, index) => new arrow.Field(name, arrowType(entryTypes[index] as DuckDBType), true)));
    }
    case DuckDBTypeId.MAP: {
      const { keyType, valueType } = type;
      const entries = [new arrow.Field('key', arrowType(keyType), false), new arrow.Field('value', arrowType(valueType), true)];
      return new arrow.Map_(new arrow.Field('entries', new arrow.Struct(entries as never), false) as never, false);
    }
    default:
      throw new Error(`no Arrow type is known here for ${type.toString()}`);
  }
}

/** A value as the builders of apache-arrow take it. */
function plain(value: DuckDBValue, type: DuckDBType): unknown {
  if (value === null) return null;
  switch (type.typeId) {
    case DuckDBTypeId.DATE:
      return (value as DuckDBDateValue).days * 86_400_000;
    case DuckDBTypeId.UUID:
      return (value as { toString(): string }).toString();
    case DuckDBTypeId.LIST:
      return (value as DuckDBListValue).items.map((item) => plain(item, type.valueType));
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type;
      const { entries } = value as DuckDBStructValue;
      return Object.fromEntries(entryNames.map((name, index) => [name, plain(entries[name] ?? null, entryTypes[index] as DuckDBType)]));
    }
    case DuckDBTypeId.MAP: {
      const { keyType, valueType } = type;
      return new Map((value as DuckDBMapValue).entries.map((entry) => [plain(entry.key, keyType), plain(entry.value, valueType)]));
    }
    default:
      return value;
  }
}

/* --------------------------------------------------------------------------------------------------------------- sending */

export type Packing = 'none' | 'gzip' | 'zstd';

export function packed(body: Buffer, packing: Packing): Buffer {
  return packing === 'gzip' ? gzipSync(body) : packing === 'zstd' ? zstdOf(body) : body;
}

const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
/** No dictionary, no checksum, no size; a window of 128 KiB. */
const ZSTD_HEADER = [0x00, 0x38];
const ZSTD_BLOCK_BYTES = 131_072;

/** A zstd frame of stored blocks (RFC 8878, 3.1.1.2): Node 20 has no compressor. */
function zstdOf(body: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([...ZSTD_MAGIC, ...ZSTD_HEADER])];
  for (let start = 0; start === 0 || start < body.length; start += ZSTD_BLOCK_BYTES) {
    const block = body.subarray(start, start + ZSTD_BLOCK_BYTES);
    const header: Buffer = Buffer.alloc(3);
    header.writeUIntLE((start + ZSTD_BLOCK_BYTES >= body.length ? 1 : 0) | (block.length << 3), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

export interface BulkOptions {
  /** Further parameters of the query: `&on_error=skip`. */
  readonly query?: string;
  readonly packing?: Packing;
  readonly key?: string;
  readonly mediaType?: string;
}

/** Sends a body to the bulk route; never throws on an HTTP error status. */
export async function sendBulk(
  server: { readonly rest: string },
  table: string,
  format: BulkFormat,
  body: Buffer | string,
  { query = '', packing = 'none', key, mediaType = MEDIA_TYPES[format] }: BulkOptions = {},
): Promise<Answer> {
  const bytes = packed(typeof body === 'string' ? Buffer.from(body) : body, packing);
  const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}${query}`, {
    method: 'POST',
    headers: {
      'content-type': mediaType,
      ...(packing === 'none' ? {} : { 'content-encoding': packing }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    body: new Uint8Array(bytes),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: JSON.parse(text) as unknown };
}
