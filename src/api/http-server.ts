/** The HTTP server: how bodies are read, how requests get their id, how failures outside of any route are told. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { ServerOptions } from 'node:https';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TextDecoder } from 'node:util';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AppError, invalidArgument, messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { assertTextDepth, parseJson } from '../common/json.js';
import { requestContext } from '../common/request-context.js';
import { allowOrigins, securityHeaders, setSecurityHeaders } from './browser-rules.js';
import { BatchText } from './batch-text.js';
import { unpackers } from './content-encoding.js';
import { cutIdleBodies } from './idle-bodies.js';
import { replyWithError, toAppError } from './error-filter.js';
import type { TlsFiles } from './tls.js';

const REQUEST_ID = /^[\w.:-]{1,128}$/;
/** Formats of bulk bodies: handed to the route as they come. */
const STREAMED_TYPES = ['application/x-ndjson', 'text/csv', 'application/vnd.apache.parquet', 'application/vnd.apache.arrow.stream'];
/** Here JSON is a bulk format, too: it gets a name of its own, because parsers are chosen by the type alone. */
const STREAMED_JSON_ROUTE = '/v1/data/bulk';
export const STREAMED_JSON = 'application/x-streamed-json';
/** Takes batches of records, which it may read without their being parsed. */
const BATCH_ROUTE = '/v1/data';
/** Longer than the idle time of common load balancers, so that they and not we end a connection. */
const KEEP_ALIVE_MS = 72_000;
/** When another try may find a server up that is stopping now. */
const RESTART_SECONDS = 5;
const ANY_HOST = { requireHostHeader: false };

const CLIENT_ERRORS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: 'the request line or the headers are too long',
  ERR_HTTP_REQUEST_TIMEOUT: 'the request did not arrive in time',
};

/** A body that may be read and parsed of anybody: of those who are refused, too, the audit log says what they asked for. */
export const SMALL_BODY_BYTES_MAX = 64 * 1_024;

export interface HttpOptions {
  readonly bodyBytesMax: number;
  readonly jsonDepthMax: number;
  readonly tls: TlsFiles | undefined;
  readonly corsOrigins: readonly string[];
  readonly bodyIdleSeconds: number;
  readonly logger: Logger;
}

export function httpAdapter({ bodyBytesMax, jsonDepthMax, tls, corsOrigins, bodyIdleSeconds, logger }: HttpOptions): FastifyAdapter {
  const headers = securityHeaders(tls !== undefined);
  const adapter = new FastifyAdapter({
    ...(tls ? { https: httpsOptions(tls) } : { http: ANY_HOST }),
    bodyLimit: bodyBytesMax,
    keepAliveTimeout: KEEP_ALIVE_MS,
    genReqId: (request: IncomingMessage) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
    },
    // No hook sees a request whose path cannot be read.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      replyWithError(reply.headers({ ...headers, 'x-request-id': request.id }), toAppError(error)),
    clientErrorHandler: answerClientError,
    // What these refuse by themselves passes by all hooks: `refuseOddRequests` does it.
    return503OnClosing: false,
  });
  const server = adapter.getInstance<FastifyInstance>();
  configure(server, bodyBytesMax, jsonDepthMax);
  setSecurityHeaders(server, headers);
  if (corsOrigins.length > 0) allowOrigins(server, corsOrigins);
  cutIdleBodies(server, bodyIdleSeconds, logger);
  return adapter;
}

function httpsOptions({ cert, key, clientAuthorities }: TlsFiles): ServerOptions {
  return { cert, key, ...ANY_HOST, ...(clientAuthorities ? { ca: clientAuthorities, requestCert: true, rejectUnauthorized: true } : {}) };
}

function configure(server: FastifyInstance, bodyBytesMax: number, jsonDepthMax: number): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer', bodyLimit: bodyBytesMax }, (request, body, done) => {
    const { headers, routeOptions } = request;
    const isBatch = routeOptions.url === BATCH_ROUTE && routeOptions.method === 'POST';
    const parse = (bytes: Buffer): void => {
      try {
        const parsed = (): unknown => parseBody(bytes, jsonDepthMax);
        done(null, (isBatch ? BatchText.of(bytes, parsed) : undefined) ?? parsed());
      } catch (error) {
        done(error as Error);
      }
    };
    if (isPacked(headers))
      unpacked(body as Buffer, headers['content-encoding'], routeOptions.bodyLimit).then(parse, (error: unknown) => done(error as Error));
    else parse(body as Buffer);
  });
  for (const type of [...STREAMED_TYPES, STREAMED_JSON]) {
    server.addContentTypeParser(type, { bodyLimit: Number.MAX_SAFE_INTEGER }, (_request, body: Readable, done) => done(null, body));
  }
  // The bulk route says which formats it takes.
  server.addContentTypeParser('*', (request: FastifyRequest, body: Readable, done: (error: Error | null, body?: unknown) => void) => {
    if (request.routeOptions.url === STREAMED_JSON_ROUTE) done(null, body);
    else
      done(
        new AppError(
          'UNSUPPORTED_MEDIA_TYPE',
          `Content-Type ${(request.headers['content-type'] ?? '').slice(0, 100)} is not supported here; send application/json`,
        ),
      );
  });
  // What is left of a body that was refused would be taken for the next request.
  server.addHook('onSend', (request, reply, payload, done) => {
    if (!request.raw.complete && reply.statusCode >= 400) void reply.header('connection', 'close');
    done(null, payload);
  });
  server.addHook('onRequest', (request: FastifyRequest, reply: FastifyReply, done) => {
    void reply.header('x-request-id', request.id);
    const { headers, routeOptions } = request;
    if (routeOptions.url === STREAMED_JSON_ROUTE && isJson(headers['content-type'])) headers['content-type'] = STREAMED_JSON;
    const key = headers['x-api-key'];
    requestContext.run({ requestId: request.id, peer: request.ip, keyShown: typeof key === 'string' ? key : undefined }, done);
  });
  refuseOddRequests(server);
  refuseOtherMethods(server);
}

/** What Node or the framework would refuse past all hooks, without an id, a body or a line of the audit log. */
function refuseOddRequests(server: FastifyInstance): void {
  let isClosing = false;
  server.addHook('preClose', (done) => {
    isClosing = true;
    done();
  });
  server.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    server.server.emit('request', request, response),
  );
  // After all hooks of onRequest, which set the headers that these answers have to have, too.
  server.addHook('preParsing', ({ raw }, _reply, _payload, done) => {
    const { expect, host } = raw.headers;
    if (isClosing) done(new AppError('UNAVAILABLE', 'the server is stopping', { retryAfterSeconds: RESTART_SECONDS }));
    else if (host === undefined && raw.httpVersion === '1.1') done(invalidArgument('the Host header is missing'));
    else if (expect !== undefined && !/100-continue/i.test(expect))
      done(invalidArgument(`Expect: ${expect.slice(0, 100)} cannot be met; leave the header out`));
    else done();
  });
}

/**
 * A path that there is, asked with a method that it has not: 405 naming those it has, where the router says 404 as for any unknown path.
 * Paths with a wildcard are left out: they fit what belongs to others.
 */
function refuseOtherMethods(server: FastifyInstance): void {
  const methodsByPath = new Map<string, { readonly path: RegExp; readonly methods: Set<string> }>();
  server.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return;
    const route = methodsByPath.get(url) ?? { path: new RegExp(`^${url.replace(/:\w+/g, '[^/]+')}$`), methods: new Set() };
    for (const name of [method].flat()) route.methods.add(name);
    methodsByPath.set(url, route);
  });
  // After all hooks of onRequest, which set the headers that this answer has to have, too.
  server.addHook('preParsing', (request, reply, _payload, done) => {
    if (!request.is404) return done();
    const [path = ''] = request.url.split('?');
    const allowed = [...methodsByPath.values()].filter((route) => route.path.test(path)).flatMap(({ methods }) => [...methods]);
    // Said here, because a large body would be read first.
    if (allowed.length === 0)
      return done(hasSmallBody(request) ? undefined : new AppError('NOT_FOUND', `no route for ${request.method} ${request.originalUrl}`));
    const names = [...new Set(allowed)].sort().join(', ');
    void reply.header('allow', names);
    done(new AppError('METHOD_NOT_ALLOWED', `${request.method} is not allowed on ${path.slice(0, 200)}; allowed: ${names}`));
  });
}

/** @returns false also where the length is not told: a packed body may be a thousand times as long as its packing */
export function hasSmallBody({ headers }: FastifyRequest): boolean {
  return !isPacked(headers) && headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) <= SMALL_BODY_BYTES_MAX;
}

function isJson(contentType: string | undefined): boolean {
  return contentType?.split(';')[0]?.trim().toLowerCase() === 'application/json';
}

function isPacked({ 'content-encoding': encoding = 'identity' }: IncomingHttpHeaders): boolean {
  return !/^\s*(identity)?\s*$/i.test(encoding);
}

/** @throws AppError UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT for a damaged packing, PAYLOAD_TOO_LARGE past the bound */
async function unpacked(packed: Buffer, encoding: string | undefined, bytesMax: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    const counted = new Transform({
      transform: (piece: Buffer, _encoding, done) => {
        bytes += piece.length;
        if (bytes > bytesMax) return done(new AppError('PAYLOAD_TOO_LARGE', `the unpacked body has more than ${bytesMax} bytes`));
        pieces.push(piece);
        done();
      },
    });
    await pipeline([Readable.from([packed]), ...unpackers(encoding), counted.resume()]);
  } catch (error) {
    throw error instanceof AppError ? error : invalidArgument(`the body could not be unpacked: ${messageOf(error)}`);
  }
  return Buffer.concat(pieces);
}

/** @throws AppError INVALID_ARGUMENT for anything but JSON in UTF-8 */
function parseBody(bytes: Buffer, jsonDepthMax: number): unknown {
  if (bytes.length === 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw Object.assign(invalidArgument('the request body is not valid UTF-8'), { cause: error });
  }
  assertTextDepth(text, jsonDepthMax, 'the request body');
  return parseJson(text, 'the request body');
}

/** What is not HTTP at all is answered in the form of every other error. */
function answerClientError(
  error: Error & { code?: string },
  socket: NodeJS.WritableStream & { destroyed?: boolean; destroy?: () => void },
): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const id = randomUUID();
  const body = JSON.stringify({
    error: 'INVALID_ARGUMENT',
    code: 400,
    message: CLIENT_ERRORS[error.code ?? ''] ?? 'this is not a valid HTTP request',
    request_id: id,
    details: [],
  });
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nx-request-id: ${id}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
