/**
 * Redis in each of its three topologies behind one face, for tests that do the same to all of them: everything killed, everything hung, everything
 * emptied, another master.
 */
import { Cluster, Redis } from 'ioredis';
import { untilReady } from './child-process.js';
import { startRedisCluster } from './redis-cluster.js';
import { REDIS_PASSWORD, type RedisNode } from './redis-node.js';
import { startSentinel } from './redis-sentinel.js';
import { startRedis } from './redis.js';

export const REDIS_MODES = ['standalone', 'sentinel', 'cluster'] as const;
export type RedisMode = (typeof REDIS_MODES)[number];

const CONNECT_MS_MAX = 1_000;
const ANSWER_MS_MAX = 2_000;

export interface RedisTopology {
  readonly mode: RedisMode;
  /** Configuration of a server that uses it (the section `redis`). */
  readonly settings: Readonly<Record<string, unknown>>;
  /** SIGKILL to every process, sentinels included. */
  killAll(): Promise<void>;
  /** Starts again what was killed, with its data. */
  restartAll(): Promise<void>;
  /** SIGSTOP: every process that holds data, or this one alone. */
  pauseAll(): void;
  pause(node: RedisNode): void;
  /** Whatever was paused. */
  resumeAll(): void;
  /** Everything in it goes. */
  empty(): Promise<void>;
  /** The master that serves a key now. */
  masterOf(key: string): Promise<RedisNode>;
  /** Waits until another master than this one serves the key. */
  newMasterOf(key: string, previous: RedisNode): Promise<RedisNode>;
  /** Connections that listen to a channel, at all nodes that answer together. */
  subscribers(channel: string): Promise<number>;
  /** Reads or writes on connections of its own, which an outage before did not touch. */
  ask<T>(commands: (client: Redis | Cluster) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export function startRedisTopology(mode: RedisMode): Promise<RedisTopology> {
  switch (mode) {
    case 'standalone':
      return startStandalone();
    case 'sentinel':
      return startWithSentinels();
    case 'cluster':
      return startAsCluster();
  }
}

interface Parts {
  readonly mode: RedisMode;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly nodes: readonly RedisNode[];
  readonly sentinels: readonly RedisNode[];
  /** @param answering the nodes that can be asked now */
  readonly connect: (answering: readonly RedisNode[]) => Redis | Cluster;
  readonly masterOf: (key: string) => Promise<RedisNode>;
  readonly newMasterOf: (key: string, previous: RedisNode) => Promise<RedisNode>;
  readonly stop: () => Promise<void>;
}

const CLIENT_OPTIONS = { password: REDIS_PASSWORD, connectTimeout: CONNECT_MS_MAX, commandTimeout: ANSWER_MS_MAX, maxRetriesPerRequest: 2 };

async function startStandalone(): Promise<RedisTopology> {
  const server = await startRedis();
  const { host, port, password } = server;
  return topologyOf({
    mode: 'standalone',
    settings: { mode: 'standalone', host, port, password },
    nodes: [server],
    sentinels: [],
    connect: () => new Redis({ ...CLIENT_OPTIONS, host, port }),
    masterOf: () => Promise.resolve(server),
    newMasterOf: () => Promise.reject(new Error('a single Redis has no other master')),
    stop: () => server.stop(),
  });
}

async function startWithSentinels(): Promise<RedisTopology> {
  const { name, password, sentinelPassword, sentinels, nodes, master, newMaster, stop } = await startSentinel();
  return topologyOf({
    mode: 'sentinel',
    settings: { mode: 'sentinel', nodes: addresses(sentinels), sentinel_name: name, password, sentinel_password: sentinelPassword },
    nodes,
    sentinels,
    connect: () => new Redis({ ...CLIENT_OPTIONS, name, sentinelPassword, sentinels: sentinels.map(({ host, port }) => ({ host, port })) }),
    masterOf: () => master(),
    newMasterOf: (_key, previous) => newMaster(previous),
    stop,
  });
}

async function startAsCluster(): Promise<RedisTopology> {
  const { password, nodes, masterOf, stop } = await startRedisCluster();
  return topologyOf({
    mode: 'cluster',
    settings: { mode: 'cluster', nodes: addresses(nodes), password },
    nodes,
    sentinels: [],
    connect: (answering) =>
      new Cluster(
        answering.map(({ host, port }) => ({ host, port })),
        { redisOptions: CLIENT_OPTIONS, slotsRefreshTimeout: CONNECT_MS_MAX, clusterRetryStrategy: () => null },
      ),
    masterOf,
    newMasterOf: (key, previous) => newClusterMaster(nodes, key, previous),
    stop,
  });
}

/** As any other node sees it: unlike `RedisCluster.newMasterOf` it does not need the former master to be gone, only to be silent. */
async function newClusterMaster(nodes: readonly RedisNode[], key: string, previous: RedisNode): Promise<RedisNode> {
  const witness = nodes.find((node) => node.isRunning() && node !== previous);
  if (!witness) throw new Error('no other node is running');
  const slot = Number(await witness.ask('CLUSTER', 'KEYSLOT', key));
  let found: RedisNode | undefined;
  await untilReady('another master', [], async () => {
    const ranges = (await witness.ask('CLUSTER', 'SLOTS')) as readonly (readonly [number, number, readonly [string, number, string]])[];
    const port = ranges.find(([first, last]) => first <= slot && slot <= last)?.[2][1];
    found = nodes.find((node) => node.port === port && node !== previous);
    return found !== undefined;
  });
  return found ?? previous;
}

function topologyOf({ nodes, sentinels, connect, ...rest }: Parts): RedisTopology {
  const paused = new Set<RedisNode>();
  const running = (): readonly RedisNode[] => nodes.filter((node) => node.isRunning());
  const answering = (): readonly RedisNode[] => running().filter((node) => !paused.has(node));
  const pause = (node: RedisNode): void => {
    node.pause();
    paused.add(node);
  };
  return {
    ...rest,
    killAll: async () => void (await Promise.all([...sentinels, ...nodes].map((node) => node.kill()))),
    restartAll: async () => {
      // Sentinels last: they would take a master for dead that has not started yet.
      await Promise.all(nodes.filter((node) => !node.isRunning()).map((node) => node.restart()));
      await Promise.all(sentinels.filter((sentinel) => !sentinel.isRunning()).map((sentinel) => sentinel.restart()));
    },
    pauseAll: () => running().forEach(pause),
    pause,
    resumeAll: () => {
      for (const node of paused) node.resume();
      paused.clear();
    },
    empty: async () => {
      for (const node of running()) if (await isMaster(node)) await node.ask('FLUSHALL');
    },
    subscribers: async (channel) => {
      const counts = await Promise.all(answering().map((node) => node.ask('PUBSUB', 'NUMSUB', channel)));
      return counts.reduce<number>((sum, count) => sum + Number((count as readonly unknown[])[1]), 0);
    },
    ask: async (commands) => {
      const client = connect(answering());
      // What fails says so to who asked.
      client.on('error', () => undefined);
      try {
        return await commands(client);
      } finally {
        client.disconnect();
      }
    },
  };
}

async function isMaster(node: RedisNode): Promise<boolean> {
  return ((await node.ask('ROLE')) as readonly unknown[])[0] === 'master';
}

function addresses(nodes: readonly RedisNode[]): readonly string[] {
  return nodes.map(({ host, port }) => `${host}:${port}`);
}
