/** What the REST interface promises of bulk loads, read from the outside; other formats than NDJSON are in the bulk-formats suites. */
import { describe, expect, test } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { bulk, bulkAnswer, columnTypes, query, restartAfterKill, server, startOther, useOneServer } from './support/one-server.js';
import { duckdb } from './support/plain-duckdb.js';
import { countOf, createTable, expectError, expectSuccess, type JsonRow, rowsOf, tableInfo, valueOf } from './support/requests.js';
import { type Answer, call, temporaryDirectory } from './support/server.js';

const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';
const NDJSON = 'application/x-ndjson';

useOneServer();

/** The list of bad rows of a bulk answer with on_error=skip, wherever it stands. */
function badRowsOf(answer: JsonRow): JsonRow[] {
  return (answer['errors'] ?? answer['details']) as JsonRow[];
}

describe('POST /v1/data/bulk', () => {
  const lines = (count: number, first = 0): string =>
    Array.from(
      { length: count },
      (_, index) =>
        `{"id":"r-${first + index}","timestamp":"2024-01-01T00:00:00Z","n":${first + index},"half":${(first + index) / 2 + 0.25}}\n`,
    ).join('');

  test('NDJSON: one column a key, visible at once, and there after SIGKILL', async () => {
    const first = await startOther();
    const response = await fetch(`${first.rest}/v1/data/bulk?table=loaded`, {
      method: 'POST',
      headers: { 'content-type': NDJSON },
      body: lines(1_000),
    });
    expect(response.status).toBeLessThan(300);
    expect(await response.json()).toMatchObject({ success: true, count: 1_000 });
    const expected = [{ rows: 1_000, ids: 1_000, total: 499_500, halves: 250_000 }];
    const sql = 'SELECT count(*) AS rows, count(DISTINCT id) AS ids, sum(n) AS total, sum(half) AS halves FROM loaded';
    expect(await rowsOf(first, sql)).toEqual(expected);
    const second = await restartAfterKill(first);
    expect(await rowsOf(second, sql)).toEqual(expected);
  });

  test('id_field and timestamp_field name the columns to take', async () => {
    await bulk(
      'renamed',
      '{"key":"a","at":"2024-01-01T01:00:00+01:00","n":1}\n{"key":"b","at":1704067200000,"n":2}\n',
      '&id_field=key&timestamp_field=at',
    );
    expect(await rowsOf(server, 'SELECT id, timestamp, n FROM renamed ORDER BY id')).toEqual([
      { id: 'a', timestamp: '2024-01-01T00:00:00.000000Z', n: 1 },
      { id: 'b', timestamp: '2024-01-01T00:00:00.000000Z', n: 2 },
    ]);
  });

  test('a last line without a line feed, blank lines and CRLF are taken', async () => {
    await bulk('line_ends', '{"id":"a","n":1}\r\n\r\n{"id":"b","n":2}\n\n{"id":"c","n":3}');
    expect(await countOf(server, 'line_ends')).toBe(3);
  });

  test('64-bit integers stay exact, nested values are JSON, and types follow the same rules as single writes', async () => {
    await bulk('bulk_kinds', `{"id":"a","big":${INT64_MAX},"f":10.0,"yes":true,"o":{"x":[1]},"s":"ü"}\n{"id":"b","big":${INT64_MIN}}\n`);
    const answer = await query('SELECT big FROM bulk_kinds ORDER BY id');
    expect(answer.text).toContain(INT64_MAX);
    expect(answer.text).toContain(INT64_MIN);
    expect(columnTypes(await tableInfo(server, 'bulk_kinds'))).toMatchObject({
      big: 'BIGINT',
      f: 'DOUBLE',
      yes: 'BOOLEAN',
      o: 'JSON',
      s: 'VARCHAR',
    });
  });

  test('gzip', async () => {
    await bulk('zipped', gzipSync(lines(500)), '', { 'content-type': NDJSON, 'content-encoding': 'gzip' });
    expect(await countOf(server, 'zipped')).toBe(500);
  });

  test('zstd', async () => {
    const directory = temporaryDirectory('zstd');
    writeFileSync(path.join(directory, 'rows.json'), lines(500));
    const file = path.join(directory, 'rows.zst');
    await duckdb(
      `COPY (SELECT * FROM read_csv('${directory}/rows.json', columns = {line: 'VARCHAR'}, header = false, delim = '\t', quote = '', escape = '')) TO '${file}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\t', COMPRESSION zstd)`,
    );
    await bulk('zstandard', readFileSync(file), '', { 'content-type': NDJSON, 'content-encoding': 'zstd' });
    expect(await rowsOf(server, 'SELECT count(*) AS rows, sum(n) AS total FROM zstandard')).toEqual([{ rows: 500, total: 124_750 }]);
  });

  // In the contract, and not built yet.

  test('abort stores nothing and names the line, the field and the reason', async () => {
    await bulk('aborted', lines(10));
    const answer = await bulkAnswer('aborted', `${lines(3, 10)}{"id":"bad","n":"many"}\n${lines(3, 13)}`);
    expectError(answer, 400, 'INVALID_ARGUMENT', /line 4\b/);
    expect(answer.json.message).toMatch(/\bn\b.*BIGINT/);
    expect(answer.json.details[0]).toMatchObject({ line: 4, field: 'n', reason: expect.stringMatching(/\S/) });
    expect(await countOf(server, 'aborted')).toBe(10);
  });

  test('skip stores the good rows, counts the bad ones and names each with line, field and reason', async () => {
    const body = [
      '{"id":"a","n":1}',
      '{"id":"b","n":"two"}',
      'no json',
      '{"id":"c\x7fc","n":3}',
      '{"id":"d","n":4,"timestamp":"soon"}',
      '{"id":"e","n":9223372036854775808}',
      '{"id":"f","n":6}',
    ].join('\n');
    const answer = await bulk('skipped', body, '&on_error=skip');
    expect(answer).toMatchObject({ success: true, count: 2, refused_count: 5 });
    const bad = badRowsOf(answer);
    expect(bad.map(({ line }) => line as number)).toEqual([2, 3, 4, 5, 6]);
    expect(bad.filter(({ line }) => line !== 3).map(({ field }) => field as string)).toEqual(['n', 'id', 'timestamp', 'n']);
    for (const { reason } of bad) expect(reason).toMatch(/\S/);
    expect(await rowsOf(server, 'SELECT id, n FROM skipped ORDER BY id')).toEqual([
      { id: 'a', n: 1 },
      { id: 'f', n: 6 },
    ]);
  });

  test('skip lists at most 100 bad rows and counts all', async () => {
    const body = Array.from({ length: 350 }, (_, index) =>
      index % 7 === 0 ? `{"id":"good-${index}","n":${index}}` : `{"id":"bad\x7f${index}","n":1}`,
    ).join('\n');
    const answer = await bulk('many_bad', body, '&on_error=skip');
    expect(answer).toMatchObject({ count: 50, refused_count: 300 });
    expect(badRowsOf(answer)).toHaveLength(100);
    expect(badRowsOf(answer)[0]).toMatchObject({ line: 2, field: 'id' });
  });

  test('200,000 rows with a bad last line: nothing is ever visible; without it: all at once', async () => {
    const rows = lines(200_000);
    await createTable(server, 'large');
    const seen = new Set<number>();
    const watched = async (load: Promise<Answer>): Promise<Answer> => {
      let done = false;
      const settled = load.finally(() => (done = true));
      while (!done) seen.add(await countOf(server, 'large'));
      return settled;
    };
    expectError(await watched(bulkAnswer('large', `${rows}{"id":"last","n":"bad"}\n`)), 400, 'INVALID_ARGUMENT', /line 200001\b/);
    expect([...seen]).toEqual([0]);
    expect(expectSuccess(await watched(bulkAnswer('large', rows))).json.count).toBe(200_000);
    seen.add(await countOf(server, 'large'));
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 200_000]);
    expect(await rowsOf(server, 'SELECT count(DISTINCT id) AS ids, sum(n) AS total FROM large')).toEqual([
      { ids: 200_000, total: 19_999_900_000 },
    ]);
  }, 240_000);

  describe('a large body is held to the same rules as a small one', () => {
    const LARGE = 60_000;
    /** What the last line holds, the field that is to be named, and what the reason says. */
    const BAD_LINES: readonly (readonly [string, string | Buffer, string | undefined])[] = [
      ['an integer beyond 64 bit', '{"id":"bad","n":9223372036854775808}', 'n'],
      ['2^53+1 for a DOUBLE', '{"id":"bad","half":9007199254740993}', 'half'],
      ['text for a number', '{"id":"bad","n":"5"}', 'n'],
      ['a boolean for a number', '{"id":"bad","half":true}', 'half'],
      ['a bad id', '{"id":"b\x7fd","n":5}', 'id'],
      ['an empty id', '{"id":"","n":5}', 'id'],
      ['a timestamp of an hour alone', '{"id":"bad","timestamp":"2024-01-01T00","n":5}', 'timestamp'],
      ['the 30th of February', '{"id":"bad","timestamp":"2024-02-30T00:00:00Z","n":5}', 'timestamp'],
      ['a reserved field', '{"id":"bad","_lsn":5}', '_lsn'],
      ['two spellings of a field', '{"id":"bad","n":5,"N":6}', undefined],
      ['a line that is no JSON', '{"id":"bad",', undefined],
      ['NaN', '{"id":"bad","half":NaN}', undefined],
      ['a lone surrogate', '{"id":"bad","s":"\\ud83e"}', undefined],
      ['bytes that are not UTF-8', Buffer.from('{"id":"bad","s":"\xff"}', 'latin1'), undefined],
      ['too deep a value', `{"id":"bad","o":${'['.repeat(200)}${']'.repeat(200)}}`, undefined],
    ];

    test.each(BAD_LINES)('%s', async (what, line, field) => {
      const table = `large_${what.replaceAll(/\W/g, '_')}`;
      const first = `{"id":"first","n":1,"half":0.5,"s":"x","o":[1]}\n`;
      const answer = await bulkAnswer(table, Buffer.concat([Buffer.from(first + lines(LARGE)), Buffer.from(line)]));
      expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`line ${LARGE + 2}\\b`));
      if (field !== undefined) expect(answer.json.details[0]).toMatchObject({ line: LARGE + 2, field });
      expect((await call(server, 'GET', `/v1/tables/${table}`)).json.table_info?.stats.record_count ?? 0).toBe(0);
    });

    test('good but uneven lines: CRLF, blank lines, new fields late, nulls, nested values, exact integers, widening', async () => {
      const late = [
        '',
        `{"id":"big","n":${INT64_MIN}}`,
        '{"id":"null","n":null,"never":null}',
        '{"id":"nested","o":{"a":[1,{"b":"c"}]}}',
        '{"id":"late","fresh":1}',
        '{"id":"later","fresh":2.5}',
        '{"id":"zone","timestamp":"2024-01-01T02:00:00+02:00"}',
        '{"id":"millis","timestamp":1704067200000}',
        '  {"id":"blank" , "n" : 7}  ',
      ];
      await bulk('large_uneven', lines(LARGE) + late.join('\r\n'));
      expect(await countOf(server, 'large_uneven')).toBe(LARGE + 8);
      expect((await query(`SELECT n FROM large_uneven WHERE id = 'big'`)).text).toContain(INT64_MIN);
      expect(columnTypes(await tableInfo(server, 'large_uneven'))).toMatchObject({
        n: 'BIGINT',
        half: 'DOUBLE',
        o: 'JSON',
        fresh: 'DOUBLE',
      });
      expect(columnTypes(await tableInfo(server, 'large_uneven'))).not.toHaveProperty('never');
      expect(await rowsOf(server, `SELECT id, timestamp FROM large_uneven WHERE id IN ('zone', 'millis') ORDER BY id`)).toEqual([
        { id: 'millis', timestamp: '2024-01-01T00:00:00.000000Z' },
        { id: 'zone', timestamp: '2024-01-01T00:00:00.000000Z' },
      ]);
    });

    test('skip: the good rows, and the bad ones by their lines', async () => {
      const body = `${lines(LARGE)}{"id":"bad","n":"x"}\n${lines(LARGE, LARGE)}{"id":"b\x7fd"}\n`;
      const answer = await bulk('large_skip', body, '&on_error=skip');
      expect(answer).toMatchObject({ count: 2 * LARGE, refused_count: 2 });
      expect(badRowsOf(answer).map(({ line, field }) => [line, field] as unknown)).toEqual([
        [LARGE + 1, 'n'],
        [2 * LARGE + 2, 'id'],
      ]);
      expect(await valueOf(server, 'SELECT sum(n) FROM large_skip')).toBe(LARGE * (2 * LARGE - 1));
    });
  });

  test('an empty body stores nothing and is no failure of the server', async () => {
    const answer = await bulkAnswer('empty_load', '');
    expect(answer.status).toBeLessThan(500);
    if (answer.status < 300) expect(answer.json.count).toBe(0);
  });
});
