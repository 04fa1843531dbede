/** Counts what queries do, a table at a time, for status and metrics. */
import type { AppError } from '../common/app-error.js';

/** The newest durations kept for percentiles. */
const DURATIONS_KEPT = 1_000;

export interface QueryCounts {
  succeeded: number;
  failed: number;
}

export class QueryStatistics {
  readonly byTable = new Map<string, QueryCounts>();
  readonly total: QueryCounts = { succeeded: 0, failed: 0 };
  readonly #durations: number[] = [];
  #at = 0;

  note(tables: readonly string[], elapsedMs: number, error: AppError | undefined): void {
    for (const counts of [this.total, ...tables.map((table) => this.#of(table))]) {
      if (error) counts.failed += 1;
      else counts.succeeded += 1;
    }
    this.#durations[this.#at] = elapsedMs;
    this.#at = (this.#at + 1) % DURATIONS_KEPT;
  }

  #of(table: string): QueryCounts {
    let counts = this.byTable.get(table);
    if (!counts) this.byTable.set(table, (counts = { succeeded: 0, failed: 0 }));
    return counts;
  }

  /** Duration that a share of the newest queries stayed below, in milliseconds; 0 without any. */
  durationMs(share: number): number {
    const sorted = [...this.#durations].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  }
}
