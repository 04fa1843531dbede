/** Body of the query route. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Allow, IsInt, IsOptional, IsString } from 'class-validator';

export class QueryDto {
  /** As they came: numbers in them may be longer than `number`. */
  static readonly rawFields = ['params', 'as_of'];

  @ApiProperty({
    example: 'SELECT count(*) AS n FROM users WHERE age > 25',
    description: 'One SELECT. May be left out when a cursor is given',
  })
  @IsOptional()
  @IsString()
  sql?: string;

  @ApiPropertyOptional({ example: 100, minimum: 1, maximum: 10000, description: 'Rows of a page; of the whole result when it is streamed' })
  @IsOptional()
  @IsInt()
  limit?: number;

  @ApiPropertyOptional({ example: '', description: 'next_cursor of the page before' })
  @IsOptional()
  @IsString()
  cursor?: string;

  @ApiPropertyOptional({
    description: 'Values of $1 and ? (array) or of $name (object)',
    oneOf: [{ type: 'array', items: {} }, { type: 'object' }],
  })
  @Allow()
  params?: unknown;

  @ApiPropertyOptional({ example: 30000, description: 'The query is stopped after this' })
  @IsOptional()
  @IsInt()
  timeout_ms?: number;

  @ApiPropertyOptional({
    description: 'A table version, or an instant',
    oneOf: [{ type: 'integer' }, { type: 'string', format: 'date-time' }],
  })
  @Allow()
  as_of?: unknown;
}
