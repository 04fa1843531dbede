/** Ways to break a request that an OpenAPI document allows. Each takes a drawn request and gives one that differs in one thing. */
import { type OpenApiDocument, type Operation, parametersIn, resolved, type Schema } from './openapi-document.js';
import { bodyText, type DrawnRequest, toRaw } from './openapi-values.js';
import type { RawRequest } from './raw-request.js';
import type { SeededRandom } from './seeded-random.js';

export interface BrokenRequest extends RawRequest {
  /** What was done to it. */
  readonly fault: string;
  /** Nothing but a refusal can be the answer. */
  readonly isHopeless: boolean;
}

interface Breakable {
  readonly operation: Operation;
  readonly drawn: DrawnRequest;
  readonly raw: RawRequest;
  readonly random: SeededRandom;
}

interface Fault {
  readonly name: string;
  readonly fits: (breakable: Breakable) => boolean;
  readonly apply: (breakable: Breakable) => Partial<RawRequest>;
  readonly isHopeless?: boolean;
}

/** Values that programs trip over, as JSON text. */
const EXTREMES = [
  'null',
  'true',
  '""',
  '" "',
  '[]',
  '{}',
  '[[]]',
  '[null]',
  '-1',
  '-0.0',
  '0.1',
  '1e308',
  '1e400',
  '2147483648',
  '9007199254740993',
  '9223372036854775808',
  '-9223372036854775809',
  '123456789012345678901234567890123456789012',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udfff\\ud800"',
  '"\\u202e\\ufeff"',
  '"\\\\"',
  '"\'; DROP TABLE users; --"',
  '"../../etc/passwd"',
  '"%00%ff"',
  '"__proto__"',
  '{"__proto__":{"isAdmin":true}}',
  '{"constructor":{"prototype":1}}',
  '{"toString":null,"length":-1}',
  JSON.stringify('x'.repeat(300)),
  JSON.stringify('ä'.repeat(20_000)),
  `${'['.repeat(40)}${']'.repeat(40)}`,
  `${'{"a":'.repeat(200)}1${'}'.repeat(200)}`,
  JSON.stringify(Array.from({ length: 2_000 }, (_, index) => index)),
  JSON.stringify(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`k${index}`, index]))),
  '"9999-12-31T23:59:59.999999999Z"',
  '"-271821-04-20T00:00:00Z"',
  '"2024-02-30T00:00:00Z"',
];

/** Stands for one of these values while the body is an object. */
const MARK = '\u0001mark\u0001';

/** Parameter values as they stand in the URL, encoded or badly so. */
const ODD_TEXTS = [
  '',
  '%',
  '%Z',
  '%ZZ',
  '%00',
  '%FF',
  '%C3%28',
  '%ED%A0%80',
  '%F0%9F%99%82',
  '\xff\xfe',
  '%20',
  '+',
  '..',
  '%2e%2e%2fetc',
  '*',
  '%5B%5D',
  '-1',
  '1e3',
  '0x10',
  'NaN',
  '99999999999999999999',
  'true,false',
  'x'.repeat(99),
  'x'.repeat(101),
  'x'.repeat(3_000),
  '{}',
  '[',
  '(a+)+$',
  '%7Ba,b%7D',
  '__proto__',
];

const ODD_QUERIES = [
  '&&&',
  '=',
  '=x',
  'x',
  'x=%ZZ',
  '%ZZ=x',
  '%FF=%FF',
  'a[b]=c',
  'a[]=1&a[]=2',
  '__proto__=1',
  '__proto__[x]=1',
  'constructor=1',
  'x='.padEnd(6_000, 'y'),
  Array.from({ length: 1_200 }, (_, index) => `p${index}=`).join('&'),
  '?',
  '#',
  ';;',
];

const WRONG_MEDIA_TYPES = [
  'text/plain',
  'application/xml',
  'application/octet-stream',
  'multipart/form-data; boundary=x',
  'application/jsonp',
  ';;;',
  '/',
];

const BROKEN_JSON = ['{', '{"table":', '[1,]', '{"a":1,}', "{'a':1}", '{"a":NaN}', '{"a":01}', 'undefined', '{"a":1}{"b":2}', '"', '\0'];

const NOT_OBJECTS = ['[]', 'null', '"users"', '12', 'true', '[{"table":"users"}]', '\ufeff{}'];

const hasJson = ({ drawn }: Breakable): boolean => drawn.mediaType === 'application/json' && isObject(drawn.body);
const hasBody = ({ raw }: Breakable): boolean => raw.body !== undefined;
const changes = ({ operation }: Breakable): boolean => operation.method !== 'GET';
/** The bulk route reads other types than JSON, too, and a body that ends early may be a row. */
const readsOnlyJson = ({ operation }: Breakable): boolean => changes({ operation } as Breakable) && !('text/csv' in operation.body);

const FAULTS: readonly Fault[] = [
  { name: 'a field of another kind', fits: hasJson, apply: withExtremeField },
  { name: 'two fields of another kind', fits: hasJson, apply: (breakable) => withExtremeField(breakable, 2) },
  { name: 'a field deep inside of another kind', fits: hasJson, apply: withExtremeInside },
  {
    name: 'a required field missing',
    fits: (breakable) => hasJson(breakable) && requiredIn(breakable).length > 0,
    apply: withoutRequired,
    isHopeless: true,
  },
  {
    name: 'a field that is not known',
    fits: (breakable) => hasJson(breakable) && readsOnlyJson(breakable),
    apply: ({ drawn, random }) => ({ body: withField(drawn.body, random.pick(['nonsense', 'Table', '', '__proto__x', 'toString']), '1') }),
    isHopeless: true,
  },
  {
    name: 'a field twice',
    fits: hasJson,
    apply: ({ drawn, random }) => ({
      body: withField(drawn.body, random.pick(Object.keys(drawn.body as object).concat('x')), random.pick(EXTREMES)),
    }),
  },
  { name: 'no object', fits: hasJson, apply: ({ random }) => ({ body: random.pick(NOT_OBJECTS) }) },
  {
    name: 'broken JSON',
    fits: readsOnlyJson,
    apply: ({ raw, random }) => ({ body: random.pick(BROKEN_JSON), headers: { ...raw.headers, 'content-type': 'application/json' } }),
    isHopeless: true,
  },
  {
    name: 'a body cut short',
    fits: (breakable) => hasBody(breakable),
    apply: ({ raw, random }) => ({ body: bytesOf(raw).subarray(0, random.integer(0, bytesOf(raw).length)) }),
  },
  { name: 'a byte changed', fits: (breakable) => hasBody(breakable) && bytesOf(breakable.raw).length > 0, apply: withByteChanged },
  {
    name: 'an empty body',
    fits: changes,
    apply: ({ raw }) => ({ body: '', headers: { ...raw.headers, 'content-type': 'application/json' } }),
  },
  { name: 'no body', fits: hasBody, apply: ({ raw }) => ({ body: undefined, headers: { ...raw.headers, 'content-length': '0' } }) },
  {
    name: 'a body over the limit',
    fits: readsOnlyJson,
    apply: ({ raw }) => ({ body: `{"sql":"${'x'.repeat(300_000)}"}`, headers: { ...raw.headers, 'content-type': 'application/json' } }),
    isHopeless: true,
  },
  {
    name: 'a body of a type that is not read',
    fits: changes,
    apply: ({ raw, random }) => ({ body: raw.body || 'x', headers: { ...raw.headers, 'content-type': random.pick(WRONG_MEDIA_TYPES) } }),
    isHopeless: true,
  },
  { name: 'a body without a type', fits: hasBody, apply: ({ raw }) => ({ headers: without(raw.headers, 'content-type') }) },
  {
    name: 'another encoding of the text',
    fits: hasBody,
    apply: ({ raw, random }) => ({
      headers: { ...raw.headers, 'content-type': `application/json; charset=${random.pick(['latin1', 'utf-16', '"', 'x'.repeat(500)])}` },
    }),
  },
  {
    name: 'a compression that it has not',
    fits: hasBody,
    apply: ({ raw, random }) => ({
      headers: { ...raw.headers, 'content-encoding': random.pick(['gzip', 'zstd', 'br', 'gzip, gzip', '']) },
    }),
  },
  {
    name: 'random bytes',
    fits: (breakable) => Object.keys(breakable.operation.body).length > 0,
    apply: ({ operation, random }) => ({
      body: Buffer.from(Array.from({ length: random.integer(1, 400) }, () => random.integer(0, 256))),
      headers: { 'content-type': random.pick(Object.keys(operation.body)) },
    }),
  },
  {
    name: 'a body where there is none',
    fits: ({ operation }) => operation.method === 'GET',
    apply: () => ({ body: '{"a":', headers: { 'content-type': 'application/json' } }),
  },
  {
    name: 'an odd header',
    fits: () => true,
    apply: ({ raw, random }) => ({ headers: { ...raw.headers, ...random.pick(ODD_HEADERS) } }),
  },
  { name: 'an odd query', fits: () => true, apply: ({ raw, random }) => ({ path: withQuery(raw.path, random.pick(ODD_QUERIES)) }) },
  {
    name: 'an odd parameter in the query',
    fits: ({ operation }) => parametersIn(operation, 'query').length > 0,
    apply: ({ operation, raw, random }) => {
      const { name } = random.pick(parametersIn(operation, 'query'));
      const [path = ''] = raw.path.split('?');
      return { path: withQuery(random.chance(0.5) ? path : raw.path, `${name}=${random.pick(ODD_TEXTS)}`) };
    },
  },
  {
    name: 'an odd parameter in the path',
    fits: ({ operation }) => parametersIn(operation, 'path').length > 0,
    // An empty one, or one with dots only, would name another path.
    apply: ({ operation, random }) => ({
      path: operation.path.replace(/\{\w+\}/, random.pick(ODD_TEXTS.filter((text) => text !== '' && text !== '..'))),
    }),
  },
];

const ODD_HEADERS: readonly Record<string, string>[] = [
  { accept: 'application/xml' },
  { accept: '' },
  { accept: 'text/csv;q=0, */*;q=0.1' },
  { accept: 'x'.repeat(2_000) },
  { 'idempotency-key': '' },
  { 'idempotency-key': 'k'.repeat(256) },
  { 'idempotency-key': '\xff\xfe' },
  { 'idempotency-key': 'the same for everybody' },
  { 'x-request-id': '<script>' },
  { 'x-request-id': 'y'.repeat(3_000) },
  { 'cache-control': 'no-cache, max-age=' },
  { 'if-none-match': '*', range: 'bytes=0-0' },
  { 'accept-encoding': 'gzip;q=2, br' },
  { cookie: 'a=b; '.repeat(300) },
  { 'x-http-method-override': 'DELETE' },
  { authorization: 'Bearer nonsense' },
];

/** Breaks the request with one of the faults that fit, chosen at random. */
export function broken(operation: Operation, drawn: DrawnRequest, random: SeededRandom): BrokenRequest {
  const raw = toRaw(operation, drawn);
  const breakable = { operation, drawn, raw, random };
  const { name, apply, isHopeless = false } = random.pick(FAULTS.filter(({ fits }) => fits(breakable)));
  return { ...raw, ...apply(breakable), fault: name, isHopeless };
}

/** Those of them that have no place where they are not looked for. */
const TRIPPING = ['null', '""', '"\\u0000"', '"\\ud800"', '-1', '1e400', '[]', '[null]', '[[[]]]', '{}', '{"constructor":{"prototype":1}}'];

/** Each documented field of a JSON body, also those inside of others, with each of the values that programs trip over; the rest is an example. */
export function trippedBodies(document: OpenApiDocument, { body }: Operation): string[] {
  const { schema, examples = {} } = body['application/json'] ?? {};
  const values = Object.values(examples).map(({ value }) => value);
  if (!schema || !values.every(isObject)) return [];
  const places = placesIn(document, schema);
  return values.flatMap((example, index) => {
    const isHere = ([root = '']: readonly string[]): boolean => root in example || (index === 0 && !values.some((each) => root in each));
    return places.filter(isHere).flatMap((place) => TRIPPING.map((json) => withValueAt(example, place, json)));
  });
}

function placesIn(document: OpenApiDocument, schema: Schema): string[][] {
  const { properties = {}, items } = resolved(document, schema);
  const members: [string, Schema][] = items ? [['0', items]] : Object.entries(properties);
  return members.flatMap(([name, member]) => [[name], ...placesIn(document, member).map((inner) => [name, ...inner])]);
}

/** Objects and lists on the way are made when they are not there. */
function withValueAt(example: Record<string, unknown>, place: readonly string[], json: string): string {
  const copy = structuredClone(example);
  let holder: Record<string, unknown> = copy;
  place.forEach((name, depth) => {
    const next = place[depth + 1];
    if (next === undefined) holder[name] = MARK;
    else holder = (holder[name] ??= next === '0' ? [] : {}) as Record<string, unknown>;
  });
  return JSON.stringify(copy).replace(JSON.stringify(MARK), () => json);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bytesOf({ body = '' }: RawRequest): Buffer {
  return Buffer.from(body as string);
}

function without(headers: RawRequest['headers'], name: string): RawRequest['headers'] {
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([each]) => each !== name));
}

function withQuery(path: string, query: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}${query}`;
}

/** The object's text with one more field behind the others: their names may be the same, and the value need not be one that JavaScript has. */
function withField(body: unknown, name: string, json: string): string {
  const text = JSON.stringify(body).slice(0, -1);
  return `${text}${text === '{' ? '' : ','}${JSON.stringify(name)}:${json}}`;
}

function withExtremeField({ operation, drawn, random }: Breakable, count = 1): Partial<RawRequest> {
  const names = fieldsOf(operation, drawn);
  const rest = { ...(drawn.body as Record<string, unknown>) };
  const chosen = random.some(names, count);
  for (const name of chosen) Reflect.deleteProperty(rest, name);
  const fields = [
    ...Object.entries(rest).map(([name, value]) => [name, JSON.stringify(value)]),
    ...chosen.map((name) => [name, random.pick(EXTREMES)]),
  ];
  return { body: `{${fields.map(([name = '', value]) => `${JSON.stringify(name)}:${value}`).join(',')}}` };
}

/** Those it has and those that the examples have. */
function fieldsOf({ body }: Operation, drawn: DrawnRequest): string[] {
  const examples = Object.values(body['application/json']?.examples ?? {}).flatMap(({ value }) =>
    isObject(value) ? Object.keys(value) : [],
  );
  return [...new Set([...Object.keys(drawn.body as object), ...examples])];
}

/** Replaces one value anywhere in the body. */
function withExtremeInside({ drawn, random }: Breakable): Partial<RawRequest> {
  const spots: (() => void)[] = [];
  const copy = structuredClone(drawn.body);
  const visit = (holder: Record<string, unknown>): void => {
    for (const [key, value] of Object.entries(holder)) {
      spots.push(() => (holder[key] = MARK));
      if (typeof value === 'object' && value !== null) visit(value as Record<string, unknown>);
    }
  };
  visit(copy as Record<string, unknown>);
  if (spots.length > 0) random.pick(spots)();
  return { body: JSON.stringify(copy).replace(JSON.stringify(MARK), () => random.pick(EXTREMES)) };
}

function requiredIn({ operation, drawn }: Breakable): string[] {
  const required = operation.requiredFields;
  return required.filter((name) => name in (drawn.body as object));
}

function withoutRequired(breakable: Breakable): Partial<RawRequest> {
  const missing = breakable.random.pick(requiredIn(breakable));
  return { body: JSON.stringify({ ...(breakable.drawn.body as object), [missing]: undefined }) };
}

function withByteChanged({ drawn, random }: Breakable): Partial<RawRequest> {
  const bytes = Buffer.from(bodyText(drawn) ?? '');
  bytes[random.integer(0, bytes.length)] = random.integer(0, 256);
  return { body: bytes };
}
