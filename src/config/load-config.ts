/**
 * Reads the configuration: `config/default.yaml`, then `config/local.yaml`, then the file of `--config`, then the environment, each over the
 * one before. A missing `--config` file, an unknown key or a value out of range stops the start and is named, with what is allowed.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { plainToInstance } from 'class-transformer';
import { type ValidationError, validateSync } from 'class-validator';
import { load as parseYaml } from 'js-yaml';
import { invalidArgument, messageOf } from '../common/app-error.js';
import { isJsonObject } from '../common/json.js';
import { Config } from './config.js';

type Settings = Record<string, unknown>;

/** The short names that operators expect, and where they belong. */
const COMMON_VARIABLES: Readonly<Record<string, string>> = {
  DATA_DIR: 'data_dir',
  NODE_ID: 'node_id',
  HOST: 'server.host',
  REST_PORT: 'server.rest_port',
  GRPC_PORT: 'server.grpc_port',
  STORAGE: 'storage.kind',
  MINIO_ENDPOINT: 'minio.endpoint',
  MINIO_ACCESS_KEY: 'minio.access_key',
  MINIO_SECRET_KEY: 'minio.secret_key',
  MINIO_BUCKET: 'minio.bucket',
  MINIO_USE_SSL: 'minio.use_ssl',
  MINIO_REGION: 'minio.region',
  MINIO_BACKUP_ENDPOINT: 'minio_backup.endpoint',
  MINIO_BACKUP_ACCESS_KEY: 'minio_backup.access_key',
  MINIO_BACKUP_SECRET_KEY: 'minio_backup.secret_key',
  MINIO_BACKUP_BUCKET: 'minio_backup.bucket',
  MINIO_BACKUP_USE_SSL: 'minio_backup.use_ssl',
  MINIO_BACKUP_REGION: 'minio_backup.region',
  AUTH_MODE: 'auth.mode',
  JWT_SECRET: 'auth.jwt_secret',
  REDIS_MODE: 'redis.mode',
  REDIS_HOST: 'redis.host',
  REDIS_PORT: 'redis.port',
  REDIS_USERNAME: 'redis.username',
  REDIS_PASSWORD: 'redis.password',
  REDIS_DB: 'redis.db',
  REDIS_NODES: 'redis.nodes',
};
const PREFIX = 'MINIODB_';
/** Read elsewhere: see `fault-points.ts`. */
const NOT_SETTINGS = new Set(['MINIODB_FAULT_POINT']);
/** Taken as they are: a name may look like a number. */
const TEXT_KEYS = new Set([
  'node_id',
  'data_dir',
  'host',
  'endpoint',
  'bucket',
  'access_key',
  'secret_key',
  'region',
  'username',
  'password',
  'sentinel_password',
  'admin_key',
  'admin_secret',
  'jwt_secret',
  'issuer',
  'audience',
  'cert_file',
  'key_file',
  'client_ca_file',
  'service_name',
]);
/** Keys that hold a list; in a variable its items are separated by commas. */
const LIST_KEYS = new Set(['nodes', 'jwt_keys', 'cors_origins']);
const ADMIN_SECRET_LENGTH_MIN = 16;
const JWT_SECRET_LENGTH_MIN = 32;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

/** True for an address that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/**
 * @param directory holds `default.yaml` and `local.yaml`
 * @param file the argument of `--config`
 * @throws AppError INVALID_ARGUMENT listing every fault
 */
export function loadConfig(directory: string, file: string | undefined, environment: NodeJS.ProcessEnv): Config {
  const settings: Settings = {};
  for (const name of ['default.yaml', 'local.yaml']) merge(settings, readYaml(path.join(directory, name), false));
  if (file !== undefined) merge(settings, readYaml(file, true));
  merge(settings, environmentSettings(environment));
  const config = plainToInstance(Config, settings, { exposeDefaultValues: true });
  const faults = validateSync(config, { whitelist: true, forbidNonWhitelisted: true }).flatMap((error) => describe(error, ''));
  faults.push(...relationFaults(config));
  if (faults.length > 0) throw invalidArgument(`The configuration cannot be used:\n  ${faults.join('\n  ')}`);
  return config;
}

function readYaml(file: string, mustExist: boolean): Settings {
  if (!existsSync(file)) {
    if (mustExist) throw invalidArgument(`The configuration file ${file} (given with --config) does not exist`);
    return {};
  }
  try {
    const text = readFileSync(file, 'utf8');
    const content = isEmptyYaml(text) ? {} : parseYaml(text);
    if (!isJsonObject(content)) throw new Error('it must be a mapping of sections');
    return content;
  } catch (error) {
    throw invalidArgument(`The configuration file ${file} cannot be read: ${messageOf(error)}`);
  }
}

/** The parser refuses a document of nothing but comments. */
function isEmptyYaml(text: string): boolean {
  return text.split('\n').every((line) => /^\s*(#.*)?$/.test(line));
}

function environmentSettings(environment: NodeJS.ProcessEnv): Settings {
  const settings: Settings = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || value === '') continue;
    const known = COMMON_VARIABLES[name];
    if (known !== undefined) assign(settings, known.split('.'), value, name);
    else if (name.startsWith(PREFIX) && !NOT_SETTINGS.has(name))
      assign(settings, name.slice(PREFIX.length).toLowerCase().split('__'), value, name);
  }
  return settings;
}

/** @param variable names the source in errors */
function assign(settings: Settings, keys: readonly string[], text: string, variable: string): void {
  const [key = '', ...rest] = keys;
  if (rest.length === 0) settings[key] = valueOf(key, text, variable);
  else {
    const section = (settings[key] ??= {});
    if (!isJsonObject(section))
      throw invalidArgument(
        `The environment variable ${variable} sets a key inside ${key}, but ${key} is set to the value ${JSON.stringify(section)}`,
      );
    assign(section, rest, text, variable);
  }
}

function valueOf(key: string, text: string, variable: string): unknown {
  if (TEXT_KEYS.has(key)) return text;
  if (LIST_KEYS.has(key) && !text.startsWith('[')) return text.split(',').map((item) => item.trim());
  return variableValue(text, variable);
}

function variableValue(text: string, variable: string): unknown {
  try {
    return parseYaml(text);
  } catch (error) {
    throw invalidArgument(
      `The environment variable ${variable} cannot be read as YAML (value ${JSON.stringify(text)}): ${messageOf(error)}`,
    );
  }
}

function merge(target: Settings, source: Settings): void {
  for (const [key, value] of Object.entries(source)) {
    // A section of nothing but comments.
    if (value === null) continue;
    const before = target[key];
    if (isJsonObject(before) && isJsonObject(value)) merge(before, value);
    else target[key] = value;
  }
}

function describe(error: ValidationError, parent: string): string[] {
  const key = parent + error.property;
  const own = Object.entries(error.constraints ?? {}).map(([rule, message]) =>
    rule === 'whitelistValidation'
      ? `${key}: unknown key (value ${JSON.stringify(error.value)}); src/config/config.ts lists all keys`
      : `${key}: ${message}, got ${JSON.stringify(error.value)}`,
  );
  return [...own, ...(error.children ?? []).flatMap((child) => describe(child, `${key}.`))];
}

/** A bucket that is used needs its keys. */
function bucketFaults({ storage, minio, minio_backup: backup }: Config): string[] {
  const faults: string[] = [];
  const requireKeys = (section: string, bucket: Pick<typeof minio, 'access_key' | 'secret_key'>): void => {
    for (const key of ['access_key', 'secret_key'] as const)
      if (bucket[key] === '')
        faults.push(`${section}.${key}: must be set (${section.toUpperCase()}_${key.toUpperCase()}) to use the bucket`);
  };
  if (storage.kind === 'minio') requireKeys('minio', minio);
  if (backup.endpoint !== '') requireKeys('minio_backup', backup);
  if (storage.kind === 'minio' && backup.endpoint === minio.endpoint && backup.bucket === minio.bucket)
    faults.push(`minio_backup.bucket: must not be the bucket of the tables, got "${backup.bucket}" for both`);
  return faults;
}

function redisFaults({ redis, storage }: Config): string[] {
  if (redis.mode === 'none') return [];
  const faults: string[] = [];
  if (storage.kind === 'local')
    faults.push(`redis.mode: "${redis.mode}" is for nodes that share a bucket; set storage.kind: minio, or redis.mode: none`);
  if (redis.mode !== 'standalone' && redis.nodes.length === 0)
    faults.push(
      `redis.nodes: must name at least one ${redis.mode === 'cluster' ? 'node of the cluster' : 'sentinel'} (REDIS_NODES=HOST:PORT,...)`,
    );
  if (redis.mode === 'cluster' && redis.db !== 0) faults.push(`redis.db: a cluster has only database 0, got ${redis.db}`);
  return faults;
}

function authFaults({ auth }: Config): string[] {
  const faults: string[] = [];
  if (auth.mode !== 'disabled' && auth.admin_secret.length < ADMIN_SECRET_LENGTH_MIN)
    faults.push(
      `auth.admin_secret: must have at least ${ADMIN_SECRET_LENGTH_MIN} characters when auth.mode is ${auth.mode} (MINIODB_AUTH__ADMIN_SECRET); ` +
        'the administrator uses it to create all other keys',
    );
  if (auth.jwt_secret !== '' && auth.jwt_secret.length < JWT_SECRET_LENGTH_MIN)
    faults.push(`auth.jwt_secret: must have at least ${JWT_SECRET_LENGTH_MIN} characters, or be empty (JWT_SECRET)`);
  if (auth.jwt_secret !== '' && auth.jwt_keys.length > 0) faults.push('auth.jwt_keys: set either jwt_secret or jwt_keys, not both');
  return faults;
}

function tlsFaults({ tls }: Config): string[] {
  const faults: string[] = [];
  if ((tls.cert_file === '') !== (tls.key_file === ''))
    faults.push('tls: cert_file and key_file belong together; set both for TLS, or neither');
  if (tls.client_ca_file !== '' && tls.cert_file === '')
    faults.push('tls.client_ca_file: client certificates need TLS; set cert_file and key_file');
  return faults;
}

/** Limits that only make sense together. */
function relationFaults(config: Config): string[] {
  const faults: string[] = [];
  const { server, wal, limits, query } = config;
  if (!isLoopback(server.host) && config.auth.mode === 'disabled' && !server.allow_unauthenticated_remote) {
    faults.push(
      `server.host: "${server.host}" is not a loopback address and auth.mode is disabled; set auth.mode (AUTH_MODE) to api_key or jwt, ` +
        'use 127.0.0.1, or set server.allow_unauthenticated_remote: true to let anyone who reaches the port read and write',
    );
  }
  faults.push(...authFaults(config), ...tlsFaults(config));
  if (wal.segment_bytes * 2 > wal.bytes_max)
    faults.push(
      `wal.segment_bytes: ${wal.segment_bytes} must be at most half of wal.bytes_max (${wal.bytes_max}): the newest segment is never removed`,
    );
  if (limits.body_bytes_max > wal.queue_bytes_max) {
    faults.push(
      `limits.body_bytes_max: ${limits.body_bytes_max} must not exceed wal.queue_bytes_max (${wal.queue_bytes_max}), or the largest body never gets a turn`,
    );
  }
  faults.push(...bucketFaults(config), ...redisFaults(config));
  if (query.timeout_ms > query.timeout_ms_max)
    faults.push(`query.timeout_ms: ${query.timeout_ms} must not exceed query.timeout_ms_max (${query.timeout_ms_max})`);
  if (query.page_rows > query.page_rows_max)
    faults.push(`query.page_rows: ${query.page_rows} must not exceed query.page_rows_max (${query.page_rows_max})`);
  return faults;
}
