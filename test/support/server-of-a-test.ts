/** Servers that live as long as one test, and whatever else has to be cleared away after it: the last thing first. */
import { afterEach } from '@jest/globals';
import { type RunningServer, type ServerOptions, startServer } from './server.js';

/** Run after each test of the file that imports this. */
export const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** Starts a server that logs to its output, unless `options` say more, and that is killed after the test. */
export async function start(options: ServerOptions = {}): Promise<RunningServer> {
  const server = await startServer('config' in options ? options : { ...options, config: { log: { file: '' } } });
  cleanUps.push(() => server.kill());
  return server;
}
