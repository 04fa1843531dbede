/** Reads the access log at the start, and follows it: what other nodes changed is told by them, and looked for as well. */
import { MS_PER_SECOND } from '../common/clock.js';
import type { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import type { AccessLog } from './key-store.js';

/** How often revocations of tokens that ended by themselves are removed. */
const CLEAN_UP_MS = 600_000;

export class AccessFollower {
  readonly #ends: (() => void)[] = [];

  static async open(log: AccessLog, config: Config, logger: Logger): Promise<AccessFollower> {
    const follower = new AccessFollower();
    if (config.auth.mode === 'disabled') return follower;
    const onError = (error: unknown): void =>
      logger.error({ err: error }, 'the API keys and revocations could not be read; it will be retried');
    follower.#ends.push(await log.open(onError));
    follower.#every(CLEAN_UP_MS, () => log.forgetEnded().catch(onError));
    if (config.redis.mode !== 'none') follower.#every(config.redis.poll_seconds * MS_PER_SECOND, () => log.refresh().catch(onError));
    return follower;
  }

  #every(ms: number, run: () => Promise<void>): void {
    const timer = setInterval(() => void run(), ms);
    timer.unref();
    this.#ends.push(() => clearInterval(timer));
  }

  end(): void {
    for (const end of this.#ends) end();
  }
}
