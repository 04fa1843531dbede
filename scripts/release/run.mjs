/** Programs that a release is made with: each runs to its end within a bound, or the release fails with what it printed. */
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';

const RUN_MS_MAX = 600_000;
const OUTPUT_BYTES_MAX = 64 * 1_024 * 1_024;
const KIB = 1_024;

/**
 * @param {string} program
 * @param {string[]} parameters
 * @param {{cwd?: string, env?: Record<string, string>, timeoutMs?: number}} options
 * @returns {string} what it printed
 * @throws Error with the end of what it printed, when it fails
 */
export function run(program, parameters, { cwd = REPOSITORY, env = process.env, timeoutMs = RUN_MS_MAX } = {}) {
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
  const reason = error?.message ?? `exit code ${status}`;
  throw new Error(
    `${path.basename(program)} ${parameters.join(' ')} failed (${reason}):\n${`${stdout ?? ''}${stderr ?? ''}`.slice(-4_000)}`,
  );
}

/** The npm that runs us is preferred: it need not be the first one on PATH. */
export function npm(parameters, options) {
  const itself = process.env.npm_execpath ?? '';
  const [program, first] = path.basename(itself) === 'npm-cli.js' ? [process.execPath, [itself]] : ['npm', []];
  return run(program, [...first, ...parameters], options);
}

export function readJson(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** The date that every file of a release has, in seconds: that of the last commit, so that the same commit gives the same bytes. */
export function releaseSeconds() {
  if (process.env.SOURCE_DATE_EPOCH) return Number(process.env.SOURCE_DATE_EPOCH);
  try {
    return Number(run('git', ['log', '-1', '--format=%ct']));
  } catch {
    // Not from a repository: the date of the manifest in the source archive.
    return Math.floor(statSync(path.join(REPOSITORY, 'package.json')).mtimeMs / 1_000);
  }
}

export function sizeOf(file) {
  return `${(statSync(file).size / KIB / KIB).toFixed(1)} MiB`;
}
