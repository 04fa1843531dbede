/** Who may use the server: API keys, tokens, the guard before every route. */
import { Module, type OnApplicationShutdown } from '@nestjs/common';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import type { CommitNotifier } from '../infra/coordination/commit-notifier.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER, OBJECT_STORE } from '../infra/infra.module.js';
import type { ObjectStore } from '../infra/object-store/object-store.js';
import { SqlAnalyser } from '../query/analyse-sql.js';
import { AccessLog } from './access-log.js';
import { configuredAdmin } from './api-key.js';
import { ApiKeysController } from './api-keys.controller.js';
import { AuthController } from './auth.controller.js';
import { Authenticator } from './authenticator.js';
import { FailedLogins } from './failed-logins.js';
import { RowConditions } from './row-conditions.js';
import { type SigningKey, Tokens } from './tokens.js';

/** How often revocations of tokens that ended by themselves are removed. */
const CLEAN_UP_MS = 600_000;

/** Reads the access log, and follows it: what other nodes changed is told by them, and looked for as well. */
class AccessFollower {
  readonly #ends: (() => void)[] = [];

  static async open(log: AccessLog, config: Config, logger: Logger): Promise<AccessFollower> {
    const follower = new AccessFollower();
    if (config.auth.mode === 'disabled') return follower;
    const onError = (error: unknown): void => logger.error({ err: error }, 'the access log could not be read; it is tried again');
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

@Module({
  controllers: [AuthController, ApiKeysController],
  providers: [
    {
      provide: AccessLog,
      inject: [OBJECT_STORE, COMMIT_NOTIFIER, CLOCK, Config],
      useFactory: (store: ObjectStore, notifier: CommitNotifier, clock: Clock, { auth }: Config) =>
        new AccessLog(store, notifier, clock, configuredAdmin(auth)),
    },
    {
      provide: AccessFollower,
      inject: [AccessLog, Config, LOGGER],
      useFactory: (log: AccessLog, config: Config, logger: Logger) => AccessFollower.open(log, config, logger),
    },
    {
      provide: Tokens,
      inject: [Config, AccessLog, CLOCK],
      useFactory: async ({ auth }: Config, log: AccessLog, clock: Clock) =>
        new Tokens(
          {
            issuer: auth.issuer,
            audience: auth.audience,
            accessSeconds: auth.access_token_seconds,
            refreshSeconds: auth.refresh_token_seconds,
            keys: await signingKeys(auth, log),
          },
          log,
          clock,
        ),
    },
    {
      provide: FailedLogins,
      inject: [Config, CLOCK],
      useFactory: ({ auth }: Config, clock: Clock) => new FailedLogins(auth.failures_max, auth.lock_seconds, clock),
    },
    {
      provide: Authenticator,
      inject: [Config, AccessLog, Tokens, FailedLogins, CLOCK],
      useFactory: ({ auth }: Config, log: AccessLog, tokens: Tokens, failures: FailedLogins, clock: Clock) =>
        new Authenticator(auth, log, tokens, failures, clock),
    },
    {
      provide: RowConditions,
      inject: [Engine],
      useFactory: async (engine: Engine) => {
        const analyser = new SqlAnalyser(engine);
        await analyser.open();
        return new RowConditions(engine, analyser);
      },
    },
  ],
  exports: [Authenticator],
})
export class AuthModule implements OnApplicationShutdown {
  constructor(private readonly follower: AccessFollower) {}

  onApplicationShutdown(): void {
    this.follower.end();
  }
}

async function signingKeys(auth: Config['auth'], log: AccessLog): Promise<SigningKey[]> {
  if (auth.mode === 'disabled') return [];
  if (auth.jwt_secret !== '') return [{ id: 'configured', secret: Buffer.from(auth.jwt_secret) }];
  if (auth.jwt_keys.length === 0) return [await log.signingKey()];
  return auth.jwt_keys.map((key) => {
    const end = key.indexOf(':');
    return { id: key.slice(0, end), secret: Buffer.from(key.slice(end + 1)) };
  });
}
