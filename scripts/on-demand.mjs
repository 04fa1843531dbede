/**
 * Packages too large, or too far from the product, to be among its dependencies: the ClickHouse engine that tests read our tables
 * with, the data sets of the demo. They are installed when first needed, into .cache/, at the exact versions and checksums of
 * scripts/on-demand/NAME/package-lock.json; another lock is another folder, so a version never mixes with its predecessor.
 *
 * As a command: node scripts/on-demand.mjs NAME
 */
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { REPOSITORY, installLocked } from './prepare.mjs';

const LISTS = path.join(REPOSITORY, 'scripts', 'on-demand');

/**
 * Installs one list of packages unless it is there.
 * @param {string} name a folder of scripts/on-demand
 * @param {{os: string, cpu: string}=} platform another one than this, for programs that are to be run there
 * @returns {string} the folder that holds node_modules
 * @throws Error that ends with the line to type
 */
export function installOnDemand(name, platform) {
  const list = path.join(LISTS, name);
  const cache = path.join(REPOSITORY, '.cache', platform === undefined ? name : `${name}-${platform.os}-${platform.cpu}`);
  const forPlatform = platform === undefined ? [] : [`--os=${platform.os}`, `--cpu=${platform.cpu}`];
  const digest = createHash('sha256')
    .update(readFileSync(path.join(list, 'package-lock.json')))
    .digest('hex');
  const installed = path.join(cache, digest.slice(0, 12));
  if (existsSync(installed)) return installed;
  process.stderr.write(`Installing ${packageNames(list).join(', ')} into .cache/${path.basename(cache)} (once) ...\n`);
  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(path.join(cache, 'unfinished-'));
  try {
    for (const file of ['package.json', 'package-lock.json']) copyFileSync(path.join(list, file), path.join(unfinished, file));
    if (!installLocked(unfinished, ['--ignore-scripts', ...forPlatform])) {
      throw new Error(`${packageNames(list).join(', ')} could not be installed. To try again, type: node scripts/on-demand.mjs ${name}`);
    }
    publish(unfinished, installed);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  removeOthers(cache, path.basename(installed));
  return installed;
}

/** The rename makes it whole or absent for everyone; who comes second finds it there and needs nothing more. */
function publish(unfinished, installed) {
  try {
    renameSync(unfinished, installed);
  } catch (error) {
    if (!existsSync(installed)) throw error;
  }
}

/** Former versions; a folder that another process is filling at this moment is left alone. */
function removeOthers(cache, current) {
  const others = readdirSync(cache).filter((name) => name !== current && !name.startsWith('unfinished-'));
  for (const name of others) rmSync(path.join(cache, name), { recursive: true, force: true });
}

function packageNames(list) {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(path.join(list, 'package.json'), 'utf8'));
  return Object.entries({ ...dependencies, ...optionalDependencies }).map(([name, version]) => `${name} ${version}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.stdout.write(`${installOnDemand(process.argv[2] ?? '')}\n`);
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
