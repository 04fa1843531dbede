/** Runs one program to its end within a bound, while other things go on. */
import { spawn } from 'node:child_process';

const RUN_MS_MAX = 600_000;

/** @returns {Promise<{code: number | null, output: string}>} */
export function runBeside(program, parameters, { cwd, env = process.env, timeoutMs = RUN_MS_MAX } = {}) {
  const child = spawn(program, parameters, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}
