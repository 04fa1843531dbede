/** Several Redis nodes that live in one folder and end together. */
import { makeServerDirectory } from './cleaner.js';
import { withFreePorts } from './free-ports.js';
import { killAll, type RedisNode } from './redis-node.js';

export interface RedisGroup {
  readonly directory: string;
  /** Ends all nodes and removes the folder. */
  stop(): Promise<void>;
}

/**
 * @param build starts the nodes, each through `add`, so that they end also when it fails half-way
 */
export function startRedisGroup<Built>(
  label: string,
  nodeCount: number,
  build: (directory: string, ports: readonly number[], add: (started: Promise<RedisNode>) => Promise<RedisNode>) => Promise<Built>,
): Promise<Built & RedisGroup> {
  return withFreePorts(nodeCount, async (ports) => {
    const directory = makeServerDirectory(label);
    const started: Promise<RedisNode>[] = [];
    const add = (node: Promise<RedisNode>): Promise<RedisNode> => {
      started.push(node);
      return node;
    };
    const stop = async (): Promise<void> => {
      const settled = await Promise.allSettled(started);
      await killAll(settled.flatMap((node) => (node.status === 'fulfilled' ? [node.value] : [])));
      directory.remove();
    };
    try {
      return { ...(await build(directory.path, ports, add)), directory: directory.path, stop };
    } catch (error) {
      await stop();
      throw error;
    }
  });
}
