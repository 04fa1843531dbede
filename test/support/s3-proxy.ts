/**
 * A proxy before a real S3 store that makes it lack something, for tests of how that is noticed. Requests pass as they came, with their signatures;
 * a put that must lose a header is made anew with the store's own keys, because the header is part of what was signed.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'minio';
import { LOOPBACK } from '../servers/free-ports.js';
import type { TestObjectStore } from '../servers/shared-servers.js';

const LOOK_TO_PUT_MS = 20;

type Condition = 'unknown' | 'ignored' | 'not-atomic';

export interface Weaknesses {
  /** `unknown`: NotImplemented. `ignored`: every conditional put succeeds. `not-atomic`: it looks whether the key exists, and puts a moment later. */
  readonly condition?: Condition;
  /** Headers of answers that get lost. */
  readonly lostHeaders?: readonly string[];
  /** Bodies are not compared with the hashes that came with them. */
  readonly acceptsDamage?: boolean;
  readonly clockAheadMs?: number;
  /** Lists are those of an empty bucket. */
  readonly staleLists?: boolean;
  /** Asked for each request; true leaves it without an answer. */
  readonly hangs?: (request: IncomingMessage) => boolean;
}

export interface S3Proxy {
  /** HOST:PORT. */
  readonly endpoint: string;
  /** What came, as "METHOD path". */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export async function startS3Proxy(store: TestObjectStore, weaknesses: Weaknesses): Promise<S3Proxy> {
  const requests: string[] = [];
  const server = createServer((incoming, answer) => {
    requests.push(`${incoming.method} ${incoming.url}`);
    if (weaknesses.hangs?.(incoming)) return;
    handle(incoming, answer, store, weaknesses).catch((error: unknown) => answer.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  return {
    endpoint: `${LOOPBACK}:${(server.address() as AddressInfo).port}`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function handle(incoming: IncomingMessage, answer: ServerResponse, store: TestObjectStore, weaknesses: Weaknesses): Promise<void> {
  const isPlainPut = incoming.method === 'PUT' && !incoming.url?.includes('?');
  const isConditional = incoming.headers['if-none-match'] === '*';
  if (isPlainPut && weaknesses.condition !== undefined && isConditional)
    return putAnew(incoming, answer, store.client, weaknesses.condition);
  if (isPlainPut && weaknesses.acceptsDamage && !isConditional) return putAnew(incoming, answer, store.client, 'ignored');
  if (weaknesses.staleLists && incoming.url?.includes('prefix=_check')) return void answer.end(EMPTY_LIST);
  forward(incoming, answer, new URL(store.endpoint), weaknesses);
}

const EMPTY_LIST =
  '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>';

async function putAnew(incoming: IncomingMessage, answer: ServerResponse, client: Client, condition: Condition): Promise<void> {
  const [, bucket = '', ...rest] = decodeURIComponent(incoming.url ?? '').split('/');
  const key = rest.join('/');
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  if (condition === 'unknown') return refuse(answer, 501, 'NotImplemented');
  if (condition === 'not-atomic' && (await exists(client, bucket, key))) return refuse(answer, 412, 'PreconditionFailed');
  if (condition === 'not-atomic') await sleep(LOOK_TO_PUT_MS);
  const metadata = Object.fromEntries(Object.entries(incoming.headers).filter(([name]) => name.startsWith('x-amz-meta-')));
  const { etag } = await client.putObject(bucket, key, body, body.length, metadata);
  answer.writeHead(200, { etag: `"${etag}"` }).end();
}

function refuse(answer: ServerResponse, status: number, code: string): void {
  answer
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code></Error>`);
}

async function exists(client: Client, bucket: string, key: string): Promise<boolean> {
  try {
    await client.statObject(bucket, key);
    return true;
  } catch {
    return false;
  }
}

function forward(incoming: IncomingMessage, answer: ServerResponse, { hostname, port }: URL, weaknesses: Weaknesses): void {
  const { lostHeaders = [], clockAheadMs = 0 } = weaknesses;
  const outgoing = request(
    { hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers, agent: false },
    (response) => {
      const headers = Object.fromEntries(Object.entries(response.headers).filter(([name]) => !lostHeaders.includes(name)));
      const date = new Date(Date.parse(response.headers.date ?? '') + clockAheadMs);
      answer.sendDate = false;
      answer.writeHead(response.statusCode ?? 502, { ...headers, date: date.toUTCString() });
      response.pipe(answer);
    },
  );
  outgoing.on('error', (error) => answer.destroy(error));
  incoming.pipe(outgoing);
}
