/**
 * The deployment, from empty machines to empty machines. Started by scripts/test-deploy.mjs inside namespaces of its own, with what needs.mjs made
 * as JSON in its one argument.
 */
import path from 'node:path';
import { Checks } from '../../scripts/test-release/checks.mjs';
import { testCluster } from './cluster.mjs';
import { Machine, makeNetwork } from './machines.mjs';
import { Plays } from './plays.mjs';
import { testSingle } from './single.mjs';

const MACHINES = 3;
const PARTS = { single: testSingle, cluster: testCluster };

const { debian, releases, versions, bin, weed, scratch, cgroups, parts } = JSON.parse(process.argv[2]);
const checks = new Checks();
const plays = new Plays({ bin, scratch, debian });
const wanted = Object.entries(PARTS).filter(([name]) => parts.length === 0 || parts.includes(name));

makeNetwork();
await checks.run('ansible-lint --offline --profile production has nothing to say', async () => void plays.lint());
for (const [name, test] of wanted) {
  const part = checks.in(name);
  const machines = Array.from(
    { length: name === 'single' ? 1 : MACHINES },
    (_, number) => new Machine(number, { debian, scratch: path.join(scratch, name), publicKey: plays.publicKey, cgroups }),
  );
  const releaseSource = path.join(releases, 'miniodb-{{ miniodb_version }}-linux-{{ miniodb_architecture }}.tar.gz');
  const areUp = await part.run(machines.length === 1 ? 'a machine boots' : `${machines.length} machines boot`, async () => {
    await Promise.all(machines.map((machine) => machine.boot()));
  });
  if (areUp) await test({ checks: part, plays, machines, versions, weed, releaseSource });
  await Promise.all(machines.map((machine) => machine.end()));
}
checks.print();
