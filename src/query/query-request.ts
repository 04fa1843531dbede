/** What a query asks for, whichever door it came through. */
import { type AppError, invalidArgument } from '../common/app-error.js';
import type { Principal } from '../common/access.js';
import type { QueryConfig } from '../config/config.js';
import type { AsOf } from './paging/as-of.js';

export interface QueryRequest {
  readonly sql: string;
  /** Whose query it is: it reads what this principal may read. */
  readonly reader: Principal;
  readonly params?: unknown;
  readonly limit?: number;
  readonly cursor?: string;
  readonly timeoutMs?: number;
  readonly asOf?: AsOf;
  /** The statement is run, whatever is known of it. */
  readonly isFresh?: boolean;
  /** Ends when the client has gone. */
  readonly signal?: AbortSignal;
}

/** @throws AppError INVALID_ARGUMENT for a limit that is not a number of rows that a page may have */
export function pageRowsOf({ limit }: QueryRequest, { page_rows: rows, page_rows_max: rowsMax }: QueryConfig): number {
  if (limit === undefined) return rows;
  if (!isCountUpTo(limit, rowsMax)) throw outOfRange('limit', limit, rowsMax);
  return limit;
}

/** @throws AppError INVALID_ARGUMENT for a time that is not one that a query may have */
export function timeoutMsOf({ timeoutMs }: QueryRequest, { timeout_ms: normal, timeout_ms_max: max }: QueryConfig): number {
  if (timeoutMs === undefined) return normal;
  if (!isCountUpTo(timeoutMs, max)) throw outOfRange('timeout_ms', timeoutMs, max);
  return timeoutMs;
}

function isCountUpTo(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= max;
}

function outOfRange(field: string, got: number, max: number): AppError {
  return invalidArgument(`${field} must be a whole number from 1 to ${max}, got ${got}`, [{ field }]);
}
