/** The whole server as one module. */
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import type { Config } from './config/config.js';
import type { Logger } from './common/logger.js';
import { AuthGuard } from './auth/auth-guard.js';
import { AuthModule } from './auth/auth.module.js';
import { Authenticator } from './auth/authenticator.js';
import { RateLimitGuard } from './auth/rate-limit-guard.js';
import { MetadataModule } from './metadata/metadata.module.js';
import { HealthModule } from './health/health.module.js';
import { LOGGER } from './common/tokens.js';
import { InfraModule } from './infrastructure.module.js';
import { Draining } from './api/draining.js';
import { ErrorFilter } from './api/error-filter.js';
import { ReadableMessageGuard } from './api/readable-messages.js';

@Module({})
export class AppModule {
  static forRoot(config: Config, logger: Logger): DynamicModule {
    return {
      module: AppModule,
      imports: [InfraModule.forRoot(config, logger), AuthModule, MetadataModule, HealthModule],
      providers: [
        Draining,
        {
          provide: AuthGuard,
          inject: [Authenticator],
          useFactory: (authenticator: Authenticator) => new AuthGuard(config.auth, authenticator),
        },
        { provide: APP_GUARD, useExisting: AuthGuard },
        { provide: APP_GUARD, useFactory: () => new RateLimitGuard(config.rate_limits) },
        { provide: APP_GUARD, useClass: ReadableMessageGuard },
        { provide: APP_FILTER, inject: [LOGGER], useFactory: (log: Logger) => new ErrorFilter(log) },
      ],
    };
  }
}
