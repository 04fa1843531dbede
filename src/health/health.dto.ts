/** Answers of the monitoring routes. Figures are added with time: whoever reads them passes over those that it does not know. */
import { ApiProperty, ApiPropertyOptional, type ApiPropertyOptions } from '@nestjs/swagger';
import type { HealthCheckResult } from '@nestjs/terminus';
import type { NodeInfo } from '../cluster/node-directory.js';
import type { Health } from './overall-health.js';

const HEALTH = { enum: ['healthy', 'degraded', 'unhealthy'] };
const TIME = { format: 'date-time' };
const FIGURES: ApiPropertyOptions = { type: 'object', additionalProperties: { type: 'number' } };
const TEXTS: ApiPropertyOptions = { type: 'object', additionalProperties: { type: 'string' } };
const COMPONENTS: ApiPropertyOptions = {
  ...TEXTS,
  example: { query_engine: 'healthy', object_store: 'healthy', read_path: 'healthy', write_path: 'healthy' },
  description: '`healthy`, or `degraded` or `unhealthy` with the reason; `tables` is there when some are damaged, and names them',
};

const PROBES: ApiPropertyOptions = {
  type: 'object',
  additionalProperties: {
    type: 'object',
    required: ['status'],
    properties: {
      status: { type: 'string', enum: ['up', 'degraded', 'down'] },
      message: { type: 'string', description: 'Why the component is down' },
      responseTime: { type: 'integer', description: 'Duration of the check in milliseconds' },
      cachedResponse: { type: 'boolean', description: 'True if the result of another request within the last second was used' },
    },
  },
};

/** As @nestjs/terminus has it. */
export class ProbesDto {
  @ApiProperty({ enum: ['ok', 'degraded', 'error', 'shutting_down'] }) status: HealthCheckResult['status'];
  @ApiPropertyOptional({ ...PROBES, description: 'Components that work' }) info?: Record<string, unknown> | undefined;
  @ApiPropertyOptional({ ...PROBES, description: 'Components that do not work' }) error?: Record<string, unknown> | undefined;
  @ApiProperty({ ...PROBES, description: 'All components' }) details: Record<string, unknown>;
}

export class HealthDto {
  @ApiProperty(HEALTH) status: Health;
  @ApiProperty(TIME) timestamp: string;
  @ApiProperty({ description: 'Version of the server', example: '0.1.0' }) version: string;
  @ApiProperty(COMPONENTS) details: Record<string, string>;
}

class NodeDto implements NodeInfo {
  @ApiProperty({ example: 'node-1' }) id: string;
  @ApiProperty({ enum: ['active', 'gone'] }) status: NodeInfo['status'];
  @ApiProperty({ example: 'all' }) type: string;
  @ApiProperty({ example: 'http://127.0.0.1:8081' }) address: string;
  @ApiProperty({ type: 'integer', description: 'Unix seconds' }) last_seen: number;
}

export class StatusDto {
  @ApiProperty(TIME) timestamp: string;
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ example: '0.1.0' }) version: string;
  @ApiProperty(HEALTH) health_status: Health;
  @ApiProperty(COMPONENTS) components: Record<string, string>;
  @ApiProperty({ ...FIGURES, description: 'Rows that are not in data files yet, and the write-ahead log' })
  buffer_stats: Record<string, number>;
  @ApiProperty({ ...FIGURES, description: '`enabled` is 0 without Redis' }) redis_stats: Record<string, number>;
  @ApiProperty({ ...FIGURES, description: '`enabled` is 0 without a bucket for backups' }) replication_stats: Record<string, number>;
  @ApiProperty({ ...FIGURES, description: '`enabled` is 0 for local files' }) minio_stats: Record<string, number>;
  @ApiProperty(FIGURES) query_engine_stats: Record<string, number>;
  @ApiProperty(FIGURES) metrics_collection_stats: Record<string, number>;
  @ApiProperty({ type: [NodeDto] }) nodes: NodeInfo[];
  @ApiProperty({ type: 'integer' }) total_nodes: number;
}

export class StatsDto {
  @ApiProperty(TIME) timestamp: string;
  @ApiProperty(HEALTH) health_status: Health;
  @ApiProperty(FIGURES) buffer_stats: Record<string, number>;
  @ApiProperty(FIGURES) storage_stats: Record<string, number>;
  @ApiProperty(FIGURES) query_engine_stats: Record<string, number>;
}

export class FiguresDto {
  @ApiProperty(TIME) timestamp: string;
  @ApiProperty(FIGURES) query_metrics: Record<string, number>;
  @ApiProperty({
    type: 'object',
    properties: { open_cursors: { type: 'integer' } },
    additionalProperties: { type: 'object', additionalProperties: { type: 'number' } },
    description: 'Open cursors, and hits, misses, hit ratio, entries and bytes of each cache',
  })
  cache_metrics: Record<string, unknown>;
  @ApiProperty(FIGURES) memory_usage: Record<string, number>;
  @ApiProperty(FIGURES) connection_pool_metrics: Record<string, number>;
  @ApiProperty(FIGURES) performance_metrics: Record<string, number>;
  @ApiProperty(FIGURES) resource_usage: Record<string, number>;
  @ApiProperty(TEXTS) system_info: Record<string, string>;
  @ApiProperty({ type: 'integer', minimum: 0, maximum: 100 }) health_score: number;
}
