/** The folder with Node inside: its layout, what its lists say, and that it runs where nothing is installed. */
import { cpSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, statSync, symlinkSync, writeSync, closeSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { packTree } from '../release/archives.mjs';
import { packagesBelow } from '../release/packages.mjs';
import { readJson, run, sizeOf } from '../release/run.mjs';
import { expectEqual, expectRefusal, expectTrue } from './checks.mjs';
import { tryServer } from './installed-server.mjs';

const LAYOUT = ['LICENSE', 'THIRD-PARTY-NOTICES', 'bin', 'config', 'lib', 'node', 'proto', 'sbom.cdx.json'];
const MACHINES = { x64: 0x3e, arm64: 0xb7 };
const ELF_MAGIC = 0x7f454c46;
const ELF_MACHINE_OFFSET = 18;

export async function testTarball({ checks, release, scratch }) {
  const { version } = readJson(path.join(REPOSITORY, 'package.json'));
  const name = `miniodb-${version}-linux-${process.arch}`;
  const archive = `${name}.tar.gz`;
  const tree = path.join(scratch, name);
  mkdirSync(scratch, { recursive: true });
  const isUnpacked = await checks.run('its checksums hold, and it unpacks', async () => {
    run('sha256sum', ['--check', '--strict', `${archive}.sha256`], { cwd: release });
    run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: release });
    run('tar', ['-xzf', path.join(release, archive)], { cwd: scratch });
    expectEqual(readdirSync(tree).sort(), LAYOUT, 'what is in it');
    return `${sizeOf(path.join(release, archive))}, unpacked ${run('du', ['-sm', tree]).split('\t')[0]} MiB`;
  });
  if (!isUnpacked) return;
  await checks.run('one changed byte is refused by its checksum', async () => {
    const folder = path.join(scratch, 'changed');
    mkdirSync(folder);
    for (const file of [archive, `${archive}.sha256`]) cpSync(path.join(release, file), path.join(folder, file));
    const descriptor = openSync(path.join(folder, archive), 'r+');
    writeSync(descriptor, 'X', 1_000_000);
    closeSync(descriptor);
    expectRefusal('FAILED', () => run('sha256sum', ['--check', `${archive}.sha256`], { cwd: folder }));
  });
  await checks.run('programs and libraries in it are for this processor', async () => {
    const binaries = readdirSync(tree, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && (/\.(node|so)(\.\d+)*$/.test(entry.name) || entry.parentPath.endsWith('node/bin')))
      .map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of binaries) expectEqual(machineOf(file), MACHINES[process.arch], file);
    return `${binaries.length} files`;
  });
  await checks.run('notices and the list of materials name every package', async () => {
    const packages = packagesBelow(path.join(tree, 'lib', 'node_modules'));
    const notices = readFileSync(path.join(tree, 'THIRD-PARTY-NOTICES'), 'utf8');
    const { bomFormat, components } = readJson(path.join(tree, 'sbom.cdx.json'));
    expectEqual(bomFormat, 'CycloneDX', 'bomFormat');
    const listed = new Set(components.map(({ name: of, version: is }) => `${of}@${is}`));
    for (const { name: of, version: is } of packages) {
      expectTrue(notices.includes(`\n${of} ${is}\n`), `no notice for ${of} ${is}`);
      expectTrue(listed.has(`${of}@${is}`), `${of} ${is} is not in sbom.cdx.json`);
    }
    expectTrue(
      components.some(({ name: of }) => of === 'node'),
      'Node is in sbom.cdx.json',
    );
    return `${packages.length} packages`;
  });
  const away = path.join(scratch, 'a place with spaces');
  mkdirSync(away);
  await checks.run('bin/miniodb serves with an empty PATH', async () =>
    tryServer([path.join(tree, 'bin', 'miniodb')], { cwd: away, env: { PATH: '' } }),
  );
  await checks.run('it serves through a link, with its arguments handed on', async () => {
    const link = path.join(away, 'miniodb');
    symlinkSync(path.join(tree, 'bin', 'miniodb'), link);
    expectRefusal('does not exist', () => run(link, ['--config', 'nothing.yaml'], { cwd: away, env: {} }));
    return tryServer([link], { cwd: away, env: { DATA_DIR: path.join(scratch, 'linked') } });
  });
  await checks.run('bin/miniodb-check-storage finds the disk fit', async () => {
    const printed = run(path.join(tree, 'bin', 'miniodb-check-storage'), ['--quick'], {
      cwd: away,
      env: { DATA_DIR: path.join(scratch, 'check') },
    });
    expectTrue(/^fit/m.test(printed), printed);
  });
  await checks.run('packed again it has the same bytes', async () => {
    // The release may be older than the last commit.
    process.env.SOURCE_DATE_EPOCH = String(statSync(path.join(tree, 'LICENSE')).mtimeMs / 1_000);
    const again = path.join(scratch, 'again');
    mkdirSync(again);
    const built = path.join(REPOSITORY, '.cache', 'release', name);
    expectTrue(existsSync(built), `${built} is missing`);
    packTree(built, again);
    expectEqual(
      readFileSync(path.join(again, `${archive}.sha256`), 'utf8'),
      readFileSync(path.join(release, `${archive}.sha256`), 'utf8'),
      'checksum',
    );
  });
}

function machineOf(file) {
  const bytes = readFileSync(file);
  return bytes.readUInt32BE(0) === ELF_MAGIC ? bytes.readUInt16LE(ELF_MACHINE_OFFSET) : undefined;
}
