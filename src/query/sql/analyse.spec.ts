import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type ScratchEngine, openScratchEngine } from '../../../test/support/scratch-engine.js';
import { SqlAnalyser, withoutEnd } from './analyse.js';

let scratch: ScratchEngine;
let analyser: SqlAnalyser;
beforeAll(async () => {
  scratch = await openScratchEngine();
  analyser = new SqlAnalyser(scratch.engine);
  await analyser.open();
});
afterAll(() => scratch.close());

describe('tables of a statement', () => {
  it.each([
    ['SELECT 1', []],
    ['SELECT * FROM people', ['people']],
    ['FROM people', ['people']],
    ['SELECT * FROM "Order" JOIN b USING (id)', ['Order', 'b']],
    ['SELECT (SELECT max(x) FROM a) FROM b WHERE EXISTS (SELECT 1 FROM c)', ['a', 'b', 'c']],
    ['SELECT 1 FROM a UNION ALL SELECT 2 FROM b', ['a', 'b']],
    ['WITH x AS (SELECT * FROM a) SELECT * FROM x', ['a']],
    ['WITH a AS (SELECT * FROM a) SELECT * FROM a', ['a']],
    ['WITH x AS (SELECT * FROM y), y AS (SELECT * FROM z) SELECT * FROM x, y', ['y', 'z']],
    ['WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t', []],
    ['SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x), x', ['x']],
    ["PIVOT people ON name IN ('a', 'b') USING count(*)", ['people']],
    ["SELECT * FROM people -- FROM secrets\n/* FROM more */ WHERE name = 'FROM x'", ['people']],
  ])('%s', async (sql, tables) => {
    expect([...(await analyser.analyse(sql)).tables].sort()).toEqual([...tables].sort());
  });
});

describe('statement that is refused', () => {
  it.each([
    ['', 'INVALID_ARGUMENT', /empty/],
    ['SELECT 1; SELECT 2', 'INVALID_ARGUMENT', /2 statements/],
    ['SELEC 1', 'INVALID_ARGUMENT', /cannot be parsed/],
    ['CREATE TABLE x AS SELECT 1', 'INVALID_ARGUMENT', /not a SELECT/],
    ["COPY people TO 'x'", 'INVALID_ARGUMENT', /not a SELECT/],
    ['DESCRIBE people', 'INVALID_ARGUMENT', /SHOW, DESCRIBE and SUMMARIZE/],
    ["SELECT * FROM 'x.parquet'", 'INVALID_ARGUMENT', /files and URLs/],
    ['SELECT * FROM information_schema.tables', 'INVALID_ARGUMENT', /without a schema/],
    ["SELECT * FROM read_csv('/etc/passwd')", 'PERMISSION_DENIED', /table function read_csv/],
    ['SELECT * FROM duckdb_settings()', 'PERMISSION_DENIED', /duckdb_settings/],
    ["SELECT getenv('HOME')", 'PERMISSION_DENIED', /getenv/],
    ["SELECT GETENV('HOME') FROM people ORDER BY (SELECT current_setting('x'))", 'PERMISSION_DENIED', /getenv|current_setting/],
    ["SELECT system.main.getenv('HOME')", 'PERMISSION_DENIED', /getenv/],
  ])('%s', async (sql, code, message) => {
    await expect(analyser.analyse(sql)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('is nested deeper than the parser goes, and the server lives on', async () => {
    await expect(analyser.analyse(`SELECT ${'('.repeat(100_000)}1${')'.repeat(100_000)}`)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});

describe('statement whose rows come in the same order every time', () => {
  it.each([
    'SELECT * FROM people',
    'SELECT id, upper(name) AS n FROM people WHERE age > 5 AND name LIKE $1',
    'FROM people SELECT id',
    'SELECT CASE WHEN age > 5 THEN 1 END FROM people p',
  ])('is %s', async (sql) => {
    expect((await analyser.analyse(sql)).isRepeatableScan).toBe(true);
  });

  it.each([
    'SELECT 1',
    'SELECT * FROM people ORDER BY id',
    'SELECT * FROM people LIMIT 5',
    'SELECT DISTINCT name FROM people',
    'SELECT count(*) FROM people',
    'SELECT name FROM people GROUP BY name',
    'SELECT name, count(*) FROM people GROUP BY ALL',
    'SELECT max(age) FROM people',
    'SELECT row_number() OVER () FROM people',
    'SELECT * FROM people QUALIFY row_number() OVER (PARTITION BY id) = 1',
    'SELECT * FROM a, b',
    'SELECT * FROM a UNION ALL SELECT * FROM b',
    'SELECT * FROM (SELECT * FROM people)',
    'WITH x AS (SELECT * FROM people) SELECT * FROM x',
    'SELECT * FROM people WHERE id IN (SELECT id FROM people)',
    'SELECT random() FROM people',
    'SELECT uuid() FROM people',
    'SELECT now() FROM people',
    'SELECT current_timestamp FROM people',
    'SELECT * FROM people USING SAMPLE 10 ROWS',
    'SELECT * FROM people TABLESAMPLE 10%',
    'SELECT unnest([1, 2]) FROM people',
  ])('is not %s', async (sql) => {
    expect((await analyser.analyse(sql)).isRepeatableScan).toBe(false);
  });
});

describe('statement without its end', () => {
  it.each([
    ['SELECT 1;', 'SELECT 1'],
    ['SELECT 1 ; \n;', 'SELECT 1'],
    ["SELECT ';' AS x", "SELECT ';' AS x"],
  ])('%j', async (sql, expected) => {
    expect(await withoutEnd(scratch.engine, sql)).toBe(expected);
  });

  it.each([
    'SELECT 1 AS a; -- the end',
    'SELECT 1 AS a; /* the end */ ;',
    "SELECT 1 AS a, '; -- x' AS b",
    'SELECT 1 AS a -- ;',
    'SELECT 1 AS a /* ; */',
  ])('stands in parentheses: %s', async (sql) => {
    expect((await scratch.engine.row(`SELECT * FROM (\n${await withoutEnd(scratch.engine, sql)}\n)`))['a']).toBe(1);
  });
});

describe('counts and extremes of a whole table', () => {
  it('are told apart from what has to be read', async () => {
    const summary = [
      { kind: 'count', name: 'count_star()' },
      { kind: 'min', column: 'a', name: undefined },
      { kind: 'max', column: 'B', name: 'top' },
    ];
    expect((await analyser.analyse('SELECT count(*), min(a), max(p."B") AS top FROM people p')).summary).toEqual(summary);
    const counted = [
      { kind: 'count', name: 'n' },
      { kind: 'number', value: -7, name: 'run' },
    ];
    expect((await analyser.analyse('SELECT count(*) AS n, -7 AS run FROM people')).summary).toEqual(counted);
  });

  it.each([
    'SELECT 7 FROM people',
    'SELECT count(*), 1.5 FROM people',
    "SELECT count(*), 'x' FROM people",
    'SELECT count(*), NULL FROM people',
    'SELECT count(*), 3000000000 FROM people',
    'SELECT count(a) FROM people',
    'SELECT min(a) FROM people WHERE a > 1',
    'SELECT min(a) FROM people GROUP BY b',
    'SELECT min(a) FROM people HAVING min(a) > 1',
    'SELECT min(a) FROM people LIMIT 1',
    'SELECT DISTINCT min(a) FROM people',
    'SELECT min(DISTINCT a) FROM people',
    'SELECT min(a) FILTER (WHERE b) FROM people',
    'SELECT min(a, 2) FROM people',
    'SELECT min(a ORDER BY b) FROM people',
    'SELECT min(a) OVER () FROM people',
    'SELECT min(a) + 1 FROM people',
    'SELECT min(a.b.c) FROM people',
    'SELECT min(other.a) FROM people',
    'SELECT min(a), a FROM people',
    'SELECT min(a) FROM people AS p(b, a)',
    'SELECT min(a) FROM people TABLESAMPLE 10%',
    'SELECT min(a) FROM people, people AS more',
    'WITH people AS (SELECT 1 AS a) SELECT min(a) FROM people',
    'SELECT min(a) FROM people UNION ALL SELECT 1',
    'SELECT min(COLUMNS(*)) FROM people',
  ])('not %s', async (sql) => {
    expect((await analyser.analyse(sql)).summary).toBeUndefined();
  });
});
