/** Clients as an application would be: they ask one server, and when it does not answer, or says that it cannot now, another one. */
import { setTimeout as sleep } from 'node:timers/promises';

const REQUEST_MS_MAX = 15_000;
const PAUSE_MS = 20;
const ROWS_PER_BATCH = 5;
/** With these a server says that the request was not carried out and may be sent elsewhere. */
const ELSEWHERE = new Set([429, 503]);

/** @param {string} url of one server */
export async function request(url, method, route, { body, headers = {} } = {}) {
  const answer = await fetch(`${url}${route}`, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(REQUEST_MS_MAX),
  });
  const text = await answer.text();
  return { status: answer.status, text };
}

/** @throws Error with the answer, unless it is 2xx */
export async function succeed(url, method, route, options) {
  const { status, text } = await request(url, method, route, options);
  if (status < 200 || status > 299) throw new Error(`${method} ${url}${route}: ${status} ${text.slice(0, 500)}`);
  return text === '' ? undefined : JSON.parse(text);
}

export async function isReady(url) {
  try {
    return (await request(url, 'GET', '/v1/health/ready')).status === 200;
  } catch {
    return false;
  }
}

/** Every id of a table, in no order, as one server sees them. */
export async function idsOf(url, table, headers) {
  const { status, text } = await request(url, 'POST', '/v1/query', {
    body: { sql: `SELECT id FROM ${table}`, timeout_ms: 60_000 },
    headers: { ...headers, accept: 'application/x-ndjson' },
  });
  if (status !== 200) throw new Error(`ids of ${table} at ${url}: ${status} ${text.slice(0, 500)}`);
  return text
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line).id);
}

/**
 * Clients that write and count until they are told to stop.
 * @typedef {{acknowledged: Set<string>, writes: number, reads: number, elsewhere: number, unanswered: number, errors: string[]}} Tally
 */
export class Clients {
  #isStopped = false;
  #running = [];
  /** @type {Tally} */
  tally = { acknowledged: new Set(), writes: 0, reads: 0, elsewhere: 0, unanswered: 0, errors: [] };

  /**
   * @param {{urls: string[], table: string, headers: Record<string, string>, prefix: string, writers: number, readers: number}} options
   */
  constructor(options) {
    this.options = options;
  }

  start() {
    const { writers, readers } = this.options;
    for (let number = 0; number < writers; number += 1) this.#running.push(this.#write(number));
    for (let number = 0; number < readers; number += 1) this.#running.push(this.#read(number));
  }

  async stop() {
    this.#isStopped = true;
    await Promise.all(this.#running);
    return this.tally;
  }

  async #write(writer) {
    const { table, prefix } = this.options;
    for (let batch = 0; !this.#isStopped; batch += 1) {
      const ids = Array.from({ length: ROWS_PER_BATCH }, (_, row) => `${prefix}-${writer}-${batch}-${row}`);
      const records = ids.map((id, row) => ({ id, payload: { writer, batch, row, text: `row ${row} of batch ${batch}` } }));
      if (await this.#ask(writer + batch, 'POST', '/v1/data', { table, records })) {
        for (const id of ids) this.tally.acknowledged.add(id);
        this.tally.writes += 1;
      }
      await sleep(PAUSE_MS);
    }
  }

  async #read(reader) {
    for (let turn = reader; !this.#isStopped; turn += 1) {
      const sql = `SELECT count(*) AS rows, max(batch) AS batch FROM ${this.options.table}`;
      if (await this.#ask(turn, 'POST', '/v1/query', { sql })) this.tally.reads += 1;
      await sleep(PAUSE_MS * 5);
    }
  }

  /** Each server once, from the turn's on. What none of them did is an error. */
  async #ask(turn, method, route, body) {
    const { urls, headers } = this.options;
    const refusals = [];
    for (let attempt = 0; attempt < urls.length; attempt += 1) {
      const url = urls[(turn + attempt) % urls.length];
      try {
        const { status, text } = await request(url, method, route, { body, headers });
        if (status >= 200 && status <= 299) return true;
        refusals.push(`${url}: ${status} ${text.slice(0, 200)}`);
        if (!ELSEWHERE.has(status)) break;
        this.tally.elsewhere += 1;
      } catch (error) {
        refusals.push(`${url}: ${error.cause?.code ?? error.cause?.message ?? error.message}`);
        if (!['ECONNREFUSED', 'EHOSTUNREACH'].includes(error.cause?.code)) this.tally.unanswered += 1;
        this.tally.elsewhere += 1;
      }
    }
    this.tally.errors.push(refusals.join('; '));
    return false;
  }
}
