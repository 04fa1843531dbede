/**
 * Tells the other nodes that a table is about to be dropped, before it is: what another node acknowledged after the drop would be lost with it. The
 * node that drops sets a key in Redis and then writes the catalogue; every other node looks for the key before it logs writes of the table. A key
 * lives longer than it takes a node to read the catalogue, which is what counts from then on.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { MS_PER_SECOND } from '../common/clock.js';
import type { RedisConnection } from './redis-connection.js';

const PREFIX = 'table:dropping:';
/** Longer than any write to the catalogue may be on its way, and many times the interval at which nodes read it. */
const NOTICE_SECONDS = 300;
/** Writers wait no longer for Redis; then they ask the catalogue instead. */
const LOOK_MS = 250;
/** After Redis did not answer, writers do not ask it for this long. */
const REST_MS = 2 * MS_PER_SECOND;

export class DropNotices {
  /** By the clock that only goes forward. */
  #restsUntilMs = 0;

  constructor(private readonly redis: RedisConnection) {}

  /** @throws AppError UNAVAILABLE when the others cannot be told; the table must not be dropped then */
  async announce(tableId: string): Promise<void> {
    await this.redis.run('notice of a drop', (client) => client.set(PREFIX + tableId, '1', 'EX', NOTICE_SECONDS));
  }

  /** Takes a notice back after the table was not dropped. One that cannot be taken back ends by itself. */
  async withdraw(tableId: string): Promise<void> {
    await this.redis.run('end of a drop', (client) => client.del(PREFIX + tableId)).catch(() => undefined);
  }

  /** @returns those tables that are being dropped; undefined when Redis does not say */
  async among(tableIds: readonly string[]): Promise<ReadonlySet<string> | undefined> {
    if (!this.redis.isReady || performance.now() < this.#restsUntilMs) return undefined;
    const asked = this.redis.run('drops', (client) => Promise.all(tableIds.map((tableId) => client.exists(PREFIX + tableId))));
    const found = await Promise.race([asked.catch(() => undefined), pause(LOOK_MS, undefined, { ref: false })]);
    if (!found) {
      this.#restsUntilMs = performance.now() + REST_MS;
      return undefined;
    }
    return new Set(tableIds.filter((_tableId, index) => found[index] === 1));
  }
}
