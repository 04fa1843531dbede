/** Tables over REST and gRPC: create, list, describe, configure, drop. */
import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { assertMayReadAll, assertMayWrite, currentPrincipal } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { DoneDto } from '../api/done.dto.js';
import { Needs } from '../api/permission.js';
import { ApiBody, ApiOkResponse, ApiOperation, ApiParam, ApiQuery, ApiTags } from '@nestjs/swagger';
import { toTimestamp } from '../api/protobuf-values.js';
import { ValidationPipe, validated } from '../api/validation-pipe.js';
import { parseColumnType, TableSchema } from '../delta/table-schema.js';
import type { TableConfigInput } from './table-config.js';
import { assertChangeable, mergeTableConfig } from './table-config.js';
import { type TableInfo, TableInfoReader } from './table-info.js';
import { assertTableName, PATTERN_LENGTH_MAX, tableNameFilter } from './table-name.js';
import { CatalogueSync } from './catalogue-sync.js';
import { TableConfiguration } from './configure-table.js';
import { TableCreation } from './create-table.js';
import { TableDrops } from './drop-table.js';
import { TableRegistry } from './table-registry.js';
import {
  type ColumnDto,
  ConfiguredDto,
  CREATE_TABLE_EXAMPLES,
  CreateTableDto,
  DroppedDto,
  PATCH_TABLE_EXAMPLES,
  PatchTableDto,
  TABLE_PARAMETER,
  TableAnswerDto,
  TableListDto,
} from './tables.dto.js';
import { TableDefaults } from './table-defaults.js';

interface GrpcCreateTable {
  readonly table_name: string;
  readonly config: TableConfigInput | null;
  readonly if_not_exists: boolean;
}

@ApiTags('tables')
@Controller('v1/tables')
@Needs('read')
export class TablesController {
  constructor(
    private readonly registry: TableRegistry,
    private readonly creation: TableCreation,
    private readonly configuration: TableConfiguration,
    private readonly drops: TableDrops,
    private readonly sync: CatalogueSync,
    private readonly reader: TableInfoReader,
    private readonly defaults: TableDefaults,
  ) {}

  @Needs('write')
  @Post()
  @HttpCode(200)
  @ApiOperation({
    summary: 'Create a table',
    description: 'Refused with 409 ALREADY_EXISTS if a table of that name exists, unless if_not_exists is set.',
  })
  @ApiBody({ type: CreateTableDto, examples: CREATE_TABLE_EXAMPLES })
  @ApiOkResponse({ type: DoneDto })
  @ApiErrors(...BODY_ERRORS, 'ALREADY_EXISTS', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async create(@Body(new ValidationPipe(CreateTableDto)) body: CreateTableDto): Promise<DoneDto> {
    assertTableName(body.table_name);
    assertMayWrite(body.table_name);
    if (body.if_not_exists && this.registry.find(body.table_name))
      return { success: true, message: `table ${body.table_name} exists already; nothing was changed` };
    const schema = declaredSchema(body.schema ?? []);
    const config = mergeTableConfig(this.defaults.config, body.config ?? {});
    try {
      await this.creation.create(body.table_name, config, schema);
    } catch (error) {
      if (!(body.if_not_exists && error instanceof AppError && error.code === 'ALREADY_EXISTS')) throw error;
      // Another node made it.
      if (!this.registry.find(body.table_name)) await this.sync.refresh();
      return { success: true, message: `table ${body.table_name} exists already; nothing was changed` };
    }
    return { success: true, message: `table ${body.table_name} created` };
  }

  @Needs('write')
  @GrpcMethod('MinIODBService', 'CreateTable')
  createByGrpc(request: GrpcCreateTable): Promise<DoneDto> {
    return this.create(validated(CreateTableDto, { ...request, config: withoutUnset(request.config) }));
  }

  @Get()
  @ApiOperation({ summary: 'List tables' })
  @ApiQuery({
    name: 'pattern',
    required: false,
    schema: { type: 'string', maxLength: PATTERN_LENGTH_MAX },
    example: 'user*',
    description: 'A glob: * ? [ab] {a,b}',
  })
  @ApiOkResponse({ type: TableListDto })
  @ApiErrors('INVALID_ARGUMENT')
  async list(@Query('pattern') pattern?: unknown): Promise<TableListDto> {
    if (pattern !== undefined && typeof pattern !== 'string') throw invalidArgument('pattern must be given once');
    const fits = tableNameFilter(pattern);
    const principal = currentPrincipal();
    const tables = this.registry.all().filter(({ name }) => principal.mayDescribe(name) && fits(name));
    tables.sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
    const infos: TableInfo[] = [];
    for (const table of tables) {
      const info = await this.reader.info(table).catch((error: unknown) => {
        if (table.isDropped) return undefined;
        throw error;
      });
      if (info) infos.push(info);
    }
    return { tables: infos, total: infos.length };
  }

  @GrpcMethod('MinIODBService', 'ListTables')
  async listByGrpc({ pattern }: { pattern: string }): Promise<Record<string, unknown>> {
    const { tables, total } = await this.list(pattern);
    return { tables: tables.map(toGrpcInfo), total };
  }

  @Get(':name')
  @ApiOperation({
    summary: 'Describe a table',
    description: 'Configuration, columns and exact statistics. `location` is where other engines find the Delta Lake table.',
  })
  @ApiParam(TABLE_PARAMETER)
  @ApiOkResponse({ type: TableAnswerDto })
  @ApiErrors('INVALID_ARGUMENT', 'NOT_FOUND')
  async describe(@Param('name') name: string): Promise<TableAnswerDto> {
    assertMayDescribe(name);
    return { table_info: await this.reader.describe(this.registry.get(name)) };
  }

  @GrpcMethod('MinIODBService', 'GetTable')
  async describeByGrpc({ table_name: name }: { table_name: string }): Promise<Record<string, unknown>> {
    assertTableName(name);
    assertMayDescribe(name);
    return { table_info: toGrpcInfo(await this.reader.info(this.registry.get(name))) };
  }

  @Needs('write')
  @Patch(':name')
  @ApiOperation({
    summary: 'Change settings of a table',
    description: 'Settings that are left out keep their values. write_mode and layout cannot be changed.',
  })
  @ApiParam(TABLE_PARAMETER)
  @ApiBody({ type: PatchTableDto, examples: PATCH_TABLE_EXAMPLES })
  @ApiOkResponse({ type: ConfiguredDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async configure(@Param('name') name: string, @Body(new ValidationPipe(PatchTableDto)) body: PatchTableDto): Promise<ConfiguredDto> {
    assertMayWrite(name);
    const table = this.registry.get(name);
    const config = await this.configuration.configure(table, (current) => {
      const changed = mergeTableConfig(current, body.config);
      assertChangeable(current, changed);
      return changed;
    });
    return { success: true, message: `table ${table.name} configured`, config };
  }

  @Needs('write')
  @Delete(':name')
  @ApiOperation({ summary: 'Drop a table', description: 'A table with rows is refused (409 CONFLICT) unless cascade=true.' })
  @ApiParam(TABLE_PARAMETER)
  @ApiQuery({ name: 'if_exists', required: false, type: Boolean, example: true, description: 'Succeed when there is no such table' })
  @ApiQuery({ name: 'cascade', required: false, type: Boolean, example: true, description: 'Drop the table even if it has rows' })
  @ApiOkResponse({ type: DroppedDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async drop(
    @Param('name') name: string,
    @Query('if_exists') ifExists?: unknown,
    @Query('cascade') cascade?: unknown,
  ): Promise<DroppedDto> {
    return this.#drop(name, toBoolean(ifExists, 'if_exists'), toBoolean(cascade, 'cascade'));
  }

  @Needs('write')
  @GrpcMethod('MinIODBService', 'DeleteTable')
  dropByGrpc(request: { table_name: string; if_exists: boolean; cascade: boolean }): Promise<DroppedDto> {
    assertTableName(request.table_name);
    return this.#drop(request.table_name, request.if_exists, request.cascade);
  }

  async #drop(name: string, ifExists: boolean, cascade: boolean): Promise<DroppedDto> {
    assertMayWrite(name);
    const table = this.registry.find(name);
    if (!table) {
      if (ifExists) return { success: true, message: `table ${name} does not exist; nothing was changed`, files_deleted: 0 };
      throw new AppError('NOT_FOUND', `table ${name} does not exist`);
    }
    return { success: true, message: `table ${table.name} dropped`, files_deleted: await this.drops.drop(table, cascade) };
  }
}

function assertMayDescribe(name: string): void {
  if (!currentPrincipal().mayDescribe(name)) assertMayReadAll(name);
}

/** The same with instants as messages have them. */
function toGrpcInfo(info: TableInfo): Record<string, unknown> {
  const { created_at, last_write, stats } = info;
  return {
    ...info,
    created_at: toTimestamp(created_at),
    last_write: toTimestamp(last_write),
    stats: { ...stats, oldest_record: toTimestamp(stats.oldest_record), newest_record: toTimestamp(stats.newest_record) },
  };
}

function declaredSchema(columns: readonly ColumnDto[]): TableSchema {
  return columns.reduce((schema, { name, type }) => {
    const isBuiltIn =
      (name.toLowerCase() === 'id' && parseColumnType(type) === 'VARCHAR') ||
      (name.toLowerCase() === 'timestamp' && parseColumnType(type) === 'TIMESTAMPTZ');
    return isBuiltIn ? schema : schema.with(name, parseColumnType(type));
  }, TableSchema.initial());
}

/** Fields that a gRPC client did not set come as empty values; only `optional` ones tell. */
function withoutUnset(config: TableConfigInput | null): Record<string, unknown> {
  const set = Object.entries(config ?? {}).filter(([name, value]) => {
    if (name.startsWith('_') || value === null) return false;
    return !(Array.isArray(value) && value.length === 0) && !(name === 'properties' && Object.keys(value as object).length === 0);
  });
  return Object.fromEntries(set.map(([name, value]) => (name === 'id_validation' ? [name, withoutEmpty(value as object)] : [name, value])));
}

function withoutEmpty(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name, member]) => !name.startsWith('_') && member !== '' && member !== null));
}

function toBoolean(value: unknown, name: string): boolean {
  if (value === undefined || value === '' || value === 'false') return false;
  if (value === 'true') return true;
  throw invalidArgument(`${name} must be true or false`, [{ field: name }]);
}
