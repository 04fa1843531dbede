/** Projects in the order of jest.config.mjs: a break in a unit shows in the first minute. Within one, Jest's own order, slowest first. */
import { createRequire } from 'node:module';

const { default: Sequencer } = createRequire(import.meta.url)('@jest/test-sequencer');
const ORDER = ['unit', 'e2e', 'bucket', 'measured'];

export default class ByProject extends Sequencer {
  sort(tests) {
    const place = (test) => ORDER.indexOf(test.context.config.displayName.name);
    const sorted = [...super.sort(tests)].sort((one, other) => place(one) - place(other));
    // For global-setup.mjs, which Jest tells nothing of what will run.
    globalThis.endToEndFiles = sorted.filter((test) => place(test) > 0).length;
    return sorted;
  }
}
