/** Run by npm before `npm test`: what `npm start` needs, the servers that tests start, and the readers that the interoperability tests compare us with. */
import { installOnDemand } from './on-demand.mjs';
import { prepare } from './prepare.mjs';
import { ensureTestServers } from './test-servers.mjs';

prepare();
try {
  ensureTestServers();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
try {
  installOnDemand('interop');
} catch (error) {
  // Not the end: the tests that need it fail by name, all others run.
  process.stderr.write(`${error.message}\n`);
}
