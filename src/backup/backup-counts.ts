/** What backups and restores came to, for metrics. */
const SIZES_KEPT = 20;

export type BackupType = 'metadata' | 'full' | 'incremental';

export class BackupCounts {
  readonly backups = { success: 0, error: 0 };
  readonly restores = { success: 0, error: 0 };
  /** Bytes written by each of the newest backups, by id. */
  readonly sizes = new Map<string, number>();
  /** Seconds that the newest backup of each type took. */
  readonly durations = new Map<BackupType, number>();

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
      throw error;
    }
  }
}
