/**
 * One value has one text, whichever way it goes to the client: printed here (small results), by the engine as JSON (pages), as NDJSON and as CSV. Values of
 * random types, nested at random, go all ways; a replayed SEED makes the same ones.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import { jsonExpression } from '../../engine/duckdb/json-expression.js';
import { textExpression } from '../../engine/duckdb/text-expression.js';
import { NotPlain, PlainRows } from './plain-rows.js';
import { jsonRowsSql, namedColumns, type Prepared, shapeOf } from '../prepared-statement.js';

const SEED = Number(process.env['SEED'] ?? 20261130);

/** SQL of a value, and the text that JSON has for it. */
type Sample = readonly [sql: string, json: string];

const SCALARS: readonly (readonly [type: string, samples: readonly Sample[]])[] = [
  ['BOOLEAN', [['true', 'true']]],
  ['BIGINT', [['9007199254740993', '9007199254740993']]],
  ['HUGEINT', [['-170141183460469231731687303715884105727', '-170141183460469231731687303715884105727']]],
  ['UHUGEINT', [["'340282366920938463463374607431768211455'", '340282366920938463463374607431768211455']]],
  [
    'DOUBLE',
    [
      ['0.1', '0.1'],
      ["'nan'", 'null'],
      ["'-infinity'", 'null'],
      ['1e22', '1e22'],
    ],
  ],
  [
    'FLOAT',
    [
      ['1.5', '1.5'],
      ["'inf'", 'null'],
    ],
  ],
  [
    'DECIMAL(4,0)',
    [
      ['100', '100'],
      ['-7', '-7'],
    ],
  ],
  [
    'DECIMAL(10,2)',
    [
      ['1.50', '1.50'],
      ['-0.10', '-0.10'],
      ['0', '0.00'],
    ],
  ],
  ['DECIMAL(15,15)', [['0.5', '0.500000000000000']]],
  ['DECIMAL(18,18)', [['-0.5', '-0.500000000000000000']]],
  ['DECIMAL(18,2)', [['1.50', '1.50']]],
  ['DECIMAL(38,10)', [['1234567890123456789012345678.1', '1234567890123456789012345678.1000000000']]],
  [
    'VARCHAR',
    [
      ["'it''s, \"quoted\" é 😀'", '"it\'s, \\"quoted\\" é 😀"'],
      ["'null'", '"null"'],
      ["''", '""'],
    ],
  ],
  ['UUID', [["'2fc7a14c-71ec-4089-b543-3841bc8ea496'", '"2fc7a14c-71ec-4089-b543-3841bc8ea496"']]],
  ["ENUM('a', 'b')", [["'b'", '"b"']]],
  ['BLOB', [["'\\xAA\\x00a'", '"\\\\xAA\\\\x00a"']]],
  ['BIT', [["'0101'", '"0101"']]],
  [
    'DATE',
    [
      ["'2024-02-29'", '"2024-02-29"'],
      ["'infinity'", '"infinity"'],
    ],
  ],
  ['TIME', [["'01:02:03.5'", '"01:02:03.5"']]],
  ['TIMETZ', [["'01:02:03+02'", '"01:02:03+02"']]],
  ['INTERVAL', [["'1 month 2 days 03:04:05'", '"1 month 2 days 03:04:05"']]],
  [
    'TIMESTAMPTZ',
    [
      ["'2024-01-01 10:00:00.5+02'", '"2024-01-01T08:00:00.500000Z"'],
      ["'infinity'", '"infinity"'],
    ],
  ],
  [
    'TIMESTAMP',
    [
      ["'2024-01-01 10:00:00.000001'", '"2024-01-01T10:00:00.000001"'],
      ["'-infinity'", '"-infinity"'],
    ],
  ],
  ['TIMESTAMP_S', [["'1969-12-31 23:59:59'", '"1969-12-31T23:59:59.000000"']]],
  ['TIMESTAMP_MS', [["'2024-01-01 10:00:00.123'", '"2024-01-01T10:00:00.123000"']]],
  ['TIMESTAMP_NS', [["'2024-01-01 10:00:00.123456789'", '"2024-01-01T10:00:00.123456789"']]],
];

interface Value {
  readonly type: string;
  readonly sql: string;
  readonly json: string;
}

const scalar: fc.Arbitrary<Value> = fc
  .constantFrom(...SCALARS)
  .chain(([type, samples]) =>
    fc.constantFrom(...samples, ['NULL', 'null'] as const).map(([sql, json]) => ({ type, sql: `(${sql})::${type}`, json })),
  );

/** Keys are compared by what they are as text. */
const key = scalar
  .filter(({ sql }) => !sql.startsWith('(NULL)'))
  .map(({ type, sql, json }) => ({ type, sql, json: json.startsWith('"') ? json : undefined }))
  .filter((value): value is Value => value.json !== undefined);

const { value } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    tie('value').map(({ type, sql, json }) => ({ type: `${type}[]`, sql: `[${sql}, NULL]`, json: `[${json},null]` })),
    tie('value').map(({ type, sql, json }) => ({
      type: `${type}[2]`,
      sql: `array_value(${sql}, NULL)::${type}[2]`,
      json: `[${json},null]`,
    })),
    fc.tuple(tie('value'), tie('value')).map(([a, b]) => ({
      type: `STRUCT("a ""b" ${a.type}, c ${b.type})`,
      sql: `{'a "b': ${a.sql}, 'c': ${b.sql}}`,
      json: `{"a \\"b":${a.json},"c":${b.json}}`,
    })),
    fc.tuple(key, tie('value')).map(([k, v]) => ({
      type: `MAP(${k.type}, ${v.type})`,
      sql: `map([${k.sql}], [${v.sql}])`,
      json: `{${k.json}:${v.json}}`,
    })),
    tie('value').map(({ type, json }) => ({ type, sql: `NULL::${type}`, json: json === '' ? '' : 'null' })),
  ),
}));

let connection: DuckDBConnection;
let close: () => void;
const directory = mkdtempSync(path.join(tmpdir(), 'ways-of-printing-'));

beforeAll(async () => {
  const instance = await DuckDBInstance.create(':memory:');
  connection = await instance.connect();
  await connection.run("SET TimeZone = 'UTC'");
  close = () => {
    connection.closeSync();
    instance.closeSync();
  };
});

afterAll(() => {
  close();
  rmSync(directory, { recursive: true });
});

async function prepared(sql: string): Promise<Prepared> {
  const statement = await connection.prepare(sql);
  return { ...shapeOf(statement), sql, columns: [], parameters: [] };
}

async function copied(statement: Prepared, format: string, expression: typeof jsonExpression): Promise<string> {
  const file = path.join(directory, 'copy');
  await connection.run(`COPY (${namedColumns(statement, expression)}) TO '${file}' (${format})`);
  return readFileSync(file, 'utf8').trimEnd();
}

async function printedHere(sql: string): Promise<string | undefined> {
  const result = await connection.run(sql);
  const plain = new PlainRows(result.columnNames(), result.columnTypes());
  if (!plain.isPlain) return undefined;
  try {
    const [chunk] = await result.fetchAllChunks();
    return chunk && [...plain.turns(chunk)].flat()[0];
  } catch (error) {
    if (error instanceof NotPlain) return undefined;
    throw error;
  }
}

async function printedByEngine(statement: Prepared): Promise<string> {
  const [[row] = []] = (await connection.runAndReadAll(jsonRowsSql(statement, ''))).getRows();
  return String(row);
}

describe('a value of any type', () => {
  it.each(SCALARS.flatMap(([type, samples]) => samples.map(([sql, json]) => [`(${sql})::${type}`, json])))(
    'is the same in JSON and in CSV: %s',
    async (sql, json) => {
      const statement = await prepared(`SELECT ${sql} AS v`);
      const [, cell = ''] = (await copied(statement, 'FORMAT csv, HEADER true, FORCE_QUOTE (v)', textExpression)).split('\n');
      const text = cell.slice(1, -1).replaceAll('""', '"');
      const expected: unknown = json.startsWith('"') ? JSON.parse(json) : json;
      // JSON has no word for it, CSV has.
      if (json === 'null') expect(text).toMatch(/^-?(nan|inf)/);
      // In CSV the engine leaves out a zero before the point, and writes a plus sign.
      else expect(text.replace(/^(-?)\./, '$10.').replace('e+', 'e')).toBe(expected);
    },
  );

  it('has the same JSON in every way to the client', async () => {
    let plain = 0;
    await fc.assert(
      fc.asyncProperty(value, async ({ sql, json }) => {
        const text = `SELECT ${sql} AS v`;
        const statement = await prepared(text);
        const expected = `{"v":${json}}`;
        expectThat(await printedByEngine(statement), `page: ${sql}`).toBe(expected);
        expectThat(await copied(statement, 'FORMAT json', jsonExpression), `NDJSON: ${sql}`).toBe(expected);
        const here = await printedHere(text);
        if (here !== undefined) {
          plain += 1;
          expectThat(here, `small result: ${sql}`).toBe(expected);
        }
      }),
      { numRuns: 400, seed: SEED },
    );
    expect(plain).toBeGreaterThan(50);
  });

  it.each([
    ["union_value(a := TIMESTAMPTZ '2024-01-01 00:00:00Z')", '"2024-01-01T00:00:00.000000Z"'],
    ['union_value(a := 1.50::DECIMAL(4,2))', '"1.50"'],
    ["row(TIMESTAMPTZ '2024-01-01 00:00:00Z', 2)", '"(\'2024-01-01T00:00:00.000000Z\', 2)"'],
    ["[map {DATE '2024-01-01': [TIMESTAMP '2024-01-01 00:00:00']}]", '[{"2024-01-01":["2024-01-01T00:00:00.000000"]}]'],
    ["map {TIMESTAMPTZ '2024-01-01 00:00:00Z': 1, 'infinity'::TIMESTAMPTZ: 2}", '{"2024-01-01T00:00:00.000000Z":1,"infinity":2}'],
    ["map {'nan'::DOUBLE: 1}", '{"nan":1}'],
    ["'[1,]'::JSON", '[1]'],
  ])('is printed by the engine as it should be: %s', async (sql, json) => {
    expect(await printedByEngine(await prepared(`SELECT ${sql} AS v`))).toBe(`{"v":${json}}`);
  });

  it('has its times written alike inside of values that CSV prints', async () => {
    const sql = `SELECT [TIMESTAMPTZ '2024-01-01 00:00:00Z'] AS a, {'k': TIMESTAMP '2024-01-01 00:00:00', 'n': 'nan'::DOUBLE} AS b, map {1: DATE '2024-01-01'} AS c`;
    const [, line] = (await copied(await prepared(sql), 'FORMAT csv, HEADER true', textExpression)).split('\n');
    expect(line).toBe(`['2024-01-01T00:00:00.000000Z'],"{'k': '2024-01-01T00:00:00.000000', 'n': nan}",{1=2024-01-01}`);
  });
});
