/**
 * Ports of the loopback interface for servers that must be told theirs before they start. The system's own choice (port 0) would come
 * from the range it also takes for outgoing connections, where another process soon has it; these come from below that range, at random.
 * Between our look and the server's start somebody else can still take one: then everything starts again with other ports.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

export const LOOPBACK = '127.0.0.1';
/** A node of a Redis Cluster also takes the port this far above its own; no port of the first kind lies there. */
const CLUSTER_BUS_OFFSET = 10_000;

const FIRST_PORT = 10_000;
const STARTS_MAX = 3;
const LOOKS_MAX = 1_000;
const PORT_TAKEN = /address (already )?in use|EADDRINUSE/i;

/**
 * Runs `start` with ports that are free now, and once more with others if it fails because one was taken meanwhile.
 * @param start must leave nothing behind when it fails
 */
export async function withFreePorts<Started>(count: number, start: (ports: readonly number[]) => Promise<Started>): Promise<Started> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(await freePorts(count));
    } catch (error) {
      if (attempt === STARTS_MAX || !PORT_TAKEN.test(String(error))) throw error;
    }
  }
}

async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  for (let look = 0; found.size < count; look++) {
    if (look === LOOKS_MAX) throw new Error(`${LOOKS_MAX} looks at ports of ${LOOPBACK} found only ${found.size} free of ${count}`);
    const port = randomInt(FIRST_PORT, FIRST_PORT + CLUSTER_BUS_OFFSET);
    if ((await isFree(port)) && (await isFree(port + CLUSTER_BUS_OFFSET))) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, LOOPBACK, () => server.close(() => resolve(true)));
  });
}
