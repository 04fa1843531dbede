/** Archives whose bytes follow from their contents only, and their checksums. */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { releaseSeconds, run } from './run.mjs';

const ARCHIVE = /\.(tgz|tar\.gz|deb)$/;

/** FOLDER becomes OUTPUT/FOLDER.tar.gz, with a .sha256 that `sha256sum -c` reads. */
export function packTree(tree, output) {
  const name = `${path.basename(tree)}.tar.gz`;
  const date = `--mtime=@${releaseSeconds()}`;
  const file = path.join(output, name);
  const plain = path.join(path.dirname(tree), path.basename(name, '.gz'));
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  run('tar', ['--sort=name', '--format=gnu', date, ...owner, '-cf', plain, path.basename(tree)], { cwd: path.dirname(tree) });
  run('gzip', ['-6', '-n', '-f', plain]);
  run('mv', [`${plain}.gz`, file]);
  writeFileSync(`${file}.sha256`, `${digestOf(file)}  ${name}\n`);
}

export function writeChecksums(output) {
  const names = readdirSync(output).filter((name) => ARCHIVE.test(name));
  writeFileSync(
    path.join(output, 'SHA256SUMS'),
    names
      .sort()
      .map((name) => `${digestOf(path.join(output, name))}  ${name}\n`)
      .join(''),
  );
}

function digestOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
