/**
 * Runs suites, one Jest after the other, and closes with the one line that machines read: `N passed, N failed`. Fails when a test failed,
 * when a file could not be loaded, and when no test ran at all.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { REPOSITORY } from './prepare.mjs';
import { runJest } from './run-jest.mjs';

/**
 * @typedef {{passed: number, failed: number, failures: string[]}} Counts
 * @param {{name: string, parameters: string[], environment: Record<string, string>, node?: string}[]} runs
 * @param {Counts} before what was checked before, and counts as well
 * @returns {Promise<void>} with process.exitCode set
 */
export async function runSuites(runs, before = { passed: 0, failed: 0, failures: [] }) {
  const total = { ...before, failures: [...before.failures] };
  for (const run of runs) {
    if (runs.length > 1) process.stdout.write(`\n${run.name}\n`);
    const { passed, failed, failures } = await runAndCount(run);
    total.failures.push(...failures.map((failure) => (runs.length > 1 ? `${run.name}: ${failure}` : failure)));
    total.passed += passed;
    total.failed += failed;
    if (passed + failed === 0) process.stdout.write('No test ran.\n');
    if (passed === 0) process.exitCode = 1;
  }
  // Once more at the end, where a long log is read first.
  for (const failure of total.failures) process.stdout.write(`failed: ${failure}\n`);
  process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
  if (total.failed > 0) process.exitCode = 1;
}

async function runAndCount({ parameters, environment, node }) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'miniodb-test-'));
  const reportFile = path.join(folder, 'report.json');
  try {
    const exitCode = await runJest([...parameters, '--passWithNoTests', '--json', `--outputFile=${reportFile}`], environment, node);
    return countResults(exitCode, reportFile, parameters);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A file that failed as a whole (it does not load) counts as one failed test, and so does a run that Jest calls failed though each test
 * passed (an error outside of them), or one that ended without its report. Where no file matches, Jest succeeds and writes none.
 */
function countResults(exitCode, reportFile, parameters) {
  if (!existsSync(reportFile)) {
    const failures = exitCode === 0 ? [] : ['Jest ended without a report; its output is above'];
    return { passed: 0, failed: failures.length, failures };
  }
  const files = JSON.parse(readFileSync(reportFile, 'utf8')).testResults;
  const tests = files.flatMap((file) => file.assertionResults);
  const having = (status) => tests.filter((test) => test.status === status);
  const filesFailed = files.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'));
  const failures = [
    ...having('failed').map(({ fullName, failureMessages }) => `${fullName}\n${failureMessages.map(beginning).join('\n')}`),
    ...filesFailed.map(({ name, message }) => `${path.relative(REPOSITORY, name)}\n${beginning(message)}`),
  ];
  if (exitCode !== 0 && failures.length === 0 && having('passed').length > 0)
    failures.push('Jest says above what failed outside of the tests');
  tellNotRun(tests, parameters);
  return { passed: having('passed').length, failed: failures.length, failures };
}

function tellNotRun(tests, parameters) {
  if (parameters.some((parameter) => /^(-t|--testNamePattern)/.test(parameter))) return;
  const notRun = tests.filter(({ status }) => status !== 'passed' && status !== 'failed');
  for (const { fullName } of notRun) process.stdout.write(`not run: ${fullName}\n`);
}

function beginning(message) {
  return message
    .split('\n')
    .slice(0, 12)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join('\n');
}
