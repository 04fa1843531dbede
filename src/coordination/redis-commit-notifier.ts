/** Commits told from node to node by a channel of Redis. Listeners in this process hear of its own commits at once, with or without Redis. */
import { randomUUID } from 'node:crypto';
import { isJsonObject } from '../common/json.js';
import type { RedisConnection } from './redis-connection.js';
import { type Commit, type CommitNotifier, LocalCommitNotifier } from './commit-notifier.js';

const CHANNEL = 'miniodb:commits';

export class RedisCommitNotifier implements CommitNotifier {
  readonly #local = new LocalCommitNotifier();
  readonly #foreign = new LocalCommitNotifier();
  /** Tells our own messages from those of others. */
  readonly #origin = randomUUID();

  constructor(private readonly redis: RedisConnection) {
    const { subscriber } = redis;
    subscriber.on('message', (_channel: string, text: string) => this.#take(text));
    // The client subscribes again by itself after a lost connection. While there is none, polling finds what is new.
    subscriber.once('ready', () => void subscriber.subscribe(CHANNEL).catch(() => undefined));
  }

  publish(commit: Commit): void {
    this.#local.publish(commit);
    const text = JSON.stringify({ ...commit, origin: this.#origin });
    // A hint: whoever misses it finds the version by looking.
    void this.redis.run('commit notification', (client) => client.publish(CHANNEL, text)).catch(() => undefined);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    const ends = [this.#local.subscribe(listener), this.#foreign.subscribe(listener)];
    return () => ends.forEach((end) => end());
  }

  subscribeForeign(listener: (commit: Commit) => void): () => void {
    return this.#foreign.subscribe(listener);
  }

  #take(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (!isJsonObject(message) || message['origin'] === this.#origin) return;
    const { tableId, version } = message;
    if (typeof tableId === 'string' && typeof version === 'number') this.#foreign.publish({ tableId, version });
  }
}
