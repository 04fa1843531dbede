#!/usr/bin/env node
/**
 * The entry. CommonJS, because Node makes its thread pool once, when it is first used, and loading ES modules uses it: the size must be set before.
 * Each statement of the engine holds one thread for as long as it runs; with Node's four, a few long queries would keep the write-ahead log from its
 * disk. So there are more than the queries, streams and maintenance that can run at once.
 */
const POOL_THREADS = 96;

process.env['UV_THREADPOOL_SIZE'] ??= String(POOL_THREADS);
void import('./config/open-files.js')
  .then(({ assertEnoughOpenFiles }) => assertEnoughOpenFiles())
  .then(
    () => import('./server.js'),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      process.exit(1);
    },
  );
