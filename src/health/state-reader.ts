/** What the server knows of itself, read without changing anything: for status, metrics and health. Every figure is measured at the time of asking. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { CLOCK, REDIS } from '../common/tokens.js';
import os from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { Replicator } from '../backups/replication/replicator.js';
import { NodeDirectory, type NodeInfo } from '../cluster/node-directory.js';
import { AppError } from '../common/app-error.js';
import type { CacheCounts, HitsAndMisses } from '../common/cache-counts.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { Engine } from '../engine/duckdb/engine.js';
import { asNumber } from '../engine/duckdb/engine.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { Scheduler } from '../data/maintenance/scheduler.js';
import { WriteAheadLog } from '../data/wal/write-ahead-log.js';
import { BufferManager } from '../data/buffer/buffer-manager.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';
import { Admission } from '../query/limits/admission.js';
import { Cursors } from '../query/paging/cursors.js';
import { ResultCache } from '../query/results/result-cache.js';
import { QueryStatistics } from '../query/query-counts.js';
import { TableRegistry } from '../tables/table-registry.js';
import { Probes } from './probes.js';
import { RequestCounts } from '../metrics/request-counts.js';

const DELAY_RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;
/** Far enough below the 70 of the alert MinIODBLowHealthScore. */
const UNHEALTHY_SCORE_MAX = 50;

export type Health = 'healthy' | 'degraded' | 'unhealthy';

export interface CacheStats {
  readonly type: 'result' | 'file';
  readonly hits: number;
  readonly misses: number;
  /** By name of the table; under the empty name what is of several, or of none any more. */
  readonly byTable: ReadonlyMap<string, Readonly<HitsAndMisses>>;
  readonly entries: number;
  readonly bytes: number;
}

/** Connections of a pool. Both figures together are as many as there may be, so that their share says how full it is. */
export interface PoolStats {
  readonly active: number;
  readonly idle: number;
}

@Injectable()
export class StateReader {
  readonly #loopDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });

  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    private readonly probes: Probes,
    private readonly registry: TableRegistry,
    private readonly buffers: BufferManager,
    private readonly groupCommit: GroupCommit,
    private readonly visible: VisibleLsn,
    private readonly wal: WriteAheadLog,
    private readonly scheduler: Scheduler,
    private readonly admission: Admission,
    private readonly cursors: Cursors,
    private readonly results: ResultCache,
    private readonly statistics: QueryStatistics,
    private readonly requests: RequestCounts,
    private readonly pool: StoragePool,
    private readonly nodeDirectory: NodeDirectory,
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    @Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined,
  ) {
    this.#loopDelay.enable();
  }

  bufferStats(): Record<string, number> {
    const { registry, buffers, groupCommit, visible, wal, config } = this;
    const generations = registry.all().flatMap((table) => table.generations);
    return {
      tables: registry.all().length,
      buffered_rows: generations.reduce((sum, generation) => sum + generation.totalRows, 0),
      buffered_bytes: buffers.bytes,
      buffer_bytes_max: config.buffer.bytes_max,
      queued_bytes: groupCommit.queuedBytes,
      wal_bytes: wal.bytes,
      wal_bytes_max: config.wal.bytes_max,
      wal_segments: wal.segmentCount,
      visible_lsn: visible.value,
    };
  }

  queryStats(): Record<string, number> {
    const { admission, cursors, statistics, config } = this;
    return {
      running: admission.running,
      waiting: admission.waiting,
      refused: admission.refused,
      concurrency_max: config.query.concurrency_max,
      open_cursors: cursors.count,
      succeeded: statistics.total.succeeded,
      failed: statistics.total.failed,
      duration_ms_p50: statistics.durationMs(0.5),
      duration_ms_p95: statistics.durationMs(0.95),
      duration_ms_p99: statistics.durationMs(0.99),
    };
  }

  /** What is kept so that it need not be made or fetched again. */
  cacheStats(): CacheStats[] {
    const { results, pool, registry } = this;
    const stats = (type: CacheStats['type'], counts: CacheCounts, entries: number, bytes: number): CacheStats => {
      const nameOf = type === 'file' ? tableNameOfDirectory(registry) : (name: string) => registry.find(name)?.name;
      return { type, hits: counts.hits, misses: counts.misses, byTable: countsByTable(counts, nameOf), entries, bytes };
    };
    const files = pool.cached?.cache;
    return [
      stats('result', results.counts, results.count, results.bytes),
      ...(files ? [stats('file', files.counts, files.fileCount, files.bytes)] : []),
    ];
  }

  /** The data files of the newest versions; with a bucket also what went over the wire since the start, and the cache before it. */
  storageStats(): Record<string, number> {
    const files = this.registry.all().flatMap((table) => [...table.snapshot.files.values()]);
    const stored = { objects: files.length, bytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) };
    const { primary, cached } = this.pool;
    if (!primary || !cached) return { enabled: 0, ...stored };
    const { counts, connections } = primary.requests;
    const requests = Object.entries(counts.requests).map(([kind, count]): [string, number] => [`${kind.toLowerCase()}_requests`, count]);
    return {
      enabled: 1,
      ...stored,
      ...Object.fromEntries(requests),
      failed_requests: counts.failed,
      sent_bytes: counts.bytesSent,
      received_bytes: counts.bytesReceived,
      active_connections: connections.active,
      idle_connections: connections.idle,
      cache_files: cached.cache.fileCount,
      cache_bytes: cached.cache.bytes,
      cache_hits: cached.cache.counts.hits,
      cache_misses: cached.cache.counts.misses,
    };
  }

  /** How far the copy in the backup bucket is behind. */
  replicationStats(): Record<string, number> {
    const { replicator } = this;
    if (!replicator) return { enabled: 0 };
    const { lagSeconds, tablesBehind, copiedBytes, failures } = replicator.state;
    return {
      enabled: 1,
      lag_seconds: lagSeconds,
      tables_behind: tablesBehind,
      copied_bytes: copiedBytes,
      failures,
      fallback_reads: this.pool.fallbacks,
    };
  }

  /** Connections to the stores; none where a store is not configured. */
  pools(): { readonly redis: PoolStats; readonly minio: PoolStats } {
    const { config, pool, redis } = this;
    const { active: redisActive = 0, idle: redisIdle = 0 } = redis?.counts ?? {};
    const minioActive = pool.primary?.requests.connections.active ?? 0;
    const minioMax = pool.primary ? config.minio.connections_max : 0;
    return { redis: { active: redisActive, idle: redisIdle }, minio: { active: minioActive, idle: Math.max(0, minioMax - minioActive) } };
  }

  redisStats(): Record<string, number> {
    const { redis } = this;
    if (!redis) return { enabled: 0 };
    const { calls, failures, active, idle } = redis.counts;
    return {
      enabled: 1,
      reachable: redis.isReady ? 1 : 0,
      calls,
      failed_calls: failures,
      active_connections: active,
      idle_connections: idle,
    };
  }

  /** Every node; this one alone when Redis cannot be asked. */
  async nodes(): Promise<NodeInfo[]> {
    try {
      return await this.nodeDirectory.list();
    } catch (error) {
      if (error instanceof AppError && error.code === 'UNAVAILABLE') return [this.nodeDirectory.self()];
      throw error;
    }
  }

  maintenanceRounds(): number {
    return this.scheduler.rounds;
  }

  async memory(): Promise<Record<string, number>> {
    const { rss, heapUsed, external } = process.memoryUsage();
    const row = await this.engine.row(
      'SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT AS used, coalesce(sum(temporary_storage_bytes), 0)::BIGINT AS spilled FROM duckdb_memory()',
    );
    return {
      rss_bytes: rss,
      heap_bytes: heapUsed,
      external_bytes: external,
      engine_bytes: asNumber(row['used']),
      engine_bytes_max: this.engine.memoryBytesMax,
      small_files_bytes: this.registry.all().reduce((sum, table) => sum + table.residents.bytes, 0),
      spilled_bytes: asNumber(row['spilled']),
    };
  }

  system(): Record<string, string> {
    return {
      node_version: process.version,
      platform: process.platform,
      arch: process.arch,
      cpus: String(os.availableParallelism()),
      pid: String(process.pid),
    };
  }

  resources(): Record<string, number> {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    return {
      cpu_user_ms: Math.round(userCPUTime / 1_000),
      cpu_system_ms: Math.round(systemCPUTime / 1_000),
      uptime_seconds: Math.floor(process.uptime()),
    };
  }

  loopDelayMsP99(): number {
    return Math.round((this.#loopDelay.percentile(99) / NS_PER_MS) * 100) / 100;
  }

  /** Asks each part whether it does its work. */
  async components(): Promise<Record<string, string>> {
    const results = await Promise.all(this.probes.all().map((probe) => probe()));
    return Object.fromEntries(
      results.flatMap((result) => Object.entries(result)).map(([component, outcome]) => [component, textOf(outcome)]),
    );
  }

  async health(): Promise<{ status: Health; components: Record<string, string> }> {
    const components = await this.components();
    const states = Object.values(components);
    if (states.some((state) => state.startsWith('unhealthy'))) return { status: 'unhealthy', components };
    if (states.some((state) => state.startsWith('degraded'))) return { status: 'degraded', components };
    const { wal_bytes: used = 0, wal_bytes_max: max = 1 } = this.bufferStats();
    return { status: used > max * 0.8 ? 'degraded' : 'healthy', components };
  }

  /**
   * 0 to 100: a third each for components that work, for room in the write-ahead log and for queries without a fault of ours. See docs/operations.md.
   */
  async healthScore(): Promise<number> {
    const components = Object.values(await this.components());
    const working = components.filter((state) => state === 'healthy').length / components.length;
    const { wal_bytes: used = 0, wal_bytes_max: max = 1 } = this.bufferStats();
    const { answered, faults } = this.requests.queries;
    const withoutFault = answered === 0 ? 1 : 1 - faults / answered;
    const score = Math.round((100 * (working + (1 - Math.min(1, used / max)) + withoutFault)) / 3);
    // Whatever else is well: whoever watches the score alone must notice.
    return components.some((state) => state.startsWith('unhealthy')) ? Math.min(score, UNHEALTHY_SCORE_MAX) : score;
  }
}

function textOf({ status, ...data }: HealthIndicatorResult[string]): string {
  if (status === 'up') return 'healthy';
  return `${status === 'degraded' ? 'degraded' : 'unhealthy'}: ${String(data['message'])}`;
}

function tableNameOfDirectory(registry: TableRegistry): (directory: string) => string | undefined {
  const names = new Map(registry.all().map((table) => [table.directory, table.name]));
  return (directory) => names.get(directory);
}

function countsByTable({ byOwner }: CacheCounts, nameOf: (owner: string) => string | undefined): Map<string, HitsAndMisses> {
  const byTable = new Map<string, HitsAndMisses>();
  for (const [owner, { hits, misses }] of byOwner) {
    const name = nameOf(owner) ?? '';
    const before = byTable.get(name) ?? { hits: 0, misses: 0 };
    byTable.set(name, { hits: before.hits + hits, misses: before.misses + misses });
  }
  return byTable;
}
