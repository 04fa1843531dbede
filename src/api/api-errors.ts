/** What the OpenAPI document says of failures: the body they all have, and for each operation the statuses that it may answer with. */
import { applyDecorators } from '@nestjs/common';
import { ApiExtraModels, ApiProperty, ApiResponse, type ApiResponseOptions, getSchemaPath } from '@nestjs/swagger';
import { ERROR_STATUS, type ErrorCode } from '../common/app-error.js';
import type { ErrorBody } from './error-filter.js';

export class ErrorDto implements ErrorBody {
  @ApiProperty({ enum: Object.keys(ERROR_STATUS), example: 'NOT_FOUND' }) error: ErrorCode;
  @ApiProperty({ type: 'integer', example: 404, description: 'The HTTP status once more' }) code: number;
  @ApiProperty({ example: 'table users does not exist', description: 'What failed, the values, and what to do about it' }) message: string;
  @ApiProperty({ example: '2f6c1a54-7d0c-4a8e-9f4b-3c1e5d7a9b20', description: 'X-Request-Id of the request, or one made for it' })
  request_id: string;
  @ApiProperty({ type: 'array', items: { type: 'object' }, description: 'Facts for a program, such as each field that was refused' })
  details: readonly unknown[];
}

/** Whatever carries a body may have one that cannot be read. */
export const BODY_ERRORS = ['INVALID_ARGUMENT', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const;

/** Of everything that is not open to everybody. Too many wrong secrets lock out (429). */
const ACCESS_ERRORS = ['UNAUTHENTICATED', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED'] as const;

/** What no operation is safe from. */
const GENERAL_ERRORS = ['INTERNAL', 'DATA_CORRUPTION', 'UNAVAILABLE'] as const;

const MEANING: Readonly<Record<ErrorCode, string>> = {
  INVALID_ARGUMENT: 'the request cannot be understood; the message names what to change',
  UNAUTHENTICATED: 'the caller did not say who it is',
  PERMISSION_DENIED: 'the caller may not do this',
  NOT_FOUND: 'what the request names is not there',
  METHOD_NOT_ALLOWED: 'the path is there, the method is not; Allow names those that are',
  ALREADY_EXISTS: 'what the request would make is there',
  CONFLICT: 'the request does not fit the present state',
  PAYLOAD_TOO_LARGE: 'the request is beyond a limit, which the message names',
  UNSUPPORTED_MEDIA_TYPE: 'the Content-Type or Content-Encoding is not one that is read here',
  RESOURCE_EXHAUSTED: 'the server has too much to do, or a limit is reached; try again after Retry-After seconds',
  CANCELLED: 'somebody stopped it',
  INTERNAL: 'a fault of the server; its log has the details under the request id',
  DATA_CORRUPTION: 'stored data is damaged',
  UNAVAILABLE: 'something that it needs is away; try again after Retry-After seconds',
  DEADLINE_EXCEEDED: 'it took longer than it may',
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
