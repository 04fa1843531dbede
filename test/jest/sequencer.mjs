/**
 * Projects in the order of jest.config.mjs: a break in a unit shows in the first minute. Within one the longest suites first, so that no worker
 * waits for the other at the end; on a fresh clone Jest knows only the size of a file, and these take longer than it says.
 */
import { createRequire } from 'node:module';

const { default: Sequencer } = createRequire(import.meta.url)('@jest/test-sequencer');
const ORDER = ['unit', 'e2e', 'bucket', 'measured'];
const LONGEST = /\/(crash|redis-faults|operations|bulk-formats|contract-rest|interop-clickhouse)\.test\.ts$/;

export default class ByProject extends Sequencer {
  sort(tests) {
    const project = (test) => ORDER.indexOf(test.context.config.displayName.name);
    const place = (test) => 2 * project(test) + (LONGEST.test(test.path) ? 0 : 1);
    const sorted = [...super.sort(tests)].sort((one, other) => place(one) - place(other));
    // For global-setup.mjs, which Jest tells nothing of what will run.
    globalThis.endToEndFiles = sorted.filter((test) => project(test) > 0).length;
    return sorted;
  }
}
