/**
 * Python programs that judge us from outside, with packages of PyPI. They are installed into .cache/ when first needed, at fixed versions. A machine
 * without Python is told what it does not test.
 */
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));
const OUTPUT_BYTES_MAX = 64 * 1_024 * 1_024;

const run = promisify(execFile);

export type Python = (...parameters: string[]) => Promise<string>;

/**
 * @param purpose for the message, such as "reflection with grpcio-reflection"
 * @param packages as pip takes them, with versions
 * @param module what they provide, imported to see whether they are there
 * @returns runs a script; undefined, after saying so, where there is no Python with venv
 */
export function pythonWith(purpose: string, name: string, packages: readonly string[], module: string): Python | undefined {
  const directory = path.join(CACHE, name);
  const program = path.join(directory, 'bin', 'python');
  if (spawnSync(program, ['-c', `import ${module}`]).status !== 0) {
    if (spawnSync('python3', ['-c', 'import ensurepip, venv']).status !== 0) {
      console.warn(`NOT TESTED: ${purpose}, because this machine has no Python with venv (apt-get install python3-venv)`);
      return undefined;
    }
    install('python3', ['-m', 'venv', directory]);
    install(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]);
  }
  return async (...parameters) => (await run(program, parameters, { maxBuffer: OUTPUT_BYTES_MAX })).stdout;
}

/** @throws Error with what the program said */
export function install(program: string, parameters: string[], env: Record<string, string> = {}): void {
  const { status, stderr } = spawnSync(program, parameters, { env: { ...process.env, ...env }, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${parameters.join(' ')} failed:\n${stderr}`);
}
