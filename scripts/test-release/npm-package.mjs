/** The npm package on Nodes that have nothing else: installed without any script, started with npx. */
import { mkdirSync, readdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { installOnDemand } from '../on-demand.mjs';
import { REPOSITORY } from '../prepare.mjs';
import { packagesBelow } from '../release/packages.mjs';
import { npm, readJson, run, sizeOf } from '../release/run.mjs';
import { expectEqual, expectTrue } from './checks.mjs';
import { tryServer } from './installed-server.mjs';

const MAJOR_VERSIONS = [20, 22, 24];
/** Of no use to somebody who runs the server. */
const NOT_INSIDE = /^(src|test|scripts|bench|demo|node_modules|docs)\/|\.(ts|map)$|\.env|local\.yaml/;
const MS_PER_SECOND = 1_000;

export async function testNpmPackage({ checks, release, scratch }) {
  const { version, devDependencies } = readJson(path.join(REPOSITORY, 'package.json'));
  const archive = path.join(release, `miniodb-${version}.tgz`);
  mkdirSync(scratch, { recursive: true });
  await checks.run('the package has what runs, and nothing else', async () => {
    const names = run('tar', ['-tzf', archive])
      .trim()
      .split('\n')
      .map((name) => name.replace(/^package\//, ''));
    for (const name of ['dist/main.cjs', 'dist/check-storage.js', 'config/default.yaml', 'proto/miniodb/v1/miniodb.proto', 'LICENSE'])
      expectTrue(names.includes(name), `${name} is missing`);
    expectEqual(
      names.filter((name) => NOT_INSIDE.test(name)),
      [],
      'what does not belong into it',
    );
    const manifest = JSON.parse(run('tar', ['-xzOf', archive, 'package/package.json']));
    expectEqual([manifest.scripts, manifest.devDependencies], [undefined, undefined], 'scripts and packages of development');
    return `${names.length} files, ${sizeOf(archive)}`;
  });
  const nodes = installOnDemand('test-nodes', { os: 'linux', cpu: process.arch });
  for (const major of MAJOR_VERSIONS) {
    const node = path.join(nodes, 'node_modules', `node-${major}-${process.arch}`, 'bin', 'node');
    await checks.run(`npx miniodb serves on Node ${major}`, async () =>
      tryOn(node, archive, path.join(scratch, `node-${major}`), devDependencies, true),
    );
  }
  await checks.run('npm pack alone makes a package that serves, too', async () => {
    const folder = path.join(scratch, 'plain');
    mkdirSync(folder, { recursive: true });
    const packed = JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder]));
    const node = path.join(nodes, 'node_modules', `node-24-${process.arch}`, 'bin', 'node');
    return tryOn(node, path.join(folder, packed[0].filename), path.join(folder, 'project'), devDependencies, false);
  });
}

async function tryOn(node, archive, folder, devDependencies, withVersions) {
  mkdirSync(folder, { recursive: true });
  // npx and the package's programs find `node` in PATH: this one, and no other that may be there.
  const bin = path.join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(node, path.join(bin, 'node'));
  for (const name of ['sh', 'env']) symlinkSync(realpathSync(`/bin/${name}`), path.join(bin, name));
  const env = { PATH: bin, HOME: folder, npm_config_cache: npm(['config', 'get', 'cache']).trim() };
  writeFileSync(path.join(folder, 'package.json'), '{ "name": "bare", "private": true }\n');
  const npmCli = npmProgram('npm-cli.js');
  const startedAt = performance.now();
  const install = [npmCli, 'install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', archive];
  run(node, install, { cwd: folder, env: { ...npmSettings(), ...env } });
  const seconds = (performance.now() - startedAt) / MS_PER_SECOND;
  const modules = path.join(folder, 'node_modules');
  const inside = path.join(modules, 'miniodb', 'node_modules');
  for (const name of Object.keys(devDependencies))
    expectTrue(![modules, inside].some((place) => hasPackage(place, name)) || isAlsoUsed(name), `${name} is only for development`);
  if (withVersions) expectVersionsOfLock([modules, inside]);
  const [size] = run('du', ['-sm', modules]).split('\t');
  const query = await tryServer([node, npmProgram('npx-cli.js'), '--no-install', 'miniodb'], { cwd: folder, env });
  return `installed in ${seconds.toFixed(1)} s, ${size} MiB, ${query}, Node ${run(node, ['--version']).trim()}`;
}

/** What was installed is what was tested. */
function expectVersionsOfLock(places) {
  const { packages } = readJson(path.join(REPOSITORY, 'package-lock.json'));
  const locked = new Set(Object.entries(packages).map(([place, { version }]) => `${place.split('node_modules/').at(-1)}@${version}`));
  const installed = places.flatMap(packagesBelow).map(({ name, version }) => `${name}@${version}`);
  expectEqual(
    installed.filter((name) => !locked.has(name) && !name.startsWith('miniodb@')),
    [],
    'versions that package-lock.json does not have',
  );
}

/** A package of development that one of production needs as well is in package-lock.json without `dev`. */
function isAlsoUsed(name) {
  return readJson(path.join(REPOSITORY, 'package-lock.json')).packages[`node_modules/${name}`]?.dev !== true;
}

function hasPackage(modules, name) {
  try {
    return readdirSync(path.join(modules, name)).length > 0;
  } catch {
    return false;
  }
}

function npmProgram(name) {
  const itself = process.env.npm_execpath ?? '';
  const folder = path.basename(itself) === 'npm-cli.js' ? path.dirname(itself) : path.join(npm(['root', '--global']).trim(), 'npm', 'bin');
  return path.join(folder, name);
}

/** Where packages come from and how, as this machine is set up. */
function npmSettings() {
  const isSetting = ([name]) => /^npm_config_|^(https?|no)_proxy$|^NODE_EXTRA_CA_CERTS$|^SSL_CERT_FILE$/i.test(name);
  const settings = Object.fromEntries(Object.entries(process.env).filter(isSetting));
  return { ...settings, npm_config_registry: npm(['config', 'get', 'registry']).trim(), npm_config_prefix: '' };
}
