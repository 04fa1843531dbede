/** Guards gRPC services that are not the product's own, reflection and health: no guard of routes stands before them. */
import { type Metadata, ResponderBuilder, ServerInterceptingCall, type ServerInterceptor, ServerListenerBuilder } from '@grpc/grpc-js';
import { grpcStatus, toAppError } from '../api/error-filter.js';
import type { Authenticator, Credentials } from './authenticator.js';

export function guardServices(authenticator: Authenticator): ServerInterceptor {
  return (method, call) => {
    if (!method.path.startsWith('/grpc.')) return new ServerInterceptingCall(call);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        authenticator.principalOf(credentialsIn(metadata), call.getPeer().replace(/:\d+$/, '')).then(
          () => next(metadata),
          (error: unknown) => call.sendStatus(grpcStatus(toAppError(error))),
        );
      })
      .build();
    const responder = new ResponderBuilder().withStart((next) => next(listener)).build();
    return new ServerInterceptingCall(call, responder);
  };
}

export function credentialsIn(metadata: Metadata | undefined): Credentials {
  const value = (name: keyof Credentials): string | undefined => metadata?.get(name)[0]?.toString();
  return { authorization: value('authorization'), 'x-api-key': value('x-api-key'), 'x-api-secret': value('x-api-secret') };
}
