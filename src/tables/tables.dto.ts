/** Bodies, parameters and answers of the table routes. */
import { ApiProperty, ApiPropertyOptional, getSchemaPath } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { Allow, IsArray, IsBoolean, IsObject, IsOptional, IsString, ValidateNested } from 'class-validator';
import { DoneDto } from '../api/done.dto.js';
import { defaultTableConfig, type TableConfig, TableConfigInput } from './table-config.js';
import type { TableDescription, TableInfo, TableStats } from './table-info.js';

/** The table's name in a path. */
export const TABLE_PARAMETER = { name: 'name', example: 'users', description: 'Case-insensitive' };

export class ColumnDto {
  @ApiProperty({ example: 'price' }) @IsString() name: string;
  @ApiProperty({
    example: 'DECIMAL(12,2)',
    description: 'BIGINT, INTEGER, DOUBLE, BOOLEAN, VARCHAR, JSON, TIMESTAMPTZ, DATE or DECIMAL(p,s)',
  })
  @IsString()
  type: string;
}

export class CreateTableDto {
  @ApiProperty({
    example: 'products',
    pattern: '^[A-Za-z][A-Za-z0-9_]{0,63}$',
    description: 'A letter, then letters, digits and _; case-insensitive',
  })
  @Allow()
  table_name: string;

  @ApiPropertyOptional({ type: TableConfigInput })
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => TableConfigInput)
  config?: TableConfigInput;

  @ApiPropertyOptional({
    type: [ColumnDto],
    description: 'Columns besides id and timestamp; others are added with the first record that has them',
  })
  @IsOptional()
  @IsArray()
  @IsObject({ each: true })
  @ValidateNested({ each: true })
  @Type(() => ColumnDto)
  schema?: ColumnDto[];

  @ApiPropertyOptional({ description: 'Succeed without a change if the table exists', default: false })
  @IsOptional()
  @IsBoolean()
  if_not_exists?: boolean;
}

export const CREATE_TABLE_EXAMPLES = {
  defaults: { summary: 'With the defaults, if it does not exist', value: { table_name: 'users', if_not_exists: true } },
  configured: {
    summary: 'With settings and columns',
    value: {
      table_name: 'products',
      config: { flush_interval_seconds: 30, retention_days: 365, id_strategy: 'custom', id_prefix: 'product-', write_mode: 'upsert' },
      schema: [
        { name: 'price', type: 'DECIMAL(12,2)' },
        { name: 'tags', type: 'JSON' },
      ],
    },
  },
};

export class PatchTableDto {
  @ApiProperty({ type: TableConfigInput }) @IsObject() @ValidateNested() @Type(() => TableConfigInput) config: TableConfigInput;
}

export const PATCH_TABLE_EXAMPLES = {
  retention: { summary: 'Keep rows for a month', value: { config: { retention_days: 30 } } },
};

/** The settings of a table as they are: all of them. */
const WHOLE_CONFIG = {
  allOf: [{ $ref: getSchemaPath(TableConfigInput) }, { type: 'object', required: Object.keys(defaultTableConfig(1, 1)) }],
};

export class ConfiguredDto extends DoneDto {
  @ApiProperty(WHOLE_CONFIG) config: TableConfig;
}

class TableStatsDto implements TableStats {
  @ApiProperty({ type: 'integer', description: 'Rows visible to queries' }) record_count: number;
  @ApiProperty({ type: 'integer' }) file_count: number;
  @ApiProperty({ type: 'integer', description: 'Bytes of the data files' }) size_bytes: number;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) oldest_record: string | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) newest_record: string | null;
  @ApiProperty({ type: 'integer', description: 'Rows that are not in a data file yet' }) buffered_records: number;
  @ApiProperty({ type: 'integer', description: 'Rows that are hidden, or deleted but still in a data file' }) deleted_records: number;
}

class TableInfoDto implements TableInfo {
  @ApiProperty({ example: 'users' }) name: string;
  @ApiProperty(WHOLE_CONFIG) config: TableConfig;
  @ApiProperty({ format: 'date-time' }) created_at: string;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) last_write: string | null;
  @ApiProperty({ enum: ['active'] }) status: 'active';
  @ApiProperty() stats: TableStatsDto;
}

export class TableListDto {
  @ApiProperty({ type: [TableInfoDto] }) tables: TableInfo[];
  @ApiProperty({ type: 'integer' }) total: number;
}

class TableDescriptionDto extends TableInfoDto implements TableDescription {
  @ApiProperty({ type: [ColumnDto] }) schema: readonly ColumnDto[];
  @ApiProperty({ type: 'integer', description: 'Version of its log' }) version: number;
  @ApiProperty({ example: '/var/lib/miniodb/objects/users', description: 'Where other engines find the Delta Lake table' })
  location: string;
}

export class TableAnswerDto {
  @ApiProperty({ type: TableDescriptionDto }) table_info: TableDescription;
}

export class DroppedDto extends DoneDto {
  @ApiProperty({ type: 'integer' }) files_deleted: number;
}
