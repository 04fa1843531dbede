/** `nest build`, which is not what `npm run build` does, in a copy of the project: the other tests need their dist/. */
import { execFileSync } from 'node:child_process';
import { cpSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';
import { rowsOf, write } from './support/requests.js';
import { startServer, temporaryDirectory } from './support/server.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const INPUTS = ['package.json', 'nest-cli.json', '.swcrc', 'tsconfig.json', 'src', 'config', 'proto'];

it('nest build makes a server that starts, stores and answers', async () => {
  const project = temporaryDirectory('nest-build');
  for (const name of INPUTS) cpSync(path.join(REPOSITORY, name), path.join(project, name), { recursive: true });
  symlinkSync(path.join(REPOSITORY, 'node_modules'), path.join(project, 'node_modules'));
  execFileSync(process.execPath, [path.join(REPOSITORY, 'node_modules', '@nestjs', 'cli', 'bin', 'nest.js'), 'build'], { cwd: project });
  const server = await startServer({ main: path.join(project, 'dist', 'main.cjs') });
  try {
    await write(server, 'built', 'a', { n: 1 });
    expect(await rowsOf(server, 'SELECT id, n FROM built')).toEqual([{ id: 'a', n: 1 }]);
  } finally {
    await server.kill();
  }
});
