/** What backups and restores came to: counted for metrics, and failures told in the log. */
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '../common/tokens.js';
import { AppError, ERROR_STATUS, messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';

/** HTTP status codes: from here on it is not the client's fault. */
const FAULT_FROM = 500;
const SIZES_KEPT = 20;

export type BackupType = 'metadata' | 'full' | 'incremental';

@Injectable()
export class BackupCounts {
  readonly backups = { success: 0, error: 0 };
  readonly restores = { success: 0, error: 0 };
  /** Bytes written by each of the newest backups, by id. */
  readonly sizes = new Map<string, number>();
  /** Seconds that the newest backup of each type took. */
  readonly durations = new Map<BackupType, number>();

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /** Runs a backup and counts how it ends. */
  async backup<T extends { readonly backup_id: string; readonly size_bytes: number }>(type: BackupType, run: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    try {
      const made = await run();
      this.backups.success += 1;
      this.durations.set(type, (performance.now() - startedMs) / 1_000);
      this.sizes.set(made.backup_id, made.size_bytes);
      for (const id of [...this.sizes.keys()].slice(0, -SIZES_KEPT)) this.sizes.delete(id);
      return made;
    } catch (error) {
      this.backups.error += 1;
      this.#tell(error, `${type} backup failed`);
      throw error;
    }
  }

  async restore<T>(run: () => Promise<T>): Promise<T> {
    try {
      const restored = await run();
      this.restores.success += 1;
      return restored;
    } catch (error) {
      this.restores.error += 1;
      this.#tell(error, 'restore failed');
      throw error;
    }
  }

  #tell(error: unknown, what: string): void {
    const isRefused = error instanceof AppError && ERROR_STATUS[error.code].http < FAULT_FROM;
    this.logger[isRefused ? 'warn' : 'error']({ err: error }, `${what}: ${messageOf(error)}`);
  }
}
