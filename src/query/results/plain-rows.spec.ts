import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import { NotPlain, PlainRows } from './plain-rows.js';
import { jsonRowsSql, shapeOf, typeName } from '../prepared-statement.js';

const SEED = Number(process.env['SEED'] ?? 20261130);

/** SQL of values of every type that is printed here; NULL is added to each. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  booleans: ['true', 'false'],
  'small integers': ['1::TINYINT', '(-128)::TINYINT'],
  integers: ['1', '-2147483648'],
  'unsigned integers': ['18446744073709551615::UBIGINT', '0::UBIGINT'],
  'long integers': ['9223372036854775807', '(-9223372036854775808)::BIGINT', '9007199254740993'],
  'huge integers': ['170141183460469231731687303715884105727::HUGEINT', '-1::HUGEINT'],
  doubles: [
    '5::DOUBLE',
    '-0.0::DOUBLE',
    '-1::DOUBLE * 0',
    "'nan'::DOUBLE",
    "'-infinity'::DOUBLE",
    '1e22::DOUBLE',
    '1e21::DOUBLE',
    '1e20::DOUBLE',
    '1e-7::DOUBLE',
    '0.1::DOUBLE + 0.2::DOUBLE',
    '5e-324::DOUBLE',
  ],
  floats: ['0.1::FLOAT', '3::FLOAT', '1e30::FLOAT', "'nan'::FLOAT"],
  texts: ["''", "'it''s \"quoted\" \\ / é 😀'", 'chr(31) || chr(127) || chr(10) || chr(8232)', "'null'"],
  'a zero byte in a text': ['chr(0)'],
  enums: ["'a'::ENUM('a', 'b')", "'b'::ENUM('a', 'b')"],
  uuids: ["'2fc7a14c-71ec-4089-b543-3841bc8ea496'::UUID"],
  times: ["TIME '01:02:03'", "TIME '23:59:59.999999'", "TIME '00:00:00.5'"],
  intervals: ["INTERVAL '1 year 2 months 3 days 04:05:06.7'", "INTERVAL '-1 second'", "INTERVAL '0 days'", "INTERVAL '100 hours'"],
  blobs: ["'\\xAA\\x00a'::BLOB", "''::BLOB"],
  dates: ["DATE '2024-02-29'", "DATE '0001-01-01'", "DATE '9999-12-31'", "DATE '1969-12-31'"],
  instants: [
    "TIMESTAMPTZ '2024-01-01 00:00:00.123456+02'",
    "TIMESTAMPTZ '1969-12-31 23:59:59.999999+00'",
    "TIMESTAMPTZ '0001-01-01 00:00:00+00'",
  ],
  timestamps: ["TIMESTAMP '9999-12-31 23:59:59.999999'", "TIMESTAMP '1970-01-01 00:00:00'"],
  decimals: ['1.10::DECIMAL(10,2)', '-0.00::DECIMAL(4,2)', '100::DECIMAL(5,0)', '0.0000000001::DECIMAL(15,10)'],
  'wide decimals': ['1.20::DECIMAL(38,2)', '12345678901234567890123456789.123456789::DECIMAL(38,9)', '-5::DECIMAL(38,0)'],
  lists: ["[1.5::DOUBLE, 'nan'::DOUBLE, NULL]", '[]::DOUBLE[]'],
  'lists of lists': ["[[TIMESTAMP '2024-01-01 00:00:00'], NULL]", '[]'],
  arrays: ['array_value(1, 2, NULL)'],
  structs: ["{'a': 1, 'b \"c\"': [{'d': NULL}]}", "{'a': NULL, 'b \"c\"': NULL}"],
};

let connection: DuckDBConnection;
let close: () => void;

beforeAll(async () => {
  const instance = await DuckDBInstance.create(':memory:');
  connection = await instance.connect();
  await connection.run("SET TimeZone = 'UTC'");
  close = () => {
    connection.closeSync();
    instance.closeSync();
  };
});

afterAll(() => close());

async function printedHere(sql: string): Promise<string[] | undefined> {
  const result = await connection.stream(sql);
  const plain = new PlainRows(result.columnNames(), result.columnTypes());
  if (!plain.isPlain) return undefined;
  const rows: string[] = [];
  for await (const chunk of result) for (const turn of plain.turns(chunk)) rows.push(...turn);
  return rows;
}

async function printedByEngine(sql: string): Promise<string[]> {
  const statement = await connection.prepare(sql);
  const shape = shapeOf(statement);
  const columns = shape.names.map((name, index) => ({ name, type: typeName(shape.types[index]) }));
  const rows = await connection.runAndReadAll(jsonRowsSql({ ...shape, sql, columns, parameters: [] }, ''));
  // The engine writes the digits of \u001F in capitals.
  return rows.getRows().map(([row]) => String(row).replace(/\\u[\dA-F]{4}/g, (escape) => escape.toLowerCase()));
}

async function expectAlike(sql: string): Promise<void> {
  expectThat(await printedHere(sql), sql).toEqual(await printedByEngine(sql));
}

describe('PlainRows', () => {
  it.each(Object.entries(VALUES))('prints %s as the engine does', async (_kind, values) => {
    const rows = [...values, 'NULL'].map((value) => `SELECT ${value} AS "a ""name""", 1 AS b`).join(' UNION ALL ');
    await expectAlike(rows);
  });

  it('prints decimals of every width as the engine does', async () => {
    for (let width = 1; width <= 38; width += 1)
      for (const scale of [0, 1, Math.floor(width / 2), width - 1])
        if (scale < width)
          await expectAlike(`SELECT '${'7'.repeat(width - scale)}.${'30'.repeat(19).slice(0, scale)}'::DECIMAL(${width},${scale}) AS a`);
  });

  it('leaves decimals without digits before the point to the engine, which prints JSON', async () => {
    for (const width of [1, 15, 16, 37, 38]) {
      const sql = `SELECT '-0.5'::DECIMAL(${width},${width}) AS a`;
      expect(await printedHere(sql)).toBeUndefined();
      expect((await printedByEngine(sql)).map((row) => JSON.parse(row) as unknown)).toEqual([{ a: -0.5 }]);
    }
  });

  it('prints any double as the engine does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.double(), { minLength: 1, maxLength: 50 }), async (numbers) => {
        const list = numbers.map((number) => `'${Object.is(number, -0) ? '-0.0' : number}'::DOUBLE`).join(', ');
        await expectAlike(`SELECT unnest([${list}]) AS a`);
      }),
      { numRuns: 60, seed: SEED },
    );
  });

  it('prints any instant as the engine does', async () => {
    const micros = fc.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n });
    await fc.assert(
      fc.asyncProperty(fc.array(micros, { minLength: 1, maxLength: 50 }), async (values) => {
        await expectAlike(
          `SELECT make_timestamptz(v) AS a, make_timestamptz(v)::DATE AS b FROM (SELECT unnest([${values.join(', ')}]) AS v)`,
        );
      }),
      { numRuns: 60, seed: SEED },
    );
  });

  it('prints any text as the engine does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        fc.pre(text.isWellFormed() && !text.includes('\0'));
        await expectAlike(`SELECT '${text.replaceAll("'", "''")}' AS a`);
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  it('has the same JSON as the engine for values of type JSON', async () => {
    const sql = `SELECT '{"a": [1, 2.50, 1e5], "b": null, "c": "\\u00e9"}'::JSON AS a UNION ALL SELECT NULL`;
    expect((await printedHere(sql))?.map((row) => JSON.parse(row) as unknown)).toEqual(
      (await printedByEngine(sql)).map((row) => JSON.parse(row) as unknown),
    );
  });

  it.each([
    'union_value(a := 1)',
    "'101'::BIT",
    "map {'a': 1}",
    'row(1, 2)',
    "TIMESTAMP_NS '2024-01-01 00:00:00'",
    "TIMETZ '01:02:03+02'",
    '[union_value(a := 1)]',
  ])('leaves %s to the engine', async (value) => expect(await printedHere(`SELECT ${value} AS a`)).toBeUndefined());

  it.each(["TIMESTAMP 'infinity'", "DATE '-infinity'", "TIMESTAMPTZ '12024-01-01 00:00:00+00'", "[DATE '10000-01-01']"])(
    'leaves a result with %s to the engine',
    async (value) => expect(printedHere(`SELECT ${value} AS a`)).rejects.toThrow(NotPlain),
  );
});
