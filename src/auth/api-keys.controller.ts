/** API keys, for administrators: made, changed, given another secret, removed. What is changed counts from the next request on. */
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { Grant } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { globFilter } from '../common/glob.js';
import { noteTarget } from '../common/request-context.js';
import { CLOCK } from '../common/tokens.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { DoneDto } from '../api/done.dto.js';
import { ValidationPipe } from '../api/validation-pipe.js';
import { AccessLog } from './key-store.js';
import { hashOf, type KeyEntry, newKeyId, newSecret } from './api-key.js';
import {
  CHANGE_KEY_EXAMPLES,
  ChangeKeyDto,
  CREATE_KEY_EXAMPLES,
  CreateKeyDto,
  type GrantDto,
  KEY_PARAMETER,
  KeyDto,
  KeyListDto,
  KeyWithSecretDto,
} from './auth.dto.js';
import { Needs } from '../api/permission.js';
import { RowConditions } from './row-conditions.js';

@ApiTags('auth')
@Controller('v1/auth/keys')
@Needs('admin')
export class ApiKeysController {
  constructor(
    private readonly log: AccessLog,
    private readonly conditions: RowConditions,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Post()
  @HttpCode(200)
  @ApiOperation({
    summary: 'Create an API key',
    description: 'The answer contains the secret. Only its hash is stored, so it is never shown again.',
  })
  @ApiBody({ type: CreateKeyDto, examples: CREATE_KEY_EXAMPLES })
  @ApiOkResponse({ type: KeyWithSecretDto })
  @ApiErrors(...BODY_ERRORS, 'ALREADY_EXISTS', 'CONFLICT')
  async create(@Body(new ValidationPipe(CreateKeyDto)) body: CreateKeyDto): Promise<KeyWithSecretDto> {
    await this.#check(body);
    const id = body.api_key ?? newKeyId();
    noteTarget(id);
    const secret = newSecret();
    const entry = await this.log.change(id, (before) => {
      if (before) throw new AppError('ALREADY_EXISTS', `an API key ${id} already exists`);
      return changed(
        { id, name: '', role: body.role, secretHash: hashOf(secret), generation: this.#newGeneration(), createdAt: this.#now() },
        body,
      );
    });
    return { ...shown(entry), secret };
  }

  @Get()
  @ApiOperation({ summary: 'API keys, without their secrets' })
  @ApiOkResponse({ type: KeyListDto })
  @ApiErrors()
  list(): KeyListDto {
    const keys = this.log.keys.map(shown).sort((a, b) => (a.api_key < b.api_key ? -1 : 1));
    return { keys, total: keys.length };
  }

  @Get(':api_key')
  @ApiOperation({ summary: 'One API key' })
  @ApiParam(KEY_PARAMETER)
  @ApiOkResponse({ type: KeyDto })
  @ApiErrors('INVALID_ARGUMENT', 'NOT_FOUND')
  find(@Param('api_key') id: string): KeyDto {
    return shown(existing(id, this.log.key(id)));
  }

  @Patch(':api_key')
  @ApiOperation({
    summary: 'Change an API key',
    description: 'Fields that are left out keep their values. Existing tokens get the new rights at once.',
  })
  @ApiParam(KEY_PARAMETER)
  @ApiBody({ type: ChangeKeyDto, examples: CHANGE_KEY_EXAMPLES })
  @ApiOkResponse({ type: KeyDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async change(@Param('api_key') id: string, @Body(new ValidationPipe(ChangeKeyDto)) body: ChangeKeyDto): Promise<KeyDto> {
    await this.#check(body);
    return shown(await this.log.change(id, (before) => changed(existing(id, before), body)));
  }

  @Post(':api_key/rotate')
  @HttpCode(200)
  @ApiOperation({ summary: 'Replace the secret of an API key', description: 'The old secret and all tokens created with it stop working.' })
  @ApiParam(KEY_PARAMETER)
  @ApiOkResponse({ type: KeyWithSecretDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async rotate(@Param('api_key') id: string): Promise<KeyWithSecretDto> {
    const secret = newSecret();
    const entry = await this.log.change(id, (before) => {
      const { generation } = existing(id, before);
      return { ...existing(id, before), secretHash: hashOf(secret), generation: generation + 1 };
    });
    return { ...shown(entry), secret };
  }

  @Delete(':api_key')
  @ApiOperation({ summary: 'Remove an API key', description: 'Its secret and all its tokens stop working.' })
  @ApiParam(KEY_PARAMETER)
  @ApiOkResponse({ type: DoneDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async remove(@Param('api_key') id: string): Promise<DoneDto> {
    await this.log.change(id, (before) => ({ ...existing(id, before), isRemoved: true }));
    return { success: true, message: `API key ${id} removed` };
  }

  async #check({ grants, expires_at: expiresAt }: ChangeKeyDto): Promise<void> {
    if (typeof expiresAt === 'string' && Number.isNaN(Date.parse(expiresAt)))
      throw invalidArgument('expires_at must be an instant (RFC 3339)', [{ field: 'expires_at' }]);
    for (const { tables, rows, access } of grants ?? []) {
      globFilter(tables);
      if (rows === undefined) continue;
      if (access !== 'read')
        throw invalidArgument('a grant with rows must have access read, because writes address ids and not rows', [{ field: 'grants' }]);
      await this.conditions.check(rows);
    }
  }

  /** A key that is made anew under an old id must not take the tokens of the old one. */
  #newGeneration(): number {
    return Math.floor(this.clock.nowMs());
  }

  #now(): string {
    return new Date(this.clock.nowMs()).toISOString();
  }
}

function existing(id: string, entry: KeyEntry | undefined): KeyEntry {
  if (!entry) throw new AppError('NOT_FOUND', `there is no API key ${id.slice(0, 64)}`);
  return entry;
}

function changed(entry: KeyEntry, { name, role, grants, expires_at: expiresAt, disabled }: ChangeKeyDto): KeyEntry {
  return {
    ...entry,
    ...(name === undefined ? {} : { name }),
    ...(role === undefined ? {} : { role }),
    ...(grants === undefined ? {} : { grants: grants?.map(grantOf) }),
    ...(expiresAt === undefined ? {} : { expiresAt: expiresAt === null ? undefined : new Date(expiresAt).toISOString() }),
    ...(disabled === undefined ? {} : { isDisabled: disabled }),
  };
}

function grantOf({ tables, access, rows }: GrantDto): Grant {
  return rows === undefined ? { tables, access } : { tables, access, rows };
}

function shown({ id, name, role, grants, createdAt, expiresAt, isDisabled }: KeyEntry): KeyDto {
  return {
    api_key: id,
    name,
    role,
    grants: grants ?? null,
    created_at: createdAt,
    expires_at: expiresAt ?? null,
    disabled: isDisabled ?? false,
  };
}
