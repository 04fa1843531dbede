/**
 * What health asks, in the order of the answer. Each indicator finds out whether a part does its work, most of them by letting it do some: the
 * engine answers, rows of a table are read the way queries read them, the store is asked for an object, the writer's loop takes a turn and the disk of
 * the log syncs.
 */
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { BackupStoreHealth } from './indicators/backup-store.health.js';
import { FormerLogHealth } from './indicators/former-log.health.js';
import type { Indicator } from './indicators/indicator.js';
import { ObjectStoreHealth } from './indicators/object-store.health.js';
import { QueryEngineHealth } from './indicators/query-engine.health.js';
import { ReadPathHealth } from './indicators/read-path.health.js';
import { RedisHealth } from './indicators/redis.health.js';
import { TablesHealth } from './indicators/tables.health.js';
import { WritePathHealth } from './indicators/write-path.health.js';

export type Probe = () => PromiseLike<HealthIndicatorResult>;

export const INDICATORS = [
  QueryEngineHealth,
  ObjectStoreHealth,
  ReadPathHealth,
  WritePathHealth,
  TablesHealth,
  FormerLogHealth,
  BackupStoreHealth,
  RedisHealth,
];

/** Made from the `INDICATORS`. */
export class Probes {
  constructor(private readonly indicators: readonly Indicator[]) {}

  all(): Probe[] {
    return this.indicators.map((indicator) => () => indicator.check());
  }
}
