/**
 * (c) What the way over HTTP adds to a query with a small answer: its p50 through POST /v1/query, minus its p50 in this process by DuckDB
 * on the very Parquet files of the table. Each run asks for another constant, so that no cache of results answers.
 */
import { createReadStream } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { liveFilesOf } from './live-files.mjs';
import { callText, postLines } from './rest.mjs';
import { writeRows } from './rows.mjs';
import { startServer } from './server.mjs';
import { integer, median, milliseconds, timed } from './statistics.mjs';

const WARM_UPS = 10;
const QUERIES = [
  ['count of all rows', 'SELECT count(*) AS n, $run AS run FROM events'],
  ['one row by its id', "SELECT id, user_id, price, $run AS run FROM events WHERE id = 'event-000012345'"],
  ['eight groups', 'SELECT country, count(*) AS n, max(price) AS highest, $run AS run FROM events GROUP BY country ORDER BY country'],
  ['newest ten rows', 'SELECT id, event, price, $run AS run FROM events ORDER BY timestamp DESC, id LIMIT 10'],
];

export async function measureQueries({ directory, sizes, say }) {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const server = await startServer(directory);
  try {
    const files = await loadTable(server, connection, directory, sizes.bulkRows);
    const list = files.map((file) => `'${file}'`).join(', ');
    await connection.run(`CREATE VIEW events AS SELECT * FROM read_parquet([${list}])`);
    say(`${integer(sizes.bulkRows)} rows in ${files.length} data files, p50 of ${sizes.queriesOfAKind}`);
    for (const [title, sql] of QUERIES) say(describe(title, await compare(server, connection, sql, sizes.queriesOfAKind)));
  } finally {
    connection.closeSync();
    instance.closeSync();
    await server.stop();
  }
}

/** Gives the table's live data files. */
async function loadTable(server, connection, directory, rows) {
  const { file, bytes } = await writeRows(connection, directory, rows);
  await callText(server.url, 'POST', '/v1/tables', { table_name: 'events' });
  await postLines(server.url, '/v1/data/bulk?table=events', createReadStream(file), bytes);
  await callText(server.url, 'POST', '/v1/tables/events/flush');
  const { location } = JSON.parse(await callText(server.url, 'GET', '/v1/tables/events')).table_info;
  return liveFilesOf(location);
}

/** Takes turns, so that both meet the same state of the machine. */
async function compare(server, connection, sql, times) {
  const overHttpMs = [];
  const inProcessMs = [];
  for (let run = -WARM_UPS; run < times; run++) {
    const statement = sql.replace('$run', String(run));
    const [answer, httpMs] = await timed(async () => JSON.parse(await callText(server.url, 'POST', '/v1/query', { sql: statement })).rows);
    const [expected, ownMs] = await timed(async () =>
      JSON.parse(JSON.stringify((await connection.runAndReadAll(statement)).getRowObjectsJson())),
    );
    if (!isDeepStrictEqual(asText(answer), asText(expected))) throw new Error(`different answers to ${statement}`);
    if (run < 0) continue;
    overHttpMs.push(httpMs);
    inProcessMs.push(ownMs);
  }
  return { overHttpMs: median(overHttpMs), inProcessMs: median(inProcessMs) };
}

/** 64-bit integers are text on one side. */
function asText(rows) {
  return rows.map((row) => Object.entries(row).map(([name, value]) => [name, String(value)]));
}

function describe(title, { overHttpMs, inProcessMs }) {
  return `${title.padEnd(18)} ${milliseconds(overHttpMs)} over HTTP - ${milliseconds(inProcessMs)} in process = ${milliseconds(overHttpMs - inProcessMs)}`;
}
