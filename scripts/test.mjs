/**
 * `npm test [-- arguments of vitest]`: builds when needed, runs every suite, and closes with the one line that machines read:
 * `N passed, N failed`. Fails when a test failed, when a file could not be loaded, and when no test ran at all.
 *
 * Without arguments the suites of the engine run three times: on local files, in a bucket, and in a bucket with Redis.
 *
 * Random suites draw from one fixed seed here, so that the same code gets the same cases; `npm run soak` draws new ones, and so does SEED=.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { REPOSITORY, prepare } from './prepare.mjs';
import { runVitest } from './run-vitest.mjs';

/** Suites that say whether the engine keeps what it acknowledged and answers right; smaller than on local files, which come first. */
const ENGINE_SUITES = [
  'test/model.test.ts',
  'test/crash.test.ts',
  'test/right-answers.test.ts',
  'test/paging.test.ts',
  'test/interop-clickhouse.test.ts',
];
const SMALLER = { MODEL_OPERATIONS: '1000', CRASH_KILLS: '25', RIGHT_ANSWERS_QUERIES: '2000' };

const FIXED_SEED = '20261123';

prepare();
const given = process.argv.slice(2);
const runs = [{ name: 'as configured', parameters: given, environment: {} }];
if (given.length === 0 && !process.env.TEST_STORAGE) {
  for (const storage of ['minio', 'minio-redis'])
    runs.push({ name: `TEST_STORAGE=${storage}`, parameters: ENGINE_SUITES, environment: { ...SMALLER, TEST_STORAGE: storage } });
}
const total = { passed: 0, failed: 0, exitCode: 0, failures: [] };
for (const run of runs) {
  if (runs.length > 1) process.stdout.write(`\n${run.name}\n`);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'miniodb-test-'));
  const reportFile = path.join(folder, 'report.json');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`];
  const exitCode = await runVitest([...reporters, ...run.parameters], { SEED: process.env.SEED ?? FIXED_SEED, ...run.environment });
  const { passed, failed, notRun, failures } = countResults(exitCode, reportFile);
  rmSync(folder, { recursive: true, force: true });
  for (const name of notRun) process.stdout.write(`not run: ${name}\n`);
  total.failures.push(...failures.map((failure) => `${run.name}: ${failure}`));
  total.passed += passed;
  total.failed += failed;
  total.exitCode ||= exitCode;
}
// Once more at the end, where a long log is read first.
for (const failure of total.failures) process.stdout.write(`failed: ${failure}\n`);
if (total.passed + total.failed === 0) process.stdout.write('No test ran.\n');
process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : total.exitCode || 1;

/**
 * A file that failed as a whole (it does not load, a hook threw) counts as one failed test, and so does a run that vitest calls failed
 * though each test passed (an error outside of them), or one that ended without a report.
 */
function countResults(code, reportFile) {
  if (!existsSync(reportFile)) return { passed: 0, failed: 1, notRun: [], failures: ['no report was written'] };
  const files = JSON.parse(readFileSync(reportFile, 'utf8')).testResults;
  const tests = files.flatMap((file) => file.assertionResults);
  const having = (status) => tests.filter((test) => test.status === status);
  const filesFailed = files.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'));
  const found = having('failed').length + filesFailed.length;
  const neverChosen = process.argv.some((parameter) => /^(-t|--testNamePattern)/.test(parameter));
  const notRun = neverChosen
    ? []
    : tests.filter((test) => test.status !== 'passed' && test.status !== 'failed').map((test) => test.fullName);
  const failures = [
    ...having('failed').map(({ fullName, failureMessages }) => `${fullName}\n${failureMessages.map(beginning).join('\n')}`),
    ...filesFailed.map(({ name, message }) => `${path.relative(REPOSITORY, name)}\n${beginning(message)}`),
  ];
  return { passed: having('passed').length, failed: found === 0 && tests.length > 0 && code !== 0 ? 1 : found, notRun, failures };
}

function beginning(message) {
  return message
    .split('\n')
    .slice(0, 12)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join('\n');
}
