/**
 * The programs of the servers that the tests start by themselves: an S3 store (Ceph's radosgw with a monitor and a storage daemon) and
 * Redis. What is missing is installed with apt-get. The tests run the bare programs, on free ports and in temporary folders, so the
 * installation starts no service. That is also why `redis-server` is not among the packages: it would start at the next boot, and
 * `redis-tools` holds the same program (see test/servers/redis-node.ts) without a service.
 *
 * As a command: node scripts/test-servers.mjs
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Each kind of server: the variable that names one to use instead, the programs it takes (alternatives in one row), their packages. */
const SERVERS = [
  {
    kind: 'S3',
    variable: 'TEST_S3_ENDPOINT',
    programs: [['radosgw'], ['radosgw-admin'], ['ceph-mon'], ['ceph-osd'], ['ceph'], ['monmaptool']],
    packages: ['radosgw', 'ceph-mon', 'ceph-osd'],
  },
  { kind: 'Redis', variable: 'TEST_REDIS_URL', programs: [['redis-server', 'redis-check-rdb']], packages: ['redis-tools'] },
];

/**
 * As root. The package scripts ask /usr/sbin/policy-rc.d before they start a service; ours says no, and goes when the shell ends, in
 * whatever way. One that is already there is the owner's and stays. `ceph-base` enables a crash reporter for the next boot, hence the
 * last line, which runs only if nobody had it before.
 */
const INSTALL = `
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
had_crash_reporter=$(command -v ceph-crash || true)
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
if [ -z "$had_crash_reporter" ] && command -v systemctl > /dev/null; then systemctl disable --quiet ceph-crash.service || true; fi
`;

/**
 * Installs what is missing; a kind of server that the environment names needs nothing.
 * @throws Error that ends with the line to type
 */
export function ensureTestServers() {
  const missing = missingServers();
  if (missing.length === 0) return;
  const packages = missing.flatMap((server) => server.packages);
  const asRoot = prefixForRoot();
  if (findProgram('apt-get') === undefined || asRoot === undefined) throw new Error(byHand(missing, packages));
  process.stderr.write(`Installing ${packages.join(' ')} with apt-get (once), for the servers that the tests start ...\n`);
  // Standard output belongs to the program that runs afterwards.
  const [command, ...parameters] = [...asRoot, 'sh', '-c', INSTALL, 'sh', ...packages];
  const { status, error } = spawnSync(command, parameters, { stdio: ['ignore', 2, 2] });
  const reason = error?.message ?? 'apt-get says why above';
  if (status !== 0) throw new Error(`The installation failed (${reason}). ${byHand(missing, packages)}`);
  const stillMissing = missingServers();
  if (stillMissing.length > 0) throw new Error(`The installation was not enough. ${byHand(stillMissing, packages)}`);
}

function missingServers() {
  return SERVERS.filter((server) => !process.env[server.variable])
    .map((server) => ({ ...server, absent: server.programs.filter((names) => !names.some(findProgram)).map(([name]) => name) }))
    .filter((server) => server.absent.length > 0);
}

function findProgram(name) {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

/** What to put before a command, or undefined when root cannot be had without a question. */
function prefixForRoot() {
  if (process.getuid?.() === 0) return [];
  const may = findProgram('sudo') !== undefined && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
  return may ? ['sudo', '-n'] : undefined;
}

function byHand(missing, packages) {
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  const kinds = missing.map(({ kind, absent }) => `${kind} (${absent.join(', ')})`).join(' and ');
  const instead = missing.map(({ variable }) => variable).join(' and ');
  return (
    `The tests lack programs for ${kinds}. Servers that run elsewhere can be named with ${instead}; ` +
    `on Debian and Ubuntu, type: ${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${packages.join(' ')}`
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    ensureTestServers();
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
