/**
 * (f) The same rows through POST /v1/data/bulk and POST flush in every format: rows a second, and how many times those of NDJSON. Then a table of
 * a million rows and ten columns through POST /v1/query in every format, with the longest the server's event loop was held up meanwhile.
 */
import { createReadStream, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { callText, download, postBody } from './rest.mjs';
import { writeRows } from './rows.mjs';
import { startServer } from './server.mjs';
import { integer, median, milliseconds, quantile } from './statistics.mjs';

const IN = [
  ['NDJSON', 'application/x-ndjson', 'ndjson'],
  ['JSON array', 'application/json', 'json'],
  ['CSV', 'text/csv', 'csv'],
  ['Parquet', 'application/vnd.apache.parquet', 'parquet'],
  ['Arrow', 'application/vnd.apache.arrow.stream', 'arrow'],
];
const OUT = [
  ['NDJSON', 'application/x-ndjson'],
  ['CSV', 'text/csv'],
  ['Arrow', 'application/vnd.apache.arrow.stream'],
  ['Parquet', 'application/vnd.apache.parquet'],
];
const PROBE_MS = 5;

export async function measureFormats({ directory, sizes, say }) {
  const server = await startServer(directory);
  try {
    const files = await writeFormats(server, directory, sizes.bulkRows);
    const speeds = new Map(IN.map(([name]) => [name, []]));
    for (let round = 1; round <= sizes.rounds; round++) {
      for (const [name, mediaType, extension] of IN) {
        const elapsedMs = await load(server, `in_${extension}_${round}`, mediaType, files[extension], sizes.bulkRows);
        speeds.get(name).push((sizes.bulkRows / elapsedMs) * 1_000);
      }
    }
    const ndjson = median(speeds.get('NDJSON'));
    say(`${integer(sizes.bulkRows)} rows in, acknowledged and flushed, medians of ${sizes.rounds}`);
    for (const [name, all] of speeds)
      say(`${name.padEnd(10)} ${integer(median(all)).padStart(10)} rows/s = ${(median(all) / ndjson).toFixed(2)} times NDJSON`);
    await measureResults(server, sizes, say);
    for (const file of Object.values(files)) rmSync(file);
  } finally {
    await server.stop();
  }
}

/** The rows in each format; Arrow is what the server itself gives, which has no other writer here. */
async function writeFormats(server, directory, rows) {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    const { file: ndjson } = await writeRows(connection, directory, rows);
    const file = (extension) => path.join(directory, `rows.${extension}`);
    const select = `SELECT * FROM read_ndjson('${ndjson}', columns = {id: 'VARCHAR', timestamp: 'TIMESTAMPTZ', user_id: 'BIGINT', country: 'VARCHAR', event: 'VARCHAR', price: 'DOUBLE', quantity: 'BIGINT', mobile: 'BOOLEAN', url: 'VARCHAR', referrer: 'VARCHAR', session: 'VARCHAR'})`;
    await connection.run("SET TimeZone = 'UTC'");
    await connection.run(
      `COPY (SELECT * REPLACE (strftime(timestamp, '%Y-%m-%dT%H:%M:%S.%fZ') AS timestamp) FROM (${select})) TO '${file('json')}' (FORMAT json, ARRAY true)`,
    );
    await connection.run(`COPY (${select}) TO '${file('csv')}' (FORMAT csv, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ')`);
    await connection.run(`COPY (${select}) TO '${file('parquet')}' (FORMAT parquet)`);
    await load(server, 'made', 'application/vnd.apache.parquet', file('parquet'), rows);
    await download(server.url, 'application/vnd.apache.arrow.stream', 'SELECT * FROM made', file('arrow'));
    return { ndjson, json: file('json'), csv: file('csv'), parquet: file('parquet'), arrow: file('arrow') };
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

async function load(server, table, mediaType, file, rows) {
  await callText(server.url, 'POST', '/v1/tables', { table_name: table });
  const startedAt = performance.now();
  await postBody(
    server.url,
    `/v1/data/bulk?table=${table}`,
    createReadStream(file, { highWaterMark: 1 << 20 }),
    statSync(file).size,
    mediaType,
  );
  await callText(server.url, 'POST', `/v1/tables/${table}/flush`);
  const elapsedMs = performance.now() - startedAt;
  const { rows: answer } = JSON.parse(await callText(server.url, 'POST', '/v1/query', { sql: `SELECT count(*) AS stored FROM ${table}` }));
  if (answer[0].stored !== rows) throw new Error(`sent ${rows} rows, ${answer[0].stored} are stored`);
  if (table !== 'made') await callText(server.url, 'DELETE', `/v1/tables/${table}?cascade=true`);
  return elapsedMs;
}

async function measureResults(server, { bulkRows, rounds }, say) {
  const sql = 'SELECT * EXCLUDE (session) FROM made';
  say(`${integer(bulkRows)} rows of ten columns out, medians of ${rounds}`);
  for (const [name, mediaType] of OUT) {
    const elapsed = [];
    const probe = await startProbe(server);
    for (let round = 0; round < rounds; round++) {
      const startedAt = performance.now();
      await download(server.url, mediaType, sql);
      elapsed.push(performance.now() - startedAt);
    }
    const waits = await probe.stop();
    say(
      `${name.padEnd(10)} ${integer((bulkRows / median(elapsed)) * 1_000).padStart(10)} rows/s; another small request meanwhile: p99 ${milliseconds(quantile(waits, 0.99))}`,
    );
  }
}

/** A request that only the event loop answers, again and again: what else it does shows in the time that this one takes. */
async function startProbe(server) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const waits = [];
  let isRunning = true;
  const run = async () => {
    while (isRunning) {
      const startedAt = performance.now();
      await new Promise((resolve, reject) =>
        http.get(`${server.url}/v1/health/live`, { agent }, (response) => response.resume().once('end', resolve)).once('error', reject),
      );
      waits.push(performance.now() - startedAt);
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
    }
  };
  const running = run();
  return {
    stop: async () => {
      isRunning = false;
      await running;
      agent.destroy();
      return waits;
    },
  };
}
