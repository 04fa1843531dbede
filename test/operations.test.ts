/** What an operator relies on: one ready line, an orderly end, and a log that can be searched. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { connectGrpc, structOf } from './support/grpc-client.js';
import { countOf, eventually, expectStatus, expectSuccess, flush, type JsonRow, valueOf, write, writeBatch } from './support/requests.js';
import { call, MAIN, type RunningServer, temporaryDirectory } from './support/server.js';
import { cleanUps, start } from './support/server-of-a-test.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const STOP_MS_MAX = 10_000;
const ENDLESS = 'SELECT count(*) AS marked_endless FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';

/* ------------------------------------------------------------------------------------------------------- start and end */

describe('start', () => {
  test('prints one ready line with its URLs, and both answer', async () => {
    const server = await start({ main: MAIN, config: { log: { file: '' } } });
    expect(server.output().match(/^MinIODB ready:/gm)).toHaveLength(1);
    expect(server.rest).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(server.grpc).toMatch(/127\.0\.0\.1:\d+$/);
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
    const grpc = connectGrpc(server);
    expect((await grpc.unary('HealthCheck', {})).ok).toBe(true);
    grpc.close();
  });

  test('listens on loopback and nowhere else', async () => {
    const server = await start();
    const others = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter((each) => !each.internal && each.family === 'IPv4');
    for (const { address } of others) {
      for (const url of [server.rest, `http://${server.grpc.replace(/^\w+:\/\//, '')}`])
        expectThat(await connects(address, Number(new URL(url).port)), address).toBe(false);
    }
    expect(await connects('127.0.0.1', Number(new URL(server.rest).port))).toBe(true);
  });

  function connects(host: string, port: number): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ host, port, timeout: 2_000 });
      const settle = (answer: boolean) => (): void => {
        socket.destroy();
        resolve(answer);
      };
      socket.once('connect', settle(true)).once('error', settle(false)).once('timeout', settle(false));
    });
  }
});

describe('SIGTERM', () => {
  async function stopInTime(server: RunningServer): Promise<void> {
    const startedMs = Date.now();
    const code = await server.stop();
    expectThat(
      { code, inTime: Date.now() - startedMs < STOP_MS_MAX },
      `after ${Date.now() - startedMs} ms:\n${server.output().slice(-2_000)}`,
    ).toEqual({ code: 0, inTime: true });
  }

  test('an idle server ends with 0; so it does on SIGINT', async () => {
    await stopInTime(await start({ main: MAIN, config: { log: { file: '' } } }));
    const server = await start();
    process.kill(server.pid, 'SIGINT');
    expect(await server.exited).toEqual({ code: 0, signal: null });
  });

  test('while writers write: each acknowledged row is there once after the next start, and none is there twice', async () => {
    const server = await start({ config: { log: { file: '' }, tables: { buffer_size: 200 } } });
    const acknowledged: string[] = [];
    let stopping = false;
    const writer = async (name: string): Promise<void> => {
      for (let n = 0; !stopping || n === 0; n += 1) {
        const id = `${name}-${n}`;
        const answer = await call(server, 'POST', '/v1/data', { table: 'drained', id, payload: { n } }).catch(() => undefined);
        if (answer === undefined) return;
        if (answer.status < 300) acknowledged.push(id);
        else expect(answer.status).toBe(503);
      }
    };
    const writers = Array.from({ length: 8 }, (_, index) => writer(`w${index}`));
    await eventually(
      'some hundred rows are acknowledged',
      () => acknowledged.length,
      (count) => count > 500,
    );
    await stopInTime(server);
    stopping = true;
    await Promise.all(writers);
    const again = await start({ dataDir: server.dataDir });
    const stored = (await call(again, 'POST', '/v1/query', { sql: 'SELECT id FROM drained' }, { accept: 'application/x-ndjson' })).text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: string }).id);
    expectThat(new Set(stored).size, 'a row is there twice').toBe(stored.length);
    const ids = new Set(stored);
    expectThat(
      acknowledged.filter((id) => !ids.has(id)),
      'acknowledged rows are missing',
    ).toEqual([]);
  });

  test('with an endless query: it is stopped, and told so', async () => {
    const server = await start();
    const query = call(server, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: 60_000 }).catch(() => undefined);
    await eventually(
      'the query runs',
      async () => (await call(server, 'GET', '/v1/queries')).json.queries as JsonRow[],
      (list) => list.length > 0,
    );
    await stopInTime(server);
    const cut = await query;
    if (cut) expect([499, 503, 504]).toContain(cut.status);
  });

  test('with connections that were used once, never, and for half a request', async () => {
    const server = await start();
    const port = Number(new URL(server.rest).port);
    const sent = ['GET /v1/health HTTP/1.1\r\nhost: a\r\n\r\n', '', 'POST /v1/data HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n'];
    for (const text of sent) {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => undefined);
      cleanUps.push(() => socket.destroy());
      await once(socket, 'connect');
      socket.write(text);
    }
    await stopInTime(server);
  });

  test('a request that comes too late is refused like any other', async () => {
    const server = await start();
    const port = Number(new URL(server.rest).port);
    const socket = connect({ host: '127.0.0.1', port });
    cleanUps.push(() => socket.destroy());
    let answer = '';
    socket.on('data', (part) => (answer += part.toString()));
    await once(socket, 'connect');
    socket.write('GET /v1/tables HTTP/1.1\r\nhost: a\r\nx-request-id: late\r\n');
    const isStopped = stopInTime(server);
    await eventually(
      'no connection is taken any more',
      () => call(server, 'GET', '/v1/health').catch(() => undefined),
      (health) => health === undefined,
    );
    socket.write('\r\n');
    await once(socket, 'close');
    await isStopped;
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 503 /);
    expect(head).toMatch(/^x-request-id: late$/im);
    expect(head).toMatch(/^retry-after: \d+$/im);
    expect(head).toMatch(/^connection: close$/im);
    expect(JSON.parse(body)).toMatchObject({ error: 'UNAVAILABLE', code: 503, message: 'the server is stopping', request_id: 'late' });
  });

  test('with an open stream of writes: what it stored is there after the next start', async () => {
    const server = await start();
    const grpc = connectGrpc(server);
    cleanUps.push(() => grpc.close());
    const { call: stream, answer } = grpc.upload('StreamWrite');
    stream.on('error', () => undefined);
    stream.write({ table: 'open', records: [{ id: 'streamed', payload: structOf({ n: 2 }) }] });
    await eventually(
      'the streamed record is stored',
      async () => (await call(server, 'GET', '/v1/tables/open')).json.table_info?.stats.record_count as number | undefined,
      (count) => count === 1,
    );
    await stopInTime(server);
    expect((await answer).ok).toBe(false);
    expect(await countOf(await start({ dataDir: server.dataDir }), 'open')).toBe(1);
  });

  test('a request in flight is answered, not cut', async () => {
    // More time than a busy machine needs for this query.
    const server = await start({ config: { log: { file: '' }, server: { shutdown_seconds: 60 } } });
    await writeBatch(
      server,
      'flight',
      Array.from({ length: 1_000 }, (_, n) => ({ id: `f-${n}`, payload: { n } })),
    );
    const slow = call(server, 'POST', '/v1/query', {
      sql: 'SELECT count(*) AS marked_slow FROM flight a, flight b, range(60) c WHERE (a.n * b.n + c.range) % 7 = 3',
    });
    await eventually(
      'the query runs',
      async () => (await call(server, 'GET', '/v1/queries')).text,
      (text) => text.includes('marked_slow'),
    );
    expect(await server.stop()).toBe(0);
    expect((await slow).status).toBe(200);
  });
});

/* ------------------------------------------------------------------------------------------------------------------- log */

describe('the log file', () => {
  const linesOf = (file: string): JsonRow[] =>
    readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as JsonRow);

  async function startWithLog(config: Record<string, unknown> = {}): Promise<{ server: RunningServer; file: string }> {
    const file = path.join(temporaryDirectory('log'), 'deep', 'miniodb.log');
    return { server: await start({ config: { ...config, log: { file, slow_query_ms: 300 } } }), file };
  }

  test('is where log.file says, in JSON lines with a time and a level that can be searched', async () => {
    const { server, file } = await startWithLog();
    await write(server, 'logged', 'a', { n: 1 });
    expect(await server.stop()).toBe(0);
    for (const line of linesOf(file)) {
      expect(line['level']).toMatch(/^(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)$/);
      expectThat(Date.parse(String(line['time'])), JSON.stringify(line)).toBeGreaterThan(0);
      expect(typeof line['msg']).toBe('string');
    }
    expect(existsSync(path.join(server.dataDir, 'miniodb.log'))).toBe(false);
  });

  test('names the table of table operations as table:NAME', async () => {
    const { server, file } = await startWithLog();
    expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: 'logged_table' }));
    await write(server, 'logged_table', 'a', { n: 1 });
    await flush(server, 'logged_table');
    expectSuccess(await call(server, 'DELETE', '/v1/tables/logged_table?cascade=true'));
    const messages = linesOf(file)
      .map((line) => line['msg'] as string)
      .filter((message) => message.includes('table:logged_table'));
    expectThat(
      messages.some((message) => /creat/i.test(message)),
      messages.join('\n'),
    ).toBe(true);
    expectThat(
      messages.some((message) => /flush/i.test(message)),
      messages.join('\n'),
    ).toBe(true);
    expectThat(
      messages.some((message) => /drop|delet/i.test(message)),
      messages.join('\n'),
    ).toBe(true);
  });

  test('tells the duration of queries, and names the slow ones', async () => {
    const { server, file } = await startWithLog();
    expect(await valueOf(server, 'SELECT 41 + 1')).toBe(42);
    expect(readFileSync(file, 'utf8')).toMatch(/query duration/);
    expect(readFileSync(file, 'utf8')).not.toMatch(/slow query/);
    await call(server, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: 1_000 });
    const slow = await eventually(
      'the slow query is logged',
      () => linesOf(file).filter((line) => String(line['msg']).includes('slow query')),
      (list) => list.length > 0,
    );
    expect(slow).toHaveLength(1);
    expect(JSON.stringify(slow[0])).toContain('marked_endless');
  });

  test('carries the id of each request: the one that an error tells, and the one that a client sent', async () => {
    const { server, file } = await startWithLog();
    const failed = await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM nowhere' });
    await write(server, 'with_ids', 'a', { n: 1 });
    await call(server, 'POST', '/v1/query', { sql: 'SELECT 1' }, { 'x-request-id': 'mine-123' });
    const ids = new Set(linesOf(file).map((line) => line['request_id'] as string | undefined));
    expect(ids).toContain(failed.json.request_id);
    expect(ids).toContain('mine-123');
    const refused = await call(server, 'POST', '/v1/query', { sql: 'SELECT * FROM nowhere' }, { 'x-request-id': 'mine-124' });
    expect(refused.json.request_id).toBe('mine-124');
  });

  test('a request id from outside cannot forge a log line or an answer', async () => {
    const { server, file } = await startWithLog();
    const answer = await call(
      server,
      'POST',
      '/v1/query',
      { sql: 'SELECT * FROM nowhere' },
      { 'x-request-id': `${'x'.repeat(5_000)}"},{"level":"FATAL"` },
    );
    expect(answer.json.request_id.length).toBeLessThan(300);
    for (const line of linesOf(file)) expect(line['level']).not.toBe('FATAL');
  });

  test('level error leaves out the rest', async () => {
    const file = path.join(temporaryDirectory('log'), 'quiet.log');
    const server = await start({ config: { log: { file, level: 'error' } } });
    await write(server, 'quiet', 'a', { n: 1 });
    await server.stop();
    expect(readFileSync(file, 'utf8')).toBe('');
  });
});

test('the server logs at level ERROR what it could not do', async () => {
  const file = path.join(temporaryDirectory('log'), 'errors.log');
  const dataDir = temporaryDirectory('server');
  const server = await start({ dataDir, config: { log: { file }, tables: { flush_interval_seconds: 1 } } });
  await write(server, 'broken', 'a', { n: 1 });
  const objects = path.join(dataDir, 'objects');
  rmSync(objects, { recursive: true, force: true });
  writeFileSync(objects, 'not a directory');
  await eventually(
    'an ERROR line about the flush',
    () => (existsSync(file) ? readFileSync(file, 'utf8') : ''),
    (text) => /"level":"ERROR".*table:broken/.test(text),
    60_000,
  );
  expectStatus(await call(server, 'GET', '/v1/health/live'), 200);
}, 120_000);

// Without the pre-scripts, which may build: other test files run servers from `dist` meanwhile.
test('npm start -- --config FILE passes the option on', async () => {
  const file = path.join(temporaryDirectory('config'), 'config.yaml');
  writeFileSync(file, JSON.stringify({ log: { level: 'loud' } }));
  const child = spawn('npm', ['start', '--ignore-scripts', '--', '--config', file], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DATA_DIR: temporaryDirectory('npm'), REST_PORT: '0', GRPC_PORT: '0' },
  });
  cleanUps.push(() => child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  expectThat(code, output).not.toBe(0);
  expect(output).toMatch(/log\.level/);
}, 300_000);
