/**
 * `npm run test:deploy [-- single cluster]`: deploys for real. Boots machines of systemd-nspawn on a network of their own, plays ansible/ against them
 * as an operator would, and looks at what comes of it: installing, killing a machine, upgrading under load, rolling back, removing.
 *
 *   single    one machine, tables on its disk; with what the roles refuse
 *   cluster   three machines, an S3 store and Redis
 *
 * It needs Linux, root and Debian's apt, and installs the rest (test/deploy/needs.mjs). The last line is `N passed, N failed`. Not part of `npm test`.
 * KEEP=1 leaves the folders of the machines.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buildSeaweedfs, installAnsible, installPrograms, makeDebian, makeReleases, whyNot } from '../test/deploy/needs.mjs';
import { REPOSITORY } from './prepare.mjs';

const PARTS = ['single', 'cluster'];
const CGROUPS = '/sys/fs/cgroup';

const parts = process.argv.slice(2);
const unknown = parts.filter((name) => !PARTS.includes(name));
const reason = unknown.length > 0 ? `there is no part ${unknown.join(', ')}, only ${PARTS.join(' and ')}` : whyNot();
if (reason === undefined) await testDeploy();
else giveUp(reason);

async function testDeploy() {
  installPrograms();
  const needs = { bin: installAnsible(), weed: buildSeaweedfs(), debian: makeDebian(), ...releasesOf(makeReleases()) };
  const scratch = mkdtempSync(path.join(tmpdir(), 'miniodb-deploy-'));
  const cgroups = cgroupsFor(path.basename(scratch));
  try {
    process.exitCode = await inNamespaces(JSON.stringify({ ...needs, scratch, cgroups, parts }));
  } finally {
    for (const group of cgroups) removeCgroup(group);
    if (process.env.KEEP === '1') process.stderr.write(`kept: ${scratch}\n`);
    else rmSync(scratch, { recursive: true, force: true });
  }
}

function releasesOf({ folder, versions }) {
  return { releases: folder, versions };
}

/** All that the test starts is below one process; when it ends, or we do, the kernel ends the rest, and mounts and network are gone with them. */
function inNamespaces(needs) {
  const own = ['--net', '--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--propagation', 'private'];
  const scenario = path.join(REPOSITORY, 'test', 'deploy', 'scenario.mjs');
  const child = spawn('unshare', [...own, process.execPath, scenario, needs], { cwd: REPOSITORY, stdio: ['ignore', 'inherit', 'inherit'] });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => child.kill('SIGKILL'));
  return new Promise((resolve) => child.once('error', () => resolve(1)).once('exit', (code) => resolve(code ?? 1)));
}

/** The machines' control groups: in version 2 below our own, in version 1 in the hierarchy of systemd and in that of version 2 beside it, if there is one. */
function cgroupsFor(name) {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  const placeOf = (prefix, folder) => {
    const line = lines.find((text) => text.startsWith(prefix) || text.includes(`:${prefix}:`));
    return line === undefined ? [] : [path.join(CGROUPS, folder, line.slice(line.lastIndexOf(':') + 1), name)];
  };
  if (existsSync(path.join(CGROUPS, 'cgroup.controllers'))) return placeOf('0::', '');
  return [...placeOf('name=systemd', 'systemd'), ...(existsSync(path.join(CGROUPS, 'unified')) ? placeOf('0::', 'unified') : [])];
}

/** From the leaves up; a control group is an empty folder whatever files it shows. */
function removeCgroup(group) {
  if (!existsSync(group)) return;
  for (const entry of readdirSync(group, { withFileTypes: true })) if (entry.isDirectory()) removeCgroup(path.join(group, entry.name));
  rmdirSync(group);
}

/** Loud, and a failure: who starts this by hand wants it run. */
function giveUp(why) {
  process.stdout.write(`NOT RUN: the test of the deployment cannot run here: ${why}.\n0 passed, 1 failed\n`);
  process.exitCode = 1;
}
