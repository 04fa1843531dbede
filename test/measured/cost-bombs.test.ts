/**
 * What no query may do: keep the server busy after its deadline, take its memory, or keep others from being served. The statements stand in
 * `corpus/costly.sql.txt`; each is sent alone, with a short deadline, while records are written and counted beside it.
 *
 * A server that such a statement could bring down takes the machine with it, so it is watched: past a growth that no test allows it is killed,
 * that is noted, and the next statement gets a new one. COST_BOMBS=all runs the second half of the corpus as well.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { costlyStatements, type CostlyStatement } from '../support/costly-statements.js';
import { expectThat } from '../support/expectations.js';
import { eventually, memoryOf } from '../support/requests.js';
import { type Answer, call, type RunningServer, startServer } from '../support/server.js';

const MIB = 1_024 ** 2;
const CORPUS = fileURLToPath(new URL('../corpus/costly.sql.txt', import.meta.url));
const RUNS_ALL = process.env['COST_BOMBS'] === 'all';
const TABLE_ROWS = 2_000;
const TIMEOUT_MS = 2_000;
const ANSWER_MS_MAX = TIMEOUT_MS + 3_000;
/** After this nobody waits for an answer any more. */
const GIVE_UP_MS = 9_000;
const NEIGHBOUR_MS_MAX = 2_000;
const NEIGHBOUR_PAUSE_MS = 100;
/** The engine keeps to this by itself, where it counts what it takes; what it does not count shows above it. */
const ENGINE_BYTES_MAX = 512 * MIB;
const PROCESS_BYTES_MAX = 768 * MIB;
const SPILL_BYTES_MAX = 1_024 * MIB;
const GROWTH_BYTES_MAX = 1_024 * MIB;
const KILLED_AT_GROWTH_BYTES = 4_096 * MIB;
const WATCH_EVERY_MS = 20;
/** A page ends at 32 Mi characters. */
const ANSWER_BYTES_MAX = 64 * MIB;
const RUN_MS_MAX = 60 * 60_000;

let server: RunningServer;

beforeAll(async () => {
  server = await startWithTable();
});

afterAll(async () => {
  await server?.kill();
});

describe('statements that cost too much', () => {
  it(
    'end soon after their deadline, stay within the memory, and leave others room',
    async () => {
      const { core, more } = costlyStatements(readFileSync(CORPUS, 'utf8'));
      expect(core.length).toBeGreaterThanOrEqual(60);
      const found: string[] = [];
      for (const statement of RUNS_ALL ? [...core, ...more] : core) {
        const trial = await tryOut(statement);
        const complaints = complaintsAbout(trial);
        if (complaints.length > 0) found.push(`${statement.title}: ${complaints.join('; ')} (${figures(trial)})`);
        await recover(trial);
      }
      expect(found).toEqual([]);
    },
    RUN_MS_MAX,
  );
});

// ---- one statement -----------------------------------------------------------------------------------------------------

interface Trial {
  /** Undefined when there was none: the server ended, or nobody waited any longer. */
  readonly answer: Answer | undefined;
  readonly answerMs: number;
  readonly growthBytes: number;
  readonly slowestWriteMs: number;
  readonly slowestCountMs: number;
  /** What a write or a count beside it was refused with. */
  readonly neighbourFailure: string | undefined;
  /** Why the server is no more. */
  readonly end: string | undefined;
}

async function tryOut({ sql }: CostlyStatement): Promise<Trial> {
  const watch = watchMemory();
  const startedMs = performance.now();
  const asked = { isDone: false };
  const answering = ask(sql).finally(() => (asked.isDone = true));
  const neighbours = await serveNeighbours(asked);
  const answer = await answering;
  const answerMs = performance.now() - startedMs;
  const { growthBytes, end } = watch.stop();
  return { answer, answerMs, growthBytes, end, ...neighbours };
}

async function ask(sql: string): Promise<Answer | undefined> {
  const body = JSON.stringify({ sql, timeout_ms: TIMEOUT_MS });
  return within(GIVE_UP_MS, call(server, 'POST', '/v1/query', body));
}

/** What the work gives, or undefined when it fails (a connection that is cut off) or takes longer. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  const tooLate = pause(ms, undefined, { signal: timer.signal }).catch(() => undefined);
  const result = await Promise.race([work.catch(() => undefined), tooLate]);
  timer.abort();
  return result;
}

/** Writes and counts as long as the statement is asked, at least once. */
async function serveNeighbours(asked: {
  readonly isDone: boolean;
}): Promise<Pick<Trial, 'slowestWriteMs' | 'slowestCountMs' | 'neighbourFailure'>> {
  let slowestWriteMs = 0;
  let slowestCountMs = 0;
  let neighbourFailure: string | undefined;
  do {
    await pause(NEIGHBOUR_PAUSE_MS);
    const [write, count] = await Promise.all([
      timed(() => call(server, 'POST', '/v1/data', { table: 'beside', id: 'a', payload: { n: 1 } })),
      timed(() => call(server, 'POST', '/v1/query', { sql: 'SELECT count(*) FROM t' }, { 'cache-control': 'no-cache' })),
    ]);
    slowestWriteMs = Math.max(slowestWriteMs, write.ms);
    slowestCountMs = Math.max(slowestCountMs, count.ms);
    // The engine's memory may be full at this instant: then a query is told to try again, which a write never is.
    const refused = [write.answer, count.answer?.status === 429 ? undefined : count.answer];
    neighbourFailure ??= refused.find((answer) => answer !== undefined && answer.status !== 200)?.text.slice(0, 200);
  } while (!asked.isDone);
  return { slowestWriteMs, slowestCountMs, neighbourFailure };
}

async function timed(send: () => Promise<Answer>): Promise<{ answer: Answer | undefined; ms: number }> {
  const startedMs = performance.now();
  const answer = await within(GIVE_UP_MS, send());
  return { answer, ms: performance.now() - startedMs };
}

/** Follows the resident memory from now on, and kills the server before it takes the machine's. */
function watchMemory(): { stop(): { growthBytes: number; end: string | undefined } } {
  const watched = server;
  // Sets the kernel's high-water mark back to what is resident now.
  writeFileSync(`/proc/${watched.pid}/clear_refs`, '5');
  const beforeBytes = memoryOf(watched.pid);
  let mostBytes = beforeBytes;
  let end: string | undefined;
  void watched.exited.then(({ code, signal }) => (end ??= `the server ended by itself (${code ?? signal})`));
  const look = (): void => {
    if (end !== undefined) return;
    try {
      mostBytes = Math.max(mostBytes, memoryOf(watched.pid, 'VmHWM'));
    } catch {
      // It has just ended; how, the promise above tells.
      return;
    }
    if (mostBytes - beforeBytes <= KILLED_AT_GROWTH_BYTES) return;
    end = 'killed for its memory';
    void watched.kill();
  };
  const timer = setInterval(look, WATCH_EVERY_MS);
  return {
    stop: () => {
      clearInterval(timer);
      look();
      return { growthBytes: mostBytes - beforeBytes, end };
    },
  };
}

// ---- judging ---------------------------------------------------------------------------------------------------------

function complaintsAbout(trial: Trial): string[] {
  const { answer, answerMs, growthBytes, slowestWriteMs, slowestCountMs, neighbourFailure, end } = trial;
  const complaints = [
    end,
    end === undefined && answer === undefined ? `no answer within ${GIVE_UP_MS} ms` : undefined,
    answer !== undefined && answerMs > ANSWER_MS_MAX ? 'answered late' : undefined,
    answer?.status === 500 ? `answered 500: ${String(answer.json?.message).slice(0, 200)}` : undefined,
    answer !== undefined && answer.text.length > ANSWER_BYTES_MAX ? `an answer of ${mebibytes(answer.text.length)} MiB` : undefined,
    growthBytes > GROWTH_BYTES_MAX ? 'takes too much memory' : undefined,
    slowestWriteMs > NEIGHBOUR_MS_MAX ? 'holds a write up' : undefined,
    slowestCountMs > NEIGHBOUR_MS_MAX ? 'holds a count up' : undefined,
    neighbourFailure === undefined ? undefined : `a request beside it failed: ${neighbourFailure}`,
  ];
  return complaints.filter((complaint) => complaint !== undefined);
}

function figures({ answer, answerMs, growthBytes, slowestWriteMs, slowestCountMs }: Trial): string {
  return [
    `status ${answer?.status ?? 'none'}`,
    `${seconds(answerMs)} s`,
    `${mebibytes(growthBytes)} MiB more`,
    `write ${seconds(slowestWriteMs)} s`,
    `count ${seconds(slowestCountMs)} s`,
  ].join(', ');
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1);
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / MIB);
}

// ---- the server ------------------------------------------------------------------------------------------------------

/** The next statement finds a server that has nothing to do: this one when it is well, or a new one. */
async function recover({ answer, end }: Trial): Promise<void> {
  if (end === undefined && answer !== undefined && (await isIdle())) return;
  await server.kill();
  server = await startWithTable();
}

async function isIdle(): Promise<boolean> {
  const listed = await within(NEIGHBOUR_MS_MAX, call(server, 'GET', '/v1/queries'));
  return listed?.status === 200 && listed.json.queries?.length === 0;
}

async function startWithTable(): Promise<RunningServer> {
  const started = await startServer({
    config: {
      query: { memory_bytes_max: ENGINE_BYTES_MAX, process_bytes_max: PROCESS_BYTES_MAX, spill_bytes_max: SPILL_BYTES_MAX },
      tables: { flush_interval_seconds: 3_600 },
      maintenance: { interval_seconds: 3_600 },
    },
  });
  const records = Array.from({ length: TABLE_ROWS }, (_, n) => ({ id: `row-${n}`, payload: { n, s: `${n}-`.repeat(40).slice(0, 40) } }));
  const answer = await call(started, 'POST', '/v1/data', { table: 't', records });
  expectThat(answer.status, answer.text).toBe(200);
  await eventually(
    'the table',
    () => call(started, 'POST', '/v1/query', { sql: 'SELECT count(*) AS c FROM t' }),
    ({ json }) => json.rows?.[0]?.c === TABLE_ROWS,
  );
  return started;
}
