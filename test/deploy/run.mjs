/** Runs one program to its end within a bound. */
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';

const RUN_MS_MAX = 600_000;
const OUTPUT_BYTES_MAX = 64 * 1_024 * 1_024;
const TOLD_CHARACTERS = 6_000;

/**
 * @param {string} program
 * @param {string[]} parameters
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number}} options
 * @returns {string} what it printed
 * @throws Error with the end of what it printed, when it fails
 */
export function run(program, parameters, { cwd, env = process.env, timeoutMs = RUN_MS_MAX } = {}) {
  const { status, error, stdout, stderr } = spawnSync(program, parameters, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: OUTPUT_BYTES_MAX,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (status === 0) return stdout;
  throw new Error(told(program, parameters, error?.message ?? `exit code ${status}`, `${stdout ?? ''}${stderr ?? ''}`));
}

/** The same without holding up the rest: other requests go on meanwhile. @returns {Promise<{code: number | null, output: string}>} */
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

function told(program, parameters, reason, output) {
  return `${path.basename(program)} ${parameters.join(' ')} failed (${reason}):\n${output.slice(-TOLD_CHARACTERS)}`;
}
