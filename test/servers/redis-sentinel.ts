/** A replicated Redis, one master and two replicas, watched by three sentinels that name another master when it is gone for a second. */
import { untilReady } from './child-process.js';
import { LOOPBACK } from './free-ports.js';
import { type RedisGroup, startRedisGroup } from './redis-group.js';
import { REDIS_PASSWORD, type RedisNode, startDataNode, startSentinelNode } from './redis-node.js';

const MASTER_NAME = 'test-master';
const REPLICAS = 2;
const SENTINELS = 3;
const SENTINELS_TO_AGREE = 2;
const MASTER_IS_DOWN_AFTER_MS = 1_000;
const FAILOVER_MS_MAX = 5_000;

export interface SentinelGroup extends RedisGroup {
  /** What the sentinels call the master. */
  readonly name: string;
  readonly password: string;
  readonly sentinels: readonly RedisNode[];
  readonly sentinelPassword: string;
  /** The master of the start and its replicas. */
  readonly nodes: readonly RedisNode[];
  /** The master of now, as the sentinels see it. */
  master(): Promise<RedisNode>;
  /** Waits until the sentinels have named another master than this one. */
  newMaster(previous: RedisNode): Promise<RedisNode>;
  /** A planned change of masters; gives the new one. */
  failover(): Promise<RedisNode>;
}

export function startSentinel(): Promise<SentinelGroup> {
  return startRedisGroup('sentinel', 1 + REPLICAS + SENTINELS, async (directory, ports, add) => {
    const [masterPort = 0, ...otherPorts] = ports;
    const master = await add(startDataNode(directory, masterPort));
    const replicaOf = [`replicaof ${LOOPBACK} ${masterPort}`];
    const replicas = await Promise.all(otherPorts.slice(0, REPLICAS).map((port) => add(startDataNode(directory, port, replicaOf))));
    await untilReady('the replication', [], async () => (await Promise.all(replicas.map(isInStep))).every(Boolean));
    const watch = sentinelSettings(masterPort);
    const sentinels = await Promise.all(otherPorts.slice(REPLICAS).map((port) => add(startSentinelNode(directory, port, watch))));
    await untilReady('the sentinels', [], async () => (await Promise.all(sentinels.map(knowsAll))).every(Boolean));
    return groupOf([master, ...replicas], sentinels);
  });
}

function sentinelSettings(masterPort: number): readonly string[] {
  return [
    `sentinel monitor ${MASTER_NAME} ${LOOPBACK} ${masterPort} ${SENTINELS_TO_AGREE}`,
    `sentinel auth-pass ${MASTER_NAME} ${REDIS_PASSWORD}`,
    `sentinel down-after-milliseconds ${MASTER_NAME} ${MASTER_IS_DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${MASTER_NAME} ${FAILOVER_MS_MAX}`,
    `sentinel sentinel-pass ${REDIS_PASSWORD}`,
  ];
}

function groupOf(nodes: readonly RedisNode[], sentinels: readonly RedisNode[]): Omit<SentinelGroup, keyof RedisGroup> {
  const master = (): Promise<RedisNode> => agreedMaster(nodes, sentinels);
  const newMaster = async (previous: RedisNode): Promise<RedisNode> => {
    let found = previous;
    await untilReady('another master', [], async () => (found = await master()) !== previous && (await isMaster(found)));
    return found;
  };
  const failover = async (): Promise<RedisNode> => {
    const previous = await master();
    await runningOf(sentinels).ask('SENTINEL', 'FAILOVER', MASTER_NAME);
    return newMaster(previous);
  };
  return { name: MASTER_NAME, password: REDIS_PASSWORD, sentinelPassword: REDIS_PASSWORD, sentinels, nodes, master, newMaster, failover };
}

/** Each sentinel learns of a change by itself, so for a moment they may differ; a client may ask any of them. */
async function agreedMaster(nodes: readonly RedisNode[], sentinels: readonly RedisNode[]): Promise<RedisNode> {
  let found: RedisNode | undefined;
  await untilReady('a master that all sentinels agree on', [], async () => {
    const running = sentinels.filter((sentinel) => sentinel.isRunning());
    const answers = await Promise.all(running.map((sentinel) => sentinel.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME)));
    const ports = new Set(answers.map((address) => Number((address as readonly string[])[1])));
    found = ports.size === 1 ? nodes.find((node) => ports.has(node.port)) : undefined;
    return found !== undefined;
  });
  if (found === undefined) throw new Error('unreachable: waited for a master');
  return found;
}

function runningOf(sentinels: readonly RedisNode[]): RedisNode {
  const running = sentinels.find((sentinel) => sentinel.isRunning());
  if (!running) throw new Error('no sentinel is running');
  return running;
}

async function isMaster(node: RedisNode): Promise<boolean> {
  return ((await node.ask('ROLE')) as readonly unknown[])[0] === 'master';
}

async function isInStep(replica: RedisNode): Promise<boolean> {
  return String(await replica.ask('INFO', 'replication')).includes('master_link_status:up');
}

async function knowsAll(sentinel: RedisNode): Promise<boolean> {
  const known = String(await sentinel.ask('INFO', 'sentinel'));
  return known.includes(`slaves=${REPLICAS},sentinels=${SENTINELS}`);
}
