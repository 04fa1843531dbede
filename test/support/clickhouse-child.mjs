/**
 * One ClickHouse in one process: reads `{installed, queries}` from standard input, prints a JSON array with the rows of each query.
 * A process of its own, because the engine keeps snapshots in memory (each check has to read the table afresh) and because it may
 * only read files below its working directory, which therefore has to be the table's.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { text } from 'node:stream/consumers';

const { installed, queries } = JSON.parse(await text(process.stdin));
const { Session } = createRequire(path.join(installed, 'package.json'))('chdb');

// 64-bit integers as text: JSON.parse on the other side would round them.
const session = new Session(undefined, { connectionArgs: ['--session_timezone=UTC', '--output_format_json_quote_64bit_integers=1'] });
const answers = [];
for (const query of queries) {
  const lines = session.query(query, 'JSONEachRow').split('\n');
  answers.push(lines.filter((line) => line !== '').map((line) => JSON.parse(line)));
}
session.close();
process.stdout.write(JSON.stringify(answers));
