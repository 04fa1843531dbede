/** What a table says of itself: its configuration, its columns, and statistics that are counted, not guessed. */
import type { DuckDBTimestampTZValue } from '@duckdb/node-api';
import { asNumber, type Engine } from '../infra/duckdb/engine.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import { selectRows } from './row-sql.js';
import type { Table } from './table.js';
import type { TableConfig } from './table-config.js';
import type { VisibleLsn } from './visible-lsn.js';

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

interface CachedStats {
  readonly version: number;
  readonly lsn: number;
  readonly stats: TableStats;
}

export class TableInfoReader {
  readonly #cache = new WeakMap<Table, CachedStats>();

  constructor(
    private readonly engine: Engine,
    private readonly store: ObjectStore,
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

  /** Exact as of one pinned state; counted anew only when something changed. */
  async stats(table: Table): Promise<TableStats> {
    const lsn = this.visible.value;
    const cached = this.#cache.get(table);
    if (cached?.lsn === lsn && cached.version === table.snapshot.version) return cached.stats;
    const view = table.pin(lsn);
    try {
      const sources = await view.sources();
      const columns = view.schema.columns.slice(1, 2);
      const visible = selectRows(sources, { columns, withPlace: false, rows: 'visible' });
      const soft = selectRows(sources, { columns, withPlace: false, rows: 'soft' });
      const bufferedSources = { ...sources, files: sources.files.slice(view.files.length) };
      const buffered = selectRows(bufferedSources, { columns, withPlace: false, rows: 'visible' });
      const row = await this.engine.row(
        `SELECT v.*, (SELECT count(*) FROM (${buffered})) AS buffered, (SELECT count(*) FROM (${soft})) AS deleted
         FROM (SELECT count(*) AS n, min("timestamp") AS oldest, max("timestamp") AS newest FROM (${visible})) v`,
      );
      const stats: TableStats = {
        record_count: asNumber(row['n']),
        file_count: view.files.length,
        size_bytes: view.files.reduce((sum, { file }) => sum + file.sizeBytes, 0),
        oldest_record: instantText(row['oldest'] as DuckDBTimestampTZValue | null),
        newest_record: instantText(row['newest'] as DuckDBTimestampTZValue | null),
        buffered_records: asNumber(row['buffered']),
        deleted_records: asNumber(row['deleted']),
      };
      this.#cache.set(table, { version: view.version, lsn, stats });
      return stats;
    } finally {
      view.release();
    }
  }
}

function lastWriteOf(table: Table): string | null {
  if (table.lastWriteMs !== undefined) return new Date(table.lastWriteMs).toISOString();
  return table.snapshot.version === 0 ? null : new Date(table.snapshot.timestampMs).toISOString();
}

function instantText(value: DuckDBTimestampTZValue | null): string | null {
  if (value === null) return null;
  const micros = value.micros;
  const ms = Number((micros - (((micros % 1_000n) + 1_000n) % 1_000n)) / 1_000n);
  const rest = String(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n).padStart(6, '0');
  return `${new Date(ms).toISOString().slice(0, 19)}.${rest}Z`;
}
