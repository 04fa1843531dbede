/** What a query answers with: a page of rows, or the batches of a stream. */
import type { Column, Prepared } from './prepared-statement.js';

export interface QueryStats {
  readonly elapsed_ms: number;
  readonly files_total: number;
  readonly files_scanned: number;
  readonly bytes_scanned: number;
  /** `hit`: the answer was there already; `miss`: it was made and may be kept; `none`: it is not one to keep. */
  readonly cache: 'none' | 'miss' | 'hit';
  readonly query_id: string;
}

export interface Page {
  readonly columns: readonly Column[];
  /** Each row as the text of a JSON object. */
  readonly rows: readonly string[];
  readonly hasMore: boolean;
  readonly nextCursor: string;
  readonly stats: QueryStats;
}

/** Rows of a page; `isCut` when the page is full before its limit. */
export interface PageRows {
  readonly rows: string[];
  readonly isCut: boolean;
}

/** The first rows of a result, with what the statement came to mean. */
export interface FirstRows extends PageRows {
  readonly prepared: Prepared;
}

/** Part of a streamed result. */
export interface Batch {
  readonly rows: readonly string[];
  /** Goes on after this batch; empty after the last. */
  readonly cursor: string;
  readonly hasMore: boolean;
  readonly tables: readonly string[];
}
