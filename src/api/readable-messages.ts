/**
 * gRPC messages that cannot be decoded. The library would answer INTERNAL, as if the fault were ours; so the decoder hands the fault on, and it is
 * refused like any other bad input.
 */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { type AppError, invalidArgument, messageOf } from '../common/app-error.js';

interface Method {
  requestDeserialize?: (bytes: Buffer) => unknown;
}

export class UnreadableMessage {
  readonly error: AppError;

  constructor(cause: unknown) {
    this.error = invalidArgument(`the message cannot be read: ${messageOf(cause)}`);
  }
}

/** Makes the decoders of all methods of a package give an UnreadableMessage instead of throwing. */
export function catchUnreadable(definition: Readonly<Record<string, unknown>>): void {
  for (const service of Object.values(definition)) {
    for (const method of Object.values(service as Record<string, Method>)) {
      const decode = method.requestDeserialize;
      if (typeof decode !== 'function') continue;
      method.requestDeserialize = (bytes) => {
        try {
          return decode(bytes);
        } catch (error) {
          return new UnreadableMessage(error);
        }
      };
    }
  }
}

/** Refuses calls whose message could not be read. Streams of messages check each one themselves. */
export class ReadableMessageGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const message: unknown = context.getArgByIndex(0);
    if (message instanceof UnreadableMessage) throw message.error;
    return true;
  }
}
