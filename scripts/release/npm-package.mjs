/**
 * The npm package of a release: what `npm pack` takes, without what only a checkout needs. Nothing in it runs when it is installed.
 *
 * It names the packages of its packages, too, so that people get the versions that were tested and not those that are newest on the day. An
 * npm-shrinkwrap.json would be the way for it, but npm reads that only of packages from a registry, and not of a file.
 */
import { cpSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { npm, readJson } from './run.mjs';

const FOR_DEVELOPMENT = ['devDependencies', 'scripts', 'private'];

export function makeNpmPackage(contents, folder, output) {
  cpSync(contents, folder, { recursive: true });
  const manifest = { ...productionManifest(contents), dependencies: exactVersions() };
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  npm(['pack', '--ignore-scripts', '--pack-destination', output], { cwd: folder });
}

/** @returns {object} package.json for those who only run the server */
export function productionManifest(contents) {
  const manifest = readJson(path.join(contents, 'package.json'));
  return Object.fromEntries(Object.entries(manifest).filter(([name]) => !FOR_DEVELOPMENT.includes(name)));
}

/** @returns {object} package-lock.json without the packages of development */
export function productionLock(manifest) {
  const lock = readJson(path.join(REPOSITORY, 'package-lock.json'));
  const entries = Object.entries(lock.packages).filter(([place, entry]) => place !== '' && !entry.dev && !entry.extraneous);
  const { name, version, license, dependencies, engines, bin } = manifest;
  return { ...lock, packages: { '': { name, version, license, dependencies, engines, bin }, ...Object.fromEntries(entries) } };
}

/**
 * All packages that stand at the top of node_modules. Those for one platform come with the package that chooses among them, at the version which that names;
 * second versions, which stand deeper, are chosen by npm.
 */
function exactVersions() {
  const { packages } = readJson(path.join(REPOSITORY, 'package-lock.json'));
  const isTop = ([place, { dev, optional, peer }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(place) && !dev && !optional && !peer;
  return Object.fromEntries(
    Object.entries(packages)
      .filter(isTop)
      .map(([place, { version }]) => [place.replace('node_modules/', ''), version]),
  );
}
