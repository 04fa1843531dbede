/** Deadlines of queries, in the time of a clock: how soon after theirs queries end, those too that still wait. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually, expectError, expectStatus, expectSuccess, type JsonRow } from '../support/requests.js';
import { type Answer, call, type RunningServer, type ServerOptions, startServer } from '../support/server.js';

let server: RunningServer;
const others: RunningServer[] = [];

beforeAll(async () => {
  server = await startServer({ config: { log: { file: '' } } });
});

afterAll(async () => {
  await server?.stop();
});

afterEach(async () => {
  await Promise.all(others.splice(0).map((other) => other.kill()));
});

async function startOther(options: ServerOptions): Promise<RunningServer> {
  const other = await startServer(options);
  others.push(other);
  return other;
}

describe('running queries', () => {
  /** Runs for ages, yet can be interrupted. */
  const ENDLESS = 'SELECT count(*) AS marked_endless FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 8';
  const running = async (): Promise<JsonRow[]> => expectStatus(await call(server, 'GET', '/v1/queries'), 200).json.queries as JsonRow[];
  const endless = async (): Promise<JsonRow[]> => (await running()).filter((each) => String(each['sql']).includes('marked_endless'));
  const query = (sql: string, more: JsonRow): Promise<Answer> => call(server, 'POST', '/v1/query', { sql, ...more });

  test('end with DEADLINE_EXCEEDED after timeout_ms', async () => {
    const startedMs = Date.now();
    expectError(await query(ENDLESS, { timeout_ms: 300 }), 504, 'DEADLINE_EXCEEDED', /300/);
    expect(Date.now() - startedMs).toBeLessThan(10_000);
    expect(await endless()).toEqual([]);
  });

  test('that wait keep to their deadline, and leave the queue with their client', async () => {
    const narrow = await startOther({ config: { log: { file: '' }, query: { concurrency_max: 1, queue_max: 2 } } });
    const first = call(narrow, 'POST', '/v1/query', { sql: ENDLESS, timeout_ms: 20_000 });
    const states = async (): Promise<string[]> =>
      ((await call(narrow, 'GET', '/v1/queries')).json.queries as JsonRow[]).map(({ state }) => String(state)).sort();
    await eventually('the first runs', states, (list) => list.join() === 'running');
    const startedMs = Date.now();
    const waiting = await call(narrow, 'POST', '/v1/query', { sql: 'SELECT 1', timeout_ms: 300 });
    expectError(waiting, 429, 'RESOURCE_EXHAUSTED', /300 ms/);
    expect(Number(waiting.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(Date.now() - startedMs).toBeLessThan(5_000);
    const leaving = new AbortController();
    const body = JSON.stringify({ sql: 'SELECT 2' });
    const headers = { 'content-type': 'application/json' };
    const left = fetch(`${narrow.rest}/v1/query`, { method: 'POST', signal: leaving.signal, headers, body }).catch(() => undefined);
    await eventually('one waits', states, (list) => list.join() === 'running,waiting');
    leaving.abort();
    await left;
    await eventually('nobody waits', states, (list) => list.join() === 'running');
    const next = call(narrow, 'POST', '/v1/query', { sql: 'SELECT 3 AS n' });
    await eventually('one waits', states, (list) => list.join() === 'running,waiting');
    const [{ query_id: id } = {}] = ((await call(narrow, 'GET', '/v1/queries')).json.queries as JsonRow[]).filter(
      ({ state }) => state === 'running',
    );
    expectSuccess(await call(narrow, 'DELETE', `/v1/queries/${String(id)}`));
    expectError(await first, 499, 'CANCELLED', /cancel/i);
    expect((await next).json.rows).toEqual([{ n: 3 }]);
  });
});
