/**
 * How far a table's files held the logs of other nodes when a write was made. A write touches no rows that came later, also when it is replayed after
 * a crash: by then others may have written the same ids anew.
 */
import type { Snapshot } from '../../delta/snapshot.js';

/** The last LSN of each other log that a version holds; in order. */
export function seenLogs({ transactions }: Snapshot, walId: string): number[] {
  return [...transactions]
    .filter(([id]) => id !== walId)
    .map(([, lsn]) => lsn)
    .sort((a, b) => a - b);
}
