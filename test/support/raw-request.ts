/**
 * Sends a request as it stands: fetch would refuse or tidy up some of them. A server that has answered may close while the rest of a large body
 * is on its way: an error of the socket after the answer is no failure.
 */
import { type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { ClientTls } from './tls.js';

export interface RawRequest {
  readonly method: string;
  /** Each character is one byte on the wire. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer;
  /** For servers with TLS. */
  readonly tls?: ClientTls;
  /** Address to call from, of those of this machine: 127.0.0.2 is another one than 127.0.0.1. */
  readonly localAddress?: string;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly contentType: string;
  readonly text: string;
}

/** @throws Error when the server closes without an answer */
export function sendRaw(
  server: { readonly rest: string },
  { method, path, headers, body, tls, localAddress }: RawRequest,
): Promise<RawAnswer> {
  const { protocol, hostname, port } = new URL(server.rest);
  const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  return new Promise((resolve, reject) => {
    const options = { hostname, port, method, path, headers: { ...length, ...headers }, agent: false, localAddress, ...tls };
    const outgoing = (protocol === 'https:' ? httpsRequest : httpRequest)(options, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      const settle = (): void =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          contentType: response.headers['content-type'] ?? '',
          text: Buffer.concat(parts).toString(),
        });
      response.once('end', settle);
      response.once('error', settle);
    });
    outgoing.once('error', (error) => reject(new Error(`no answer (${error.message})`)));
    outgoing.end(body);
  });
}
