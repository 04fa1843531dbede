/**
 * A small NDJSON body is read in JavaScript, a large one by the engine as a whole where that gives the same. The same rows, sent as a small body and
 * padded into a large one, must leave the same rows or be refused in the same words. Random rows are made of the places where readers of JSON
 * differ; SEED repeats a run.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { sendBulk } from './support/bulk-bodies.js';
import { expectThat } from './support/expectations.js';
import { type JsonRow, rowsOf } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type RunningServer, startServer } from './support/server.js';

const DOCUMENTS = 120;
const DOCUMENTS_OF_A_TABLE = 4;
/** Tables that are filled at the same time. */
const CLIENTS = 4;
/** Three rows of filler make a body large. */
const FILLER_ROW = (index: number): string => `{"id":"filler${index}","timestamp":"2024-01-01T00:00:00Z","pad":"${'x'.repeat(800_000)}"}\n`;
const FILLER = [0, 1, 2].map(FILLER_ROW).join('');
const DEPTH_MAX = 100;

let server: RunningServer;
let tables = 0;

beforeAll(async () => {
  server = await startServer({
    config: { log: { file: '' }, limits: { json_depth_max: DEPTH_MAX }, tables: { flush_interval_seconds: 3_600 } },
  });
});

afterAll(async () => {
  await server?.stop();
});

type Outcome = { readonly refused: string } | { readonly refusals: unknown; readonly rows: readonly JsonRow[] };

/** What bodies sent one after the other leave in a table of their own. */
async function outcomeOf(bodies: readonly string[], query: string): Promise<readonly Outcome[]> {
  const table = `two_ways_${(tables += 1)}`;
  const outcomes: Outcome[] = [];
  for (const body of bodies) {
    const { status, json } = await sendBulk(server, table, 'ndjson', body, { query });
    const answer = json as JsonRow;
    if (status === 200) outcomes.push({ refusals: answer['errors'], rows: await storedRows(table) });
    else if (status === 400) outcomes.push({ refused: String(answer['message']).replaceAll(table, 'TABLE') });
    else throw new Error(`status ${status}: ${String(answer['message'])}`);
  }
  return outcomes;
}

/** Every value as its text, with the type of its column; columns by their name. */
async function storedRows(table: string): Promise<JsonRow[]> {
  const rows = await rowsOf(
    server,
    `SELECT COLUMNS(*)::VARCHAR, typeof(COLUMNS(*)) AS "type of \\0" FROM (SELECT * EXCLUDE (pad) FROM ${table} WHERE id NOT LIKE 'filler%') ORDER BY ALL`,
  );
  return rows.map((row) => Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))));
}

async function expectSameBothWays(bodies: readonly string[], query = ''): Promise<readonly Outcome[]> {
  // The small one has the column, too.
  const pad = '{"id":"filler","timestamp":"2024-01-01T00:00:00Z","pad":"x"}\n';
  const ended = bodies.map((body) => (body.endsWith('\n') || body === '' ? body : `${body}\n`));
  const [small, large] = await Promise.all([
    outcomeOf(
      ended.map((body) => body + pad),
      query,
    ),
    outcomeOf(
      ended.map((body) => body + FILLER),
      query,
    ),
  ]);
  expectThat(large, JSON.stringify(bodies)).toEqual(small);
  return small;
}

const nested = (depth: number): string => '{"a":'.repeat(depth - 1) + '1' + '}'.repeat(depth - 1);

describe('a row means the same in a small and in a large body', () => {
  test.concurrent.each([
    ['year 10000 by its zone', '{"id":"a","timestamp":"9999-12-31T23:59:59.999999-12:00"}'],
    ['the last instant', '{"id":"a","timestamp":"9999-12-31T23:59:59.999999Z"}'],
    ['the last instant in another zone', '{"id":"a","timestamp":"9999-12-31T12:59:59.999999-11:00"}'],
    ['year 0', '{"id":"a","timestamp":"0000-01-01T00:00:00Z"}'],
    ['year 0 by its zone', '{"id":"a","timestamp":"0001-01-01T00:00:00+00:01"}'],
    ['the first instant', '{"id":"a","timestamp":"0001-01-01T00:00:00Z"}'],
    ['milliseconds beyond the years', '{"id":"a","timestamp":253402300800000}'],
    ['a comma at the end of an object', '{"id":"a","x":"1",}'],
    ['a comma at the end of an array', '{"id":"a","x":[1, 2, ]}'],
    ['NaN', '{"id":"a","x":NaN}'],
    ['-Infinity in an array', '{"id":"a","x":[-Infinity]}'],
    ['a number too small for a double', '{"id":"a","x":1e-400}'],
    ['a number too small without an exponent', `{"id":"a","x":0.${'0'.repeat(330)}1}`],
    ['a number too large for a double', '{"id":"a","x":1e400}'],
    ['a small number in a document', '{"id":"a","x":{"y":1e-400}}'],
    ['digits in a document', '{"id":"a","x":{"y":1.10000000000000000001,"z":1e2,"w":19.90,"v":10.0}}'],
    ['keys twice in a document', '{"id":"a","x":{"k":1,"k":2}}'],
    ['keys twice in a document, one escaped', '{"id":"a","x":{"k":1,"\\u006b":2}}'],
    ['keys twice deep in a document', '{"id":"a","x":[{"y":{"k":1,"l":{},"k":[2]}}]}'],
    ['keys twice behind texts that look like keys', '{"id":"a","x":{"t":["a",":","\\":"],":x":1,":x":2}}'],
    ['keys twice in a row', '{"id":"a","x":1,"x":2}'],
    ['keys that differ in case', '{"id":"a","x":1,"X":2}'],
    ['the same key in two objects', '{"id":"a","x":[{"k":1},{"k":2}]}'],
    ['a key without a name', '{"id":"a","":1}'],
    ['half a surrogate pair', '{"id":"a","x":"\\ud800"}'],
    ['half a surrogate pair in a key', '{"id":"a","x":{"\\udc00":1}}'],
    ['a pair of surrogates', '{"id":"a","x":"\\ud83d\\ude00"}'],
    ['a character 0', '{"id":"a","x":"a\\u0000b"}'],
    ['as deep as allowed', `{"id":"a","x":${nested(DEPTH_MAX - 1)}}`],
    ['deeper than allowed', `{"id":"a","x":${nested(DEPTH_MAX + 1)}}`],
    ['minus 0', '{"id":"a","x":-0,"y":-0.0}'],
    ['two objects in a line', '{"id":"a"} {"id":"b"}'],
    ['bytes after an object', '{"id":"a"} x'],
    ['an object over two lines', '{"id":"a",\n"x":1}'],
    ['an array of objects', '[{"id":"a"}]'],
    ['a comment', '{"id":"a"} // text'],
    ['carriage returns and blank lines', '\r\n{"id":"a","x":1}\r\n\r\n \t\n{"id":"b","x":2}\r'],
    ['a mark of the byte order', '\ufeff{"id":"a","x":1}'],
    ['an id that is a number', '{"id":12,"x":1}'],
    ['an id that is a fraction', '{"id":1.5,"x":1}'],
    ['an empty id', '{"id":"","x":1}'],
    ['a field of another case that is the id', '{"id":"a","ID":"b"}'],
  ])('%s', async (_, body) => {
    const timed = body.includes('"timestamp"') ? body : body.replaceAll('{"id"', '{"timestamp":"2024-01-01T00:00:00Z","id"');
    await expectSameBothWays([timed]);
  });

  test(`${DOCUMENTS} random documents`, async () => {
    const seed = seedOfThisRun();
    const random = new SeededRandom(seed);
    const groups = Array.from({ length: DOCUMENTS / DOCUMENTS_OF_A_TABLE }, (_, group) =>
      Array.from({ length: DOCUMENTS_OF_A_TABLE }, (__, at) => randomDocument(random, group * DOCUMENTS_OF_A_TABLE + at)),
    );
    let stored = 0;
    const next = async (): Promise<void> => {
      for (let bodies = groups.pop(); bodies; bodies = groups.pop()) {
        const outcomes = await expectSameBothWays(bodies, random.chance(0.3) ? '&on_error=skip' : '');
        stored += outcomes.filter((outcome) => 'rows' in outcome).length;
      }
    };
    try {
      await Promise.all(Array.from({ length: CLIENTS }, next));
    } catch (error) {
      throw new Error(`SEED=${seed}`, { cause: error });
    }
    // Refusals alone would prove little.
    expect(stored).toBeGreaterThan(DOCUMENTS / 4);
  }, 120_000);
});

const FIELDS = ['a', 'b', 'c', 'd', 'A', 'é', 'a b', "it's", 'a.b', '$'];
const PLAIN = [
  '1',
  '0.000001',
  '123456789012345680000.5',
  '123456789.12345679',
  '-7',
  '0.5',
  '19.90',
  '0.30000000000000004',
  'true',
  'null',
  '"text"',
  '"2024-01-01"',
  '9007199254740993',
  '12345678901234567890',
];
const ODD = [
  '-0',
  '-0.0',
  '10.0',
  '1e3',
  '1E-7',
  '1e-400',
  '1e400',
  '1.10000000000000000001',
  '9007199254740990.5',
  '""',
  '"\\ud800"',
  '"\\ud83d\\ude00"',
  '"\\u00e9\\/"',
  '"a,]}"',
  '"x: nan,"',
  '{}',
  '[]',
  'NaN',
  '01',
  '+1',
  '.5',
  "'a'",
];

/** A few rows that are mostly right, the same fields in each. */
function randomDocument(random: SeededRandom, number: number): string {
  const fields = random.some(FIELDS, random.integer(1, 4));
  const plain = fields.map(() => random.pick(PLAIN));
  const isOdd = random.chance(0.7);
  const rows = Array.from({ length: random.integer(1, 5) }, (_, row) => {
    const values = fields.map((_field, at) => (isOdd && random.chance(0.2) ? randomValue(random, 0) : (plain[at] ?? 'null')));
    const members = fields.map((field, at) => `${JSON.stringify(field)}${space(random)}:${space(random)}${values[at] ?? 'null'}`);
    if (isOdd && random.chance(0.05)) members.push(random.pick(members));
    const comma = isOdd && random.chance(0.03) ? ',' : '';
    return `{"id":"d${number}_${row}","timestamp":${randomTime(random, isOdd)},${members.join(`${space(random)},`)}${comma}}`;
  });
  return rows.join(random.pick(['\n', '\n', '\n', '\r\n', '\n\n', ' \n\t\n']));
}

function space(random: SeededRandom): string {
  return random.chance(0.2) ? ' ' : '';
}

function randomTime(random: SeededRandom, isOdd: boolean): string {
  const usual = ['"2024-01-01T00:00:00Z"', '"2024-02-29T23:59:59.123456+05:30"', '1704067200123'];
  const odd = [
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59-00:01"',
    '"2023-02-29T00:00:00Z"',
    '"2024-01-01T00:00:00"',
    '"2024-12-31T23:59:60Z"',
    '"2024-01-01T24:00:00Z"',
    '1.5',
    '-62135596800001',
    '"2024-01-01t00:00:00.123456789z"',
  ];
  return isOdd && random.chance(0.1) ? random.pick(odd) : random.pick(usual);
}

function randomValue(random: SeededRandom, depth: number): string {
  if (depth > 3 || random.chance(0.5)) return random.chance(0.5) ? random.pick(ODD) : random.pick(PLAIN);
  const members = Array.from({ length: random.integer(0, 4) }, () => randomValue(random, depth + 1));
  if (random.chance(0.4)) return `[${members.join(', ')}]`;
  return `{${members.map((value) => `${JSON.stringify(random.pick(FIELDS))}:${value}`).join(',')}}`;
}
