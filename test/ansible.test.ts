/** The files of ansible/ without Ansible: that they parse, that each variable is declared and described, and that settings are ones the server has. */
import 'reflect-metadata';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { load } from 'js-yaml';
import { Config } from '../src/config/config.js';
import { expectThat } from './support/expectations.js';

const ANSIBLE = fileURLToPath(new URL('../ansible/', import.meta.url));
const ROLES = ['miniodb', 'redis', 'object_store'];
const INVENTORIES = ['single', 'cluster', 'external'];
/** Read by playbooks, not by a role. */
const OF_PLAYBOOKS = ['miniodb_serial'];

type Options = Record<string, { type: string; default?: unknown; description: string; no_log?: boolean }>;
type Variables = Record<string, unknown>;

const text = (file: string): string => readFileSync(path.join(ANSIBLE, file), 'utf8');
const files = readdirSync(ANSIBLE, { recursive: true, encoding: 'utf8' }).sort();
const yamlOf = <T>(file: string): T => load(text(file)) as T;
const optionsOf = (role: string): Options =>
  Object.assign(
    {},
    ...Object.values(
      yamlOf<{ argument_specs: Record<string, { options: Options }> }>(`roles/${role}/meta/argument_specs.yml`).argument_specs,
    ).map(({ options }) => options),
  ) as Options;

describe('ansible/', () => {
  it('has only YAML that parses', () => {
    const yaml = files.filter((file) => /\.ya?ml$/.test(file));
    expect(yaml.length).toBeGreaterThan(30);
    for (const file of yaml) expectThat(load(text(file)), file).toBeDefined();
  });

  it.each(ROLES)('describes each default of the role %s, and no other variable', (role) => {
    const defaults = yamlOf<Variables>(`roles/${role}/defaults/main.yml`);
    const options = optionsOf(role);
    expect(Object.keys(options).sort()).toEqual(Object.keys(defaults).sort());
    for (const [name, { default: value, description }] of Object.entries(options)) {
      expectThat(value, `default of ${name} in argument_specs.yml`).toEqual(defaults[name]);
      expectThat(description.length, `description of ${name}`).toBeGreaterThan(3);
    }
  });

  it.each(ROLES)('uses only variables of the role %s that are declared somewhere', (role) => {
    const own = files.filter((file) => file.startsWith(`roles/${role}/`) && /\.(yml|j2)$/.test(file));
    const declared = new Set([...Object.keys(optionsOf(role)), ...own.flatMap((file) => declarationsOf(text(file)))]);
    for (const file of own)
      for (const [name] of text(file)
        .replace(/#.*$/gm, '')
        .matchAll(new RegExp(`(?<![\\w/.-])${role}_\\w+`, 'g')))
        expectThat(declared.has(name), `${name} in ${file} is declared`).toBe(true);
  });

  it('keeps secrets out of logs, and has none itself', () => {
    for (const role of ROLES)
      for (const [name, { default: value, no_log }] of Object.entries(optionsOf(role)))
        if (/(secret|password|secret_key)$/.test(name)) expectThat({ value, no_log }, name).toEqual({ value: '', no_log: true });
  });

  it.each(INVENTORIES)('gives the inventory %s variables that roles have, and a vault that is empty', (inventory) => {
    const folder = `inventories/${inventory}/group_vars/all`;
    const given = text(`${folder}/main.yml`);
    const known = [...ROLES.flatMap((role) => Object.keys(optionsOf(role))), ...OF_PLAYBOOKS, 'ansible_user'];
    for (const name of Object.keys(load(given) as Variables))
      expectThat(known.includes(name), `${name} is a variable of a role`).toBe(true);
    const vault = yamlOf<Variables>(`${folder}/vault.example.yml`);
    const wanted = new Set([...given.matchAll(/vault_\w+/g)].map(([name]) => name));
    expect(Object.keys(vault).sort()).toEqual([...wanted].sort());
    expect(Object.values(vault).every((value) => value === '')).toBe(true);
    const { all } = yamlOf<{ all: { children: Variables } }>(`inventories/${inventory}/hosts.yml`);
    expect(Object.keys(all.children)).toEqual(['miniodb', 'redis', 'object_store']);
  });

  it('writes only settings that the server has', () => {
    const keys = new Set(keysOf(new Config()));
    const written = [...text('roles/miniodb/templates/config.yaml.j2').matchAll(/'(\w+)':/g)].map(([, key]) => key ?? '');
    expect(written.length).toBeGreaterThan(30);
    for (const key of written) expectThat(keys.has(key), `${key} is a setting`).toBe(true);
  });

  it('gives the service more time to stop than the server takes, and the server no way to more rights', () => {
    const service = text('roles/miniodb/templates/miniodb.service.j2');
    expect(service).toContain('TimeoutStopSec={{ miniodb_shutdown_seconds | int + 21 }}');
    for (const line of [
      'NoNewPrivileges=yes',
      'ProtectSystem=strict',
      'CapabilityBoundingSet=',
      'Restart=on-failure',
      'RestrictSUIDSGID=yes',
    ])
      expect(service.split('\n')).toContain(line);
    expect(service).toMatch(/^LoadCredential=config.yaml:/m);
    expect(service).not.toMatch(/^Environment/m);
    expect(yamlOf<Variables>('roles/miniodb/defaults/main.yml')['miniodb_shutdown_seconds']).toBe(new Config().server.shutdown_seconds);
  });

  it('has the playbooks and inventories that its document names, and needs no other collection', () => {
    const document = readFileSync(path.join(ANSIBLE, '../docs/ansible.md'), 'utf8');
    const named = [...document.matchAll(/ansible-playbook .*?(\w+\.yml)/g)].map(([, name]) => name ?? '');
    expect(new Set(named)).toEqual(new Set(['site.yml', 'upgrade.yml', 'rollback.yml', 'backup.yml', 'uninstall.yml']));
    for (const name of named) expectThat(existsSync(path.join(ANSIBLE, name)), name).toBe(true);
    for (const file of files.filter((name) => /^roles\/.*\.yml$/.test(name)))
      expectThat(text(file), file).not.toMatch(/\b(community|ansible\.posix)\.\w+/);
  });
});

/** Keys of YAML (`vars`, `set_fact`), names that are registered, and those that `{% set %}` gives. */
function declarationsOf(content: string): string[] {
  return [/^\s*(?:- )?(\w+):/gm, /register: (\w+)/g, /{% set (\w+)/g].flatMap((declaration) =>
    [...content.matchAll(declaration)].map(([, name]) => name ?? ''),
  );
}

/** The names of all settings, whatever their section. */
function keysOf(value: object): string[] {
  return Object.entries(value).flatMap(([key, inner]) => [
    key,
    ...(typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? keysOf(inner as object) : []),
  ]);
}
