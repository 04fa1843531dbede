/** What the OpenAPI document says of failures: the body they all have, and for each operation the statuses that it may answer with. */
import { applyDecorators } from '@nestjs/common';
import { ApiExtraModels, ApiProperty, ApiResponse, type ApiResponseOptions, getSchemaPath } from '@nestjs/swagger';
import { ERROR_STATUS, type ErrorCode } from '../common/app-error.js';
import type { ErrorBody } from './error-filter.js';

class ErrorDto implements ErrorBody {
  @ApiProperty({ enum: Object.keys(ERROR_STATUS), example: 'NOT_FOUND' }) error: ErrorCode;
  @ApiProperty({ type: 'integer', example: 404, description: 'The HTTP status' }) code: number;
  @ApiProperty({ example: 'table users does not exist', description: 'What failed, the values, and what to do about it' }) message: string;
  @ApiProperty({ example: '2f6c1a54-7d0c-4a8e-9f4b-3c1e5d7a9b20', description: 'X-Request-Id of the request, or a new one' })
  request_id: string;
  @ApiProperty({ type: 'array', items: { type: 'object' }, description: 'Details for programs, such as each refused field' })
  details: readonly unknown[];
}

/** Whatever carries a body may have one that cannot be read. */
export const BODY_ERRORS = ['INVALID_ARGUMENT', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const;

/** Of everything that is not open to everybody. Too many wrong secrets lock out (429). */
const ACCESS_ERRORS = ['UNAUTHENTICATED', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED'] as const;

/** What no operation is safe from. */
const GENERAL_ERRORS = ['INTERNAL', 'DATA_CORRUPTION', 'UNAVAILABLE'] as const;

const MEANING: Readonly<Record<ErrorCode, string>> = {
  INVALID_ARGUMENT: 'the request is invalid; the message says what to change',
  UNAUTHENTICATED: 'credentials are missing or not accepted',
  PERMISSION_DENIED: 'the caller may not do this',
  NOT_FOUND: 'something named in the request does not exist',
  METHOD_NOT_ALLOWED: 'the path exists, but not with this method; Allow lists the methods that do',
  ALREADY_EXISTS: 'what the request would create already exists',
  CONFLICT: 'the request conflicts with the present state',
  PAYLOAD_TOO_LARGE: 'the request exceeds a limit, which the message names',
  UNSUPPORTED_MEDIA_TYPE: 'the Content-Type or Content-Encoding is not supported',
  RESOURCE_EXHAUSTED: 'the server has too much to do, or a limit is reached; try again after Retry-After seconds',
  CANCELLED: 'the request was cancelled',
  INTERNAL: 'a fault of the server; its log has the details under the request id',
  DATA_CORRUPTION: 'stored data is damaged',
  UNAVAILABLE: 'something that the request needs is not available; try again after Retry-After seconds',
  DEADLINE_EXCEEDED: 'the request took longer than allowed',
};

/** The failures of an operation that needs credentials, beside those that any may have. */
export function ApiErrors(...codes: readonly ErrorCode[]): MethodDecorator {
  return ApiPublicErrors(...codes, ...ACCESS_ERRORS);
}

/** The failures of an operation that everybody may use, beside those that any may have. */
export function ApiPublicErrors(...codes: readonly ErrorCode[]): MethodDecorator {
  return ApiOnlyErrors(...codes, ...GENERAL_ERRORS);
}

/** All the failures of an operation. */
export function ApiOnlyErrors(...codes: readonly ErrorCode[]): MethodDecorator {
  const statuses = [...new Set(codes.map((code) => ERROR_STATUS[code].http))];
  return applyDecorators(
    ApiExtraModels(ErrorDto),
    ...statuses.map((status) =>
      ApiResponse(
        errorResponse(
          status,
          codes.filter((code) => ERROR_STATUS[code].http === status),
        ),
      ),
    ),
  );
}

function errorResponse(status: number, codes: readonly ErrorCode[]): ApiResponseOptions {
  const mayRetry = codes.includes('RESOURCE_EXHAUSTED') || codes.includes('UNAVAILABLE');
  return {
    status,
    description: codes.map((code) => `${code}: ${MEANING[code]}`).join('\n\n'),
    content: { 'application/json': { schema: { $ref: getSchemaPath(ErrorDto) } } },
    ...(mayRetry
      ? { headers: { 'Retry-After': { description: 'Seconds', schema: { type: 'integer', minimum: 1 }, required: true } } }
      : {}),
  };
}
