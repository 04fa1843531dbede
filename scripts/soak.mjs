/**
 * `npm run soak [-- rounds]`: the random suites again and again, each time with a new seed, until one fails. A failure names its seed;
 * `SEED=... npx vitest run <file>` repeats it.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import path from 'node:path';
import { REPOSITORY, prepare } from './prepare.mjs';

const SEED_MAX = 2 ** 32;
const SUITES = [
  ['test/model.test.ts'],
  ['test/crash.test.ts'],
  ['test/right-answers.test.ts', 'test/paging.test.ts', 'test/result-cache.test.ts'],
  ['test/restore-races.test.ts', 'test/backup-model.test.ts', 'test/backup-crashes.test.ts'],
  ['test/model.test.ts', 'test/right-answers.test.ts', { TEST_STORAGE: 'minio', MODEL_OPERATIONS: '1000', RIGHT_ANSWERS_QUERIES: '2000' }],
  ['test/two-nodes.test.ts', 'test/two-nodes-more.test.ts', 'test/object-store-faults.test.ts', 'test/redis-faults.test.ts'],
];

prepare();
const rounds = Number(process.argv[2] ?? Infinity);
for (let round = 1; round <= rounds && !process.exitCode; round++) {
  for (const suite of SUITES) {
    const environment = { SEED: String(randomInt(SEED_MAX)), ...suite.find((part) => typeof part === 'object') };
    const files = suite.filter((part) => typeof part === 'string');
    process.stdout.write(`\nround ${round}: SEED=${environment.SEED} ${files.join(' ')}\n`);
    process.exitCode = await runVitest(files, environment);
    if (process.exitCode) break;
  }
}

function runVitest(files, environment) {
  const vitest = path.join(REPOSITORY, 'node_modules', 'vitest', 'vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', ...files], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}
