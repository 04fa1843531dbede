/**
 * Readiness and liveness: ready does real work, so it is 503 while the disk of the log takes nothing or a table's rows cannot be read, and comes back by
 * itself; live answers all the time; asking moves no figure, tells no path, and however many ask, the work is done once a second.
 */
import { type FSWatcher, existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, watch } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { QUIET } from './support/backups.js';
import { connectGrpc } from './support/grpc-client.js';
import { movedBy } from './support/metrics.js';
import { countOf, eventually, expectStatus, flush, type JsonRow, write } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer, temporaryDirectory } from './support/server.js';
import { TEST_STORAGE } from './support/storage.js';

/** How long one outcome is told to all who ask. */
const KEPT_MS = 1_000;
const ASKERS = 50;

const ready = (server: RunningServer): Promise<Answer> => call(server, 'GET', '/v1/health/ready');
const live = (server: RunningServer): Promise<Answer> => call(server, 'GET', '/v1/health/live');

/** Names of the parts that are in one state. */
function partsIn({ json }: Answer, state: 'up' | 'down'): string[] {
  const details = (json?.details ?? {}) as Record<string, JsonRow>;
  return Object.keys(details)
    .filter((name) => details[name]?.['status'] === state)
    .sort();
}

function eventuallyReady(server: RunningServer, status: 200 | 503): Promise<Answer> {
  return eventually(
    `ready is ${status}`,
    () => ready(server),
    (answer) => answer.status === status,
    10_000,
  );
}

/** What a load balancer sees of a server whose part is down. */
async function expectDown(server: RunningServer, part: string): Promise<void> {
  const answer = await eventuallyReady(server, 503);
  expect(answer.json.status).toBe('error');
  expect(partsIn(answer, 'down')).toEqual([part]);
  expect(Object.keys(answer.json.error as JsonRow)).toEqual([part]);
  expect(partsIn(answer, 'up')).toContain('query_engine');
  expect((await live(server)).status).toBe(200);
  const health = await call(server, 'GET', '/v1/health');
  expect(health.status).toBe(503);
  expect(health.json).toMatchObject({ status: 'unhealthy', details: { [part]: expect.stringMatching(/^unhealthy/) } });
}

async function expectUp(server: RunningServer): Promise<void> {
  const answer = await eventuallyReady(server, 200);
  expect(answer.json.status).toBe('ok');
  expect(partsIn(answer, 'up')).toEqual(expect.arrayContaining(['object_store', 'query_engine', 'read_path', 'write_path']));
  expect(partsIn(answer, 'down')).toEqual([]);
  expect((await call(server, 'GET', '/v1/health')).json.status).toBe('healthy');
}

describe('a disk of the log that takes nothing', () => {
  let server: RunningServer;
  let wal: string;
  let obstacle: string;

  beforeAll(async () => {
    server = await startServer({ config: QUIET });
    await write(server, 't', 'a', { n: 1 });
    wal = path.join(server.dataDir, 'wal');
    obstacle = path.join(wal, 'probe');
  });

  afterAll(async () => {
    await server?.kill();
  });

  it('makes the write path not ready, and nothing else; it comes back by itself', async () => {
    await expectUp(server);
    mkdirSync(obstacle);
    try {
      await expectDown(server, 'write_path');
      expect(await countOf(server, 't')).toBe(1);
    } finally {
      rmdirSync(obstacle);
    }
    await expectUp(server);
    await write(server, 't', 'b', { n: 1 });
  });

  it('does not tell paths of the server to everybody who asks', async () => {
    mkdirSync(obstacle);
    try {
      const { text } = await eventuallyReady(server, 503);
      const health = await call(server, 'GET', '/v1/health');
      for (const told of [text, health.text]) {
        expect(told).not.toContain(server.dataDir);
        expect(told).not.toMatch(/\/wal\b/);
      }
    } finally {
      rmdirSync(obstacle);
    }
    await eventuallyReady(server, 200);
  });

  it('leaves nothing behind in the folder of the log', async () => {
    await eventuallyReady(server, 200);
    await eventually(
      'no probe',
      () => readdirSync(wal),
      (names) => !names.includes('probe'),
      5_000,
    );
    expect(await server.stop()).toBe(0);
    const again = await startServer({ config: QUIET, dataDir: server.dataDir });
    try {
      expect(await countOf(again, 't')).toBe(2);
    } finally {
      await again.kill();
    }
  });
});

/** Files below a folder that end like this. */
function filesBelow(folder: string, end: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((name) => path.join(folder, String(name)))
    .filter((name) => name.endsWith(end));
}

(TEST_STORAGE === 'local' ? describe : describe.skip)('a data file that is lost', () => {
  /** A server that has read nothing yet, whose table has one data file and nothing in memory. */
  async function startFresh(): Promise<{ server: RunningServer; file: string }> {
    const first = await startServer({ config: QUIET });
    await write(first, 't', 'a', { n: 1 });
    await flush(first, 't');
    await first.stop();
    const server = await startServer({ config: QUIET, dataDir: first.dataDir });
    const [file = '', ...others] = filesBelow(path.join(first.dataDir, 'objects', 't'), '.parquet').filter(
      (name) => !name.includes('_delta_log'),
    );
    expect(others).toEqual([]);
    expect(existsSync(file)).toBe(true);
    return { server, file };
  }

  it('makes the read path not ready; it comes back with the file', async () => {
    const { server, file } = await startFresh();
    const aside = path.join(temporaryDirectory('aside'), 'file.parquet');
    try {
      renameSync(file, aside);
      await expectDown(server, 'read_path');
      renameSync(aside, file);
      await expectUp(server);
      expect(await countOf(server, 't')).toBe(1);
    } finally {
      await server.kill();
    }
  });

  it('is not told with its path to everybody who asks', async () => {
    const { server, file } = await startFresh();
    try {
      renameSync(file, path.join(temporaryDirectory('aside'), 'file.parquet'));
      const { text } = await eventuallyReady(server, 503);
      const health = await call(server, 'GET', '/v1/health');
      const grpc = connectGrpc(server);
      const byGrpc = JSON.stringify(await grpc.unary('HealthCheck', {}));
      grpc.close();
      for (const told of [text, health.text, byGrpc]) {
        expect(told).not.toContain(server.dataDir);
        expect(told).not.toContain(path.basename(file));
      }
    } finally {
      await server.kill();
    }
  });

  it('of one table among others is found, too: tables take turns', async () => {
    const { server, file } = await startFresh();
    try {
      for (const name of ['other1', 'other2', 'other3']) await write(server, name, 'a', { n: 1 });
      renameSync(file, path.join(temporaryDirectory('aside'), 'file.parquet'));
      await expectDown(server, 'read_path');
    } finally {
      await server.kill();
    }
  });
});

describe('asking for health', () => {
  let server: RunningServer;
  let wal: string;

  beforeAll(async () => {
    server = await startServer({ config: QUIET });
    wal = path.join(server.dataDir, 'wal');
    await write(server, 't', 'a', { n: 1 });
    await flush(server, 't');
    await write(server, 't', 'b', { n: 1 });
    expect(await countOf(server, 't')).toBe(2);
  });

  afterAll(async () => {
    await server?.kill();
  });

  /** How often the disk was tried while something ran: each time a file comes and goes. */
  async function probesDuring(action: () => Promise<unknown>): Promise<number> {
    let events = 0;
    const watcher: FSWatcher = watch(wal, (event, name) => {
      if (event === 'rename' && name === 'probe') events += 1;
    });
    try {
      await action();
      // One more probe, whose end is the sign that all events before it have come.
      await eventually(
        'the outcome is asked for anew',
        () => ready(server),
        ({ json }) => json.details.write_path.cachedResponse !== true,
      );
      await eventually(
        'the events of the last probe',
        () => events,
        (count) => count >= 2,
        5_000,
      );
      await eventually(
        'an even number',
        () => events,
        (count) => count % 2 === 0,
        5_000,
      );
      return events / 2;
    } finally {
      watcher.close();
    }
  }

  it('moves no figure: neither queries nor writes nor requests nor freshness', async () => {
    const moved = await movedBy(server, async () => {
      for (let n = 0; n < 20; n += 1)
        for (const route of ['/v1/health', '/v1/health/live', '/v1/health/ready']) expectStatus(await call(server, 'GET', route), 200);
      // So that several probes were made, not one.
      await eventually(
        'another probe',
        () => ready(server),
        ({ json }) => json.details.read_path.cachedResponse !== true,
      );
    });
    expect(moved).toEqual({});
    expectStatus(await call(server, 'POST', '/v1/query', { sql: 'SELECT n FROM t' }), 200);
    expect(Object.keys(await movedBy(server, () => countOf(server, 't')))).toContain(
      'miniodb_query_operations_total{status="success",table="t"}',
    );
  });

  it('many at once are answered by few probes', async () => {
    const probes = await probesDuring(async () => {
      const startedMs = performance.now();
      const answers = await Promise.all(Array.from({ length: ASKERS }, () => ready(server)));
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      const more = await Promise.all(Array.from({ length: ASKERS }, () => ready(server)));
      const cached = more.filter(({ json }) => json.details.write_path.cachedResponse === true);
      if (performance.now() - startedMs < KEPT_MS) expect(cached.length).toBe(ASKERS);
      else expect(cached.length).toBeGreaterThan(ASKERS / 2);
    });
    // One for the fifty, one that ends the count, and one more where a second has passed in between.
    expect(probes).toBeLessThanOrEqual(4);
  });

  it('many at once over all doors share them', async () => {
    const grpc = connectGrpc(server);
    try {
      const probes = await probesDuring(() =>
        Promise.all(
          Array.from({ length: ASKERS }, async (_, n) => {
            if (n % 3 === 0) expect((await grpc.unary('HealthCheck', {})).ok).toBe(true);
            else expectStatus(await call(server, 'GET', n % 3 === 1 ? '/v1/health' : '/v1/health/ready'), 200);
          }),
        ),
      );
      expect(probes).toBeLessThanOrEqual(4);
    } finally {
      grpc.close();
    }
  });

  it('an outcome that is kept says so, and is made anew after a second', async () => {
    await eventually(
      'a new one',
      () => ready(server),
      ({ json }) => json.details.write_path.cachedResponse !== true,
    );
    const startedMs = performance.now();
    const { json } = await ready(server);
    if (performance.now() - startedMs < KEPT_MS / 2) expect(json.details.write_path.cachedResponse).toBe(true);
    await eventually(
      'a new one',
      () => ready(server),
      (answer) => answer.json.details.write_path.cachedResponse !== true,
      3 * KEPT_MS,
    );
  });

  it('a server without tables is ready', async () => {
    const empty = await startServer({ config: QUIET });
    try {
      await expectUp(empty);
    } finally {
      await empty.kill();
    }
  });

  it('a table that is empty, and one that is dropped meanwhile, are no fault', async () => {
    for (let n = 0; n < 10; n += 1) {
      expectStatus(await call(server, 'POST', '/v1/tables', { table_name: `short${n}` }), 200);
      const [answer] = await Promise.all([ready(server), call(server, 'DELETE', `/v1/tables/short${n}?cascade=true`)]);
      expect(answer.status).toBe(200);
    }
    await expectUp(server);
  });
});
