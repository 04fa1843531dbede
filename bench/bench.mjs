/**
 * `npm run bench [-- --quick] [-- --only a,c]`: what a request costs, how bulk loading and queries compare with plain DuckDB in the same
 * run, what fsync takes, what an idle server needs, how the formats compare, what a change by id takes, how the questions of ClickBench compare
 * with plain DuckDB, how queries fare on small files and deleted rows, what a stream of records takes, what guarding and watching cost, and what comes in as
 * bodies of some thousand rows. Ratios carry from one machine to
 * another; absolute figures do not.
 *
 * The load generator, DuckDB and the server share this machine, one after the other where that is possible.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { REPOSITORY, prepare } from '../scripts/prepare.mjs';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string', default: 'a,b,c,d,e,f,g,h,i,j,k,l' } },
});
prepare();
const { describeMachine } = await import('./machine.mjs');
const { measureSingleWrites } = await import('./single-writes.mjs');
const { measureBulk } = await import('./bulk.mjs');
const { measureQueries } = await import('./queries.mjs');
const { measureSyncShare } = await import('./sync-share.mjs');
const { measureFormats } = await import('./formats.mjs');
const { measureChanges } = await import('./changes.mjs');
const { measureClickBench } = await import('./clickbench.mjs');
const { measureStart } = await import('./start.mjs');
const { measureLayout } = await import('./layout.mjs');
const { measureStreamWrites } = await import('./stream-writes.mjs');
const { measureGuards } = await import('./guards.mjs');
const { measureIngest } = await import('./ingest.mjs');

const MEASUREMENTS = {
  a: ['POST of one record', measureSingleWrites],
  b: ['NDJSON bulk load against DuckDB', measureBulk],
  c: ['Queries over HTTP against the same in process', measureQueries],
  d: ['What fsync costs', measureSyncShare],
  e: ['Start and idle memory', measureStart],
  f: ['Formats, in and out', measureFormats],
  g: ['Update and delete by id', measureChanges],
  h: ['The questions of ClickBench against DuckDB', measureClickBench],
  i: ['Many small files, deleted rows, changed files', measureLayout],
  j: ['gRPC StreamWrite', measureStreamWrites],
  k: ['What authentication, limits, audit and metrics cost', measureGuards],
  l: ['Bodies of some thousand rows, by format', measureIngest],
};
const SIZES = options.quick
  ? {
      secondsOfLoad: 3,
      secondsOfWarmUp: 1,
      rounds: 1,
      bulkRows: 200_000,
      largeRows: 1_000_000,
      changes: 100,
      queriesOfAKind: 30,
      starts: 2,
      clickBenchRows: 500_000,
      mixSeconds: 5,
      flushes: 1_000,
    }
  : {
      secondsOfLoad: 10,
      secondsOfWarmUp: 3,
      rounds: 3,
      bulkRows: 1_000_000,
      largeRows: 10_000_000,
      changes: 300,
      queriesOfAKind: 150,
      starts: 5,
      clickBenchRows: 5_000_000,
      mixSeconds: 60,
      // 10,000 files would take five minutes to make.
      flushes: 2_000,
    };

// On the disk of the checkout, not in the system's temporary directory: that may be memory, where fsync costs nothing.
const folder = path.join(REPOSITORY, '.cache', 'bench');
mkdirSync(folder, { recursive: true });
const directory = mkdtempSync(path.join(folder, 'run-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

const say = (line = '') => process.stdout.write(`${line}\n`);
for (const line of describeMachine(directory)) say(line);
for (const letter of options.only.split(',')) {
  const [title, measure] = MEASUREMENTS[letter] ?? [];
  if (measure === undefined) throw new Error(`--only ${letter}: the measurements are ${Object.keys(MEASUREMENTS).join(', ')}`);
  say(`\n(${letter}) ${title}`);
  await measure({ directory, sizes: SIZES, say: (line) => say(`    ${line}`) });
}
