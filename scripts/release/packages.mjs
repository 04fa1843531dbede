/** The packages below a node_modules, those inside of others included. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { readJson } from './run.mjs';

/** @returns {{folder: string, name: string, version: string, license: string}[]} by name and version, each once */
export function packagesBelow(modules) {
  const found = new Map();
  for (const folder of foldersBelow(modules)) {
    const { name, version, license, licenses } = readJson(path.join(folder, 'package.json'));
    found.set(`${name}@${version}`, { folder, name, version, license: licenseText(license ?? licenses) });
  }
  return [...found.values()].sort((left, right) => (`${left.name}@${left.version}` < `${right.name}@${right.version}` ? -1 : 1));
}

function foldersBelow(modules) {
  if (!existsSync(modules)) return [];
  const names = readdirSync(modules).filter((name) => !name.startsWith('.'));
  const packages = names.flatMap((name) =>
    name.startsWith('@') ? readdirSync(path.join(modules, name)).map((inner) => path.join(name, inner)) : [name],
  );
  return packages
    .map((name) => path.join(modules, name))
    .filter((folder) => existsSync(path.join(folder, 'package.json')))
    .flatMap((folder) => [folder, ...foldersBelow(path.join(folder, 'node_modules'))]);
}

/** An SPDX expression; old packages have an object or a list. */
function licenseText(license) {
  if (Array.isArray(license)) return license.map(licenseText).join(' OR ');
  return typeof license === 'object' && license !== null ? license.type : (license ?? 'not stated');
}
