/** Bodies and answers of the query routes. */
import { ApiProperty, ApiPropertyOptional, getSchemaPath } from '@nestjs/swagger';
import { Allow, IsInt, IsOptional, IsString } from 'class-validator';
import type { Column } from './prepared-statement.js';
import type { QueryStats } from './query-answer.js';
import type { RunningQueryInfo } from './limits/running-queries.js';

export class QueryDto {
  /** As they came: numbers in them may be longer than `number`. */
  static readonly rawFields = ['params', 'as_of'];

  @ApiPropertyOptional({
    example: 'SELECT count(*) AS n FROM users WHERE age > 25',
    description: 'One SELECT. Optional when a cursor is given',
  })
  @IsOptional()
  @IsString()
  sql?: string;

  @ApiPropertyOptional({
    type: 'integer',
    example: 100,
    minimum: 1,
    maximum: 10_000,
    default: 1_000,
    description: 'Rows per page; rows of the whole result when it is streamed',
  })
  @IsOptional()
  @IsInt()
  limit?: number;

  @ApiPropertyOptional({ description: 'next_cursor of the previous page' })
  @IsOptional()
  @IsString()
  cursor?: string;

  @ApiPropertyOptional({
    description: 'Values for $1 and ? (array) or for $name (object)',
    oneOf: [{ type: 'array', items: {} }, { type: 'object' }],
  })
  @Allow()
  params?: unknown;

  @ApiPropertyOptional({
    type: 'integer',
    example: 30_000,
    minimum: 1,
    maximum: 600_000,
    default: 30_000,
    description: 'The query is stopped after this time; query.timeout_ms and query.timeout_ms_max set the default and the maximum',
  })
  @IsOptional()
  @IsInt()
  timeout_ms?: number;

  @ApiPropertyOptional({
    description: 'A table version, or an instant',
    oneOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', format: 'date-time' },
    ],
  })
  @Allow()
  as_of?: unknown;
}

export const QUERY_EXAMPLES = {
  count: { summary: 'A question', value: { sql: 'SELECT count(*) AS n FROM users WHERE age > 25' } },
  page: {
    summary: 'The first page of a result',
    value: { sql: 'SELECT * FROM users ORDER BY timestamp DESC', limit: 100, timeout_ms: 30_000 },
  },
  positions: { summary: 'Values by position', value: { sql: 'SELECT * FROM users WHERE age BETWEEN $1 AND $2', params: [18, 65] } },
  names: { summary: 'Values by name', value: { sql: 'SELECT * FROM users WHERE id = $id', params: { id: 'user-123' } } },
  version: { summary: 'A table as it was', value: { sql: 'SELECT count(*) AS n FROM users', as_of: 0 } },
};

export class ResultColumnDto implements Column {
  @ApiProperty({ example: 'n' }) name: string;
  @ApiProperty({ example: 'BIGINT' }) type: string;
}

/** Of tables of which a key may read some rows only there are no figures: they would tell of the others. */
export class QueryStatsDto implements QueryStats {
  @ApiProperty({ type: 'integer' }) elapsed_ms: number;
  @ApiProperty({
    type: 'integer',
    description: 'Data files of the tables; 0 for a key that may read some of their rows only, as the next two',
  })
  files_total: number;
  @ApiProperty({ type: 'integer', description: 'Data files that had to be read' }) files_scanned: number;
  @ApiProperty({ type: 'integer' }) bytes_scanned: number;
  @ApiProperty({
    enum: ['none', 'miss', 'hit'],
    description: '`hit`: the answer came from the cache; `miss`: it was computed and may be cached; `none`: it cannot be cached',
  })
  cache: QueryStats['cache'];
  @ApiProperty({ format: 'uuid' }) query_id: string;
}

export class QueryAnswerDto {
  @ApiProperty({ type: [ResultColumnDto] }) columns: ResultColumnDto[];
  @ApiProperty({
    type: 'array',
    items: { type: 'object', additionalProperties: true },
    example: [{ n: 42 }],
    description:
      'Numbers have every digit, also beyond 2^53, and decimals their scale; NaN and infinity are null; instants are RFC 3339 in UTC, a TIMESTAMP has no Z',
  })
  rows: Record<string, unknown>[];
  @ApiProperty({ type: 'integer' }) row_count: number;
  @ApiProperty() has_more: boolean;
  @ApiProperty({ description: 'Cursor of the next page; empty after the last page' }) next_cursor: string;
  @ApiProperty() stats: QueryStatsDto;
}

const TEXT = { schema: { type: 'string' } } as const;
const BYTES = { schema: { type: 'string', format: 'binary' } } as const;

/** A page of JSON, or with another Accept the whole result. */
export const QUERY_ANSWER = {
  description: 'A page as JSON; the whole result in the other formats',
  headers: {
    'X-Query-Id': { description: 'Only for streamed results: the query_id in /v1/queries', schema: { type: 'string', format: 'uuid' } },
  },
  content: {
    'application/json': { schema: { $ref: getSchemaPath(QueryAnswerDto) } },
    'application/x-ndjson': TEXT,
    'text/csv': TEXT,
    'application/vnd.apache.parquet': BYTES,
    'application/vnd.apache.arrow.stream': BYTES,
  },
} as const;

class RunningQueryDto implements RunningQueryInfo {
  @ApiProperty({ format: 'uuid' }) query_id: string;
  @ApiProperty({ example: 'dashboard-1', description: 'Whose it is: an API key, or everybody' }) principal: string;
  @ApiProperty({ description: 'The beginning of the statement' }) sql: string;
  @ApiProperty({ format: 'date-time' }) started_at: string;
  @ApiProperty({ type: 'integer' }) elapsed_ms: number;
  @ApiProperty({ enum: ['waiting', 'running'] }) state: RunningQueryInfo['state'];
}

export class RunningQueriesDto {
  @ApiProperty({ type: [RunningQueryDto] }) queries: RunningQueryInfo[];
  @ApiProperty({ type: 'integer' }) total: number;
}
