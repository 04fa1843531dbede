/** Shapes of the write routes for the OpenAPI document; the bodies themselves are read in `data-request.ts`. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';

const PAYLOAD = { type: 'object' as const, additionalProperties: true };

export class RecordDto {
  @ApiPropertyOptional({ example: 'user-123', description: 'Key of the entity; may be left out where the table makes ids' }) id?: string;
  @ApiPropertyOptional({
    example: '2024-01-01T10:00:00Z',
    description: 'RFC 3339 with a zone, or milliseconds since 1970; missing means now',
  })
  timestamp?: string;
  @ApiProperty({ ...PAYLOAD, example: { name: 'John Doe', age: 30, score: 95.5 }, description: 'Fields become columns' }) payload: Record<
    string,
    unknown
  >;
}

export class WriteDto {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiPropertyOptional({ type: RecordDto, description: 'One record' }) data?: RecordDto;
  @ApiPropertyOptional({ type: [RecordDto], description: 'A batch: all of it or nothing' }) records?: RecordDto[];
  @ApiPropertyOptional({ description: 'One record, flat' }) id?: string;
  @ApiPropertyOptional({ description: 'One record, flat' }) timestamp?: string;
  @ApiPropertyOptional({ ...PAYLOAD, description: 'One record, flat' }) payload?: Record<string, unknown>;
}

export class WriteAnswerDto {
  @ApiProperty({ example: true }) success: boolean;
  @ApiProperty({ example: '1 record stored' }) message: string;
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiPropertyOptional({ example: 'user-123' }) id?: string;
  @ApiPropertyOptional({ type: [String], description: 'For a batch' }) ids?: string[];
  @ApiPropertyOptional({ description: 'For a batch' }) count?: number;
  @ApiProperty({ example: 42, description: 'Place of the write in the log' }) lsn: number;
}

export class UpdateDto {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiProperty({ example: 'user-123' }) id: string;
  @ApiProperty({ ...PAYLOAD, example: { name: 'John Smith', age: 31, score: 98.5 } }) payload: Record<string, unknown>;
  @ApiPropertyOptional({ example: '2024-01-02T10:00:00Z' }) timestamp?: string;
  @ApiPropertyOptional({ default: false, description: 'Merge into the newest row instead of replacing it; null takes a field away' })
  partial?: boolean;
}

export class DeleteDto {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiPropertyOptional({ example: 'user-123' }) id?: string;
  @ApiPropertyOptional({ type: [String] }) ids?: string[];
  @ApiPropertyOptional({ default: false, description: 'Hide the rows, so that they can be restored' }) soft_delete?: boolean;
}

export class RestoreDto {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiPropertyOptional({ example: 'user-123' }) id?: string;
  @ApiPropertyOptional({ type: [String] }) ids?: string[];
}
