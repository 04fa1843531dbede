/** Run by npm before `npm test`: what `npm start` needs, and the readers that the interoperability tests compare us with. */
import { installOnDemand } from './on-demand.mjs';
import { prepare } from './prepare.mjs';

prepare();
try {
  installOnDemand('interop');
} catch (error) {
  // Not the end: the tests that need it fail by name, all others run.
  process.stderr.write(`${error.message}\n`);
}
