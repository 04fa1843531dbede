/**
 * The request that the running code serves: its id goes into every log line and every error answer, its principal says what it may touch, its tables
 * go into the metrics of requests.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Principal } from './access.js';

export interface RequestContext {
  readonly requestId: string;
  /** Address of the other end. */
  readonly peer: string;
  /** Set once it is known. */
  principal?: Principal;
  /** Those it turned out to be about; undefined as long as that is not known. */
  tables?: readonly string[];
}

export const requestContext = new AsyncLocalStorage<RequestContext>();

/** The id of the request being served, or an empty string outside of one. */
export function currentRequestId(): string {
  return requestContext.getStore()?.requestId ?? '';
}

/** Says what tables the request being served is about. */
export function noteTables(tables: readonly string[]): void {
  const context = requestContext.getStore();
  if (context) context.tables = tables;
}
