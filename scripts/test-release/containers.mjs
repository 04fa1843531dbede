/**
 * The Dockerfile and the Compose files without Docker: judged by hadolint and by the library of `docker compose` itself; then each step of the
 * Dockerfile is done in a chroot, and what comes out is run as the image would be: its user, its variables, its file system read-only.
 *
 * What stays untried: `docker build` itself, its base image (here: a Debian from debootstrap, with the Node of the image and this machine's npm),
 * and the other images that Compose files name.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { run } from '../release/run.mjs';
import { expectEqual, expectRefusal, expectTrue } from './checks.mjs';
import { buildInChroot } from './dockerfile.mjs';
import { copyDebian, missingForDebian } from './debian-root.mjs';
import { freePorts } from './free-ports.mjs';
import { startInstalled, tryServer, idsOf, writeOne } from './installed-server.mjs';
import { goTool, hasGo, hasPython, pythonTools } from './tools.mjs';

const SERVER = 'docker-compose.yml';
const CLUSTER = 'deploy/compose/cluster.yml';
const MONITORING = 'deploy/compose/monitoring.yml';
const PROJECTS = [[SERVER], [CLUSTER], [SERVER, MONITORING], [CLUSTER, MONITORING]];

export async function testContainers({ checks, scratch }) {
  mkdirSync(scratch, { recursive: true });
  if (hasPython()) await testDockerfile({ checks, scratch });
  else checks.notRun('hadolint', 'it takes Python with venv');
  if (hasGo()) await testComposeFiles({ checks, scratch });
  else checks.notRun('Compose files', 'their checker is built with Go');
  const reason = missingForDebian();
  if (reason === undefined) await testSteps({ checks, scratch });
  else checks.notRun('the steps of the Dockerfile', reason);
  checks.notRun('docker build, and the images of the Compose files', 'containers cannot run here');
}

async function testDockerfile({ checks, scratch }) {
  const hadolint = pythonTools()('hadolint');
  const lint = (file) => run(hadolint, ['--no-color', '--failure-threshold', 'style', file]);
  await checks.run('hadolint has nothing against the Dockerfile', async () => void lint(path.join(REPOSITORY, 'Dockerfile')));
  await checks.run('hadolint refuses an image without a version, and root', async () => {
    const good = readFileSync(path.join(REPOSITORY, 'Dockerfile'), 'utf8');
    const file = path.join(scratch, 'Dockerfile');
    for (const [bad, words] of [
      [good.replaceAll(/node:[\d.]+-bookworm-slim/g, 'node'), 'DL3006'],
      [good.replace('USER 1000:1000', 'USER root'), 'DL3002'],
    ]) {
      writeFileSync(file, bad);
      expectRefusal(words, () => lint(file));
    }
    return '2 faults refused';
  });
}

async function testComposeFiles({ checks, scratch }) {
  const check = goTool('compose-config');
  const load = (files) => JSON.parse(run(check, files));
  for (const files of PROJECTS) {
    await checks.run(`Compose takes ${files.join(' with ')}`, async () => {
      const { services } = load(files);
      const sources = Object.values(services).flatMap(({ volumes = [] }) =>
        volumes.filter(({ type }) => type === 'bind').map(({ source }) => source),
      );
      for (const source of sources) readFileOrFolder(source);
      return `${Object.keys(services).length} services, ${sources.length} mounted files`;
    });
  }
  await checks.run('Compose refuses an unknown key, and a volume that nobody declares', async () => {
    const good = readFileSync(path.join(REPOSITORY, SERVER), 'utf8');
    const file = path.join(scratch, 'compose.yml');
    for (const [bad, words] of [
      [good.replace('read_only: true', 'readonly: true'), 'readonly'],
      [good.replace('- data:/data', '- dat:/data'), 'dat'],
    ]) {
      writeFileSync(file, bad);
      expectRefusal(words, () => load([file]));
    }
    return '2 faults refused';
  });
}

async function testSteps({ checks, scratch }) {
  let image;
  const isBuilt = await checks.run('every step of the Dockerfile works in a chroot', async () => {
    image = buildInChroot(path.join(REPOSITORY, 'Dockerfile'), { base: copyDebian, folder: path.join(scratch, 'stages') });
    return `${image.steps} steps, ${run('du', ['-sm', path.join(image.root, 'app')]).split('\t')[0]} MiB in /app`;
  });
  if (!isBuilt) return;
  const data = path.join(scratch, 'data');
  run('cp', ['-a', path.join(image.root, 'data'), data]);
  const command = asContainer(image, data, image.command);
  await checks.run('what they make serves as its user on a read-only file system', async () =>
    tryServer(command, { cwd: '/', env: image.environment }),
  );
  await checks.run('nothing but /data was written', async () => {
    const written = run('find', [image.root, '-xdev', '-newer', path.join(image.root, 'finished'), '-not', '-type', 'd']).trim();
    expectEqual(written, '', 'files that are newer than the image');
  });
  for (const [name, tls] of Object.entries({
    'without TLS': {},
    'with TLS': certificate(data),
    'with client certificates': certificate(data, true),
  })) {
    await checks.run(`the health check tells a server that answers from one that does not, ${name}`, async () => {
      const [rest] = await freePorts(1);
      const environment = { ...image.environment, ...tls, REST_PORT: String(rest) };
      const isHealthy = () => {
        try {
          run(...first(asContainer(image, data, image.healthCheck)), { env: environment });
          return true;
        } catch {
          return false;
        }
      };
      const server = await startInstalled(command, { cwd: '/', env: environment });
      try {
        expectTrue(isHealthy(), 'healthy while it serves');
        if (Object.keys(tls).length === 0) {
          await writeOne(server.url, 'b');
          expectEqual(await idsOf(server.url), ['a', 'b'], 'rows');
        }
      } finally {
        await server.stop();
      }
      expectTrue(!isHealthy(), 'not healthy after its end');
    });
  }
}

/** The image's file system read-only, a /tmp of its own, its volume, its user: what `docker run --read-only --tmpfs /tmp -v data:/data` gives. */
function asContainer({ root, user, directory }, data, command) {
  const script = [
    'mount --bind "$0" "$0"',
    'mount -o remount,bind,ro "$0"',
    'mount -t tmpfs tmpfs "$0/tmp"',
    `mount --bind "${data}" "$0/data"`,
    'mount -t proc proc "$0/proc"',
    'mount -t tmpfs tmpfs "$0/dev"',
    'for device in null urandom random zero; do touch "$0/dev/$device"; mount --bind "/dev/$device" "$0/dev/$device"; done',
    `exec chroot --userspec=${user} "$0" env --chdir=${directory} "$@"`,
  ].join(' && ');
  return ['unshare', '--mount', 'sh', '-c', script, root, ...command];
}

/** In the volume, because the rest is read-only. */
function certificate(data, withClients = false) {
  const folder = path.join(data, 'tls');
  mkdirSync(folder, { recursive: true });
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name));
  run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=localhost',
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  run('chmod', ['-R', 'a+rX', folder]);
  const settings = { MINIODB_TLS__CERT_FILE: '/data/tls/cert.pem', MINIODB_TLS__KEY_FILE: '/data/tls/key.pem' };
  return withClients ? { ...settings, MINIODB_TLS__CLIENT_CA_FILE: '/data/tls/cert.pem' } : settings;
}

function first([program, ...parameters]) {
  return [program, parameters];
}

function readFileOrFolder(place) {
  run('ls', [place]);
}
