/**
 * Prometheus metrics, collected when they are asked for from what the parts count anyway. Labels come from tables that exist, never from requests.
 */
import { Counter, Gauge, Registry } from 'prom-client';
import type { BackupCounts } from '../backup/backup-counts.js';
import type { Config } from '../common/config/config.js';
import type { StoragePool } from '../infra/object-store/storage-pool.js';
import type { RedisConnection } from '../infra/redis/redis-connection.js';
import type { OperationCounts } from '../data/operation-counts.js';
import type { QueryStatistics } from '../query/query-statistics.js';
import type { QueryStreamCounts } from '../query/query-stream-counts.js';
import type { TableInfoReader } from '../tables/table-info.js';
import type { TableRegistry } from '../tables/table-registry.js';
import type { StateReader } from './state-reader.js';

export interface MetricsParts {
  readonly config: Config;
  readonly registry: TableRegistry;
  readonly tableInfo: TableInfoReader;
  readonly operations: OperationCounts;
  readonly queries: QueryStatistics;
  readonly queryStreams: QueryStreamCounts;
  readonly backups: BackupCounts;
  readonly pool: StoragePool;
  readonly state: StateReader;
  readonly redis: RedisConnection | undefined;
}

export class Metrics {
  #scrapes = 0;

  constructor(private readonly parts: MetricsParts) {}

  get scrapes(): number {
    return this.#scrapes;
  }

  async text(): Promise<string> {
    this.#scrapes += 1;
    const registry = new Registry();
    this.#operations(registry);
    this.#queries(registry);
    this.#backups(registry);
    this.#pools(registry);
    this.#caches(registry);
    await this.#tables(registry);
    await this.#process(registry);
    return registry.metrics();
  }

  #operations(registry: Registry): void {
    const counter = (operation: string): Counter =>
      new Counter({
        name: `miniodb_${operation}_operations_total`,
        help: `Requests that ${operation} rows`,
        labelNames: ['table', 'status'],
        registers: [registry],
      });
    const counters = { write: counter('write'), update: counter('update'), delete: counter('delete') };
    for (const { operation, table, outcome, count } of this.parts.operations.entries())
      counters[operation].inc({ table, status: outcome }, count);
    const streamed = new Counter({
      name: 'miniodb_stream_write_records_total',
      help: 'Records of StreamWrite',
      labelNames: ['table', 'status'],
      registers: [registry],
    });
    for (const [table, { stored, refused }] of this.parts.operations.streamedRecords) {
      streamed.inc({ table, status: 'success' }, stored);
      streamed.inc({ table, status: 'error' }, refused);
    }
  }

  #queries(registry: Registry): void {
    const total = new Counter({
      name: 'miniodb_query_operations_total',
      help: 'Queries',
      labelNames: ['table', 'status'],
      registers: [registry],
    });
    const rate = new Gauge({
      name: 'miniodb_query_success_rate',
      help: 'Share of queries that succeeded, 0 to 1',
      labelNames: ['table'],
      registers: [registry],
    });
    for (const [table, { succeeded, failed }] of this.parts.queries.byTable) {
      total.inc({ table, status: 'success' }, succeeded);
      total.inc({ table, status: 'error' }, failed);
      rate.set({ table }, succeeded / (succeeded + failed));
    }
    const batches = new Counter({
      name: 'miniodb_stream_query_batches_total',
      help: 'Batches of StreamQuery',
      labelNames: ['table', 'status'],
      registers: [registry],
    });
    const records = new Counter({
      name: 'miniodb_stream_query_records_total',
      help: 'Records of StreamQuery',
      labelNames: ['table'],
      registers: [registry],
    });
    for (const [table, counts] of this.parts.queryStreams.byTable) {
      batches.inc({ table, status: 'success' }, counts.batches);
      records.inc({ table }, counts.records);
    }
  }

  #backups(registry: Registry): void {
    const { backups, restores, sizes, durations } = this.parts.backups;
    const counter = (name: string, help: string, counts: Readonly<Record<'success' | 'error', number>>): void => {
      const total = new Counter({ name, help, labelNames: ['status'], registers: [registry] });
      for (const [status, count] of Object.entries(counts)) total.inc({ status }, count);
    };
    counter('miniodb_backup_operations_total', 'Backups of metadata and data', backups);
    counter('miniodb_restore_operations_total', 'Restores of metadata and recoveries of data', restores);
    const gauge = (name: string, help: string, label: string): Gauge =>
      new Gauge({ name, help, labelNames: [label], registers: [registry] });
    const size = gauge('miniodb_backup_size_bytes', 'Bytes that a backup of this server copied; the newest 20', 'backup_id');
    for (const [id, bytes] of sizes) size.set({ backup_id: id }, bytes);
    const duration = gauge('miniodb_backup_duration_seconds', 'How long the newest backup of a type took', 'type');
    for (const [type, seconds] of durations) duration.set({ type }, seconds);
  }

  /** Connections to the stores. */
  #pools(registry: Registry): void {
    const { config, pool, redis } = this.parts;
    const gauge = (name: string, help: string, labelNames = ['node']): Gauge =>
      new Gauge({ name, help, labelNames, registers: [registry] });
    const node = config.node_id;
    const set = (name: string, help: string, { active, idle }: { readonly active: number; readonly idle: number }): void => {
      gauge(`miniodb_${name}_pool_active_connections`, `${help} that are at work`).set({ node }, active);
      gauge(`miniodb_${name}_pool_idle_connections`, `${help} that wait for work`).set({ node }, idle);
    };
    set('redis', 'Connections to Redis', redis?.counts ?? { active: 0, idle: 0 });
    set('minio', 'Connections to the object store', pool.primary?.requests.connections ?? { active: 0, idle: 0 });
    const { enabled, lag_seconds: lag = 0 } = this.parts.state.replicationStats();
    if (enabled === 1)
      gauge('miniodb_replication_lag_seconds', 'How long the oldest commit has waited that the backup bucket does not have').set(
        { node },
        lag,
      );
  }

  /** Answers of statements, and data files on the local disk. */
  #caches(registry: Registry): void {
    const counter = (name: string, help: string): Counter =>
      new Counter({ name, help, labelNames: ['cache_type', 'table'], registers: [registry] });
    const hitCount = counter('miniodb_cache_hits_total', 'Answers and files that were there');
    const missCount = counter('miniodb_cache_misses_total', 'Answers that had to be made, and files that had to be fetched');
    const ratio = new Gauge({
      name: 'miniodb_cache_hit_ratio',
      help: 'Share of answers or files that were there, 0 to 1',
      labelNames: ['cache_type'],
      registers: [registry],
    });
    for (const { type, hits, misses } of this.parts.state.cacheStats()) {
      hitCount.inc({ cache_type: type, table: '' }, hits);
      missCount.inc({ cache_type: type, table: '' }, misses);
      if (hits + misses > 0) ratio.set({ cache_type: type }, hits / (hits + misses));
    }
  }

  async #tables(registry: Registry): Promise<void> {
    const gauge = (name: string, help: string, labelNames: string[] = ['table']): Gauge =>
      new Gauge({ name, help, labelNames, registers: [registry] });
    const rows = gauge('miniodb_table_record_count', 'Rows that a query sees');
    const files = gauge('miniodb_table_file_count', 'Data files');
    const bytes = gauge('miniodb_table_size_bytes', 'Bytes of data files');
    const utilization = gauge('miniodb_table_buffer_utilization', 'Buffered rows as a share of buffer_size');
    const buffer = gauge('miniodb_buffer_size_bytes', 'Bytes of buffered rows', ['node', 'table']);
    const objects = gauge('miniodb_storage_objects_total', 'Data files in the object store', ['bucket', 'table']);
    for (const table of this.parts.registry.all()) {
      const stats = await this.parts.tableInfo.stats(table).catch((error: unknown) => {
        if (table.isDropped) return undefined;
        throw error;
      });
      if (!stats) continue;
      rows.set({ table: table.name }, stats.record_count);
      files.set({ table: table.name }, stats.file_count);
      bytes.set({ table: table.name }, stats.size_bytes);
      utilization.set({ table: table.name }, stats.buffered_records / table.config.buffer_size);
      buffer.set(
        { node: this.parts.config.node_id, table: table.name },
        table.generations.reduce((sum, generation) => sum + generation.bytes, 0),
      );
      objects.set({ bucket: this.parts.config.storage.kind, table: table.name }, stats.file_count);
    }
  }

  async #process(registry: Registry): Promise<void> {
    new Gauge({ name: 'miniodb_system_health_score', help: 'Health, 0 to 100; see docs/operations.md', registers: [registry] }).set(
      await this.parts.state.healthScore(),
    );
    const memory = new Gauge({ name: 'miniodb_memory_usage_bytes', help: 'Memory', labelNames: ['component'], registers: [registry] });
    const used = await this.parts.state.memory();
    memory.set({ component: 'process' }, used['rss_bytes'] ?? 0);
    memory.set({ component: 'query_engine' }, used['engine_bytes'] ?? 0);
    memory.set({ component: 'small_files' }, used['small_files_bytes'] ?? 0);
    memory.set({ component: 'buffer' }, this.parts.state.bufferStats()['buffered_bytes'] ?? 0);
  }
}
