import { defineConfig } from 'vitest/config';

/** Unit tests stand beside the code; `test/` holds what drives a built server through its public doors. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['src/**/*.spec.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/servers/global-setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    // One after the other: tests that measure time and memory must not disturb each other.
    maxWorkers: 1,
  },
});
