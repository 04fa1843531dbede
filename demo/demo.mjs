/**
 * `npm run demo [-- --url URL] [-- --keep]`: loads public data sets of some three million rows through the REST API, asks the questions a
 * person would ask, and holds every answer against DuckDB run directly on the source files. Fails when one differs.
 *
 * A server that answers on port 8081 (or at --url) is used; otherwise one is started for the time of the demo, with its data in a
 * temporary directory, or in ./data with --keep, so that `npm start` finds it afterwards.
 */
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { installOnDemand } from '../scripts/on-demand.mjs';
import { prepare } from '../scripts/prepare.mjs';

const { values: options } = parseArgs({ options: { url: { type: 'string' }, keep: { type: 'boolean', default: false } } });
prepare();
const installed = installOnDemand('demo');
const load = createRequire(`${installed}/package.json`);
// Only now: these import packages that prepare() may just have installed.
const { Reference } = await import('./reference.mjs');
const { findOrStartServer } = await import('./server.mjs');
const { loadTable, tableSizes } = await import('./load.mjs');
const { ask } = await import('./ask.mjs');
const { QUESTIONS } = await import('./questions.mjs');
const { sourcesIn } = await import('./sources.mjs');
const { Screen } = await import('./screen.mjs');

const screen = new Screen(load('cli-table3'), load('cli-progress'));
const server = await findOrStartServer(options, screen);
try {
  process.exitCode = await run();
} finally {
  await server.stop();
}

async function run() {
  const sources = sourcesIn(installed);
  const reference = await Reference.open(sources);
  try {
    screen.title('Loading through POST /v1/data/bulk');
    for (const source of sources) await loadTable(server.url, reference, source, screen);
    screen.table(await tableSizes(server.url, sources));
    const isEqual = [];
    for (const question of QUESTIONS) isEqual.push(await ask(server.url, reference, question, screen));
    const equal = isEqual.filter(Boolean).length;
    screen.title(`${equal} of ${isEqual.length} answers equal to DuckDB on the source files`);
    return equal === isEqual.length ? 0 : 1;
  } finally {
    reference.close();
  }
}
