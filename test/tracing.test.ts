/**
 * Spans for OpenTelemetry, as a collector gets them: the trace of the caller goes on, over REST and gRPC; the stages of a query, a write, a flush and a
 * merge are children of their request; failures say so; nothing of statements or rows is in them; who decides what is traced; a collector that is away or
 * hangs costs no request and no stop.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { connectGrpc, type GrpcConnection } from './support/grpc-client.js';
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from './support/otlp-receiver.js';
import { countOf, createTable, eventually, expectStatus, expectSuccess, flush, write } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

const MARK = 'zq9marker';
const NODE = 'node-of-traces';
const QUIET = {
  node_id: NODE,
  log: { level: 'warn', file: '' },
  tables: { flush_interval_seconds: 3_600 },
  backup: { metadata_interval_minutes: 0 },
  maintenance: { compaction: false },
};
const ERROR = 2;
const QUERY_STAGES = ['analyse', 'execute', 'open files', 'wait for a turn'];
const STOP_MS_MAX = 10_000;

interface Caller {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceparent: string;
}

let callers = 0;

/** A caller with a span of its own. */
function newCaller(isSampled = true): Caller {
  callers += 1;
  const digits = createHash('sha256').update(`caller ${callers}`).digest('hex');
  const [traceId, spanId] = [digits.slice(0, 32), digits.slice(32, 48)];
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}` };
}

/** The spans of a trace, once the request itself is there: it ends last. */
async function spansOf({ spans }: OtlpReceiver, { traceId, spanId }: Caller): Promise<{ root: ReceivedSpan; all: ReceivedSpan[] }> {
  const all = await eventually(
    `spans of the trace ${traceId}`,
    () => spans.filter((span) => span.traceId === traceId),
    (found) => found.some(({ parentSpanId }) => parentSpanId === spanId),
    10_000,
  );
  const roots = all.filter(({ parentSpanId }) => parentSpanId === spanId);
  expect(roots).toHaveLength(1);
  return { root: roots[0] as ReceivedSpan, all };
}

function childrenOf({ all }: { all: readonly ReceivedSpan[] }, parent: ReceivedSpan): string[] {
  return all
    .filter(({ parentSpanId }) => parentSpanId === parent.spanId)
    .map(({ name }) => name)
    .sort();
}

function spanNamed({ all }: { all: readonly ReceivedSpan[] }, name: string): ReceivedSpan {
  const found = all.filter((span) => span.name === name);
  expectThat(found, name).toHaveLength(1);
  return found[0] as ReceivedSpan;
}

describe('with a collector', () => {
  let collector: OtlpReceiver;
  let server: RunningServer;
  let grpc: GrpcConnection;

  beforeAll(async () => {
    collector = await startOtlpReceiver();
    server = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint, service_name: 'olap-of-tests' } } });
    grpc = connectGrpc(server);
    await write(server, 't', 'a', { secret_text: MARK });
  });

  afterAll(async () => {
    grpc?.close();
    await server?.kill();
    await collector?.stop();
  });

  const ask = (caller: Caller, method: string, route: string, body?: unknown): Promise<Answer> =>
    call(server, method, route, body, { traceparent: caller.traceparent, 'x-request-id': `request-${caller.spanId}` });
  const spans = (caller: Caller): ReturnType<typeof spansOf> => spansOf(collector, caller);
  const record = { id: `${MARK}-id`, payload: { fields: { secret_text: { stringValue: MARK } } } };

  it('a query is a span of the trace of its caller, with its stages', async () => {
    const caller = newCaller();
    expectStatus(await ask(caller, 'POST', '/v1/query', { sql: `SELECT * FROM t WHERE secret_text = '${MARK}'` }), 200);
    const trace = await spans(caller);
    expect(trace.root).toMatchObject({ name: 'query', traceId: caller.traceId, parentSpanId: caller.spanId });
    expect(trace.root.status.code ?? 0).not.toBe(ERROR);
    expect(trace.root.attributes).toEqual({
      'miniodb.door': 'rest',
      'miniodb.request_id': `request-${caller.spanId}`,
      'miniodb.tables': ['t'],
    });
    expect(childrenOf(trace, trace.root)).toEqual(QUERY_STAGES);
    expect(spanNamed(trace, 'open files').attributes).toEqual({ 'miniodb.tables': ['t'] });
    for (const { name, durationMs } of trace.all) {
      expectThat(durationMs, name).toBeGreaterThanOrEqual(0);
      expectThat(durationMs, name).toBeLessThanOrEqual(trace.root.durationMs + 1);
    }
  });

  it('a query whose result is a stream is one with its stages, too', async () => {
    const caller = newCaller();
    const headers = { traceparent: caller.traceparent, accept: 'application/x-ndjson' };
    expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM t' }, headers), 200);
    const trace = await spans(caller);
    expect(childrenOf(trace, trace.root)).toEqual(QUERY_STAGES);
  });

  it('a write is a span of the trace of its caller, with "log and apply"', async () => {
    const caller = newCaller();
    const body = { table: 't', id: `${MARK}-id`, payload: { secret_text: MARK, n: 1 } };
    expectSuccess(await ask(caller, 'POST', '/v1/data', body));
    const trace = await spans(caller);
    expect(trace.root.name).toBe('write');
    expect(childrenOf(trace, trace.root)).toEqual(['log and apply']);
    expect(spanNamed(trace, 'log and apply').attributes).toEqual({ 'miniodb.table': 't', 'miniodb.command': 'rows' });
  });

  it.each([
    ['an update', 'PUT', '/v1/data', { table: 't', id: `${MARK}-id`, payload: { secret_text: MARK, n: 2 } }, 'update'],
    ['a delete', 'DELETE', '/v1/data', { table: 't', id: `${MARK}-id` }, 'delete'],
  ])('%s has "log and apply"', async (_what, method, route, body, name) => {
    const caller = newCaller();
    expectSuccess(await ask(caller, method, route, body));
    const trace = await spans(caller);
    expect(trace.root.name).toBe(name);
    expect(childrenOf(trace, trace.root)).toEqual(['log and apply']);
  });

  it('a flush has its stages, in their order', async () => {
    await write(server, 't', 'b', { secret_text: MARK });
    const caller = newCaller();
    expectSuccess(await ask(caller, 'POST', '/v1/tables/t/flush'));
    const trace = await spans(caller);
    const work = trace.all.filter(({ name }) => name === 'flush');
    expect(work).toHaveLength(2);
    const inner = work.find(({ parentSpanId }) => parentSpanId === trace.root.spanId) as ReceivedSpan;
    expect(inner.attributes).toMatchObject({ 'miniodb.table': 't', 'miniodb.version': expect.any(Number) });
    expect(inner.attributes['miniodb.rows']).toBeGreaterThanOrEqual(2);
    expect(childrenOf(trace, inner)).toEqual(['commit', 'encode', 'publish', 'upload']);
  });

  it('a compaction has its merge', async () => {
    await write(server, 't', 'c', { n: 1 });
    await flush(server, 't');
    const caller = newCaller();
    expectSuccess(await ask(caller, 'POST', '/v1/tables/t/compact'));
    const trace = await spans(caller);
    expect(childrenOf(trace, trace.root)).toContain('merge');
    expect(spanNamed(trace, 'merge').attributes).toEqual({ 'miniodb.table': 't', 'miniodb.files': 2 });
  });

  it('a flush that comes by itself is a trace of its own', async () => {
    await createTable(server, 'self', { buffer_size: 1 });
    await write(server, 'self', 'a', { n: 1 });
    const inner = await eventually(
      'the span of the flush',
      () => collector.spans.find(({ name, attributes }) => name === 'flush' && attributes['miniodb.table'] === 'self'),
      (span) => span !== undefined,
      10_000,
    );
    expect(inner?.durationMs).toBeGreaterThan(0);
  });

  it('gRPC: a query and a write are spans of the trace of their caller', async () => {
    const [asking, writing, streaming, uploading] = [newCaller(), newCaller(), newCaller(), newCaller()];
    const metadata = (caller: Caller): Record<string, string> => ({
      traceparent: caller.traceparent,
      'x-request-id': `g-${caller.spanId}`,
    });
    expect((await grpc.unary('QueryData', { sql: `SELECT * FROM t WHERE id <> '${MARK}'` }, metadata(asking))).ok).toBe(true);
    const query = await spans(asking);
    expect(query.root).toMatchObject({ name: 'query', parentSpanId: asking.spanId });
    expect(query.root.attributes).toEqual({
      'miniodb.door': 'grpc',
      'miniodb.request_id': `g-${asking.spanId}`,
      'miniodb.tables': ['t'],
    });
    expect(childrenOf(query, query.root)).toEqual(QUERY_STAGES);

    expect((await grpc.unary('WriteData', { table: 't', data: record }, metadata(writing))).ok).toBe(true);
    const written = await spans(writing);
    expect(written.root).toMatchObject({ name: 'write', parentSpanId: writing.spanId });
    expect(childrenOf(written, written.root)).toEqual(['log and apply']);

    const stream = grpc.download('StreamQuery', { sql: 'SELECT * FROM t' }, metadata(streaming));
    stream.on('data', () => undefined);
    await once(stream, 'end');
    const streamed = await spans(streaming);
    expect(streamed.root).toMatchObject({ name: 'stream_query', parentSpanId: streaming.spanId });
    // Opening the result is one turn, and each batch another.
    expect([...new Set(childrenOf(streamed, streamed.root))]).toEqual(QUERY_STAGES);

    const { call: messages, answer } = grpc.upload('StreamWrite', metadata(uploading));
    messages.write({ table: 't', records: [record] });
    messages.write({ records: [record] });
    messages.end();
    expect((await answer).ok).toBe(true);
    const uploaded = await spans(uploading);
    expect(uploaded.root).toMatchObject({ name: 'stream_write', parentSpanId: uploading.spanId });
    expect(childrenOf(uploaded, uploaded.root)).toEqual(['log and apply', 'log and apply']);
  });

  it('a StreamQuery whose client goes away ends as a span, too, and does not look well', async () => {
    const rows = Array.from({ length: 20_000 }, (_, n) => JSON.stringify({ id: `r${n}`, pad: 'x'.repeat(1_000) })).join('\n');
    expectSuccess(await call(server, 'POST', '/v1/data/bulk?table=wide', rows, { 'content-type': 'application/x-ndjson' }));
    const caller = newCaller();
    const stream = grpc.download('StreamQuery', { sql: 'SELECT id, pad FROM wide', batch_size: 10 }, { traceparent: caller.traceparent });
    stream.on('error', () => undefined);
    await once(stream, 'data');
    stream.cancel();
    const { root } = await spans(caller);
    expect(root.status.code).toBe(ERROR);
  });

  it.each<readonly [string, string, (caller: Caller) => Promise<unknown>]>([
    ['a table that there is not', 'NOT_FOUND', (caller) => ask(caller, 'POST', '/v1/query', { sql: `SELECT '${MARK}' FROM nowhere` })],
    ['a statement that is none', 'INVALID_ARGUMENT', (caller) => ask(caller, 'POST', '/v1/query', { sql: `SELECT '${MARK}` })],
    ['bad input', 'INVALID_ARGUMENT', (caller) => ask(caller, 'POST', '/v1/data', { table: 't', id: `${MARK}\n`, payload: 1 })],
    ['a statement that takes too long', 'DEADLINE_EXCEEDED', (caller) => ask(caller, 'POST', '/v1/query', { sql: LONG, timeout_ms: 100 })],
    [
      'a table that there is not, over gRPC',
      'NOT_FOUND',
      (caller) => grpc.unary('QueryData', { sql: 'SELECT * FROM nowhere' }, { traceparent: caller.traceparent }),
    ],
  ])('a request that fails has an error with its code: %s', async (_what, code, send) => {
    const caller = newCaller();
    await send(caller);
    const { root } = await spans(caller);
    expect(root.status).toEqual({ code: ERROR, message: code });
  });

  const LONG = 'SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range <> b.range';

  it('a stage that fails has an error with the code of its request', async () => {
    const caller = newCaller();
    await ask(caller, 'POST', '/v1/query', { sql: 'SELECT nothing FROM t' });
    const trace = await spans(caller);
    expect(trace.root.status).toEqual({ code: ERROR, message: 'INVALID_ARGUMENT' });
    const failed = trace.all.filter((span) => span !== trace.root && span.status.code === ERROR);
    expect(failed.map(({ name, status }) => [name, status.message])).toEqual([['execute', 'INVALID_ARGUMENT']]);
  });

  it('a request without a trace of its own begins one', async () => {
    expectStatus(await call(server, 'GET', '/v1/tables', undefined, { 'x-request-id': 'no-trace' }), 200);
    const span = await eventually(
      'the span',
      () => collector.spans.find(({ attributes }) => attributes['miniodb.request_id'] === 'no-trace'),
      (found) => found !== undefined,
      10_000,
    );
    expect(span?.parentSpanId).toBeUndefined();
    expect(span?.traceId).toMatch(/^[0-9a-f]{32}$/);
  });

  it.each(['', 'nonsense', '00-00000000000000000000000000000000-0000000000000000-01', 'ff-x', `00-${'g'.repeat(32)}-${'g'.repeat(16)}-01`])(
    'a traceparent that is none costs nothing: %j',
    async (traceparent) => {
      expectStatus(await call(server, 'GET', '/v1/tables', undefined, { traceparent }), 200);
      expect((await grpc.unary('ListTables', {}, { traceparent })).ok).toBe(true);
    },
  );

  it('what its caller does not want traced is not', async () => {
    const unwanted = newCaller(false);
    expectStatus(await ask(unwanted, 'GET', '/v1/tables'), 200);
    const wanted = newCaller();
    expectStatus(await ask(wanted, 'GET', '/v1/tables'), 200);
    await spans(wanted);
    expect(collector.spans.filter(({ traceId }) => traceId === unwanted.traceId)).toEqual([]);
  });

  it('health, status and metrics leave no span', async () => {
    const lookers: Caller[] = [];
    for (const route of ['/v1/health', '/v1/health/live', '/v1/health/ready', '/v1/status', '/v1/stats', '/v1/metrics', '/metrics']) {
      lookers.push(newCaller());
      expectStatus(await ask(lookers.at(-1) as Caller, 'GET', route), 200);
    }
    const wanted = newCaller();
    expectStatus(await ask(wanted, 'GET', '/v1/tables'), 200);
    await spans(wanted);
    expect(collector.spans.filter(({ traceId }) => lookers.some((looker) => looker.traceId === traceId))).toEqual([]);
  });

  it('every span says which service and which node it comes from', () => {
    expect(collector.spans.length).toBeGreaterThan(50);
    for (const { resource } of collector.spans)
      expect(resource).toMatchObject({
        'service.name': 'olap-of-tests',
        'service.instance.id': NODE,
        'service.version': expect.stringMatching(/^\d+\.\d+\.\d+/),
      });
  });

  it('no span has a statement, an id or a value of a row', () => {
    const text = collector.text();
    expect(text.length).toBeGreaterThan(10_000);
    expect(text).not.toContain(MARK);
    expect(text).not.toMatch(/select/i);
  });

  it('the last spans come when the server is stopped', async () => {
    const own = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint } } });
    const caller = newCaller();
    expectStatus(await call(own, 'GET', '/v1/tables', undefined, { traceparent: caller.traceparent }), 200);
    expect(await own.stop()).toBe(0);
    expect(collector.spans.filter(({ traceId }) => traceId === caller.traceId).map(({ name }) => name)).toEqual(['list_tables']);
  });
});

describe('what is sampled', () => {
  it('with sampled_share 0 nothing is sent, but what a caller wants traced', async () => {
    const collector = await startOtlpReceiver();
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint, sampled_share: 0 } } });
    try {
      for (let n = 0; n < 20; n += 1) await write(server, 't', `r${n}`, { n });
      await flush(server, 't');
      expect(await countOf(server, 't')).toBe(20);
      const wanted = newCaller();
      const headers = { traceparent: wanted.traceparent };
      expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT n FROM t' }, headers), 200);
      const trace = await spansOf(collector, wanted);
      expect(childrenOf(trace, trace.root)).toEqual(QUERY_STAGES);
      expect(await server.stop()).toBe(0);
      expect(new Set(collector.spans.map(({ traceId }) => traceId))).toEqual(new Set([wanted.traceId]));
    } finally {
      await server.kill();
      await collector.stop();
    }
  });

  it('with a share in between some requests are traced and some are not, each as a whole', async () => {
    const collector = await startOtlpReceiver();
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint, sampled_share: 0.5 } } });
    try {
      await write(server, 't', 'a', { n: 1 });
      for (let n = 0; n < 100; n += 1) await countOf(server, 't');
      expect(await server.stop()).toBe(0);
      const roots = collector.spans.filter(({ name }) => name === 'query');
      expect(roots.length).toBeGreaterThan(20);
      expect(roots.length).toBeLessThan(80);
      // No span without the one it is in, up to one that has none above it.
      const isWhole = ({ traceId, parentSpanId }: ReceivedSpan): boolean =>
        parentSpanId === undefined || collector.spans.some((other) => other.traceId === traceId && other.spanId === parentSpanId);
      expect(collector.spans.filter((span) => !isWhole(span))).toEqual([]);
    } finally {
      await server.kill();
      await collector.stop();
    }
  });

  it('without an endpoint nothing is sent, whatever the caller wants', async () => {
    const collector = await startOtlpReceiver();
    // The variables of OpenTelemetry's own are not the configuration of this server.
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: new URL(collector.endpoint).origin, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: collector.endpoint };
    const server = await startServer({ config: QUIET, env });
    try {
      const headers = { traceparent: newCaller().traceparent };
      expectStatus(await call(server, 'GET', '/v1/tables', undefined, headers), 200);
      await write(server, 't', 'a', { n: 1 });
      expect(await server.stop()).toBe(0);
      expect(collector.requests).toBe(0);
    } finally {
      await server.kill();
      await collector.stop();
    }
  });
});

describe('a collector that does not work', () => {
  /** A port where nobody listens. */
  async function closedPort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }

  const warnings = (server: RunningServer): string[] =>
    server
      .output()
      .split('\n')
      .filter((line) => line.includes('"level":"WARN"') && line.includes('tracing'));

  async function expectUndisturbed(server: RunningServer): Promise<void> {
    await write(server, 't', 'a', { n: 1 });
    await flush(server, 't');
    const startedMs = performance.now();
    const times: number[] = [];
    for (let n = 0; n < 200; n += 1) {
      const beginMs = performance.now();
      expect(await countOf(server, 't')).toBe(1);
      times.push(performance.now() - beginMs);
    }
    times.sort((a, b) => a - b);
    expect(times[100]).toBeLessThan(100);
    expect(times[199]).toBeLessThan(2_000);
    expect(performance.now() - startedMs).toBeLessThan(20_000);
  }

  async function expectStop(server: RunningServer): Promise<void> {
    const startedMs = performance.now();
    expect(await server.stop()).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(STOP_MS_MAX);
  }

  it('is down: requests are served as ever, the log warns, and a stop is a stop', async () => {
    const endpoint = `http://127.0.0.1:${await closedPort()}/v1/traces`;
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint } } });
    try {
      await expectUndisturbed(server);
      await eventually(
        'a warning',
        () => warnings(server),
        (lines) => lines.length > 0,
      );
      expect(server.output()).not.toMatch(/"level":"(ERROR|FATAL)"/);
      await countOf(server, 't');
      await expectStop(server);
    } finally {
      await server.kill();
    }
  });

  it('hangs: requests are served as ever, the log warns, and a stop is a stop', async () => {
    const collector = await startOtlpReceiver('hang');
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint } } });
    try {
      await expectUndisturbed(server);
      await eventually(
        'a warning',
        () => warnings(server),
        (lines) => lines.length > 0,
      );
      expect(collector.requests).toBeGreaterThan(0);
      expect(server.output()).not.toMatch(/"level":"(ERROR|FATAL)"/);
      // More spans than one message has.
      for (let n = 0; n < 150; n += 1) await countOf(server, 't');
      await expectStop(server);
    } finally {
      await server.kill();
      await collector.stop();
    }
  });

  it('hangs, and more spans come than are kept: requests are served, and a stop is a stop', async () => {
    const collector = await startOtlpReceiver('hang');
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint: collector.endpoint } } });
    try {
      for (let n = 0; n < 60; n += 1)
        await Promise.all(Array.from({ length: 100 }, async () => expectStatus(await call(server, 'GET', '/v1/tables'), 200)));
      await expectStop(server);
    } finally {
      await server.kill();
      await collector.stop();
    }
  });

  it('comes back: spans are sent again', async () => {
    const port = await closedPort();
    const server = await startServer({ config: { ...QUIET, tracing: { endpoint: `http://127.0.0.1:${port}/v1/traces` } } });
    let collector: OtlpReceiver | undefined;
    try {
      await write(server, 't', 'a', { n: 1 });
      await eventually(
        'a warning',
        () => warnings(server),
        (lines) => lines.length > 0,
      );
      collector = await startOtlpReceiver('answer', port);
      const caller = newCaller();
      expectStatus(await call(server, 'GET', '/v1/tables', undefined, { traceparent: caller.traceparent }), 200);
      expect((await spansOf(collector, caller)).root.name).toBe('list_tables');
    } finally {
      await server.kill();
      await collector?.stop();
    }
  });
});
