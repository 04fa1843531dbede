/** What an operator may start by hand for a table, and its history. */
import { Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { assertMayReadAll, assertMayWrite } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import { counted } from '../common/counted.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { ApiOkResponse, ApiOperation, ApiParam, ApiQuery, ApiTags } from '@nestjs/swagger';
import type { Table } from '../tables/table.js';
import { TableRegistry } from '../tables/table-registry.js';
import { TABLE_PARAMETER } from '../tables/tables.dto.js';
import { FlushPath } from './flush-path.js';
import { Compaction, type CompactionResult } from './maintenance/compaction.js';
import { Housekeeping } from './maintenance/housekeeping.js';
import { CompactedDto, FlushedDto, HistoryDto, VacuumedDto } from './maintenance.dto.js';

const HISTORY_DEFAULT = 100;
const HISTORY_MAX = 1_000;
const COMPACTION_ATTEMPTS_MAX = 5;

@ApiTags('tables')
@Controller('v1/tables/:name')
@Needs('write')
export class MaintenanceController {
  constructor(
    private readonly registry: TableRegistry,
    private readonly flushPath: FlushPath,
    private readonly compaction: Compaction,
    private readonly housekeeping: Housekeeping,
  ) {}

  @Post('flush')
  @HttpCode(200)
  @ApiOperation({ summary: 'Write everything acknowledged to data files now' })
  @ApiParam(TABLE_PARAMETER)
  @ApiOkResponse({ type: FlushedDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async flush(@Param('name') name: string): Promise<FlushedDto> {
    const table = this.#toWrite(name);
    const { version, rows, files, isCommitted } = await this.flushPath.flush(table);
    const what = rows > 0 ? counted(rows, 'row') : 'deletes';
    const message = isCommitted ? `${what} flushed` : 'there was nothing to flush';
    return { success: true, message, version, rows, files };
  }

  @Post('compact')
  @HttpCode(200)
  @ApiOperation({ summary: 'Flush, merge small files, and remove deleted rows from storage' })
  @ApiParam(TABLE_PARAMETER)
  @ApiOkResponse({ type: CompactedDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async compact(@Param('name') name: string): Promise<CompactedDto> {
    const table = this.#toWrite(name);
    await this.flushPath.flush(table);
    const result = await this.#compactNow(table);
    return {
      success: true,
      message: `${counted(result.files_before, 'file')} became ${result.files_after}`,
      version: table.snapshot.version,
      ...result,
    };
  }

  #toWrite(name: string): Table {
    assertMayWrite(name);
    return this.registry.get(name);
  }

  /** Another node may replace the same files first: then what is left is planned anew. */
  async #compactNow(table: Table): Promise<CompactionResult> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.compaction.run(table, true);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'CONFLICT' || attempt === COMPACTION_ATTEMPTS_MAX) throw error;
      }
    }
  }

  @Post('vacuum')
  @HttpCode(200)
  @ApiOperation({ summary: 'Remove objects that no version within the time travel window needs' })
  @ApiParam(TABLE_PARAMETER)
  @ApiOkResponse({ type: VacuumedDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async vacuum(@Param('name') name: string): Promise<VacuumedDto> {
    const result = await this.housekeeping.vacuum(this.#toWrite(name));
    return { success: true, message: `${counted(result.objects_removed, 'object')} removed`, ...result };
  }

  @Needs('read')
  @Get('history')
  @ApiOperation({ summary: 'Versions of a table, newest first' })
  @ApiParam(TABLE_PARAMETER)
  @ApiQuery({
    name: 'limit',
    required: false,
    schema: { type: 'integer', minimum: 1, maximum: HISTORY_MAX, default: HISTORY_DEFAULT, example: 20 },
  })
  @ApiOkResponse({ type: HistoryDto })
  @ApiErrors('INVALID_ARGUMENT', 'NOT_FOUND')
  async history(@Param('name') name: string, @Query('limit') limit?: unknown): Promise<HistoryDto> {
    assertMayReadAll(name);
    const count = limit === undefined ? HISTORY_DEFAULT : Number(limit);
    if (!Number.isInteger(count) || count < 1 || count > HISTORY_MAX)
      throw invalidArgument(`limit must be a whole number from 1 to ${HISTORY_MAX}`, [{ field: 'limit' }]);
    const table = this.registry.get(name);
    const entries = await table.log.history(table.snapshot.version, count);
    return {
      table: table.name,
      history: entries.map(({ version, timestampMs, operation, parameters }) => ({
        version,
        timestamp: new Date(timestampMs).toISOString(),
        operation,
        parameters,
      })),
    };
  }
}
