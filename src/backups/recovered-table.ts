/** What a recovery did, or would do, to tables. */

export interface RecoveredTable {
  readonly table: string;
  readonly target_table: string;
  /** Rows of the range in the source. */
  readonly rows_matched: number;
  readonly rows_recovered: number;
  /** Files of the source that hold rows of the range. */
  readonly files_recovered: number;
  /** The first of their ids. */
  readonly recovered_keys: readonly string[];
}

/** A table that no longer existed and was restored as a whole, even if it has no rows. */
export interface RecoveredWhole extends RecoveredTable {
  readonly isWhole?: true;
}

export interface RecoverResult {
  /** A backup's id, or what version of a table. */
  readonly source: string;
  readonly tables: readonly RecoveredWhole[];
}
