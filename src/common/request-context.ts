/** The request that the running code serves: its id goes into every log line and every error answer, and its principal says what it may touch. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Principal } from './access.js';

export interface RequestContext {
  readonly requestId: string;
  /** Address of the other end. */
  readonly peer: string;
  /** Set once it is known. */
  principal?: Principal;
}

export const requestContext = new AsyncLocalStorage<RequestContext>();

/** The id of the request being served, or an empty string outside of one. */
export function currentRequestId(): string {
  return requestContext.getStore()?.requestId ?? '';
}
