/**
 * Signed requests to one bucket of an S3-compatible store, each counted and each with a deadline. The `minio` client signs and speaks the protocol;
 * it has no timeouts of its own and would wait for ever on a server that hangs, so its transport is ours: a connection on which no byte moves for
 * `idleTimeoutMs` is cut. Its own retries are off, because they cannot resend a stream; `S3ObjectStore` retries.
 */
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { Client } from 'minio';
import { traced } from '../../common/tracing.js';

export interface S3Options {
  /** Host and port, without a scheme: `127.0.0.1:9000`. */
  readonly endpoint: string;
  readonly useSsl: boolean;
  readonly bucket: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** Section of the configuration, which errors name. */
  readonly section: 'minio' | 'minio_backup';
  readonly connectionsMax: number;
  /** A connection on which nothing moves for so long is cut. */
  readonly idleTimeoutMs: number;
  /** No retry starts later than this after the first attempt. */
  readonly deadlineMs: number;
}

type RequestKind = 'PUT' | 'GET' | 'HEAD' | 'LIST' | 'DELETE' | 'POST';

/** What went over the wire to a store since the start of the process. */
export interface RequestCounts {
  readonly requests: Record<RequestKind, number>;
  failed: number;
  bytesSent: number;
  bytesReceived: number;
}

interface RequestParts {
  readonly method: string;
  readonly key?: string;
  readonly query?: string;
  readonly headers?: Record<string, string | number>;
  readonly body?: Readable | Buffer;
  /** Hash of the body in hex; of an empty body when absent. */
  readonly sha256?: string;
  readonly expected?: readonly number[];
}

type OnResponse = (response: http.IncomingMessage) => void;

/** Answers that `minio` 8 takes for worth a retry, whoever does that. */
const UNREAD_STATUS = new Set([408, 429, 499, 500, 502, 503, 504, 520]);

export const SHA256_OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

export class S3Requests {
  readonly client: Client;
  readonly counts: RequestCounts = {
    requests: { PUT: 0, GET: 0, HEAD: 0, LIST: 0, DELETE: 0, POST: 0 },
    failed: 0,
    bytesSent: 0,
    bytesReceived: 0,
  };
  readonly #agent: http.Agent;

  constructor(readonly options: S3Options) {
    const { endpoint, useSsl, connectionsMax } = options;
    const [host = '', port] = endpoint.split(':');
    const agentOptions = { keepAlive: true, maxSockets: connectionsMax, maxFreeSockets: connectionsMax };
    this.#agent = useSsl ? new https.Agent(agentOptions) : new http.Agent(agentOptions);
    this.client = new Client({
      endPoint: host,
      port: port === undefined ? (useSsl ? 443 : 80) : Number(port),
      useSSL: useSsl,
      accessKey: options.accessKey,
      secretKey: options.secretKey,
      region: options.region,
      pathStyle: true,
      transportAgent: this.#agent,
      transport: { request: (given: http.RequestOptions, onResponse: OnResponse) => this.#request(given, onResponse) } as never,
      retryOptions: { disableRetry: true },
    });
  }

  /** Connections in use, and open without use. */
  get connections(): { readonly active: number; readonly idle: number } {
    const count = (sockets: NodeJS.ReadOnlyDict<unknown[]>): number =>
      Object.values(sockets).reduce((sum, list) => sum + (list?.length ?? 0), 0);
    return { active: count(this.#agent.sockets), idle: count(this.#agent.freeSockets) };
  }

  #request(options: http.RequestOptions, onResponse: OnResponse): http.ClientRequest {
    this.counts.requests[kindOf(options)] += 1;
    this.counts.bytesSent += Number((options.headers as http.OutgoingHttpHeaders | undefined)?.['content-length'] ?? 0) || 0;
    const request = this.#start(options, (response) => {
      if ((response.statusCode ?? 500) >= 500) this.counts.failed += 1;
      this.counts.bytesReceived += Number(response.headers['content-length'] ?? 0);
      onResponse(response);
      // The client throws on these without reading the body, and an unread answer keeps its connection.
      if (UNREAD_STATUS.has(response.statusCode ?? 0)) response.resume();
    });
    const { idleTimeoutMs, endpoint } = this.options;
    request.setTimeout(idleTimeoutMs, () => request.destroy(new Error(`${endpoint} did not answer within ${idleTimeoutMs} ms`)));
    request.on('error', () => (this.counts.failed += 1));
    return request;
  }

  #start(options: http.RequestOptions, onResponse: OnResponse): http.ClientRequest {
    return this.options.useSsl ? https.request(options, onResponse) : http.request(options, onResponse);
  }

  /** One request. @returns the answer, whose body the caller must read or `resume` */
  send(parts: RequestParts): Promise<http.IncomingMessage> {
    return traced(`object store ${parts.method}`, {}, () => this.#send(parts));
  }

  async #send(parts: RequestParts): Promise<http.IncomingMessage> {
    const { bucket, region } = this.options;
    const { body } = parts;
    try {
      return await this.client.makeRequestStreamAsync(
        {
          method: parts.method,
          bucketName: bucket,
          ...(parts.key === undefined ? {} : { objectName: parts.key }),
          ...(parts.query === undefined ? {} : { query: parts.query }),
          headers: parts.headers ?? {},
        },
        body ?? '',
        // Over TLS the transport protects the body, and the client wants no hash.
        this.client.enableSHA256 ? (parts.sha256 ?? SHA256_OF_NOTHING) : '',
        [...(parts.expected ?? [200])],
        region,
      );
    } finally {
      if (body !== undefined && 'destroy' in body) body.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }
}

function kindOf({ method, path }: http.RequestOptions): RequestKind {
  if (method === 'GET' && path?.includes('list-type=2')) return 'LIST';
  return method as RequestKind;
}
