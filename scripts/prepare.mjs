/**
 * What has to be true before the server or the tests run from a checkout: a Node that is new enough, the packages of
 * package-lock.json installed, and dist/ built from the src/ that is there now. Does nothing, in some milliseconds, when all is so.
 *
 * `npm start` on a fresh clone comes here before node_modules exists: only Node's own modules may be imported.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const BUILT_ENTRY = path.join(REPOSITORY, 'dist', 'main.cjs');
const BUILD_INPUTS = ['src', 'tsconfig.json', 'nest-cli.json'];

/** Everything, in the order it is needed. Ends the process with one clear line when a step fails. */
export function prepare() {
  requireNodeVersion();
  ensureInstalled();
  ensureBuilt();
}

/** The oldest Node that works is written in package.json (`engines`). */
export function requireNodeVersion() {
  const wanted = readJson('package.json').engines.node.replace('>=', '');
  if (compareVersions(process.versions.node, wanted) < 0) {
    fail(`MinIODB needs Node ${wanted} or newer; this is Node ${process.versions.node} (${process.execPath}).`);
  }
}

/** Runs `npm ci` when node_modules is missing, half-made or made from another package-lock.json. */
export function ensureInstalled() {
  if (installedMatchesLock()) return;
  say('Installing the packages of package-lock.json ...');
  // Building needs the development packages too, so NODE_ENV=production must not leave them out.
  installLocked(REPOSITORY, ['--include=dev']) || fail('The packages could not be installed; npm says why above.');
}

/** Exactly what the folder's package-lock.json says. Gives whether it worked. */
export function installLocked(directory, parameters) {
  return runNpm(['ci', ...parameters, '--no-audit', '--no-fund', '--loglevel=error'], directory);
}

/** Runs `npm run build` when dist/ is missing or older than what it is made from. */
export function ensureBuilt() {
  if (isBuilt()) return;
  say('Building (npm run build) ...');
  const startedAt = new Date();
  const worked = runNpm(['run', '--silent', 'build'], REPOSITORY);
  // The start of the build, not its end: a source saved meanwhile is newer and gets built the next time. What a failed build left
  // (the compiler writes files in spite of type errors) must not pass for built.
  const date = worked ? startedAt : new Date(0);
  if (existsSync(BUILT_ENTRY)) utimesSync(BUILT_ENTRY, date, date);
  if (!worked) fail('npm run build failed; its output is above.');
  if (!existsSync(BUILT_ENTRY)) fail(`npm run build made no ${BUILT_ENTRY}.`);
}

function isBuilt() {
  if (!existsSync(BUILT_ENTRY)) return false;
  const builtAt = statSync(BUILT_ENTRY).mtimeMs;
  return BUILD_INPUTS.every((input) => newestChangeMs(path.join(REPOSITORY, input)) <= builtAt);
}

/** The latest change below a path. Folders count as well: removing a file changes only its folder. */
function newestChangeMs(start) {
  if (!existsSync(start)) return 0;
  const status = statSync(start);
  if (!status.isDirectory()) return status.mtimeMs;
  return readdirSync(start).reduce((newest, name) => Math.max(newest, newestChangeMs(path.join(start, name))), status.mtimeMs);
}

/** npm writes node_modules/.package-lock.json last, so its absence means an installation that did not end. */
function installedMatchesLock() {
  const installed = path.join(REPOSITORY, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  if (statSync(installed).mtimeMs >= statSync(path.join(REPOSITORY, 'package-lock.json')).mtimeMs) return true;
  return samePackages(readJson('package-lock.json').packages, readJson('node_modules/.package-lock.json').packages);
}

/** A newer date alone proves nothing (`git checkout`, or `npm install` itself): the versions decide. */
function samePackages(locked, installed) {
  const isWanted = ([place, entry]) => place !== '' && !(entry.optional && !(place in installed));
  const wanted = Object.entries(locked).filter(isWanted);
  const isThere = ([place, entry]) =>
    place in installed && installed[place].version === entry.version && installed[place].integrity === entry.integrity;
  return wanted.length === Object.keys(installed).length && wanted.every(isThere);
}

/** Gives whether npm succeeded. The npm that runs us is preferred: it need not be the first one on PATH. */
function runNpm(parameters, directory) {
  const itself = process.env.npm_execpath ?? '';
  const [command, first] = path.basename(itself) === 'npm-cli.js' ? [process.execPath, [itself]] : ['npm', []];
  // Standard output belongs to the program that runs afterwards; npm's goes beside it.
  const { status, error } = spawnSync(command, [...first, ...parameters], { cwd: directory, stdio: ['ignore', 2, 2] });
  if (error) say(`npm could not be started: ${error.message}`);
  return status === 0;
}

function compareVersions(left, right) {
  const [one, other] = [left, right].map((version) => version.split('.').map((part) => Number.parseInt(part, 10)));
  const differs = one.findIndex((part, index) => part !== (other[index] ?? 0));
  return differs < 0 ? 0 : one[differs] - (other[differs] ?? 0);
}

function readJson(file) {
  return JSON.parse(readFileSync(path.join(REPOSITORY, file), 'utf8'));
}

function say(message) {
  process.stderr.write(`${message}\n`);
}

function fail(message) {
  say(message);
  process.exit(1);
}
