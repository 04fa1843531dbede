/** sbom.cdx.json: npm's list of the packages (CycloneDX), and Node, without the random number and the time that npm puts in. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { npm, readJson, releaseSeconds } from './run.mjs';

const MS_PER_SECOND = 1_000;

/** @param {{folder: string, name: string}} node the package of Node */
export function writeBillOfMaterials(tree, node) {
  const list = JSON.parse(
    npm(['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--omit=dev'], { cwd: path.join(tree, 'lib') }),
  );
  list.components.push(componentOf(node, path.join(tree, 'node', 'bin', 'node')));
  list.metadata.timestamp = new Date(releaseSeconds() * MS_PER_SECOND).toISOString();
  delete list.serialNumber;
  list.serialNumber = `urn:uuid:${uuidOf(JSON.stringify(list))}`;
  writeFileSync(path.join(tree, 'sbom.cdx.json'), `${JSON.stringify(list, null, 2)}\n`);
}

function componentOf({ folder, name }, program) {
  const { version } = readJson(path.join(folder, 'package.json'));
  return {
    'bom-ref': `${name}@${version}`,
    type: 'application',
    name: 'node',
    version,
    purl: `pkg:npm/${name}@${version}`,
    hashes: [{ alg: 'SHA-256', content: createHash('sha256').update(readFileSync(program)).digest('hex') }],
    licenses: [{ license: { id: 'MIT' } }],
  };
}

/** Version 8 of RFC 9562: 122 bits of one's own choice, here of the contents. */
function uuidOf(text) {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
