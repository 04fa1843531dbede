/**
 * The Dockerfile and docker-compose.yml without Docker: that images are pinned, ports stay on this machine, every variable is one that the server
 * knows, Redis is set up as the server needs it, and what the image runs exists. Whether an image can be pulled only Docker can tell.
 */
import { describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { load } from 'js-yaml';
import picomatch from 'picomatch';
import { expectThat } from './support/expectations.js';
import { configOf, expectKnownSettings } from './support/known-settings.js';
import { startServer } from './support/server.js';
import { issueCertificate, makeAuthority, writeFiles } from './support/tls.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const LOOPBACK_PORT = /^127\.0\.0\.1:\d+:\d+$/;
/** A version of numbers, or the day of a release; `latest`, `7` and `20-slim` move. */
const EXACT_TAG = /^(?:\d+\.\d+\.\d+(?:-[a-z0-9.-]+)?|RELEASE\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)$/;

const TRIAL_PASSWORD = 'only-for-a-trial';
/** Characters; with fewer the store does not start. */
const STORE_PASSWORD_MIN = 8;

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly command?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Record<string, { condition: string }>;
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Record<string, Service>;
  readonly volumes: Record<string, unknown>;
}

const text = (file: string): string => readFileSync(path.join(REPOSITORY, file), 'utf8');
const composeText = text('docker-compose.yml');
const manifest = JSON.parse(text('package.json')) as { version: string; engines: { node: string }; scripts: Record<string, string> };

describe('docker-compose.yml', () => {
  const { services, volumes } = composeWith({});
  const server = serviceOf(services, 'miniodb');

  it('names images by an exact tag, and none that is gone', () => {
    for (const [name, { image }] of Object.entries(services)) {
      const [repository = '', tag = ''] = image.split(':');
      expectThat(tag, `tag of ${name}`).toMatch(EXACT_TAG);
      expectThat(repository, 'taken off Docker Hub').not.toMatch(/(^|\/)minio\/(minio|mc)$/);
    }
    expect(server).toMatchObject({ build: '.', image: `miniodb:${manifest.version}` });
  });

  it('publishes ports to this machine only', () => {
    const ports = Object.values(services).flatMap((service) => service.ports ?? []);
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect(port).toMatch(LOOPBACK_PORT);
    expect(composeText).not.toMatch(/network_mode|privileged/);
  });

  it('gives the server variables that it knows', () => {
    expectKnownSettings(server.environment ?? {});
  });

  it('leads the server to the other services, with their passwords', () => {
    const secrets = { MINIO_ACCESS_KEY: 'key', MINIO_SECRET_KEY: 'secret', REDIS_PASSWORD: 'password' };
    const given = composeWith(secrets).services;
    const config = configOf(serviceOf(given, 'miniodb').environment ?? {});
    const [storeName = '', storePort] = config.minio.endpoint.split(':');
    const store = serviceOf(given, storeName);
    expect(config.storage.kind).toBe('minio');
    expect(config.minio).toMatchObject({ access_key: 'key', secret_key: 'secret' });
    expect(store.environment).toMatchObject({ MINIO_ROOT_USER: 'key', MINIO_ROOT_PASSWORD: 'secret' });
    expect(store.healthcheck?.test.join(' ')).toContain(`:${storePort}/`);
    const redis = serviceOf(given, config.redis.host);
    expect(config.redis).toMatchObject({ mode: 'standalone', port: 6379, password: 'password' });
    expect(settingsOf(redis)).toMatchObject({ requirepass: 'password' });
    expect(redis.environment).toMatchObject({ REDISCLI_AUTH: 'password' });
  });

  it('has passwords for a trial only as defaults, long enough for the store', () => {
    for (const name of ['MINIO_SECRET_KEY', 'REDIS_PASSWORD']) expect(composeText).toContain(`\${${name}:-${TRIAL_PASSWORD}}`);
    expect(TRIAL_PASSWORD.length).toBeGreaterThanOrEqual(STORE_PASSWORD_MIN);
    for (const line of composeText.split('\n'))
      if (/password|secret|requirepass/i.test(line) && line.includes(': ')) expect(line).toMatch(/\$\{|#/);
    expectThat(text('README.md').includes(TRIAL_PASSWORD), 'README.md calls it out').toBe(true);
  });

  it('runs a Redis that persists and evicts nothing', () => {
    expect(settingsOf(serviceOf(services, 'redis'))).toMatchObject({ appendonly: 'yes', 'maxmemory-policy': 'noeviction' });
  });

  it('starts the server when the others are healthy', () => {
    const others = Object.keys(services).filter((name) => name !== 'miniodb');
    expect(others.length).toBe(2);
    for (const name of others) {
      expectThat(server.depends_on?.[name], `depends_on ${name}`).toEqual({ condition: 'service_healthy' });
      expect(serviceOf(services, name).healthcheck?.test[0]).toMatch(/^CMD/);
    }
  });

  it('keeps all data in named volumes', () => {
    const mounted = Object.values(services).map((service) => service.volumes ?? []);
    for (const mounts of mounted) expect(mounts).toHaveLength(1);
    expect(mounted.map(([mount = '']) => mount.split(':')[0]).sort()).toEqual(Object.keys(volumes).sort());
    expect(server.volumes).toEqual([`data:${dockerEnvironment()['DATA_DIR'] ?? ''}`]);
  });

  it('exposes the ports that the server has, on every address of its container', () => {
    const config = configOf({ ...dockerEnvironment(), ...server.environment });
    expect(server.ports?.map((port) => Number(port.split(':').at(-1)))).toEqual([config.server.rest_port, config.server.grpc_port]);
    expect(linesOf('EXPOSE')).toEqual([`${config.server.rest_port} ${config.server.grpc_port}`]);
    expect(config.server).toMatchObject({ host: '0.0.0.0', allow_unauthenticated_remote: true });
  });
});

describe('Dockerfile', () => {
  it('begins each stage with one exact Node that is new enough', () => {
    const images = linesOf('FROM').map((line) => line.split(' ')[0] ?? '');
    expect(new Set(images).size).toBe(1);
    const [, version = '', system] = /^node:(\d+\.\d+\.\d+)-(.+)$/.exec(images[0] ?? '') ?? [];
    expect(system).toBe('bookworm-slim');
    const [wanted = '', found = ''] = [manifest.engines.node.replace('>=', ''), version];
    expectThat(found.localeCompare(wanted, 'en', { numeric: true }), `${found} is ${wanted} or newer`).toBeGreaterThanOrEqual(0);
    const { optionalDependencies } = JSON.parse(text('scripts/on-demand/node/package.json')) as { optionalDependencies: object };
    expectThat(new Set(Object.values(optionalDependencies)), 'the same as in the other releases').toEqual(new Set([version]));
  });

  it('ends with the packages of production, as a user without rights', () => {
    const [lastStage = ''] = dockerfile()
      .split(/^FROM /m)
      .slice(-1);
    expect(linesOf('RUN')).toContain('npm ci --omit=dev --ignore-scripts --no-audit --no-fund');
    expect(lastStage).toContain('COPY --from=dependencies /app/node_modules ./node_modules');
    expect(lastStage).not.toMatch(/npm (ci|install)/);
    expect(linesOf('USER').at(-1)).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(linesOf('VOLUME')).toEqual(['/data']);
  });

  it('does not open the server to others by itself', () => {
    const config = configOf(dockerEnvironment());
    expect(config.server).toMatchObject({ host: '127.0.0.1', allow_unauthenticated_remote: false });
    expect(config.storage.kind).toBe('local');
  });

  it('writes nowhere but to its volume', () => {
    const config = configOf(dockerEnvironment());
    expect(config.data_dir).toBe('/data');
    expectThat(config.log.file, 'the log goes to standard output').toBe('');
  });

  it('copies what exists, and the context holds it and nothing private', () => {
    const sources = linesOf('COPY')
      .filter((line) => !line.startsWith('--from'))
      .flatMap((line) => line.split(' ').slice(0, -1));
    for (const source of sources) {
      expectThat(existsSync(path.join(REPOSITORY, source)), source).toBe(true);
      const inside = statSync(path.join(REPOSITORY, source)).isDirectory() ? `${source}/default.yaml` : source;
      expectThat(isInContext(inside), `${inside} is in the context`).toBe(true);
    }
    for (const file of [
      '.env',
      'config/local.yaml',
      'data/wal/x',
      'logs/miniodb.log',
      '.git/config',
      'node_modules/x',
      'dist/main.cjs',
      'test/x.ts',
    ])
      expectThat(isInContext(file), `${file} is not`).toBe(false);
  });

  it('runs the entry of npm start', () => {
    const command = JSON.parse(linesOf('CMD').at(-1) ?? '[]') as string[];
    expect(command.join(' ')).toBe(manifest.scripts['start']);
  });

  it.each(['without TLS', 'with TLS', 'with client certificates'])(
    'has a health check that tells a server that answers from one that does not, %s',
    async (kind) => {
      const [, command = '[]'] = /^.*CMD (\[.*\])$/.exec(linesOf('HEALTHCHECK').join('\n').replaceAll('\n', ' ')) ?? [];
      const [program = '', ...parameters] = JSON.parse(command) as string[];
      expect(program).toBe('node');
      const settings = kind === 'without TLS' ? {} : await tlsSettings(kind === 'with client certificates');
      const server = await startServer({ env: settings });
      const isHealthy = async (): Promise<boolean> => {
        const env = { ...process.env, ...settings, REST_PORT: new URL(server.rest).port };
        try {
          await promisify(execFile)(process.execPath, parameters, { env });
          return true;
        } catch {
          return false;
        }
      };
      try {
        expect(await isHealthy()).toBe(true);
      } finally {
        await server.kill();
      }
      expect(await isHealthy()).toBe(false);
    },
  );
});

async function tlsSettings(withClientCertificates: boolean): Promise<Record<string, string>> {
  const authority = await makeAuthority('authority');
  const { cert, key } = await issueCertificate(authority, 'server');
  const files = writeFiles({ cert, key, ca: authority.cert });
  return {
    MINIODB_TLS__CERT_FILE: files.cert,
    MINIODB_TLS__KEY_FILE: files.key,
    ...(withClientCertificates ? { MINIODB_TLS__CLIENT_CA_FILE: files.ca } : {}),
  };
}

/** The compose file with its variables put in: those given, and else their defaults. */
function composeWith(variables: Record<string, string>): Compose {
  const filled = composeText.replace(/\$\{(\w+):-([^}]*)\}/g, (_whole, name: string, otherwise: string) => variables[name] ?? otherwise);
  expectThat(filled, 'every variable has a default').not.toMatch(/\$\{?\w/);
  return load(filled) as Compose;
}

function serviceOf(services: Record<string, Service>, name: string): Service {
  const service = services[name];
  if (service === undefined) throw new Error(`docker-compose.yml has no service "${name}"`);
  return service;
}

/** The settings of `redis-server --name value ...`. */
function settingsOf({ command = [] }: Service): Record<string, string> {
  const [program, ...parameters] = command;
  expect(program).toBe('redis-server');
  const pairs = parameters.flatMap((name, index) => (index % 2 === 0 ? [[name.replace(/^--/, ''), parameters[index + 1] ?? '']] : []));
  return Object.fromEntries(pairs) as Record<string, string>;
}

/** With continued lines joined, and without comments. */
function dockerfile(): string {
  return text('Dockerfile')
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '');
}

function linesOf(instruction: string): string[] {
  return dockerfile()
    .split('\n')
    .filter((line) => line.startsWith(`${instruction} `))
    .map((line) => line.slice(instruction.length + 1));
}

/** The variables that the image sets. */
function dockerEnvironment(): Record<string, string> {
  const settings = linesOf('ENV').flatMap((line) => line.match(/\S+=(?:'[^']*'|\S+)/g) ?? []);
  return Object.fromEntries(
    settings.map((setting) => [setting.split('=')[0] ?? '', setting.slice(setting.indexOf('=') + 1).replace(/^'|'$/g, '')]),
  );
}

/** As Docker reads .dockerignore: the last line that matches a path or a folder above it decides. */
function isInContext(file: string): boolean {
  const rules = text('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const above = file.split('/').map((_part, index, parts) => parts.slice(0, index + 1).join('/'));
  return rules.reduce((isIn, rule) => {
    const pattern = rule.replace(/^!/, '');
    return above.some((at) => picomatch.isMatch(at, pattern, { dot: true })) ? rule.startsWith('!') : isIn;
  }, true);
}
