/**
 * What an operator relies on: a configuration that is refused loudly, one ready line, an orderly end, a log that can be searched, and a full
 * disk that stops writes without losing an acknowledged one.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { connectGrpc, structOf } from './support/grpc-client.js';
import {
  countOf,
  eventually,
  expectStatus,
  expectSuccess,
  flush,
  type JsonRow,
  rowsOf,
  valueOf,
  write,
  writeBatch,
} from './support/requests.js';
import {
  type Answer,
  call,
  MAIN,
  type RunningServer,
  type ServerOptions,
  startServer,
  temporaryDirectory,
  testedMain,
} from './support/server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const MIB = 1_024 * 1_024;
const STOP_MS_MAX = 10_000;
const ENDLESS = 'SELECT count(*) AS marked_endless FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(options: ServerOptions = {}): Promise<RunningServer> {
  const server = await startServer('config' in options ? options : { ...options, config: { log: { file: '' } } });
  cleanUps.push(() => server.kill());
  return server;
}

/* --------------------------------------------------------------------------------------------------------- configuration */

describe('a configuration that cannot be used stops the start', () => {
  interface Ended {
    readonly code: number | null;
    readonly output: string;
  }

  /** Runs the server with parameters and an environment that should make it end by itself. */
  function startToFail(parameters: readonly string[], env: Record<string, string | undefined> = {}): Ended {
    const { status, stdout, stderr } = spawnSync(process.execPath, [testedMain(), ...parameters], {
      cwd: REPOSITORY,
      env: {
        ...process.env,
        DATA_DIR: temporaryDirectory('refused'),
        REST_PORT: '0',
        GRPC_PORT: '0',
        MINIODB_LOG__FILE: path.join(temporaryDirectory('log'), 'refused.log'),
        ...env,
      },
      timeout: 30_000,
      encoding: 'utf8',
    });
    return { code: status, output: stdout + stderr };
  }

  function fileWith(text: string): string {
    const file = path.join(temporaryDirectory('config'), 'config.yaml');
    writeFileSync(file, text);
    return file;
  }

  function expectRefusal(ended: Ended, ...says: readonly RegExp[]): void {
    expectThat(ended.code, `it was not refused:\n${ended.output}`).toBeGreaterThan(0);
    expect(ended.output).not.toContain('MinIODB ready');
    for (const word of says) expect(ended.output).toMatch(word);
    expectThat(ended.output, 'a person reads this: no stack').not.toMatch(/^\s+at .+\(?(file|node):/m);
  }

  /** Text of the file, then what the message must say: the key, the value, what is allowed. */
  const BAD_FILES: readonly (readonly [string, string, readonly RegExp[]])[] = [
    ['an unknown key', 'limits: { colour: 17 }', [/limits\.colour/, /17/, /unknown|not exist/i]],
    ['an unknown section', 'colours: { red: 1 }', [/colours/, /unknown|not exist/i]],
    ['an unknown key at the top', 'nodeid: seven', [/nodeid/, /seven/]],
    ['a key with a wrong case', 'query: { timeoutMs: 5 }', [/query\.timeoutMs/]],
    ['text for a number', 'query: { timeout_ms: soon }', [/query\.timeout_ms/, /soon/, /integer|number/i]],
    ['a number that is too large', 'server: { rest_port: 70000 }', [/server\.rest_port/, /70000/, /65535/]],
    ['a negative number', 'server: { grpc_port: -1 }', [/server\.grpc_port/, /-1/, /\b0\b/]],
    ['a fraction', 'limits: { json_depth_max: 6.5 }', [/limits\.json_depth_max/, /6\.5/, /integer/i]],
    ['a word that is none of those allowed', 'log: { level: loud }', [/log\.level/, /loud/, /debug/, /info/, /warn/]],
    ['text for a yes or no', 'tables: { auto_create: maybe }', [/tables\.auto_create/, /maybe/, /boolean|true/i]],
    ['a number for a section', 'wal: 5', [/wal/, /5|object/]],
    ['a list for a section', 'wal: [1]', [/wal/]],
    ['null for a number', 'query: { timeout_ms: null }', [/query\.timeout_ms/]],
    ['an empty data directory', 'data_dir: ""', [/data_dir/]],
    ['a node id with blanks', 'node_id: "a b"', [/node_id/, /a b/]],
    ['limits that contradict each other', 'query: { timeout_ms: 5000, timeout_ms_max: 1000 }', [/timeout_ms/, /5000/, /1000/]],
    [
      'an address for everyone without authentication',
      'server: { host: 0.0.0.0 }',
      [/server\.host/, /0\.0\.0\.0/, /127\.0\.0\.1|loopback/],
    ],
    ['two mistakes: both are told', 'log: { level: loud }\nserver: { rest_port: 70000 }', [/log\.level/, /server\.rest_port/]],
    ['a list instead of sections', '- a\n- b', [/config\.yaml/]],
    ['text that is not YAML', 'server: { rest_port: [', [/config\.yaml/]],
  ];

  test.each(BAD_FILES)('%s', (_, text, says) => {
    // What the file is about must come from the file, not from the environment.
    const env = {
      ...(text.startsWith('data_dir') ? { DATA_DIR: undefined } : {}),
      ...(text.includes('_port') ? { REST_PORT: undefined, GRPC_PORT: undefined } : {}),
    };
    expectRefusal(startToFail(['--config', fileWith(text)], env), ...says);
  });

  test('a file that is not there', () => {
    expectRefusal(startToFail(['--config', '/nowhere/miniodb.yaml']), /\/nowhere\/miniodb\.yaml/, /--config/);
  });

  test('--config without a file, and an unknown option', () => {
    expectRefusal(startToFail(['--config']), /--config/);
    expectRefusal(startToFail(['--colour', 'red']), /colour/);
  });

  test('the environment: an unknown key, a bad value, a value that is not YAML', () => {
    expectRefusal(startToFail([], { MINIODB_LIMITS__COLOUR: '17' }), /limits\.colour|MINIODB_LIMITS__COLOUR/i, /17/);
    expectRefusal(startToFail([], { REST_PORT: 'http' }), /rest_port/, /http/);
    expectRefusal(startToFail([], { MINIODB_QUERY__TIMEOUT_MS: '-5' }), /query\.timeout_ms/, /-5/);
    expectRefusal(startToFail([], { MINIODB_LOG__LEVEL: '[' }), /log\.level|MINIODB_LOG__LEVEL/);
    expectRefusal(startToFail([], { MINIODB_WAL: '5', MINIODB_WAL__SEGMENT_BYTES: '100000' }), /wal/i);
  });

  test('a port that is taken is named', async () => {
    const running = await start();
    expectRefusal(startToFail([], { REST_PORT: new URL(running.rest).port }), new RegExp(new URL(running.rest).port), /in use|EADDRINUSE/i);
  });

  test('a data directory that another server uses is refused, and the other one goes on', async () => {
    const running = await start();
    await write(running, 'mine', 'a', { n: 1 });
    expectRefusal(startToFail([], { DATA_DIR: running.dataDir }), /use|lock|running/i);
    await write(running, 'mine', 'b', { n: 2 });
    expect(await countOf(running, 'mine')).toBe(2);
  });

  test('an empty file and an empty variable are no mistakes', async () => {
    const file = fileWith('# nothing is set here\n');
    const server = await start({ config: undefined, env: { MINIODB_LOG__FILE: '' } });
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
    expectRefusal(startToFail(['--config', file], { REST_PORT: 'http' }), /rest_port/, /http/);
  });

  test('a file is over the defaults, the environment over the file', async () => {
    const server = await start({
      config: { log: { file: '' }, node_id: 'from-file', query: { page_rows: 3 } },
      env: { NODE_ID: 'from-environment' },
    });
    expect((await write(server, 'layers', 'a'))['node_id']).toBe('from-environment');
    expect((await call(server, 'POST', '/v1/query', { sql: 'FROM range(10)' })).json.row_count).toBe(3);
  });
});

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
    const server = await start();
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
    await stopInTime(server);
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

/* -------------------------------------------------------------------------------------------------------------- full disk */

describe('a full disk', () => {
  interface SmallDisk {
    readonly directory: string;
    /** Takes what is left, but for these bytes. */
    fill(leaveBytes: number): void;
    free(): void;
  }

  /** A tmpfs of its own, or undefined when this user may not mount one. */
  function mountSmallDisk(megabytes: number): SmallDisk | undefined {
    const directory = temporaryDirectory('small-disk');
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], { stdio: 'pipe' });
    } catch (error) {
      console.warn(
        `FULL DISK TEST: mounting a tmpfs failed (${String(error).split('\n')[0]}); a limit on file size (prlimit --fsize) stands in for it`,
      );
      return undefined;
    }
    console.log(`FULL DISK TEST: runs on a tmpfs of ${megabytes} MiB at ${directory}`);
    cleanUps.push(() => execFileSync('umount', ['--lazy', directory]));
    const ballast = path.join(directory, 'ballast');
    return {
      directory,
      fill: (leaveBytes) => {
        const { bavail, bsize } = statfsSync(directory);
        const wanted = bavail * bsize - leaveBytes;
        if (wanted > 0) writeFileSync(ballast, Buffer.alloc(wanted), { flag: 'a' });
      },
      free: () => rmSync(ballast, { force: true }),
    };
  }

  const CONFIG = {
    log: { file: '' },
    wal: { segment_bytes: 256 * 1_024, bytes_max: 512 * MIB },
    tables: { buffer_size: 2_000, flush_interval_seconds: 5 },
    maintenance: { interval_seconds: 1 },
  };

  /** What is left for the WAL itself to fill, so that one append ends in the middle of a record. */
  const LEFT_BYTES = 2 * MIB;

  /** Writes batches of twenty rows of 4 KB until one is refused; remembers what was acknowledged and gives the refusal. */
  async function writeUntilRefused(server: RunningServer, acknowledged: string[]): Promise<Answer> {
    for (let batch = 0; batch < 2_000; batch += 1) {
      const ids = Array.from({ length: 20 }, (_, index) => `row-${batch}-${index}`);
      const records = ids.map((id) => ({ id, payload: { filler: randomBytes(2_000).toString('hex') } }));
      const answer = await call(server, 'POST', '/v1/data', { table: 'filled', records });
      if (answer.status >= 300) return answer;
      acknowledged.push(...ids);
    }
    throw new Error('2,000 batches of 80 KB were accepted: the disk never became full');
  }

  function expectUnavailable(answer: Answer): void {
    expectThat({ status: answer.status, error: answer.json?.error }, answer.text.slice(0, 500)).toEqual({
      status: 503,
      error: 'UNAVAILABLE',
    });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(answer.json.message).toMatch(/space|disk|full|too large/i);
    expect(answer.text).not.toMatch(/ENOSPC.*\/|\/tmp\//);
  }

  /** The table holds each acknowledged row once, and no other: a refused row must not turn up either. */
  async function expectExactly(server: RunningServer, acknowledged: readonly string[]): Promise<void> {
    const stored = (await call(server, 'POST', '/v1/query', { sql: 'SELECT id FROM filled' }, { accept: 'application/x-ndjson' })).text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: string }).id);
    const allowed = new Set(acknowledged);
    const counted = new Set(stored);
    expectThat(counted.size, 'a row is stored twice').toBe(stored.length);
    expectThat(
      acknowledged.filter((id) => !counted.has(id)),
      'acknowledged rows are missing',
    ).toEqual([]);
    expectThat(
      stored.filter((id) => !allowed.has(id)),
      'rows that nobody wrote',
    ).toEqual([]);
  }

  /** The one story, whatever makes the disk full: refuse, keep answering, heal, lose nothing, also across a crash. */
  async function refuseAndHeal(
    server: RunningServer,
    fill: () => void,
    free: () => void,
    dataDir: string,
    config: Record<string, unknown>,
  ): Promise<void> {
    const acknowledged: string[] = [];
    await write(server, 'filled', 'before', { n: -1 });
    acknowledged.push('before');
    fill();
    expectUnavailable(await writeUntilRefused(server, acknowledged));
    for (let again = 0; again < 5; again += 1) {
      expectUnavailable(
        await call(server, 'POST', '/v1/data', {
          table: 'filled',
          id: `refused-${again}`,
          payload: { filler: randomBytes(200_000).toString('hex') },
        }),
      );
    }
    expectStatus(await call(server, 'GET', '/v1/health/live'), 200);
    await expectExactly(server, acknowledged);
    free();
    const healedId = `healed-${acknowledged.length}`;
    await eventually(
      'writes are taken again',
      () => call(server, 'POST', '/v1/data', { table: 'filled', id: healedId, payload: { n: 1 } }, { 'idempotency-key': healedId }),
      (answer) => answer.status < 300,
      60_000,
    );
    acknowledged.push(healedId);
    await expectExactly(server, acknowledged);
    await eventually(
      'a flush works again',
      () => call(server, 'POST', '/v1/tables/filled/flush'),
      (answer) => answer.status < 300,
      60_000,
    );
    await write(server, 'filled', 'after', { n: 2 });
    acknowledged.push('after');
    await expectExactly(server, acknowledged);
    await server.kill();
    await expectExactly(await start({ dataDir, config }), acknowledged);
  }

  test('under the whole data directory: writes are refused with 503 while it is full, and heal', async () => {
    const disk = mountSmallDisk(48);
    if (!disk) return onALimitOfFileSize();
    const dataDir = path.join(disk.directory, 'data');
    const server = await start({ dataDir, config: CONFIG });
    await refuseAndHeal(server, () => disk.fill(LEFT_BYTES), disk.free, dataDir, CONFIG);
  }, 240_000);

  test('under the WAL alone: the same, while the object store has room', async () => {
    const disk = mountSmallDisk(16);
    if (!disk) return onALimitOfFileSize();
    const dataDir = temporaryDirectory('server');
    mkdirSync(path.join(disk.directory, 'wal'));
    symlinkSync(path.join(disk.directory, 'wal'), path.join(dataDir, 'wal'));
    // No flush that trims the WAL and so makes room by itself.
    const config = { ...CONFIG, tables: { flush_interval_seconds: 3_600 } };
    const server = await start({ dataDir, config });
    await refuseAndHeal(server, () => disk.fill(LEFT_BYTES), disk.free, dataDir, config);
  }, 240_000);

  test('under the object store alone: writes go on from the WAL, and the flush catches up by itself', async () => {
    const disk = mountSmallDisk(16);
    if (!disk) return onALimitOfFileSize();
    const dataDir = path.join(disk.directory, 'data');
    const walDirectory = temporaryDirectory('wal');
    mkdirSync(dataDir);
    symlinkSync(walDirectory, path.join(dataDir, 'wal'));
    const server = await start({ dataDir, config: CONFIG });
    const acknowledged = ['before'];
    await write(server, 'filled', 'before', { n: 1 });
    await flush(server, 'filled');
    disk.fill(0);
    for (let n = 0; n < 300; n += 1) {
      await write(server, 'filled', `row-${n}`, { filler: `${n} ${Math.random()}`.repeat(20) });
      acknowledged.push(`row-${n}`);
    }
    expectStatus(await call(server, 'POST', '/v1/tables/filled/flush'), 503);
    await expectExactly(server, acknowledged);
    disk.free();
    await eventually(
      'the flush catches up by itself',
      async () => (await call(server, 'GET', '/v1/tables/filled')).json.table_info.stats as JsonRow,
      (stats) => stats['buffered_records'] === 0,
      90_000,
    );
    await expectExactly(server, acknowledged);
    await server.kill();
    const again = await start({ dataDir, config: CONFIG });
    await expectExactly(again, acknowledged);
    expect(await rowsOf(again, 'SELECT count(*) AS c FROM filled')).toEqual([{ c: acknowledged.length }]);
  }, 240_000);

  /** Without the right to mount: no file of the process may grow beyond a limit, which fails a write as a full disk does (EFBIG for ENOSPC). */
  async function onALimitOfFileSize(): Promise<void> {
    const dataDir = temporaryDirectory('server');
    const config = { ...CONFIG, wal: { segment_bytes: 64 * MIB, bytes_max: 512 * MIB }, tables: { flush_interval_seconds: 3_600 } };
    const server = await start({ dataDir, config });
    const limit = (bytes: string): void => void execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}`]);
    await refuseAndHeal(
      server,
      () => limit(`${64 * 1_024}:unlimited`),
      () => limit('unlimited:unlimited'),
      dataDir,
      config,
    );
  }
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
