/** Answers of the maintenance routes. */
import { ApiProperty } from '@nestjs/swagger';
import { DoneDto } from '../api/done.dto.js';
import type { CompactionResult } from './maintenance/compaction.js';
import type { VacuumResult } from './maintenance/housekeeping.js';

const VERSION = { type: 'integer', description: 'Version of the table afterwards' } as const;

export class FlushedDto extends DoneDto {
  @ApiProperty(VERSION) version: number;
  @ApiProperty({ type: 'integer' }) rows: number;
  @ApiProperty({ type: 'integer', description: 'Data files written' }) files: number;
}

export class CompactedDto extends DoneDto implements CompactionResult {
  @ApiProperty(VERSION) version: number;
  @ApiProperty({ type: 'integer' }) files_before: number;
  @ApiProperty({ type: 'integer' }) files_after: number;
  @ApiProperty({ type: 'integer', description: 'Deleted rows that were removed from storage' }) rows_purged: number;
}

export class VacuumedDto extends DoneDto implements VacuumResult {
  @ApiProperty({ type: 'integer' }) objects_removed: number;
  @ApiProperty({ type: 'integer' }) log_entries_removed: number;
}

export class VersionDto {
  @ApiProperty({ type: 'integer' }) version: number;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
  @ApiProperty({ example: 'WRITE' }) operation: string;
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' } }) parameters: Readonly<Record<string, string>>;
}

export class HistoryDto {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiProperty({ type: [VersionDto] }) history: VersionDto[];
}
