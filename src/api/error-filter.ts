/**
 * The one place where a failure becomes an answer, for REST and gRPC alike. Whatever is not an AppError by then is either the framework's (a body
 * that is too large, an unknown route) and gets the code that fits, or a fault of ours: logged whole, told as INTERNAL.
 */
import { Metadata } from '@grpc/grpc-js';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { type Observable, of, throwError } from 'rxjs';
import { AppError, ERROR_STATUS, type ErrorCode, messageOf } from '../common/app-error.js';
import { currentRequestId, noteFailure } from '../common/request-context.js';
import type { Logger } from '../common/logger.js';

const CODE_BY_HTTP_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  413: 'PAYLOAD_TOO_LARGE',
  414: 'INVALID_ARGUMENT',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  429: 'RESOURCE_EXHAUSTED',
  431: 'INVALID_ARGUMENT',
  503: 'UNAVAILABLE',
};

export interface ErrorBody {
  readonly error: ErrorCode;
  readonly code: number;
  readonly message: string;
  readonly request_id: string;
  readonly details: readonly unknown[];
}

/** Any failure as an AppError. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const status = error instanceof HttpException ? error.getStatus() : (error as { statusCode?: unknown } | undefined)?.statusCode;
  const code = typeof status === 'number' ? CODE_BY_HTTP_STATUS[status] : undefined;
  if (code) return new AppError(code, frameworkMessage(error), { cause: error });
  if (/^IO Error|No space left on device/.test(messageOf(error))) {
    return new AppError('UNAVAILABLE', 'the disk cannot be read or written (is it full?); the server resumes by itself when it can', {
      cause: error,
      retryAfterSeconds: 5,
    });
  }
  return new AppError('INTERNAL', 'something failed inside the server; its log has the details under the request id', { cause: error });
}

function frameworkMessage(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^Cannot (\w+) /, 'no route for $1 ');
}

function errorBody(error: AppError, requestId: string): ErrorBody {
  return {
    error: error.code,
    code: ERROR_STATUS[error.code].http,
    message: error.message,
    request_id: requestId,
    details: error.details,
  };
}

/** Sends an error over HTTP. */
export function replyWithError(reply: FastifyReply, error: AppError): void {
  noteFailure(error.code);
  if (error.retryAfterSeconds !== undefined) void reply.header('retry-after', String(error.retryAfterSeconds));
  void reply
    .status(ERROR_STATUS[error.code].http)
    .header('content-type', 'application/json; charset=utf-8')
    .send(JSON.stringify(errorBody(error, currentRequestId() || reply.request.id)));
}

/** The same failure as gRPC has it. */
export function grpcStatus(error: AppError): { code: number; details: string; metadata: Metadata } {
  noteFailure(error.code);
  const metadata = new Metadata();
  metadata.set('error-code', error.code);
  // Reflection and health are served outside of any request of ours.
  if (currentRequestId() !== '') metadata.set('request-id', currentRequestId());
  if (error.retryAfterSeconds !== undefined) metadata.set('retry-after', String(error.retryAfterSeconds));
  if (error.details.length > 0) metadata.set('error-details-bin', Buffer.from(JSON.stringify(error.details)));
  return { code: ERROR_STATUS[error.code].grpc, details: error.message, metadata };
}

interface GrpcCall {
  emit(event: 'error', error: unknown): void;
}

@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(thrown: unknown, host: ArgumentsHost): Observable<unknown> | undefined {
    const error = toAppError(thrown);
    this.#log(error);
    if (host.getType() === 'http') {
      const reply = host.switchToHttp().getResponse<FastifyReply>();
      if (!reply.sent) replyWithError(reply, error);
      return undefined;
    }
    return this.#answerGrpc(error, host.getArgs());
  }

  #log(error: AppError): void {
    if (error.code === 'INTERNAL' || error.code === 'DATA_CORRUPTION') this.logger.error({ err: error.cause ?? error }, error.message);
    else if (error.code === 'UNAVAILABLE') this.logger.warn({ err: error.cause }, error.message);
  }

  /** A stream call must be ended by hand: the framework would end the process with an unhandled rejection. */
  #answerGrpc(error: AppError, parameters: unknown[]): Observable<unknown> {
    const status = grpcStatus(error);
    const callback = parameters[1];
    if (typeof callback === 'function') {
      (callback as (status: unknown) => void)(status);
      return of(undefined);
    }
    if (parameters.length === 1) {
      (parameters[0] as GrpcCall).emit('error', status);
      return of(undefined);
    }
    return throwError(() => status);
  }
}
