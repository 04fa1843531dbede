/** A Debian in a folder, made once with debootstrap below .cache/, and copied for whoever needs one. */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { run } from '../release/run.mjs';

export const DEBIAN = 'bookworm';
const INCLUDED = 'systemd,systemd-sysv,dbus,adduser,libstdc++6,init-system-helpers';
const PROGRAMS = ['debootstrap', 'systemd-nspawn', 'nsenter', 'unshare', 'chroot'];
const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** @returns {string | undefined} why there cannot be one */
export function missingForDebian() {
  if (process.getuid() !== 0) return 'a Debian of its own takes root';
  const missing = PROGRAMS.filter((program) => !FOLDERS.some((folder) => existsSync(path.join(folder, program))));
  return missing.length === 0 ? undefined : `${missing.join(' and ')} is missing: apt-get install debootstrap systemd-container`;
}

export function copyDebian(root) {
  const kept = path.join(REPOSITORY, '.cache', 'test-release', `debian-${DEBIAN}`);
  if (!existsSync(kept)) makeDebian(kept);
  run('cp', ['-a', '--reflink=auto', kept, root]);
}

function makeDebian(kept) {
  // Another run may be making one, too.
  const unfinished = `${kept}.${process.pid}`;
  mkdirSync(path.dirname(kept), { recursive: true });
  try {
    run('debootstrap', ['--variant=minbase', `--include=${INCLUDED}`, DEBIAN, unfinished]);
    if (!existsSync(kept)) renameSync(unfinished, kept);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
