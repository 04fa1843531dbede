/** Plays of ansible/ against the test machines, with an inventory of the project whose secrets are in a real vault. */
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../scripts/release/run.mjs';
import { runBeside } from './run-beside.mjs';

const ANSIBLE = fileURLToPath(new URL('../../ansible/', import.meta.url));
const PLAY_MS_MAX = 900_000;

/** @typedef {{code: number | null, output: string, recap: Record<string, Record<string, number>>, changed: number, seconds: number}} Played */

export class Plays {
  #bin;
  #home;
  #environment;

  /** @param {{bin: string, scratch: string, debian: string}} parts */
  constructor({ bin, scratch, debian }) {
    this.#bin = bin;
    this.#home = path.join(scratch, 'control');
    mkdirSync(this.#home, { recursive: true });
    const key = path.join(this.#home, 'key');
    run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    this.publicKey = readFileSync(`${key}.pub`, 'utf8');
    // All machines are copies of one Debian, so they have its host key.
    const hostKey = readFileSync(path.join(debian, 'etc/ssh/ssh_host_ed25519_key.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
    const known = path.join(this.#home, 'known_hosts');
    writeFileSync(known, `192.0.2.* ${hostKey}\n`);
    writeFileSync(path.join(this.#home, 'vault-password'), randomBytes(24).toString('base64'), { mode: 0o600 });
    this.#environment = {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      HOME: this.#home,
      LC_ALL: 'C.UTF-8',
      ANSIBLE_PRIVATE_KEY_FILE: key,
      ANSIBLE_VAULT_PASSWORD_FILE: path.join(this.#home, 'vault-password'),
      ANSIBLE_SSH_ARGS: `-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=${known} -o ServerAliveInterval=3 -o ServerAliveCountMax=2`,
      ANSIBLE_FORCE_COLOR: '0',
      ANSIBLE_NOCOLOR: '1',
    };
  }

  /**
   * A copy of an inventory with its example of a vault filled in and encrypted, as docs/ansible.md says.
   * @returns {{folder: string, secrets: Record<string, string>}}
   */
  makeInventory(name) {
    const folder = path.join(this.#home, 'inventories', name);
    cpSync(path.join(ANSIBLE, 'inventories', name), folder, { recursive: true });
    const group = path.join(folder, 'group_vars', 'all');
    const secrets = {};
    const filled = readFileSync(path.join(group, 'vault.example.yml'), 'utf8').replace(/^(vault_\w+): ""$/gm, (_line, key) => {
      secrets[key] = randomBytes(24).toString('base64url');
      return `${key}: "${secrets[key]}"`;
    });
    const vault = path.join(group, 'vault.yml');
    writeFileSync(vault, filled, { mode: 0o600 });
    this.#run('ansible-vault', ['encrypt', vault]);
    if (!readFileSync(vault, 'utf8').startsWith('$ANSIBLE_VAULT;')) throw new Error(`${vault} is not encrypted`);
    return { folder, secrets };
  }

  /**
   * @param {string} playbook
   * @param {string} inventory
   * @param {Record<string, unknown>} variables
   * @param {string[]} more
   * @returns {Promise<Played>}
   */
  async play(playbook, inventory, variables = {}, more = []) {
    const startedAt = Date.now();
    const parameters = ['-i', inventory, playbook, '-e', JSON.stringify(variables), ...more];
    const { code, output } = await runBeside(path.join(this.#bin, 'ansible-playbook'), parameters, this.#options());
    const recap = recapOf(output);
    const changed = Object.values(recap).reduce((sum, counts) => sum + counts.changed, 0);
    return { code, output, recap, changed, seconds: Math.round((Date.now() - startedAt) / 1_000) };
  }

  /** @throws Error with the end of the output when the play fails */
  async succeed(playbook, inventory, variables, more) {
    const played = await this.play(playbook, inventory, variables, more);
    if (played.code !== 0) throw new Error(`${playbook} ended with ${played.code}:\n${played.output.slice(-6_000)}`);
    return played;
  }

  /** @throws Error unless the play fails and its output has the text */
  async refuse(text, playbook, inventory, variables, more) {
    const played = await this.play(playbook, inventory, variables, more);
    if (played.code === 0) throw new Error(`${playbook} did not refuse: "${text}" was expected`);
    // Ansible breaks long lines.
    if (!played.output.replace(/\s+/g, ' ').includes(text))
      throw new Error(`the refusal should tell "${text}":\n${played.output.slice(-6_000)}`);
    return played;
  }

  lint() {
    return this.#run('ansible-lint', ['--offline', '--nocolor', '--profile', 'production']);
  }

  #run(program, parameters) {
    return run(path.join(this.#bin, program), parameters, this.#options());
  }

  #options() {
    return { cwd: ANSIBLE, env: this.#environment, timeoutMs: PLAY_MS_MAX };
  }
}

/** The counts of each host under PLAY RECAP. */
function recapOf(output) {
  const lines = output.slice(output.lastIndexOf('PLAY RECAP')).matchAll(/^(\S+)\s+: (ok=.*)$/gm);
  return Object.fromEntries(
    [...lines].map(([, host, counts]) => [
      host,
      Object.fromEntries([...counts.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)])),
    ]),
  );
}
