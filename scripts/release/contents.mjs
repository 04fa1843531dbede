/**
 * What every kind of release is made from: the files that `npm pack` takes (`files` in package.json) of a fresh build. It is built in a folder of
 * its own, because dist/ may still hold modules that are gone from src/, and a server may be running from it.
 */
import { cpSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { npm, run } from './run.mjs';

const AS_THEY_ARE = ['package.json', 'LICENSE', 'README.md', 'README.zh.md', 'config', 'proto'];
const COMPILER = path.join(REPOSITORY, 'node_modules', 'typescript-7', 'bin', 'tsc');

/** @returns {string} the folder */
export function buildContents(work) {
  const source = path.join(work, 'source');
  const contents = path.join(work, 'contents');
  for (const folder of [source, contents]) mkdirSync(folder, { recursive: true });
  for (const name of AS_THEY_ARE) cpSync(path.join(REPOSITORY, name), path.join(source, name), { recursive: true });
  run(process.execPath, [COMPILER, '-p', path.join(REPOSITORY, 'tsconfig.json'), '--outDir', path.join(source, 'dist')]);
  const [{ filename }] = JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', contents], { cwd: source }));
  run('tar', ['-xzf', filename, '--strip-components=1'], { cwd: contents });
  run('rm', [filename], { cwd: contents });
  return contents;
}
