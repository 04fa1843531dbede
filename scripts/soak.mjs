/**
 * `npm run soak [-- rounds]`: the random suites again and again, each time with a new seed, until one fails. A failure names its seed;
 * `SEED=... npm run test:long -- <file>` repeats it.
 */
import { randomInt } from 'node:crypto';
import { prepare } from './prepare.mjs';
import { runJest } from './run-jest.mjs';

const SEED_MAX = 2 ** 32;
const IN_A_BUCKET = { TEST_STORAGE: 'minio', MODEL_OPERATIONS: '1000', RIGHT_ANSWERS_QUERIES: '2000' };
const RUNS = [
  { suites: ['model'] },
  { suites: ['crash'] },
  { suites: ['right-answers', 'paging', 'result-cache'] },
  { suites: ['restore-races', 'backup-model', 'backup-crashes'] },
  { suites: ['model', 'right-answers'], environment: IN_A_BUCKET },
  { suites: ['two-nodes', 'two-nodes-more', 'object-store-faults', 'redis-faults'] },
  { suites: ['openapi-sweep'], environment: { OPENAPI_REQUESTS: '120' } },
];

prepare();
const rounds = Number(process.argv[2] ?? Infinity);
for (let round = 1; round <= rounds && !process.exitCode; round++) {
  for (const { suites, environment = {} } of RUNS) {
    const seed = String(randomInt(SEED_MAX));
    process.stdout.write(`\nround ${round}: SEED=${seed} ${suites.join(', ')}\n`);
    const files = suites.map((suite) => `/test/${suite}.test.ts`);
    process.exitCode = await runJest([...files, '--ignoreProjects', 'bucket'], { SEED: seed, ...environment });
    if (process.exitCode) break;
  }
}
