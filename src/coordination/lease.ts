/**
 * The right to do a thing alone for a while (compaction, vacuum, backup of a table). With one node it lives in the process; several nodes share
 * it through Redis. The fence grows with every grant, so that work of a lost lease can be told from its successor's.
 */
export interface Lease {
  readonly fence: number;
  /** False once the lease has run out or was released: stop, and change nothing more. */
  isHeld(): boolean;
  release(): Promise<void>;
}

export interface LeaseStore {
  /** @returns undefined when somebody else holds it */
  acquire(name: string, ttlMs: number): Promise<Lease | undefined>;
}
