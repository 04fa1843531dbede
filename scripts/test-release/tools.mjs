/** Programs that judge a release, at fixed versions, below .cache/test-release/: built from Go modules (go/NAME), or from PyPI (requirements.txt). */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { REPOSITORY } from '../prepare.mjs';
import { run } from '../release/run.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const TOOLS = path.join(REPOSITORY, '.cache', 'test-release');
const BUILD_MS_MAX = 2_400_000;

export function hasGo() {
  return spawnSync('go', ['version']).status === 0;
}

export function hasPython() {
  return spawnSync('python3', ['-c', 'import ensurepip, venv']).status === 0;
}

/**
 * @param {string} name a folder of go/ with go.mod and go.sum
 * @param {string} program the package of the program
 * @param {string[]} flags of the linker
 * @returns {string} the program, built when it is first needed
 */
export function goTool(name, program = '.', flags = []) {
  const module = path.join(HERE, 'go', name);
  const file = path.join(TOOLS, 'go', `${name}-${digestOf(path.join(module, 'go.sum'))}`);
  if (existsSync(file)) return file;
  process.stderr.write(`Building ${name} (once) ...\n`);
  const unfinished = `${file}.unfinished`;
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' };
  const linker = ['-s', '-w', ...flags].join(' ');
  run('go', ['build', '-trimpath', '-buildvcs=false', '-ldflags', linker, '-o', unfinished, program], {
    cwd: module,
    env,
    timeoutMs: BUILD_MS_MAX,
  });
  renameSync(unfinished, file);
  return file;
}

/** @returns {string} the folder of a Go module, at a version whose checksum Go knows */
export function goModule(nameAndVersion) {
  return JSON.parse(run('go', ['mod', 'download', '-json', nameAndVersion], { cwd: HERE })).Dir;
}

/** @returns {(program: string) => string} where a program of the Python packages is */
export function pythonTools() {
  const list = path.join(HERE, 'requirements.txt');
  const folder = path.join(TOOLS, `python-${digestOf(list)}`);
  if (!existsSync(folder)) {
    process.stderr.write('Installing the Python packages of scripts/test-release/requirements.txt (once) ...\n');
    mkdirSync(TOOLS, { recursive: true });
    try {
      run('python3', ['-m', 'venv', folder]);
      run(path.join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', list]);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }
  return (program) => path.join(folder, 'bin', program);
}

function digestOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 12);
}
