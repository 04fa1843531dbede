/**
 * Stands between a server under test and its S3 store, and fails chosen requests at an exact instant: before the store gets them, in the middle of
 * them, or when the store has done them and the answer is on its way. Between the instants it passes everything on as it is: signatures hold,
 * because the client signs the host that it calls, and the store checks the host that it is told.
 *
 * It also writes down every request that comes by, which is a count that does not ask the server under test.
 */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { LOOPBACK } from './free-ports.js';

export type RequestKind = 'PUT' | 'GET' | 'HEAD' | 'LIST' | 'DELETE' | 'POST';

/** Headers that speak of one connection, and not of what goes over it. */
const HOP_HEADERS = new Set(['connection', 'keep-alive', 'transfer-encoding']);

/** In the order in which they come. The store has done a request `before-answer`, and knows nothing of it `before-request`. */
type Instant = 'before-request' | 'within-request' | 'before-answer' | 'within-answer';

/**
 * What becomes of the request at the instant. `cut`: its connection is reset. `hang`: its connection stays and nothing moves on it, until the
 * client gives up or the fault ends; then it is cut. `late`: to the client it hangs, and the store gets it at `deliver`, also when the client has
 * gone by then (only `before-request`). `pass`: it goes on; for faults that are something else that happens at this instant.
 */
type Effect = 'cut' | 'hang' | 'late' | 'pass';

export interface FaultRule {
  readonly kinds?: readonly RequestKind[];
  /** The key of the object, without the bucket; that of a listing is its prefix. */
  readonly key: RegExp;
  readonly at: Instant;
  readonly effect: Effect;
  /** How many requests it hits; all of them until its end when absent. */
  readonly times?: number;
  /** What else happens at that instant; the request waits for it before the effect. */
  readonly act?: () => unknown;
}

export interface Fault {
  readonly hits: number;
  /** Settles when so many requests have been hit. */
  struck(times?: number): Promise<void>;
  /** Gives the store what came `late`. @returns its status codes */
  deliver(): Promise<number[]>;
  /** No more requests are hit, and those that hang are cut. */
  end(): void;
}

interface SeenRequest {
  readonly kind: RequestKind;
  readonly key: string;
  /** Of the store's answer; undefined while there is none. */
  status?: number;
}

export interface FaultyProxy {
  /** Host and port, as MINIO_ENDPOINT has them. */
  readonly endpoint: string;
  /** Since the start or the last `forgetRequests`. */
  readonly requests: readonly SeenRequest[];
  forgetRequests(): void;
  inject(rule: FaultRule): Fault;
  /** Ends all faults. */
  heal(): void;
  stop(): Promise<void>;
}

/** @param store where requests go */
export async function startFaultyProxy(store: { readonly host: string; readonly port: number }): Promise<FaultyProxy> {
  const faults = new Set<InjectedFault>();
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  const server = http.createServer((request, response) => {
    const seen: SeenRequest = { kind: kindOf(request), key: keyOf(request) };
    requests.push(seen);
    const fault = [...faults].find((candidate) => candidate.takes(seen));
    // Gone from the request when the connection is.
    const { socket } = request;
    new PassedRequest(store, request, response, seen, fault).run().catch(() => socket.resetAndDestroy());
  });
  // A connection of the client's pool that we close while it sends would count as a failure that nobody injected.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  const { port } = server.address() as AddressInfo;
  const heal = (): void => {
    for (const fault of [...faults]) fault.end();
  };
  return {
    endpoint: `${LOOPBACK}:${port}`,
    requests,
    forgetRequests: () => void (requests.length = 0),
    inject: (rule) => {
      const fault = new InjectedFault(rule, () => faults.delete(fault));
      faults.add(fault);
      return fault;
    },
    heal,
    stop: async () => {
      heal();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

class InjectedFault implements Fault {
  hits = 0;
  #taken = 0;
  readonly #end: () => void;
  readonly #ended: Promise<void>;
  readonly #waiting: { readonly hits: number; readonly settle: () => void }[] = [];
  #late: (() => Promise<number>)[] = [];

  constructor(
    readonly rule: FaultRule,
    remove: () => void,
  ) {
    let settle: () => void = () => undefined;
    this.#ended = new Promise((resolve) => (settle = resolve));
    this.#end = () => {
      remove();
      settle();
    };
  }

  takes({ kind, key }: SeenRequest): boolean {
    const { kinds, key: wanted, times = Infinity } = this.rule;
    if (this.#taken >= times || (kinds && !kinds.includes(kind)) || !wanted.test(key)) return false;
    this.#taken += 1;
    return true;
  }

  /** The instant has come. @returns when the request may go on; throws when it may not */
  async strike(gone: Promise<void>, passOn: () => Promise<number>): Promise<void> {
    this.hits += 1;
    for (const { hits, settle } of this.#waiting) if (this.hits >= hits) settle();
    await this.rule.act?.();
    const { effect } = this.rule;
    if (effect === 'pass') return;
    if (effect === 'late') this.#late.push(passOn);
    if (effect !== 'cut') await Promise.race([this.#ended, gone]);
    throw new Error(`the request was ${effect}`);
  }

  struck(hits = 1): Promise<void> {
    if (this.hits >= hits) return Promise.resolve();
    return new Promise((settle) => this.#waiting.push({ hits, settle }));
  }

  deliver(): Promise<number[]> {
    return Promise.all(this.#late.splice(0).map((passOn) => passOn()));
  }

  end(): void {
    this.#end();
  }
}

/** One request on its way to the store and back. */
class PassedRequest {
  readonly #gone: Promise<void>;

  constructor(
    private readonly store: { readonly host: string; readonly port: number },
    private readonly request: http.IncomingMessage,
    private readonly response: http.ServerResponse,
    private readonly seen: SeenRequest,
    private readonly fault: InjectedFault | undefined,
  ) {
    this.#gone = new Promise((resolve) => response.once('close', resolve));
  }

  async run(): Promise<void> {
    const isLate = this.fault?.rule.effect === 'late';
    const body = isLate ? await buffer(this.request) : undefined;
    await this.#reach('before-request', body);
    const { toStore, answered } = this.#open();
    try {
      await this.#sendBody(toStore, body);
      const answer = await answered;
      await this.#reach('before-answer');
      this.seen.status = answer.statusCode;
      await this.#giveBack(answer);
    } finally {
      toStore.destroy();
    }
  }

  async #reach(instant: Instant, body?: Buffer): Promise<void> {
    if (this.fault?.rule.at !== instant) return;
    await this.fault.strike(this.#gone, () => this.#deliverLate(body));
  }

  #open(): { toStore: http.ClientRequest; answered: Promise<http.IncomingMessage> } {
    const { method, url, rawHeaders } = this.request;
    const { host, port } = this.store;
    const toStore = http.request({ host, port, method, path: url, headers: endToEndHeaders(rawHeaders), agent: false });
    const answered = new Promise<http.IncomingMessage>((resolve, reject) => toStore.once('response', resolve).on('error', reject));
    // Looked at when the body is sent; until then it must not count as unhandled.
    answered.catch(() => undefined);
    return { toStore, answered };
  }

  /** Half of the body is half of its announced length, so that a client notices when the other half is not taken. */
  async #sendBody(toStore: http.ClientRequest, body: Buffer | undefined): Promise<void> {
    const half = Number(this.request.headers['content-length'] ?? 0) / 2;
    let sent = 0;
    let isStruck = this.fault?.rule.at !== 'within-request';
    for await (const chunk of body ? [body] : this.request) {
      let bytes = chunk as Buffer;
      if (!isStruck && sent + bytes.length >= half) {
        const first = bytes.subarray(0, Math.floor(half - sent));
        toStore.write(first);
        await this.#reach('within-request');
        isStruck = true;
        bytes = bytes.subarray(first.length);
      }
      sent += (chunk as Buffer).length;
      if (!toStore.write(bytes)) await Promise.race([once(toStore, 'drain'), once(toStore, 'close')]);
    }
    toStore.end();
  }

  async #giveBack(answer: http.IncomingMessage): Promise<void> {
    const body = await buffer(answer);
    this.response.writeHead(answer.statusCode ?? 502, endToEndHeaders(answer.rawHeaders));
    if (this.fault?.rule.at === 'within-answer') {
      const half = body.length >> 1;
      this.response.write(body.subarray(0, half));
      // So that it is on its way before the connection is cut.
      await pause(0);
      await this.#reach('within-answer');
      this.response.end(body.subarray(half));
    } else this.response.end(body);
    await this.#gone;
  }

  async #deliverLate(body: Buffer | undefined): Promise<number> {
    const { toStore, answered } = this.#open();
    toStore.end(body);
    const answer = await answered;
    await buffer(answer);
    this.seen.status = answer.statusCode;
    return answer.statusCode ?? 0;
  }
}

function endToEndHeaders(rawHeaders: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  rawHeaders.forEach((name, index) => {
    if (index % 2 === 0 && !HOP_HEADERS.has(name.toLowerCase())) headers[name] = rawHeaders[index + 1] ?? '';
  });
  return headers;
}

/** Addresses are of the form `/BUCKET/KEY`. */
function placeOf({ url = '/' }: http.IncomingMessage): { readonly key: string; readonly query: URLSearchParams } {
  const { pathname, searchParams } = new URL(url, `http://${LOOPBACK}`);
  return { key: decodeURIComponent(pathname.split('/').slice(2).join('/')), query: searchParams };
}

function kindOf(request: http.IncomingMessage): RequestKind {
  const { query } = placeOf(request);
  return request.method === 'GET' && query.has('list-type') ? 'LIST' : (request.method as RequestKind);
}

function keyOf(request: http.IncomingMessage): string {
  const { key, query } = placeOf(request);
  return query.get('prefix') ?? key;
}
