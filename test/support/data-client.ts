/**
 * The writing half of the data API as the randomized tests use it: bodies are built from JSON text (see payload-value.ts), so that what is
 * sent is exactly what the model remembers.
 */
import { type ClientRecord, type Payload, payloadJson, recordJson, timestampJson, timestampText } from './payload-value.js';
import type { Door } from './requests.js';
import { type Answer, call } from './server.js';

/** Bodies larger than this become data files at once, instead of taking the way of ordinary writes. */
const LARGE_BULK_BYTES = 2.2 * 1_024 * 1_024;

/** Few lines with so many spaces at their ends that their body counts as large. */
export function padded(lines: readonly string[]): string[] {
  const spaces = ' '.repeat(Math.ceil(LARGE_BULK_BYTES / lines.length));
  return lines.map((line) => line + spaces);
}

export interface TableSettings {
  readonly write_mode?: 'append' | 'upsert';
  readonly layout?: 'shard' | 'id';
  readonly buffer_size?: number;
  readonly flush_interval_seconds?: number;
}

export class DataClient {
  constructor(readonly server: Door) {}

  createTable(table: string, config: TableSettings = {}): Promise<Answer> {
    return call(this.server, 'POST', '/v1/tables', { table_name: table, config });
  }

  dropTable(table: string): Promise<Answer> {
    return call(this.server, 'DELETE', `/v1/tables/${table}?cascade=true`);
  }

  write(table: string, record: ClientRecord, query = ''): Promise<Answer> {
    return call(this.server, 'POST', `/v1/data${query}`, `{"table":"${table}","data":${recordJson(record)}}`);
  }

  writeBatch(table: string, records: readonly ClientRecord[], query = ''): Promise<Answer> {
    return call(this.server, 'POST', `/v1/data${query}`, `{"table":"${table}","records":[${records.map(recordJson).join(',')}]}`);
  }

  /** Newline-delimited JSON to the bulk door. `lines` may hold deliberately bad ones; see also `padded`. */
  bulk(table: string, lines: readonly string[], query = ''): Promise<Answer> {
    const body = `${lines.join('\n')}\n`;
    return call(this.server, 'POST', `/v1/data/bulk?table=${table}${query}`, body, { 'content-type': 'application/x-ndjson' });
  }

  replace(table: string, record: ClientRecord): Promise<Answer> {
    const fields = [`"table":"${table}"`, `"id":"${record.id}"`, `"payload":${payloadJson(record.payload)}`];
    return call(this.server, 'PUT', '/v1/data', `{${[...fields, `"timestamp":${timestampJson(record)}`].join(',')}}`);
  }

  /** Without a timestamp the row keeps the one it has. */
  merge(table: string, id: string, payload: Payload, timestampMicros?: bigint): Promise<Answer> {
    const fields = [`"table":"${table}"`, `"id":"${id}"`, `"payload":${payloadJson(payload)}`, '"partial":true'];
    if (timestampMicros !== undefined) fields.push(`"timestamp":"${timestampText(timestampMicros)}"`);
    return call(this.server, 'PUT', '/v1/data', `{${fields.join(',')}}`);
  }

  delete(table: string, ids: readonly string[], softDelete: boolean): Promise<Answer> {
    return call(this.server, 'DELETE', '/v1/data', { table, ids, soft_delete: softDelete });
  }

  restore(table: string, ids: readonly string[]): Promise<Answer> {
    return call(this.server, 'POST', '/v1/data/restore', { table, ids });
  }

  maintain(table: string, action: 'flush' | 'compact' | 'vacuum'): Promise<Answer> {
    return call(this.server, 'POST', `/v1/tables/${table}/${action}`);
  }
}
