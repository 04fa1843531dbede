/** One Redis server. */
import { makeServerDirectory } from './cleaner.js';
import { withFreePorts } from './free-ports.js';
import { type RedisNode, startDataNode } from './redis-node.js';

export interface RedisServer extends RedisNode {
  /** With the password. */
  readonly url: string;
  readonly directory: string;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

export function startRedis(): Promise<RedisServer> {
  return withFreePorts(1, async ([port = 0]) => {
    const directory = makeServerDirectory('redis');
    try {
      const node = await startDataNode(directory.path, port);
      const stop = async (): Promise<void> => {
        await node.kill();
        directory.remove();
      };
      return { ...node, url: `redis://:${node.password}@${node.host}:${port}`, directory: directory.path, stop };
    } catch (error) {
      directory.remove();
      throw error;
    }
  });
}
