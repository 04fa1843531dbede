/**
 * The object store fails at exact instants of an upload and of a commit: before it has the request, half-way, and when it has done it and the answer is
 * lost; once, or from then on; with our server alive, and killed with SIGKILL at that instant. Requests may also arrive late, after a restart even. And
 * the store itself is killed (SIGKILL) and stopped (SIGSTOP) half-way through a request.
 *
 * Clients change rows all the while and check after each change that a query sees exactly what was acknowledged. In the end three must agree: what was
 * acknowledged, what the server answers (also after a restart), and what the bucket holds, read past the server. SEED repeats the clients' decisions.
 */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type Fault, type FaultRule, type FaultyProxy, startFaultyProxy } from './servers/faulty-proxy.js';
import { type ObjectStoreServer, startObjectStore } from './servers/radosgw.js';
import { objectStoreClient } from './servers/shared-servers.js';
import { type TableInBucket, readTableInBucket } from './support/bucket-table.js';
import { expectThat } from './support/expectations.js';
import { KillableNode } from './support/killable-node.js';
import { type Payload, difference, rowTexts } from './support/known-rows.js';
import { RequestTimes } from './support/request-times.js';
import { createTable, eventually, expectStatus, expectSuccess, tableInfo } from './support/requests.js';
import { RowsClient } from './support/rows-client.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type Answer, call } from './support/server.js';
import { bucketObjects } from './support/table-objects.js';

const IDLE_MS = 500;
const DEADLINE_MS = 1_000;
/** Between two attempts of one operation. */
const PAUSE_MS_MAX = 800;
/** The last attempt begins before the deadline and a pause, and hangs. */
const OPERATION_MS_MAX = DEADLINE_MS + PAUSE_MS_MAX + IDLE_MS;
/** A flush fails in its upload, or in its commit and the look at what became of it; and it may have waited for one that did the same. */
const FLUSH_OPERATIONS_MAX = 6;
/** For a machine with other work. What needs no store has no other bound. */
const SLACK_MS = 5_000;
const FLUSH_MS_MAX = FLUSH_OPERATIONS_MAX * OPERATION_MS_MAX + SLACK_MS;
/** How often ages are looked at, and the age that starts a flush. */
const FLUSH_START_MS_MAX = 1_250;
/** At least. */
const OUTAGE_MS = 1_500;
const STRUCK_MS_MAX = 30_000;
const BUCKET = `faults-${randomUUID()}`;
const WEIGHTS = { write: 8, replace: 2, merge: 1, delete: 2, hide: 1, restore: 1, query: 6 };
const CLIENT_PAUSE_MS = 120;
const TEXT_LENGTH_MAX = 2_000;

const CONFIG = {
  log: { level: 'warn', file: '' },
  minio: { idle_timeout_ms: IDLE_MS, deadline_ms: DEADLINE_MS, start_wait_seconds: 60 },
  tables: { flush_interval_seconds: 1 },
  maintenance: { interval_seconds: 3_600, compaction: false },
};

interface Target {
  readonly name: string;
  readonly label: string;
  /** Below the table's directory. */
  readonly key: string;
}

const UPLOAD: Target = { name: 'the upload of a data file', label: 'upload', key: String.raw`.*/part-[^/]+\.parquet$` };
const COMMIT: Target = { name: 'the commit', label: 'commit', key: String.raw`_delta_log/\d{20}\.json$` };

const FAILURES = [
  { name: 'is cut before the store has it', label: 'early_cut', at: 'before-request', effect: 'cut' },
  { name: 'hangs before the store has it', label: 'early_hang', at: 'before-request', effect: 'hang' },
  { name: 'is cut half-way', label: 'half_cut', at: 'within-request', effect: 'cut' },
  { name: 'hangs half-way', label: 'half_hang', at: 'within-request', effect: 'hang' },
  { name: 'is done, and its answer is cut', label: 'done_cut', at: 'before-answer', effect: 'cut' },
  { name: 'is done, and its answer hangs', label: 'done_hang', at: 'before-answer', effect: 'hang' },
] as const;

const SCENARIOS = [UPLOAD, COMMIT].flatMap((target) =>
  FAILURES.map((failure) => ({ target, failure, title: `${target.name} ${failure.name}` })),
);
type Scenario = (typeof SCENARIOS)[number];

/** What the tests before want to be so after the restart at the end, too. */
const afterRestart: (() => Promise<void>)[] = [];
const seed = seedOfThisRun();
const random = new SeededRandom(seed);

let store: ObjectStoreServer;
let proxy: FaultyProxy;
let node: KillableNode;

beforeAll(async () => {
  console.log(`object store faults: SEED=${seed}`);
  store = await startObjectStore();
  proxy = await startFaultyProxy(store);
  const env = {
    STORAGE: 'minio',
    MINIO_ENDPOINT: proxy.endpoint,
    MINIO_ACCESS_KEY: store.accessKey,
    MINIO_SECRET_KEY: store.secretKey,
    MINIO_BUCKET: BUCKET,
    REDIS_MODE: 'none',
  };
  node = new KillableNode('node-1', { config: CONFIG, env });
  await node.server();
});

afterAll(async () => {
  await node?.kill();
  await proxy?.stop();
  await store?.stop();
});

describe('while our server lives, rows are neither lost nor doubled when', () => {
  /** All at once, each in a table of its own; each test waits for its own. */
  const outcomes = new Map<Scenario, Promise<string>>();

  beforeAll(() => {
    for (const scenario of SCENARIOS) {
      const outcome = surviveOutage(scenario);
      // Looked at by its test; until then it must not count as unhandled.
      outcome.catch(() => undefined);
      outcomes.set(scenario, outcome);
    }
  });

  afterAll(async () => {
    await Promise.allSettled(outcomes.values());
    proxy.heal();
  });

  it.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))('%s', async (title, scenario) => {
    console.log(`${title}: ${await outcomes.get(scenario)}`);
  });
});

describe('with our server killed at that instant', () => {
  it('rows are neither lost nor doubled, whatever stood where', async () => {
    const tables = await Promise.all(SCENARIOS.map((scenario) => WatchedTable.create(`killed_${labelOf(scenario)}`)));
    await Promise.all(tables.map((table) => table.untilFlushed()));
    const faults = SCENARIOS.map((scenario, index) => failFromNowOn(member(tables, index).name, scenario));
    await Promise.all(faults.map((fault) => struck(fault)));
    const killedMs = performance.now();
    await node.kill();
    proxy.heal();
    await node.server();
    await Promise.all(tables.map((table) => table.untilFlushed()));
    console.log(`killed in the middle of ${SCENARIOS.length} requests: every table flushed again ${since(killedMs)} ms after the kill`);
    const orphans = (await Promise.all(tables.map((table) => table.finish()))).flatMap((found) => found.orphans);
    console.log(`uploads of the killed process that no commit names: ${orphans.length} (vacuum removes them)`);
    afterRestart.push(...tables.map((table) => () => table.expectExactRows('after another restart')));
  });
});

describe('a request that arrives late', () => {
  afterEach(() => proxy.heal());

  it('a commit, after its flush gave up: its rows count once', async () => {
    const table = await quietTable('late_given_up');
    await addRows(table, 'early', 20);
    const fault = proxy.inject({ ...ruleOf(table, COMMIT), at: 'before-request', effect: 'late' });
    expectUnavailable(await flush(table));
    await addRows(table, 'later', 5);
    fault.end();
    const statuses = await fault.deliver();
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    await expectRows(table, { early: 20, later: 5 });
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 20, later: 5 });
  });

  it('a commit, after the next attempt succeeded: the store refuses it', async () => {
    const table = await quietTable('late_overtaken');
    await addRows(table, 'early', 20);
    const fault = proxy.inject({ ...ruleOf(table, COMMIT), at: 'before-request', effect: 'late', times: 1 });
    await eventually(
      'a flush',
      () => flush(table),
      ({ status }) => status === 200,
    );
    await addRows(table, 'later', 5);
    expect(await fault.deliver()).toEqual([412]);
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 20, later: 5 });
  });

  it('a commit of a killed process, while nobody runs: the next one finds it', async () => {
    const table = await quietTable('late_while_dead');
    const fault = await killInCommit(table);
    expect(await fault.deliver()).toEqual([200]);
    await node.server();
    await addRows(table, 'later', 5);
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 20, later: 5 });
  });

  it('a commit of a killed process, when the next one has replayed its rows: they count once', async () => {
    const table = await quietTable('late_after_restart');
    const fault = await killInCommit(table);
    await node.server();
    await addRows(table, 'later', 5);
    await deliverLate(fault);
    await expectRows(table, { early: 20, later: 5 });
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 20, later: 5 });
  });

  it('a commit of a killed process with deletes, when the next one has replayed them: they hold', async () => {
    const table = await quietTable('late_deletes');
    await addRows(table, 'stored', 20);
    expectSuccess(await flush(table));
    await removeRows(table, 'stored', 7);
    const fault = await killInCommit(table);
    await node.server();
    await removeRows(table, 'stored', 3, 7);
    await removeRows(table, 'early', 5);
    await deliverLate(fault);
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { stored: 10, early: 15 });
  });

  it('an upload of a killed process: a file that no commit names', async () => {
    const table = await quietTable('late_upload');
    await addRows(table, 'early', 20);
    const fault = proxy.inject({ ...ruleOf(table, UPLOAD), at: 'before-request', effect: 'late' });
    const cutOff = flush(table).catch(() => undefined);
    await struck(fault);
    await node.kill();
    await cutOff;
    fault.end();
    await node.server();
    expectSuccess(await flush(table));
    expect(await fault.deliver()).toContain(200);
    const { orphans } = await expectRowsForGood(table, { early: 20 });
    expect(orphans).toHaveLength(1);
  });

  /** The store takes it, or finds its version taken: a server may see to that before it replays anything. */
  async function deliverLate(fault: Fault): Promise<void> {
    const [status, ...others] = await fault.deliver();
    expect(others).toEqual([]);
    expect([200, 412]).toContain(status);
  }

  /** Rows `early`, whose commit is on its way when the server dies. */
  async function killInCommit(table: string): Promise<Fault> {
    await addRows(table, 'early', 20);
    const fault = proxy.inject({ ...ruleOf(table, COMMIT), at: 'before-request', effect: 'late', times: 1 });
    const cutOff = flush(table).catch(() => undefined);
    await struck(fault);
    await node.kill();
    await cutOff;
    fault.end();
    return fault;
  }
});

describe('the store itself, half-way through an upload and a commit,', () => {
  it.each([
    ['is killed', 'SIGKILL'],
    ['is stopped', 'SIGSTOP'],
  ] as const)('%s, and then once more with our server killed: rows are neither lost nor doubled', async (title, signal) => {
    const targets = [UPLOAD, COMMIT];
    const tables = await Promise.all(targets.map((target) => WatchedTable.create(`${signal.toLowerCase()}_${target.label}`)));
    await Promise.all(tables.map((table) => table.untilFlushed()));
    for (const isServerKilled of [false, true]) {
      await takeStoreAway(
        signal,
        targets.map((target, index) => ruleOf(member(tables, index).name, target)),
      );
      const awaySinceMs = performance.now();
      if (isServerKilled) node.killAndRestart();
      else await Promise.all(tables.map((table) => table.expectRefusedFlush()));
      await pause(Math.max(0, OUTAGE_MS - since(awaySinceMs)));
      await (signal === 'SIGKILL' ? store.restart() : store.resume());
      const outageMs = since(awaySinceMs);
      const backMs = performance.now();
      await Promise.all(tables.map((table) => table.untilFlushed()));
      const resumedMs = since(backMs);
      const ours = isServerKilled ? ', and our server killed' : '';
      console.log(`the store ${title}${ours}: away ${outageMs} ms, flushes resumed ${resumedMs} ms after it was back`);
      expectThat(resumedMs, 'milliseconds until flushes resumed').toBeLessThan(resumeMsMax(outageMs));
    }
    for (const table of tables) console.log(`${table.name}: ${table.report(await table.finish())}`);
  });

  /** When all of these requests are half-way there. */
  async function takeStoreAway(signal: 'SIGKILL' | 'SIGSTOP', rules: readonly Pick<FaultRule, 'kinds' | 'key'>[]): Promise<void> {
    let goOn: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    const faults = rules.map((rule) => proxy.inject({ ...rule, at: 'within-request', effect: 'pass', act: () => gate }));
    await Promise.all(faults.map((fault) => struck(fault)));
    await (signal === 'SIGKILL' ? store.killGateway() : store.pause());
    goOn();
    proxy.heal();
  }
});

describe('reading a data file', () => {
  const READS = [
    ['is cut before the store has the request', 'before-request', 'cut'],
    ['hangs before the store has the request', 'before-request', 'hang'],
    ['is cut half-way through the answer', 'within-answer', 'cut'],
    ['hangs half-way through the answer', 'within-answer', 'hang'],
  ] as const;
  const tableOf = (at: string, effect: string): string => `read_${at.replace('-', '_')}_${effect}`;

  beforeAll(async () => {
    for (const [, at, effect] of READS) {
      const table = await quietTable(tableOf(at, effect));
      await addRows(table, 'stored', 500);
      expectSuccess(await flush(table));
    }
    await restartWithoutCache();
  });

  afterEach(() => proxy.heal());

  it.each(READS)('%s: for ever, the query says so in time; once, it is read again', async (_what, at, effect) => {
    const table = tableOf(at, effect);
    const rule = { kinds: ['GET'], key: new RegExp(`^${table}/${UPLOAD.key}`), at, effect } as const;
    const times = new RequestTimes();
    const always = proxy.inject(rule);
    expectUnavailable(await times.time('query', () => query(table)));
    expect(times.take()['query']).toBeLessThan(OPERATION_MS_MAX + SLACK_MS);
    always.end();
    const once = proxy.inject({ ...rule, times: 1 });
    await expectRows(table, { stored: 500 });
    expect(once.hits).toBe(1);
  });
});

describe('a file of our own', () => {
  afterEach(() => proxy.heal());

  it('can be read while the store is away, also when nobody heard that its upload was done', async () => {
    const table = await quietTable('unheard_upload');
    await addRows(table, 'stored', 20);
    const away = failFromNowOn(table, { target: UPLOAD, failure: { at: 'before-answer', effect: 'cut' } });
    expectUnavailable(await flush(table));
    away.end();
    await eventually(
      'a flush',
      () => flush(table),
      ({ status }) => status === 200,
      FLUSH_MS_MAX,
    );
    proxy.inject({ key: new RegExp(`^${table}/`), at: 'before-request', effect: 'cut' });
    await expectRows(table, { stored: 20 });
  });
});

describe('other commits', () => {
  afterEach(() => proxy.heal());

  it.each([UPLOAD, COMMIT])('a compaction loses nothing when $name is done and its answer is lost for good', async (target) => {
    const table = await quietTable(`compacted_${target.label}`);
    for (const part of ['first', 'second', 'third']) {
      await addRows(table, part, 10);
      expectSuccess(await flush(table));
    }
    const times = new RequestTimes();
    const compact = (): Promise<Answer> => times.time('compact', () => ask('POST', `/v1/tables/${table}/compact`));
    failFromNowOn(table, { target, failure: { at: 'before-answer', effect: 'cut' } });
    expectUnavailable(await compact());
    await expectRows(table, { first: 10, second: 10, third: 10 });
    proxy.heal();
    await addRows(table, 'later', 5);
    expectSuccess(await flush(table));
    await eventually('a compaction', compact, ({ status }) => status === 200, FLUSH_MS_MAX);
    expect(times.take()['compact']).toBeLessThan(FLUSH_MS_MAX);
    await expectRowsForGood(table, { first: 10, second: 10, third: 10, later: 5 });
    expect((await tableInfo(await node.server(), table))['stats'].file_count).toBe(1);
  });

  it('a table whose creation was done, and its answer lost for good, can be created and used', async () => {
    const table = 'created_twice';
    failCatalogue(table);
    expectUnavailable(await ask('POST', '/v1/tables', { table_name: table }));
    proxy.heal();
    expectSuccess(await ask('POST', '/v1/tables', { table_name: table, if_not_exists: true }));
    expectStatus(await ask('GET', `/v1/tables/${table}`), 200);
    await addRows(table, 'early', 3);
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 3 });
  });

  it('a table whose drop was done, and its answer lost for good, takes no write that it would lose', async () => {
    const table = await quietTable('dropped_unheard');
    await addRows(table, 'early', 3);
    expectSuccess(await flush(table));
    failCatalogue(table);
    expectUnavailable(await ask('DELETE', `/v1/tables/${table}?cascade=true`));
    proxy.heal();
    const written = await ask('POST', '/v1/data', { table, id: 'later-0', payload: { n: 0 } });
    if (written.status !== 200 && written.status !== 201) return;
    // It was acknowledged, so it must be there.
    await killAndRestart();
    expect(expectStatus(await query(table), 200).text).toContain('"later-0"');
  });

  it('a change of configuration whose answer was lost for good holds or does not, the same before and after a restart', async () => {
    const table = await quietTable('configured');
    failFromNowOn(table, { target: COMMIT, failure: { at: 'before-answer', effect: 'cut' } });
    expectUnavailable(await ask('PATCH', `/v1/tables/${table}`, { config: { properties: { owner: 'one' } } }));
    proxy.heal();
    await addRows(table, 'early', 3);
    expectSuccess(await flush(table));
    await expectRowsForGood(table, { early: 3 });
    const config = async (): Promise<unknown> => (await tableInfo(await node.server(), table))['config'];
    const before = await config();
    afterRestart.push(async () => expect(await config()).toEqual(before));
  });

  /** The entry of the catalogue is made, and nobody hears of it. */
  function failCatalogue(table: string): void {
    const key = new RegExp(`^_catalogue/${table}/`);
    const act = (): Fault => proxy.inject({ key, at: 'before-request', effect: 'cut' });
    proxy.inject({ kinds: ['PUT'], key, at: 'before-answer', effect: 'cut', times: 1, act });
  }
});

it('all of that is the same after another restart', async () => {
  await killAndRestart();
  for (const expectIt of afterRestart) await expectIt();
});

/* ------------------------------------------------------------------------------------------------------------------- scenarios */

/** One request fails, and later the store is away from such a request on; the rows of the table change all the while. */
async function surviveOutage(scenario: Scenario): Promise<string> {
  const table = await WatchedTable.create(`lives_${labelOf(scenario)}`);
  await table.untilFlushed();
  const { at, effect } = scenario.failure;
  const once = proxy.inject({ ...ruleOf(table.name, scenario.target), at, effect, times: 1 });
  await struck(once);
  const hitMs = performance.now();
  await table.untilFlushed();
  const mendedMs = since(hitMs);
  once.end();

  const away = failFromNowOn(table.name, scenario);
  await struck(away);
  const awaySinceMs = performance.now();
  await table.expectRefusedFlush();
  await pause(Math.max(0, OUTAGE_MS - since(awaySinceMs)));
  away.end();
  const outageMs = since(awaySinceMs);
  const backMs = performance.now();
  await table.untilFlushed();
  const resumedMs = since(backMs);
  const found = await table.finish();
  expectThat(found.orphans, 'uploads that no commit names').toEqual([]);
  expectThat(resumedMs, 'milliseconds until flushes resumed').toBeLessThan(resumeMsMax(outageMs));
  return `flushed ${mendedMs} ms after one failure; away ${outageMs} ms, flushes resumed ${resumedMs} ms after it was back; ${table.report(found)}`;
}

/** Pauses between failed flushes double, so the last one is hardly longer than the outage was. */
function resumeMsMax(outageMs: number): number {
  return outageMs + FLUSH_START_MS_MAX + FLUSH_MS_MAX;
}

function ruleOf(table: string, { key }: Target): Pick<FaultRule, 'kinds' | 'key'> {
  return { kinds: ['PUT'], key: new RegExp(`^${table}/${key}`) };
}

/** The next such request fails, and from then on no request for the table reaches the store. */
function failFromNowOn(
  table: string,
  { target, failure: { at, effect } }: { target: Target; failure: Pick<FaultRule, 'at' | 'effect'> },
): Pick<Fault, 'struck' | 'end'> {
  let after: Fault | undefined;
  const act = (): void => void (after = proxy.inject({ key: new RegExp(`^${table}/`), at: 'before-request', effect }));
  const first = proxy.inject({ ...ruleOf(table, target), at, effect, times: 1, act });
  const end = (): void => {
    first.end();
    after?.end();
  };
  return { struck: (times) => first.struck(times), end };
}

async function struck(fault: Pick<Fault, 'struck'>): Promise<void> {
  const late = pause(STRUCK_MS_MAX, undefined, { ref: false }).then(() =>
    Promise.reject(new Error(`no request was hit within ${STRUCK_MS_MAX} ms`)),
  );
  await Promise.race([fault.struck(), late]);
}

function labelOf({ target, failure }: Scenario): string {
  return `${target.label}_${failure.label}`;
}

/** A table whose rows a client changes and checks until `finish`. */
class WatchedTable {
  readonly #times = new RequestTimes();
  readonly #client: RowsClient;
  readonly #load: Promise<void>;
  #slowest: Record<string, number> = {};

  private constructor(readonly name: string) {
    this.#client = new RowsClient({
      table: name,
      name: 'row',
      server: () => node.server(),
      random: random.fork(),
      weights: WEIGHTS,
      columns: (choices) => ({ text: 'x'.repeat(choices.integer(1, TEXT_LENGTH_MAX)) }),
      times: this.#times,
      pauseMs: CLIENT_PAUSE_MS,
    });
    this.#load = this.#client.run();
  }

  static async create(name: string): Promise<WatchedTable> {
    await createTable(await node.server(), name);
    return new WatchedTable(name);
  }

  /** A flush by age that the server shows, from now on. */
  async untilFlushed(): Promise<void> {
    const version = async (): Promise<number> => {
      if (this.#client.failure) throw this.#client.failure;
      try {
        return (await tableInfo(await node.server(), this.name))['version'] as number;
      } catch (error) {
        // Killed meanwhile.
        if (error instanceof TypeError) return -1;
        throw error;
      }
    };
    const before = await version();
    await eventually(`a flush of ${this.name} after version ${before}`, version, (now) => now > before, 60_000);
  }

  async expectRefusedFlush(): Promise<void> {
    expectUnavailable(await this.#times.time('flush', () => flush(this.name)));
  }

  /** Ends the changes and compares: what was acknowledged, what a query says, what the bucket holds. */
  async finish(): Promise<TableInBucket> {
    this.#client.stop();
    await this.#load;
    if (this.#client.failure) throw this.#client.failure;
    await eventually(
      `a flush of ${this.name}`,
      () => flush(this.name),
      ({ status }) => status === 200,
      FLUSH_MS_MAX,
    );
    await this.expectExactRows('after the last flush');
    const found = await inBucket(this.name);
    const { rows } = this.#client;
    expectThat(found.rowCount, `rows of ${this.name} by its log`).toBe(rows.ids.length);
    const missing = rows.ids.map((id) => `${id}=${(rows.get(id) as Payload)['n']}`).filter((row) => !found.storedRows.has(row));
    expectThat(missing, `rows of ${this.name} that no data file holds`).toEqual([]);
    this.#slowest = this.#times.take();
    const { flush: slowestFlush = 0, ...others } = this.#slowest;
    expectThat(slowestFlush, 'milliseconds of a flush').toBeLessThan(FLUSH_MS_MAX);
    for (const [what, ms] of Object.entries(others)) expectThat(ms, `milliseconds of a ${what}`).toBeLessThan(SLACK_MS);
    return found;
  }

  async expectExactRows(when: string): Promise<void> {
    const found = await rowTexts(await node.server(), this.name);
    expectThat(difference(this.#client.rows.texts(), found), `rows of ${this.name} ${when} (SEED=${seed})`).toEqual([]);
  }

  report({ operations }: TableInBucket): string {
    const { acknowledged, cutOff, ids } = this.#client.rows;
    const slowest = JSON.stringify(this.#slowest);
    return `${acknowledged} changes acknowledged, ${cutOff} cut off, ${ids.length} rows, ${operations.length} commits, slowest (ms) ${slowest}`;
  }
}

/* -------------------------------------------------------------------------------------------------------------- tables by hand */

async function ask(method: string, where: string, body?: unknown): Promise<Answer> {
  return call(await node.server(), method, where, body);
}

/** A table that is flushed when a test asks for it. */
async function quietTable(name: string): Promise<string> {
  await createTable(await node.server(), name, { flush_interval_seconds: 86_400 });
  return name;
}

/** Rows `PREFIX-0`, `PREFIX-1`, ...: each with its number. */
async function addRows(table: string, prefix: string, count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, n) => ({ id: `${prefix}-${n}`, payload: { n } }));
  expectSuccess(await ask('POST', '/v1/data', { table, records }));
}

/** The last `count` rows of a prefix, without those after them. */
async function removeRows(table: string, prefix: string, count: number, alreadyGone = 0): Promise<void> {
  const total = { stored: 20, early: 20 }[prefix] ?? 0;
  const ids = Array.from({ length: count }, (_, index) => `${prefix}-${total - alreadyGone - 1 - index}`);
  const answer = expectSuccess(await ask('DELETE', '/v1/data', { table, ids, soft_delete: false }));
  expect(answer.json.deleted_count).toBe(count);
}

function flush(table: string): Promise<Answer> {
  return ask('POST', `/v1/tables/${table}/flush`);
}

async function query(table: string): Promise<Answer> {
  return call(await node.server(), 'POST', '/v1/query', { sql: `SELECT id, n FROM ${table}`, limit: 10_000 });
}

/** Exactly the first so many rows of each prefix. */
async function expectRows(table: string, counts: Readonly<Record<string, number>>): Promise<void> {
  const answer = expectStatus(await query(table), 200);
  const found = (answer.json.rows as { id: string; n: number }[]).map(({ id, n }) => `${id}=${n}`);
  expectThat(difference(expectedRows(counts), found), `rows of ${table}`).toEqual([]);
}

function expectedRows(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).flatMap(([prefix, count]) => Array.from({ length: count }, (_, n) => `${prefix}-${n}=${n}`));
}

/** Now, by the bucket too, and once more after the restart at the end. */
async function expectRowsForGood(table: string, counts: Readonly<Record<string, number>>): Promise<TableInBucket> {
  await expectRows(table, counts);
  const found = await inBucket(table);
  const expected = expectedRows(counts);
  expectThat(found.rowCount, `rows of ${table} by its log`).toBe(expected.length);
  expect(expected.filter((row) => !found.storedRows.has(row))).toEqual([]);
  afterRestart.push(() => expectRows(table, counts));
  return found;
}

async function killAndRestart(): Promise<void> {
  node.killAndRestart();
  await node.server();
}

async function restartWithoutCache(): Promise<void> {
  const { dataDir } = await node.server();
  await node.kill();
  rmSync(path.join(dataDir, 'cache'), { recursive: true, force: true });
  await node.server();
}

/** Past the server and the proxy. */
function inBucket(table: string): Promise<TableInBucket> {
  return readTableInBucket(bucketObjects(objectStoreClient(store), BUCKET, table));
}

function expectUnavailable(answer: Answer): void {
  expectThat({ status: answer.status, error: answer.json?.error }, answer.text).toEqual({ status: 503, error: 'UNAVAILABLE' });
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
}

function since(startedMs: number): number {
  return Math.round(performance.now() - startedMs);
}

function member<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`there is no member ${index} of ${list.length}`);
  return found;
}
