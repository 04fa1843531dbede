/**
 * Does what a Dockerfile says in chroots, one for each stage: the instructions that ours uses, and no others. The build context is what
 * .dockerignore leaves.
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import picomatch from 'picomatch';
import { installOnDemand } from '../on-demand.mjs';
import { REPOSITORY } from '../prepare.mjs';
import { npm, run } from '../release/run.mjs';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt';

/**
 * @param {string} file
 * @param {{base: (root: string) => void, folder: string}} options where base makes the system that stages begin with
 * @returns the last stage: {root, user, directory, environment, command, healthCheck, steps}
 */
export function buildInChroot(file, { base, folder }) {
  mkdirSync(folder, { recursive: true });
  const stages = [];
  for (const [instruction, rest] of instructionsOf(readFileSync(file, 'utf8'))) {
    if (instruction === 'FROM') stages.push(begin(rest, stages.length, { base, folder }));
    else doStep(stages, instruction, rest);
  }
  const image = stages.at(-1);
  writeFileSync(path.join(image.root, 'finished'), '');
  return { ...image, steps: stages.reduce((sum, { steps }) => sum + steps, 0) };
}

function instructionsOf(text) {
  return text
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]);
}

function begin(rest, index, { base, folder }) {
  const [, version, name = String(index)] = /^node:([\d.]+)-bookworm-slim(?: AS (\S+))?$/.exec(rest) ?? [];
  if (version === undefined) throw new Error(`FROM ${rest}: only Node on Debian bookworm is known here`);
  const root = path.join(folder, name);
  base(root);
  addNode(root, version);
  return { name, root, directory: '/', environment: { PATH, NODE_VERSION: version }, user: '0:0', steps: 1 };
}

/** As the image has it: Node in /usr/local, npm with it, and a user. */
function addNode(root, version) {
  const node = path.join(
    installOnDemand('node', { os: 'linux', cpu: process.arch }),
    'node_modules',
    `node-linux-${process.arch}`,
    'bin',
    'node',
  );
  const found = run(node, ['--version']).trim();
  if (found !== `v${version}`)
    throw new Error(`the image has Node ${version}, the release ${found}: scripts/on-demand/node and Dockerfile differ`);
  const local = path.join(root, 'usr', 'local');
  copyFileSync(node, path.join(local, 'bin', 'node'));
  chmodSync(path.join(local, 'bin', 'node'), 0o755);
  const modules = path.join(local, 'lib', 'node_modules');
  mkdirSync(modules, { recursive: true });
  cpSync(path.join(npm(['root', '--global']).trim(), 'npm'), path.join(modules, 'npm'), { recursive: true, dereference: true });
  for (const name of ['npm', 'npx']) symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, path.join(local, 'bin', name));
  // How this machine reaches the packages.
  if (existsSync(`/${CERTIFICATES}`)) {
    mkdirSync(path.join(root, path.dirname(CERTIFICATES)), { recursive: true });
    copyFileSync(`/${CERTIFICATES}`, path.join(root, CERTIFICATES));
  }
  for (const file of ['etc/resolv.conf', 'etc/hosts']) copyFileSync(`/${file}`, path.join(root, file));
}

function doStep(stages, instruction, rest) {
  const stage = stages.at(-1);
  stage.steps += 1;
  switch (instruction) {
    case 'WORKDIR':
      stage.directory = rest;
      mkdirSync(path.join(stage.root, rest), { recursive: true });
      return;
    case 'ENV':
      for (const [, name, value] of rest.matchAll(/(\w+)=('[^']*'|\S+)/g)) stage.environment[name] = value.replace(/^'|'$/g, '');
      return;
    case 'USER':
      stage.user = rest;
      return;
    case 'COPY':
      copy(stages, stage, rest);
      return;
    case 'RUN':
      runIn(stage, rest);
      return;
    case 'CMD':
      stage.command = JSON.parse(rest);
      return;
    case 'HEALTHCHECK':
      stage.healthCheck = JSON.parse(rest.slice(rest.indexOf('CMD ') + 4));
      return;
    case 'VOLUME':
    case 'EXPOSE':
      return;
    default:
      throw new Error(`${instruction} is not known here`);
  }
}

function runIn(stage, command) {
  const settings = Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name)));
  const env = {
    ...settings,
    ...stage.environment,
    HOME: '/root',
    NODE_EXTRA_CA_CERTS: `/${CERTIFICATES}`,
    npm_config_registry: npm(['config', 'get', 'registry']).trim(),
  };
  // With a /proc, which programs of Go and others read.
  const inside = 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "$1"';
  run('unshare', ['--mount', 'sh', '-c', inside, stage.root, `cd ${stage.directory} && ${command}`], { env });
}

function copy(stages, stage, rest) {
  const [, from, paths] = /^(?:--from=(\S+) )?(.+)$/.exec(rest);
  const sources = paths.split(' ');
  const target = path.join(stage.root, path.resolve(stage.directory, sources.pop()));
  const origin = from === undefined ? REPOSITORY : stages.find(({ name }) => name === from).root;
  for (const source of sources) {
    const place = path.join(origin, source);
    const isFolder = statSync(place).isDirectory();
    const to = isFolder || !paths.endsWith('/') ? target : path.join(target, path.basename(source));
    if (from === undefined) copyContext(place, to);
    else run('cp', ['-a', '-T', place, to]);
  }
}

/** Files that .dockerignore leaves. */
function copyContext(place, to) {
  const names = statSync(place).isDirectory() ? readdirSync(place, { recursive: true }) : [''];
  for (const name of names) {
    const file = path.join(place, name);
    if (statSync(file).isDirectory() || !isInContext(path.relative(REPOSITORY, file))) continue;
    const target = path.join(to, name);
    mkdirSync(path.dirname(target), { recursive: true });
    copyFileSync(file, target);
  }
}

/** As Docker reads .dockerignore: the last line that matches a path or a folder above it decides. */
function isInContext(file) {
  const rules = readFileSync(path.join(REPOSITORY, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const above = file.split('/').map((_part, index, parts) => parts.slice(0, index + 1).join('/'));
  return rules.reduce((isIn, rule) => {
    const pattern = rule.replace(/^!/, '');
    return above.some((at) => picomatch.isMatch(at, pattern, { dot: true })) ? rule.startsWith('!') : isIn;
  }, true);
}
