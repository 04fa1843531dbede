/** Types, lint (with the rule of the layers), what nobody uses (files, exports, packages) and format of the sources: the first part of `npm test`. */
import { spawn } from 'node:child_process';
import { REPOSITORY } from './prepare.mjs';

const NPM = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
const CHECKS = ['typecheck', 'lint', 'unused', 'format:check'];

/** @returns {Promise<{passed: number, failed: number, failures: string[]}>} each check counted as one test */
export async function checkSources() {
  const failures = [];
  for (const check of CHECKS) {
    process.stdout.write(`npm run ${check} ...\n`);
    if (!(await succeeds(check))) failures.push(`npm run ${check}: its output is above`);
  }
  return { passed: CHECKS.length - failures.length, failed: failures.length, failures };
}

function succeeds(script) {
  const [command, ...first] = NPM;
  const child = spawn(command, [...first, 'run', '--silent', script], { cwd: REPOSITORY, stdio: ['ignore', 'inherit', 'inherit'] });
  return new Promise((resolve) => child.once('error', () => resolve(false)).once('exit', (code) => resolve(code === 0)));
}
