/**
 * Leases that nodes share. One hash a lease, changed by scripts, so that it works on a cluster, too: `metadata:lock:NAME` holds the token of its
 * holder, until when (by the clock of Redis) and the fence. A lost Redis may give the same lease twice; what is done under one is safe even then,
 * because every change ends in a conditional put.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { RedisConnection } from './redis-connection.js';
import type { Lease, LeaseStore } from './lease.js';

const KEY_PREFIX = 'metadata:lock:';
/** The fence outlives its grants, so that it keeps growing. */
const KEEP_MS = 7 * 24 * 3_600_000;
/** A grant counts from before the call, and ends a little early: clocks tick at different speeds. */
const MARGIN = 0.02;
const GIVE_BACK_PAUSE_MS = 1_000;

const ACQUIRE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
if held > now then return 0 end
local fence = redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'until', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[2], ARGV[3]))
return fence`;

const RELEASE = `
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('HSET', KEYS[1], 'until', 0, 'token', '') end
return 1`;

export class RedisLeaseStore implements LeaseStore {
  constructor(private readonly redis: RedisConnection) {}

  async acquire(name: string, ttlMs: number): Promise<Lease | undefined> {
    const key = KEY_PREFIX + name;
    const token = randomUUID();
    const startedMs = performance.now();
    const asking = this.redis.run(`lease ${name}`, (client) => client.eval(ACQUIRE, 1, key, token, String(ttlMs), String(KEEP_MS)));
    const fence = Number(
      await asking.catch((error: unknown) => {
        void this.#giveBack(name, key, token, startedMs + ttlMs);
        throw error;
      }),
    );
    if (fence === 0) return undefined;
    let isReleased = false;
    return {
      fence,
      isHeld: () => !isReleased && performance.now() - startedMs < ttlMs * (1 - MARGIN),
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        // When Redis is away the lease ends by itself.
        await this.redis.run(`lease ${name}`, (client) => client.eval(RELEASE, 1, key, token)).catch(() => undefined);
      },
    };
  }

  /**
   * What was sent to a Redis that did not answer may be done later all the same: a hung one carries out what waits in its sockets when it goes on, and
   * gives the lease to nobody. So it is released, twice: the first release may be carried out before the acquisition.
   */
  async #giveBack(name: string, key: string, token: string, untilMs: number): Promise<void> {
    for (let releases = 0; releases < 2 && performance.now() < untilMs;) {
      await pause(GIVE_BACK_PAUSE_MS, undefined, { ref: false });
      try {
        await this.redis.run(`lease ${name}`, (client) => client.eval(RELEASE, 1, key, token));
        releases += 1;
      } catch {
        // Still away.
      }
    }
  }
}
