/**
 * Prometheus metrics, collected when they are asked for from what the parts count anyway. Labels come from tables that exist, never from requests.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { CLOCK, REDIS } from '../common/tokens.js';
import { Counter, Gauge, Registry } from 'prom-client';
import { BackupCounts } from '../backups/backup-counts.js';
import { MS_PER_SECOND, type Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { Freshness } from '../data/freshness.js';
import { Compaction } from '../data/maintenance/compaction.js';
import { OperationCounts } from '../data/operation-counts.js';
import { QueryStatistics } from '../query/query-counts.js';
import { QueryStreamCounts } from '../query/stream-counts.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import { TableInfoReader } from '../tables/table-info.js';
import type { Table } from '../tables/table.js';
import { TableRegistry } from '../tables/table-registry.js';
import { CpuUsage } from '../health/cpu-usage.js';
import { RequestCounts } from './request-counts.js';
import { type PoolStats, StateReader } from '../health/state-reader.js';

@Injectable()
export class Metrics {
  #scrapes = 0;

  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly requests: RequestCounts,
    private readonly cpu: CpuUsage,
    private readonly registry: TableRegistry,
    private readonly tableInfo: TableInfoReader,
    private readonly damagedFiles: DamagedFiles,
    private readonly operations: OperationCounts,
    private readonly freshness: Freshness,
    private readonly compaction: Compaction,
    private readonly queries: QueryStatistics,
    private readonly queryStreams: QueryStreamCounts,
    private readonly backups: BackupCounts,
    private readonly pool: StoragePool,
    private readonly state: StateReader,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
  ) {}

  get scrapes(): number {
    return this.#scrapes;
  }

  async text(): Promise<string> {
    this.#scrapes += 1;
    const registry = new Registry();
    this.requests.register(registry);
    registry.registerMetric(this.freshness.histogram);
    this.#operations(registry);
    this.#queries(registry);
    this.#backups(registry);
    this.#pools(registry);
    this.#stores(registry);
    this.#caches(registry);
    await this.#tables(registry);
    await this.#process(registry);
    return registry.metrics();
  }

  /** What was counted of a table stays away when the table has gone: a label is the name of a table that exists. */
  #exists = (table: string): boolean => this.registry.find(table)?.name === table;

  #operations(registry: Registry): void {
    const counter = (operation: string): Counter =>
      new Counter({
        name: `miniodb_${operation}_operations_total`,
        help: `Requests that ${operation} rows`,
        labelNames: ['table', 'status'],
        registers: [registry],
      });
    const counters = { write: counter('write'), update: counter('update'), delete: counter('delete') };
    for (const { operation, table, outcome, count } of this.operations.entries())
      if (this.#exists(table)) counters[operation].inc({ table, status: outcome }, count);
    const streamed = new Counter({
      name: 'miniodb_stream_write_records_total',
      help: 'Records of StreamWrite',
      labelNames: ['table', 'status'],
      registers: [registry],
    });
    for (const [table, { stored, refused }] of this.operations.streamedRecords) {
      if (!this.#exists(table)) continue;
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
    for (const [table, { succeeded, failed }] of this.queries.byTable) {
      if (!this.#exists(table)) continue;
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
    for (const [table, counts] of this.queryStreams.byTable) {
      if (!this.#exists(table)) continue;
      batches.inc({ table, status: 'success' }, counts.batches);
      records.inc({ table }, counts.records);
    }
  }

  #backups(registry: Registry): void {
    const { backups, restores, sizes, durations } = this.backups;
    const counter = (name: string, help: string, counts: Readonly<Record<'success' | 'error', number>>): void => {
      const total = new Counter({ name, help, labelNames: ['status'], registers: [registry] });
      for (const [status, count] of Object.entries(counts)) total.inc({ status }, count);
    };
    counter('miniodb_backup_operations_total', 'Backups of metadata and data', backups);
    counter('miniodb_restore_operations_total', 'Restores of metadata and recoveries of data', restores);
    const gauge = (name: string, help: string, label: string): Gauge =>
      new Gauge({ name, help, labelNames: [label], registers: [registry] });
    const size = gauge('miniodb_backup_size_bytes', 'Bytes copied by a backup of this server; the newest 20 only', 'backup_id');
    for (const [id, bytes] of sizes) size.set({ backup_id: id }, bytes);
    const duration = gauge('miniodb_backup_duration_seconds', 'Duration of the newest backup of each type', 'type');
    for (const [type, seconds] of durations) duration.set({ type }, seconds);
  }

  /** Connections to the stores. */
  #pools(registry: Registry): void {
    const { config, state } = this;
    const gauge = (name: string, help: string, labelNames = ['node']): Gauge =>
      new Gauge({ name, help, labelNames, registers: [registry] });
    const node = config.node_id;
    const set = (name: string, help: string, { active, idle }: PoolStats): void => {
      gauge(`miniodb_${name}_pool_active_connections`, `${help}: in use`).set({ node }, active);
      gauge(`miniodb_${name}_pool_idle_connections`, `${help}: idle`).set({ node }, idle);
    };
    const { redis, minio } = state.pools();
    set('redis', 'Connections to Redis', redis);
    set('minio', 'Connections to the object store', minio);
    const { enabled, lag_seconds: lag = 0 } = state.replicationStats();
    if (enabled === 1)
      gauge('miniodb_replication_lag_seconds', 'Age of the oldest commit that the backup bucket does not have yet').set({ node }, lag);
  }

  /** What keeps acknowledged rows until the object store has them, and what is asked of the stores. */
  #stores(registry: Registry): void {
    const { config, state, pool, redis } = this;
    const node = config.node_id;
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, labelNames: ['node'], registers: [registry] });
    const { wal_bytes: walBytes = 0, wal_bytes_max: walBytesMax = 0 } = state.bufferStats();
    gauge('miniodb_wal_size_bytes', 'Bytes of the write-ahead log').set({ node }, walBytes);
    gauge('miniodb_wal_limit_bytes', 'Size of the write-ahead log above which writes are refused, in bytes').set({ node }, walBytesMax);
    const counter = (name: string, help: string, label?: string): Counter =>
      new Counter({ name, help, labelNames: label === undefined ? ['node'] : ['node', label], registers: [registry] });
    const requests = counter('miniodb_object_store_requests_total', 'Requests to the bucket of the tables', 'kind');
    const failed = counter('miniodb_object_store_failed_requests_total', 'Requests that the bucket left unanswered or answered with 5xx');
    for (const [kind, count] of Object.entries(pool.primary?.requests.counts.requests ?? {}))
      requests.inc({ node, kind: kind.toLowerCase() }, count);
    failed.inc({ node }, pool.primary?.requests.counts.failed ?? 0);
    const redisCalls = counter('miniodb_redis_calls_total', 'Calls to Redis', 'status');
    const { calls, failures } = redis?.counts ?? { calls: 0, failures: 0 };
    redisCalls.inc({ node, status: 'success' }, calls - failures);
    redisCalls.inc({ node, status: 'error' }, failures);
  }

  /** Answers of statements, and data files on the local disk. */
  #caches(registry: Registry): void {
    const counter = (name: string, help: string): Counter =>
      new Counter({ name, help, labelNames: ['cache_type', 'table'], registers: [registry] });
    const hitCount = counter('miniodb_cache_hits_total', 'Cache hits: answers and files already present');
    const missCount = counter('miniodb_cache_misses_total', 'Cache misses: answers computed and files fetched');
    const ratio = new Gauge({
      name: 'miniodb_cache_hit_ratio',
      help: 'Share of cache hits, 0 to 1',
      labelNames: ['cache_type'],
      registers: [registry],
    });
    for (const { type, hits, misses, byTable } of this.state.cacheStats()) {
      for (const [table, counts] of byTable) {
        hitCount.inc({ cache_type: type, table }, counts.hits);
        missCount.inc({ cache_type: type, table }, counts.misses);
      }
      if (hits + misses > 0) ratio.set({ cache_type: type }, hits / (hits + misses));
    }
  }

  async #tables(registry: Registry): Promise<void> {
    const gauge = (name: string, help: string, labelNames: string[] = ['table']): Gauge =>
      new Gauge({ name, help, labelNames, registers: [registry] });
    const rows = gauge('miniodb_table_record_count', 'Rows visible to queries');
    const files = gauge('miniodb_table_file_count', 'Data files');
    const bytes = gauge('miniodb_table_size_bytes', 'Bytes of data files');
    const utilization = gauge('miniodb_table_buffer_utilization', 'Buffered rows as a share of buffer_size');
    const buffer = gauge('miniodb_buffer_size_bytes', 'Bytes of buffered rows', ['node', 'table']);
    const unflushed = gauge('miniodb_table_unflushed_seconds', 'Age of the oldest row that is not in a data file yet; 0 if there is none');
    const uncompacted = gauge(
      'miniodb_table_uncompacted_seconds',
      'Age of the oldest data file waiting to be merged or purged; 0 if there is none',
    );
    const damaged = gauge('miniodb_table_damaged_files', 'Data files that were found damaged or missing');
    const damagedFiles = await this.damagedFiles.byTable();
    gauge('miniodb_tables_out_of_service', 'Tables that exist and cannot be served', []).set(this.registry.outOfService().length);
    const { storage, minio } = this.config;
    const bucket = storage.kind === 'local' ? 'local' : minio.bucket;
    const objects = gauge('miniodb_storage_objects_total', 'Data files in the object store', ['bucket', 'table']);
    for (const table of this.registry.all()) {
      const stats = await this.tableInfo.stats(table).catch((error: unknown) => {
        if (table.isDropped) return undefined;
        throw error;
      });
      if (!stats) continue;
      rows.set({ table: table.name }, stats.record_count);
      files.set({ table: table.name }, stats.file_count);
      damaged.set({ table: table.name }, damagedFiles.get(table.name)?.length ?? 0);
      bytes.set({ table: table.name }, stats.size_bytes);
      utilization.set({ table: table.name }, stats.buffered_records / table.config.buffer_size);
      buffer.set(
        { node: this.config.node_id, table: table.name },
        table.generations.reduce((sum, generation) => sum + generation.bytes, 0),
      );
      unflushed.set({ table: table.name }, this.#unflushedSeconds(table));
      uncompacted.set({ table: table.name }, this.compaction.waitingMs(table) / MS_PER_SECOND);
      objects.set({ bucket, table: table.name }, stats.file_count);
    }
  }

  #unflushedSeconds({ generations }: Table): number {
    const nowMs = this.clock.nowMs();
    const oldestMs = Math.min(nowMs, ...generations.flatMap(({ oldestMs: ms, isEmpty }) => (ms === undefined || isEmpty ? [] : [ms])));
    return (nowMs - oldestMs) / MS_PER_SECOND;
  }

  async #process(registry: Registry): Promise<void> {
    new Gauge({ name: 'miniodb_system_health_score', help: 'Health, 0 to 100; see docs/operations.md', registers: [registry] }).set(
      await this.state.healthScore(),
    );
    const memory = new Gauge({ name: 'miniodb_memory_usage_bytes', help: 'Memory', labelNames: ['component'], registers: [registry] });
    const used = await this.state.memory();
    memory.set({ component: 'process' }, used['rss_bytes'] ?? 0);
    memory.set({ component: 'query_engine' }, used['engine_bytes'] ?? 0);
    memory.set({ component: 'small_files' }, used['small_files_bytes'] ?? 0);
    memory.set({ component: 'buffer' }, this.state.bufferStats()['buffered_bytes'] ?? 0);
    const cpu = new Gauge({
      name: 'miniodb_cpu_usage_percent',
      help: 'Percent of one processor; query_engine is the part of process used by all threads except the main one',
      labelNames: ['component'],
      registers: [registry],
    });
    for (const [component, percent] of Object.entries(this.cpu.read())) cpu.set({ component }, percent);
  }
}
