/**
 * How bulk loads of every format behave: with columns that are there already, CSV in all its spellings, ids, upsert, idempotency, damaged bodies,
 * clients that go away, and over the gRPC stream. The types and values of the formats are in bulk-formats.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { status as grpcStatus } from '@grpc/grpc-js';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { type BulkFormat, FORMATS, MEDIA_TYPES, type Packing, packed, sendBulk } from './support/bulk-bodies.js';
import { bulkMessages, BulkStreams } from './support/bulk-stream.js';
import { expectThat } from './support/expectations.js';
import { type GrpcAnswer, type GrpcMessage } from './support/grpc-client.js';
import { server, startOther } from './support/one-server.js';
import {
  countOf,
  createTable,
  expectError,
  expectStatus,
  expectSuccess,
  type JsonRow,
  rowsOf,
  tableInfo,
  valueOf,
} from './support/requests.js';
import { call } from './support/server.js';
import {
  INT64_MAX,
  INT64_MIN,
  MIB,
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
  expectNothingLeft,
  rowsSelect,
  IDS,
} from './support/bulk-tables.js';

useBulkServer();

/* -------------------------------------------------------------------------------------------------------- existing columns */

describe('columns that are there already', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('BIGINT becomes DOUBLE by a fraction: %s, %s', async (format, size) => {
    const table = newName('widened');
    await load(table, 'ndjson', '{"id":"old","n":3}\n');
    await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || lpad(i::VARCHAR, 4, '0') AS id, (i / 2)::DOUBLE AS n`, size)));
    expect((await columnTypes(table))['n']).toBe('DOUBLE');
    expect(await textsOf(`SELECT id, n FROM ${table} WHERE id < 'r-0002' ORDER BY id`)).toEqual([
      ['old', '3.0'],
      ['r-0000', '0.0'],
      ['r-0001', '0.5'],
    ]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('DOUBLE with whole values goes into BIGINT: %s, %s', async (format, size) => {
    const table = await declaredTable('whole', { n: 'BIGINT' });
    await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || i AS id, i::DOUBLE AS n`, size)));
    expect((await columnTypes(table))['n']).toBe('BIGINT');
    expect(await valueOf(server, `SELECT n FROM ${table} WHERE id = 'r-39'`)).toBe(39);
  });

  test.each(SIZES)('a DECIMAL goes into a wider one, and into DOUBLE, %s', async (size) => {
    const table = await declaredTable('decimals', { wide: 'DECIMAL(38,10)', num: 'DOUBLE' });
    const select = rowsSelect(
      `'r-' || lpad(i::VARCHAR, 4, '0') AS id, (i * 1.25)::DECIMAL(9,2) AS wide, (i * 1.25)::DECIMAL(9,2) AS num`,
      size,
    );
    await load(table, 'parquet', await duckdb.body('parquet', select));
    expect(await textsOf(`SELECT wide, num FROM ${table} ORDER BY id LIMIT 3`)).toEqual([
      ['0.0000000000', '0.0'],
      ['1.2500000000', '1.25'],
      ['2.5000000000', '2.5'],
    ]);
  });

  describe.each(SIZES)('CSV, %s', (size) => {
    /** Small as it is; large with a column of padding and rows of its own. */
    const sized = (lines: readonly string[]): string => {
      if (size === 'small') return `${lines.join('\n')}\n`;
      const [head = '', ...rows] = lines;
      const cells = head.split(',').length;
      const filler = Array.from({ length: 3_000 }, (_, index) => `zz-${index}${','.repeat(cells)}${'p'.repeat(900)}`);
      return `${[`${head},pad`, ...rows.map((row) => `${row},p`), ...filler].join('\n')}\n`;
    };

    test('text stays text, whatever it looks like', async () => {
      const table = await declaredTable('digits', { word: 'VARCHAR' });
      await load(table, 'csv', sized(['id,word', 'a,7', 'b,true', 'c,1.50', 'd,007', 'e,', 'f,""']));
      expect(await textsOf(`SELECT id, word FROM ${table} WHERE id < 'g' ORDER BY id`)).toEqual([
        ['a', '7'],
        ['b', 'true'],
        ['c', '1.50'],
        ['d', '007'],
        ['e', null],
        ['f', ''],
      ]);
    });

    test('JSON, DATE, TIMESTAMPTZ, BOOLEAN, INTEGER and DOUBLE', async () => {
      const table = await declaredTable('from_text', {
        doc: 'JSON',
        day: 'DATE',
        at: 'TIMESTAMPTZ',
        yes: 'BOOLEAN',
        n: 'INTEGER',
        x: 'DOUBLE',
      });
      await load(
        table,
        'csv',
        sized([
          'id,doc,day,at,yes,n,x',
          'a,"{""k"":[1,null]}",2024-02-29,2024-01-01T10:00:00+02:00,true,-5,1e3',
          'b,[],0001-01-01,2024-01-01T00:00:00.000001Z,false,2147483647,7',
          'c,"""text""",,,,,',
        ]),
      );
      expect(await textsOf(`SELECT doc, day, "at", yes, n, x FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        ['{"k":[1,null]}', '2024-02-29', '2024-01-01 08:00:00+00', 'true', '-5', '1000.0'],
        ['[]', '0001-01-01', '2024-01-01 00:00:00.000001+00', 'false', '2147483647', '7.0'],
        ['"text"', null, null, null, null, null],
      ]);
    });

    test('instants as milliseconds', async () => {
      const table = await declaredTable('millis', { at: 'TIMESTAMPTZ' });
      await load(table, 'csv', sized(['id,at', 'a,1704067200001', 'b,0']));
      expect(await textsOf(`SELECT "at" FROM ${table} WHERE id < 'c' ORDER BY id`)).toEqual([
        ['2024-01-01 00:00:00.001+00'],
        ['1970-01-01 00:00:00+00'],
      ]);
    });

    test('a DECIMAL keeps every digit of its text', async () => {
      const table = await declaredTable('exact', { price: 'DECIMAL(38,10)', whole: 'DECIMAL(38,0)' });
      const [price, whole] = ['1234567890123456789.0123456789', '12345678901234567890123456789012345678'];
      await load(table, 'csv', sized(['id,price,whole', `a,${price},${whole}`, 'b,0.1,7', 'c,-5,-0']));
      expect(await textsOf(`SELECT price, whole FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        [price, whole],
        ['0.1000000000', '7'],
        ['-5.0000000000', '0'],
      ]);
    });

    test('a BIGINT takes all of its 64 bits', async () => {
      const table = await declaredTable('bits', { n: 'BIGINT' });
      await load(table, 'csv', sized(['id,n', `a,${INT64_MAX}`, `b,${INT64_MIN}`, 'c,1']));
      expect(await textsOf(`SELECT n FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([[INT64_MAX], [INT64_MIN], ['1']]);
    });

    test('a DOUBLE takes a long integer that it holds, and long fractions', async () => {
      const table = await declaredTable('long', { x: 'DOUBLE' });
      await load(table, 'csv', sized(['id,x', 'a,9007199254740992', 'b,0.1234567890123456', 'c,123456789.125']));
      expect(await textsOf(`SELECT x FROM ${table} WHERE id < 'd' ORDER BY id`)).toEqual([
        ['9007199254740992.0'],
        ['0.1234567890123456'],
        ['123456789.125'],
      ]);
    });

    test('new columns: numbers only if all of them look exactly like one', async () => {
      const table = newName('looks');
      await load(
        table,
        'csv',
        sized(['id,code,n,x,yes,plus,mixed,huge,word', 'a,007,1,1.5,true,+1,1,12345678901234567890,""', 'b,8,-2,2,false,2,two,1,w']),
      );
      expect(await columnTypes(table)).toMatchObject({
        code: 'VARCHAR',
        n: 'BIGINT',
        x: 'DOUBLE',
        yes: 'BOOLEAN',
        plus: 'VARCHAR',
        mixed: 'VARCHAR',
        huge: 'VARCHAR',
        word: 'VARCHAR',
      });
      expect(await textsOf(`SELECT code, n, x, yes, plus, mixed, huge, word FROM ${table} WHERE id < 'c' ORDER BY id`)).toEqual([
        ['007', '1', '1.5', 'true', '+1', '1', '12345678901234567890', ''],
        ['8', '-2', '2.0', 'false', '2', 'two', '1', 'w'],
      ]);
    });

    test('a quoted empty id is empty, a missing one is missing', async () => {
      const table = newName('empty_ids');
      expectError(await sendBulk(server, table, 'csv', sized(['id,n', '"",1'])), 400, 'INVALID_ARGUMENT', /line 2\b.*id must not be empty/);
      await createTable(server, table);
      expectError(await sendBulk(server, table, 'csv', sized(['id,n', 'a,1', ',2'])), 400, 'INVALID_ARGUMENT', /line 3\b.*id is missing/);
    });
  });
});

/* --------------------------------------------------------------------------------------------------------------------- CSV */

describe('CSV', () => {
  test('quoted commas, quotes and line breaks; CRLF; a byte order mark; a last line without an end', async () => {
    const table = newName('quotes');
    await load(table, 'csv', '\uFEFFid,s,n\r\na,"x, ""y""\r\nz",1\r\nb,plain,2');
    expect(await columnTypes(table)).toMatchObject({ s: 'VARCHAR', n: 'BIGINT' });
    expect(await rowsOf(server, `SELECT id, s, n FROM ${table} ORDER BY id`)).toEqual([
      { id: 'a', s: 'x, "y"\r\nz', n: 1 },
      { id: 'b', s: 'plain', n: 2 },
    ]);
  });

  test('text that looks like a null or a comment is text', async () => {
    const table = newName('nulls');
    await load(table, 'csv', 'id,s\n#a,NULL\nb,null\n'.replace('#a', 'a') + 'c,# no comment\nd,\\N\ne," "\n');
    expect(await textsOf(`SELECT s FROM ${table} ORDER BY id`)).toEqual([['NULL'], ['null'], ['# no comment'], ['\\N'], [' ']]);
  });

  test('header names that are missing or there twice are refused', async () => {
    for (const [head, says] of [
      ['id,n,n', /\bn\b.*twice/],
      ['id,n,N', /\bN\b.*twice/],
      ['id,,n', /column 2\b/],
      ['id,n,', /column 3\b/],
      ['id,a b', /a b/],
    ] as const) {
      const cells = head.split(',').length - 1;
      expectError(await sendBulk(server, newName('headers'), 'csv', `${head}\na${',1'.repeat(cells)}\n`), 400, 'INVALID_ARGUMENT', says);
    }
  });

  test('rows with another number of cells than the header are refused, also when all of them are alike', async () => {
    for (const rows of [1, 2, 5, 100]) {
      for (const row of ['a,1,2', 'a']) {
        const table = newName('uneven');
        const body = `id,n\n${Array.from({ length: rows }, () => row).join('\n')}\n`;
        const answer = await sendBulk(server, table, 'csv', body);
        expectThat(answer.status, `${rows} × ${row}: ${answer.text}`).toBe(400);
        expectError(answer, 400, 'INVALID_ARGUMENT', /CSV/);
        const skipped = await sendBulk(server, table, 'csv', body, { query: '&on_error=skip' });
        expectThat(skipped.json, `${rows} × ${row}`).toMatchObject({ count: 0, refused_count: rows });
      }
    }
  });

  test('a few wide rows among many, and a header that differs from all rows', async () => {
    const table = newName('garbage');
    const body = `this is a title\n\nid,n\n${Array.from({ length: 50 }, (_, index) => `r-${index},${index}`).join('\n')}\n`;
    expectError(await sendBulk(server, table, 'csv', body), 400, 'INVALID_ARGUMENT', /\S/);
    expect(await rowCount(table)).toBe(0);
  });

  test('semicolons, tabs and bars stand between cells where the header has them, or where the request says so', async () => {
    for (const [separator, name] of [
      [';', 'semicolon'],
      ['\t', 'tab'],
      ['|', 'bar'],
      [',', 'comma'],
    ] as const) {
      const body = ['id', 'n', 'text'].join(separator) + '\n' + ['a', '1', `"x${separator}y"`].join(separator) + '\n';
      const [told, said] = [newName('told'), newName('said')];
      await load(told, 'csv', body);
      await load(said, 'csv', body, { query: `&delimiter=${name}` });
      for (const table of [told, said])
        expect(await rowsOf(server, `SELECT id, n, text FROM ${table}`)).toEqual([{ id: 'a', n: 1, text: `x${separator}y` }]);
    }
    const table = newName('other');
    expectError(await sendBulk(server, table, 'csv', 'id;n\na;1\n', { query: '&delimiter=colon' }), 400, 'INVALID_ARGUMENT', /delimiter/);
    // One column of that name, which no table can have.
    expectError(await sendBulk(server, table, 'csv', 'id;n\na;1\n', { query: '&delimiter=comma' }), 400, 'INVALID_ARGUMENT', /id;n/);
  });

  test('one column, and rows that are blank in it', async () => {
    const table = newName('one_column');
    await createTable(server, table, { id_strategy: 'uuid' });
    await load(table, 'csv', 'n\n1\n2\n3\n');
    expect(await textsOf(`SELECT count(DISTINCT id), sum(n) FROM ${table}`)).toEqual([['3', '6']]);
  });

  test('id_field and timestamp_field, RFC 3339 and milliseconds', async () => {
    const query = '&id_field=key&timestamp_field=at';
    const table = newName('fields');
    await load(table, 'csv', 'key,at,n,id2\na,2024-01-01T02:00:00+02:00,1,x\n', { query });
    await load(table, 'csv', 'key,at,n,id2\nb,1704067200007,2,y\n', { query });
    await load(table, 'csv', 'key,at,n,id2\n17,,3,z\n', { query });
    expect(await rowsOf(server, `SELECT id, timestamp, n, id2 FROM ${table} WHERE id <> '17' ORDER BY id`)).toEqual([
      { id: 'a', timestamp: '2024-01-01T00:00:00.000000Z', n: 1, id2: 'x' },
      { id: 'b', timestamp: '2024-01-01T00:00:00.007000Z', n: 2, id2: 'y' },
    ]);
    expect(Object.keys(await columnTypes(table))).toEqual(['id', 'timestamp', 'n', 'id2']);
    expect(await countOf(server, table)).toBe(3);
  });

  test('a column of times may have both kinds', async () => {
    const table = newName('both_kinds');
    expect(await load(table, 'csv', 'id,timestamp\na,2024-01-01T00:00:00Z\nb,1704067200007\n')).toMatchObject({ count: 2 });
    expect(await rowsOf(server, `SELECT "timestamp" AS t FROM ${table} ORDER BY id`)).toEqual([
      { t: '2024-01-01T00:00:00.000000Z' },
      { t: '2024-01-01T00:00:00.007000Z' },
    ]);
  });

  test('bytes that are no UTF-8', async () => {
    expectError(
      await sendBulk(server, newName('latin'), 'csv', Buffer.from('id,s\na,\xff\n', 'latin1')),
      400,
      'INVALID_ARGUMENT',
      /UTF-?8|unicode|line:? 2/i,
    );
  });

  test('a charset in the media type is passed over', async () => {
    expect(await load(newName('charset'), 'csv', 'id,n\na,1\n', { mediaType: 'Text/CSV; charset=utf-8; header=present' })).toMatchObject({
      count: 1,
    });
  });
});

describe('rows without an id', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('get one by the strategy of the table: %s, %s', async (format, size) => {
    const rows = size === 'small' ? 40 : 2_600;
    for (const config of [{ id_strategy: 'uuid' }, { id_strategy: 'custom', id_prefix: 'b-' }, { id_strategy: 'snowflake' }]) {
      const table = newName('made_ids');
      await createTable(server, table, config);
      await load(table, format, await duckdb.body(format, rowsSelect('i AS n', size)));
      const pattern = config.id_strategy === 'custom' ? 'b-%' : '%';
      expectThat(await valueOf(server, `SELECT count(DISTINCT id) FROM ${table} WHERE id LIKE '${pattern}'`), config.id_strategy).toBe(
        rows,
      );
    }
    const body = await duckdb.body(format, rowsSelect('i AS n', size));
    const given = newName('given_ids');
    await createTable(server, given);
    const answer = await sendBulk(server, given, format, body);
    expectError(answer, 400, 'INVALID_ARGUMENT', new RegExp(`line ${format === 'csv' ? 2 : 1}\\b.*id is missing.*"id_strategy":"uuid"`));
    const made = newName('made_by_rows');
    await load(made, format, body);
    expect(await valueOf(server, `SELECT count(DISTINCT id) FROM ${made}`)).toBe(rows);
    expect((await tableInfo(server, made))['config']).toMatchObject({ id_strategy: 'uuid' });
    await load(given, format, body, { query: '&id_strategy=uuid' });
    expect(await valueOf(server, `SELECT count(DISTINCT id) FROM ${given}`)).toBe(rows);
    expect((await tableInfo(server, given))['config']).toMatchObject({ id_strategy: 'user_provided' });
  });
});

/* ------------------------------------------------------------------------------------------------------- writing semantics */

describe('upsert, idempotency and acknowledgement', () => {
  test.each(EVERY_FORMAT_AND_SIZE)('an upsert table keeps the last row of an id: %s, %s', async (format, size) => {
    const table = newName('upsert');
    await createTable(server, table, { write_mode: 'upsert' });
    await load(table, 'ndjson', '{"id":"r-0","n":-1}\n{"id":"other","n":-2}\n');
    const select = `${rowsSelect(`'r-' || (i % 30) AS id, i AS n`, size)} ORDER BY i`;
    const rows = size === 'small' ? 40 : 2_600;
    expect(await load(table, format, await duckdb.body(format, select))).toMatchObject({ success: true, refused_count: 0 });
    expect(await countOf(server, table)).toBe(31);
    expect(await textsOf(`SELECT min(n), max(n) FROM ${table} WHERE id LIKE 'r-%'`)).toEqual([[String(rows - 30), String(rows - 1)]]);
  });

  test.each(EVERY_FORMAT_AND_SIZE)(
    'the same key again: the same answer and no second row; another body: a conflict: %s, %s',
    async (format, size) => {
      const table = newName('keyed');
      const key = `key-${table}`;
      const body = await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n`, size));
      const first = await load(table, format, body, { key });
      const second = await load(table, format, body, { key });
      expect(second).toEqual(first);
      expect(await load(table, format, body, { key, packing: 'gzip' })).toEqual(first);
      expect(await countOf(server, table)).toBe(first['count']);
      const otherBody = await duckdb.body(format, rowsSelect(`'s-' || i AS id, i AS n`, size));
      expectError(await sendBulk(server, table, format, otherBody, { key }), 409, 'CONFLICT', /idempotency/i);
      expect(await countOf(server, table)).toBe(first['count']);
    },
  );

  test.each(FORMATS)('a key with on_error=skip gives the same list again: %s', async (format) => {
    const table = newName('keyed_skip');
    const body = await duckdb.body(format, rowsSelect(`CASE WHEN i = 3 THEN 'b\x7fd' ELSE 'r-' || i END AS id`, 'small'));
    const [first, second] = [
      await load(table, format, body, { key: table, query: '&on_error=skip' }),
      await load(table, format, body, { key: table, query: '&on_error=skip' }),
    ];
    expect(first).toMatchObject({ count: 39, refused_count: 1 });
    expect(second).toEqual(first);
    expect(await countOf(server, table)).toBe(39);
  });

  test.each(EVERY_FORMAT_AND_SIZE)('ack=flushed: %s, %s', async (format, size) => {
    const table = newName('flushed');
    const { count } = await load(table, format, await duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n`, size)), {
      query: '&ack=flushed',
    });
    const { stats } = await tableInfo(server, table);
    expect(stats).toMatchObject({ record_count: count, buffered_records: 0 });
    expect((stats as JsonRow)['file_count']).toBeGreaterThan(0);
  });
});

/* ----------------------------------------------------------------------------------------------------------- damaged bodies */

describe('bodies that are not what they should be', () => {
  const bodyOf = (format: BulkFormat, size: Size): Promise<Buffer> =>
    duckdb.body(format, rowsSelect(`'r-' || i AS id, i AS n, 'w' || i AS word`, size));

  test.each(TYPED.flatMap((format) => SIZES.map((size): [BulkFormat, Size] => [format, size])))(
    'cut short: %s, %s',
    async (format, size) => {
      const body = await bodyOf(format, size);
      const table = newName('cut');
      for (const share of [0.05, 0.3, 0.5, 0.9, 0.99]) {
        const answer = await sendBulk(server, table, format, body.subarray(0, Math.floor(body.length * share)));
        expectThat(answer.status, `${share}: ${answer.text}`).toBe(400);
      }
      expect(await rowCount(table)).toBe(0);
      await expectNothingLeft();
    },
  );

  test.each(TYPED)('a byte flipped: %s', async (format) => {
    const body = await bodyOf(format, 'small');
    const wrong: string[] = [];
    for (let at = 3; at < body.length; at += Math.ceil(body.length / 20)) {
      const flipped = Buffer.from(body);
      flipped[at] = (flipped[at] ?? 0) ^ 0xff;
      const table = newName('flipped');
      const answer = await sendBulk(server, table, format, flipped);
      // Neither format has a checksum of its own: a changed value may pass, as the value it has become.
      if (answer.status !== 200 && answer.status !== 400) wrong.push(`byte ${at}: ${answer.text}`);
      if (answer.status !== 200 && (await rowCount(table)) > 0) wrong.push(`byte ${at}: rows were stored`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
    await expectNothingLeft();
  });

  const sendPacked = async (table: string, format: BulkFormat, bytes: Buffer, packing: Packing): Promise<string> => {
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${table}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES[format], 'content-encoding': packing },
      body: new Uint8Array(bytes),
      signal: AbortSignal.timeout(10_000),
    });
    return `${response.status} ${await response.text()}`;
  };

  test.each(FORMATS)('gzip and zstd cut short: %s', async (format) => {
    const table = newName(`packing_${format}`);
    for (const packing of ['gzip', 'zstd'] as const) {
      const whole = packed(await bodyOf(format, 'large'), packing);
      for (const bytes of [1, 5, whole.length / 2, whole.length - 9, whole.length - 1])
        expectThat(await sendPacked(table, format, whole.subarray(0, bytes), packing), `${packing}: ${bytes} of ${whole.length}`).toMatch(
          /^400 .*body/,
        );
    }
    expect(await rowCount(table)).toBe(0);
    await expectNothingLeft();
  });

  test('gzip and zstd that are damaged: an answer at once, and the connection takes the next request', async () => {
    const body = Buffer.concat([await bodyOf('ndjson', 'large'), await bodyOf('parquet', 'large')]);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const table = newName('damaged');
    const ask = (method: string, route: string, headers: Record<string, string>, bytes?: Buffer): Promise<string> =>
      new Promise((resolve) => {
        const request = httpRequest(new URL(server.rest + route), { method, agent, headers, timeout: 5_000 }, (response) => {
          response.resume();
          response.once('end', () => resolve(String(response.statusCode)));
        });
        request.once('timeout', () => request.destroy(new Error('no answer within 5 s')));
        request.once('error', (error) => resolve(error.message));
        request.end(bytes);
      });
    const outcomes: Record<string, string[]> = {};
    for (const packing of ['zstd', 'gzip'] as const) {
      const damaged = Buffer.from(packed(body, packing));
      damaged.fill(0xaa, 10, 60);
      const headers = { 'content-type': MEDIA_TYPES.ndjson, 'content-encoding': packing, 'content-length': String(damaged.length) };
      outcomes[packing] = [
        await ask('POST', `/v1/data/bulk?table=${table}`, headers, damaged),
        await ask('GET', '/v1/health', {}),
        await ask('GET', '/v1/health', {}),
      ];
    }
    agent.destroy();
    expect(outcomes).toEqual({ zstd: ['400', '200', '200'], gzip: ['400', '200', '200'] });
    await expectNothingLeft();
  });

  test.each(FORMATS)('a body of another format than %s', async (format) => {
    const wrong: string[] = [];
    for (const other of FORMATS) {
      // Lines of JSON are objects one after the other.
      if (other === format || (format === 'json' && other === 'ndjson')) continue;
      const table = newName('mistaken');
      const answer = await sendBulk(server, table, format, await bodyOf(other, 'small'));
      if (answer.status !== 400 || (await rowCount(table)) > 0)
        wrong.push(`${other} as ${format}: ${answer.status} ${answer.text.slice(0, 300)}`);
    }
    expectThat(wrong, JSON.stringify(wrong)).toEqual([]);
    await expectNothingLeft();
  });

  test('an unknown type and an unknown packing: 415, naming those there are', async () => {
    for (const mediaType of ['application/xml', 'text/plain', 'application/vnd.ms-excel', 'multipart/form-data; boundary=x']) {
      const answer = await sendBulk(server, newName('type'), 'csv', 'id,n\na,1\n', { mediaType });
      expectError(answer, 415, 'UNSUPPORTED_MEDIA_TYPE', /./);
      for (const known of Object.values(MEDIA_TYPES)) expectThat(answer.json.message, mediaType).toContain(known);
    }
    const response = await fetch(`${server.rest}/v1/data/bulk?table=${newName('type')}`, {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES.csv, 'content-encoding': 'lzw' },
      body: 'id,n\na,1\n',
    });
    expect([response.status, (await response.json()) as JsonRow]).toEqual([
      415,
      expect.objectContaining({ error: 'UNSUPPORTED_MEDIA_TYPE' }),
    ]);
  });

  test.each(FORMATS)('a client that goes away in the middle leaves nothing: %s', async (format) => {
    const body = await bodyOf(format, 'large');
    const table = newName('left');
    for (const share of [0, 0.5, 0.95]) {
      await leaveInTheMiddle(table, format, body, Math.floor(body.length * share));
      await expectNothingLeft();
    }
    expect(await rowCount(table)).toBe(0);
    expect(await load(table, format, body)).toMatchObject({ count: 2_600 });
  });

  /** Sends the head, and part of the body once the server asks for it, and cuts the connection. */
  async function leaveInTheMiddle(table: string, format: BulkFormat, body: Buffer, bytes: number): Promise<void> {
    const url = new URL(`${server.rest}/v1/data/bulk?table=${table}`);
    const headers = { 'content-type': MEDIA_TYPES[format], 'content-length': String(body.length), expect: '100-continue' };
    const request = httpRequest(url, { method: 'POST', headers });
    const gone = new Promise<void>((resolve) => request.once('error', () => resolve()));
    const asked = once(request, 'continue');
    request.flushHeaders();
    await asked;
    if (bytes > 0) await new Promise((resolve) => request.write(body.subarray(0, bytes), resolve));
    request.destroy(new Error('gone'));
    await gone;
  }
});

test('kill -9 right after the answer to a large Parquet body: every row is there after the restart', async () => {
  const select = rowsSelect(`${IDS}, i AS n, {'k': i} AS doc, DATE '2024-01-01' + i::INTEGER AS day`, 'large', 20_000);
  const body = await duckdb.body('parquet', select);
  const first = await startOther();
  expectSuccess(await sendBulk(first, 'killed', 'parquet', body));
  await first.kill();
  const second = await startOther({ dataDir: first.dataDir });
  const sums = 'count(*) AS c, count(DISTINCT id) AS ids, sum(n) AS s, max(day)::VARCHAR AS d';
  const [row] = await rowsOf(second, `SELECT ${sums} FROM killed`);
  expect(row).toEqual({ c: 20_000, ids: 20_000, s: 199_990_000, d: '2078-10-03' });
  expect(bulkFiles(second)).toHaveLength(1);
  expectSuccess(await call(second, 'POST', '/v1/tables/killed/flush'));
  expect((await rowsOf(second, `SELECT ${sums} FROM killed`))[0]).toEqual(row);
});

/* -------------------------------------------------------------------------------------------------------------------- gRPC */

describe('BulkWrite', () => {
  let streams: BulkStreams;

  beforeAll(() => {
    streams = new BulkStreams(server);
  });
  afterAll(() => streams?.close());

  function responseOf(answer: GrpcAnswer): GrpcMessage {
    if (!answer.ok) throw new Error(`BulkWrite failed: ${answer.status} ${answer.message}`);
    return answer.response;
  }

  function expectFailure(answer: GrpcAnswer, status: number, errorCode: string, says: RegExp): void {
    expect(answer).toMatchObject({ ok: false, status, errorCode, message: expect.stringMatching(says) });
  }

  const write = (table: string, format: string, body: Buffer, pieceBytes: number, more: GrpcMessage = {}): Promise<GrpcAnswer> =>
    streams.send(bulkMessages({ table, format, ...more }, body, pieceBytes));

  test.each(FORMATS)('%s, in pieces of a byte, of 4 KiB and of 1 MiB, packed and not', async (format) => {
    const [small, large] = [rowsSelect(`'r-' || i AS id, i AS n`, 'small', 5), rowsSelect(`'r-' || i AS id, i AS n`, 'large')];
    const trials: [string, number, Packing][] = [
      [small, 1, 'none'],
      [small, 7, 'gzip'],
      [large, 4_096, 'none'],
      [large, 65_536, 'zstd'],
      [large, MIB, 'gzip'],
      [large, MIB, 'none'],
    ];
    for (const [select, pieceBytes, packing] of trials) {
      const table = newName(`grpc_${format}`);
      const body = packed(await duckdb.body(format, select), packing);
      const answer = responseOf(await write(table, format, body, pieceBytes, { encoding: packing === 'none' ? '' : packing }));
      const [[count, sum] = []] = await duckdb.texts(`SELECT count(*), sum(n) FROM (${select})`);
      expect(answer).toMatchObject({ success: true, count, refused_count: '0', errors: [] });
      expect(Number(answer['lsn'])).toBeGreaterThan(0);
      expectThat(await textsOf(`SELECT count(*), sum(n) FROM ${table}`), `pieces of ${pieceBytes}`).toEqual([[count, sum]]);
    }
  });

  test('skip lists what was refused; abort stores nothing', async () => {
    const body = Buffer.from('key,at,n\na,2024-01-01T00:00:00Z,1\nb\x7fb,2024-01-01T00:00:00Z,2\nc,soon,3\n');
    const fields = { id_field: 'key', timestamp_field: 'at' };
    const table = newName('grpc_skip');
    const answer = responseOf(await write(table, 'csv', body, 11, { ...fields, on_error: 'skip' }));
    expect(answer).toMatchObject({ success: false, count: '1', refused_count: '2' });
    expect(answer['errors']).toEqual([
      expect.objectContaining({ line: '3', id: 'b\x7fb', field: 'id', reason: expect.stringMatching(/\S/) }),
      expect.objectContaining({ line: '4', id: 'c', field: 'timestamp', reason: expect.stringMatching(/soon/) }),
    ]);
    const aborted = newName('grpc_abort');
    expectFailure(await write(aborted, 'csv', body, 11, fields), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /line 3\b/);
    expect(await rowCount(aborted)).toBe(0);
  });

  test('what the first message lacks or has wrong is named', async () => {
    const body = Buffer.from('{"id":"a"}\n');
    const refused = async (first: GrpcMessage, says: RegExp): Promise<void> =>
      expectFailure(await streams.send(bulkMessages(first, body, 4)), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', says);
    await refused({ table: newName('grpc_bad'), format: 'xml' }, /ndjson, json, csv, tsv, parquet, arrow/);
    await refused({ table: newName('grpc_bad'), format: '' }, /format/);
    await refused({ format: 'csv' }, /table/);
    await refused({ table: 'a b', format: 'csv' }, /table/);
    await refused({ table: newName('grpc_bad'), format: 'ndjson', on_error: 'maybe' }, /on_error/);
    const brotli = await streams.send(bulkMessages({ table: newName('grpc_bad'), format: 'ndjson', encoding: 'lzw' }, body, 4));
    expectFailure(brotli, grpcStatus.INVALID_ARGUMENT, 'UNSUPPORTED_MEDIA_TYPE', /lzw\b.*gzip, deflate, br, zstd/);
    expectFailure(await streams.send([]), grpcStatus.INVALID_ARGUMENT, 'INVALID_ARGUMENT', /no message/);
    expect(responseOf(await streams.send([{ table: newName('grpc_empty'), format: 'ndjson' }]))).toMatchObject({
      success: true,
      count: '0',
    });
    await expectNothingLeft();
  });

  test('a table that is missing is made, or NOT_FOUND where tables are not made by writes', async () => {
    const strict = await startOther({ config: { log: { file: '' }, tables: { auto_create: false } } });
    const there = new BulkStreams(strict);
    try {
      const answer = await there.send(bulkMessages({ table: 'nowhere', format: 'ndjson' }, Buffer.from('{"id":"a"}\n'), 3));
      expectFailure(answer, grpcStatus.NOT_FOUND, 'NOT_FOUND', /nowhere/);
    } finally {
      there.close();
    }
    expectError(await sendBulk(strict, 'nowhere', 'csv', 'id\na\n'), 404, 'NOT_FOUND', /nowhere/);
  });

  test('idempotency-key', async () => {
    const table = newName('grpc_keyed');
    const send = (body: string, format = 'ndjson'): Promise<GrpcAnswer> =>
      streams.send(bulkMessages({ table, format }, Buffer.from(body), 5), { 'idempotency-key': 'grpc-bulk' });
    const first = responseOf(await send('{"id":"a","n":1}\n'));
    expect(responseOf(await send('{"id":"a","n":1}\n'))).toEqual(first);
    expectFailure(await send('{"id":"b","n":1}\n'), grpcStatus.ABORTED, 'CONFLICT', /idempotency/i);
    expect(await countOf(server, table)).toBe(1);
  });

  test('a client that goes away in the middle leaves nothing', async () => {
    const body = await duckdb.body('ndjson', rowsSelect(`'r-' || i AS id, i AS n`, 'large'));
    const table = newName('grpc_left');
    const answer = await streams.send(bulkMessages({ table, format: 'ndjson' }, body, 65_536), {}, 20);
    expect(answer.ok).toBe(false);
    await expectNothingLeft();
    expect(await rowCount(table)).toBe(0);
  });
});

describe('a body that is refused', () => {
  const badRow = '{"id":"not an\x7fid","x":1}\n';

  test.each([
    ['small', badRow, 400],
    ['large', `{"id":"a","x":"${'x'.repeat(SMALL_BYTES_MAX)}"}\n${badRow}`, 400],
    ['without a good row', '{"id":"a"}'.slice(1), 400],
    ['not JSON', 'x\n', 400],
  ])('makes no table: %s', async (_, body, status) => {
    const table = newName('refused');
    expectStatus(await sendBulk(server, table, 'ndjson', body), status);
    expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 404);
    expect((await load(table, 'ndjson', body, { query: '&on_error=skip' })).refused_count).toBeGreaterThan(0);
  });

  test.each(FORMATS)('makes no table when it is cut short: %s', async (format) => {
    const table = newName('cut');
    expectStatus(await sendBulk(server, table, format, Buffer.from('{"id":'), { query: '&on_error=abort' }), 400);
    expectStatus(await call(server, 'GET', `/v1/tables/${table}`), 404);
  });

  test('changes no column, and one that is taken does', async () => {
    const table = newName('types');
    await load(table, 'ndjson', '{"id":"a","n":1,"m":1}\n');
    const rows = `{"id":"b","n":1.5,"m":2,"pad":"${'x'.repeat(SMALL_BYTES_MAX)}"}\n{"id":"c","m":2.5,"new":1}\n`;
    const typesOf = async (): Promise<unknown> => (await rowsOf(server, `SELECT typeof(n) AS n, typeof(m) AS m FROM ${table} LIMIT 1`))[0];
    expectStatus(await sendBulk(server, table, 'ndjson', rows + badRow), 400);
    expect(await typesOf()).toEqual({ n: 'BIGINT', m: 'BIGINT' });
    await load(table, 'ndjson', rows);
    expect(await typesOf()).toEqual({ n: 'DOUBLE', m: 'DOUBLE' });
    expect(await rowsOf(server, `SELECT id, n, m, new FROM ${table} ORDER BY id`)).toEqual([
      { id: 'a', n: 1, m: 1, new: null },
      { id: 'b', n: 1.5, m: 2, new: null },
      { id: 'c', n: null, m: 2.5, new: 1 },
    ]);
  });

  test('makes its table with the first good row', async () => {
    const table = newName('good');
    expect(await load(table, 'ndjson', `${badRow}{"id":"a","x":1.5}\n`, { query: '&on_error=skip' })).toMatchObject({
      count: 1,
      refused_count: 1,
    });
    expect(await rowsOf(server, `SELECT id, x FROM ${table}`)).toEqual([{ id: 'a', x: 1.5 }]);
  });
});

test.each([
  ['an element that is no JSON', '[{"id":"a","x":"1"},{"id":"b","x":"\\ud800"},{"id":"c","x":"3"}]', ['a', 'c'], [2]],
  ['a line break within a text', '[{"id":"a"},\n{"id":"b","x":"1\n2"},\r\n {"id":"c"}\n]\n', ['a', 'c'], [2]],
  ['brackets and commas within a text', '[{"id":"a","x":"]},["},{"id":"b",},{"id":"c","z":[{"y":[1,2]}]},tru]', ['a', 'c'], [2, 4]],
])('JSON array, skip: %s', async (_, body, ids, lines) => {
  const table = newName('array');
  const answer = await load(table, 'json', body, { query: '&on_error=skip' });
  expect(answer['errors'].map(({ line }: JsonRow) => line)).toEqual(lines);
  expect((await rowsOf(server, `SELECT id FROM ${table} ORDER BY id`)).map(({ id }) => id)).toEqual(ids);
});

test.each(['[{"id":"a"},{"id":"\\ud800"}', '[{"id":"\\ud800"},]', '[{"id":"\\ud800"}]]', '[{"id":"\\ud800"} {"id":"b"}] x'])(
  'JSON array, skip: brackets that are wrong refuse it whole: %s',
  async (body) => {
    expectError(
      await sendBulk(server, newName('array'), 'json', body, { query: '&on_error=skip' }),
      400,
      'INVALID_ARGUMENT',
      /not a JSON array of rows/,
    );
  },
);

test.each([
  ['a space before quotes', 'id,x\na, "hello"\n', /line 2 of the CSV has a space beside the quotes/],
  ['a space after quotes', 'id,x\na,"hello" \n', /line 2 of the CSV has a space beside the quotes/],
  ['line ends of two kinds', 'id,x\na,1\r\nb,2\n', /line 1 with LF, line 2 with CR LF/],
  ['too many columns', `${Array.from({ length: 100_000 }, (_, index) => `c${index}`).join()}\n`, /100000 columns; a table has at most/],
])('CSV says in words: %s', async (_, body, says) => {
  expectError(await sendBulk(server, newName('csv'), 'csv', body), 400, 'INVALID_ARGUMENT', says);
  expectError(await sendBulk(server, newName('csv'), 'csv', body, { query: '&on_error=skip' }), 400, 'INVALID_ARGUMENT', says);
});

test.each(['1e-400', '-0.01E-323'])('CSV: %s is not made 0', async (number) => {
  const table = await declaredTable('tiny', { x: 'DOUBLE' });
  expectError(await sendBulk(server, table, 'csv', `id,x\na,${number}\n`), 400, 'INVALID_ARGUMENT', /column x is DOUBLE/);
  const other = newName('tiny');
  await load(other, 'csv', `id,x\na,${number}\nb,1\n`);
  expect(await valueOf(server, `SELECT x FROM ${other} WHERE id = 'a'`)).toBe(number);
});

test('very many short rows are stored like few long ones', async () => {
  const table = newName('short');
  expect((await load(table, 'ndjson', '{"id":"a"}\n'.repeat(150_000))).count).toBe(150_000);
  expect(await countOf(server, table)).toBe(150_000);
});
