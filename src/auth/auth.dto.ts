/** Bodies of the routes that deal with tokens and API keys. */
import { ApiProperty } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsISO8601,
  IsOptional,
  IsString,
  Matches,
  MaxLength,
  MinLength,
  ValidateNested,
  ArrayMaxSize,
} from 'class-validator';
import { type Grant, ROLES, type Role, TABLE_ACCESS, type TableAccess } from '../common/access.js';
import { KEY_ID } from './api-key.js';

const GRANTS_MAX = 1_000;

export class TokenRequestDto {
  @ApiProperty({ example: 'admin' }) @IsString() @MaxLength(64) api_key!: string;
  @ApiProperty({ required: false, example: 'the-secret-of-the-key' }) @IsOptional() @IsString() @MaxLength(1_000) secret?: string;
  @ApiProperty({ required: false, description: 'Another name of secret' }) @IsOptional() @IsString() @MaxLength(1_000) api_secret?: string;
}

export class RefreshRequestDto {
  @ApiProperty() @IsString() @MaxLength(8_000) refresh_token!: string;
}

export class RevokeRequestDto {
  @ApiProperty({ required: false, description: 'A token of the login to end; without it, the one that the request carries' })
  @IsOptional()
  @IsString()
  @MaxLength(8_000)
  token?: string;
}

export class TokenPairDto {
  @ApiProperty() access_token!: string;
  @ApiProperty({ description: 'Works once: it is exchanged for the next pair' }) refresh_token!: string;
  @ApiProperty({ example: 3_600, description: 'Seconds that the access token lives' }) expires_in!: number;
  @ApiProperty({ example: 'Bearer' }) token_type!: 'Bearer';
}

export class GrantDto {
  @ApiProperty({ example: 'sensor_*', description: 'Glob of table names' }) @IsString() @MinLength(1) @MaxLength(256) tables!: string;
  @ApiProperty({ enum: TABLE_ACCESS }) @IsIn(TABLE_ACCESS) access!: TableAccess;
  @ApiProperty({
    required: false,
    example: "country = 'DE'",
    description: 'SQL condition: only rows that fulfil it are there for the key. Only with access read.',
  })
  @IsOptional()
  @IsString()
  @MinLength(1)
  @MaxLength(10_000)
  rows?: string;
}

export class ChangeKeyDto {
  @ApiProperty({ required: false, example: 'dashboard' }) @IsOptional() @IsString() @MaxLength(255) name?: string;
  @ApiProperty({ required: false, enum: ROLES }) @IsOptional() @IsIn(ROLES) role?: Role;
  @ApiProperty({ required: false, type: [GrantDto], description: 'Without it: every table, as far as the role goes' })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(GRANTS_MAX)
  @ValidateNested({ each: true })
  @Type(() => GrantDto)
  grants?: GrantDto[];
  @ApiProperty({ required: false, example: '2030-01-01T00:00:00Z' }) @IsOptional() @IsISO8601({ strict: true }) expires_at?: string;
  @ApiProperty({ required: false }) @IsOptional() @IsBoolean() disabled?: boolean;
}

export class CreateKeyDto extends ChangeKeyDto {
  @ApiProperty({ required: false, example: 'dashboard-1', description: 'Made when it is left out' })
  @IsOptional()
  @Matches(KEY_ID)
  api_key?: string;
  @ApiProperty({ enum: ROLES }) @IsIn(ROLES) declare role: Role;
}

/** A key as it is shown: never its secret. */
export class KeyDto {
  @ApiProperty() api_key!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ enum: ROLES }) role!: Role;
  @ApiProperty({ type: [GrantDto], nullable: true }) grants!: readonly Grant[] | null;
  @ApiProperty() created_at!: string;
  @ApiProperty({ type: String, nullable: true }) expires_at!: string | null;
  @ApiProperty() disabled!: boolean;
}

export class KeyWithSecretDto extends KeyDto {
  @ApiProperty({ description: 'Shown this once' }) secret!: string;
}
