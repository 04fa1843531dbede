/** Runs suites in a process of their own. @returns vitest's exit code (1 when a signal ended it) */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY } from './prepare.mjs';

export function runVitest(parameters, environment) {
  const vitest = path.join(REPOSITORY, 'node_modules', 'vitest', 'vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', ...parameters], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}
