/** Before the first test: the servers that all files share, see test/servers/global-setup.ts. Jest loads this outside of its transforms. */
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
const { default: startSharedServers } = await import('../servers/global-setup.ts');

export default async function globalSetup({ maxWorkers }) {
  // The teardown runs in this process as well, and has no other way to reach it.
  globalThis.stopSharedServers = await startSharedServers({ files: globalThis.endToEndFiles ?? 0, workers: maxWorkers });
}
