/**
 * (h) The 43 questions of ClickBench to a table of its shape, hot: each over HTTP (POST /v1/query, its answer not taken from the cache),
 * divided by DuckDB in this process on the very Parquet files of the table, with the same threads and memory. They take turns, so both meet
 * the same machine, and their answers are compared; the least time of each counts. Then the answers a second to all of them from several
 * connections, against one connection, with the server's memory; and one question again with its answer kept.
 */
import { createReadStream, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { parse as parseExactly } from 'lossless-json';
import { clickBenchQueries } from './clickbench-queries.mjs';
import { COLUMN_NAMES, writeHits } from './clickbench-rows.mjs';
import { compactFully } from './day-rows.mjs';
import { liveFilesOf } from './live-files.mjs';
import { runLoad } from './load-generator.mjs';
import { callText, postBody } from './rest.mjs';
import { startServer } from './server.mjs';
import { geometricMean, integer, median, milliseconds, timed } from './statistics.mjs';

const ROWS_OF_A_BODY = 1_000_000;
const WARM_UPS = 1;
const RUNS = 5;
/** Quick questions are asked more often, until so much time has gone. */
const MS_OF_A_QUESTION = 1_000;
const CONNECTIONS = [10, 100];
const TOO_MANY_REQUESTS = 429;
const WORST = 3;
const KEPT_QUESTION = 9;
const KEPT_ANSWERS = 200;
const FRESH = { 'cache-control': 'no-cache' };
/** What the server takes by itself; said to both, so that both have the same. */
const MEMORY_BYTES = Math.min(Math.floor(os.totalmem() / 4), 4 * 2 ** 30);
const THREADS = os.availableParallelism();

export async function measureClickBench({ directory, sizes, say }) {
  const instance = await DuckDBInstance.create(':memory:', {
    threads: String(THREADS),
    memory_limit: `${MEMORY_BYTES}B`,
    temp_directory: path.join(directory, 'spill'),
  });
  const connection = await instance.connect();
  const server = await startServer(directory, {
    MINIODB_QUERY__THREADS: String(THREADS),
    MINIODB_QUERY__MEMORY_BYTES_MAX: String(MEMORY_BYTES),
  });
  try {
    await connection.run("SET TimeZone = 'UTC'");
    await connection.run('SET parquet_metadata_cache = true');
    const files = await loadHits(server, connection, directory, sizes.clickBenchRows);
    const list = files.map((file) => `'${file}'`).join(', ');
    await connection.run(`CREATE VIEW hits AS SELECT ${COLUMN_NAMES.join(', ')} FROM read_parquet([${list}])`);
    const queries = clickBenchQueries(sizes.clickBenchRows);
    say(
      `${integer(sizes.clickBenchRows)} rows of ${COLUMN_NAMES.length} columns in ${files.length} data files, the least of ${RUNS} runs or more`,
    );
    await compareAll(server, connection, queries, say);
    await measureKeptAnswer(server, queries, say);
    await measureMix(server, queries, sizes.mixSeconds, say);
  } finally {
    connection.closeSync();
    instance.closeSync();
    await server.stop();
  }
}

/** Gives the table's data files, once there is nothing more to merge. */
async function loadHits(server, connection, directory, all) {
  await callText(server.url, 'POST', '/v1/tables', { table_name: 'hits' });
  for (let from = 0; from < all; from += ROWS_OF_A_BODY) {
    const { file, bytes } = await writeHits(connection, directory, { from, to: Math.min(all, from + ROWS_OF_A_BODY), all });
    await postBody(server.url, '/v1/data/bulk?table=hits', createReadStream(file), bytes, 'application/vnd.apache.parquet');
    rmSync(file);
  }
  await callText(server.url, 'POST', '/v1/tables/hits/flush');
  await compactFully(server.url, 'hits');
  const { location, stats } = JSON.parse(await callText(server.url, 'GET', '/v1/tables/hits')).table_info;
  if (stats.record_count !== all) throw new Error(`sent ${all} rows, ${stats.record_count} are stored`);
  return liveFilesOf(location);
}

async function compareAll(server, connection, queries, say) {
  const results = [];
  for (const [index, query] of queries.entries()) {
    const result = { name: `Q${index + 1}`, ...(await compare(server, connection, query)) };
    results.push(result);
    say(describe(result));
  }
  const total = (key) => results.reduce((sum, result) => sum + result[key], 0);
  say(`all together ${milliseconds(total('overHttpMs'))} over HTTP, ${milliseconds(total('inProcessMs'))} in process`);
  say(`geometric mean of over HTTP / in process = ${geometricMean(results.map(({ ratio }) => ratio)).toFixed(3)}`);
  const worst = [...results].sort((a, b) => b.ratio - a.ratio).slice(0, WORST);
  say(`worst: ${worst.map(({ name, ratio }) => `${name} ${ratio.toFixed(2)}`).join(', ')}`);
}

async function compare(server, connection, { sql, certain }) {
  let [overHttpMs, inProcessMs, rows, spentMs] = [Infinity, Infinity, 0, 0];
  for (let run = -WARM_UPS; run < RUNS || spentMs < MS_OF_A_QUESTION; run++) {
    const [text, httpMs] = await timed(() => askServer(server, sql, FRESH));
    const [expected, ownMs] = await timed(() => askDuckDb(connection, sql));
    assertSame(sql, parseExactly(text).rows, expected, certain);
    rows = expected.length;
    if (run < 0) continue;
    overHttpMs = Math.min(overHttpMs, httpMs);
    inProcessMs = Math.min(inProcessMs, ownMs);
    spentMs += httpMs + ownMs;
  }
  return { overHttpMs, inProcessMs, ratio: overHttpMs / inProcessMs, rows };
}

/** The text, once it has been understood: that belongs to the time of an answer. */
async function askServer(server, sql, headers) {
  const text = await callText(server.url, 'POST', '/v1/query', { sql }, headers);
  JSON.parse(text);
  return text;
}

async function askDuckDb(connection, sql) {
  return JSON.parse(JSON.stringify((await connection.runAndReadAll(sql)).getRowObjectsJson()));
}

function assertSame(sql, answer, expected, certain) {
  const [ours, theirs] = [answer, expected].map((rows) => rows.map((row) => asText(row, certain)));
  if (isDeepStrictEqual(ours, theirs)) return;
  throw new Error(
    `different answers to ${sql}\nserver: ${JSON.stringify(ours).slice(0, 1_000)}\nDuckDB: ${JSON.stringify(theirs).slice(0, 1_000)}`,
  );
}

/** Numbers and times are written differently on the two sides. */
function asText(row, certain = Object.keys(row)) {
  return certain.map((name) => {
    if (!(name in row)) throw new Error(`an answer has no column ${name}`);
    const text = String(row[name]);
    if (/^-?\d+$/.test(text)) return text;
    if (/^-?\d+\.?\d*(e[+-]?\d+)?$/i.test(text)) return String(Number(text));
    return /^\d{4}-\d\d-\d\d[T ]\d\d:/.test(text) ? new Date(text.replace(/\+00$/, 'Z')).toISOString() : text;
  });
}

function describe({ name, overHttpMs, inProcessMs, ratio, rows }) {
  const times = `${milliseconds(overHttpMs).padStart(9)} over HTTP, ${milliseconds(inProcessMs).padStart(9)} in process`;
  return `${name.padEnd(3)} ${ratio.toFixed(2).padStart(5)} = ${times}, ${rows} rows`;
}

async function measureKeptAnswer(server, queries, say) {
  const { sql } = queries[KEPT_QUESTION - 1];
  await askServer(server, sql, {});
  const elapsed = [];
  for (let run = 0; run < KEPT_ANSWERS; run++) elapsed.push((await timed(() => askServer(server, sql, {})))[1]);
  say(`Q${KEPT_QUESTION} again, its answer kept: p50 ${milliseconds(median(elapsed))} of ${KEPT_ANSWERS}`);
}

/** All questions in turn from several connections, each of which asks the next one as soon as it has its answer. */
async function measureMix(server, queries, seconds, say) {
  const load = (connections) => runLoad({ url: server.url, connections, seconds, nextRequest: inTurn(server.url, queries) });
  const serial = perSecond(await load(1));
  say(`all in turn from 1 connection: ${serial.toFixed(2)} answers/s in ${seconds} s`);
  for (const connections of CONNECTIONS) {
    const before = server.residentBytes();
    server.forgetPeak();
    const result = await load(connections);
    const memory = `memory ${mebibytes(before)} before, ${mebibytes(server.residentBytes())} after, ${mebibytes(server.peakBytes())} at most`;
    const ratio = (perSecond(result) / serial).toFixed(2);
    say(`${connections} connections: ${perSecond(result).toFixed(2)} answers/s = ${ratio} times one, ${refusals(result)}; ${memory}`);
  }
}

function inTurn(url, queries) {
  const { host } = new URL(url);
  const requests = queries.map(({ sql }) => {
    const body = JSON.stringify({ sql });
    return Buffer.from(
      `POST /v1/query HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });
  let next = 0;
  return () => requests[next++ % requests.length];
}

function perSecond({ answered, seconds }) {
  return answered / seconds;
}

function refusals({ statuses, firstRefusal }) {
  const errors = [...statuses].filter(([status]) => status >= 300 && status !== TOO_MANY_REQUESTS);
  const listed = errors.map(([status, count]) => `${count} of ${status}`).join(', ');
  const [, body = ''] = firstRefusal?.split('\r\n\r\n') ?? [];
  const first = errors.length > 0 ? ` (first refusal: ${body.slice(0, 300)})` : '';
  return `errors: ${listed || 'none'}${first}, ${statuses.get(TOO_MANY_REQUESTS) ?? 0} times ${TOO_MANY_REQUESTS}`;
}

function mebibytes(bytes) {
  return `${integer(bytes / 2 ** 20)} MiB`;
}
