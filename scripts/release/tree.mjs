/**
 * The folder that runs on a Linux with nothing but its C and C++ libraries:
 *
 *   bin/     miniodb, miniodb-check-storage
 *   lib/     the built server and the packages of production, for this platform only
 *   node/    Node
 *   config/  proto/  LICENSE  THIRD-PARTY-NOTICES  sbom.cdx.json
 */
import { chmodSync, copyFileSync, cpSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { installOnDemand } from '../on-demand.mjs';
import { writeBillOfMaterials } from './bill-of-materials.mjs';
import { writeNotices } from './notices.mjs';
import { productionLock, productionManifest } from './npm-package.mjs';
import { npm } from './run.mjs';

/** Files of packages that only compilers, linters, debuggers and readers open. Licences have other names. */
const NOT_TO_RUN = /^\.|\.(map|d\.[cm]?ts|flow|markdown|md)$|^tsconfig.*\.json$|^eslint\.config\./;
const LEGAL = /^(licen[cs]e|copying|notice)/i;
const EVERYBODY_READS = 0o644;
const EVERYBODY_RUNS = 0o755;

const START = (program) => `#!/bin/sh
# With the Node of this release, wherever it was unpacked; works without PATH. Arguments go on.
set -eu
self=$0
if [ -L "$self" ]; then self=$(command -p readlink -f -- "$self"); fi
case $self in */*) ;; *) self=./$self ;; esac
root=$(CDPATH='' cd -- "\${self%/*}/.." && pwd -P)
exec "$root/node/bin/node" "$root/lib/dist/${program}" "$@"
`;

/**
 * @param {string} contents what `npm pack` takes, see archives.mjs
 * @param {string} architecture as Node calls it
 * @returns {string} the folder, named as the archive will be
 */
export function makeTree(contents, architecture, work) {
  const platform = { os: 'linux', cpu: architecture, libc: 'glibc' };
  const manifest = productionManifest(contents);
  const tree = path.join(work, `miniodb-${manifest.version}-linux-${architecture}`);
  const lib = path.join(tree, 'lib');
  mkdirSync(lib, { recursive: true });
  for (const name of ['config', 'proto', 'LICENSE']) cpSync(path.join(contents, name), path.join(tree, name), { recursive: true });
  installPackages(lib, manifest, platform);
  cpSync(path.join(contents, 'dist'), path.join(lib, 'dist'), { recursive: true });
  // The server looks for both beside its package.json.
  for (const name of ['config', 'proto']) symlinkSync(`../${name}`, path.join(lib, name));
  const node = copyNode(path.join(tree, 'node'), platform);
  writeBillOfMaterials(tree, node);
  writeNotices(tree, node);
  removeFromTree(lib);
  writeStarters(path.join(tree, 'bin'));
  setModes(tree);
  return tree;
}

function installPackages(lib, manifest, { os, cpu, libc }) {
  writeFileSync(path.join(lib, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(path.join(lib, 'package-lock.json'), `${JSON.stringify(productionLock(manifest), null, 2)}\n`);
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  npm(['ci', '--omit=dev', '--ignore-scripts', '--no-bin-links', `--os=${os}`, `--cpu=${cpu}`, `--libc=${libc}`, ...quiet], { cwd: lib });
}

/** @returns {{name: string, version: string, license: string}} for the list of what is inside */
function copyNode(folder, { os, cpu }) {
  const name = `node-${os}-${cpu}`;
  const source = path.join(installOnDemand('node', { os, cpu }), 'node_modules', name);
  mkdirSync(path.join(folder, 'bin'), { recursive: true });
  copyFileSync(path.join(source, 'bin', 'node'), path.join(folder, 'bin', 'node'));
  copyFileSync(path.join(source, 'LICENSE'), path.join(folder, 'LICENSE'));
  return { folder: source, name };
}

function removeFromTree(lib) {
  rmSync(path.join(lib, 'package-lock.json'));
  for (const entry of readdirSync(path.join(lib, 'node_modules'), { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory() || LEGAL.test(entry.name) || !NOT_TO_RUN.test(entry.name)) continue;
    rmSync(path.join(entry.parentPath, entry.name));
  }
}

function writeStarters(bin) {
  mkdirSync(bin);
  writeFileSync(path.join(bin, 'miniodb'), START('main.cjs'));
  writeFileSync(path.join(bin, 'miniodb-check-storage'), START('check-storage.js'));
}

/** Whatever the umask here: everybody may read, nobody may write, and what is run is marked so. */
function setModes(tree) {
  chmodSync(tree, EVERYBODY_RUNS);
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (lstatSync(file).isSymbolicLink()) continue;
    const isRun = entry.isDirectory() || path.basename(entry.parentPath) === 'bin';
    chmodSync(file, isRun ? EVERYBODY_RUNS : EVERYBODY_READS);
  }
}
