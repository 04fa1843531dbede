/**
 * What a node asks of all others of its store: to put what their buffers hold into the tables' files, before something that must see every row (a
 * backup, the drop of a table that should be empty). Asked and answered over channels of Redis; who does not answer is named, never passed over.
 */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { LOGGER, REDIS } from '../common/tokens.js';
import { randomUUID } from 'node:crypto';
import { AppError, messageOf } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { isJsonObject } from '../common/json.js';
import type { Logger } from '../common/logger.js';
import type { RedisConnection } from '../coordination/redis-connection.js';
import { Config } from '../config/config.js';
import { FollowPath } from '../data/follow-path.js';
import type { Table } from '../tables/table.js';
import { TableEvents } from '../tables/table-events.js';
import { FlushesForOthers } from './flush-for-others.js';
import { NodeDirectory } from './node-directory.js';

const REQUESTS_CHANNEL = 'miniodb:requests';
const ANSWERS_CHANNEL = 'miniodb:answers';
/** A flush of a full buffer to a slow store takes some seconds. */
const ANSWER_MS = 30 * MS_PER_SECOND;
const LOOK_MS = 2 * MS_PER_SECOND;

interface FlushRequest {
  readonly id: string;
  readonly from: string;
  readonly tableIds: readonly string[];
}

interface FlushAnswer {
  readonly id: string;
  readonly node: string;
  /** Why it could not be done; none when it was. */
  readonly error?: string;
}

@Injectable()
export class NodeRequests {
  /** Requests of ours by id, told of each answer. */
  readonly #open = new Map<string, (answer: FlushAnswer) => void>();

  constructor(
    @Optional() @Inject(REDIS) private readonly redis: RedisConnection | undefined,
    private readonly nodes: NodeDirectory,
    private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly flushes: FlushesForOthers,
    private readonly followPath: FollowPath,
    events: TableEvents,
  ) {
    if (!redis) return;
    events.before('rowsNeeded', (tables) => this.#gather(tables));
    const { subscriber } = redis;
    subscriber.on('message', (channel: string, text: string) => {
      if (channel === REQUESTS_CHANNEL) void this.#serve(parse<FlushRequest>(text));
      if (channel === ANSWERS_CHANNEL) this.#take(parse<FlushAnswer>(text));
    });
    const subscribe = (): void => void subscriber.subscribe(REQUESTS_CHANNEL, ANSWERS_CHANNEL).catch(() => undefined);
    if (subscriber.status === 'ready') subscribe();
    else subscriber.once('ready', subscribe);
  }

  /** The rows of other nodes, in the files of this node's tables. */
  async #gather(tables: readonly Table[]): Promise<void> {
    await this.#flushElsewhere(tables.map(({ id }) => id));
    for (const table of tables) await table.commits.run(() => this.followPath.catchUp(table));
  }

  /**
   * Has all other nodes flush tables.
   * @throws AppError UNAVAILABLE naming the nodes that are away, do not answer, or could not do it
   */
  async #flushElsewhere(tableIds: readonly string[]): Promise<void> {
    const waitedFor = new Set((await this.nodes.others()).map(({ id }) => id));
    if (waitedFor.size === 0) return;
    await this.#assertThere(waitedFor);
    const request: FlushRequest = { id: randomUUID(), from: this.config.node_id, tableIds };
    let late: NodeJS.Timeout | undefined;
    let look: NodeJS.Timeout | undefined;
    const answered = new Promise<void>((resolve, reject) => {
      look = setInterval(() => void this.#assertThere(waitedFor).catch(reject), LOOK_MS);
      late = setTimeout(
        () => reject(incomplete(`${[...waitedFor].join(', ')} did not answer within ${ANSWER_MS / MS_PER_SECOND} s`)),
        ANSWER_MS,
      );
      this.#open.set(request.id, ({ node, error }) => {
        waitedFor.delete(node);
        if (error !== undefined) reject(incomplete(`${node} could not write its rows to files (${error})`));
        else if (waitedFor.size === 0) resolve();
      });
    });
    const asked = this.redis?.run('request to other nodes', (client) => client.publish(REQUESTS_CHANNEL, JSON.stringify(request)));
    try {
      await Promise.all([asked, answered]);
    } finally {
      clearTimeout(late);
      clearInterval(look);
      this.#open.delete(request.id);
    }
  }

  /** A node that was asked and is killed does not answer: it is not waited for to the end. */
  async #assertThere(waitedFor: ReadonlySet<string>): Promise<void> {
    const others = await this.nodes.others();
    const gone = others.filter(({ id, status }) => status === 'gone' && waitedFor.has(id)).map(({ id }) => id);
    if (gone.length > 0) throw incomplete(`${gone.join(', ')} cannot be reached`);
  }

  async #serve(request: FlushRequest | undefined): Promise<void> {
    if (!request || request.from === this.config.node_id) return;
    const answer: FlushAnswer = { id: request.id, node: this.config.node_id, ...(await this.#flush(request)) };
    await this.redis
      ?.run('answer to another node', (client) => client.publish(ANSWERS_CHANNEL, JSON.stringify(answer)))
      .catch((error: unknown) => this.logger.warn({ err: error }, `could not answer ${request.from}: ${messageOf(error)}`));
  }

  async #flush({ tableIds }: FlushRequest): Promise<{ error?: string }> {
    try {
      await this.flushes.flush(tableIds);
      return {};
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  #take(answer: FlushAnswer | undefined): void {
    if (answer) this.#open.get(answer.id)?.(answer);
  }
}

function incomplete(reason: string): AppError {
  return new AppError(
    'UNAVAILABLE',
    `this needs rows that other nodes have not yet written to files, and ${reason}. Try again when every node is up; remove a node that will not come back with: redis-cli hdel nodes:services NODE`,
    { retryAfterSeconds: 5 },
  );
}

/** Undefined if the text is not one of our messages. */
function parse<T>(text: string): T | undefined {
  try {
    const message: unknown = JSON.parse(text);
    return isJsonObject(message) ? (message as T) : undefined;
  } catch {
    return undefined;
  }
}
