/** Bodies and parameters of the table routes. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { Allow, IsArray, IsBoolean, IsObject, IsOptional, IsString, ValidateNested } from 'class-validator';
import { TableConfigInput } from './table-config.js';

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
  @ApiProperty({ example: 'products', description: 'A letter, then letters, digits and _; compared without case' })
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
    description: 'Columns beside id and timestamp; others are added by the first record that has them',
  })
  @IsOptional()
  @IsArray()
  @IsObject({ each: true })
  @ValidateNested({ each: true })
  @Type(() => ColumnDto)
  schema?: ColumnDto[];

  @ApiPropertyOptional({ description: 'Answer with success, and change nothing, when the table exists', default: false })
  @IsOptional()
  @IsBoolean()
  if_not_exists?: boolean;
}

export class PatchTableDto {
  @ApiProperty({ type: TableConfigInput }) @IsObject() @ValidateNested() @Type(() => TableConfigInput) config: TableConfigInput;
}
