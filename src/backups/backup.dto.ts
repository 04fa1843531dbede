/** Bodies and answers of the backup and recovery routes. */
import { ApiProperty, ApiPropertyOptional, IntersectionType } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  Allow,
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsObject,
  IsOptional,
  IsString,
  Length,
  MaxLength,
  ValidateNested,
} from 'class-validator';
import { DoneDto } from '../api/done.dto.js';
import type { DataBackupInfo } from './backup-info.js';
import { DATA_BACKUP_TYPES, type DataBackupType } from './manifest.js';
import type { RecoveredTable } from './recovered-table.js';

const PATTERNS_MAX = 100;
const PATTERN_LENGTH_MAX = 256;
const PATTERNS = { type: 'array', items: { type: 'string', minLength: 1, maxLength: PATTERN_LENGTH_MAX }, maxItems: PATTERNS_MAX } as const;
const IDS = { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: 10_000 } as const;

export class BackupMetadataDto {
  @ApiPropertyOptional({ default: false, description: 'Make a backup even if nothing has changed since the newest one' })
  @IsOptional()
  @IsBoolean()
  force?: boolean;
}

export class RestoreFiltersDto {
  @ApiPropertyOptional({ example: 'user*', maxLength: PATTERN_LENGTH_MAX, description: 'A glob for table names' })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  table_pattern?: string;
}

export class RestoreMetadataDto {
  @ApiPropertyOptional({
    example: 'backup_20240115_103000.json',
    maxLength: PATTERN_LENGTH_MAX,
    description: 'A name or a glob; the newest match is used. Default: the newest backup',
  })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  backup_file?: string;

  @ApiPropertyOptional({ default: false, description: 'The newest backup' }) @IsOptional() @IsBoolean() from_latest?: boolean;
  @ApiPropertyOptional({ default: false, description: 'Only report what would change' })
  @IsOptional()
  @IsBoolean()
  dry_run?: boolean;
  @ApiPropertyOptional({ default: false, description: 'Restore the configuration even where the current one differs' })
  @IsOptional()
  @IsBoolean()
  overwrite?: boolean;

  @ApiPropertyOptional({ default: true, description: 'Refuse a backup whose checksum is wrong' })
  @IsOptional()
  @IsBoolean()
  validate?: boolean;
  @ApiPropertyOptional({ default: true, description: 'Restore several tables at the same time' })
  @IsOptional()
  @IsBoolean()
  parallel?: boolean;

  @ApiPropertyOptional({ type: RestoreFiltersDto })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => RestoreFiltersDto)
  filters?: RestoreFiltersDto;

  @ApiPropertyOptional({
    ...PATTERNS,
    example: ['table:*', 'index:*'],
    description: 'Globs for keys; an entry must match one of them',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(PATTERNS_MAX)
  @IsString({ each: true })
  @Length(1, PATTERN_LENGTH_MAX, { each: true })
  key_patterns?: string[];
}

export class CreateBackupDto {
  @ApiPropertyOptional({
    ...PATTERNS,
    example: ['users', 'log_*'],
    description: 'Names or globs. Default: every table, except those with backup_enabled: false',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(PATTERNS_MAX)
  @IsString({ each: true })
  @Length(1, PATTERN_LENGTH_MAX, { each: true })
  tables?: string[];

  @ApiPropertyOptional({ enum: DATA_BACKUP_TYPES, default: 'full', description: 'incremental: copy only files that no backup has yet' })
  @IsOptional()
  @IsIn(DATA_BACKUP_TYPES)
  type?: DataBackupType;
}

export class IdRangeDto {
  @ApiPropertyOptional({ ...IDS, example: ['user-123'] })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  ids?: string[];

  @ApiPropertyOptional({ example: 'user-*', maxLength: PATTERN_LENGTH_MAX, description: 'A glob for ids: * ? [ab] [a-z]' })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  id_pattern?: string;
}

export class TimeRangeDto {
  @ApiPropertyOptional({ example: '2024-01-15', description: 'Start of the range, inclusive: a UTC day or an instant' })
  @IsOptional()
  @IsString()
  start_date?: string;
  @ApiPropertyOptional({ example: '2024-01-15', description: 'End of the range: a UTC day (inclusive) or an instant (exclusive)' })
  @IsOptional()
  @IsString()
  end_date?: string;

  @ApiPropertyOptional({ ...IDS, description: 'Only rows with these ids' })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  ids?: string[];
}

export class RecoverDto {
  /** As it came: a version may be a number or a text. */
  static readonly rawFields = ['as_of'];

  @ApiPropertyOptional({ description: 'From GET /v1/backups. Default, unless as_of is given: the newest' })
  @IsOptional()
  @IsString()
  backup_id?: string;

  @ApiPropertyOptional({
    description: 'Recover from a version of the table, or from an instant, instead of a backup',
    oneOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', format: 'date-time' },
    ],
  })
  @Allow()
  as_of?: unknown;

  @ApiPropertyOptional({ example: 'users', description: 'Default: every table in the backup' })
  @IsOptional()
  @IsString()
  table?: string;
  @ApiPropertyOptional({ example: 'users_recovered', description: 'Table that receives the rows. Default: the table itself' })
  @IsOptional()
  @IsString()
  target_table?: string;

  @ApiPropertyOptional({ description: 'Use the newest backup made by this node' }) @IsOptional() @IsString() node_id?: string;

  @ApiPropertyOptional({ type: IdRangeDto })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => IdRangeDto)
  id_range?: IdRangeDto;

  @ApiPropertyOptional({ type: TimeRangeDto })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => TimeRangeDto)
  time_range?: TimeRangeDto;

  @ApiPropertyOptional({ default: false, description: 'Rows in the range replace the present ones' })
  @IsOptional()
  @IsBoolean()
  force_overwrite?: boolean;

  @ApiPropertyOptional({ default: false, description: 'Only report what would be recovered' })
  @IsOptional()
  @IsBoolean()
  dry_run?: boolean;
}

export const BACKUP_METADATA_EXAMPLES = { forced: { summary: 'Even if nothing has changed', value: { force: true } } };

export const RESTORE_METADATA_EXAMPLES = {
  difference: { summary: 'What the newest backup would change', value: { from_latest: true, dry_run: true } },
  chosen: {
    summary: 'Some tables from a certain backup',
    value: {
      backup_file: 'backup_*.json',
      overwrite: true,
      validate: true,
      parallel: true,
      filters: { table_pattern: 'user*' },
      key_patterns: ['table:*', 'index:*'],
    },
  },
};

export const CREATE_BACKUP_EXAMPLES = {
  all: { summary: 'Every table', value: { type: 'full' } },
  some: { summary: 'New files of some tables', value: { tables: ['users', 'prod*'], type: 'incremental' } },
};

export const RECOVER_EXAMPLES = {
  ids: { summary: 'Rows with an id', value: { table: 'users', id_range: { ids: ['user-123'] } } },
  days: {
    summary: 'Rows of one day, into another table',
    value: {
      table: 'users',
      target_table: 'users_recovered',
      id_range: { id_pattern: 'user-*' },
      time_range: { start_date: '2024-01-01', end_date: '2024-01-02' },
    },
  },
  instead: { summary: 'What would replace present rows', value: { table: 'users', force_overwrite: true, dry_run: true } },
};

export class MetadataBackupDto extends DoneDto {
  @ApiProperty({ example: 'backup_20240115_103000' }) backup_id: string;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
}

export class RestoredMetadataDto extends DoneDto {
  @ApiProperty({ example: 'backup_20240115_103000.json' }) backup_file: string;
  @ApiProperty({ type: 'integer' }) entries_total: number;
  @ApiProperty({ type: 'integer' }) entries_ok: number;
  @ApiProperty({ type: 'integer', description: 'Entries that already match the backup, or differ while overwrite is not set' })
  entries_skipped: number;
  @ApiProperty({ type: 'integer' }) entries_error: number;
  @ApiProperty({ example: '12ms' }) duration: string;
  @ApiProperty({ type: [String] }) errors: readonly string[];
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' }, description: 'The result for each key' })
  details: Readonly<Record<string, string>>;
}

export class MetadataBackupInfoDto {
  @ApiProperty({ example: 'backups/metadata/node-1/backup_20240115_103000.json' }) object_name: string;
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
  @ApiProperty({ type: 'integer', description: 'Bytes' }) size: number;
  @ApiProperty({ format: 'date-time' }) last_modified: string;
}

export class MetadataBackupListDto {
  @ApiProperty({ type: [MetadataBackupInfoDto] }) backups: MetadataBackupInfoDto[];
  @ApiProperty({ type: 'integer' }) total: number;
}

export class MetadataStatusDto {
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' } }) backup_status: Record<string, string>;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) last_backup: string | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) next_backup: string | null;
  @ApiProperty({ enum: ['healthy', 'degraded'] }) health_status: 'healthy' | 'degraded';
}

export class BackedUpTableDto {
  @ApiProperty({ example: 'users' }) name: string;
  @ApiProperty({ type: 'integer' }) version: number;
  @ApiProperty({ type: 'integer' }) rows: number;
  @ApiProperty({ type: 'integer' }) files: number;
}

class DataBackupInfoDto implements DataBackupInfo {
  @ApiProperty({ example: 'data_20240115_103000' }) backup_id: string;
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ enum: DATA_BACKUP_TYPES }) type: DataBackupType;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
  @ApiProperty({ type: [BackedUpTableDto] }) tables: readonly BackedUpTableDto[];
  @ApiProperty({ type: 'integer', description: 'Bytes of all files that the backup needs' }) total_bytes: number;
  @ApiProperty({ type: 'integer', description: 'Bytes of the files that this backup copied' }) size_bytes: number;
}

export class DataBackupDto extends IntersectionType(DoneDto, DataBackupInfoDto) {}

export class DataBackupListDto {
  @ApiProperty({ type: [DataBackupInfoDto] }) backups: DataBackupInfo[];
  @ApiProperty({ type: 'integer' }) total: number;
}

export class DeletedBackupDto extends DoneDto {
  @ApiProperty({ type: 'integer' }) objects_removed: number;
}

class RecoveredTableDto implements RecoveredTable {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiProperty({ example: 'users_recovered' }) target_table: string;
  @ApiProperty({ type: 'integer', description: 'Rows of the source within the range' }) rows_matched: number;
  @ApiProperty({ type: 'integer' }) rows_recovered: number;
  @ApiProperty({ type: 'integer', description: 'Files of the source that contain rows of the range' }) files_recovered: number;
  @ApiProperty({ type: [String], description: 'The first of the recovered ids' }) recovered_keys: readonly string[];
}

export class RecoveredDto extends DoneDto {
  @ApiProperty({ type: 'integer' }) files_recovered: number;
  @ApiProperty({ type: 'integer' }) rows_recovered: number;
  @ApiProperty({ type: [String], description: 'The first ids of each table' }) recovered_keys: readonly string[];
  @ApiProperty({ type: [RecoveredTableDto] }) tables: readonly RecoveredTable[];
}
