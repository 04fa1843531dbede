/** Signals that abort when the client of a request is gone, or waits no longer: nobody needs the answer, so the work for it stops. */
import type { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';

/** Aborts when the client closes the connection before it has its answer. */
export function httpGoneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  // It may have gone while its body was read: then there is no event any more.
  if (response.destroyed || response.socket?.destroyed === true) gone.abort();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  return gone.signal;
}

/** Aborts when the client cancels the call, closes the connection, or when the call's deadline has passed. */
export function grpcGoneSignal(call: EventEmitter & { readonly cancelled: boolean }): AbortSignal {
  const gone = new AbortController();
  // It may have gone before the call came to its handler.
  if (call.cancelled) gone.abort();
  call.once('cancelled', () => gone.abort());
  return gone.signal;
}
