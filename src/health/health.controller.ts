/** Health, status and metrics, over REST and gRPC. A GET here changes nothing. */
import { applyDecorators, Controller, Get, Inject, Res, ServiceUnavailableException } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { ApiOkResponse, ApiOperation, ApiServiceUnavailableResponse, ApiTags } from '@nestjs/swagger';
import { HealthCheckService } from '@nestjs/terminus';
import type { FastifyReply } from 'fastify';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { VERSION } from '../common/version.js';
import { CLOCK } from '../common/tokens.js';
import { ApiErrors, ApiOnlyErrors, ApiPublicErrors } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { toTimestamp } from '../api/protobuf-values.js';
import { FiguresDto, HealthDto, ProbesDto, StatsDto, StatusDto } from './health.dto.js';
import { MetricsText } from '../metrics/metrics-text.js';
import { type Probe, Probes } from './probes.js';
import { StateReader } from './state-reader.js';

const ApiHealth = (type: typeof HealthDto | typeof ProbesDto): MethodDecorator =>
  applyDecorators(ApiOkResponse({ type }), ApiServiceUnavailableResponse({ type }), ApiOnlyErrors('INTERNAL'));

@ApiTags('monitoring')
@Controller()
@Needs('admin')
export class HealthController {
  constructor(
    private readonly config: Config,
    private readonly state: StateReader,
    private readonly metrics: MetricsText,
    private readonly probes: Probes,
    private readonly checks: HealthCheckService,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  #now(): string {
    return new Date(this.clock.nowMs()).toISOString();
  }

  @Needs('public')
  @Get('v1/health')
  @ApiOperation({ summary: 'Health of each component; 503 when the server is unhealthy' })
  @ApiHealth(HealthDto)
  async health(@Res({ passthrough: true }) reply: FastifyReply): Promise<HealthDto> {
    const health = await this.#health();
    if (health.status === 'unhealthy') void reply.status(503);
    return health;
  }

  @Needs('public')
  @GrpcMethod('MinIODBService', 'HealthCheck')
  async healthByGrpc(): Promise<Record<string, unknown>> {
    const health = await this.#health();
    return { ...health, timestamp: toTimestamp(health.timestamp) };
  }

  async #health(): Promise<HealthDto> {
    const { status, components } = await this.state.health();
    return { status, timestamp: this.#now(), version: VERSION, details: components };
  }

  @Needs('public')
  @Get('v1/health/live')
  @ApiOperation({ summary: 'Liveness: the process answers' })
  @ApiOkResponse({ type: ProbesDto })
  @ApiPublicErrors()
  live(): Promise<ProbesDto> {
    return this.#check([], undefined);
  }

  @Needs('public')
  @Get('v1/health/ready')
  @ApiOperation({
    summary: 'Readiness; 503 while requests cannot be served',
    description: 'Reads rows from a table, and writes and syncs a file on the disk of the write-ahead log, at most once per second.',
  })
  @ApiHealth(ProbesDto)
  ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<ProbesDto> {
    return this.#check(this.probes.all(), reply);
  }

  /**
   * In the form of Terminus, which probes of other Nest servers have, too.
   * @param reply undefined: 200 whatever comes out
   */
  async #check(probes: readonly Probe[], reply: FastifyReply | undefined): Promise<ProbesDto> {
    try {
      return await this.checks.check(probes.map((probe) => async () => probe()));
    } catch (error) {
      if (!(error instanceof ServiceUnavailableException)) throw error;
      void reply?.status(503);
      return error.getResponse() as ProbesDto;
    }
  }

  @Get('v1/status')
  @ApiOperation({ summary: 'State of every component' })
  @ApiOkResponse({ type: StatusDto })
  @ApiErrors()
  async status(): Promise<StatusDto> {
    const { status, components } = await this.state.health();
    const nodes = await this.state.nodes();
    return {
      timestamp: this.#now(),
      node_id: this.config.node_id,
      version: VERSION,
      health_status: status,
      components,
      buffer_stats: this.state.bufferStats(),
      redis_stats: this.state.redisStats(),
      replication_stats: this.state.replicationStats(),
      minio_stats: this.state.storageStats(),
      query_engine_stats: this.state.queryStats(),
      metrics_collection_stats: { maintenance_rounds: this.state.maintenanceRounds(), scrapes: this.metrics.scrapes },
      nodes,
      total_nodes: nodes.length,
    };
  }

  @GrpcMethod('MinIODBService', 'GetStatus')
  async statusByGrpc(): Promise<Record<string, unknown>> {
    const nodes = await this.state.nodes();
    return {
      timestamp: toTimestamp(this.#now()),
      buffer_stats: this.state.bufferStats(),
      redis_stats: this.state.redisStats(),
      minio_stats: this.state.storageStats(),
      nodes,
      total_nodes: nodes.length,
    };
  }

  @Get('v1/stats')
  @ApiOperation({ summary: 'The short form of the status' })
  @ApiOkResponse({ type: StatsDto })
  @ApiErrors()
  async stats(): Promise<StatsDto> {
    const { status } = await this.state.health();
    return {
      timestamp: this.#now(),
      health_status: status,
      buffer_stats: this.state.bufferStats(),
      storage_stats: this.state.storageStats(),
      query_engine_stats: this.state.queryStats(),
    };
  }

  @Get('v1/metrics')
  @ApiOperation({ summary: 'Performance and resource figures' })
  @ApiOkResponse({ type: FiguresDto })
  @ApiErrors()
  async figures(): Promise<FiguresDto> {
    return {
      timestamp: this.#now(),
      query_metrics: this.#queries(),
      cache_metrics: this.#caches(),
      memory_usage: await this.state.memory(),
      connection_pool_metrics: this.#pools(),
      performance_metrics: this.#performance(),
      resource_usage: this.state.resources(),
      system_info: this.state.system(),
      health_score: await this.state.healthScore(),
    };
  }

  #queries(): Record<string, number> {
    const stats = this.state.queryStats();
    const { succeeded = 0, failed = 0 } = stats;
    return { ...stats, success_rate: share(succeeded, failed, 1) };
  }

  #caches(): Record<string, unknown> {
    const stats = this.state
      .cacheStats()
      .map(({ type, hits, misses, entries, bytes }) => [type, { hits, misses, entries, bytes, hit_ratio: share(hits, misses, 0) }]);
    return { open_cursors: this.state.queryStats()['open_cursors'] ?? 0, ...(Object.fromEntries(stats) as Record<string, unknown>) };
  }

  #pools(): Record<string, number> {
    const { redis, minio } = this.state.pools();
    return {
      queries_running: this.state.queryStats()['running'] ?? 0,
      queries_max: this.config.query.concurrency_max,
      redis_active_connections: redis.active,
      redis_idle_connections: redis.idle,
      minio_active_connections: minio.active,
      minio_idle_connections: minio.idle,
    };
  }

  #performance(): Record<string, number> {
    const { duration_ms_p50: p50 = 0, duration_ms_p95: p95 = 0, duration_ms_p99: p99 = 0 } = this.state.queryStats();
    return {
      query_duration_ms_p50: p50,
      query_duration_ms_p95: p95,
      query_duration_ms_p99: p99,
      event_loop_delay_ms_p99: this.state.loopDelayMsP99(),
    };
  }

  @GrpcMethod('MinIODBService', 'GetMetrics')
  async figuresByGrpc(): Promise<Record<string, unknown>> {
    return {
      timestamp: toTimestamp(this.#now()),
      performance_metrics: { ...this.#performance(), health_score: await this.state.healthScore() },
      resource_usage: { ...this.state.resources(), ...(await this.state.memory()) },
      system_info: this.state.system(),
    };
  }
}

/** Of two counts the share of the first, 0 to 1. */
function share(good: number, bad: number, withoutAny: number): number {
  return good + bad === 0 ? withoutAny : good / (good + bad);
}
