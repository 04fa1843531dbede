/**
 * The .deb in a Debian of its own, made once with debootstrap and copied for each run: installed, run by hand in a chroot, booted with
 * systemd-nspawn as a service, killed, upgraded, removed, purged.
 */
import { spawn } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { REPOSITORY } from '../prepare.mjs';
import { readJson, run, sizeOf } from '../release/run.mjs';
import { expectEqual, expectTrue } from './checks.mjs';
import { DEBIAN, copyDebian, missingForDebian } from './debian-root.mjs';
import { freePorts } from './free-ports.mjs';
import { idsOf, tryServer, writeOne } from './installed-server.mjs';

const DEBIAN_NAMES = { x64: 'amd64', arm64: 'arm64' };
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
/** With a /proc, where Node reads how much memory it has. */
const IN_CHROOT = 'mount -t proc proc "$0/proc" && exec chroot --userspec=miniodb:miniodb "$0" "$@"';
const WAIT_MS_MAX = 60_000;
const INSIDE_MS_MAX = 300_000;
const EXPOSURE_MAX = 2;

export async function testDebianPackage({ checks, release, scratch }) {
  const { version } = readJson(path.join(REPOSITORY, 'package.json'));
  const name = `miniodb_${version}_${DEBIAN_NAMES[process.arch]}.deb`;
  if (!existsSync(path.join(release, name))) return checks.notRun('all of it', 'there is no dpkg-deb here');
  const reason = missingForDebian();
  if (reason !== undefined) return checks.notRun('all of it', reason);
  const root = path.join(scratch, 'root');
  mkdirSync(scratch, { recursive: true });
  if (!(await checks.run(`a Debian ${DEBIAN} to install it in`, async () => copyDebian(root)))) return;
  cpSync(path.join(release, name), path.join(root, 'root', name));
  const inside = (...command) => run('chroot', [root, ...command], { env: { PATH, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' } });
  const [rest, grpc] = await freePorts(2);

  const isInstalled = await checks.run('dpkg -i installs it', async () => {
    inside('dpkg', '-i', `/root/${name}`);
    expectEqual(inside('dpkg-query', '-W', '-f', '${Status}', 'miniodb'), 'install ok installed', 'status');
    expectEqual(modeOf(root, 'etc/miniodb/config.yaml'), '600', 'mode of the settings');
    expectEqual(modeOf(root, 'var/lib/miniodb'), '750', 'mode of the data');
    expectTrue(inside('systemctl', 'is-enabled', 'miniodb').startsWith('enabled'), 'the service starts at boot');
    return `${sizeOf(path.join(release, name))}, ${inside('dpkg-query', '-W', '-f', '${Installed-Size}', 'miniodb')} KiB installed`;
  });
  if (!isInstalled) return;
  await checks.run('miniodb serves in a chroot, as its user, with no service', async () =>
    tryServer(['unshare', '--mount', 'sh', '-c', IN_CHROOT, root, '/usr/bin/miniodb'], {
      cwd: '/',
      env: { PATH, DATA_DIR: '/var/lib/miniodb/by-hand', MINIODB_LOG__FILE: '""' },
    }),
  );
  const settings = path.join(root, 'etc/miniodb/config.yaml');
  writeFileSync(settings, readFileSync(settings, 'utf8').replace('8081', String(rest)).replace('8080', String(grpc)));
  appendFileSync(settings, '# mine\n');
  const url = `http://127.0.0.1:${rest}`;
  await checks.run('the service is there after a boot, and comes back with its rows after kill -9', async () => {
    const machine = await boot(root);
    try {
      await live(url);
      await writeOne(url, 'a');
      const before = machine.mainProcess();
      machine.run('sh', '-c', `kill -9 ${before}`);
      await eventually('another process', async () => machine.mainProcess() !== before && machine.mainProcess() !== 0);
      await live(url);
      expectEqual(await idsOf(url), ['a'], 'rows');
      const [, exposure] =
        /exposure level for miniodb.service: ([\d.]+)/.exec(machine.run('systemd-analyze', 'security', 'miniodb', '--no-pager')) ?? [];
      expectTrue(Number(exposure) <= EXPOSURE_MAX, `systemd-analyze security: ${exposure}`);
      return `exposure ${exposure} of 10`;
    } finally {
      await machine.end();
    }
  });
  await checks.run('an upgrade restarts it and keeps rows and settings; remove keeps both; purge asks', async () => {
    const machine = await boot(root);
    const dpkg = (...parameters) => machine.run('env', 'DEBIAN_FRONTEND=noninteractive', 'dpkg', ...parameters);
    try {
      await live(url);
      const before = machine.mainProcess();
      dpkg('-i', `/root/${name}`);
      await live(url);
      expectTrue(machine.mainProcess() !== before, 'the service was restarted');
      expectEqual(await idsOf(url), ['a'], 'rows after the upgrade');
      expectTrue(readFileSync(settings, 'utf8').includes('# mine'), 'settings after the upgrade');
      dpkg('-r', 'miniodb');
      expectEqual(machine.mainProcess(), 0, 'process after the removal');
      expectTrue(existsSync(settings) && existsSync(path.join(root, 'var/lib/miniodb/wal')), 'settings and data after the removal');
      dpkg('-i', `/root/${name}`);
      await live(url);
      expectEqual(await idsOf(url), ['a'], 'rows after it came back');
      dpkg('-P', 'miniodb');
      expectEqual(
        [existsSync(settings), existsSync(path.join(root, 'var/log/miniodb'))],
        [false, false],
        'settings and logs after a purge',
      );
      expectTrue(existsSync(path.join(root, 'var/lib/miniodb/wal')), 'data after a purge that nobody answered');
      // Its settings are new, with the usual ports, which may be somebody else's on this network: it is not to start.
      writeFileSync(path.join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
      dpkg('-i', `/root/${name}`);
      machine.run('sh', '-c', 'echo "miniodb miniodb/purge-data boolean true" | debconf-set-selections');
      dpkg('-P', 'miniodb');
      expectTrue(!existsSync(path.join(root, 'var/lib/miniodb')), 'data are gone after a purge that said so');
    } finally {
      await machine.end();
    }
  });
}

function modeOf(root, file) {
  return (statSync(path.join(root, file)).mode & 0o777).toString(8);
}

/** Boots the folder on the network of this machine. */
async function boot(root) {
  const child = spawn('systemd-nspawn', ['-q', '-D', root, '--boot', '--register=no', '--keep-unit', '--console=pipe'], {
    stdio: 'ignore',
    detached: true,
  });
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  const endWithUs = () => child.kill('SIGKILL');
  process.once('exit', endWithUs);
  void ended.then(() => process.removeListener('exit', endWithUs));
  const init = await eventually('the first process of the machine', async () => initOf(child.pid));
  const inside = (...command) =>
    run('nsenter', ['-t', String(init), '-a', ...command], { env: { PATH, LC_ALL: 'C' }, timeoutMs: INSIDE_MS_MAX });
  await eventually('systemd of the machine', async () => {
    try {
      return inside('systemctl', 'show', '-p', 'Version').startsWith('Version=');
    } catch {
      return false;
    }
  });
  return {
    run: inside,
    mainProcess: () => Number(inside('systemctl', 'show', '-p', 'MainPID', '--value', 'miniodb')),
    end: async () => {
      inside('systemctl', 'poweroff', '--no-block');
      const code = await Promise.race([ended, sleep(WAIT_MS_MAX, 'too long', { ref: false })]);
      if (code === 'too long') child.kill('SIGKILL');
    },
  };
}

/** systemd-nspawn has one child, which is the machine's process 1. */
function initOf(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' '),
  );
  return children.find((child) => child !== '' && readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd');
}

async function live(url) {
  await eventually(`${url} to be live`, async () => {
    try {
      return (await fetch(`${url}/v1/health/live`, { signal: AbortSignal.timeout(2_000) })).ok;
    } catch {
      return false;
    }
  });
}

async function eventually(what, look) {
  for (const startedAt = Date.now(); Date.now() - startedAt < WAIT_MS_MAX; await sleep(200)) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`${what}: not within ${WAIT_MS_MAX / 1_000} s`);
}
