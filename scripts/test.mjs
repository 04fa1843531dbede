/**
 * `npm test [-- arguments of Jest]`: builds when needed, checks the sources (lint, types, format), runs every suite, and closes with the one
 * line that machines read: `N passed, N failed`, where each check counts as one test.
 *
 *   npm test -- src/common test/crash      files whose path matches one of these regular expressions (or --testPathPatterns ...)
 *   npm test -- test/doors -t 'loopback'   of them, the tests whose full name matches
 *
 * With arguments there are no checks, and the suites of the engine do not run once more on a bucket; TEST_STORAGE=minio or minio-redis puts
 * the tables of any suite there.
 *
 * Random suites draw from one fixed seed here, so that the same code gets the same cases, and are short: `npm run test:long` has new seeds
 * and many times the cases, `npm run soak` goes on for ever. SEED=... and the variables below choose others.
 */
import { checkSources } from './check-sources.mjs';
import { prepare } from './prepare.mjs';
import { runSuites } from './run-suites.mjs';

const FIXED_SEED = '20261123';
const SIZES = {
  MODEL_OPERATIONS: '300',
  RIGHT_ANSWERS_QUERIES: '1000',
  SMALL_FILES_STEPS: '25',
  CRASH_KILLS: '29',
};
/** On a bucket with Redis; smaller than on local files, which come first. Deaths at the steps that touch the bucket, and some at random. */
const BUCKET_SIZES = {
  MODEL_OPERATIONS: '100',
  RIGHT_ANSWERS_QUERIES: '200',
  CRASH_KILLS: '19',
  CRASH_STAGES: 'flush compaction checkpoint bulk table',
};

prepare();
const given = process.argv.slice(2);
const isWhole = given.length === 0 && !process.env.TEST_STORAGE;
const environment = { SEED: FIXED_SEED, ...SIZES, TEST_BUCKET_SIZES: JSON.stringify(BUCKET_SIZES), ...process.env };
const parameters = isWhole ? [] : [...given, '--ignoreProjects', 'bucket'];
await runSuites([{ name: 'all suites', parameters, environment }], given.length === 0 ? await checkSources() : undefined);
