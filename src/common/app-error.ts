/**
 * The one error class of the product and the one table that gives its codes a meaning on the wire.
 *
 * Whoever finds a failure names it with a code; the transport (REST or gRPC) translates it here and nowhere else, so both doors
 * answer the same. A message names what failed, the values, and the remedy; it never carries a row's values or a path of ours.
 */

/** What each code means over HTTP and gRPC (numbers of `grpc.status`). */
export const ERROR_STATUS = {
  INVALID_ARGUMENT: { http: 400, grpc: 3 },
  UNAUTHENTICATED: { http: 401, grpc: 16 },
  PERMISSION_DENIED: { http: 403, grpc: 7 },
  NOT_FOUND: { http: 404, grpc: 5 },
  METHOD_NOT_ALLOWED: { http: 405, grpc: 12 },
  ALREADY_EXISTS: { http: 409, grpc: 6 },
  CONFLICT: { http: 409, grpc: 10 },
  PAYLOAD_TOO_LARGE: { http: 413, grpc: 8 },
  UNSUPPORTED_MEDIA_TYPE: { http: 415, grpc: 3 },
  RESOURCE_EXHAUSTED: { http: 429, grpc: 8 },
  CANCELLED: { http: 499, grpc: 1 },
  INTERNAL: { http: 500, grpc: 13 },
  DATA_CORRUPTION: { http: 500, grpc: 15 },
  UNAVAILABLE: { http: 503, grpc: 14 },
  DEADLINE_EXCEEDED: { http: 504, grpc: 4 },
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

export interface AppErrorOptions {
  /** The failure below this one; kept for the log, never shown to a caller. */
  readonly cause?: unknown;
  /** Structured facts for the caller, such as the list of refused fields. */
  readonly details?: readonly unknown[];
  /** Seconds after which trying again makes sense (RESOURCE_EXHAUSTED, UNAVAILABLE). */
  readonly retryAfterSeconds?: number;
}

/** A failure that a caller may be told of. */
export class AppError extends Error {
  readonly details: readonly unknown[];
  readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: AppErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.details = options.details ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds ?? (code === 'RESOURCE_EXHAUSTED' || code === 'UNAVAILABLE' ? 1 : undefined);
  }
}

export function invalidArgument(message: string, details?: readonly unknown[]): AppError {
  return new AppError('INVALID_ARGUMENT', message, details ? { details } : {});
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** True for a Node system error with one of these codes (`ENOENT`, `EEXIST`, ...). */
export function isSystemError(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}
