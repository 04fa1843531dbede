/**
 * `npm run test:long [-- arguments of Jest]`: what `npm test` runs, with the random suites at their full length and a new seed, and the suites
 * of the engine on all three kinds of storage, and on SeaweedFS as a second S3 store. SEED=... repeats a run; the seed stands in its first line.
 */
import { randomInt } from 'node:crypto';
import { checkSources } from './check-sources.mjs';
import { prepare } from './prepare.mjs';
import { runSuites } from './run-suites.mjs';
import { missingForSeaweedfs, startSeaweedfs } from './seaweedfs.mjs';

const SEED_MAX = 2 ** 32;
const ENGINE_SUITES = ['model', 'crash', 'right-answers', 'paging', 'interop-clickhouse'];
/** In a bucket; smaller than on local files, which come first. */
const SMALLER = { MODEL_OPERATIONS: '1000', CRASH_KILLS: '25', RIGHT_ANSWERS_QUERIES: '2000' };

prepare();
const SEED = process.env.SEED ?? String(randomInt(SEED_MAX));
process.stdout.write(`SEED=${SEED} npm run test:long   repeats this run\n`);
const withoutBucket = ['--ignoreProjects', 'bucket'];
/** What a store has to do, and what servers do with it. */
const STORE_SUITES = ['object-store', 'check-storage', 'compaction', 'two-nodes', 'lost-disk'];
const suites = (names) => `--testPathPatterns=/test/(${names.join('|')})\\.test\\.ts$`;
const engine = suites(ENGINE_SUITES);
const given = process.argv.slice(2);
const runs = [{ name: 'as configured', parameters: [...given, ...withoutBucket], environment: { SEED } }];
if (given.length === 0 && !process.env.TEST_STORAGE) {
  for (const TEST_STORAGE of ['minio', 'minio-redis'])
    runs.push({
      name: `TEST_STORAGE=${TEST_STORAGE}`,
      parameters: [engine, ...withoutBucket],
      environment: { ...SMALLER, SEED, TEST_STORAGE },
    });
}
const seaweedfs = await secondStore();
if (seaweedfs !== undefined)
  runs.push({
    name: 'SeaweedFS',
    parameters: [suites([...STORE_SUITES, ...ENGINE_SUITES]), ...withoutBucket],
    environment: { ...SMALLER, SEED, TEST_STORAGE: 'minio-redis', ...seaweedfs.environment },
  });
try {
  await runSuites(runs, given.length === 0 ? await checkSources() : undefined);
} finally {
  await seaweedfs?.stop();
}

async function secondStore() {
  if (given.length > 0 || process.env.TEST_STORAGE || process.env.TEST_S3_ENDPOINT) return undefined;
  const reason = missingForSeaweedfs();
  if (reason === undefined) return startSeaweedfs();
  process.stdout.write(`not run: the second store (${reason})\n`);
  return undefined;
}
