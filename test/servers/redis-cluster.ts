/** A Redis Cluster: three masters that share the key slots, and a replica of each. A master that is gone for over a second is replaced. */
import { untilReady } from './child-process.js';
import { LOOPBACK } from './free-ports.js';
import { type RedisGroup, startRedisGroup } from './redis-group.js';
import { REDIS_PASSWORD, type RedisNode, startDataNode } from './redis-node.js';

const MASTERS = 3;
const SLOTS = 16_384;
const NODE_IS_DOWN_AFTER_MS = 1_500;

export interface RedisCluster extends RedisGroup {
  readonly password: string;
  readonly nodes: readonly RedisNode[];
  /** The master that serves the key now, as the running nodes agree. */
  masterOf(key: string): Promise<RedisNode>;
  /** Waits until another master than this one serves the key. */
  newMasterOf(key: string, previous: RedisNode): Promise<RedisNode>;
  /** A planned change of the key's master; gives the new one. */
  failover(key: string): Promise<RedisNode>;
}

export function startRedisCluster(): Promise<RedisCluster> {
  return startRedisGroup('redis-cluster', 2 * MASTERS, async (directory, ports, add) => {
    const settings = ['cluster-enabled yes', 'cluster-config-file nodes.conf', `cluster-node-timeout ${NODE_IS_DOWN_AFTER_MS}`];
    const nodes = await Promise.all(ports.map((port) => add(startDataNode(directory, port, settings))));
    await join(nodes);
    return clusterOf(nodes);
  });
}

/** What `redis-cli --cluster create` does, without its pauses. */
async function join(nodes: readonly RedisNode[]): Promise<void> {
  const masters = nodes.slice(0, MASTERS);
  const replicas = nodes.slice(MASTERS);
  // Different epochs from the start, or the nodes would have to settle who is first.
  await Promise.all(nodes.map((node, index) => node.ask('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)));
  await Promise.all(masters.map((master, index) => master.ask('CLUSTER', 'ADDSLOTS', ...slotsOf(index))));
  // Everyone meets everyone at once; a single introduction would spread at the pace of gossip.
  for (const node of nodes) {
    await Promise.all(nodes.filter((other) => other !== node).map((other) => node.ask('CLUSTER', 'MEET', LOOPBACK, other.port)));
  }
  await untilEach('the nodes of the cluster', nodes, async (node) => (await infoOf(node)).includes(`cluster_known_nodes:${nodes.length}`));
  const masterIds = await Promise.all(masters.map((master) => master.ask('CLUSTER', 'MYID')));
  // A node may know of the master and not yet have shaken hands with it: repeated until it works.
  const follow = async (replica: RedisNode, index: number): Promise<boolean> =>
    (await replica.ask('CLUSTER', 'REPLICATE', String(masterIds[index]))) === 'OK';
  await untilEach('the replicas', replicas, follow);
  await untilEach('the cluster', nodes, async (node) => (await infoOf(node)).includes('cluster_state:ok'));
  await untilEach('the replication', replicas, async (node) =>
    String(await node.ask('INFO', 'replication')).includes('master_link_status:up'),
  );
  await untilEach('the view of the cluster', nodes, async (node) => (await mastersWithReplica(node)) === MASTERS);
}

function slotsOf(index: number): readonly number[] {
  const start = Math.floor((SLOTS * index) / MASTERS);
  const end = Math.floor((SLOTS * (index + 1)) / MASTERS);
  return Array.from({ length: end - start }, (_, offset) => start + offset);
}

function clusterOf(nodes: readonly RedisNode[]): Omit<RedisCluster, keyof RedisGroup> {
  const masterOf = (key: string): Promise<RedisNode> => agreedMaster(nodes, key);
  const newMasterOf = async (key: string, previous: RedisNode): Promise<RedisNode> => {
    let found = previous;
    await untilReady('another master', [], async () => (found = await masterOf(key)) !== previous);
    return found;
  };
  const failover = async (key: string): Promise<RedisNode> => {
    const previous = await masterOf(key);
    const replica = await replicaOf(previous, nodes);
    await replica.ask('CLUSTER', 'FAILOVER');
    return newMasterOf(key, previous);
  };
  return { password: REDIS_PASSWORD, nodes, masterOf, newMasterOf, failover };
}

async function agreedMaster(nodes: readonly RedisNode[], key: string): Promise<RedisNode> {
  let found: RedisNode | undefined;
  await untilReady(`a master for ${key} that all nodes agree on`, [], async () => {
    const running = nodes.filter((node) => node.isRunning());
    const ports = new Set(await Promise.all(running.map((node) => masterPortOf(node, key))));
    found = ports.size === 1 ? nodes.find((node) => ports.has(node.port)) : undefined;
    return found !== undefined;
  });
  if (found === undefined) throw new Error('unreachable: waited for a master');
  return found;
}

/** As [first slot, last slot, [host, port, id] of the master, [...] of each replica]. */
type SlotRange = readonly [number, number, readonly [string, number, string], ...(readonly (readonly [string, number, string])[])];

async function slotRanges(node: RedisNode): Promise<readonly SlotRange[]> {
  return (await node.ask('CLUSTER', 'SLOTS')) as readonly SlotRange[];
}

async function masterPortOf(node: RedisNode, key: string): Promise<number | undefined> {
  const slot = Number(await node.ask('CLUSTER', 'KEYSLOT', key));
  return (await slotRanges(node)).find(([first, last]) => first <= slot && slot <= last)?.[2][1];
}

async function replicaOf(master: RedisNode, nodes: readonly RedisNode[]): Promise<RedisNode> {
  const range = (await slotRanges(master)).find(([, , [, port]]) => port === master.port);
  const [, , , ...replicas] = range ?? [];
  const replica = nodes.find((node) => node.isRunning() && replicas.some(([, port]) => port === node.port));
  if (!replica) throw new Error(`the master at port ${master.port} has no running replica`);
  return replica;
}

async function mastersWithReplica(node: RedisNode): Promise<number> {
  return (await slotRanges(node)).filter(([, , , ...replicas]) => replicas.length > 0).length;
}

async function infoOf(node: RedisNode): Promise<string> {
  return String(await node.ask('CLUSTER', 'INFO'));
}

async function untilEach(
  what: string,
  nodes: readonly RedisNode[],
  isReady: (node: RedisNode, index: number) => Promise<boolean>,
): Promise<void> {
  await Promise.all(nodes.map((node, index) => untilReady(what, [], () => isReady(node, index))));
}
