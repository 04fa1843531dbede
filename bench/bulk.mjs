/**
 * (b) A file of newline-delimited JSON through POST /v1/data/bulk and POST flush (stored, fsynced, committed as Parquet), divided by
 * DuckDB's own COPY of the same file to Parquet (which syncs nothing). The rounds alternate, so both meet the same machine.
 */
import { createReadStream, rmSync } from 'node:fs';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { callText, postLines } from './rest.mjs';
import { writeRows } from './rows.mjs';
import { startServer } from './server.mjs';
import { integer, median } from './statistics.mjs';

export async function measureBulk({ directory, sizes, say }) {
  const { file, bytes } = await withDuckDb((connection) => writeRows(connection, directory, sizes.bulkRows));
  const server = await startServer(directory);
  const rounds = [];
  try {
    for (let round = 1; round <= sizes.rounds; round++) {
      const ours = await loadIntoServer(server, `bulk_${round}`, file, bytes, sizes.bulkRows);
      rounds.push({ ...ours, duckDbMs: await copyWithDuckDb(directory, file) });
    }
  } finally {
    await server.stop();
    rmSync(file);
  }
  const [acceptMs, flushMs, duckDbMs] = ['acceptMs', 'flushMs', 'duckDbMs'].map((key) => median(rounds.map((round) => round[key])));
  const totalMs = median(rounds.map((round) => round.acceptMs + round.flushMs));
  const ratio = median(rounds.map((round) => (round.acceptMs + round.flushMs) / round.duckDbMs));
  say(`${integer(sizes.bulkRows)} rows, ${integer(bytes / 1e6)} MB, medians of ${sizes.rounds}`);
  const rowsPerSecond = (elapsedMs) => `${integer((sizes.bulkRows / elapsedMs) * 1_000)} rows/s`;
  say(
    `MinIODB: ${integer(totalMs)} ms = acknowledged after ${integer(acceptMs)} ms + flush ${integer(flushMs)} ms (${rowsPerSecond(totalMs)})`,
  );
  say(`DuckDB:  ${integer(duckDbMs)} ms COPY (SELECT * FROM read_ndjson(file)) TO parquet (${rowsPerSecond(duckDbMs)})`);
  say(`MinIODB / DuckDB = ${ratio.toFixed(2)}`);
}

/** Loads and flushes one table, checks that all is there, and drops it. */
async function loadIntoServer(server, table, file, bytes, rows) {
  await callText(server.url, 'POST', '/v1/tables', { table_name: table });
  const acceptMs = await timed(() =>
    postLines(server.url, `/v1/data/bulk?table=${table}&on_error=abort`, createReadStream(file, { highWaterMark: 1 << 20 }), bytes),
  );
  const flushMs = await timed(() => callText(server.url, 'POST', `/v1/tables/${table}/flush`));
  const { rows: answer } = JSON.parse(await callText(server.url, 'POST', '/v1/query', { sql: `SELECT count(*) AS stored FROM ${table}` }));
  if (answer[0].stored !== rows) throw new Error(`sent ${rows} rows, ${answer[0].stored} are stored`);
  await callText(server.url, 'DELETE', `/v1/tables/${table}?cascade=true`);
  return { acceptMs, flushMs };
}

async function copyWithDuckDb(directory, file) {
  const target = path.join(directory, 'copy.parquet');
  const elapsed = await withDuckDb((connection) =>
    timed(() => connection.run(`COPY (SELECT * FROM read_ndjson('${file}')) TO '${target}' (FORMAT parquet)`)),
  );
  rmSync(target);
  return elapsed;
}

/** A fresh engine, so that nothing is cached from the round before. */
async function withDuckDb(use) {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    return await use(connection);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

async function timed(action) {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}
