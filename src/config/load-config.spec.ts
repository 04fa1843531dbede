import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Config } from './config.js';
import { loadConfig } from './load-config.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'miniodb-config-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text);
  return file;
}

function load(yaml = '', environment: NodeJS.ProcessEnv = {}): Config {
  return loadConfig(directory, write('given.yaml', yaml), environment);
}

/** Matches a refusal that says all of these. */
function refusal(...parts: readonly string[]): unknown {
  const pattern = new RegExp(parts.map((part) => `(?=[^]*${part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')})`).join(''));
  return expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(pattern) });
}

describe('configuration', () => {
  it('is made of defaults when there is nothing', () => {
    expect(loadConfig(directory, undefined, {})).toEqual(new Config());
  });

  it('takes each source over the one before: default, local, --config, environment', () => {
    write('default.yaml', 'node_id: a\nserver: { rest_port: 1, grpc_port: 1 }\nlog: { level: warn }\ntables: { buffer_size: 1 }');
    write('local.yaml', 'node_id: b\nserver: { rest_port: 2, grpc_port: 2 }\nlog: { level: debug }');
    const config = load('node_id: c\nserver: { rest_port: 3 }', { MINIODB_NODE_ID: 'd' });
    expect([config.node_id, config.server.rest_port, config.server.grpc_port, config.log.level, config.tables.buffer_size]).toEqual([
      'd',
      3,
      2,
      'debug',
      1,
    ]);
  });

  it('is accepted as it stands in the repository', () => {
    const repository = fileURLToPath(new URL('../../config', import.meta.url));
    expect(() => loadConfig(directory, path.join(repository, 'default.yaml'), {})).not.toThrow();
  });

  it.each(['', '# only a comment\n', '{}'])('may be an empty file: %j', (yaml) => {
    expect(load(yaml)).toEqual(new Config());
  });

  it('may have a section without a key, as it is when all of its lines are comments', () => {
    expect(load('server:\n  # rest_port: 1\ntables:\n  buffer_size: 5')).toMatchObject({
      server: { rest_port: 8081 },
      tables: { buffer_size: 5 },
    });
  });
});

describe('configuration that cannot be used', () => {
  it('is one of which the file is missing', () => {
    const missing = path.join(directory, 'nowhere.yaml');
    expect(() => loadConfig(directory, missing, {})).toThrow(refusal(missing, '--config', 'does not exist'));
  });

  it.each(['server: [', '- 1\n- 2', 'text', 'a: 1\na: 2'])('is one that is no mapping: %j', (yaml) => {
    expect(() => load(yaml)).toThrow(refusal('given.yaml', 'cannot be read'));
  });

  it.each([
    ['serverr: {}', 'serverr', 'unknown key'],
    ['server: { prot: 7 }', 'server.prot', 'unknown key', '7'],
    ['query: { concurrency_max: 4, nonsense: { a: 1 } }', 'query.nonsense', 'unknown key'],
  ])('is one with an unknown key: %s', (yaml, ...parts) => {
    expect(() => load(yaml)).toThrow(refusal(...parts));
  });

  it.each([
    ['server: { rest_port: 65536 }', 'server.rest_port', '65535', '65536'],
    ['server: { rest_port: -1 }', 'server.rest_port', '-1'],
    ['server: { rest_port: 80.5 }', 'server.rest_port', 'integer', '80.5'],
    ['server: { rest_port: "80" }', 'server.rest_port', '"80"'],
    ['server: { rest_port: null }', 'server.rest_port', 'null'],
    ['log: { level: loud }', 'log.level', 'debug', 'loud'],
    ['storage: { kind: ftp }', 'storage.kind', 'local', 'ftp'],
    ['node_id: "a b"', 'node_id', 'a b'],
    ['data_dir: " "', 'data_dir'],
    ['tables: { auto_create: yes please }', 'tables.auto_create', 'yes please'],
    ['maintenance: { deleted_share_max: .nan }', 'maintenance.deleted_share_max'],
    ['maintenance: { interval_seconds: .inf }', 'maintenance.interval_seconds'],
    ['query: { timeout_ms: 0 }', 'query.timeout_ms', '0'],
    ['server: 5', 'server'],
    ['server: [1]', 'server'],
  ])('is one with a value out of range: %s', (yaml, ...parts) => {
    expect(() => load(yaml)).toThrow(refusal(...parts));
  });

  it('is named with all of its faults at once', () => {
    expect(() => load('server: { rest_port: 99999 }\nnonsense: 1\nlog: { level: loud }')).toThrow(
      refusal('server.rest_port', 'nonsense', 'log.level'),
    );
  });

  it.each([
    ['server: { host: 0.0.0.0 }', 'server.host', 'allow_unauthenticated_remote'],
    ['wal: { segment_bytes: 2097152, bytes_max: 1048576 }', 'wal.segment_bytes', 'wal.bytes_max'],
    ['limits: { body_bytes_max: 1048576 }\nwal: { queue_bytes_max: 65536 }', 'limits.body_bytes_max', 'wal.queue_bytes_max'],
    ['query: { timeout_ms: 2000, timeout_ms_max: 1000 }', 'query.timeout_ms', 'query.timeout_ms_max'],
    ['query: { page_rows: 2000, page_rows_max: 1000 }', 'query.page_rows', 'query.page_rows_max'],
  ])('is one whose limits contradict each other: %s', (yaml, ...parts) => {
    expect(() => load(yaml)).toThrow(refusal(...parts));
  });

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('is not one that listens on %s', (host) => {
    expect(load(`server: { host: "${host}" }`).server.host).toBe(host);
  });

  it.each(['10.0.0.1', '::', 'localhost.example.org', '127.0.0.1.example.org', '1270.0.0.1'])(
    'is one that listens on %s, unless that is allowed',
    (host) => {
      expect(() => load(`server: { host: "${host}" }`)).toThrow(refusal('server.host', host));
      expect(load(`server: { host: "${host}", allow_unauthenticated_remote: true }`).server.host).toBe(host);
    },
  );
});

describe('setting from the environment', () => {
  it.each([
    ['DATA_DIR', '/srv/x', (config: Config) => config.data_dir, '/srv/x'],
    ['DATA_DIR', '0123', (config: Config) => config.data_dir, '0123'],
    ['NODE_ID', '1e3', (config: Config) => config.node_id, '1e3'],
    ['HOST', 'localhost', (config: Config) => config.server.host, 'localhost'],
    ['HOST', '::1', (config: Config) => config.server.host, '::1'],
    ['REST_PORT', '0', (config: Config) => config.server.rest_port, 0],
    ['GRPC_PORT', '7', (config: Config) => config.server.grpc_port, 7],
    ['STORAGE', 'local', (config: Config) => config.storage.kind, 'local'],
    ['MINIO_SECRET_KEY', '0123', (config: Config) => config.minio.secret_key, '0123'],
    ['MINIODB_LOG__LEVEL', 'debug', (config: Config) => config.log.level, 'debug'],
    ['MINIODB_TABLES__AUTO_CREATE', 'false', (config: Config) => config.tables.auto_create, false],
    ['MINIODB_MAINTENANCE__DELETED_SHARE_MAX', '0.25', (config: Config) => config.maintenance.deleted_share_max, 0.25],
    ['MINIODB_DATA_DIR', './d', (config: Config) => config.data_dir, './d'],
  ] as [string, string, (config: Config) => unknown, unknown][])('%s=%s is taken', (name, value, read, expected) => {
    expect(read(load('', { [name]: value }))).toBe(expected);
  });

  it('counts as not set when it is empty, as compose files leave it', () => {
    expect(
      load('server: { rest_port: 5 }', { REST_PORT: '', MINIODB_SERVER__GRPC_PORT: '', NODE_ID: '', MINIODB_UNKNOWN: '' }),
    ).toMatchObject({
      server: { rest_port: 5, grpc_port: 8080 },
      node_id: 'node-1',
    });
  });

  it.each([
    ['REST_PORT', 'eighty', 'server.rest_port', 'eighty'],
    ['MINIODB_SERVER__PROT', '1', 'server.prot', 'unknown key'],
    ['MINIODB_NONSENSE', '1', 'nonsense', 'unknown key'],
    ['MINIODB_SERVER', '1', 'server'],
    ['MINIODB_LOG__LEVEL', '{a', 'MINIODB_LOG__LEVEL'],
    ['STORAGE', 'minio', 'minio.access_key', 'MINIO_ACCESS_KEY'],
    ['STORAGE', 'tape', 'storage.kind', 'tape'],
  ])('%s=%s is refused by name', (name, value, ...parts) => {
    expect(() => load('', { [name]: value })).toThrow(refusal(...parts));
  });

  it('is refused by name when it sets a section and a key of it', () => {
    expect(() => load('', { MINIODB_SERVER: '1', MINIODB_SERVER__HOST: 'localhost' })).toThrow(refusal('MINIODB_SERVER__HOST'));
  });

  it('is no setting when its name only looks like one', () => {
    expect(load('', { MINIODB_FAULT_POINT: 'wal.before-sync', PORT: '1', LOG__LEVEL: 'debug' })).toEqual(new Config());
  });
});
