/**
 * `npm run openapi`: writes what the built server serves at /api-docs-json to docs/openapi.json, for people and generators of clients that have no server
 * at hand. A test compares the two.
 *
 * Not a part of `npm run build`: a build must not change files under version control (in the image and in a fresh clone it would), and a file that
 * is made anew by itself could never be found to differ.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { REPOSITORY, prepare } from './prepare.mjs';
import { startServerProcess } from './server-process.mjs';

const FILE = path.join(REPOSITORY, 'docs', 'openapi.json');

prepare();
const document = await servedDocument();
const text = JSON.stringify({ ...document, paths: sortedByKey(document.paths), components: sortedByKey(document.components) });
writeFileSync(FILE, await format(text, { ...(await resolveConfig(FILE)), filepath: FILE }));
process.stdout.write(`${path.relative(process.cwd(), FILE)}: ${Object.keys(document.paths).length} paths\n`);

async function servedDocument() {
  const dataDirectory = mkdtempSync(path.join(os.tmpdir(), 'miniodb-openapi-'));
  const server = await startServerProcess({ DATA_DIR: dataDirectory });
  try {
    return await (await fetch(`${server.url}/api-docs-json`)).json();
  } finally {
    await server.stop();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
}

/** The order in which modules are loaded is no part of the interface. Order within a schema is: that of its class. */
function sortedByKey(object) {
  const entries = Object.entries(object).map(([key, value]) => [key, key === 'schemas' ? sortedByKey(value) : value]);
  return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
}
