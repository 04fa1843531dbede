/** The request that the running code serves: its id goes into every log line and every error answer. */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface RequestContext {
  readonly requestId: string;
}

export const requestContext = new AsyncLocalStorage<RequestContext>();

/** The id of the request being served, or an empty string outside of one. */
export function currentRequestId(): string {
  return requestContext.getStore()?.requestId ?? '';
}
