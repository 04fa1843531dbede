/**
 * `npm run test:release [-- [--made] PART ...]`: makes a release, or takes the one in release/ (`--made`), and installs it in every way that there is, on
 * this machine only. The last line is `N passed, N failed`; what could not be tried here, and why, stands before it as "not run".
 *
 *   npm          the packed server on bare Nodes 20, 22 and 24
 *   tarball      the folder with Node inside, without PATH
 *   debian       the .deb in a Debian of its own: by hand, as a service, upgraded, removed, purged (root, debootstrap, systemd-nspawn)
 *   kubernetes   manifests and chart against the schemas of several versions of Kubernetes, and against an API server (Go, Python)
 *   containers   the Dockerfiles and Compose files (Python), and the steps of the Dockerfile in a chroot (root)
 *   documents    the commands of docs/install.md
 *
 * What the parts need is installed below .cache/. Takes 15 to 30 minutes the first time, mostly for building the API server.
 */
import { tmpdir } from 'node:os';
import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY, prepare } from './prepare.mjs';
import { npm, releaseSeconds } from './release/run.mjs';
import { testContainers } from './test-release/containers.mjs';
import { testDebianPackage } from './test-release/debian.mjs';
import { testDocuments } from './test-release/documents.mjs';
import { testKubernetes } from './test-release/kubernetes.mjs';
import { testNpmPackage } from './test-release/npm-package.mjs';
import { Checks } from './test-release/checks.mjs';
import { testTarball } from './test-release/tarball.mjs';

const PARTS = {
  npm: testNpmPackage,
  tarball: testTarball,
  debian: testDebianPackage,
  kubernetes: testKubernetes,
  containers: testContainers,
  documents: testDocuments,
};
const FROM_RELEASE = ['npm', 'tarball', 'debian', 'documents'];

const given = process.argv.slice(2);
const isMade = given.includes('--made');
const wanted = given.filter((word) => word !== '--made');
const unknown = wanted.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  process.stderr.write(`No such part: ${unknown.join(', ')}. There are ${Object.keys(PARTS).join(', ')}.\n`);
  process.exit(1);
}

prepare();
// One date for all that this run makes, though somebody may commit meanwhile.
process.env.SOURCE_DATE_EPOCH = String(releaseSeconds());
const scratch = mkdtempSync(path.join(tmpdir(), 'miniodb-release-'));
const checks = new Checks();
try {
  const parts = Object.entries(PARTS).filter(([name]) => wanted.length === 0 || wanted.includes(name));
  const release = path.join(REPOSITORY, 'release');
  if (!isMade && parts.some(([name]) => FROM_RELEASE.includes(name))) {
    await checks.run('release: npm run release', async () => void npm(['run', '--silent', 'release']));
  }
  for (const [name, test] of parts) await test({ checks: checks.in(name), release, scratch: path.join(scratch, name) });
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
checks.print();
