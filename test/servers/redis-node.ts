/**
 * One Redis process: a server of its own, a member of a replicated group or of a cluster, or a sentinel. It has a folder, a configuration
 * file that Redis itself may rewrite (a failover does), and an append-only file, so that a restart finds the data again.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Redis } from 'ioredis';
import { type ServerProcess, spawnServer, untilReady } from './child-process.js';
import { LOOPBACK } from './free-ports.js';

/** Of every server and sentinel. */
export const REDIS_PASSWORD = 'test-password';

const ANSWER_MS_MAX = 2_000;
const DATA_NODE = [
  'appendonly yes',
  'save ""',
  // A replica's first copy would otherwise wait five seconds for others to share it with.
  'repl-diskless-sync-delay 0',
  // A cluster does not count on a replica that has heard nothing from its master, who when idle speaks only every ten seconds.
  'repl-ping-replica-period 1',
  `masterauth ${REDIS_PASSWORD}`,
];

export interface RedisNode {
  readonly host: string;
  readonly port: number;
  readonly password: string;
  pid(): number;
  isRunning(): boolean;
  /** Runs one command on a connection of its own. */
  ask(command: string, ...parameters: readonly (string | number)[]): Promise<unknown>;
  /** SIGSTOP: connections stay, nothing answers. */
  pause(): void;
  resume(): void;
  /** SIGKILL: connections are refused. */
  kill(): Promise<void>;
  /** Starts it again after kill(), at the same port and with its data. */
  restart(): Promise<void>;
}

/** @param settings lines of the configuration file, over those every data node has */
export async function startDataNode(directory: string, port: number, settings: readonly string[] = []): Promise<RedisNode> {
  return startNode(directory, port, [...DATA_NODE, ...settings], []);
}

export async function startSentinelNode(directory: string, port: number, settings: readonly string[]): Promise<RedisNode> {
  return startNode(directory, port, settings, ['--sentinel']);
}

/** Ends all of them, those too that are paused. */
export async function killAll(nodes: readonly RedisNode[]): Promise<void> {
  await Promise.all(nodes.map((node) => node.kill()));
}

async function startNode(parent: string, port: number, settings: readonly string[], parameters: readonly string[]): Promise<RedisNode> {
  const directory = path.join(parent, String(port));
  const configFile = path.join(directory, 'redis.conf');
  mkdirSync(directory);
  const ours = [`port ${port}`, `bind ${LOOPBACK}`, `dir ${directory}`, 'daemonize no', `requirepass ${REDIS_PASSWORD}`, ...settings];
  writeFileSync(configFile, `${ours.join('\n')}\n`);

  const start = (): ServerProcess => spawnServer(redisProgram(), [configFile, ...parameters], 'redis-server');
  const ready = (): Promise<void> => untilReady(`Redis at port ${port}`, [server], async () => (await node.ask('PING')) === 'PONG');
  let server = start();
  const node: RedisNode = {
    host: LOOPBACK,
    port,
    password: REDIS_PASSWORD,
    pid: () => server.pid,
    isRunning: () => !server.hasEnded(),
    ask: (command, ...rest) => askRedis(port, command, rest),
    pause: () => server.pause(),
    resume: () => server.resume(),
    kill: () => server.kill(),
    restart: async () => {
      await server.kill();
      server = start();
      await ready();
    },
  };
  try {
    await ready();
  } catch (error) {
    await server.kill();
    throw error;
  }
  return node;
}

/**
 * The server is one program with the checker of its files and behaves by the name it is called by. Debian's redis-tools holds it under
 * the checker's name alone, and without the service that redis-server would install with it.
 */
function redisProgram(): string {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return folders.some((folder) => existsSync(path.join(folder, 'redis-server'))) ? 'redis-server' : 'redis-check-rdb';
}

async function askRedis(port: number, command: string, parameters: readonly (string | number)[]): Promise<unknown> {
  const client = new Redis({
    host: LOOPBACK,
    port,
    password: REDIS_PASSWORD,
    lazyConnect: true,
    enableReadyCheck: false,
    connectTimeout: ANSWER_MS_MAX,
    commandTimeout: ANSWER_MS_MAX,
    retryStrategy: () => null,
  });
  let lastError: unknown;
  client.on('error', (error) => (lastError = error));
  try {
    await client.connect();
    return await client.call(command, ...parameters);
  } catch (error) {
    throw new Error(`Redis at port ${port} did not answer ${command}: ${String(error)}`, { cause: lastError });
  } finally {
    client.disconnect();
  }
}
