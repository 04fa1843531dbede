/** Runs suites in a process of their own. @returns Jest's exit code (1 when a signal ended it) */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY } from './prepare.mjs';

const JEST = path.join(REPOSITORY, 'node_modules', 'jest', 'bin', 'jest.js');
const NODE_OPTIONS = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];

/** @param node the program that runs it, and the servers that tests start */
export function runJest(parameters, environment, node = process.execPath) {
  const child = spawn(node, [...NODE_OPTIONS, JEST, ...parameters], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) =>
    child.once('exit', (code, signal) => {
      if (signal) process.stderr.write(`Jest was ended by ${signal}\n`);
      resolve(code ?? 1);
    }),
  );
}
