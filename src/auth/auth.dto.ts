/** Bodies of the routes that deal with tokens and API keys. */
import { ApiProperty } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsISO8601,
  IsObject,
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
const SECRET_LENGTH_MAX = 1_000;
const TOKEN_LENGTH_MAX = 8_000;

export const KEY_PARAMETER = { name: 'api_key', example: 'dashboard-1' } as const;

export class TokenRequestDto {
  @ApiProperty({ example: 'admin', maxLength: 64 }) @IsString() @MaxLength(64) api_key!: string;
  @ApiProperty({ required: false, example: 'the-secret-of-the-key', maxLength: SECRET_LENGTH_MAX })
  @IsOptional()
  @IsString()
  @MaxLength(SECRET_LENGTH_MAX)
  secret?: string;
  @ApiProperty({ required: false, description: 'Another name for secret', maxLength: SECRET_LENGTH_MAX })
  @IsOptional()
  @IsString()
  @MaxLength(SECRET_LENGTH_MAX)
  api_secret?: string;
}

export class RefreshRequestDto {
  @ApiProperty({ maxLength: TOKEN_LENGTH_MAX }) @IsString() @MaxLength(TOKEN_LENGTH_MAX) refresh_token!: string;
}

export class RevokeRequestDto {
  @ApiProperty({
    required: false,
    maxLength: TOKEN_LENGTH_MAX,
    description: 'A token of the login to end. Default: the token sent with the request',
  })
  @IsOptional()
  @IsString()
  @MaxLength(TOKEN_LENGTH_MAX)
  token?: string;
}

export class TokenPairDto {
  @ApiProperty() access_token!: string;
  @ApiProperty({ description: 'Works once, to get the next pair' }) refresh_token!: string;
  @ApiProperty({ example: 3_600, description: 'Lifetime of the access token in seconds' }) expires_in!: number;
  @ApiProperty({ example: 'Bearer' }) token_type!: 'Bearer';
}

export class GrantDto {
  @ApiProperty({ example: 'sensor_*', minLength: 1, maxLength: 256, description: 'Glob for table names' })
  @IsString()
  @MinLength(1)
  @MaxLength(256)
  tables!: string;
  @ApiProperty({ enum: TABLE_ACCESS }) @IsIn(TABLE_ACCESS) access!: TableAccess;
  @ApiProperty({
    required: false,
    example: "country = 'DE'",
    minLength: 1,
    maxLength: 10_000,
    description: 'SQL condition: the key sees only rows that meet it. Only with access read.',
  })
  @IsOptional()
  @IsString()
  @MinLength(1)
  @MaxLength(10_000)
  rows?: string;
}

/** What a new key and a change of one have in common; not the role, which a new key must have: rules of a class are those of its parent too. */
class KeyFieldsDto {
  /** Takes the restriction away. */
  static readonly nullFields = ['grants', 'expires_at'];

  @ApiProperty({ required: false, example: 'dashboard', maxLength: 255 }) @IsOptional() @IsString() @MaxLength(255) name?: string;
  @ApiProperty({
    required: false,
    type: [GrantDto],
    nullable: true,
    maxItems: GRANTS_MAX,
    description: 'Missing or null: every table, within the role',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(GRANTS_MAX)
  // A list within the list would pass the next rule: it looks at the members of lists, however deep.
  @IsObject({ each: true })
  @ValidateNested({ each: true })
  @Type(() => GrantDto)
  grants?: GrantDto[] | null;
  @ApiProperty({
    required: false,
    type: String,
    nullable: true,
    format: 'date-time',
    example: '2030-01-01T00:00:00Z',
    description: 'null: never',
  })
  @IsOptional()
  @IsISO8601({ strict: true })
  expires_at?: string | null;
  @ApiProperty({ required: false }) @IsOptional() @IsBoolean() disabled?: boolean;
}

export class ChangeKeyDto extends KeyFieldsDto {
  @ApiProperty({ required: false, enum: ROLES }) @IsOptional() @IsIn(ROLES) role?: Role;
}

export class CreateKeyDto extends KeyFieldsDto {
  @ApiProperty({ required: false, example: 'dashboard-1', pattern: KEY_ID.source, description: 'Generated if left out' })
  @IsOptional()
  @Matches(KEY_ID)
  api_key?: string;
  @ApiProperty({ enum: ROLES }) @IsIn(ROLES) role!: Role;
}

/** A key as it is shown: never its secret. */
export class KeyDto {
  @ApiProperty() api_key!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ enum: ROLES }) role!: Role;
  @ApiProperty({ type: [GrantDto], nullable: true }) grants!: readonly Grant[] | null;
  @ApiProperty({ format: 'date-time' }) created_at!: string;
  @ApiProperty({ type: String, nullable: true, format: 'date-time' }) expires_at!: string | null;
  @ApiProperty() disabled!: boolean;
}

export class KeyWithSecretDto extends KeyDto {
  @ApiProperty({ description: 'Shown only once' }) secret!: string;
}

export class KeyListDto {
  @ApiProperty({ type: [KeyDto] }) keys!: KeyDto[];
  @ApiProperty({ type: 'integer' }) total!: number;
}

export const TOKEN_REQUEST_EXAMPLES = {
  admin: { summary: 'As the administrator of the configuration', value: { api_key: 'admin', secret: 'the-secret-of-the-key' } },
};

export const REFRESH_REQUEST_EXAMPLES = {
  next: { summary: 'The next pair', value: { refresh_token: 'the refresh_token of the last pair' } },
};

export const REVOKE_REQUEST_EXAMPLES = { own: { summary: 'The login whose token the request carries', value: {} } };

export const CREATE_KEY_EXAMPLES = {
  reader: {
    summary: 'Reads the rows of one country',
    value: {
      api_key: 'dashboard-1',
      name: 'dashboard',
      role: 'reader',
      grants: [{ tables: 'sensor_*', access: 'read', rows: "country = 'DE'" }],
      expires_at: '2030-01-01T00:00:00Z',
    },
  },
  writer: { summary: 'Writes everything, under a generated name', value: { role: 'writer' } },
};

export const CHANGE_KEY_EXAMPLES = {
  disable: { summary: 'Disabled for now', value: { disabled: true } },
  widen: { summary: 'Every table, forever', value: { grants: null, expires_at: null } },
};
