/**
 * Bulk loads in every format: NDJSON, a JSON array, CSV, Parquet and Arrow, small (through the buffer) and large (straight into a data file). The same
 * rows must give the same table whatever carried them, and what does not fit must be refused by the same words. How loads behave beside that
 * (columns that are there, CSV, semantics of writing, damage, gRPC) is in bulk-loads.test.ts.
 */
import { describe, expect, test } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { type BulkFormat, type BulkOptions, FORMATS, MEDIA_TYPES, type Packing, sendBulk } from './support/bulk-bodies.js';
import { expectThat } from './support/expectations.js';
import { server } from './support/one-server.js';
import { countOf, expectError, expectSuccess, type JsonRow, rowsOf, valueOf } from './support/requests.js';
import { type Answer, call } from './support/server.js';
import {
  INT64_MAX,
  INT64_MIN,
  SMALL_BYTES_MAX,
  TYPED,
  SIZES,
  type Size,
  EVERY_FORMAT_AND_SIZE,
  duckdb,
  useBulkServer,
  newName,
  declaredTable,
  load,
  columnTypes,
  textsOf,
  rowCount,
  bulkFiles,
  rowsSelect,
  IDS,
} from './support/bulk-tables.js';

useBulkServer();

/* ----------------------------------------------------------------------------------------------------------- the same table */

const DECLARED = {
  big: 'BIGINT',
  small: 'INTEGER',
  num: 'DOUBLE',
  exact: 'DECIMAL(18,4)',
  yes: 'BOOLEAN',
  word: 'VARCHAR',
  day: 'DATE',
  at: 'TIMESTAMPTZ',
  doc: 'JSON',
  digits: 'VARCHAR',
} as const;

const DECLARED_ROWS = `${IDS},
  CASE WHEN i % 11 <> 1 THEN (i - 20) * 123456789012 END::BIGINT AS big,
  CASE WHEN i % 11 <> 2 THEN i * 7 - 100 END::INTEGER AS small,
  CASE WHEN i % 11 <> 3 THEN i * 0.37 - 5.5 END::DOUBLE AS num,
  CASE WHEN i % 11 <> 4 THEN i * 12345.6789 - 77 END::DECIMAL(18, 4) AS exact,
  CASE WHEN i % 11 <> 5 THEN i % 3 = 0 END AS yes,
  CASE i % 9 WHEN 0 THEN '' WHEN 1 THEN 'comma, "quote"' WHEN 2 THEN 'line' || chr(10) || 'break' || chr(13) || chr(10) WHEN 3 THEN 'ünï 😀 日本'
    WHEN 4 THEN NULL WHEN 5 THEN '007' WHEN 6 THEN '  spaces ' WHEN 7 THEN chr(9) || 'tab\\back' ELSE 'NULL' END AS word,
  CASE WHEN i % 11 <> 6 THEN DATE '1969-12-01' + i::INTEGER END AS day,
  CASE WHEN i % 11 <> 7 THEN TIMESTAMPTZ '1969-12-31 23:59:59.999999+00' + to_microseconds(i * 86400000001) END AS "at",
  CASE WHEN i % 11 <> 8 THEN {'k': i::INTEGER, 'list': [i::INTEGER, NULL], 'text': 'ä" ,'} END AS doc,
  (i * 11)::VARCHAR AS digits`;

describe('the same rows give the same table', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('declared columns: %s, %s', async (format, size) => {
    const select = rowsSelect(DECLARED_ROWS, size);
    const table = await declaredTable(`declared_${format}`, DECLARED);
    const body = await duckdb.body(format, select);
    expectThat(body.length > SMALL_BYTES_MAX, `${body.length} bytes`).toBe(size === 'large');
    const filesBefore = bulkFiles().length;
    const answer = await load(table, format, body);
    const expected = await duckdb.texts(
      `SELECT * REPLACE (CASE WHEN doc IS NOT NULL THEN to_json(doc) END AS doc) FROM (${select}) ORDER BY id`,
    );
    expect(answer).toMatchObject({ success: true, count: expected.length, refused_count: 0, errors: [] });
    expect(bulkFiles().length - filesBefore).toBe(size === 'large' ? 1 : 0);
    const types = { id: 'VARCHAR', timestamp: 'TIMESTAMPTZ', ...DECLARED, ...(size === 'large' ? { pad: 'VARCHAR' } : {}) };
    expect(await columnTypes(table)).toEqual(types);
    expect(
      await textsOf(
        `SELECT ${Object.keys(types)
          .map((name) => `"${name}"`)
          .join(', ')} FROM ${table} ORDER BY id`,
      ),
    ).toEqual(expected);
  });

  const PLAIN_ROWS = `${IDS}, CASE WHEN i % 5 <> 1 THEN i * 3 - 7 END::BIGINT AS n, (i / 8 + 0.125)::DOUBLE AS half,
    CASE WHEN i % 5 <> 2 THEN i % 2 = 0 END AS yes, CASE WHEN i % 5 <> 3 THEN 'w' || i END AS word, NULL::BIGINT AS never, 'x' || i AS "größe"`;

  test.each(EVERY_FORMAT_AND_SIZE)('new columns: %s, %s', async (format, size) => {
    const select = rowsSelect(PLAIN_ROWS, size);
    const table = newName(`fresh_${format}`);
    await load(table, format, await duckdb.body(format, select));
    expect(await columnTypes(table)).toEqual({
      id: 'VARCHAR',
      timestamp: 'TIMESTAMPTZ',
      n: 'BIGINT',
      half: 'DOUBLE',
      yes: 'BOOLEAN',
      word: 'VARCHAR',
      // Without values only a format that has types says what the column is.
      ...(TYPED.includes(format) ? { never: 'BIGINT' } : {}),
      größe: 'VARCHAR',
      ...(size === 'large' ? { pad: 'VARCHAR' } : {}),
    });
    const columns = 'id, "timestamp", n, half, yes, word, "größe"';
    expect(await textsOf(`SELECT ${columns} FROM ${table} ORDER BY id`)).toEqual(
      await duckdb.texts(`SELECT ${columns} FROM (${select}) ORDER BY id`),
    );
  });

  test.each(EVERY_FORMAT_AND_SIZE)('the ends of 64 bits: %s, %s', async (format, size) => {
    const select = rowsSelect(`${IDS}, CASE i WHEN 0 THEN ${INT64_MAX} WHEN 1 THEN ${INT64_MIN} ELSE i END::BIGINT AS n`, size);
    const [fresh, existing] = [newName(`ends_${format}`), await declaredTable(`ends_declared_${format}`, { n: 'BIGINT' })];
    const body = await duckdb.body(format, select);
    for (const table of [existing, fresh]) {
      await load(table, format, body);
      expectThat((await columnTypes(table))['n'], table).toBe('BIGINT');
      expect(await textsOf(`SELECT n FROM ${table} ORDER BY id LIMIT 3`)).toEqual([[INT64_MAX], [INT64_MIN], ['2']]);
    }
  });

  const PACKINGS: readonly Packing[] = ['gzip', 'zstd'];
  test.each(FORMATS.flatMap((format) => PACKINGS.map((packing): [BulkFormat, Packing] => [format, packing])))(
    '%s packed with %s',
    async (format, packing) => {
      for (const size of SIZES) {
        const table = newName(`packed_${format}_${packing}`);
        const select = rowsSelect(PLAIN_ROWS, size);
        await load(table, format, await duckdb.body(format, select), { packing });
        expect(await textsOf(`SELECT count(*), count(DISTINCT id), sum(n), sum(half) FROM ${table}`)).toEqual(
          await duckdb.texts(`SELECT count(*), count(DISTINCT id), sum(n), sum(half) FROM (${select})`),
        );
      }
    },
  );

  test('zstd that really is compressed', async () => {
    const file = duckdb.file('csv.zst');
    const select = rowsSelect(`'z-' || i AS id, i AS n`, 'large', 30_000);
    const body = await duckdb.copy(select, `FORMAT csv, HEADER true, COMPRESSION zstd`);
    expectThat(body.subarray(0, 4).toString('hex'), file).toBe('28b52ffd');
    const table = newName('zstandard');
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES.csv, 'content-encoding': 'zstd' },
      body: new Uint8Array(body),
    });
    expect(await response.json()).toMatchObject({ success: true, count: 30_000 });
    expect(await valueOf(server, `SELECT sum(n) FROM ${table}`)).toBe((30_000 * 29_999) / 2);
  });
});

describe('every type of Parquet and Arrow', () => {
  /** Column, its value, and the type that the table gives it. */
  const COLUMNS: readonly (readonly [string, string, string])[] = [
    ['t8', '(i % 100 - 50)::TINYINT', 'BIGINT'],
    ['t16', '(i * 3 - 30000)::SMALLINT', 'BIGINT'],
    ['t32', '(i * 7 - 2000000000)::INTEGER', 'BIGINT'],
    ['t64', '(i - 9223372036854775807)::BIGINT', 'BIGINT'],
    ['u8', '(i % 255)::UTINYINT', 'BIGINT'],
    ['u16', '(60000 + i % 5000)::USMALLINT', 'BIGINT'],
    ['u32', '(4294960000 + i)::UINTEGER', 'BIGINT'],
    ['u64', '(9223372036854775807 - i)::UBIGINT', 'BIGINT'],
    ['f32', '(i / 7)::FLOAT', 'DOUBLE'],
    ['f64', '(i / 7)::DOUBLE', 'DOUBLE'],
    ['d4', '(i / 4)::DECIMAL(4, 0)', 'DECIMAL(4,0)'],
    ['d9', '(i * 1.01)::DECIMAL(9, 2)', 'DECIMAL(9,2)'],
    ['d18', '(i * 1.0001)::DECIMAL(18, 4)', 'DECIMAL(18,4)'],
    ['d38', `(1234567890123456789012345678::HUGEINT + i)::DECIMAL(38, 10) + 0.0123456789`, 'DECIMAL(38,10)'],
    ['yes', 'i % 2 = 0', 'BOOLEAN'],
    ['word', `'wörd ' || i`, 'VARCHAR'],
    ['kind', `(['red', 'green', 'ünï'])[i % 3 + 1]::ENUM('red', 'green', 'ünï')`, 'VARCHAR'],
    ['uid', `md5(i::VARCHAR)::UUID`, 'VARCHAR'],
    ['day', `DATE '1900-01-01' + (i * 10)::INTEGER`, 'DATE'],
    ['at', `TIMESTAMP '1950-01-01 00:00:00.000001' + to_microseconds(i * 7919000001)`, 'TIMESTAMPTZ'],
    ['at_s', `(TIMESTAMP '2024-01-01 00:00:00' + to_seconds(i))::TIMESTAMP_S`, 'TIMESTAMPTZ'],
    ['at_ms', `(TIMESTAMP '2024-01-01 00:00:00.001' + to_seconds(i))::TIMESTAMP_MS`, 'TIMESTAMPTZ'],
    ['at_ns', `(TIMESTAMP '2024-01-01 00:00:00.000001' + to_seconds(i))::TIMESTAMP_NS`, 'TIMESTAMPTZ'],
    ['at_tz', `TIMESTAMPTZ '2024-01-01 00:00:00.000001+02' + to_seconds(i)`, 'TIMESTAMPTZ'],
    ['list', `[i, NULL, 2]::INTEGER[]`, 'JSON'],
    ['empty_list', `[]::INTEGER[]`, 'JSON'],
    ['nested', `{'a': i::INTEGER, 'b': 'x"' || i, 'c': [i / 2]::DOUBLE[]}`, 'JSON'],
    ['mapped', `MAP {'k' || (i % 3): i::INTEGER, 'z': NULL}`, 'JSON'],
  ];
  const ODD_NAMES = ['größe', '日本', 'a-b', 'a.b', "it's", 'select', '$x', 'back\\slash', '[0]', '#', 'Ünï😀', '%', '*'];
  /** What the table holds of a value, as the plain engine casts it. */
  const expectedValue = ([name, , type]: readonly [string, string, string]): string =>
    type === 'JSON'
      ? `CASE WHEN "${name}" IS NOT NULL THEN to_json("${name}") END AS "${name}"`
      : type === 'TIMESTAMPTZ'
        ? `"${name}"::TIMESTAMP::TIMESTAMPTZ AS "${name}"`
        : `"${name}"::${type} AS "${name}"`;

  test.each(TYPED.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size])))('%s, %s', async (format, size) => {
    const columns = COLUMNS.map(([name, value], index) => `CASE WHEN i % 31 <> ${index} THEN ${value} END AS "${name}"`);
    const select = rowsSelect([IDS, ...columns, ...ODD_NAMES.map((name) => `'o' || i AS "${name}"`)].join(', '), size);
    const table = newName(`types_${format}`);
    await load(table, format, await duckdb.body(format, select));
    expect(await columnTypes(table)).toMatchObject({
      ...Object.fromEntries(COLUMNS.map(([name, , type]) => [name, type])),
      ...Object.fromEntries(ODD_NAMES.map((name) => [name, 'VARCHAR'])),
    });
    for (const column of COLUMNS) {
      expectThat(await textsOf(`SELECT id, "${column[0]}" FROM ${table} ORDER BY id`), column[0]).toEqual(
        await duckdb.texts(`SELECT id, ${expectedValue(column)} FROM (${select}) ORDER BY id`),
      );
    }
    const odd = ODD_NAMES.map((name) => `"${name}"`).join(', ');
    expect(await textsOf(`SELECT ${odd} FROM ${table} ORDER BY id`)).toEqual(
      await duckdb.texts(`SELECT ${odd} FROM (${select}) ORDER BY id`),
    );
  });

  test.each(SIZES)('Parquet, %s: JSON columns, an array of fixed length, ids and times of other types', async (size) => {
    const select = rowsSelect(
      `i AS id, (1704067200000 + i)::BIGINT AS "timestamp", json_object('k', i) AS doc, [i, i + 1]::INTEGER[2] AS pair`,
      size,
    );
    const table = newName('parquet_more');
    await load(table, 'parquet', await duckdb.body('parquet', select));
    expect(await columnTypes(table)).toMatchObject({ doc: 'JSON', pair: 'JSON' });
    expect(await rowsOf(server, `SELECT id, timestamp, doc, pair FROM ${table} WHERE id IN ('0', '7') ORDER BY id`)).toEqual([
      { id: '0', timestamp: '2024-01-01T00:00:00.000000Z', doc: { k: 0 }, pair: [0, 1] },
      { id: '7', timestamp: '2024-01-01T00:00:00.007000Z', doc: { k: 7 }, pair: [7, 8] },
    ]);
  });

  test.each(SIZES)('Parquet, %s: instants inside of lists and structs are written as they are outside', async (size) => {
    const table = newName('parquet_inside');
    const values = `[TIMESTAMPTZ '2024-01-01 00:00:00+00'] AS instants, {'local': TIMESTAMP '2024-01-01 00:00:00', 'f': 0.5::DOUBLE} AS times`;
    await load(table, 'parquet', await duckdb.body('parquet', rowsSelect(`i AS id, ${values}`, size)));
    const answer = await call(server, 'POST', '/v1/query', { sql: `SELECT instants, times FROM ${table} WHERE id = '1'` });
    expect(answer.text).toContain('{"instants":["2024-01-01T00:00:00.000000Z"],"times":{"local":"2024-01-01T00:00:00.000000Z","f":0.5}}');
  });

  test.each(SIZES)('Parquet, %s: the time as a TIMESTAMP, as a DATE, and missing in some rows', async (size) => {
    const table = newName('parquet_times');
    const body = (value: string): Promise<Buffer> => duckdb.body('parquet', rowsSelect(`'r-' || i AS id, ${value} AS "timestamp"`, size));
    await load(table, 'parquet', await body(`TIMESTAMP '2024-01-01 00:00:00.000007' + to_seconds(i)`));
    expect(await valueOf(server, `SELECT timestamp FROM ${table} WHERE id = 'r-1'`)).toBe('2024-01-01T00:00:01.000007Z');
    const partly = newName('parquet_times_partly');
    const beforeMs = Date.now();
    await load(partly, 'parquet', await body(`CASE WHEN i > 0 THEN TIMESTAMPTZ '2024-01-01 00:00:00+00' END`));
    expect(Date.parse((await valueOf(server, `SELECT timestamp FROM ${partly} WHERE id = 'r-0'`)) as string)).toBeGreaterThanOrEqual(
      beforeMs,
    );
    expect(await valueOf(server, `SELECT timestamp FROM ${partly} WHERE id = 'r-1'`)).toBe('2024-01-01T00:00:00.000000Z');
  });

  test('a DATE as the time is taken, or refused, alike in small and large bodies', async () => {
    const { small, large } = await bothSizes('parquet', `'r-' || i AS id, DATE '2024-01-02' AS "timestamp"`);
    expect([small.status, large.status]).toEqual([200, 200]);
  });

  test('a JSON null is no value, alike in small and large bodies', async () => {
    const { tables: names } = await bothSizes(
      'parquet',
      `'r-' || i AS id, 'null'::JSON AS doc, CASE WHEN i > 0 THEN 'null' ELSE '{"a":null}' END::JSON AS mixed`,
    );
    expect(Object.keys(await columnTypes(names.large)).sort()).toEqual([...Object.keys(await columnTypes(names.small)), 'pad'].sort());
    for (const table of Object.values(names)) expectThat(await valueOf(server, `SELECT count(mixed) FROM ${table}`), table).toBe(1);
  });

  test('Arrow: dictionaries that differ from batch to batch, empty batches, large and view strings, one batch and many', async () => {
    const dictionary = (words: (string | null)[]): arrow.Vector =>
      arrow.vectorFromArray(words, new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()));
    const batch = (ids: string[], words: (string | null)[]): arrow.Table =>
      new arrow.Table({ id: arrow.vectorFromArray(ids, new arrow.Utf8()), word: dictionary(words) });
    const parts = [batch(['a', 'b'], ['x', 'y']), batch([], []), batch(['c', 'd', 'e'], ['z', null, 'x'])];
    const table = newName('dictionaries');
    await load(table, 'arrow', Buffer.from(arrow.tableToIPC(parts[0]!.concat(...parts.slice(1)), 'stream')));
    expect(await textsOf(`SELECT id, word FROM ${table} ORDER BY id`)).toEqual([
      ['a', 'x'],
      ['b', 'y'],
      ['c', 'z'],
      ['d', null],
      ['e', 'x'],
    ]);
    const large = new arrow.Table({
      id: arrow.vectorFromArray(['a', 'b'], new arrow.LargeUtf8()),
      word: arrow.vectorFromArray(['long', null], new arrow.LargeUtf8()),
    });
    const other = newName('large_strings');
    await load(other, 'arrow', Buffer.from(arrow.tableToIPC(large, 'stream')));
    expect(await textsOf(`SELECT id, word FROM ${other} ORDER BY id`)).toEqual([
      ['a', 'long'],
      ['b', null],
    ]);
    const many = newName('many_batches');
    await load(many, 'arrow', await duckdb.arrow(rowsSelect(`'r-' || i AS id, i AS n`, 'small', 300), 100));
    expect(await textsOf(`SELECT count(DISTINCT id), sum(n) FROM ${many}`)).toEqual([['300', '44850']]);
  });

  test('Arrow: dates in milliseconds and times in seconds are instants, or refused by name, never bare numbers', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const instant = Date.UTC(2024, 0, 1);
    const kinds: Record<string, arrow.Vector> = {
      date_ms: arrow.vectorFromArray([instant], new arrow.DateMillisecond()),
      at_s: arrow.makeVector(
        arrow.makeData({ type: new arrow.TimestampSecond(), data: BigInt64Array.of(BigInt(instant / 1_000)), length: 1 }),
      ),
    };
    const wrong: string[] = [];
    for (const [name, vector] of Object.entries(kinds)) {
      const table = newName(name);
      const answer = await sendBulk(
        server,
        table,
        'arrow',
        Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, v: vector }), 'stream')),
      );
      if (answer.status === 400 && new RegExp('\\bv\\b').test(answer.json.message as string)) continue;
      const stored = answer.status === 200 ? JSON.stringify(await rowsOf(server, `SELECT v FROM ${table}`)) : answer.text;
      if (!stored.includes('2024-01-01')) wrong.push(`${name}: ${stored}`);
      const timed = newName(`${name}_as_time`);
      const body = Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, timestamp: vector }), 'stream'));
      const second = await sendBulk(server, timed, 'arrow', body);
      if (second.status !== 200) continue;
      const time = (await valueOf(server, `SELECT timestamp FROM ${timed}`)) as string;
      if (!time.startsWith('2024-01-01T00:00:00')) wrong.push(`${name} as the time: ${time}`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
  });

  test('Arrow: durations and times of day are refused by name', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const kinds: Record<string, arrow.Vector> = {
      duration: arrow.makeVector(arrow.makeData({ type: new arrow.DurationMicrosecond(), data: BigInt64Array.of(5n), length: 1 })),
      time_us: arrow.makeVector(arrow.makeData({ type: new arrow.TimeMicrosecond(), data: BigInt64Array.of(5n), length: 1 })),
      time_s: arrow.makeVector(arrow.makeData({ type: new arrow.TimeSecond(), data: Int32Array.of(5), length: 1 })),
      binary: arrow.vectorFromArray([Uint8Array.of(1)], new arrow.Binary()),
    };
    const taken: string[] = [];
    for (const [name, vector] of Object.entries(kinds)) {
      const body = Buffer.from(arrow.tableToIPC(new arrow.Table({ id: ids, odd: vector }), 'stream'));
      const answer = await sendBulk(server, newName(name), 'arrow', body);
      if (answer.status !== 400 || !/\bodd\b/.test(answer.json.message as string)) taken.push(`${name}: ${answer.status} ${answer.text}`);
    }
    expectThat(taken, JSON.stringify(taken)).toEqual([]);
  });

  test('two columns of one name, and two that differ in case only, are refused by name', async () => {
    const ids = arrow.vectorFromArray(['a'], new arrow.Utf8());
    const [first, second] = [arrow.vectorFromArray([1], new arrow.Int32()), arrow.vectorFromArray([2], new arrow.Int32())];
    for (const names of [
      ['n', 'n'],
      ['n', 'N'],
    ]) {
      const schema = new arrow.Schema([
        new arrow.Field('id', new arrow.Utf8(), true),
        ...names.map((name) => new arrow.Field(name, new arrow.Int32(), true)),
      ]);
      const children = [ids, first, second].map((vector) => vector.data[0]!);
      const batch = new arrow.RecordBatch(schema, arrow.makeData({ type: new arrow.Struct(schema.fields), children, length: 1 }));
      const answer = await sendBulk(server, newName('twice'), 'arrow', Buffer.from(arrow.tableToIPC(new arrow.Table(batch), 'stream')));
      expectError(answer, 400, 'INVALID_ARGUMENT', /\bn\b/i);
    }
  });
});

describe('bodies without rows', () => {
  test.each([
    ['ndjson', ''],
    ['json', '[]'],
    ['json', ' [ \n ] '],
    ['csv', 'id,n\n'],
    ['csv', 'id,n'],
  ] as const)('%s %j', async (format, body) => {
    expect(await load(newName('no_rows'), format, body)).toMatchObject({ success: true, count: 0, refused_count: 0, errors: [] });
  });

  test.each(TYPED)('%s', async (format) => {
    const body = await duckdb.body(format, `SELECT ${IDS}, i AS n, {'a': i} AS doc FROM range(0) t(i)`);
    expect(await load(newName('no_rows'), format, body)).toMatchObject({ success: true, count: 0, refused_count: 0, errors: [] });
  });

  test('an Arrow stream with a schema and no batch', async () => {
    const schema = new arrow.Schema([new arrow.Field('id', new arrow.Utf8(), true), new arrow.Field('n', new arrow.Int32(), true)]);
    const body = Buffer.from(arrow.tableToIPC(new arrow.Table(schema), 'stream'));
    expect(await load(newName('no_rows'), 'arrow', body)).toMatchObject({ success: true, count: 0 });
  });

  test.each(TYPED)('nothing at all is no %s', async (format) => {
    expectError(await sendBulk(server, newName('nothing'), format, ''), 400, 'INVALID_ARGUMENT', /\S/);
  });

  test.each(['csv', 'json'] as const)('nothing at all as %s is no rows, or no %s', async (format) => {
    const answer = await sendBulk(server, newName('nothing'), format, '');
    if (answer.status === 200) expect(answer.json).toMatchObject({ count: 0 });
    else expectError(answer, 400, 'INVALID_ARGUMENT', /CSV|header|column|JSON/i);
  });
});

/* ------------------------------------------------------------------------------------------------------------------ refused */

/** The same first rows in a small and in a large body, each into a table of its own. */
async function bothSizes(
  format: BulkFormat,
  columns: string,
  schema: Readonly<Record<string, string>> = {},
  options: BulkOptions = {},
): Promise<Record<Size, Answer> & { readonly tables: Record<Size, string> }> {
  const names: Record<Size, string> = { small: '', large: '' };
  const answers: Partial<Record<Size, Answer>> = {};
  for (const size of SIZES) {
    const table = Object.keys(schema).length > 0 ? await declaredTable('refused', schema) : newName('refused');
    names[size] = table;
    const body = await duckdb.body(format, rowsSelect(columns, size));
    if (size === 'large') expect(body.length).toBeGreaterThan(SMALL_BYTES_MAX);
    answers[size] = await sendBulk(server, table, format, body, options);
  }
  return { small: answers.small!, large: answers.large!, tables: names };
}

/** What must be the same in two answers: all but the name of the table and the request. */
function outcome(answer: Answer): unknown {
  const { error, message, details } = (answer.json ?? {}) as JsonRow;
  const withoutTable = typeof message === 'string' ? message.replaceAll(/refused_\d+/g, 'T') : message;
  return { status: answer.status, error, message: withoutTable, details };
}

describe('values that no column holds', () => {
  test('Parquet: BLOB, TIME and INTERVAL are refused by name', async () => {
    for (const kind of [`'ab'::BLOB`, `TIME '10:00:00'`, `INTERVAL 3 DAY`, `TIMETZ '10:00:00+01'`]) {
      const { small, large, tables: names } = await bothSizes('parquet', `'r-' || i AS id, ${kind} AS odd_one`);
      for (const answer of [small, large]) {
        expectError(answer, 400, 'INVALID_ARGUMENT', /column odd_one\b/);
        expect(answer.json.details[0]).toMatchObject({ field: 'odd_one' });
      }
      expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
    }
  });

  /** What is wrong in row 6 (i = 5), its column, and columns that the table has already. */
  const BAD: readonly (readonly [string, string, string, Readonly<Record<string, string>>])[] = [
    ['NaN', `CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE i / 2 END AS v`, 'v', {}],
    ['NaN into DOUBLE', `CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE i / 2 END AS v`, 'v', { v: 'DOUBLE' }],
    ['infinity', `CASE WHEN i = 5 THEN '-infinity'::DOUBLE ELSE i / 2 END AS v`, 'v', {}],
    ['an infinite FLOAT', `CASE WHEN i = 5 THEN 'infinity'::FLOAT ELSE i / 2 END::FLOAT AS v`, 'v', {}],
    ['NaN in a list', `CASE WHEN i = 5 THEN ['nan'::DOUBLE] ELSE [0.5] END AS v`, 'v', {}],
    ['NaN in a struct', `{'a': CASE WHEN i = 5 THEN 'nan'::DOUBLE ELSE 0.5 END} AS v`, 'v', {}],
    ['UBIGINT beyond 64 bits', `CASE WHEN i = 5 THEN 9223372036854775808 ELSE i END::UBIGINT AS v`, 'v', {}],
    [
      'a DECIMAL beyond 64 bits into BIGINT',
      `CASE WHEN i = 5 THEN 9223372036854775808 ELSE i END::DECIMAL(38,0) AS v`,
      'v',
      { v: 'BIGINT' },
    ],
    ['2^53 + 1 into DOUBLE', `CASE WHEN i = 5 THEN 9007199254740993 ELSE i END::BIGINT AS v`, 'v', { v: 'DOUBLE' }],
    ['2^31 into INTEGER', `CASE WHEN i = 5 THEN 2147483648 ELSE i END::BIGINT AS v`, 'v', { v: 'INTEGER' }],
    ['a long DECIMAL into DOUBLE', `CASE WHEN i = 5 THEN 1234567890123456789 ELSE i END::DECIMAL(38,0) AS v`, 'v', { v: 'DOUBLE' }],
    ['digits after the point', `CASE WHEN i = 5 THEN 1.2345 ELSE i END::DECIMAL(12,4) AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['digits before the point', `CASE WHEN i = 5 THEN 123456789 ELSE i END::DECIMAL(12,2) AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['an integer for a DECIMAL', `CASE WHEN i = 5 THEN 123456789 ELSE i END::BIGINT AS v`, 'v', { v: 'DECIMAL(10,2)' }],
    ['an infinite TIMESTAMP', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['an infinite time', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::TIMESTAMP AS "timestamp"`, 'timestamp', {}],
    ['the year 12000', `CASE WHEN i = 5 THEN '12000-01-01' ELSE '2024-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['the year 12000 as the time', `CASE WHEN i = 5 THEN '12000-01-01' ELSE '2024-01-01' END::TIMESTAMP AS "timestamp"`, 'timestamp', {}],
    [
      'the year 10000 with a zone',
      `CASE WHEN i = 5 THEN '10000-01-01 00:00:00+00' ELSE '9999-12-31 23:59:59.999999+00' END::TIMESTAMPTZ AS v`,
      'v',
      {},
    ],
    ['the year before 1', `CASE WHEN i = 5 THEN '0001-12-31 (BC)' ELSE '0001-01-01' END::TIMESTAMP AS v`, 'v', {}],
    ['the day after 9999', `CASE WHEN i = 5 THEN '10000-01-01' ELSE '9999-12-31' END::DATE AS v`, 'v', {}],
    ['an infinite DATE', `CASE WHEN i = 5 THEN 'infinity' ELSE '2024-01-01' END::DATE AS v`, 'v', {}],
    ['text for a number', `CASE WHEN i = 5 THEN 'five' END AS v`, 'v', { v: 'BIGINT' }],
    ['a number for text', `CASE WHEN i = 5 THEN 5 END AS v`, 'v', { v: 'VARCHAR' }],
    ['a boolean for a number', `CASE WHEN i = 5 THEN true END AS v`, 'v', { v: 'DOUBLE' }],
    ['a bad id', `CASE WHEN i = 5 THEN 'a\x7fb' ELSE 'r' || i END AS id`, 'id', {}],
    ['a fraction as an id', `(i + 0.5)::DOUBLE AS id`, 'id', {}],
  ];

  /** Arrow takes the way of Parquet, after a conversion that each request waits for: these stand for all. */
  const IN_ARROW = /^(NaN|infinity|UBIGINT|2\^53|digits after|the year|text for|a bad id)/;
  const cases = TYPED.flatMap((format) =>
    BAD.filter(([what]) => format === 'parquet' || IN_ARROW.test(what)).map((each): [string, BulkFormat, ...typeof each] => [
      `${format}: ${each[0]}`,
      format,
      ...each,
    ]),
  );
  test.each(cases)('%s', async (_name, format, what, column, field, schema) => {
    const id = field === 'id' ? column : `'r-' || i AS id, ${column}`;
    const { small, large, tables: names } = await bothSizes(format, id, schema);
    const row = what === 'a fraction as an id' ? 1 : 6;
    for (const answer of [small, large]) {
      expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`(line|row) ${row}\\b`));
      const named = { line: row, reason: expect.stringMatching(/\S/) };
      // The row is no JSON then, and nothing in it has a name.
      const isNested = what.startsWith('NaN in a ');
      if (!isNested) expect(answer.json.message).toMatch(new RegExp(`\\b${field}\\b`));
      expect(answer.json.details[0]).toMatchObject(isNested ? named : { ...named, field });
    }
    // What is shown of a broken line has its other columns in it.
    if (!what.startsWith('NaN in a ')) expect(outcome(large)).toEqual(outcome(small));
    expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
  });

  test.each(TYPED)('%s: what is finer than a microsecond is cut off, before 1970 as after it', async (format) => {
    const nanoseconds = `CASE i WHEN 5 THEN '2024-01-01 00:00:00.123456789' WHEN 6 THEN '1969-12-31 23:59:59.9999999' ELSE '2024-01-01' END::TIMESTAMP_NS`;
    const {
      small,
      large,
      tables: names,
    } = await bothSizes(format, `'r-' || i AS id, ${nanoseconds} AS "timestamp", ${nanoseconds} AS v`, {});
    for (const [answer, table] of [
      [small, names.small],
      [large, names.large],
    ] as const) {
      expectSuccess(answer);
      expect(await rowsOf(server, `SELECT "timestamp" AS at, v FROM ${table} WHERE id IN ('r-5', 'r-6') ORDER BY id`)).toEqual([
        { at: '2024-01-01T00:00:00.123456Z', v: '2024-01-01T00:00:00.123456Z' },
        { at: '1969-12-31T23:59:59.999999Z', v: '1969-12-31T23:59:59.999999Z' },
      ]);
    }
  });

  /** A cell that does not fit, the cells around it that do, their column, and the columns that the table has already. */
  const BAD_TEXT: readonly (readonly [string, string, string, Readonly<Record<string, string>>])[] = [
    ['9223372036854775808', '7', 'v', { v: 'BIGINT' }],
    ['9007199254740993', '0.5', 'v', { v: 'DOUBLE' }],
    ['1e999', '1.5', 'v', { v: 'DOUBLE' }],
    ['NaN', '1.5', 'v', { v: 'DOUBLE' }],
    ['five', '5', 'v', { v: 'BIGINT' }],
    ['2147483648', '5', 'v', { v: 'INTEGER' }],
    ['123.456', '1.25', 'v', { v: 'DECIMAL(10,2)' }],
    ['x', '12345678.25', 'v', { v: 'DECIMAL(10,2)' }],
    ['yes', 'true', 'v', { v: 'BOOLEAN' }],
    ['2024-02-30', '2024-02-29', 'v', { v: 'DATE' }],
    ['2024-01-01T00', '2024-01-01T00:00:00Z', 'v', { v: 'TIMESTAMPTZ' }],
    ['soon', '1704067200000', 'timestamp', {}],
    ['a\x7fb', 'ab', 'id', {}],
  ];

  test.each(BAD_TEXT)('csv: %s among %s in %s of %j', async (text, good, field, schema) => {
    const value = `CASE WHEN i = 5 THEN '${text}' ELSE '${good}' END`;
    const columns = field === 'id' ? `${value} AS id, i AS n` : `'r-' || i AS id, i AS n, ${value} AS "${field}"`;
    const { small, large, tables: names } = await bothSizes('csv', columns, schema);
    for (const answer of [small, large]) {
      expectError(answer, 400, 'INVALID_ARGUMENT', /line 7\b/);
      expect(answer.json.details[0]).toMatchObject({ line: 7, field });
    }
    expect(outcome(large)).toEqual(outcome(small));
    expect([await rowCount(names.small), await rowCount(names.large)]).toEqual([0, 0]);
    const skipped = await bothSizes('csv', columns, schema, { query: '&on_error=skip' });
    expect([skipped.small.json, skipped.large.json]).toEqual([
      expect.objectContaining({ count: 39, refused_count: 1, errors: [expect.objectContaining({ line: 7, field })] }),
      expect.objectContaining({ count: 2_599, refused_count: 1, errors: [expect.objectContaining({ line: 7, field })] }),
    ]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('a column name that no table has: %s, %s', async (format, size) => {
    for (const name of ['a b', '_lsn', 'x;y', 'Timestamp']) {
      const answer = await sendBulk(
        server,
        newName('names'),
        format,
        await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS "${name}"`, size)),
      );
      expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(name, 'i'));
    }
  });
});

/* --------------------------------------------------------------------------------------------------------------- on_error */

describe('on_error', () => {
  /** Rows 3, 6 and 9 (i = 2, 5, 8) are bad, each in its own way. */
  const columns = `CASE WHEN i = 2 THEN 'b\x7fd' ELSE 'r-' || i END AS id, CASE WHEN i = 5 THEN 'soon' ELSE '2024-01-01T00:00:00Z' END AS "timestamp",
    CASE WHEN i = 8 THEN 'eight' ELSE NULL END AS v`;

  test.each(EVERY_FORMAT_AND_SIZE)('skip: %s, %s', async (format, size) => {
    const table = await declaredTable('skip', { v: 'BIGINT' });
    const body = await duckdb.body(format, rowsSelect(columns, size));
    const answer = await load(table, format, body, { query: '&on_error=skip' });
    const rows = size === 'small' ? 40 : 2_600;
    expect(answer).toMatchObject({ success: true, count: rows - 3, refused_count: 3 });
    const offset = format === 'csv' ? 1 : 0;
    expect((answer['errors'] as JsonRow[]).map(({ line, field }) => [line, field] as unknown)).toEqual([
      [3 + offset, 'id'],
      [6 + offset, 'timestamp'],
      [9 + offset, 'v'],
    ]);
    for (const { reason } of answer['errors'] as JsonRow[]) expect(reason).toMatch(/\S/);
    expect(await countOf(server, table)).toBe(rows - 3);
    expect(await rowsOf(server, `SELECT id FROM ${table} WHERE id IN ('b\x7fd', 'r-5', 'r-8', 'r-9')`)).toEqual([{ id: 'r-9' }]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('abort: %s, %s', async (format, size) => {
    const table = await declaredTable('abort', { v: 'BIGINT' });
    const answer = await sendBulk(server, table, format, await duckdb.body(format, rowsSelect(columns, size)));
    const line = format === 'csv' ? 4 : 3;
    expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`line ${line}\\b.*\\bid\\b`));
    expect(answer.json.details).toEqual([expect.objectContaining({ line, field: 'id' })]);
    expect(await countOf(server, table)).toBe(0);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('every row refused: %s, %s', async (format, size) => {
    const table = newName('all_refused');
    const select = rowsSelect(`'b\x7fd' || i AS id, i AS n`, size, 150);
    const answer = await load(table, format, await duckdb.body(format, select), { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 0, refused_count: size === 'small' ? 150 : 2_600 });
    expect(answer['errors']).toHaveLength(100);
    expect(await rowCount(table)).toBe(0);
  });

  test.each(SIZES)('CSV lines that cannot be cut into cells, %s', async (size) => {
    const pad = size === 'small' ? '' : 'p'.repeat(900);
    const filler = Array.from({ length: size === 'small' ? 3 : 3_000 }, (_, index) => `g-${index},1,${pad}`);
    const body = `${['id,n,pad', 'a,1,', 'b', 'c,3,x,y', 'd,4,', ...filler, 'e,5'].join('\n')}\n`;
    const table = newName('broken');
    const answer = await load(table, 'csv', body, { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: filler.length + 2, refused_count: 3 });
    expect((answer['errors'] as JsonRow[]).map(({ line }) => line as number)).toEqual([3, 4, filler.length + 6]);
    for (const { reason } of answer['errors'] as JsonRow[]) expect(reason).toMatch(/column|cell/i);
    expect(await rowsOf(server, `SELECT id, n FROM ${table} WHERE id NOT LIKE 'g-%' ORDER BY id`)).toEqual([
      { id: 'a', n: 1 },
      { id: 'd', n: 4 },
    ]);
    const aborted = newName('broken_abort');
    expectError(await sendBulk(server, aborted, 'csv', body), 400, 'INVALID_ARGUMENT', /line:? 3\b/i);
    expect(await rowCount(aborted)).toBe(0);
  });

  test('CSV with an open quote: the line is named, what stands before it is stored under skip', async () => {
    const body = 'id,n\na,1\nb,2\nc,"three\nd,4\n';
    expectError(await sendBulk(server, newName('open_quote'), 'csv', body), 400, 'INVALID_ARGUMENT', /quote|line:? 4/i);
    const table = newName('open_quote');
    const answer = await sendBulk(server, table, 'csv', body, { query: '&on_error=skip' });
    expectThat(answer.status, answer.text).toBe(200);
    expect(answer.json.count).toBe(2);
    expect((answer.json.errors as JsonRow[]).map(({ line }) => line as number)).toContain(4);
  });

  test('CSV: lines of the file after lines that are no rows', async () => {
    const table = await declaredTable('line_numbers', { n: 'BIGINT' });
    const body = ['id,n,s', 'a,1,one', 'b,x,bad at line 3', 'broken', 'c,2,two', 'd,y,bad at line 6'].join('\n');
    const answer = await load(table, 'csv', body, { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 2, refused_count: 3 });
    expect((answer['errors'] as JsonRow[]).map(({ line, field }) => [line, field] as unknown)).toEqual([
      [3, 'n'],
      [4, undefined],
      [6, 'n'],
    ]);
  });

  test('JSON: an element that is no object, and lines that are no JSON', async () => {
    const table = newName('elements');
    const answer = await load(table, 'json', '[{"id":"a","n":1},\n 7, null, [1],\n "x", {"id":"b",\n"n":2}]', { query: '&on_error=skip' });
    expect(answer).toMatchObject({ count: 2, refused_count: 4 });
    expect((answer['errors'] as JsonRow[]).map(({ line }) => line as number)).toEqual([2, 3, 4, 5]);
    for (const body of [
      '{"id":"a"}',
      '[{"id":"a"}',
      '[{"id":"a"},]',
      '[{"id":"a"}] x',
      '[{"id":"a"}][{"id":"b"}]',
      '7',
      'null',
      '{"id":"a"}\n{"id":"b"}',
    ])
      expectError(await sendBulk(server, newName('no_array'), 'json', body), 400, 'INVALID_ARGUMENT', /JSON|array/i);
  });
});
