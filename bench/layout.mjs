/**
 * (i) What the layout of a table costs its queries: thousands of small files against the same rows compacted; one row in a hundred deleted, over all
 * files or in few, against none, before and after the flush and the compaction; and one small file more, against a server that has just started.
 */
import { mkdtempSync } from 'node:fs';
import path from 'node:path';
import { compactFully, fileCount, idOf, loadDays, loadRows, ROWS_OF_A_DAY } from './day-rows.mjs';
import { callText } from './rest.mjs';
import { startServer } from './server.mjs';
import { integer, median, milliseconds } from './statistics.mjs';
import { ask, assertSameAnswers, compareTimes, QUERIES, timesOf } from './typical-queries.mjs';

const ROWS_OF_A_FLUSH = 200;
const DELETED_DAYS = 20;
const ROWS_PER_DELETED = 100;
/** Ids of one DELETE. */
const IDS_MAX = 10_000;
const RESTARTS = 3;
const CHANGES = 7;

export async function measureLayout({ directory, sizes, say }) {
  const start = serverIn(directory);
  await measureSmallFiles(start, sizes, say);
  await measureDeletes(start, say);
}

/** @returns starts the server, and starts it again, on one data directory; nothing is compacted unless asked for */
function serverIn(directory) {
  const dataDirectory = mkdtempSync(path.join(directory, 'layout-'));
  return () => startServer(directory, { DATA_DIR: dataDirectory, MINIODB_MAINTENANCE__COMPACTION: 'false' });
}

async function measureSmallFiles(start, { flushes }, say) {
  const rows = flushes * ROWS_OF_A_FLUSH;
  let server = await start();
  try {
    const flushMs = await makeSmallFiles(server.url, rows);
    await loadDays(server.url, 'compacted', rows);
    await compactFully(server.url, 'compacted');
    const files = { small: await fileCount(server.url, 'small'), compacted: await fileCount(server.url, 'compacted') };
    const minutes = ((flushMs * 10_000) / 60_000).toFixed(1);
    say(`${integer(rows)} rows in ${integer(files.small)} files of ${ROWS_OF_A_FLUSH} / in ${files.compacted}`);
    say(`${milliseconds(flushMs)} a flush: 10,000 files would take ${minutes} minutes`);
    sayComparison(say, 'other constants', await timesOf(server.url, ['small', 'compacted'], rows));
    sayComparison(say, 'same text again', await timesOf(server.url, ['small', 'compacted'], rows, false));
    for (const query of ['eight groups', 'range of times']) {
      const cold = { small: [], compacted: [] };
      for (let restart = 0; restart < RESTARTS; restart++) {
        for (const table of ['compacted', 'small']) {
          await server.stop();
          server = await start();
          cold[table].push((await ask(server.url, QUERIES[query](table, rows, restart))).elapsedMs);
        }
      }
      const [small, compacted, warm] = [median(cold.small), median(cold.compacted), await timeAfterFlush(server.url, query, rows)];
      say(`${query}, first after a start: ${milliseconds(small)} / ${milliseconds(compacted)} = ${(small / compacted).toFixed(2)}`);
      say(`${query}, first after one more file: ${milliseconds(warm)}; start / one more file = ${(small / warm).toFixed(1)}`);
    }
  } finally {
    await server.stop();
  }
}

/** @returns milliseconds a file */
async function makeSmallFiles(url, rows) {
  await callText(url, 'POST', '/v1/tables', { table_name: 'small' });
  const startedAt = performance.now();
  for (let from = 0; from < rows; from += ROWS_OF_A_FLUSH) await loadRows(url, 'small', from, from + ROWS_OF_A_FLUSH, '&ack=flushed');
  return ((performance.now() - startedAt) / rows) * ROWS_OF_A_FLUSH;
}

function sayComparison(say, title, [small, compacted]) {
  assertSameAnswers(small, compacted, 'small files and compacted');
  const { ratios, mean, worst } = compareTimes(small, compacted);
  Object.keys(QUERIES).forEach((name, index) =>
    say(
      `${title}, ${name.padEnd(14)} ${milliseconds(small.times[index])} / ${milliseconds(compacted.times[index])} = ${ratios[index].toFixed(2)}`,
    ),
  );
  say(`${title}, small files / compacted = ${mean.toFixed(2)} (geometric mean; worst: ${worst})`);
}

/** p50 of the first query after each of some flushes of one file. */
async function timeAfterFlush(url, query, rows) {
  const elapsed = [];
  for (let change = 0; change < CHANGES; change++) {
    const from = rows + change * ROWS_OF_A_FLUSH;
    await loadRows(url, 'small', from, from + ROWS_OF_A_FLUSH, '&ack=flushed');
    elapsed.push((await ask(url, QUERIES[query]('small', rows, RESTARTS + change))).elapsedMs);
  }
  return median(elapsed);
}

async function measureDeletes(start, say) {
  const rows = DELETED_DAYS * ROWS_OF_A_DAY;
  const server = await start();
  try {
    await loadDays(server.url, 'whole', rows);
    for (const [table, where, deleted] of [
      ['spread', 'over all files', everyNth(0, rows, ROWS_PER_DELETED)],
      ['few', 'in one file of twenty', everyNth(10 * ROWS_OF_A_DAY, 11 * ROWS_OF_A_DAY, ROWS_PER_DELETED / DELETED_DAYS)],
    ]) {
      await loadDays(server.url, table, rows);
      say(`${integer(rows)} rows in ${await fileCount(server.url, table)} files, ${integer(deleted.length)} deleted, ${where}`);
      await measureDelete(server.url, table, rows, deleted, say);
    }
  } finally {
    await server.stop();
  }
}

/** @returns ids of every nth row of a range */
function everyNth(from, to, step) {
  return Array.from({ length: (to - from) / step }, (_, index) => idOf(from + index * step));
}

/** Against a table with the same rows of which none was deleted; the answers stay the same in every state. */
async function measureDelete(url, table, rows, ids, say) {
  let known;
  for (let from = 0; from < ids.length; from += IDS_MAX)
    await callText(url, 'DELETE', '/v1/data', { table, ids: ids.slice(from, from + IDS_MAX) });
  for (const [state, reach] of [
    ['right after', () => undefined],
    ['flushed', () => callText(url, 'POST', `/v1/tables/${table}/flush`)],
    ['purged', () => compactFully(url, table)],
  ]) {
    await reach();
    await assertCount(url, table, rows - ids.length);
    const [changed, whole] = await timesOf(url, [table, 'whole'], rows);
    assertSameAnswers(changed, (known ??= changed), `table ${table}, ${state}`);
    const { mean, worst } = compareTimes(changed, whole);
    say(`${state.padEnd(11)} / nothing deleted = ${mean.toFixed(2)} (geometric mean; worst: ${worst})`);
  }
}

async function assertCount(url, table, expected) {
  const { rows } = await ask(url, `SELECT count(*) AS n FROM ${table}`);
  if (rows[0].n !== expected) throw new Error(`table ${table} should have ${expected} rows and has ${rows[0].n}`);
}
