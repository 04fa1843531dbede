/**
 * Projects in the order of jest.config.mjs: a break in a unit shows in the first minute. Within one the longest suites first, so that no worker
 * waits for the others at the end; on a fresh clone Jest knows only the size of a file, and these take longer than it says, in this order.
 */
import { createRequire } from 'node:module';
import path from 'node:path';

const { default: Sequencer } = createRequire(import.meta.url)('@jest/test-sequencer');
const ORDER = ['unit', 'e2e', 'bucket', 'measured'];
const LONGEST = [
  'crash',
  'interop-clickhouse',
  'redis-faults',
  'contract-rest',
  'backup-data',
  'object-store-faults',
  'backup-wipe',
  'bulk-formats',
  'bulk-loads',
  'sql-guard',
  'two-nodes-more',
  'check-storage',
  'paging',
  'tracing',
  'bad-configuration',
  'doors',
];

export default class ByProject extends Sequencer {
  sort(tests) {
    const project = (test) => ORDER.indexOf(test.context.config.displayName.name);
    const place = (test) => (LONGEST.length + 1) * project(test) + rankOf(test);
    const sorted = [...super.sort(tests)].sort((one, other) => place(one) - place(other));
    // For global-setup.mjs, which Jest tells nothing of what will run.
    globalThis.endToEndFiles = sorted.filter((test) => project(test) > 0).length;
    return sorted;
  }
}

function rankOf(test) {
  const rank = LONGEST.indexOf(path.basename(test.path, '.test.ts'));
  return rank < 0 ? LONGEST.length : rank;
}
