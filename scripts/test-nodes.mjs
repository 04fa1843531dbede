/**
 * `npm run test:nodes [-- 24]`: the unit tests and some suites that drive a server, under the newer lines of Node that people run, besides the oldest
 * that works. Their programs come from npm, at the versions and checksums of scripts/on-demand/node-*.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { installOnDemand } from './on-demand.mjs';
import { REPOSITORY, prepare } from './prepare.mjs';
import { runSuites } from './run-suites.mjs';

const LINES = ['22', '24'];
/** Every door, every kind of body, the log of writes, and the end of a server: where Node itself can make a difference. */
const SUITES = ['contract-rest', 'contract-rest-bulk', 'contract-rest-queries', 'contract-grpc', 'bulk-columnar', 'operations', 'doors'];

prepare();
const given = process.argv.slice(2);
const runs = (given.length > 0 ? given : LINES).map((line) => {
  const installed = installOnDemand(`node-${line}`);
  const node = path.join(installed, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  // As people start it: what V8 made of the server in one file is of no use here.
  const environment = { TEST_SERVER_MAIN: path.join(REPOSITORY, 'dist', 'main.cjs'), SEED: '1' };
  const files = `--testPathPatterns=/src/|/test/(${SUITES.join('|')})\\.test\\.ts$`;
  return { name: `Node ${stdout?.trim() || line}`, node, parameters: [files, '--selectProjects', 'unit', 'e2e'], environment };
});
await runSuites(runs);
