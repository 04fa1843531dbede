/**
 * The request that the running code serves: its id goes into every log line and every error answer, its principal says what it may touch, its tables
 * go into the metrics of requests.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Principal } from './access.js';
import type { ErrorCode } from './app-error.js';

export interface RequestContext {
  readonly requestId: string;
  /** Address of the other end. */
  readonly peer: string;
  /** Name of an API key that came with it, right or wrong. */
  readonly keyShown: string | undefined;
  /** Set once it is known. */
  principal?: Principal;
  /** Those it turned out to be about; undefined as long as that is not known. */
  tables?: readonly string[];
  /** What it turned out to be about that is no table. */
  target?: string;
  /** Set when it is answered with an error. */
  failure?: ErrorCode;
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

/** Says what the request being served is about where that is no table: a key or a backup that it makes. */
export function noteTarget(target: string): void {
  const context = requestContext.getStore();
  if (context) context.target = target;
}

/** Says with what error the request being served is answered. */
export function noteFailure(code: ErrorCode): void {
  const context = requestContext.getStore();
  if (context) context.failure = code;
}
