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
import { ServerFigures } from './server-figures.js';
import { OverallHealth } from './overall-health.js';
import { type Probe, Probes } from './probes.js';
import { ServerStatus } from './server-status.js';

const ApiHealth = (type: typeof HealthDto | typeof ProbesDto): MethodDecorator =>
  applyDecorators(ApiOkResponse({ type }), ApiServiceUnavailableResponse({ type }), ApiOnlyErrors('INTERNAL'));

@ApiTags('monitoring')
@Controller()
@Needs('admin')
export class HealthController {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly overall: OverallHealth,
    private readonly probes: Probes,
    private readonly checks: HealthCheckService,
    private readonly serverStatus: ServerStatus,
    private readonly serverFigures: ServerFigures,
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
    const { status, components } = await this.overall.read();
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
    const { status, components } = await this.overall.read();
    const parts = await this.serverStatus.read();
    return { timestamp: this.#now(), node_id: this.config.node_id, version: VERSION, health_status: status, components, ...parts };
  }

  @GrpcMethod('MinIODBService', 'GetStatus')
  async statusByGrpc(): Promise<Record<string, unknown>> {
    const { buffer_stats, redis_stats, minio_stats, nodes, total_nodes } = await this.serverStatus.read();
    return { timestamp: toTimestamp(this.#now()), buffer_stats, redis_stats, minio_stats, nodes, total_nodes };
  }

  @Get('v1/stats')
  @ApiOperation({ summary: 'The short form of the status' })
  @ApiOkResponse({ type: StatsDto })
  @ApiErrors()
  async stats(): Promise<StatsDto> {
    const { status } = await this.overall.read();
    return { timestamp: this.#now(), health_status: status, ...this.serverStatus.readShort() };
  }

  @Get('v1/metrics')
  @ApiOperation({ summary: 'Performance and resource figures' })
  @ApiOkResponse({ type: FiguresDto })
  @ApiErrors()
  async figures(): Promise<FiguresDto> {
    return { timestamp: this.#now(), ...(await this.serverFigures.read()) };
  }

  @GrpcMethod('MinIODBService', 'GetMetrics')
  async figuresByGrpc(): Promise<Record<string, unknown>> {
    const timestamp = toTimestamp(this.#now());
    const { performance_metrics, health_score, resource_usage, memory_usage, system_info } = await this.serverFigures.read();
    return {
      timestamp,
      performance_metrics: { ...performance_metrics, health_score },
      resource_usage: { ...resource_usage, ...memory_usage },
      system_info,
    };
  }
}
