/** Metadata backups over REST and gRPC. */
import { Body, Controller, Get, HttpCode, Inject, Post, Query } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { ApiBody, ApiOkResponse, ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import { invalidArgument } from '../common/app-error.js';
import { type Clock, MS_PER_DAY } from '../common/clock.js';
import { Config } from '../config/config.js';
import { CLOCK } from '../common/tokens.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { toTimestamp } from '../api/protobuf-values.js';
import { ValidationPipe, validated } from '../api/validation-pipe.js';
import {
  BACKUP_METADATA_EXAMPLES,
  BackupMetadataDto,
  MetadataBackupDto,
  MetadataBackupListDto,
  MetadataStatusDto,
  RESTORE_METADATA_EXAMPLES,
  RestoredMetadataDto,
  RestoreMetadataDto,
} from '../backups/backup.dto.js';
import { BackupSchedule } from './backup-schedule.js';
import { MetadataBackups } from './metadata-backups.js';
import { MetadataRestore } from './metadata-restore.js';
import { StoredBackups } from './stored-backups.js';

const DAYS_DEFAULT = 7;
const DAYS_MAX = 36_500;

interface GrpcRestore {
  readonly backup_file: string;
  readonly from_latest: boolean;
  readonly dry_run: boolean;
  readonly overwrite: boolean;
  readonly validate: boolean;
  readonly parallel: boolean;
  readonly filters: Record<string, string> | null;
  readonly key_patterns: string[] | null;
}

@ApiTags('metadata')
@Controller('v1/metadata')
@Needs('admin')
export class MetadataController {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly backups: MetadataBackups,
    private readonly stored: StoredBackups,
    private readonly schedule: BackupSchedule,
    private readonly restores: MetadataRestore,
  ) {}

  @Post('backup')
  @HttpCode(200)
  @ApiOperation({ summary: 'Save the configuration, columns and file index of every table' })
  @ApiBody({ type: BackupMetadataDto, required: false, examples: BACKUP_METADATA_EXAMPLES })
  @ApiOkResponse({ type: MetadataBackupDto })
  @ApiErrors(...BODY_ERRORS, 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async backup(@Body(new ValidationPipe(BackupMetadataDto)) { force = false }: BackupMetadataDto): Promise<MetadataBackupDto> {
    const { backup_id, timeMs, isNew } = await this.backups.create(force);
    const message = isNew ? `backup ${backup_id} written` : `nothing has changed since backup ${backup_id}; set force to write another one`;
    return { success: true, message, backup_id, timestamp: new Date(timeMs).toISOString() };
  }

  @GrpcMethod('MinIODBService', 'BackupMetadata')
  async backupByGrpc({ force }: { force: boolean }): Promise<Record<string, unknown>> {
    const answer = await this.backup({ force });
    return { ...answer, timestamp: toTimestamp(answer.timestamp) };
  }

  @Post('restore')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Restore metadata from a backup',
    description:
      'Restores the configuration of tables, and lost tables whose data files still exist. It never removes rows; lost rows are recovered with POST /v1/recover.',
  })
  @ApiBody({ type: RestoreMetadataDto, required: false, examples: RESTORE_METADATA_EXAMPLES })
  @ApiOkResponse({ type: RestoredMetadataDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT')
  async restore(@Body(new ValidationPipe(RestoreMetadataDto)) body: RestoreMetadataDto): Promise<RestoredMetadataDto> {
    const startedMs = performance.now();
    const { backup_file: file, filters } = body;
    const result = await this.restores.restore({
      backupFile: file === '' ? undefined : file,
      fromLatest: body.from_latest ?? false,
      dryRun: body.dry_run ?? false,
      overwrite: body.overwrite ?? false,
      validate: body.validate ?? true,
      parallel: body.parallel ?? true,
      tablePattern: filters?.table_pattern === '' ? undefined : filters?.table_pattern,
      keyPatterns: body.key_patterns ?? [],
    });
    const [would, restored] = body.dry_run ? ['dry run: ', 'would be restored'] : ['', 'restored'];
    return {
      success: true,
      message: `${would}${result.ok} of ${result.total} entries ${restored}, ${result.skipped} need no change`,
      backup_file: result.backupFile,
      entries_total: result.total,
      entries_ok: result.ok,
      entries_skipped: result.skipped,
      entries_error: result.errors.length,
      duration: `${Math.round(performance.now() - startedMs)}ms`,
      errors: result.errors,
      details: result.details,
    };
  }

  @GrpcMethod('MinIODBService', 'RestoreMetadata')
  restoreByGrpc({ filters, key_patterns: patterns, ...request }: GrpcRestore): Promise<RestoredMetadataDto> {
    const body = { ...request, ...(filters ? { filters } : {}), ...(patterns ? { key_patterns: patterns } : {}) };
    // A flag that was not set comes as false: the checksum is checked in any case.
    return this.restore({ ...validated(RestoreMetadataDto, body), validate: true });
  }

  @Get('backups')
  @ApiOperation({ summary: 'Metadata backups, newest first' })
  @ApiQuery({
    name: 'days',
    required: false,
    schema: { type: 'integer', minimum: 1, maximum: DAYS_MAX, default: DAYS_DEFAULT, example: 30 },
    description: 'Only backups of the last days',
  })
  @ApiOkResponse({ type: MetadataBackupListDto })
  @ApiErrors('INVALID_ARGUMENT')
  async list(@Query('days') days?: unknown): Promise<MetadataBackupListDto> {
    const count = days === undefined ? DAYS_DEFAULT : Number(days);
    if (!Number.isInteger(count) || count < 1 || count > DAYS_MAX)
      throw invalidArgument(`days must be a whole number from 1 to ${DAYS_MAX}`, [{ field: 'days' }]);
    const sinceMs = this.clock.nowMs() - count * MS_PER_DAY;
    const backups = (await this.stored.list())
      .filter(({ timeMs }) => timeMs >= sinceMs)
      .map(({ key, nodeId, timeMs, sizeBytes, modifiedMs }) => ({
        object_name: key,
        node_id: nodeId,
        timestamp: new Date(timeMs).toISOString(),
        size: sizeBytes,
        last_modified: new Date(modifiedMs).toISOString(),
      }));
    return { backups, total: backups.length };
  }

  @GrpcMethod('MinIODBService', 'ListBackups')
  async listByGrpc({ days }: { days: number }): Promise<Record<string, unknown>> {
    const { backups, total } = await this.list(days === 0 ? undefined : days);
    const timed = backups.map((backup) => ({
      ...backup,
      timestamp: toTimestamp(backup.timestamp),
      last_modified: toTimestamp(backup.last_modified),
    }));
    return { backups: timed, total };
  }

  @Get('status')
  @ApiOperation({ summary: 'State of the metadata backups' })
  @ApiOkResponse({ type: MetadataStatusDto })
  @ApiErrors()
  async status(): Promise<MetadataStatusDto> {
    const { state, lastMs, nextMs, isHealthy } = await this.schedule.status();
    return {
      node_id: this.config.node_id,
      backup_status: state,
      last_backup: instant(lastMs),
      next_backup: instant(nextMs),
      health_status: isHealthy ? 'healthy' : 'degraded',
    };
  }

  @GrpcMethod('MinIODBService', 'GetMetadataStatus')
  async statusByGrpc(): Promise<Record<string, unknown>> {
    const status = await this.status();
    return { ...status, last_backup: toTimestamp(status.last_backup), next_backup: toTimestamp(status.next_backup) };
  }
}

function instant(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
