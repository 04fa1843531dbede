/** The client stream BulkWrite: a first message that says what the body is, and the body in pieces, with metadata where a test wants some. */
import { Client, credentials, loadPackageDefinition, Metadata, type MethodDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { once } from 'node:events';
import { DEADLINE_MS, failureOf, type GrpcAnswer, type GrpcMessage, PROTO_DIRECTORY, PROTO_FILE } from './grpc-client.js';

type BulkMethod = MethodDefinition<GrpcMessage, GrpcMessage>;

export class BulkStreams {
  readonly #client: Client;
  readonly #method: BulkMethod;

  constructor(server: { readonly grpc: string }) {
    this.#client = new Client(server.grpc.replace(/^\w+:\/\//, ''), credentials.createInsecure());
    this.#method = bulkMethod();
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Sends messages, as fast as the server takes them, and gives its answer. A failed call is a value.
   * @param leaveAfter cancels the call after this many messages, without an end
   */
  async send(messages: Iterable<GrpcMessage>, metadata: Record<string, string> = {}, leaveAfter = Infinity): Promise<GrpcAnswer> {
    const headers = new Metadata();
    for (const [name, value] of Object.entries(metadata)) headers.set(name, value);
    const { path, requestSerialize, responseDeserialize } = this.#method;
    const options = { deadline: Date.now() + 4 * DEADLINE_MS };
    let settled: GrpcAnswer | undefined;
    let settle: (answer: GrpcAnswer) => void = () => undefined;
    const answer = new Promise<GrpcAnswer>((resolve) => (settle = resolve));
    const call = this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, headers, options, (error, response) => {
      settled = error === null && response !== undefined ? { ok: true, response } : failureOf(error);
      settle(settled);
    });
    // The answer has it, too.
    call.on('error', () => undefined);
    let sent = 0;
    for (const message of messages) {
      if (settled) break;
      if (!call.write(message)) await Promise.race([once(call, 'drain').catch(() => undefined), answer]);
      sent += 1;
      if (sent < leaveAfter) continue;
      call.cancel();
      return answer;
    }
    call.end();
    return answer;
  }
}

/** A body in pieces of so many bytes; the first message describes it. */
export function* bulkMessages(first: GrpcMessage, body: Buffer, pieceBytes: number): Iterable<GrpcMessage> {
  yield { ...first, data: body.subarray(0, pieceBytes) };
  for (let start = pieceBytes; start < body.length; start += pieceBytes) yield { data: body.subarray(start, start + pieceBytes) };
}

function bulkMethod(): BulkMethod {
  const definition = loadSync(PROTO_FILE, {
    includeDirs: [PROTO_DIRECTORY],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  let node: unknown = loadPackageDefinition(definition);
  for (const name of ['miniodb', 'v1', 'MinIODBService']) node = (node as Record<string, unknown> | undefined)?.[name];
  if (typeof node !== 'function' || !('service' in node)) throw new Error(`${PROTO_FILE} has no MinIODBService`);
  const method = (node.service as ServiceDefinition)['BulkWrite'];
  if (!method) throw new Error('the service has no BulkWrite');
  return method as BulkMethod;
}
