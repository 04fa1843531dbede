/**
 * Two keys with different rows of the same tables: whatever they ask, in whatever form, neither an answer nor an error nor a figure may hold anything
 * of a row that is not theirs. Each answer must be the one that plain DuckDB gives over their rows alone.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import { expectThat } from './support/expectations.js';
import { expectStatus, expectSuccess, type JsonRow } from './support/requests.js';
import { type Answer, call, type RunningServer, startServer } from './support/server.js';

const ADMIN_SECRET = 'the-secret-of-the-administrator';
const ADMIN = { 'x-api-key': 'admin', 'x-api-secret': ADMIN_SECRET };
const OWNERS = ['red', 'blue'] as const;
type Owner = (typeof OWNERS)[number];
const ROWS = 400;

let server: RunningServer;
let reference: DuckDBInstance;
const headers = {} as Record<Owner, Record<string, string>>;
const connections = {} as Record<Owner, DuckDBConnection>;

/** Every text of a row has its owner's mark, so that a leak shows wherever it comes out. */
function rowOf(index: number): { id: string; timestamp: string; payload: JsonRow } {
  const owner = OWNERS[index % 2] ?? 'red';
  const timestamp = new Date(Date.UTC(2024, 0, 1, 0, index)).toISOString();
  return {
    id: `${owner}mark-${index}`,
    timestamp,
    payload: {
      owner,
      note: `${owner}mark note ${index % 7}`,
      amount: index,
      tags: { k: `${owner}mark` },
      number_text: index % 2 === 0 ? String(index) : `${owner}mark`,
    },
  };
}

beforeAll(async () => {
  server = await startServer({
    config: {
      auth: { mode: 'api_key', admin_secret: ADMIN_SECRET },
      tables: { flush_interval_seconds: 3_600 },
      maintenance: { interval_seconds: 3_600 },
    },
  });
  const rows = Array.from({ length: ROWS }, (_, index) => rowOf(index));
  // In several files and in the buffer, under deletes, so that every way of reading is there.
  for (let start = 0; start < ROWS; start += 50) {
    expectSuccess(await call(server, 'POST', '/v1/data', { table: 'events', records: rows.slice(start, start + 50) }, ADMIN));
    if (start < 300) expectSuccess(await call(server, 'POST', '/v1/tables/events/flush', undefined, ADMIN));
  }
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table: 'events', ids: ['redmark-10', 'bluemark-11', 'redmark-390'] }, ADMIN));
  expectSuccess(await call(server, 'POST', '/v1/data', { table: 'open', records: [{ id: 'a', payload: { v: 1 } }] }, ADMIN));
  reference = await DuckDBInstance.create(':memory:');
  for (const owner of OWNERS) {
    const grants = [
      { tables: 'events', access: 'read', rows: `owner = '${owner}' -- only theirs` },
      { tables: 'open', access: 'read' },
    ];
    const key = expectSuccess(await call(server, 'POST', '/v1/auth/keys', { api_key: owner, role: 'reader', grants }, ADMIN))
      .json as JsonRow;
    headers[owner] = { 'x-api-key': owner, 'x-api-secret': String(key['secret']) };
    connections[owner] = await connectionWith(owner, rows);
  }
});

afterAll(async () => {
  for (const connection of Object.values(connections)) connection.closeSync();
  await server?.kill();
});

/** Plain DuckDB with the rows of one owner and no others. */
async function connectionWith(owner: Owner, rows: readonly ReturnType<typeof rowOf>[]): Promise<DuckDBConnection> {
  const connection = await reference.connect();
  await connection.run(`CREATE SCHEMA ${owner}; SET search_path = '${owner}'; SET TimeZone = 'UTC'`);
  await connection.run(
    'CREATE TABLE events (id VARCHAR, "timestamp" TIMESTAMPTZ, owner VARCHAR, note VARCHAR, amount BIGINT, tags JSON, number_text VARCHAR)',
  );
  await connection.run('CREATE TABLE open AS SELECT \'a\' AS id, now() AS "timestamp", 1::BIGINT AS v');
  const gone = ['redmark-10', 'bluemark-11', 'redmark-390'];
  for (const { id, timestamp, payload } of rows) {
    if (payload['owner'] !== owner || gone.includes(id)) continue;
    const { note, amount, tags, number_text: text } = payload;
    await connection.run('INSERT INTO events VALUES ($1, $2::TIMESTAMPTZ, $3, $4, $5, $6::JSON, $7)', [
      id, timestamp, owner, String(note), Number(amount), JSON.stringify(tags), String(text),
    ]); // prettier-ignore
  }
  return connection;
}

const STATEMENTS = [
  'SELECT count(*) AS n, min(amount) AS low, max(amount) AS high FROM events',
  'SELECT min("timestamp")::VARCHAR AS a, max("timestamp")::VARCHAR AS b FROM events',
  'SELECT * EXCLUDE ("timestamp") FROM events ORDER BY id',
  'FROM events SELECT id ORDER BY amount DESC LIMIT 5',
  'SELECT owner, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL',
  "SELECT count(*) AS n FROM events WHERE owner = 'red'",
  "SELECT count(*) AS n FROM events WHERE owner <> 'red' OR true",
  'SELECT count(*) AS n FROM events WHERE true OR owner IS NULL',
  "SELECT count(*) AS n FROM events WHERE id = 'redmark-0' OR id = 'bluemark-1'",
  'SELECT a.id, b.id AS other FROM events a JOIN events b ON a.amount = b.amount + 1 ORDER BY 1, 2',
  'SELECT a.id FROM events a LEFT JOIN events b ON a.amount + 1 = b.amount WHERE b.id IS NULL ORDER BY 1',
  'SELECT count(*) AS n FROM events a CROSS JOIN events b',
  'WITH e AS (SELECT * FROM events) SELECT count(*) AS n FROM e WHERE note IN (SELECT note FROM events)',
  'WITH RECURSIVE r AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM r WHERE i < (SELECT count(*) FROM events)) SELECT max(i) AS m FROM r',
  'SELECT id, row_number() OVER (ORDER BY amount) AS r, lag(id) OVER (ORDER BY amount) AS before FROM events ORDER BY amount',
  'SELECT id FROM events QUALIFY row_number() OVER (PARTITION BY note ORDER BY amount) = 1 ORDER BY id',
  'SELECT DISTINCT note FROM events ORDER BY note',
  "SELECT string_agg(id, ',' ORDER BY id) AS s FROM events",
  'SELECT list(amount ORDER BY amount) AS l FROM events',
  "SELECT tags->>'k' AS k, count(*) AS n FROM events GROUP BY 1 ORDER BY 1",
  'SELECT count(*) AS n FROM events UNION ALL SELECT count(*) FROM events WHERE amount > 100',
  'SELECT id FROM events EXCEPT SELECT id FROM events WHERE amount < 380 ORDER BY id',
  "PIVOT (SELECT owner, amount % 3 AS m FROM events) ON owner IN ('red', 'blue') USING count(*) ORDER BY m",
  'SELECT (SELECT max(id) FROM events) AS m, (SELECT count(*) FROM open) AS n',
  'SELECT e.id FROM open, LATERAL (SELECT id FROM events WHERE amount > 395) e ORDER BY 1',
  'SELECT o.id, e.id AS e FROM open o ASOF JOIN events e ON o."timestamp" >= e."timestamp" ORDER BY 2',
  'SELECT approx_count_distinct(owner) AS n, mode(owner) AS m, any_value(owner) AS a, first(owner) AS f FROM events',
  'SELECT histogram(owner)::VARCHAR AS h FROM events',
  'SELECT count(*) AS n FROM events WHERE amount = (SELECT max(amount) FROM events)',
  "SELECT COLUMNS(c -> c LIKE '%o%') FROM events ORDER BY ALL LIMIT 3",
  'SELECT count(*) AS n FROM events TABLESAMPLE 100%',
] as const;

/** Statements whose failure, or success, could tell of rows that are not there for the caller. */
const PROBES = [
  'SELECT count(*) FROM events WHERE number_text::INTEGER >= 0',
  'SELECT sum(number_text::INTEGER) FROM events',
  "SELECT count(*) FROM events WHERE CASE WHEN owner = 'blue' THEN 1 / 0 ELSE 1 END = 1",
  "SELECT count(*) FROM events WHERE owner = 'red' OR error('seen ' || id) IS NULL",
  'SELECT count(*) FROM events WHERE amount % 2 = 0 OR error(id) IS NULL',
  "SELECT error(id) FROM events WHERE owner = 'blue'",
  "SELECT error(id) FROM events WHERE owner = 'red'",
  'SELECT id::INTEGER FROM events ORDER BY amount LIMIT 1',
  'SELECT (note::JSON) FROM events',
  'SELECT count(*) FROM events WHERE tags::INTEGER = 1',
  "SELECT strptime(note, '%Y') FROM events",
] as const;

function ask(owner: Owner, sql: string, more: JsonRow = {}, accept = 'application/json'): Promise<Answer> {
  return call(server, 'POST', '/v1/query', { sql, ...more }, { ...headers[owner], accept });
}

function foreignMark(owner: Owner): string {
  return `${owner === 'red' ? 'blue' : 'red'}mark`;
}

describe.each(OWNERS)('key of %s', (owner) => {
  it('gets the answers of its own rows and nothing of others', async () => {
    // Twice: the second time rows of small files come from the engine, and answers from what was kept.
    for (const round of [1, 2]) {
      for (const sql of STATEMENTS) {
        const answer = expectStatus(await ask(owner, sql, { limit: 10_000 }), 200);
        const expected = (await connections[owner].runAndReadAll(sql)).getRowsJson().map((row) => row.map(shown));
        const rows = (answer.json.rows as JsonRow[]).map((row) => Object.values(row).map(shown));
        expectThat(rows, `round ${round}: ${sql}`).toEqual(expected);
        expectThat(answer.text, sql).not.toContain(foreignMark(owner));
      }
    }
  });

  it('learns nothing from errors', async () => {
    for (const sql of PROBES) {
      const { text, status } = await ask(owner, sql);
      expectThat(text, sql).not.toContain(foreignMark(owner));
      const fails = await connections[owner].run(sql).then(
        () => false,
        () => true,
      );
      expectThat(status === 200, `${sql}: ${text}`).toBe(!fails);
    }
  });

  it.each(['application/x-ndjson', 'text/csv', 'application/vnd.apache.arrow.stream', 'application/vnd.apache.parquet'])(
    'streams its own rows only, as %s',
    async (accept) => {
      const { text, status } = await ask(owner, 'SELECT id, note, tags FROM events', {}, accept);
      expect(status).toBe(200);
      expect(text).toContain(`${owner}mark`);
      expect(text).not.toContain(foreignMark(owner));
    },
  );

  it('pages through its own rows only, also back in time', async () => {
    const ids: string[] = [];
    let cursor: string | undefined;
    do {
      const page: Answer = expectStatus(await ask(owner, 'SELECT id FROM events', { limit: 60, ...(cursor ? { cursor } : {}) }), 200);
      ids.push(...(page.json.rows as JsonRow[]).map((row) => String(row['id'])));
      cursor = page.json.next_cursor as string;
    } while (cursor !== '');
    const all = (await connections[owner].runAndReadAll('SELECT id FROM events ORDER BY id')).getRowsJson().map(([id]) => String(id));
    expect(ids.sort()).toEqual(all);
    const past = expectStatus(await ask(owner, 'SELECT id FROM events', { as_of: 2 }), 200);
    expect(past.text).not.toContain(foreignMark(owner));
    expect((past.json.rows as JsonRow[]).length).toBeGreaterThan(0);
  });

  it('is not told figures of all rows', async () => {
    for (const path of ['/v1/tables/events', '/v1/tables/events/history', '/v1/status'])
      expectThat((await call(server, 'GET', path, undefined, headers[owner])).status, path).toBe(403);
    const { tables } = (await call(server, 'GET', '/v1/tables', undefined, headers[owner])).json as { tables: JsonRow[] };
    expect(tables.map((table) => table['name'])).toEqual(['open']);
  });
});

/** Both sides in one form: numbers of any size and texts alike. */
function shown(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return value;
}
