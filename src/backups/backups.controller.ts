/** Data backups and recovery. */
import { Body, Controller, Delete, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { AppError } from '../common/app-error.js';
import { counted } from '../common/counted.js';
import { Config } from '../config/config.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { ValidationPipe } from '../api/validation-pipe.js';
import type { Table } from '../tables/table.js';
import { tableNameFilter } from '../tables/table-name.js';
import { TableRegistry } from '../tables/table-registry.js';
import {
  CREATE_BACKUP_EXAMPLES,
  CreateBackupDto,
  DataBackupDto,
  DataBackupListDto,
  DeletedBackupDto,
  RECOVER_EXAMPLES,
  RecoverDto,
  RecoveredDto,
} from './backup.dto.js';
import { DataBackups } from './data-backups.js';
import { parseRecover } from './recover-request.js';
import type { RecoveredTable } from './recovered-table.js';
import { Recovery } from './recovery.js';

@ApiTags('backup')
@Controller('v1')
@Needs('admin')
export class BackupsController {
  constructor(
    private readonly config: Config,
    private readonly registry: TableRegistry,
    private readonly backups: DataBackups,
    private readonly recovery: Recovery,
  ) {}

  @Post('backups')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Back up tables and their rows',
    description: 'Answers when the backup is complete. It contains everything acknowledged before the request, on all nodes.',
  })
  @ApiBody({ type: CreateBackupDto, required: false, examples: CREATE_BACKUP_EXAMPLES })
  @ApiOkResponse({ type: DataBackupDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async create(@Body(new ValidationPipe(CreateBackupDto)) { tables, type = 'full' }: CreateBackupDto): Promise<DataBackupDto> {
    const chosen = this.#choose(tables);
    const info = await this.backups.create(chosen, type);
    const rows = info.tables.reduce((sum, table) => sum + table.rows, 0);
    return {
      success: true,
      message: `${counted(chosen.length, 'table')} with ${counted(rows, 'row')} backed up, ${counted(info.size_bytes, 'byte')} copied`,
      ...info,
    };
  }

  #choose(patterns: readonly string[] | undefined): Table[] {
    const all = this.registry.all().sort((a, b) => (a.name < b.name ? -1 : 1));
    const wanted = patterns?.map((pattern) => ({ pattern, fits: tableNameFilter(pattern) }));
    const chosen = wanted
      ? all.filter(({ name }) => wanted.some(({ fits }) => fits(name)))
      : all.filter(({ config }) => config.backup_enabled);
    const unmatched = (wanted ?? []).filter(({ fits }) => !all.some(({ name }) => fits(name))).map(({ pattern }) => pattern);
    if (unmatched.length > 0) throw new AppError('NOT_FOUND', `no table matches ${unmatched.join(', ')}`);
    if (chosen.length === 0)
      throw new AppError('NOT_FOUND', 'there is no table to back up; tables with backup_enabled: false must be named');
    return chosen;
  }

  @Get('backups')
  @ApiOperation({ summary: 'Data backups, newest first' })
  @ApiOkResponse({ type: DataBackupListDto })
  @ApiErrors()
  async list(): Promise<DataBackupListDto> {
    const backups = await this.backups.list();
    return { backups, total: backups.length };
  }

  @Delete('backups/:id')
  @ApiOperation({ summary: 'Delete a data backup', description: 'Refused with 409 CONFLICT while incremental backups depend on it.' })
  @ApiParam({ name: 'id', example: 'data_20240115_103000', description: 'backup_id from GET /v1/backups' })
  @ApiOkResponse({ type: DeletedBackupDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async delete(@Param('id') id: string): Promise<DeletedBackupDto> {
    const removed = await this.backups.delete(id);
    return { success: true, message: `backup ${id} deleted`, objects_removed: removed };
  }

  @Post('recover')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Recover rows',
    description:
      'Recovers rows from a backup or from an older version of the table (as_of): all of them, or those in a range of ids and times. Rows that already exist (same id and timestamp; in an upsert table, same id) stay as they are, unless force_overwrite replaces the present rows of the range.',
  })
  @ApiBody({ type: RecoverDto, required: false, examples: RECOVER_EXAMPLES })
  @ApiOkResponse({ type: RecoveredDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async recover(@Body(new ValidationPipe(RecoverDto)) body: RecoverDto): Promise<RecoveredDto> {
    const request = parseRecover(body, this.config.limits.ids_max);
    const { source, tables: recovered } = await this.recovery.recover(request);
    const tables = recovered.map(({ isWhole: _, ...table }) => table);
    const sum = (of: (table: RecoveredTable) => number): number => tables.reduce((total, table) => total + of(table), 0);
    const rows = sum((table) => table.rows_recovered);
    const there = sum((table) => table.rows_matched) - rows;
    const verb = request.dryRun ? 'would be recovered' : 'recovered';
    return {
      success: true,
      message: `${counted(rows, 'row')} ${verb} from ${source}${there > 0 ? `; ${there} more matched and exist already` : ''}`,
      files_recovered: sum((table) => table.files_recovered),
      rows_recovered: rows,
      recovered_keys: tables.flatMap((table) => table.recovered_keys),
      tables,
    };
  }
}
