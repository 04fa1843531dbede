/**
 * The .deb: the folder of the release in /usr/lib/miniodb, its programs in /usr/bin, a service, a user, and one file of settings, which an upgrade
 * leaves as the administrator has it. `apt remove` keeps data and settings; `apt purge` removes the settings, and the data only after a question
 * whose default is no (deploy/debian/postrm).
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { REPOSITORY } from '../prepare.mjs';
import { readJson, releaseSeconds, run } from './run.mjs';

const DEPLOY = path.join(REPOSITORY, 'deploy');
const MAINTAINER = 'The MinIODB authors <nobody@miniodb.invalid>';
const DEBIAN_NAMES = { x64: 'amd64', arm64: 'arm64' };

export function canMakeDebianPackage() {
  return spawnSync('dpkg-deb', ['--version']).status === 0;
}

/**
 * @param {string} tree see tree.mjs
 * @param {string} architecture as Node calls it
 * @param {string} folder where the package is laid out
 */
export function makeDebianPackage(tree, architecture, folder, output) {
  const { version, description } = readJson(path.join(REPOSITORY, 'package.json'));
  const lib = path.join(folder, 'usr/lib/miniodb');
  mkdirSync(lib, { recursive: true });
  cpSync(tree, lib, { recursive: true, verbatimSymlinks: true });
  linkPrograms(folder);
  put(path.join(DEPLOY, 'systemd/miniodb.service'), path.join(folder, 'usr/lib/systemd/system/miniodb.service'), 0o644);
  // With passwords, so root's alone; the service gets a copy (LoadCredential).
  put(path.join(DEPLOY, 'debian/config.yaml'), path.join(folder, 'etc/miniodb/config.yaml'), 0o600);
  writeDocuments(lib, path.join(folder, 'usr/share/doc/miniodb'), version);
  writeControl(folder, { version, description, architecture: DEBIAN_NAMES[architecture] });
  setDates(folder);
  const file = path.join(output, `miniodb_${version}_${DEBIAN_NAMES[architecture]}.deb`);
  // One thread, because several give other bytes; the level that takes seconds: the highest takes minutes and saves a sixth.
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(releaseSeconds()) };
  run('dpkg-deb', ['--root-owner-group', '-Zxz', '-z1', '--threads-max=1', '--build', folder, file], { env });
}

function linkPrograms(folder) {
  mkdirSync(path.join(folder, 'usr/bin'), { recursive: true });
  for (const name of ['miniodb', 'miniodb-check-storage']) symlinkSync(`../lib/miniodb/bin/${name}`, path.join(folder, 'usr/bin', name));
}

function writeDocuments(lib, documents, version) {
  mkdirSync(documents, { recursive: true });
  const head = readFileSync(path.join(DEPLOY, 'debian/copyright'), 'utf8');
  const indented = (file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => (line.trim() === '' ? ' .' : ` ${line}`))
      .join('\n');
  writeFileSync(path.join(documents, 'copyright'), `${head}${indented(path.join(lib, 'LICENSE'))}\n`);
  const date = run('date', ['-u', '-R', '-d', `@${releaseSeconds()}`]);
  const changelog = `miniodb (${version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- ${MAINTAINER}  ${date}`;
  writeFileSync(path.join(documents, 'changelog.gz'), gzipSync(changelog, { level: 9 }));
  for (const name of ['README.md', 'CHANGELOG.md']) put(path.join(REPOSITORY, name), path.join(documents, name), 0o644);
}

function writeControl(folder, { version, description, architecture }) {
  const control = path.join(folder, 'DEBIAN');
  mkdirSync(control, { recursive: true });
  const kibibytes = Number(run('du', ['-sk', '--apparent-size', folder]).split('\t')[0]);
  const [summary, ...rest] = description.split(': ');
  const fields = {
    Package: 'miniodb',
    Version: version,
    Architecture: architecture,
    Maintainer: MAINTAINER,
    'Installed-Size': String(kibibytes),
    Depends: 'adduser, debconf (>= 0.5) | debconf-2.0, init-system-helpers (>= 1.54), libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 9)',
    Section: 'database',
    Priority: 'optional',
    Description: `${summary.replace(/^A /, '')}\n${folded(rest.join(': '))}\n .\n It comes with its own Node and engine and needs no other service.`,
  };
  const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
  writeFileSync(path.join(control, 'control'), text.join(''));
  writeFileSync(path.join(control, 'conffiles'), '/etc/miniodb/config.yaml\n');
  for (const script of ['postinst', 'prerm', 'postrm']) put(path.join(DEPLOY, 'debian', script), path.join(control, script), 0o755);
  put(path.join(DEPLOY, 'debian/templates'), path.join(control, 'templates'), 0o644);
}

function put(source, target, mode) {
  mkdirSync(path.dirname(target), { recursive: true });
  copyFileSync(source, target);
  chmodSync(target, mode);
}

/** dpkg-deb itself only brings dates after SOURCE_DATE_EPOCH back to it. */
function setDates(folder) {
  run('find', [folder, '-exec', 'touch', '-h', '-d', `@${releaseSeconds()}`, '{}', '+']);
}

/** A paragraph of a description: lines of at most 80 characters that begin with a space. */
function folded(text) {
  return text.replace(/(.{1,78})(?: |$)/g, ' $1\n').trimEnd();
}
