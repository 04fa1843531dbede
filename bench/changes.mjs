/** (g) Update and delete by id in a large table whose files are sorted by id: durable, visible, with the exact count. */
import { createReadStream, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { callText, postBody } from './rest.mjs';
import { startServer } from './server.mjs';
import { integer, median, milliseconds, quantile } from './statistics.mjs';

const ROWS_OF_A_BODY = 2_000_000;

export async function measureChanges({ directory, sizes, say }) {
  const server = await startServer(directory);
  try {
    await callText(server.url, 'POST', '/v1/tables', { table_name: 'large' });
    await loadRows(server, directory, sizes.largeRows);
    await callText(server.url, 'POST', '/v1/tables/large/flush');
    const { stats } = JSON.parse(await callText(server.url, 'GET', '/v1/tables/large')).table_info;
    say(`${integer(stats.record_count)} rows in ${stats.file_count} files, ${sizes.changes} of a kind`);
    // Each id once, spread over the whole table.
    let next = 0;
    const id = () => `event-${String((next++ * 7_919_993) % sizes.largeRows).padStart(9, '0')}`;
    const change = (method, fields) => () => callText(server.url, method, '/v1/data', { table: 'large', id: id(), ...fields });
    for (const [title, run] of [
      ['replace', change('PUT', { payload: { price: 1.5 } })],
      ['merge', change('PUT', { payload: { price: 2.5 }, partial: true })],
      ['delete', change('DELETE', { soft_delete: false })],
      ['query by id', () => callText(server.url, 'POST', '/v1/query', { sql: `SELECT * FROM large WHERE id = '${id()}'` })],
    ]) {
      const elapsed = [];
      for (let n = 0; n < sizes.changes; n++) {
        const startedAt = performance.now();
        await run();
        elapsed.push(performance.now() - startedAt);
      }
      say(`${title.padEnd(12)} p50 ${milliseconds(median(elapsed))}, p99 ${milliseconds(quantile(elapsed, 0.99))}`);
    }
  } finally {
    await server.stop();
  }
}

async function loadRows(server, directory, rows) {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const file = path.join(directory, 'large.parquet');
  try {
    for (let from = 0; from < rows; from += ROWS_OF_A_BODY) {
      const to = Math.min(rows, from + ROWS_OF_A_BODY);
      await connection.run(
        `COPY (SELECT 'event-' || lpad(i::VARCHAR, 9, '0') AS id, make_timestamp(1700000000000000 + i * 15000) AS timestamp,
           (hash(i) % 95000)::BIGINT AS user_id, ['DE', 'FR', 'US', 'IN'][1 + (hash(i, 1) % 4)::INTEGER] AS country,
           (hash(i, 2) % 10000)::DOUBLE / 100 AS price FROM range(${from}, ${to}) r(i)) TO '${file}' (FORMAT parquet)`,
      );
      await postBody(
        server.url,
        '/v1/data/bulk?table=large',
        createReadStream(file),
        statSync(file).size,
        'application/vnd.apache.parquet',
      );
    }
  } finally {
    rmSync(file, { force: true });
    connection.closeSync();
    instance.closeSync();
  }
}
