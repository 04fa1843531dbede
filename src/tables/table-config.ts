/** The settings of one table: what a client may set, its defaults and its limits. They live in the table's own log. */
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';
import { ApiPropertyOptional } from '@nestjs/swagger';
import { invalidArgument } from '../common/app-error.js';
import { idRuleOf } from './id-rule.js';

export const ID_STRATEGIES = ['user_provided', 'uuid', 'snowflake', 'custom'] as const;
export type IdStrategy = (typeof ID_STRATEGIES)[number];
export const WRITE_MODES = ['append', 'upsert'] as const;
export const LAYOUTS = ['shard', 'id'] as const;

export class IdValidation {
  @ApiPropertyOptional({ description: 'Longest id, in characters; 255 bytes if not set', type: 'integer', minimum: 1, maximum: 1024 })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(1_024)
  max_length?: number;

  @ApiPropertyOptional({ description: 'Regular expression that the whole id must match', maxLength: 500, example: '[a-z]+-[0-9]+' })
  @IsOptional()
  @IsString()
  @MaxLength(500)
  pattern?: string;

  @ApiPropertyOptional({ description: 'Characters allowed in an id, written as in a character class', maxLength: 500, example: 'a-z0-9-' })
  @IsOptional()
  @IsString()
  @MaxLength(500)
  allowed_chars?: string;
}

/** What a client sends; every field may be left out. */
export class TableConfigInput {
  @ApiPropertyOptional({
    description: 'Number of buffered rows that starts a flush',
    type: 'integer',
    minimum: 1,
    maximum: 100_000_000,
    example: 1000,
  })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(100_000_000)
  buffer_size?: number;

  @ApiPropertyOptional({
    description: 'Age of the oldest buffered row that starts a flush',
    type: 'integer',
    minimum: 1,
    maximum: 86_400,
    example: 30,
  })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(86_400)
  flush_interval_seconds?: number;

  @ApiPropertyOptional({
    description: 'Data files whose newest row is older are removed; 0 keeps rows forever',
    type: 'integer',
    minimum: 0,
    maximum: 36_500,
    default: 0,
    example: 365,
  })
  @IsOptional()
  @IsInt()
  @Min(0)
  @Max(36_500)
  retention_days?: number;

  @ApiPropertyOptional({ description: 'Whether backups of all tables include this one', default: true })
  @IsOptional()
  @IsBoolean()
  backup_enabled?: boolean;

  @ApiPropertyOptional({
    description: 'Free-form notes, stored and returned as they are',
    type: 'object',
    additionalProperties: { type: 'string' },
    example: { owner: 'team-a' },
  })
  @IsOptional()
  @IsObject()
  properties?: Record<string, string>;

  @ApiPropertyOptional({ description: 'How ids are generated for records without one', enum: ID_STRATEGIES, default: 'user_provided' })
  @IsOptional()
  @IsIn(ID_STRATEGIES)
  id_strategy?: (typeof ID_STRATEGIES)[number];

  @ApiPropertyOptional({ description: 'Prefix of the ids that `custom` generates', pattern: '^[A-Za-z0-9_-]{0,64}$', example: 'order-' })
  @IsOptional()
  @Matches(/^[A-Za-z0-9_-]{0,64}$/, { message: 'id_prefix must be up to 64 characters from A-Z, a-z, 0-9, _ and -' })
  id_prefix?: string;

  @ApiPropertyOptional({ description: 'Generate ids (as uuid) under `user_provided` too', default: false })
  @IsOptional()
  @IsBoolean()
  auto_generate_id?: boolean;

  @ApiPropertyOptional({ type: () => IdValidation })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => IdValidation)
  id_validation?: IdValidation;

  @ApiPropertyOptional({
    description: '`append` keeps every row; `upsert` keeps the last row written for each id',
    enum: WRITE_MODES,
    default: 'append',
  })
  @IsOptional()
  @IsIn(WRITE_MODES)
  write_mode?: (typeof WRITE_MODES)[number];

  @ApiPropertyOptional({
    description: 'Middle part of the path of data files: the shard, or the id for tables with few ids',
    enum: LAYOUTS,
    default: 'shard',
  })
  @IsOptional()
  @IsIn(LAYOUTS)
  layout?: (typeof LAYOUTS)[number];

  @ApiPropertyOptional({
    description: 'Columns by which rows are sorted within a file',
    type: [String],
    minItems: 1,
    maxItems: 8,
    default: ['timestamp', 'id'],
  })
  @IsOptional()
  @IsArray()
  @IsString({ each: true })
  sort_by?: string[];
}

export type TableConfig = Required<Omit<TableConfigInput, 'id_validation'>> & { readonly id_validation: IdValidation };

/** Settings that decide how rows already stored are read or found; they cannot change later. */
const FIXED = ['write_mode', 'layout'] as const;

export function defaultTableConfig(bufferSize: number, flushIntervalSeconds: number): TableConfig {
  return {
    buffer_size: bufferSize,
    flush_interval_seconds: flushIntervalSeconds,
    retention_days: 0,
    backup_enabled: true,
    properties: {},
    id_strategy: 'user_provided',
    id_prefix: '',
    auto_generate_id: false,
    id_validation: {},
    write_mode: 'append',
    layout: 'shard',
    sort_by: ['timestamp', 'id'],
  };
}

/** `base` with what `input` sets. @throws AppError INVALID_ARGUMENT when the result makes no sense */
export function mergeTableConfig(base: TableConfig, input: TableConfigInput): TableConfig {
  const merged = withSettings(base, input);
  if (Object.values(merged.properties).some((value) => typeof value !== 'string'))
    throw invalidArgument('config.properties must map names to strings');
  if (merged.sort_by.length === 0 || merged.sort_by.length > 8) throw invalidArgument('config.sort_by must name 1 to 8 columns');
  // A rule that the table has already does not keep its other settings from being changed.
  const { refusal } = input.id_validation ? idRuleOf(merged) : {};
  if (refusal !== undefined)
    throw invalidArgument(
      `config.id_validation cannot be used: ${refusal}; supported: expressions of RE2, without backreferences and without looking ahead or back`,
      [{ field: 'id_validation' }],
    );
  return merged;
}

/** `base` with the settings that a table has stored, which were checked by the version that took them. */
export function withSettings(base: TableConfig, settings: TableConfigInput): TableConfig {
  return { ...base, ...Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined && value !== null)) };
}

/** @throws AppError INVALID_ARGUMENT when a setting differs that cannot be changed after the table's creation */
export function assertChangeable(before: TableConfig, after: TableConfig): void {
  for (const key of FIXED) {
    if (before[key] !== after[key])
      throw invalidArgument(`config.${key} cannot be changed (it is "${before[key]}"); create another table for "${after[key]}"`);
  }
}
