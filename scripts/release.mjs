/**
 * `npm run release [-- --arch x64|arm64]`: what people install, in release/.
 *
 *   miniodb-VERSION.tgz                      the npm package, with the versions of all that it depends on
 *   miniodb-VERSION-linux-ARCH.tar.gz        server, engine and Node in one folder; .sha256 beside it
 *   miniodb_VERSION_DEBARCH.deb              the same for Debian and Ubuntu, with a service
 *   SHA256SUMS                               of all of them
 *
 * The same sources, package-lock.json, npm and tools give the same bytes: names are sorted, and every date is that of the last commit, or
 * SOURCE_DATE_EPOCH. Needs npm, GNU tar, gzip, and for the .deb dpkg-deb.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { REPOSITORY, prepare } from './prepare.mjs';
import { packTree, writeChecksums } from './release/archives.mjs';
import { buildContents } from './release/contents.mjs';
import { canMakeDebianPackage, makeDebianPackage } from './release/debian-package.mjs';
import { makeNpmPackage } from './release/npm-package.mjs';
import { sizeOf } from './release/run.mjs';
import { makeTree } from './release/tree.mjs';

const ARCHITECTURES = ['x64', 'arm64'];
const OUTPUT = path.join(REPOSITORY, 'release');
const WORK = path.join(REPOSITORY, '.cache', 'release');

const { values } = parseArgs({ options: { arch: { type: 'string', default: process.arch } } });

try {
  if (!ARCHITECTURES.includes(values.arch)) throw new Error(`--arch must be ${ARCHITECTURES.join(' or ')}, got "${values.arch}"`);
  prepare();
  release(values.arch);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

function release(architecture) {
  mkdirSync(OUTPUT, { recursive: true });
  rmSync(WORK, { recursive: true, force: true });
  mkdirSync(WORK, { recursive: true });
  const contents = buildContents(WORK);
  makeNpmPackage(contents, path.join(WORK, 'npm'), OUTPUT);
  const tree = makeTree(contents, architecture, WORK);
  packTree(tree, OUTPUT);
  if (canMakeDebianPackage()) makeDebianPackage(tree, architecture, path.join(WORK, 'debian'), OUTPUT);
  else process.stderr.write('No .deb: there is no dpkg-deb here.\n');
  writeChecksums(OUTPUT);
  for (const name of readdirSync(OUTPUT).sort()) process.stdout.write(`release/${name}  ${sizeOf(path.join(OUTPUT, name))}\n`);
}
