/** What a table says of itself: its configuration, its columns, and statistics that are counted, not guessed. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../common/tokens.js';
import type { DuckDBTimestampTZValue } from '@duckdb/node-api';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { DataFile } from '../delta/snapshot.js';
import type { ReadView } from './view/read-view.js';
import { selectRows } from './view/row-sql.js';
import type { Table } from './table.js';
import type { TableConfig } from './table-config.js';
import { VisibleLsn } from './view/visible-lsn.js';

export interface TableStats {
  readonly record_count: number;
  readonly file_count: number;
  readonly size_bytes: number;
  readonly oldest_record: string | null;
  readonly newest_record: string | null;
  readonly buffered_records: number;
  readonly deleted_records: number;
}

export interface TableInfo {
  readonly name: string;
  readonly config: TableConfig;
  readonly created_at: string;
  readonly last_write: string | null;
  readonly status: 'active';
  readonly stats: TableStats;
}

export interface TableDescription extends TableInfo {
  readonly schema: readonly { readonly name: string; readonly type: string }[];
  /** Version of its log. */
  readonly version: number;
  /** Where other engines find the Delta Lake table. */
  readonly location: string;
}

interface ReadStats {
  readonly rows: number;
  /** Microseconds since 1970. */
  readonly oldest: bigint | undefined;
  readonly newest: bigint | undefined;
  readonly buffered: number;
  readonly deleted: number;
}

interface CachedStats {
  readonly version: number;
  readonly lsn: number;
  readonly stats: TableStats;
}

@Injectable()
export class TableInfoReader {
  readonly #cache = new WeakMap<Table, CachedStats>();

  constructor(
    private readonly engine: Engine,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly visible: VisibleLsn,
  ) {}

  async info(table: Table): Promise<TableInfo> {
    return {
      name: table.name,
      config: table.config,
      created_at: new Date(table.createdMs).toISOString(),
      last_write: lastWriteOf(table),
      status: 'active',
      stats: await this.stats(table),
    };
  }

  async describe(table: Table): Promise<TableDescription> {
    return {
      ...(await this.info(table)),
      schema: table.schema.columns.map(({ name, type }) => ({ name, type })),
      version: table.snapshot.version,
      location: this.store.locationOf(table.directory),
    };
  }

  /** Exact as of one pinned state; counted anew only when something changed. Only files with hidden rows are read: of the others the log says all. */
  async stats(table: Table): Promise<TableStats> {
    const lsn = this.visible.value;
    const cached = this.#cache.get(table);
    if (cached?.lsn === lsn && cached.version === table.snapshot.version) return cached.stats;
    const view = table.pin(lsn);
    try {
      const isRead = new Set(view.files.filter(({ file, source }) => !file.times || table.masks.isMasked(source)).map(({ file }) => file));
      const known = view.files.map(({ file }) => file).filter((file) => !isRead.has(file));
      const read = await this.#read(view, (file) => isRead.has(file));
      const stats: TableStats = {
        record_count: known.reduce((sum, file) => sum + file.rows, read.rows),
        file_count: view.files.length,
        size_bytes: view.files.reduce((sum, { file }) => sum + file.sizeBytes, 0),
        oldest_record: instantText(least([read.oldest, ...known.map(({ times }) => times && BigInt(times.first))])),
        newest_record: instantText(greatest([read.newest, ...known.map(({ times }) => times && BigInt(times.last))])),
        buffered_records: read.buffered,
        deleted_records: read.deleted,
      };
      this.#cache.set(table, { version: view.version, lsn, stats });
      return stats;
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** What only reading tells: of the files that `keep` names, and of the buffers. */
  async #read(view: ReadView, keep: (file: DataFile) => boolean): Promise<ReadStats> {
    const sources = await view.sources(undefined, keep);
    const columns = view.schema.columns.slice(1, 2);
    const visible = selectRows(sources, { columns, withPlace: false, rows: 'visible' });
    const soft = selectRows(sources, { columns, withPlace: false, rows: 'soft' });
    const bufferedSources = { ...sources, files: sources.files.slice((await view.open()).length) };
    const buffered = selectRows(bufferedSources, { columns, withPlace: false, rows: 'visible' });
    const row = await this.engine.row(
      `SELECT v.*, (SELECT count(*) FROM (${buffered})) AS buffered, (SELECT count(*) FROM (${soft})) AS deleted
       FROM (SELECT count(*) AS n, min("timestamp") AS oldest, max("timestamp") AS newest FROM (${visible})) v`,
    );
    return {
      rows: asNumber(row['n']),
      oldest: (row['oldest'] as DuckDBTimestampTZValue | null)?.micros,
      newest: (row['newest'] as DuckDBTimestampTZValue | null)?.micros,
      buffered: asNumber(row['buffered']),
      deleted: asNumber(row['deleted']),
    };
  }
}

function lastWriteOf(table: Table): string | null {
  if (table.lastWriteMs !== undefined) return new Date(table.lastWriteMs).toISOString();
  return table.snapshot.version === 0 ? null : new Date(table.snapshot.timestampMs).toISOString();
}

function least(values: readonly (bigint | undefined)[]): bigint | undefined {
  return values.reduce((found, value) => (found === undefined || (value !== undefined && value < found) ? value : found), undefined);
}

function greatest(values: readonly (bigint | undefined)[]): bigint | undefined {
  return values.reduce((found, value) => (found === undefined || (value !== undefined && value > found) ? value : found), undefined);
}

function instantText(micros: bigint | undefined): string | null {
  if (micros === undefined) return null;
  const ms = Number((micros - (((micros % 1_000n) + 1_000n) % 1_000n)) / 1_000n);
  const rest = String(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n).padStart(6, '0');
  return `${new Date(ms).toISOString().slice(0, 19)}.${rest}Z`;
}
