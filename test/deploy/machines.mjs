/**
 * Machines of systemd-nspawn, each an overlay on one Debian, on a network that exists in this namespace only and leads nowhere else. Runs inside the
 * namespaces that scripts/test-deploy.mjs makes: when their first process ends, machines, mounts and network end with it.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../scripts/release/run.mjs';
import { runBeside } from './run-beside.mjs';

/** Of the block for documentation (RFC 5737), as the inventories have it. */
const NETWORK = '192.0.2';
const OWN_HOST = 1;
const FIRST_HOST = 11;
const BOOT_MS_MAX = 120_000;
const RUN_MS_MAX = 60_000;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

export function makeNetwork() {
  for (const command of [
    'link set lo up',
    'link add name deploy0 type bridge',
    `addr add ${NETWORK}.${OWN_HOST}/24 dev deploy0`,
    'link set deploy0 up',
  ])
    run('ip', command.split(' '));
  // Locks and sockets of nspawn, which would stay on the host.
  mkdirSync('/run/systemd/nspawn', { recursive: true });
  run('mount', ['-t', 'tmpfs', 'tmpfs', '/run/systemd/nspawn']);
}

export class Machine {
  #child;
  #ended;
  #init = 0;

  /**
   * @param {number} number from 0
   * @param {{debian: string, scratch: string, publicKey: string, cgroups: readonly string[]}} parts
   */
  constructor(number, { debian, scratch, publicKey, cgroups }) {
    this.name = `miniodb-${number + 1}`;
    this.address = `${NETWORK}.${FIRST_HOST + number}`;
    this.url = `http://${this.address}:8081`;
    this.folder = path.join(scratch, this.name);
    this.root = path.join(this.folder, 'root');
    this.cgroups = cgroups.map((group) => path.join(group, this.name));
    const [upper, work] = ['upper', 'work'].map((name) => path.join(this.folder, name));
    for (const folder of [this.root, upper, work, ...this.cgroups]) mkdirSync(folder, { recursive: true });
    run('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${debian},upperdir=${upper},workdir=${work}`, this.root]);
    this.#write('root/.ssh/authorized_keys', publicKey);
    this.#write('etc/hostname', `${this.name}\n`);
    this.#write('etc/systemd/network/10-host0.network', `[Match]\nName=host0\n[Network]\nAddress=${this.address}/24\n`);
  }

  #write(file, text) {
    const target = path.join(this.root, file);
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(target, text);
  }

  async boot() {
    const log = openSync(path.join(this.folder, 'console.log'), 'a');
    const options = ['-q', '-D', this.root, '--boot', '--register=no', '--keep-unit', '--link-journal=no', '--console=pipe'];
    const nspawn = ['systemd-nspawn', ...options, '--network-bridge=deploy0', `--machine=${this.name}`];
    // Into control groups of its own: two machines in one would take each other's services for theirs.
    const enter = this.cgroups.map((group) => `echo $$ > ${group}/cgroup.procs`).join(' && ');
    this.#child = spawn('sh', ['-c', `${enter} && exec "$@"`, 'sh', ...nspawn], { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#ended = new Promise((resolve) => this.#child.once('exit', resolve));
    await eventually(`${this.name} to boot (${path.join(this.folder, 'console.log')})`, BOOT_MS_MAX, () => {
      this.#init = initOf(this.#child.pid);
      return this.#init !== 0 && /^(running|degraded)/.test(this.try('systemctl', 'is-system-running'));
    });
    await eventually(`sshd of ${this.name}`, BOOT_MS_MAX, () => this.try('ss', '-lnt').includes(':22'));
  }

  /** As when the power fails: no process of it gets to do anything more. */
  async kill() {
    process.kill(this.#init, 'SIGKILL');
    await this.#ended;
    this.#init = 0;
  }

  async end() {
    if (this.#init !== 0) await this.kill();
    run('umount', [this.root]);
  }

  /** @returns {string} what a program on the machine printed; throws when it fails */
  run(...command) {
    return run('nsenter', this.#entered(command), { env: { PATH, LC_ALL: 'C' }, timeoutMs: RUN_MS_MAX });
  }

  /** What it printed, however it ended. */
  try(...command) {
    try {
      return this.run(...command);
    } catch (error) {
      return error.message;
    }
  }

  async runBeside(...command) {
    return runBeside('nsenter', this.#entered(command), { env: { PATH, LC_ALL: 'C' }, timeoutMs: RUN_MS_MAX });
  }

  #entered(command) {
    return ['-t', String(this.#init), '-a', ...command];
  }

  has(file) {
    return existsSync(path.join(this.root, file));
  }

  read(file) {
    return readFileSync(path.join(this.root, file), 'utf8');
  }

  /** A property of a service, as `systemctl show` has it. */
  show(service, property) {
    return this.run('systemctl', 'show', '-p', property, '--value', service).trim();
  }
}

/** systemd-nspawn has one child when the machine runs, which is its process 1. */
function initOf(pid) {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    const init = children.find((child) => readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd');
    return Number(init ?? 0);
  } catch {
    return 0;
  }
}

/** @throws Error when it does not become true in time */
export async function eventually(what, msMax, look) {
  for (const startedAt = Date.now(); Date.now() - startedAt < msMax; await sleep(250)) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`${what}: not within ${msMax / 1_000} s`);
}
