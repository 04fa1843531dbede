/** A configuration that cannot be used stops the start, and a person is told which key, which value, and what is allowed. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { countOf, expectStatus, write } from './support/requests.js';
import { call, temporaryDirectory, testedMain } from './support/server.js';
import { start } from './support/server-of-a-test.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));

describe('a configuration that cannot be used stops the start', () => {
  interface Ended {
    readonly code: number | null;
    readonly output: string;
  }

  /** Runs the server with parameters and an environment that should make it end by itself. */
  function startToFail(parameters: readonly string[], env: Record<string, string | undefined> = {}): Ended {
    const { status, stdout, stderr } = spawnSync(process.execPath, [testedMain(), ...parameters], {
      cwd: REPOSITORY,
      env: {
        ...process.env,
        DATA_DIR: temporaryDirectory('refused'),
        REST_PORT: '0',
        GRPC_PORT: '0',
        MINIODB_LOG__FILE: path.join(temporaryDirectory('log'), 'refused.log'),
        ...env,
      },
      timeout: 30_000,
      encoding: 'utf8',
    });
    return { code: status, output: stdout + stderr };
  }

  function fileWith(text: string): string {
    const file = path.join(temporaryDirectory('config'), 'config.yaml');
    writeFileSync(file, text);
    return file;
  }

  function expectRefusal(ended: Ended, ...says: readonly RegExp[]): void {
    expectThat(ended.code, `it was not refused:\n${ended.output}`).toBeGreaterThan(0);
    expect(ended.output).not.toContain('MinIODB ready');
    for (const word of says) expect(ended.output).toMatch(word);
    expectThat(ended.output, 'a person reads this: no stack').not.toMatch(/^\s+at .+\(?(file|node):/m);
  }

  /** Text of the file, then what the message must say: the key, the value, what is allowed. */
  const BAD_FILES: readonly (readonly [string, string, readonly RegExp[]])[] = [
    ['an unknown key', 'limits: { colour: 17 }', [/limits\.colour/, /17/, /unknown|not exist/i]],
    ['an unknown section', 'colours: { red: 1 }', [/colours/, /unknown|not exist/i]],
    ['an unknown key at the top', 'nodeid: seven', [/nodeid/, /seven/]],
    ['a key with a wrong case', 'query: { timeoutMs: 5 }', [/query\.timeoutMs/]],
    ['text for a number', 'query: { timeout_ms: soon }', [/query\.timeout_ms/, /soon/, /integer|number/i]],
    ['a number that is too large', 'server: { rest_port: 70000 }', [/server\.rest_port/, /70000/, /65535/]],
    ['a negative number', 'server: { grpc_port: -1 }', [/server\.grpc_port/, /-1/, /\b0\b/]],
    ['a fraction', 'limits: { json_depth_max: 6.5 }', [/limits\.json_depth_max/, /6\.5/, /integer/i]],
    ['a word that is none of those allowed', 'log: { level: loud }', [/log\.level/, /loud/, /debug/, /info/, /warn/]],
    ['text for a yes or no', 'tables: { auto_create: maybe }', [/tables\.auto_create/, /maybe/, /boolean|true/i]],
    ['a number for a section', 'wal: 5', [/wal/, /5|object/]],
    ['a list for a section', 'wal: [1]', [/wal/]],
    ['null for a number', 'query: { timeout_ms: null }', [/query\.timeout_ms/]],
    ['an empty data directory', 'data_dir: ""', [/data_dir/]],
    ['a node id with blanks', 'node_id: "a b"', [/node_id/, /a b/]],
    ['limits that contradict each other', 'query: { timeout_ms: 5000, timeout_ms_max: 1000 }', [/timeout_ms/, /5000/, /1000/]],
    [
      'an address for everyone without authentication',
      'server: { host: 0.0.0.0 }',
      [/server\.host/, /0\.0\.0\.0/, /127\.0\.0\.1|loopback/],
    ],
    ['two mistakes: both are told', 'log: { level: loud }\nserver: { rest_port: 70000 }', [/log\.level/, /server\.rest_port/]],
    ['a list instead of sections', '- a\n- b', [/config\.yaml/]],
    ['text that is not YAML', 'server: { rest_port: [', [/config\.yaml/]],
  ];

  test.each(BAD_FILES)('%s', (_, text, says) => {
    // What the file is about must come from the file, not from the environment.
    const env = {
      ...(text.startsWith('data_dir') ? { DATA_DIR: undefined } : {}),
      ...(text.includes('_port') ? { REST_PORT: undefined, GRPC_PORT: undefined } : {}),
    };
    expectRefusal(startToFail(['--config', fileWith(text)], env), ...says);
  });

  test('a file that is not there', () => {
    expectRefusal(startToFail(['--config', '/nowhere/miniodb.yaml']), /\/nowhere\/miniodb\.yaml/, /--config/);
  });

  test('--config without a file, and an unknown option', () => {
    expectRefusal(startToFail(['--config']), /--config/);
    expectRefusal(startToFail(['--colour', 'red']), /colour/);
  });

  test('the environment: an unknown key, a bad value, a value that is not YAML', () => {
    expectRefusal(startToFail([], { MINIODB_LIMITS__COLOUR: '17' }), /limits\.colour|MINIODB_LIMITS__COLOUR/i, /17/);
    expectRefusal(startToFail([], { REST_PORT: 'http' }), /rest_port/, /http/);
    expectRefusal(startToFail([], { MINIODB_QUERY__TIMEOUT_MS: '-5' }), /query\.timeout_ms/, /-5/);
    expectRefusal(startToFail([], { MINIODB_LOG__LEVEL: '[' }), /log\.level|MINIODB_LOG__LEVEL/);
    expectRefusal(startToFail([], { MINIODB_WAL: '5', MINIODB_WAL__SEGMENT_BYTES: '100000' }), /wal/i);
  });

  test('a port that is taken is named', async () => {
    const running = await start();
    expectRefusal(startToFail([], { REST_PORT: new URL(running.rest).port }), new RegExp(new URL(running.rest).port), /in use|EADDRINUSE/i);
  });

  test('a data directory that another server uses is refused, and the other one goes on', async () => {
    const running = await start();
    await write(running, 'mine', 'a', { n: 1 });
    expectRefusal(startToFail([], { DATA_DIR: running.dataDir }), /use|lock|running/i);
    await write(running, 'mine', 'b', { n: 2 });
    expect(await countOf(running, 'mine')).toBe(2);
  });

  test('an empty file and an empty variable are no mistakes', async () => {
    const file = fileWith('# nothing is set here\n');
    const server = await start({ config: undefined, env: { MINIODB_LOG__FILE: '' } });
    expectStatus(await call(server, 'GET', '/v1/health'), 200);
    expectRefusal(startToFail(['--config', file], { REST_PORT: 'http' }), /rest_port/, /http/);
  });

  test('a file is over the defaults, the environment over the file', async () => {
    const server = await start({
      config: { log: { file: '' }, node_id: 'from-file', query: { page_rows: 3 } },
      env: { NODE_ID: 'from-environment' },
    });
    expect((await write(server, 'layers', 'a'))['node_id']).toBe('from-environment');
    expect((await call(server, 'POST', '/v1/query', { sql: 'FROM range(10)' })).json.row_count).toBe(3);
  });
});
