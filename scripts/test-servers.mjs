/**
 * The programs of the servers that the tests start by themselves: an S3 store (Ceph's radosgw with a monitor and a storage daemon), Redis,
 * and Prometheus. What is missing is installed with apt-get. The tests run the bare programs, on free ports and in temporary folders, so the
 * installation starts no service, now or at the next boot. That is also why `redis-server` is not among the packages: `redis-tools` holds
 * the same program (see test/servers/redis-node.ts) without a service.
 *
 * As a command: node scripts/test-servers.mjs
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Each kind of server: the variable that names one to use instead (if one can be), the programs it takes (alternatives in one row), their
 * packages, and the services that these would start at the next boot.
 */
const SERVERS = [
  {
    kind: 'S3',
    variable: 'TEST_S3_ENDPOINT',
    programs: [['radosgw'], ['radosgw-admin'], ['ceph-mon'], ['ceph-osd'], ['ceph'], ['monmaptool']],
    packages: ['radosgw', 'ceph-mon', 'ceph-osd'],
    services: ['ceph-crash.service'],
  },
  { kind: 'Redis', variable: 'TEST_REDIS_URL', programs: [['redis-server', 'redis-check-rdb']], packages: ['redis-tools'], services: [] },
  { kind: 'Prometheus', programs: [['prometheus'], ['promtool']], packages: ['prometheus'], services: ['prometheus.service'] },
  // No server: the documented commands use them.
  { kind: 'the documented commands', programs: [['jq'], ['curl']], packages: ['jq', 'curl'], services: [] },
];

/**
 * As root: the first parameter names services, the others packages. The package scripts ask /usr/sbin/policy-rc.d before they start a
 * service; ours says no, and goes when the shell ends, in whatever way. One that is already there is the owner's and stays. For the next
 * boot they enable their services all the same, hence the last line; a service that was there before is its owner's.
 */
const INSTALL = `
set -eu
services=$1
shift
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
new=''
for service in $services; do
  [ -e "/lib/systemd/system/$service" ] || new="$new $service"
done
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
if [ -n "$new" ] && command -v systemctl > /dev/null; then systemctl disable --quiet $new || true; fi
`;

/**
 * Installs what is missing; a kind of server that the environment names needs nothing.
 * @throws Error that ends with the line to type
 */
export function ensureTestServers() {
  const missing = missingServers();
  if (missing.length === 0) return;
  const packages = missing.flatMap((server) => server.packages);
  const services = missing.flatMap((server) => server.services);
  const asRoot = prefixForRoot();
  if (findProgram('apt-get') === undefined || asRoot === undefined) throw new Error(byHand(missing, packages));
  process.stderr.write(`Installing ${packages.join(' ')} with apt-get (once), for the servers that the tests start ...\n`);
  // Standard output belongs to the program that runs afterwards.
  const [command, ...parameters] = [...asRoot, 'sh', '-c', INSTALL, 'sh', services.join(' '), ...packages];
  const { status, error } = spawnSync(command, parameters, { stdio: ['ignore', 2, 2] });
  const reason = error?.message ?? 'apt-get says why above';
  if (status !== 0) throw new Error(`The installation failed (${reason}). ${byHand(missing, packages)}`);
  const stillMissing = missingServers();
  if (stillMissing.length > 0) throw new Error(`The installation was not enough. ${byHand(stillMissing, packages)}`);
}

function missingServers() {
  return SERVERS.filter(({ variable }) => variable === undefined || !process.env[variable])
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
  const variables = missing.flatMap(({ variable }) => variable ?? []);
  const instead = variables.length === 0 ? '' : `Servers that run elsewhere can be named with ${variables.join(' and ')}. `;
  return (
    `The tests lack programs for ${kinds}. ${instead}` +
    `On Debian and Ubuntu, type: ${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${packages.join(' ')}`
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
