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
import { DoneDto } from '../infra/transport/done.dto.js';
import type { DataBackupInfo } from './data/data-backups.js';
import { DATA_BACKUP_TYPES, type DataBackupType } from './data/manifest.js';
import type { RecoveredTable } from './data/recovery.js';

const PATTERNS_MAX = 100;
const PATTERN_LENGTH_MAX = 256;
const PATTERNS = { type: 'array', items: { type: 'string', minLength: 1, maxLength: PATTERN_LENGTH_MAX }, maxItems: PATTERNS_MAX } as const;
const IDS = { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: 10_000 } as const;

export class BackupMetadataDto {
  @ApiPropertyOptional({ default: false, description: 'Also when nothing changed since the newest backup' })
  @IsOptional()
  @IsBoolean()
  force?: boolean;
}

export class RestoreFiltersDto {
  @ApiPropertyOptional({ example: 'user*', maxLength: PATTERN_LENGTH_MAX, description: 'A glob over table names' })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  table_pattern?: string;
}

export class RestoreMetadataDto {
  @ApiPropertyOptional({
    example: 'backup_20240115_103000.json',
    maxLength: PATTERN_LENGTH_MAX,
    description: 'A name or a glob; the newest that fits. Without it the newest of all',
  })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  backup_file?: string;

  @ApiPropertyOptional({ default: false, description: 'The newest backup' }) @IsOptional() @IsBoolean() from_latest?: boolean;
  @ApiPropertyOptional({ default: false, description: 'Say what would change, and change nothing' })
  @IsOptional()
  @IsBoolean()
  dry_run?: boolean;
  @ApiPropertyOptional({ default: false, description: 'Also where the present configuration differs' })
  @IsOptional()
  @IsBoolean()
  overwrite?: boolean;

  @ApiPropertyOptional({ default: true, description: 'Refuse a backup whose checksum is wrong' })
  @IsOptional()
  @IsBoolean()
  validate?: boolean;
  @ApiPropertyOptional({ default: true, description: 'Several tables at once' }) @IsOptional() @IsBoolean() parallel?: boolean;

  @ApiPropertyOptional({ type: RestoreFiltersDto })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => RestoreFiltersDto)
  filters?: RestoreFiltersDto;

  @ApiPropertyOptional({
    ...PATTERNS,
    example: ['table:*', 'index:*'],
    description: 'Globs over keys; an entry has to fit one of them',
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
    description: 'Names or globs; without it every table whose backup_enabled is not false',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(PATTERNS_MAX)
  @IsString({ each: true })
  @Length(1, PATTERN_LENGTH_MAX, { each: true })
  tables?: string[];

  @ApiPropertyOptional({ enum: DATA_BACKUP_TYPES, default: 'full', description: 'incremental: only files that no backup has yet' })
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

  @ApiPropertyOptional({ example: 'user-*', maxLength: PATTERN_LENGTH_MAX, description: 'A glob over ids: * ? [ab] [a-z]' })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  id_pattern?: string;
}

export class TimeRangeDto {
  @ApiPropertyOptional({ example: '2024-01-15', description: 'A UTC day or an instant; the first that is in' })
  @IsOptional()
  @IsString()
  start_date?: string;
  @ApiPropertyOptional({ example: '2024-01-15', description: 'A UTC day, which is in as a whole, or an instant, which is not' })
  @IsOptional()
  @IsString()
  end_date?: string;

  @ApiPropertyOptional({ ...IDS, description: 'Only of these ids' })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  ids?: string[];
}

export class RecoverDto {
  /** As it came: a version may be a number or a text. */
  static readonly rawFields = ['as_of'];

  @ApiPropertyOptional({ description: 'Of GET /v1/backups; without it, and without as_of, the newest' })
  @IsOptional()
  @IsString()
  backup_id?: string;

  @ApiPropertyOptional({
    description: 'Instead of a backup: a version of the table, or an instant',
    oneOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', format: 'date-time' },
    ],
  })
  @Allow()
  as_of?: unknown;

  @ApiPropertyOptional({ example: 'users', description: 'Without it every table of the backup' })
  @IsOptional()
  @IsString()
  table?: string;
  @ApiPropertyOptional({ example: 'users_recovered', description: 'Where the rows go; without it the table itself' })
  @IsOptional()
  @IsString()
  target_table?: string;

  @ApiPropertyOptional({ description: 'The newest backup that this node made' }) @IsOptional() @IsString() node_id?: string;

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

  @ApiPropertyOptional({ default: false, description: 'Rows of the range take the place of those that are there now' })
  @IsOptional()
  @IsBoolean()
  force_overwrite?: boolean;

  @ApiPropertyOptional({ default: false, description: 'Say what would be recovered, and change nothing' })
  @IsOptional()
  @IsBoolean()
  dry_run?: boolean;
}

export const BACKUP_METADATA_EXAMPLES = { forced: { summary: 'Also when nothing changed', value: { force: true } } };

export const RESTORE_METADATA_EXAMPLES = {
  difference: { summary: 'What the newest backup would change', value: { from_latest: true, dry_run: true } },
  chosen: {
    summary: 'Some tables of some backup',
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
  some: { summary: 'What is new in some tables', value: { tables: ['users', 'prod*'], type: 'incremental' } },
};

export const RECOVER_EXAMPLES = {
  ids: { summary: 'Rows of an id', value: { table: 'users', id_range: { ids: ['user-123'] } } },
  days: {
    summary: 'Rows of a day, beside the table',
    value: {
      table: 'users',
      target_table: 'users_recovered',
      id_range: { id_pattern: 'user-*' },
      time_range: { start_date: '2024-01-01', end_date: '2024-01-02' },
    },
  },
  instead: { summary: 'What would take the place of present rows', value: { table: 'users', force_overwrite: true, dry_run: true } },
};

export class MetadataBackupDto extends DoneDto {
  @ApiProperty({ example: 'backup_20240115_103000' }) backup_id: string;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
}

export class RestoredMetadataDto extends DoneDto {
  @ApiProperty({ example: 'backup_20240115_103000.json' }) backup_file: string;
  @ApiProperty({ type: 'integer' }) entries_total: number;
  @ApiProperty({ type: 'integer' }) entries_ok: number;
  @ApiProperty({ type: 'integer', description: 'They are as in the backup already, or overwrite was not set' }) entries_skipped: number;
  @ApiProperty({ type: 'integer' }) entries_error: number;
  @ApiProperty({ example: '12ms' }) duration: string;
  @ApiProperty({ type: [String] }) errors: readonly string[];
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' }, description: 'What became of each key' })
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

export class DataBackupInfoDto implements DataBackupInfo {
  @ApiProperty({ example: 'data_20240115_103000' }) backup_id: string;
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ enum: DATA_BACKUP_TYPES }) type: DataBackupType;
  @ApiProperty({ format: 'date-time' }) timestamp: string;
  @ApiProperty({ type: [BackedUpTableDto] }) tables: readonly BackedUpTableDto[];
  @ApiProperty({ type: 'integer', description: 'Of all files that it needs' }) total_bytes: number;
  @ApiProperty({ type: 'integer', description: 'Of the files that it copied itself' }) size_bytes: number;
}

export class DataBackupDto extends IntersectionType(DoneDto, DataBackupInfoDto) {}

export class DataBackupListDto {
  @ApiProperty({ type: [DataBackupInfoDto] }) backups: DataBackupInfo[];
  @ApiProperty({ type: 'integer' }) total: number;
}

export class DeletedBackupDto extends DoneDto {
  @ApiProperty({ type: 'integer' }) objects_removed: number;
}

export class RecoveredTableDto implements RecoveredTable {
  @ApiProperty({ example: 'users' }) table: string;
  @ApiProperty({ example: 'users_recovered' }) target_table: string;
  @ApiProperty({ type: 'integer', description: 'Rows of the range in the source' }) rows_matched: number;
  @ApiProperty({ type: 'integer' }) rows_recovered: number;
  @ApiProperty({ type: 'integer', description: 'Files of the source that hold rows of the range' }) files_recovered: number;
  @ApiProperty({ type: [String], description: 'The first of their ids' }) recovered_keys: readonly string[];
}

export class RecoveredDto extends DoneDto {
  @ApiProperty({ type: 'integer' }) files_recovered: number;
  @ApiProperty({ type: 'integer' }) rows_recovered: number;
  @ApiProperty({ type: [String], description: 'The first ids of each table' }) recovered_keys: readonly string[];
  @ApiProperty({ type: [RecoveredTableDto] }) tables: readonly RecoveredTable[];
}
