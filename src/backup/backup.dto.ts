/** Bodies of the backup and recovery routes. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { Allow, ArrayMaxSize, IsArray, IsBoolean, IsIn, IsObject, IsOptional, IsString, MaxLength, ValidateNested } from 'class-validator';
import { DATA_BACKUP_TYPES, type DataBackupType } from './data/manifest.js';

const PATTERNS_MAX = 100;
const PATTERN_LENGTH_MAX = 256;

export class BackupMetadataDto {
  @ApiPropertyOptional({ default: false, description: 'Also when nothing changed since the newest backup' })
  @IsOptional()
  @IsBoolean()
  force?: boolean;
}

export class RestoreFiltersDto {
  @ApiPropertyOptional({ example: 'user*', description: 'A glob over table names' })
  @IsOptional()
  @IsString()
  @MaxLength(PATTERN_LENGTH_MAX)
  table_pattern?: string;
}

export class RestoreMetadataDto {
  @ApiPropertyOptional({
    example: 'backup_20240115_103000.json',
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

  @ApiPropertyOptional({ type: [String], example: ['table:*', 'index:*'], description: 'Globs over keys; an entry has to fit one of them' })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(PATTERNS_MAX)
  @IsString({ each: true })
  @MaxLength(PATTERN_LENGTH_MAX, { each: true })
  key_patterns?: string[];
}

export class CreateBackupDto {
  @ApiPropertyOptional({
    type: [String],
    example: ['users', 'log_*'],
    description: 'Names or globs; without it every table whose backup_enabled is not false',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(PATTERNS_MAX)
  @IsString({ each: true })
  @MaxLength(PATTERN_LENGTH_MAX, { each: true })
  tables?: string[];

  @ApiPropertyOptional({ enum: DATA_BACKUP_TYPES, default: 'full', description: 'incremental: only files that no backup has yet' })
  @IsOptional()
  @IsIn(DATA_BACKUP_TYPES)
  type?: DataBackupType;
}

export class IdRangeDto {
  @ApiPropertyOptional({ type: [String], example: ['user-123'] })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  ids?: string[];

  @ApiPropertyOptional({ example: 'user-*', description: 'A glob over ids: * ? [ab] [a-z]' })
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

  @ApiPropertyOptional({ type: [String], description: 'Only of these ids' })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  ids?: string[];
}

export class RecoverDto {
  /** As it came: a version may be a number or a text. */
  static readonly rawFields = ['as_of'];

  @ApiPropertyOptional({ example: '', description: 'Of GET /v1/backups; without it, and without as_of, the newest' })
  @IsOptional()
  @IsString()
  backup_id?: string;

  @ApiPropertyOptional({
    description: 'Instead of a backup: a version of the table, or an instant',
    oneOf: [{ type: 'integer' }, { type: 'string', format: 'date-time' }],
  })
  @Allow()
  as_of?: unknown;

  @ApiProperty({ required: false, example: 'users', description: 'Without it every table of the backup' })
  @IsOptional()
  @IsString()
  table?: string;
  @ApiPropertyOptional({ example: 'users_recovered', description: 'Where the rows go; without it the table itself' })
  @IsOptional()
  @IsString()
  target_table?: string;

  @ApiPropertyOptional({ example: '', description: 'The newest backup that this node made' }) @IsOptional() @IsString() node_id?: string;

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
