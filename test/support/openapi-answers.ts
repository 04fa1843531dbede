/** Whether an answer is one that the OpenAPI document, and for failures the contract, allows. */
import type { Ajv, ValidateFunction } from 'ajv';
import AjvModule from 'ajv';
import formatsModule from 'ajv-formats';
import type { OpenApiDocument, Operation, Schema } from './openapi-document.js';
import type { RawAnswer } from './raw-request.js';

/** The contract's table of codes. METHOD_NOT_ALLOWED and UNSUPPORTED_MEDIA_TYPE are additions of ours. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  ALREADY_EXISTS: 409,
  CONFLICT: 409,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RESOURCE_EXHAUSTED: 429,
  CANCELLED: 499,
  INTERNAL: 500,
  DATA_CORRUPTION: 500,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
};
const RETRIED = [429, 503];
const DOCUMENT = 'openapi';

export class AnswerJudge {
  readonly #ajv: Ajv;
  readonly #validators = new Map<string, ValidateFunction>();

  constructor(private readonly document: OpenApiDocument) {
    // The two packages are CommonJS: what they export by default is a member of what is imported.
    this.#ajv = new AjvModule.default({ strict: false, allErrors: true });
    formatsModule.default(this.#ajv);
    this.#ajv.addSchema(closed(document), DOCUMENT);
  }

  /** What is wrong with the answer of an operation; undefined when it is as documented. */
  faultOf(operation: Operation, answer: RawAnswer): string | undefined {
    const response = operation.responses[String(answer.status)];
    if (!response) return `status ${answer.status} is not documented`;
    const mediaType = mediaTypeOf(answer);
    const documented = Object.keys(response.content ?? {});
    if (!documented.includes(mediaType)) return `content type ${answer.contentType} is not documented (${documented.join(', ')})`;
    if (mediaType !== 'application/json') return undefined;
    const place = [
      'paths',
      operation.path,
      operation.method.toLowerCase(),
      'responses',
      String(answer.status),
      'content',
      mediaType,
      'schema',
    ];
    return this.schemaFault(place, parsed(answer.text)) ?? (answer.status >= 400 ? errorFault(answer) : undefined);
  }

  /** What is wrong with a failure of no operation, such as one of an unknown path. */
  errorFaultOf(answer: RawAnswer): string | undefined {
    if (mediaTypeOf(answer) !== 'application/json') return `content type ${answer.contentType}`;
    return this.schemaFault(['components', 'schemas', 'ErrorDto'], parsed(answer.text)) ?? errorFault(answer);
  }

  /** What is wrong with a value by the schema that stands at a place of the document. */
  schemaFault(place: readonly string[], value: unknown): string | undefined {
    const pointer = place.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/');
    let validate = this.#validators.get(pointer);
    if (!validate) this.#validators.set(pointer, (validate = this.#ajv.compile({ $ref: `${DOCUMENT}#/${pointer}` })));
    if (validate(value)) return undefined;
    return this.#ajv.errorsText(validate.errors, { dataVar: 'body' });
  }
}

function mediaTypeOf({ contentType }: RawAnswer): string {
  return contentType.split(';')[0] ?? '';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

interface ErrorBody {
  readonly error: string;
  readonly code: number;
  readonly message: string;
  readonly request_id: string;
}

function errorFault({ status, headers, text }: RawAnswer): string | undefined {
  const { error, code, message, request_id: requestId } = JSON.parse(text) as ErrorBody;
  if (code !== status) return `code is ${code} under HTTP ${status}`;
  if (STATUS_OF_CODE[error] !== status) return `${error} does not go with HTTP ${status}`;
  if (message === '') return 'the message is empty';
  if (requestId === '') return 'request_id is empty';
  const sentId = headers['x-request-id'];
  if (sentId !== undefined && sentId !== requestId) return `X-Request-Id is ${String(sentId)}, request_id ${requestId}`;
  if (RETRIED.includes(status) && !/^[1-9]\d*$/.test(headers['retry-after'] ?? '')) return 'Retry-After is missing';
  return undefined;
}

/** The document with every list of properties taken as whole: a field that it does not name is a fault. */
function closed(document: OpenApiDocument): object {
  const schemas = Object.entries(document.components.schemas).map(([name, schema]): [string, Schema] => [
    name,
    schema.properties && schema.additionalProperties === undefined ? { ...schema, additionalProperties: false } : schema,
  ]);
  return { ...document, components: { schemas: Object.fromEntries(schemas) } };
}
