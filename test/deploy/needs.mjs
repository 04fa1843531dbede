/**
 * What the test of the deployment needs, installed when it is missing: packages of Debian on this machine, Ansible from PyPI, SeaweedFS as a Go module,
 * a Debian to boot, and releases to install. All but the first is kept in .cache/deploy, under names that change with what is inside.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../scripts/release/run.mjs';
import { goTool, hasGo } from '../../scripts/test-release/tools.mjs';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const CACHE = path.join(REPOSITORY, '.cache', 'deploy');
const REQUIREMENTS = path.join(REPOSITORY, 'test', 'deploy', 'requirements.txt');
const SLOW_MS_MAX = 1_800_000;

/** Program and the package of Debian that has it. */
const PROGRAMS = {
  debootstrap: 'debootstrap',
  'systemd-nspawn': 'systemd-container',
  'dpkg-scanpackages': 'dpkg-dev',
  ssh: 'openssh-client',
  ip: 'iproute2',
  unshare: 'util-linux',
  nsenter: 'util-linux',
};
const PYTHONS = ['python3.13', 'python3.12', 'python3.11', '/usr/bin/python3', 'python3'];
const PYTHON_MIN = '(3, 11)';

/** What the test machines have: no more than a fresh small server, so that the roles must bring the rest. */
const DEBIAN = 'bookworm';
const INCLUDED = ['python3', 'python3-apt', 'systemd', 'systemd-sysv', 'dbus', 'openssh-server', 'ca-certificates', 'procps', 'iproute2'];
/** The machines reach no one but each other: what the role installs with apt lies in a folder of theirs. */
const OFFERED = ['redis-server'];

/** @returns {string | undefined} why it cannot run here */
export function whyNot() {
  if (process.platform !== 'linux') return `it boots machines with systemd-nspawn, which only Linux has; this is ${process.platform}`;
  if (!hasGo()) return 'SeaweedFS, the store of the cluster, is built with Go, and there is no `go` here';
  if (process.getuid() !== 0) return 'booting machines takes root';
  const tried = spawnSync('unshare', ['--net', '--mount', '--pid', '--fork', '--mount-proc', 'true'], { encoding: 'utf8' });
  if (tried.status !== 0) return `this system makes no namespaces: ${tried.error?.message ?? tried.stderr.trim()}`;
  return undefined;
}

/** Packages of this machine. @throws Error that names what is missing, where apt cannot bring it */
export function installPrograms() {
  const isThere = (program) => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].some((folder) => existsSync(path.join(folder, program)));
  const missing = [
    ...new Set(
      Object.entries(PROGRAMS)
        .filter(([program]) => !isThere(program))
        .map(([, name]) => name),
    ),
  ];
  if (missing.length === 0) return;
  say(`Installing ${missing.join(', ')} with apt ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env, timeoutMs: SLOW_MS_MAX });
}

/** @returns {string} the folder of Ansible's commands */
export function installAnsible() {
  const folder = kept('ansible', readFileSync(REQUIREMENTS), (folder) => {
    say('Installing Ansible from PyPI into .cache/deploy ...');
    run(python(), ['-m', 'venv', folder]);
    run(path.join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '-q', '--no-deps', '-r', REQUIREMENTS], { timeoutMs: SLOW_MS_MAX });
  });
  return path.join(folder, 'bin');
}

/** @returns {string} the program of SeaweedFS; building it takes long, once */
export function buildSeaweedfs() {
  return goTool('seaweedfs', 'github.com/seaweedfs/seaweedfs/weed');
}

function python() {
  const works = (name) =>
    spawnSync(name, ['-c', `import sys, venv, ensurepip; sys.exit(sys.version_info < ${PYTHON_MIN})`], { stdio: 'ignore' }).status === 0;
  const found = PYTHONS.find(works);
  if (found === undefined) throw new Error(`Ansible needs Python 3.11 or newer with venv; on Debian: apt-get install python3-venv`);
  return found;
}

/** @returns {string} a Debian that boots, to be used below an overlay only */
export function makeDebian() {
  return kept('debian', JSON.stringify([DEBIAN, INCLUDED, OFFERED, buildDebian.toString()]), buildDebian);
}

function buildDebian(root) {
  say(`Making a Debian ${DEBIAN} with debootstrap (once, several minutes) ...`);
  run('debootstrap', ['--variant=minbase', `--include=${INCLUDED.join(',')}`, DEBIAN, root], { timeoutMs: SLOW_MS_MAX });
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const inside = (script) => run('chroot', [root, '/bin/sh', '-ec', script], { env, timeoutMs: SLOW_MS_MAX });
  const install = 'apt-get install -y -qq --no-install-recommends';
  inside(`apt-get clean; apt-get update -qq; ${install} --download-only ${OFFERED.join(' ')}
    mkdir -p /opt/packages; mv /var/cache/apt/archives/*.deb /opt/packages; rm -rf /var/lib/apt/lists/*`);
  const list = run('dpkg-scanpackages', ['--multiversion', '.'], { cwd: path.join(root, 'opt/packages') });
  writeFileSync(path.join(root, 'opt/packages/Packages'), list);
  writeFileSync(path.join(root, 'etc/apt/sources.list'), 'deb [trusted=yes] file:/opt/packages ./\n');
  // The clock and the network are ours; what wakes up by itself would only disturb.
  inside(`systemctl enable systemd-networkd ssh
    systemctl mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer systemd-timesyncd
    rm -f /etc/machine-id /etc/resolv.conf /etc/hostname; : > /etc/machine-id`);
}

/**
 * The release, and two that are it but for their version: what the test is about is the change, not what changed.
 * @returns {{versions: {first: string, second: string, broken: string}, folder: string}} the last one does not start
 */
export function makeReleases() {
  const { version } = JSON.parse(readFileSync(path.join(REPOSITORY, 'package.json'), 'utf8'));
  const archive = path.join(REPOSITORY, 'release', nameOf(version));
  if (!existsSync(archive)) {
    say('Making a release (npm run release) ...');
    run('npm', ['run', '--silent', 'release'], { cwd: REPOSITORY, timeoutMs: SLOW_MS_MAX });
  }
  const [major, minor, patch] = version.split('.').map(Number);
  const versions = { first: version, second: `${major}.${minor}.${patch + 1}`, broken: `${major}.${minor}.${patch + 2}` };
  const bytes = readFileSync(archive);
  return {
    versions,
    folder: kept('releases', Buffer.concat([bytes, Buffer.from(makeVariant.toString())]), (folder) => {
      writeFileSync(path.join(folder, nameOf(version)), bytes);
      writeChecksum(folder, version);
      makeVariant(folder, version, versions.second, false);
      makeVariant(folder, version, versions.broken, true);
    }),
  };
}

function makeVariant(folder, version, variant, isBroken) {
  const scratch = mkdtempSync(path.join(folder, '.unpacked-'));
  run('tar', ['-xzf', path.join(folder, nameOf(version)), '-C', scratch]);
  const [former, name] = [version, variant].map((which) => nameOf(which).replace('.tar.gz', ''));
  renameSync(path.join(scratch, former), path.join(scratch, name));
  const manifest = path.join(scratch, name, 'lib', 'package.json');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(`"version": "${version}"`, `"version": "${variant}"`));
  if (isBroken) writeFileSync(path.join(scratch, name, 'bin', 'miniodb'), '#!/bin/sh\necho "this release does not start" >&2\nexit 1\n');
  run('tar', ['-I', 'gzip -1', '-cf', path.join(folder, nameOf(variant)), '-C', scratch, name]);
  writeChecksum(folder, variant);
  rmSync(scratch, { recursive: true });
}

function writeChecksum(folder, version) {
  const digest = createHash('sha256')
    .update(readFileSync(path.join(folder, nameOf(version))))
    .digest('hex');
  writeFileSync(path.join(folder, `${nameOf(version)}.sha256`), `${digest}  ${nameOf(version)}\n`);
}

export function nameOf(version) {
  return `miniodb-${version}-linux-${process.arch}.tar.gz`;
}

/**
 * Made once for what it is made from, in its place: a virtual environment of Python cannot be moved. Half-made ones are made anew, former ones removed.
 * @param {string | Buffer} madeFrom
 * @param {(folder: string) => void} make
 */
function kept(name, madeFrom, make) {
  const digest = createHash('sha256').update(madeFrom).digest('hex').slice(0, 12);
  const folder = path.join(CACHE, name, digest);
  const whole = `${folder}.whole`;
  if (existsSync(whole)) return folder;
  rmSync(path.dirname(folder), { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  make(folder);
  writeFileSync(whole, '');
  return folder;
}

function say(line) {
  process.stderr.write(`${line}\n`);
}
