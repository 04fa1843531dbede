/** THIRD-PARTY-NOTICES: what else is in the release, under which licence, and the text of it as the package has it. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { packagesBelow } from './packages.mjs';
import { readJson } from './run.mjs';

const LEGAL = /^(licen[cs]e|copying|notice)/i;
const CODE = /\.(js|cjs|mjs|ts|json)$/;
const LINE = '='.repeat(80);

/** @param {{folder: string, name: string}} node the package of Node */
export function writeNotices(tree, node) {
  const { version } = readJson(path.join(node.folder, 'package.json'));
  const parts = [
    { folder: node.folder, name: 'Node.js', version, license: 'MIT, and those of the parts of Node.js' },
    ...packagesBelow(path.join(tree, 'lib', 'node_modules')),
  ];
  const head = [
    'MinIODB itself is under the licence in LICENSE. This release also contains the software below, each under its own licence.',
    '',
    ...parts.map(({ name, version: of, license }) => `${name} ${of}: ${license}`),
  ];
  writeFileSync(path.join(tree, 'THIRD-PARTY-NOTICES'), `${[head.join('\n'), ...parts.map(notice)].join('\n\n')}\n`);
}

function notice({ folder, name, version, license }) {
  const texts = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && LEGAL.test(entry.name) && !CODE.test(entry.name))
    .map((entry) => readFileSync(path.join(folder, entry.name), 'utf8').trim());
  const body = texts.length > 0 ? texts.join('\n\n') : `(The package comes without a text of its licence, ${license}.)`;
  return `${LINE}\n${name} ${version}\n${LINE}\n\n${body}`;
}
