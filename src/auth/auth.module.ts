/** Who may use the server: API keys, tokens, the guard before every route. */
import { Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { CLOCK, COMMIT_NOTIFIER, LOGGER, OBJECT_STORE } from '../common/tokens.js';
import type { ObjectStore } from '../storage/object-store.js';
import { SqlAnalyser } from '../query/sql/analyse.js';
import { QueryModule } from '../query/query.module.js';
import { AccessFollower } from './access-follower.js';
import { AccessLog } from './key-store.js';
import { configuredAdmin } from './api-key.js';
import { ApiKeysController } from './api-keys.controller.js';
import { AuthController } from './auth.controller.js';
import { Authenticator } from './authenticator.js';
import { FailedLogins } from './failed-logins.js';
import { RowConditions } from './row-conditions.js';
import { type SigningKey, Tokens } from './tokens.js';

@Module({
  imports: [QueryModule],
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
    { provide: RowConditions, inject: [SqlAnalyser], useFactory: (analyser: SqlAnalyser) => new RowConditions(analyser) },
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
