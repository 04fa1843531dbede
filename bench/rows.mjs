/** The rows of the bulk and query measurements, made by DuckDB: the same ones every time, some 230 bytes of JSON each. */
import { statSync } from 'node:fs';
import path from 'node:path';

const SELECT_ROWS = `
  SELECT 'event-' || lpad(i::VARCHAR, 9, '0') AS id,
         strftime(make_timestamp(1700000000000000 + i * 15000), '%Y-%m-%dT%H:%M:%S.%fZ') AS timestamp,
         (hash(i) % 95000)::BIGINT AS user_id,
         ['DE', 'FR', 'US', 'IN', 'BR', 'JP', 'NG', 'AU'][1 + (hash(i, 1) % 8)::INTEGER] AS country,
         ['view', 'click', 'search', 'purchase'][1 + (hash(i, 2) % 4)::INTEGER] AS event,
         (hash(i, 3) % 100000)::DOUBLE / 100 + 0.005 AS price,
         (hash(i, 4) % 9)::BIGINT AS quantity,
         hash(i, 5) % 3 = 0 AS mobile,
         '/shop/item/' || (hash(i, 6) % 5000) AS url,
         CASE WHEN hash(i, 7) % 10 < 7 THEN 'https://example.org/campaign/' || (hash(i, 8) % 300) END AS referrer,
         md5(i::VARCHAR) AS session
  FROM range(__ROWS__) AS rows(i)`;

/** @returns {Promise<{file: string, bytes: number}>} a file of newline-delimited JSON */
export async function writeRows(connection, directory, rows) {
  const file = path.join(directory, `rows-${rows}.ndjson`);
  await connection.run(`COPY (${SELECT_ROWS.replace('__ROWS__', String(rows))}) TO '${file}' (FORMAT json)`);
  return { file, bytes: statSync(file).size };
}
