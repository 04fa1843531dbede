/**
 * Right answers: thousands of random queries over HTTP, against tables whose rows lie in several data files, in the buffer,
 * under deletes and updates, with columns that the older files lack, must equal what plain DuckDB says of one flat table with
 * the rows that should be there. Some of them run while a flush or a compaction moves those rows.
 *
 * RIGHT_ANSWERS_QUERIES sets the number of queries (default 10000), SEED replays a run.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { BIGINT, DOUBLE, type DuckDBConnection, DuckDBInstance, type DuckDBResultReader, type DuckDBType, VARCHAR } from '@duckdb/node-api';
import { differenceBetween, microsOf, parseKeepingDigits, type ReceivedAnswer } from './right-answers/compare-answers.js';
import { type Cell, ExpectedTable, type RecordToWrite } from './right-answers/expected-table.js';
import { allPlaceIds, EVENT_COLUMNS, eventId, EventPayloads, PLACE_COLUMNS, placeId, placeRecord } from './right-answers/random-records.js';
import { type Parameter } from './right-answers/random-predicate.js';
import { type GeneratedQuery, RandomQueries } from './right-answers/random-query.js';
import { TableDriver } from './right-answers/table-driver.js';
import { expectThat } from './support/expectations.js';
import { rowsOf, writeBatch } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { call, type RunningServer, startServer } from './support/server.js';

const QUERIES = Number(process.env['RIGHT_ANSWERS_QUERIES'] ?? 10_000);
const ROUNDS = Math.max(4, Math.min(10, Math.ceil(QUERIES / 500)));
const IN_FLIGHT = 6;
const FILES = 5;
const ROWS_PER_FILE = 500;
const PAGE_ROWS_MAX = 10_000;
const SMALL_PAGE_ROWS = 700;
const BOTH_REFUSE_SHARE_MAX = 0.05;
const DIFFERENCES_SHOWN_MAX = 10;
const FIXED_QUERY: GeneratedQuery = { shape: 'fixed', sql: '', parameters: [], isOrdered: false, isApproximate: false };
const RUN_MS_MAX = 600_000;
/** Its first 32 characters are what a statistic keeps; the bound above it ends in the greatest character there is. */
const LONG_NAME = `${'m'.repeat(32)}\u{10ffff}\u{10ffff}z`;

const seed = seedOfThisRun();
const random = new SeededRandom(seed);
const payloads = new EventPayloads(random);
const eventsTable = new ExpectedTable('events', 'append', EVENT_COLUMNS);
const placesTable = new ExpectedTable('order', 'upsert', PLACE_COLUMNS);

let server: RunningServer;
let reference: DuckDBInstance;
let events: TableDriver;
let places: TableDriver;

interface Tally {
  readonly differences: string[];
  readonly bothRefuse: string[];
  differing: number;
  compared: number;
  rows: number;
  /** Answers for which the server left some data file unopened. */
  pruned: number;
}

beforeAll(async () => {
  console.log(`right answers: SEED=${seed} replays this run`);
  // Nothing is flushed or compacted but by this test: how the rows lie is part of the case.
  server = await startServer({
    config: { tables: { flush_interval_seconds: 3600 }, maintenance: { interval_seconds: 3600 } },
  });
  // The one optimizer that the server goes without as well, for its defects: see engine.ts.
  reference = await DuckDBInstance.create(':memory:', { threads: '1', disabled_optimizers: 'top_n_window_elimination' });
  events = new TableDriver(server, random, eventsTable);
  places = new TableDriver(server, random, placesTable);
  const created = await call(server, 'POST', '/v1/tables', { table_name: 'order', config: { write_mode: 'upsert' } });
  expectThat(created.status, created.text).toBeLessThan(300);
});

afterAll(async () => {
  await server?.stop();
  reference?.closeSync();
});

describe('right answers', () => {
  // With the engine's own way of keeping the first rows of a window, these end in an internal error of DuckDB 1.5.6.
  it('keeps the first rows of a window over a join', async () => {
    const records = (name: string, from: number, to: number): Record<string, unknown>[] =>
      Array.from({ length: to - from }, (_, i) => from + i).map((n) => ({ id: `${name[0]}${n}`, payload: { n, kind: n % 7 } }));
    await writeBatch(server, 'wide', records('wide', 0, 100));
    await writeBatch(server, 'narrow', records('narrow', 4, 14));
    for (const from of [
      'FROM wide w JOIN (SELECT n FROM narrow) USING (n) WHERE kind = 3',
      'FROM wide w WHERE n IN (SELECT n FROM narrow) AND kind = 3',
      'FROM wide w WHERE EXISTS (FROM narrow x WHERE x.n = w.n) AND kind = 3',
    ]) {
      const first = `SELECT w.n ${from} QUALIFY row_number() OVER (PARTITION BY kind ORDER BY w.n DESC) = 1`;
      expectThat(await rowsOf(server, first), first).toEqual([{ n: 10 }]);
    }
  });

  it(
    `gives the plain engine's answer to ${QUERIES} random queries`,
    async () => {
      const tally: Tally = { differences: [], bothRefuse: [], differing: 0, compared: 0, rows: 0, pruned: 0 };
      await fillTables();
      for (let round = 0; round < ROUNDS; round++) {
        if (round > 0) await changeTables(round);
        await runRound(round, tally);
        if (tally.differing > DIFFERENCES_SHOWN_MAX) break;
      }
      report(tally);
      expectThat(tally.differences.join('\n\n'), `SEED=${seed}`).toBe('');
      expect(tally.compared + tally.bothRefuse.length).toBeGreaterThanOrEqual(QUERIES);
      expect(tally.bothRefuse.length).toBeLessThan(QUERIES * BOTH_REFUSE_SHARE_MAX);
    },
    RUN_MS_MAX,
  );
});

describe('files that are left out', () => {
  beforeAll(fillDays);

  // Three files, each with the rows of one day. What is asked is where leaving a file out by its statistics goes wrong.
  it.each([
    `"timestamp" >= '2024-03-02 23:00:00'::DATE`,
    `"timestamp" = '2024-03-02 23:00:00'::DATE + INTERVAL 9 HOUR`,
    `"timestamp" >= CAST('2024-03-02 23:00:00'::DATE AS TIMESTAMP)`,
    `"timestamp" >= TIMESTAMPTZ '2024-03-02 23:00:00+14:00'`,
    `"timestamp" < '2024-03-02T12:00:00+03:00'`,
    `"timestamp" <= '2024-03-01 10:00:00.0000004'`,
    `"timestamp" = '2024-03-01 10:00:00.000001'`,
    `"timestamp" > '2024-03-01 10:00:00.000001'`,
    `"timestamp" BETWEEN '2024-03-02' AND '2024-03-02 09:00:00'`,
    `"timestamp" < 'infinity'`,
    `"timestamp" > '-infinity'`,
    `"timestamp" >= '1969-12-31 23:59:59.999999'`,
    `"timestamp"::DATE = '2024-03-02'`,
    `day = DATE '2024-01-05'`,
    `day = TIMESTAMP '2024-01-05 00:00:00'`,
    `n = 100`,
    `n = 100.0`,
    `n >= 99.5`,
    `n = '100'`,
    `n >= true`,
    `n < 1e18`,
    `n = 9007199254740993`,
    `n > 9007199254740992`,
    `n >= 9007199254740993.0`,
    `n = 9223372036854775807`,
    `n < 9223372036854775808`,
    `d = 0`,
    `d = -0.0`,
    `d >= 0`,
    `d < 1`,
    `d = 0.1`,
    `name = $$${LONG_NAME}$$`,
    `name > $$${LONG_NAME.slice(0, 40)}$$`,
    `name <= $$${LONG_NAME.slice(0, 32)}$$`,
    `name >= 'Z' AND name < 'a'`,
    `name = 'ZULU' COLLATE NOCASE`,
    `name ILIKE 'ZULU'`,
    `name = NULL`,
    `name IS NULL AND n = 300`,
    `NOT (n <> 100)`,
    `n = 100 OR name = 'zulu'`,
    `(n = 100 OR n = 300) AND d > 0`,
    `n IN (100, 300)`,
    `n = 100 AND n = 300`,
    `N = 100 AND DAYS.n = 100`,
    `late = 1`,
    `late IS NULL`,
    `late IS NOT DISTINCT FROM NULL`,
    `coalesce(late, 1) = 1`,
    `n = (SELECT min(n) FROM days)`,
    `n > 50 AND n = ANY (SELECT n + 100 FROM days)`,
  ])('answers as if all were opened: %s', async (condition) => {
    await expectSameAnswer(`SELECT id, n FROM days WHERE ${condition}`);
    await expectSameAnswer(`SELECT count(*) AS c FROM days AS x(id) WHERE ${condition.replaceAll(/days\./gi, 'x.')}`);
  });

  it.each([
    'SELECT -n AS n FROM days WHERE n = 100',
    'WITH days AS (SELECT id, -n AS n FROM days) SELECT id FROM days WHERE n < 0',
    'WITH days AS MATERIALIZED (SELECT id, n - 1000 AS n FROM days) SELECT id FROM days WHERE n < 50 AND n < 20',
    'SELECT id FROM (SELECT id, -n AS n FROM days) days WHERE n < 0',
    'SELECT x.id FROM days AS x(id, "timestamp", d, n) WHERE x.n = 100',
    'SELECT n, (SELECT count(*) FROM days) AS c FROM days WHERE n = 100',
    'SELECT count(*) AS c FROM days a, days b WHERE a.n = 100',
    'SELECT a.id FROM days a LEFT JOIN days b ON a.id = b.id AND b.n = 100 WHERE b.id IS NULL',
    'SELECT n FROM days WHERE n = 100 UNION ALL SELECT n FROM days',
    'SELECT id FROM days WHERE n = 100 QUALIFY row_number() OVER (ORDER BY n) = 1',
    'SELECT max(n) AS m, count(*) AS c FROM days WHERE n > 1000',
    'SELECT n, count(*) AS c FROM days WHERE n > 100 GROUP BY ROLLUP (n)',
    'FROM days WHERE n = 100 SELECT id',
    'PIVOT (SELECT id, n FROM days WHERE n = 100) ON n IN (100, 300) USING count(*)',
  ])('answers as if all were opened: %s', expectSameAnswer);

  // A defect of DuckDB 1.5.6 (see random-predicate.ts), there with plain tables too. When this test "fails", it is mended: lift the guard there.
  it.failing('known defect of the engine: an OR with IS DISTINCT FROM leaves out rows with NULL', async () => {
    const answer = await askServer({ ...FIXED_QUERY, sql: 'SELECT count(*) AS c FROM days WHERE late = 100 OR late IS DISTINCT FROM 1' });
    expect(answer).toMatchObject({ rows: [{ c: 5 }] });
  });
});

async function expectSameAnswer(sql: string): Promise<void> {
  const connection = await reference.connect();
  const query = { ...FIXED_QUERY, sql };
  try {
    await connection.run("SET TimeZone = 'UTC'");
    const [expected, received] = await Promise.all([askReference(connection, query), askServer(query)]);
    expectThat(differenceOf(query, expected, received) ?? '', sql).toBe('');
  } finally {
    connection.closeSync();
  }
}

async function fillDays(): Promise<void> {
  const table = new ExpectedTable('days', 'append', {
    n: 'BIGINT',
    d: 'DOUBLE',
    name: 'VARCHAR',
    day: 'VARCHAR',
    late: 'BIGINT',
  });
  const days = new TableDriver(server, random, table);
  const row = (id: string, time: string, payload: Record<string, Cell>): RecordToWrite => ({
    id,
    micros: microsOf(time),
    payload: new Map(Object.entries(payload)),
  });
  await days.write([
    row('a', '2024-03-01 10:00:00.000001', { n: 100n, d: 0.1, name: 'Zulu', day: '2024-1-5' }),
    row('b', '2024-03-01 11:00:00.999999', { n: 101n, d: -0, name: 'alpha', day: '2024-01-06' }),
  ]);
  await days.flush();
  await days.write([
    row('c', '2024-03-02 09:00:00', { n: 200n, d: 5e-324, name: LONG_NAME, day: '2024-01-05' }),
    row('d', '2024-03-02 10:30:00', {
      n: 9_007_199_254_740_993n,
      name: `${LONG_NAME.slice(0, 32)}b`,
      day: '2024-02-01',
    }),
  ]);
  await days.flush();
  await days.write([
    row('e', '2024-03-03 00:00:00', { n: 300n, d: 1, late: 1n }),
    row('f', '2024-03-03 23:59:59.999999', {
      n: 9_223_372_036_854_775_807n,
      d: 0,
      name: 'zulu',
      day: '2024-03-01',
      late: 2n,
    }),
  ]);
  await days.flush();
  const connection = await reference.connect();
  await table.copyInto(connection);
  connection.closeSync();
}

function report(tally: Tally): void {
  console.log(
    `right answers: ${tally.compared} answers with ${tally.rows} rows compared (${tally.pruned} without opening every file), ${tally.differing} differ, ` +
      `${tally.bothRefuse.length} refused by both (${[...new Set(tally.bothRefuse)].join(', ')}); SEED=${seed}`,
  );
}

// ---- the state of the tables ------------------------------------------------------------------------------------------

/** Four files and a buffer; the first two files lack the late columns; then every kind of change, over files and buffer. */
async function fillTables(): Promise<void> {
  for (let file = 0; file < FILES; file++) {
    if (file === 2) payloads.addLateColumn('late');
    if (file === 3) payloads.addLateColumn('late_text');
    payloads.beginFile(file > 0 && file < FILES - 1);
    const first = payloads.completeRecord();
    const others = Array.from({ length: ROWS_PER_FILE - 1 }, () => payloads.record());
    await events.write([first, ...others]);
    if (file < FILES - 1) await events.flush();
  }
  await places.write(allPlaceIds().map((id, index) => placeRecord(random, id, false, index === 0)));
  await places.flush();
  await places.write(somePlaces(30).map((id) => placeRecord(random, id, true, true)));
  await changeRows();
}

async function changeTables(round: number): Promise<void> {
  if (round === 2) payloads.addLateColumn('late_flag');
  if (random.chance(0.5)) await events.flush();
  payloads.beginFile(random.chance(0.6));
  await events.write(Array.from({ length: random.integer(50, 300) }, () => payloads.record()));
  if (random.chance(0.6)) await events.flush();
  await changeRows();
  if (random.chance(0.4)) await events.flush();
  if (random.chance(0.35)) await events.compact();
  if (random.chance(0.5)) await places.flush();
  if (random.chance(0.3)) await places.compact();
  // Fresh rows of ids that were just deleted: a delete must not reach what came after it.
  payloads.beginFile(false);
  await events.write(Array.from({ length: random.integer(1, 60) }, () => payloads.record()));
}

async function changeRows(): Promise<void> {
  const victims = random.pickSome(eventsTable.idsOnlyVisible(), 40, 90);
  await events.hardDelete(victims.slice(1));
  await events.hardDelete([victims[0] ?? eventId(random)]);
  await events.write(random.pickSome(victims, 5, 15).map((id) => payloads.record(id)));
  await events.softDelete(random.pickSome(eventsTable.idsOnlyVisible(), 20, 40));
  await events.restore(random.pickSome(eventsTable.idsOnlyHidden(), 5, 15));
  await events.hardDelete(random.pickSome(eventsTable.idsOnlyHidden(), 0, 3));
  const [replaced, merged] = halves(random.pickSome(eventsTable.idsOnlyVisible(), 20, 40));
  await events.replaceEach(replaced.map((id) => payloads.record(id)));
  await events.mergeEach(new Map(merged.map((id) => [id, payloads.partialPayload()])));
  await changePlaces();
}

async function changePlaces(): Promise<void> {
  // The same id twice in one batch: the later one stays.
  const ids = [...somePlaces(15), placeId(random), placeId(random)];
  await places.write(ids.map((id) => placeRecord(random, id, true, false)));
  await places.softDelete(random.pickSome(placesTable.idsOnlyVisible(), 2, 5));
  await places.restore(random.pickSome(placesTable.idsOnlyHidden(), 0, 2));
  await places.hardDelete(random.pickSome(placesTable.idsOnlyVisible(), 2, 5));
  await places.replaceEach(random.pickSome(placesTable.idsOnlyVisible(), 2, 6).map((id) => placeRecord(random, id, true, false)));
  await places.mergeEach(new Map(random.pickSome(placesTable.idsOnlyVisible(), 1, 3).map((id) => [id, new Map([['score', 7n]])])));
}

function somePlaces(count: number): string[] {
  return random.pickSome(allPlaceIds(), count, count);
}

function halves<T>(items: readonly T[]): [T[], T[]] {
  const middle = Math.floor(items.length / 2);
  return [items.slice(0, middle), items.slice(middle)];
}

// ---- the queries ------------------------------------------------------------------------------------------------------

/** Runs the queries of one round, with a flush and a compaction of the very tables in the middle of them. */
async function runRound(round: number, tally: Tally): Promise<void> {
  const connections = await referenceConnections();
  const generator = new RandomQueries(random, eventsTable, placesTable);
  const queries = Array.from({ length: Math.ceil(QUERIES / ROUNDS) }, () => generator.next());
  const moves = movesDuring(queries.length);
  const moving: Promise<void>[] = [];
  let next = 0;
  const work = async (connection: DuckDBConnection): Promise<void> => {
    for (let index = next++; index < queries.length; index = next++) {
      const move = moves.get(index);
      if (move !== undefined) moving.push(move());
      const query = queries[index];
      if (query !== undefined) await compareOne(connection, query, `round ${round} query ${index}`, tally);
      if (tally.differing > DIFFERENCES_SHOWN_MAX) return;
    }
  };
  await Promise.all(connections.map(work));
  await Promise.all(moving);
  for (const connection of connections) connection.closeSync();
}

/** At which query which rows start to move: nothing a query could see changes by it. */
function movesDuring(queryCount: number): Map<number, () => Promise<void>> {
  const moves = [() => events.flush(), () => events.compact(), () => places.flush(), () => places.compact()];
  const chosen = random.pickSome(moves, 1, 3);
  return new Map(chosen.map((move) => [random.integer(0, queryCount), move]));
}

async function referenceConnections(): Promise<DuckDBConnection[]> {
  const connections = await Promise.all(Array.from({ length: IN_FLIGHT }, () => reference.connect()));
  for (const connection of connections) await connection.run("SET TimeZone = 'UTC'");
  const [first] = connections;
  if (first === undefined) throw new Error('no connection to the reference engine');
  await eventsTable.copyInto(first);
  await placesTable.copyInto(first);
  return connections;
}

async function compareOne(connection: DuckDBConnection, query: GeneratedQuery, label: string, tally: Tally): Promise<void> {
  const [expected, received] = await Promise.all([askReference(connection, query), askServer(query)]);
  const difference = differenceOf(query, expected, received);
  if (difference !== undefined) {
    tally.differing++;
    const again = differenceOf(query, expected, await askServer(query)) === undefined ? 'agrees' : 'differs too';
    const parameters = query.parameters.map(String).join(', ');
    tally.differences.push(
      `${label} (${query.shape}): ${difference}; asked again, it ${again}\n  ${query.sql}\n  parameters ${parameters}`,
    );
  } else if (expected instanceof Error) {
    tally.bothRefuse.push(expected.message.split(':')[0] ?? '');
  } else {
    tally.compared++;
    tally.rows += expected.currentRowCount;
    if ('filesLeftOut' in received && received.filesLeftOut > 0) tally.pruned++;
  }
}

function differenceOf(query: GeneratedQuery, expected: DuckDBResultReader | Error, received: WholeAnswer | Refusal): string | undefined {
  if ('status' in received) {
    if (expected instanceof Error && received.status === 400) return undefined;
    const side = expected instanceof Error ? `the plain engine refuses (${expected.message})` : 'the plain engine answers';
    return `${side}, the server says ${received.status} ${received.text}`;
  }
  if (expected instanceof Error) return `the plain engine refuses (${expected.message}), the server answers ${received.rows.length} rows`;
  return differenceBetween(expected, received, query);
}

async function askReference(connection: DuckDBConnection, query: GeneratedQuery): Promise<DuckDBResultReader | Error> {
  try {
    return await connection.runAndReadAll(query.sql, [...query.parameters], query.parameters.map(typeOfParameter));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function typeOfParameter(parameter: Parameter): DuckDBType {
  if (typeof parameter === 'number') return DOUBLE;
  return typeof parameter === 'bigint' ? BIGINT : VARCHAR;
}

interface Refusal {
  readonly status: number;
  readonly text: string;
}

interface Page extends ReceivedAnswer {
  readonly has_more: boolean;
  readonly next_cursor: string;
  readonly stats: { readonly files_total: number; readonly files_scanned: number };
}

interface WholeAnswer extends ReceivedAnswer {
  readonly filesLeftOut: number;
}

/** The whole result: all its pages one after the other. */
async function askServer(query: GeneratedQuery): Promise<WholeAnswer | Refusal> {
  const pages: Page[] = [];
  for (let cursor: string | undefined; ;) {
    const answer = await call(server, 'POST', '/v1/query', bodyText(query, cursor));
    if (answer.status !== 200) return { status: answer.status, text: answer.text };
    const page = parseKeepingDigits(answer.text) as Page;
    pages.push(page);
    const filesLeftOut = page.stats.files_total - page.stats.files_scanned;
    if (!page.has_more) return { columns: page.columns, rows: pages.flatMap(({ rows }) => rows), filesLeftOut };
    cursor = page.next_cursor;
  }
}

function bodyText(query: GeneratedQuery, cursor: string | undefined): string {
  const parameters = query.parameters.length === 0 ? '' : `,"params":[${query.parameters.map(parameterText).join(',')}]`;
  const position = cursor === undefined ? '' : `,"cursor":${JSON.stringify(cursor)}`;
  // Some results are read in small pages, so that a page boundary falls into them.
  const limit = query.sql.length % 20 === 0 ? SMALL_PAGE_ROWS : PAGE_ROWS_MAX;
  return `{"sql":${JSON.stringify(query.sql)},"limit":${limit}${parameters}${position}}`;
}

function parameterText(parameter: Parameter): string {
  return typeof parameter === 'bigint' ? parameter.toString() : JSON.stringify(parameter);
}
