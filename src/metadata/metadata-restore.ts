/**
 * Brings the metadata of a backup back: choose the backup → pick entries → plan, table by table → do it.
 *
 * The tables' logs are the truth, so nothing here takes rows away: a table whose log is there keeps it, newer or not. What a restore can do is give
 * a table its old configuration again (with `overwrite`), take a table back into the catalogue, and write its log anew when that is lost and every data
 * file is still there.
 */
import { Config } from '../config/config.js';
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '../common/tokens.js';
import pMap from 'p-map';
import { AppError, messageOf } from '../common/app-error.js';
import { globFilter } from '../common/glob.js';
import type { Logger } from '../common/logger.js';
import { tableNameFilter } from '../tables/table-name.js';
import { BackupCounts } from '../backups/backup-counts.js';
import { byTable, type Entries, type TableEntries, tableOfKey } from './metadata-entries.js';
import { type StoredBackup, StoredBackups } from './stored-backups.js';
import { keysOf, RestorePlans, type Step } from './restore-plan.js';

export interface RestoreRequest {
  /** `backup_YYYYMMDD_HHMMSS.json`, its key, or a glob of either; the newest that fits is taken. */
  readonly backupFile: string | undefined;
  readonly fromLatest: boolean;
  readonly dryRun: boolean;
  readonly overwrite: boolean;
  readonly validate: boolean;
  readonly parallel: boolean;
  readonly tablePattern: string | undefined;
  readonly keyPatterns: readonly string[];
}

export interface RestoreResult {
  readonly backupFile: string;
  readonly total: number;
  readonly ok: number;
  readonly skipped: number;
  readonly errors: readonly string[];
  /** What became, or would become, of each entry. */
  readonly details: Readonly<Record<string, string>>;
}

@Injectable()
export class MetadataRestore {
  constructor(
    private readonly stored: StoredBackups,
    private readonly plans: RestorePlans,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly counts: BackupCounts,
    private readonly config: Config,
  ) {}

  /**
   * @throws AppError NOT_FOUND when there is no such backup or no entry of it fits, DATA_CORRUPTION for a damaged one, CONFLICT when entries could
   *   not be restored (others were: the details tell)
   */
  restore(request: RestoreRequest): Promise<RestoreResult> {
    return request.dryRun ? this.#restoreNow(request) : this.counts.restore(() => this.#restoreNow(request));
  }

  async #restoreNow(request: RestoreRequest): Promise<RestoreResult> {
    const { logger, config } = this;
    const stored = await this.#choose(request);
    const { entries } = await this.stored.read(stored, request.validate);
    const tables = byTable(pick(entries, request, stored.fileName));
    const concurrency = request.parallel ? config.backup.parallel_max : 1;
    const steps = (await pMap(tables, (table) => this.#restoreTable(table, request), { concurrency })).flat();
    const countOf = (outcome: Step['outcome']): number => steps.filter((step) => step.outcome === outcome).length;
    const result = {
      backupFile: stored.fileName,
      total: steps.length,
      ok: countOf('ok'),
      skipped: countOf('skipped'),
      errors: steps.filter(({ outcome }) => outcome === 'error').map(({ key, text }) => `${key}: ${text}`),
      details: Object.fromEntries(steps.map(({ key, text }) => [key, text])),
    };
    if (request.dryRun) return result;
    logger.info({ ok: result.ok, skipped: result.skipped, failed: result.errors.length }, `metadata restore from ${stored.fileName}`);
    if (result.errors.length > 0)
      throw new AppError(
        'CONFLICT',
        `${result.errors.length} of ${result.total} entries of ${stored.fileName} could not be restored, ${result.ok} were restored, ${result.skipped} needed no change`,
        { details: steps.map(({ key, outcome, text }) => ({ key, outcome, reason: text })) },
      );
    return result;
  }

  async #choose({ backupFile, fromLatest }: RestoreRequest): Promise<StoredBackup> {
    const all = await this.stored.list();
    if (fromLatest || backupFile === undefined) {
      const [newest] = all;
      if (newest) return newest;
      throw new AppError('NOT_FOUND', 'there is no metadata backup yet; make one with POST /v1/metadata/backup');
    }
    const fits = globFilter(backupFile);
    const found = all.find(({ fileName, key }) => fits(fileName) || fits(key));
    if (found) return found;
    const known = all.slice(0, 3).map(({ fileName }) => fileName);
    throw new AppError(
      'NOT_FOUND',
      `no metadata backup matches ${backupFile}; ${known.length > 0 ? `the newest are ${known.join(', ')}` : 'there are none yet'}`,
    );
  }

  async #restoreTable(entries: TableEntries, request: RestoreRequest): Promise<readonly Step[]> {
    try {
      const { steps, apply } = await this.plans.plan(entries, request);
      if (apply && !request.dryRun) await apply();
      return steps;
    } catch (error) {
      return keysOf(entries).map((key) => ({ key, outcome: 'error' as const, text: messageOf(error) }));
    }
  }
}

/** The entries that filters and patterns let through. @throws AppError NOT_FOUND when there are none */
function pick(entries: Entries, { tablePattern, keyPatterns }: RestoreRequest, fileName: string): Entries {
  const fitsTable = tableNameFilter(tablePattern);
  const keyFilters = keyPatterns.map(globFilter);
  const isWanted = (key: string): boolean =>
    (keyFilters.length === 0 || keyFilters.some((fits) => fits(key))) && (tablePattern === undefined || fitsTable(tableOfKey(key) ?? ''));
  const picked = Object.entries(entries).filter(([key]) => isWanted(key));
  if (picked.length > 0) return Object.fromEntries(picked);
  const asked = [
    ...(tablePattern === undefined ? [] : [`table_pattern ${tablePattern}`]),
    ...(keyPatterns.length === 0 ? [] : [`key_patterns ${keyPatterns.join(', ')}`]),
  ];
  throw new AppError(
    'NOT_FOUND',
    `no entry of ${fileName} matches ${asked.join(' and ') || 'the request'}: it has ${Object.keys(entries).length} entries; nothing was restored`,
  );
}
