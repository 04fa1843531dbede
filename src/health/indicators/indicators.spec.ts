/** Indicators whose part is a port or absent. Those of engine, tables, paths and Redis are tried on a server: test/readiness, test/damage, test/redis-faults. */
import { HealthIndicatorService } from '@nestjs/terminus';
import { describe, expect, it } from '@jest/globals';
import pino from 'pino';
import { AppError } from '../../common/app-error.js';
import type { ObjectStore } from '../../storage/object-store.js';
import { BackupStoreHealth } from './backup-store.health.js';
import { degradedBy } from './indicator.js';
import { ObjectStoreHealth } from './object-store.health.js';
import { RedisHealth } from './redis.health.js';
import { Trial } from './trial.js';

const indicators = new HealthIndicatorService();

describe('the indicator of the object store', () => {
  const asked = (get: ObjectStore['get']): PromiseLike<unknown> =>
    new ObjectStoreHealth(new Trial(new HealthIndicatorService(), pino({ level: 'silent' })), { get } as ObjectStore).check();

  it('is up when the store says that it has no such object', async () => {
    expect(await asked(() => Promise.resolve(undefined))).toEqual({ object_store: { status: 'up', responseTime: expect.any(Number) } });
  });

  it('is down, with the reason, when the store does not answer', async () => {
    expect(await asked(() => Promise.reject(new AppError('UNAVAILABLE', 'no answer from the store')))).toEqual({
      object_store: { status: 'down', message: 'no answer from the store', responseTime: expect.any(Number) },
    });
  });
});

describe('an indicator of what is not configured', () => {
  it('says nothing', async () => {
    expect(await new BackupStoreHealth(indicators, undefined).check()).toEqual({});
    expect(await new RedisHealth(indicators, undefined).check()).toEqual({});
  });
});

describe('a part that the server goes on without', () => {
  it('is up', () => {
    expect(degradedBy(undefined, 'part', indicators)).toEqual({ part: { status: 'up' } });
  });

  it('is degraded while it is in trouble, with the reason', () => {
    expect(degradedBy('away', 'part', indicators)).toEqual({ part: { status: 'degraded', message: 'away' } });
  });
});
