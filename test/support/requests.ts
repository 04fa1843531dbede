/** What nearly every contract test does: store some records, ask a question, wait for something the server does by itself. */
import { readFileSync } from 'node:fs';
import { expect } from '@jest/globals';
import { expectThat } from './expectations.js';
import { type Answer, call } from './server.js';

export type Door = { readonly rest: string };
export type JsonRow = Record<string, any>;

/** The server answered something that the test did not expect. A lost connection is another error (fetch throws a TypeError). */
export class UnexpectedAnswer extends Error {
  constructor(what: string, answer: Answer) {
    super(`${what}: HTTP ${answer.status} ${answer.text.slice(0, 2_000)}`);
    this.name = 'UnexpectedAnswer';
  }
}

/** The contract does not tell 200 from 201. */
export function isSuccess(answer: Answer): boolean {
  return answer.status >= 200 && answer.status < 300;
}

/** Fails with the whole answer when the status is another one: that is what one wants to read in a test's report. */
export function expectStatus(answer: Answer, status: number): Answer {
  if (answer.status !== status) throw new UnexpectedAnswer(`expected HTTP ${status}`, answer);
  return answer;
}

/** The same for any success. @param what was asked for, where the stack does not say it */
export function expectSuccess(answer: Answer, what = 'expected success'): Answer {
  if (!isSuccess(answer)) throw new UnexpectedAnswer(what, answer);
  return answer;
}

/** The answer must be the contract's error of this status and code, with a message that says this and the id of its request. */
export function expectError(answer: Answer, status: number, code: string, says: RegExp): JsonRow {
  expectThat({ status: answer.status, error: answer.json?.error, code: answer.json?.code }, answer.text.slice(0, 1_000)).toEqual({
    status,
    error: code,
    code: status,
  });
  expect(answer.json.message).toMatch(says);
  expect(answer.json.request_id).toMatch(/^\S+$/);
  return answer.json as JsonRow;
}

/** Stores one record that must be accepted. */
export async function write(server: Door, table: string, id: string, payload: JsonRow = {}, timestamp?: string): Promise<JsonRow> {
  return expectSuccess(await call(server, 'POST', '/v1/data', { table, id, payload, timestamp })).json as JsonRow;
}

/** Stores one batch that must be accepted. */
export async function writeBatch(server: Door, table: string, records: readonly JsonRow[]): Promise<JsonRow> {
  return expectSuccess(await call(server, 'POST', '/v1/data', { table, records })).json as JsonRow;
}

/** Creates a table that must not exist yet. */
export async function createTable(server: Door, name: string, config: JsonRow = {}): Promise<void> {
  expectSuccess(await call(server, 'POST', '/v1/tables', { table_name: name, config }));
}

/** The rows of a query that must succeed (at most one page of 10,000). */
export async function rowsOf(server: Door, sql: string): Promise<JsonRow[]> {
  return expectStatus(await call(server, 'POST', '/v1/query', { sql, limit: 10_000 }), 200).json.rows as JsonRow[];
}

/** The one value of the one row of a query. */
export async function valueOf(server: Door, sql: string): Promise<any> {
  const [row = {}] = await rowsOf(server, sql);
  return Object.values(row)[0];
}

export async function countOf(server: Door, table: string): Promise<number> {
  return (await valueOf(server, `SELECT count(*) FROM "${table}"`)) as number;
}

/** `table_info` of a table that must exist. */
export async function tableInfo(server: Door, table: string): Promise<JsonRow> {
  return expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 200).json.table_info as JsonRow;
}

export async function flush(server: Door, table: string): Promise<void> {
  expectSuccess(await call(server, 'POST', `/v1/tables/${table}/flush`));
}

/** Asks again and again until `accept` is content; fails with the last answer at the deadline. */
export async function eventually<T>(what: string, ask: () => Promise<T> | T, accept: (value: T) => boolean, withinMs = 30_000): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await ask();
    if (accept(value)) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms; last seen ${JSON.stringify(value)?.slice(0, 2_000)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Resident memory of a process now (VmRSS) or at its highest (VmHWM), in bytes. */
export function memoryOf(pid: number, which: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  const match = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (!match) throw new Error(`/proc/${pid}/status has no ${which}`);
  return Number(match[1]) * 1_024;
}
