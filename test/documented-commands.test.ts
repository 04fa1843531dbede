/**
 * The commands of the documents, typed as they stand into a shell: those of the READMEs against a server of their own with local files, in their order;
 * those of docs/troubleshooting.md and docs/operations.md against one with a bucket and Redis. Those of docs/install.md are typed by `npm run test:release`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { createTable, write } from './support/requests.js';
import { type RunningServer, startServer, temporaryDirectory } from './support/server.js';
import { startWatchedServer, type WatchedServer } from './support/watched-server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const DOCUMENT = readFileSync(new URL('../docs/troubleshooting.md', import.meta.url), 'utf8');
/** These need what is not here (a MinIO of that name, a query that runs) or have tests of their own. */
const NOT_HERE = /npm run check-storage|minio\/health\/live|QUERY_ID|^URL=/;

const commands = commandsOf(DOCUMENT).filter((line) => !NOT_HERE.test(line));

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

describe('docs/operations.md', () => {
  const typed = commandsOf(readFileSync(path.join(REPOSITORY, 'docs/operations.md'), 'utf8'));

  it('has commands', () => expect(typed.length).toBeGreaterThan(2));

  it.each(typed)('%s', (command) => {
    const { status, output, errors } = type(command);
    expectThat(status, errors).toBe(0);
    expect(output).toMatch(/"(success|status|health_status)":/);
  });
});

describe.each(['README.md', 'README.zh.md'])('%s', (file) => {
  const lines = commandsOf(readFileSync(path.join(REPOSITORY, file), 'utf8'));
  const settings = lines.filter((line) => /^[A-Z]+=\S+;|^[A-Z]+='/.test(line));
  const typed = lines.filter((line) => /^(curl|printf|\$GRPC) /.test(line) && (hasGrpcurl() || !line.startsWith('$GRPC')));
  let own: RunningServer;

  beforeAll(async () => {
    own = await startServer();
  });

  afterAll(async () => own?.kill());

  it('has commands, and addresses for them', () => {
    expect(typed.length).toBeGreaterThan(15);
    expect(settings.join()).toContain('URL=http://127.0.0.1:8081/v1');
  });

  it.each(typed)('%s', (command) => {
    const script = [...settings, command].join('\n').replaceAll('http://127.0.0.1:8081', own.rest).replaceAll('127.0.0.1:8080', own.grpc);
    const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; ${script}`], { cwd: REPOSITORY, encoding: 'utf8' });
    expectThat(status, stderr).toBe(0);
    expect(stdout.trim()).not.toBe('');
    expect(stdout).not.toMatch(/"error":\s*"[A-Z_]+"/);
  });

  it('names methods of gRPC that the proto file has', () => {
    const proto = readFileSync(path.join(REPOSITORY, 'proto/miniodb/v1/miniodb.proto'), 'utf8');
    const methods = lines.flatMap((line) => /miniodb\.v1\.MinIODBService\/(\w+)/.exec(line)?.[1] ?? []);
    expect(methods).not.toEqual([]);
    for (const method of methods) expect(proto).toContain(`rpc ${method}(`);
  });

  it('has pictures that npm run picture makes, and links that lead somewhere', () => {
    const folder = temporaryDirectory('picture');
    expect(spawnSync(process.execPath, ['scripts/picture.mjs', folder], { cwd: REPOSITORY }).status).toBe(0);
    const links = [...readFileSync(path.join(REPOSITORY, file), 'utf8').matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link);
    for (const link of links.filter((target) => !target.startsWith('http'))) {
      expectThat(existsSync(path.join(REPOSITORY, link)), link).toBe(true);
      if (link.endsWith('.svg'))
        expect(readFileSync(path.join(REPOSITORY, link), 'utf8')).toBe(readFileSync(path.join(folder, path.basename(link)), 'utf8'));
    }
  });
});

it('README.md and README.zh.md have the same commands', () => {
  const [english, chinese] = ['README.md', 'README.zh.md'].map((file) =>
    commandsOf(readFileSync(path.join(REPOSITORY, file), 'utf8')).map((line) => line.replace(/\s+# .*$/, '')),
  );
  expect(chinese).toEqual(english);
});

/** The lines of a document's blocks of shell. */
function commandsOf(document: string): string[] {
  return [...document.matchAll(/```bash\n([\s\S]*?)```/g)].flatMap(([, text = '']) => text.trim().split('\n'));
}

/** It is no package of Debian; where somebody has it, its commands are typed as well. */
function hasGrpcurl(): boolean {
  return spawnSync('grpcurl', ['-version']).status === 0;
}
