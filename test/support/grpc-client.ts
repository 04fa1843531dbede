/**
 * A gRPC client for tests, made from the published proto file as any user's client would be: no code of the server is used.
 *
 * 64-bit integers stay strings (protobuf's own JSON form), payloads are plain objects on this side and `google.protobuf.Struct` on the wire.
 * A failed call is a value, not an exception, because most of what the tests look at is how calls fail.
 */
import {
  type CallOptions,
  type ChannelCredentials,
  Client,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto', import.meta.url));
export const PROTO_FILE = path.join(PROTO_DIRECTORY, 'miniodb/v1/miniodb.proto');
export const DEADLINE_MS = 30_000;

export type GrpcMessage = Record<string, any>;
type AnyMethod = MethodDefinition<GrpcMessage, GrpcMessage>;

export interface GrpcFailure {
  readonly ok: false;
  /** Number of `grpc.status`. */
  readonly status: number;
  readonly message: string;
  /** The contract's own code (trailer `error-code`); undefined when the server did not set it. */
  readonly errorCode: string | undefined;
  readonly requestId: string | undefined;
  /** Seconds, when the server says when to come again. */
  readonly retryAfter: string | undefined;
}

interface GrpcSuccess {
  readonly ok: true;
  readonly response: GrpcMessage;
}

export type GrpcAnswer = GrpcSuccess | GrpcFailure;

export interface GrpcConnection {
  /** One request, one response. */
  unary(method: string, request: GrpcMessage, metadata?: Record<string, string>): Promise<GrpcAnswer>;
  /** The same with bytes that need not be a message at all. */
  unaryBytes(method: string, bytes: Uint8Array): Promise<GrpcAnswer>;
  /** A client stream, and its one answer. */
  upload(
    method: string,
    metadata?: Record<string, string>,
  ): { readonly call: ClientWritableStream<GrpcMessage>; readonly answer: Promise<GrpcAnswer> };
  /** A server stream. */
  download(method: string, request: GrpcMessage, metadata?: Record<string, string>): ClientReadableStream<GrpcMessage>;
  /** A server stream, or one in both directions, to its end: what the server says to one request. The messages are in `response.messages`. */
  drain(method: string, request: GrpcMessage, metadata?: Record<string, string>): Promise<GrpcAnswer>;
  close(): void;
}

/** Connects to one service of a proto file (MinIODBService of ours unless told otherwise). */
export function connectGrpc(
  server: { readonly grpc: string },
  service = 'miniodb.v1.MinIODBService',
  protoFile = PROTO_FILE,
  channel: ChannelCredentials = credentials.createInsecure(),
): GrpcConnection {
  const methods = serviceDefinition(service, protoFile);
  const client = new Client(server.grpc.replace(/^\w+:\/\//, ''), channel, {
    'grpc.max_receive_message_length': 256 * 1_024 * 1_024,
  });
  const methodOf = (name: string): AnyMethod => {
    const method = methods[name];
    if (method === undefined) throw new Error(`${service} has no method ${name} in ${protoFile}`);
    return method as AnyMethod;
  };
  const withDeadline = (): CallOptions => ({ deadline: Date.now() + DEADLINE_MS });
  return {
    unary: (name, request, headers = {}) =>
      new Promise((resolve) => {
        const { path: route, requestSerialize, responseDeserialize } = methodOf(name);
        client.makeUnaryRequest(
          route,
          requestSerialize,
          responseDeserialize,
          request,
          metadataOf(headers),
          withDeadline(),
          (error, response) => resolve(answerOf(error, response)),
        );
      }),
    unaryBytes: (name, bytes) =>
      new Promise((resolve) => {
        const route = methods[name]?.path ?? `/${service}/${name}`;
        const asIs = (given: Uint8Array): Buffer => Buffer.from(given);
        client.makeUnaryRequest(
          route,
          asIs,
          (given: Buffer): GrpcMessage => ({ bytes: given }),
          bytes,
          new Metadata(),
          withDeadline(),
          (error, response) => resolve(answerOf(error, response)),
        );
      }),
    upload: (name, headers = {}) => {
      const { path: route, requestSerialize, responseDeserialize } = methodOf(name);
      let call: ClientWritableStream<GrpcMessage> | undefined;
      const answer = new Promise<GrpcAnswer>((resolve) => {
        const options = { deadline: Date.now() + 4 * DEADLINE_MS };
        call = client.makeClientStreamRequest(
          route,
          requestSerialize,
          responseDeserialize,
          metadataOf(headers),
          options,
          (error, response) => resolve(answerOf(error, response)),
        );
      });
      if (call === undefined) throw new Error(`the stream of ${name} did not open`);
      return { call, answer };
    },
    download: (name, request, headers = {}) => {
      const { path: route, requestSerialize, responseDeserialize } = methodOf(name);
      const options = { deadline: Date.now() + 4 * DEADLINE_MS };
      return client.makeServerStreamRequest(route, requestSerialize, responseDeserialize, request, metadataOf(headers), options);
    },
    drain: (name, request, headers = {}) =>
      new Promise((resolve) => {
        const { path: route, requestSerialize, responseDeserialize, requestStream } = methodOf(name);
        const parameters = [route, requestSerialize, responseDeserialize] as const;
        const duplex = requestStream ? client.makeBidiStreamRequest(...parameters, metadataOf(headers), withDeadline()) : undefined;
        const stream = duplex ?? client.makeServerStreamRequest(...parameters, request, metadataOf(headers), withDeadline());
        const messages: GrpcMessage[] = [];
        stream.on('data', (message: GrpcMessage) => messages.push(message));
        stream.on('error', (error: ServiceError) => resolve(failureOf(error)));
        stream.on('end', () => resolve({ ok: true, response: { messages } }));
        duplex?.end(request);
      }),
    close: () => client.close(),
  };
}

/** Names of the methods of a service, and which of them stream. */
export function serviceMethods(service: string): { name: string; requestStream: boolean; responseStream: boolean }[] {
  return Object.entries(serviceDefinition(service, PROTO_FILE)).map(([name, { requestStream, responseStream }]) => ({
    name,
    requestStream,
    responseStream,
  }));
}

function serviceDefinition(service: string, protoFile: string): ServiceDefinition {
  const definition = loadSync(protoFile, {
    includeDirs: [PROTO_DIRECTORY],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  let node: unknown = loadPackageDefinition(definition);
  for (const name of service.split('.')) node = (node as Record<string, unknown> | undefined)?.[name];
  if (typeof node !== 'function' || !('service' in node)) throw new Error(`${protoFile} has no service ${service}`);
  return node.service as ServiceDefinition;
}

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}

function answerOf(error: ServiceError | null, response: GrpcMessage | undefined): GrpcAnswer {
  return error === null && response !== undefined ? { ok: true, response } : failureOf(error);
}

/** What the tests look at in an error of any kind of call. */
export function failureOf(error: ServiceError | null): GrpcFailure {
  if (error === null) throw new Error('a call ended with neither an error nor a response');
  const trailer = (name: string): string | undefined => error.metadata.get(name)[0]?.toString();
  return {
    ok: false,
    status: error.code,
    message: error.details,
    errorCode: trailer('error-code'),
    requestId: trailer('request-id'),
    retryAfter: trailer('retry-after'),
  };
}

/** The response of a call that must succeed. */
export async function responseOf(answer: Promise<GrpcAnswer>): Promise<GrpcMessage> {
  const settled = await answer;
  if (!settled.ok) throw new Error(`the call failed: ${JSON.stringify(settled)}`);
  return settled.response;
}

/** `google.protobuf.Struct` for a plain object. */
export function structOf(value: Record<string, unknown>): GrpcMessage {
  return { fields: Object.fromEntries(Object.entries(value).map(([name, member]) => [name, structValueOf(member)])) };
}

function structValueOf(value: unknown): GrpcMessage {
  if (value === null) return { nullValue: 'NULL_VALUE' };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(structValueOf) } };
  return { structValue: structOf(value as Record<string, unknown>) };
}

/** The plain object of a `google.protobuf.Struct`. */
export function plainOf(struct: GrpcMessage): Record<string, unknown> {
  const fields = (struct['fields'] ?? {}) as Record<string, GrpcMessage>;
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plainValueOf(value)]));
}

function plainValueOf(value: GrpcMessage): unknown {
  if (value['kind'] === 'listValue') return (value['listValue'].values as GrpcMessage[]).map(plainValueOf);
  if (value['kind'] === 'structValue') return plainOf(value['structValue']);
  return value['kind'] === 'nullValue' ? null : value[value['kind']];
}

/** `google.protobuf.Timestamp` of an RFC 3339 text with at most milliseconds. */
export function timestampOf(text: string): GrpcMessage {
  const milliseconds = Date.parse(text);
  const seconds = Math.floor(milliseconds / 1_000);
  return { seconds: String(seconds), nanos: (milliseconds - seconds * 1_000) * 1_000_000 };
}
