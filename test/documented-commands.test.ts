/** The commands of docs/troubleshooting.md, typed as they stand into a shell, against a server with a bucket and Redis. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { createTable, write } from './support/requests.js';
import { startWatchedServer, type WatchedServer } from './support/watched-server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const DOCUMENT = readFileSync(new URL('../docs/troubleshooting.md', import.meta.url), 'utf8');
/** These need what is not here (a MinIO of that name, a query that runs) or have tests of their own. */
const NOT_HERE = /npm run check-storage|minio\/health\/live|QUERY_ID|^URL=/;

const blocks = [...DOCUMENT.matchAll(/```bash\n([\s\S]*?)```/g)].map(([, text = '']) => text);
const commands = blocks.flatMap((text) => text.trim().split('\n')).filter((line) => !NOT_HERE.test(line));

let server: WatchedServer;

beforeAll(async () => {
  server = await startWatchedServer('node-1');
  await createTable(server, 'your_table');
  await write(server, 'your_table', 'a', { n: 1 });
});

afterAll(async () => server?.end());

/** The shell, with the addresses of the server of this test. */
function type(command: string): { status: number | null; output: string; errors: string } {
  const { host, port, password } = server.redis;
  const here = command
    .replaceAll('http://127.0.0.1:8081', server.rest)
    .replace(/^redis-cli( -h 127.0.0.1 -p 6379)?/, `redis-cli -h ${host} -p ${port}`);
  const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; URL=${server.rest}/v1; ${here}`], {
    cwd: REPOSITORY,
    encoding: 'utf8',
    env: { ...process.env, REDISCLI_AUTH: password },
  });
  return { status, output: stdout, errors: stderr };
}

describe('docs/troubleshooting.md', () => {
  it('has commands', () => expect(commands.length).toBeGreaterThan(25));

  it.each(commands)('%s', (command) => {
    const { status, output, errors } = type(command);
    const isSearch = command.startsWith('grep ');
    // A search that finds nothing is an answer.
    expectThat(isSearch && status === 1 ? 0 : status, errors).toBe(0);
    expect(errors).toBe('');
    // The log may tell of errors.
    if (isSearch) return;
    expect(output.trim()).not.toBe('');
    expect(output).not.toMatch(/"error":\s*"[A-Z_]+"/);
    if (command.includes('| jq')) expectThat(output, 'a path that is not there').not.toMatch(/^null$/m);
  });
});
