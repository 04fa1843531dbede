/** The server the demo talks to: the one that runs already, or one of its own for the time being. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { REPOSITORY } from '../scripts/prepare.mjs';
import { startServerProcess } from '../scripts/server-process.mjs';

const USUAL_URL = 'http://127.0.0.1:8081';

/** @returns {Promise<{url: string, stop: () => Promise<void>}>} */
export async function findOrStartServer({ url, keep }, screen) {
  const wanted = (url ?? USUAL_URL).replace(/\/$/, '');
  if (await isMinioDb(wanted)) {
    screen.say(`Using the server at ${wanted}. Its tables demo_* are made anew.`);
    return { url: wanted, stop: async () => {} };
  }
  if (url !== undefined) throw new Error(`No MinIODB answers at ${url}.`);
  const directory = keep ? path.join(REPOSITORY, 'data') : mkdtempSync(path.join(os.tmpdir(), 'miniodb-demo-'));
  // On free ports: whatever holds 8081 without being MinIODB must not stop the demo.
  const server = await startServerProcess({ DATA_DIR: directory });
  const removeData = () => keep || rmSync(directory, { recursive: true, force: true });
  process.once('exit', removeData);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));
  screen.say(`No server on port 8081: started one at ${server.url}, data in ${directory}.`);
  return {
    url: server.url,
    stop: async () => {
      await server.stop();
      removeData();
    },
  };
}

async function isMinioDb(url) {
  try {
    const response = await fetch(`${url}/v1/health`, { signal: AbortSignal.timeout(2_000) });
    const answer = await response.json();
    return response.ok && typeof answer.version === 'string';
  } catch {
    return false;
  }
}
