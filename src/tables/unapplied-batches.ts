/**
 * Arrow batches of a buffer that are in the log and in memory, and not yet in the engine. They go there many at a time: when somebody reads the
 * buffer, when there are so many that reading would take long, and at the latest with a flush.
 */

/** Fields of a stream that are a table's id and timestamp. */
export interface KeyFields {
  readonly id: string;
  readonly timestamp: string;
}

export interface UnappliedBatches {
  /** An Arrow IPC stream; see `engine/arrow/plain-stream.ts` for what it may have. */
  readonly stream: Buffer;
  readonly fields: KeyFields;
  readonly rows: number;
  /** LSN of its first row; row n has this plus n. */
  readonly firstLsn: number;
}
