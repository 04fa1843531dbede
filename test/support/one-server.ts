/**
 * One server for a whole test file of the REST contract: each test has tables of its own. Those that end the server start one for themselves.
 *
 *   useOneServer();      at the top of the file; then `server` in its tests
 */
import { afterAll, afterEach, beforeAll } from '@jest/globals';
import { expectSuccess, type JsonRow } from './requests.js';
import { type Answer, call, type RunningServer, type ServerOptions, startServer } from './server.js';

const NDJSON = 'application/x-ndjson';
/** Flushes happen when a test asks for one. */
const NO_FLUSH_BY_ITSELF = { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } };

export let server: RunningServer;
const others: RunningServer[] = [];

export function useOneServer(): void {
  beforeAll(async () => {
    server = await startServer({ config: NO_FLUSH_BY_ITSELF });
  });

  afterAll(async () => {
    await server?.stop();
  });

  afterEach(async () => {
    await Promise.all(others.splice(0).map((other) => other.kill()));
  });
}

/** A server that the test may end; what is left of it is ended after the test. */
export async function startOther(options: ServerOptions = {}): Promise<RunningServer> {
  const other = await startServer({ config: NO_FLUSH_BY_ITSELF, ...options });
  others.push(other);
  return other;
}

export async function restartAfterKill(running: RunningServer, options: ServerOptions = {}): Promise<RunningServer> {
  await running.kill();
  return startOther({ ...options, dataDir: running.dataDir });
}

export function query(sql: string, more: JsonRow = {}, headers: Record<string, string> = {}): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql, ...more }, headers);
}

export function columnTypes(info: JsonRow): Record<string, string> {
  const columns = (Array.isArray(info['schema']) ? info['schema'] : info['schema'].columns) as { name: string; type: string }[];
  return Object.fromEntries(columns.map((column) => [column.name, column.type]));
}

export function bulkAnswer(
  table: string,
  body: string | Buffer,
  more = '',
  headers: Record<string, string> = { 'content-type': NDJSON },
): Promise<Answer> {
  return sendBytes(`/v1/data/bulk?table=${table}${more}`, body, headers);
}

export async function bulk(table: string, body: string | Buffer, more = '', headers?: Record<string, string>): Promise<JsonRow> {
  return expectSuccess(await bulkAnswer(table, body, more, headers)).json as JsonRow;
}

async function sendBytes(url: string, body: string | Buffer, headers: Record<string, string>): Promise<Answer> {
  const response = await fetch(server.rest + url, {
    method: 'POST',
    headers,
    body: typeof body === 'string' ? body : new Uint8Array(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: JSON.parse(text) as unknown };
}
