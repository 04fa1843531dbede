/**
 * Jest 30 with ES modules and TypeScript by swc, which needs `node --experimental-vm-modules`: `npm test` (scripts/test.mjs) starts it so.
 * Unit tests stand beside the code; `test/` holds what drives a built server through its public doors.
 *
 * The projects run in this order: `unit`, `e2e`, `bucket` (the suites of the engine once more, on a bucket with Redis), and `measured`, whose
 * files assert times and memory, so each of them has the machine to itself.
 */
const TYPESCRIPT = [
  '@swc/jest',
  {
    swcrc: false,
    sourceMaps: 'inline',
    module: { type: 'es6' },
    jsc: {
      target: 'es2023',
      keepClassNames: true,
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
    },
  },
];

/** Suites that say whether the engine keeps what it acknowledged and answers right, on whatever storage. */
const ENGINE_SUITES = ['model', 'crash', 'right-answers', 'paging', 'interop-clickhouse'];

const IN_A_BUCKET = { TEST_STORAGE: 'minio-redis', ...JSON.parse(process.env.TEST_BUCKET_SIZES ?? '{}') };

/** dist/main.cjs, not the server in one file that other suites start to save time. */
const AS_PEOPLE_START_IT = { TEST_SERVER_MAIN: '' };

const project = (name, color, options) => ({
  displayName: { name, color },
  rootDir: import.meta.dirname,
  testEnvironment: '<rootDir>/test/jest/environment.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': TYPESCRIPT },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: [
    '<rootDir>/dist/',
    '<rootDir>/data/',
    '<rootDir>/deploy/',
    '<rootDir>/.cache/',
    '<rootDir>/scripts/on-demand/',
  ],
  ...options,
});

export default {
  testTimeout: 120_000,
  // More than two cores' worth: most suites wait for the disk, for intervals, and for processes that start.
  maxWorkers: 3,
  // A worker keeps the modules of every file it ran; at this size a new one takes its place.
  workerIdleMemoryLimit: '700MB',
  globalSetup: '<rootDir>/test/jest/global-setup.mjs',
  globalTeardown: '<rootDir>/test/jest/global-teardown.mjs',
  testSequencer: '<rootDir>/test/jest/sequencer.mjs',
  projects: [
    project('unit', 'cyan', { testMatch: ['<rootDir>/src/**/*.spec.ts'] }),
    project('e2e', 'blue', { testMatch: ['<rootDir>/test/**/*.test.ts'], testPathIgnorePatterns: ['<rootDir>/test/measured/'] }),
    project('bucket', 'yellow', {
      testMatch: ENGINE_SUITES.map((suite) => `<rootDir>/test/${suite}.test.ts`),
      testEnvironmentOptions: { variables: IN_A_BUCKET },
    }),
    project('measured', 'magenta', {
      testMatch: ['<rootDir>/test/measured/*.test.ts'],
      testEnvironmentOptions: { variables: AS_PEOPLE_START_IT },
      runner: '<rootDir>/test/jest/one-at-a-time.mjs',
    }),
  ],
};
