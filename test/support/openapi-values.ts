/** Requests that an OpenAPI document allows, drawn at random from its schemas and examples. */
import {
  type Content,
  type OpenApiDocument,
  type Operation,
  type Parameter,
  parametersIn,
  resolved,
  type Schema,
} from './openapi-document.js';
import type { RawRequest } from './raw-request.js';
import type { SeededRandom } from './seeded-random.js';

/** A request in parts, so that one of them can be broken. */
export interface DrawnRequest {
  readonly path: Readonly<Record<string, string>>;
  /** Texts as they stand in the URL, without encoding. */
  readonly query: readonly (readonly [string, string])[];
  readonly headers: Readonly<Record<string, string>>;
  readonly mediaType?: string;
  /** A text goes out as it is under every media type but JSON. */
  readonly body?: unknown;
}

/** What a schema cannot tell: values that name something, by the name of their field or parameter. */
export type KnownValues = Readonly<Record<string, readonly unknown[]>>;

const WORDS = [
  'a',
  'users',
  'user-123',
  'Zürich',
  '日本',
  '🙂',
  'x y',
  "it's",
  '"quoted"',
  '*',
  '%',
  '2024-01-15',
  '0',
  'null',
  'A'.repeat(60),
];
const LENGTH_MAX = 40;

export class RequestGenerator {
  constructor(
    private readonly document: OpenApiDocument,
    private readonly known: KnownValues,
    private readonly random: SeededRandom,
  ) {}

  draw(operation: Operation): DrawnRequest {
    const isGiven = ({ required = false }: Parameter): boolean => required || this.random.chance(0.3);
    const query = parametersIn(operation, 'query').filter(isGiven);
    const headers = parametersIn(operation, 'header').filter((parameter) => parameter.name !== 'Content-Encoding' && isGiven(parameter));
    return {
      path: Object.fromEntries(parametersIn(operation, 'path').map((each) => [each.name, String(this.#named(each.name, each.schema))])),
      query: query.flatMap((each) => [this.#named(each.name, each.schema)].flat().map((value) => [each.name, textOf(value)] as const)),
      headers: Object.fromEntries(headers.map((each) => [each.name, asHeader(textOf(this.value(each.schema)))])),
      ...this.#body(operation),
    };
  }

  #body({ body, isBodyRequired }: Operation): Pick<DrawnRequest, 'mediaType' | 'body'> {
    const kinds = Object.entries(body).filter(([, { schema = {} }]) => schema.format !== 'binary');
    if (kinds.length === 0 || (!isBodyRequired && this.random.chance(0.2))) return {};
    const [mediaType, content] = this.random.pick(kinds);
    return { mediaType, body: this.#content(content) };
  }

  /** Half of the bodies are examples with other values in some of their fields: those go deeper than what is all random. */
  #content({ schema = {}, examples = {} }: Content): unknown {
    const written = Object.values(examples).map(({ value }) => value);
    if (written.length === 0 || this.random.chance(0.4)) return this.value(schema);
    const example = this.random.pick(written);
    if (typeof example !== 'object' || example === null || Array.isArray(example)) return example;
    const { properties = {} } = resolved(this.document, schema);
    const fields = Object.entries(example).map(([name, value]): [string, unknown] => {
      const field = properties[name];
      return [name, field && this.random.chance(0.35) ? this.#named(name, field) : value];
    });
    return Object.fromEntries(fields);
  }

  #named(name: string, schema: Schema): unknown {
    const values = this.known[name];
    return values && this.random.chance(0.9) ? this.random.pick(values) : this.value(schema);
  }

  /** A value that fits the schema. */
  value(given: Schema): unknown {
    const schema = resolved(this.document, given);
    if (schema.oneOf) return this.value(this.random.pick(schema.oneOf));
    if (schema.enum) return this.random.pick(schema.enum);
    if (schema.example !== undefined && this.random.chance(0.3)) return schema.example;
    if (schema.default !== undefined && this.random.chance(0.1)) return schema.default;
    if (schema.type === 'object' || schema.properties) return this.#object(schema);
    if (schema.type === 'array') return this.#array(schema);
    if (schema.type === 'boolean') return this.random.chance(0.5);
    if (schema.type === 'integer') return this.#integer(schema);
    if (schema.type === 'number') return this.random.pick([0, -0.5, 1e15, 3.25, this.random.fraction()]);
    if (schema.type === 'string') return this.#text(schema);
    return this.random.pick([null, true, 7, 2.5, 'text']);
  }

  #object({ properties = {}, required = [], additionalProperties = false }: Schema): Record<string, unknown> {
    const given = Object.entries(properties).filter(([name]) => required.includes(name) || this.random.chance(0.35));
    const fields = given.map(([name, schema]): [string, unknown] => [name, this.#named(name, schema)]);
    if (additionalProperties === false) return Object.fromEntries(fields);
    const schema = additionalProperties === true ? {} : additionalProperties;
    const others = Array.from({ length: this.random.integer(0, 4) }, (): [string, unknown] => [
      this.random.pick(WORDS),
      this.value(schema),
    ]);
    return Object.fromEntries([...fields, ...others]);
  }

  #array({ items = {}, minItems = 0, maxItems = 3 }: Schema): unknown[] {
    return Array.from({ length: this.random.integer(minItems, Math.min(maxItems, minItems + 3) + 1) }, () => this.value(items));
  }

  #integer({ minimum = -(2 ** 40), maximum = 2 ** 40 }: Schema): number {
    return this.random.pick([minimum, maximum, Math.min(maximum, minimum + 1), this.random.integer(minimum, maximum + 1)]);
  }

  #text({ format, pattern, example, minLength = 0, maxLength = LENGTH_MAX }: Schema): string {
    if (format === 'date-time') return new Date(this.random.integer(0, 2 ** 41)).toISOString();
    if (pattern !== undefined) {
      const fits = [...WORDS, '', `t${this.random.integer(0, 100)}`].filter((word) => new RegExp(pattern).test(word));
      return fits.length > 0 ? this.random.pick(fits) : String(example);
    }
    return this.random.pick(WORDS).slice(0, maxLength).padEnd(minLength, 'x');
  }
}

/** A drawn request as it goes over the wire. */
export function toRaw({ method, path }: Operation, drawn: DrawnRequest): RawRequest {
  const filled = path.replace(/\{(\w+)\}/g, (_whole, name: string) => encodeURIComponent(drawn.path[name] ?? ''));
  const query = drawn.query.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&');
  const body = bodyText(drawn);
  return {
    method,
    path: query === '' ? filled : `${filled}?${query}`,
    headers: { ...(drawn.mediaType === undefined ? {} : { 'content-type': drawn.mediaType }), ...drawn.headers },
    ...(body === undefined ? {} : { body }),
  };
}

/** The text of a body, as its media type has it. */
export function bodyText({ mediaType, body }: DrawnRequest): string | undefined {
  if (mediaType === undefined) return undefined;
  return mediaType !== 'application/json' && typeof body === 'string' ? body : JSON.stringify(body);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Bytes of UTF-8, which is how a header carries other letters. */
function asHeader(text: string): string {
  return Buffer.from(text).toString('latin1');
}
