/** Fills one table through the public API: drop, create, bulk requests of some hundred thousand rows, flush. */
import { createReadStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { callJson } from './rest.mjs';

/** Each request is stored whole or not at all; this many rows are some tens of megabytes. */
const ROWS_PER_REQUEST = 250_000;
const RETRIES_MAX = 60;

/** Loads a source and says how fast. Only the time the server needs counts, not our conversion of the source to JSON. */
export async function loadTable(url, reference, source, screen) {
  await callJson(url, 'DELETE', `/v1/tables/${source.table}?if_exists=true&cascade=true`);
  await callJson(url, 'POST', '/v1/tables', { table_name: source.table, config: source.config });
  const total = await reference.countRows(source.table);
  const bar = screen.progressBar(source.table, total);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'miniodb-demo-rows-'));
  let serverMs = 0;
  try {
    for (let from = 0; from < total; from += ROWS_PER_REQUEST) {
      const slice = { from, count: Math.min(ROWS_PER_REQUEST, total - from) };
      const file = path.join(folder, 'rows.ndjson');
      const progress = (share) => bar.update(from + slice.count * share);
      serverMs += await reference.withRowsAsJson(source, slice, file, () =>
        timed(() => sendRows(url, source.table, file, slice.count, progress)),
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const flushMs = await timed(() => callJson(url, 'POST', `/v1/tables/${source.table}/flush`));
  bar.finish(`${screen.integer((total / serverMs) * 1_000)} rows/s, acknowledged on disk; flush to Parquet ${screen.integer(flushMs)} ms`);
}

/** What the server says about its tables now. */
export async function tableSizes(url, sources) {
  const rows = [];
  for (const { table } of sources) {
    const { table_info } = await callJson(url, 'GET', `/v1/tables/${table}`);
    const { record_count, file_count, size_bytes } = table_info.stats;
    rows.push({ table, rows: Number(record_count), files: Number(file_count), bytes: Number(size_bytes) });
  }
  return { columns: ['table', 'rows', 'files', 'bytes'], rows };
}

/** Sends a file of rows; as often as the server is full and says when to come again. */
async function sendRows(url, table, file, count, progress) {
  for (let attempt = 0; attempt <= RETRIES_MAX; attempt++) {
    const { status, retryAfterSeconds, body } = await post(`${url}/v1/data/bulk?table=${table}&on_error=abort`, file, progress);
    if (status >= 200 && status < 300) return checkCount(body, count);
    if (status !== 429) throw new Error(`Loading ${table} failed (HTTP ${status}): ${body}`);
    await wait(retryAfterSeconds * 1_000);
  }
  throw new Error(`The server was still full after ${RETRIES_MAX} tries to load ${table}.`);
}

function checkCount(body, sent) {
  const { count } = JSON.parse(body);
  if (count !== undefined && Number(count) !== sent) throw new Error(`Sent ${sent} rows, the server says it stored ${count}.`);
}

async function post(url, file, progress) {
  const size = statSync(file).size;
  const request = http.request(url, { method: 'POST', headers: { 'content-type': 'application/x-ndjson', 'content-length': size } });
  const answered = new Promise((resolve, reject) => request.once('response', resolve).once('error', reject));
  const body = createReadStream(file, { highWaterMark: 1 << 20 });
  body.on('data', () => progress(body.bytesRead / size));
  // A server that refuses before it has read everything closes the connection: its answer counts, not our broken pipe.
  const sending = pipeline(body, request).catch(() => undefined);
  const response = await answered;
  const answer = await text(response);
  if (!request.writableFinished) request.destroy();
  await sending;
  return { status: response.statusCode, retryAfterSeconds: Number(response.headers['retry-after'] ?? 1), body: answer };
}

async function timed(action) {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}
