/** Opens what the configuration names as storage: local files, or a bucket with a cache before it. */
import { setTimeout as pause } from 'node:timers/promises';
import { AppError, messageOf } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import type { Config, MinioBackupConfig, MinioConfig } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import type { LeaseStore } from '../coordination/lease.js';
import { CachedObjectStore } from './cached-object-store.js';
import { FallbackObjectStore } from './fallback-object-store.js';
import { FileCache } from './file-cache.js';
import { LocalObjectStore } from './local-object-store.js';
import type { ObjectStore } from './object-store.js';
import type { RemoteObjectStore } from './remote-object-store.js';
import { S3ObjectStore } from './s3/s3-object-store.js';
import type { S3Options } from './s3/s3-requests.js';

const START_PAUSE_MS = 500;

/** The stores behind the port, for those who look after them (metrics, status). */
export class StoragePool {
  private constructor(
    readonly store: ObjectStore,
    private readonly backups: RemoteObjectStore,
    readonly cached: CachedObjectStore | undefined,
    readonly primary: S3ObjectStore | undefined,
    readonly backup: S3ObjectStore | undefined,
    private readonly fallback: FallbackObjectStore | undefined,
    private readonly chooseWayOfBackupPuts: (backup: S3ObjectStore) => Promise<void>,
  ) {}

  /** Files that were read from the backup bucket because the store of the tables could not give them. */
  get fallbacks(): number {
    return this.fallback?.fallbacks ?? 0;
  }

  /** @throws AppError UNAVAILABLE when the bucket cannot be used */
  static async open(
    config: Config,
    paths: { readonly objects: string; readonly cache: string },
    leases: LeaseStore,
    logger: Logger,
  ): Promise<StoragePool> {
    // Not asked for anything yet: a backup bucket that is away keeps no server from starting.
    const backup = config.minio_backup.endpoint === '' ? undefined : new S3ObjectStore(s3Options('minio_backup', config.minio_backup));
    const chooseWay = (store: S3ObjectStore): Promise<void> => chooseWayOfPuts(store, config.minio_backup, leases, logger);
    if (config.storage.kind === 'local') {
      const local = new LocalObjectStore(paths.objects);
      return new StoragePool(local, backup ?? local, undefined, undefined, backup, undefined, chooseWay);
    }
    const primary = await openPrimary(config, leases, logger);
    const fallback = backup && new FallbackObjectStore(primary, backup, logger);
    const cached = new CachedObjectStore(fallback ?? primary, FileCache.open(paths.cache, config.cache.bytes_max));
    return new StoragePool(cached, backup ?? primary, cached, primary, backup, fallback, chooseWay);
  }

  #backupReady: Promise<void> | undefined;

  /** Where backups are written: a bucket of their own, or else the store of the tables. @throws AppError UNAVAILABLE when the bucket cannot be used */
  async openBackups(): Promise<RemoteObjectStore> {
    if (!this.backup) return this.backups;
    this.#backupReady ??= this.#prepareBackup(this.backup);
    try {
      await this.#backupReady;
    } catch (error) {
      this.#backupReady = undefined;
      throw error;
    }
    return this.backups;
  }

  async #prepareBackup(backup: S3ObjectStore): Promise<void> {
    await backup.ensureBucket();
    await this.chooseWayOfBackupPuts(backup);
  }

  close(): void {
    this.primary?.close();
    this.backup?.close();
  }
}

async function openPrimary({ minio }: Config, leases: LeaseStore, logger: Logger): Promise<S3ObjectStore> {
  const store = new S3ObjectStore(s3Options('minio', minio));
  await waitForBucket(store, minio.start_wait_seconds, logger);
  await chooseWayOfPuts(store, minio, leases, logger);
  return store;
}

async function chooseWayOfPuts(
  store: S3ObjectStore,
  { put_if_absent: way, endpoint, bucket }: MinioConfig | MinioBackupConfig,
  leases: LeaseStore,
  logger: Logger,
): Promise<void> {
  if (way === 'auto' && (await store.keepsConditions())) return;
  store.lookFirst(leases);
  if (way === 'auto')
    logger.warn(
      `the store at ${endpoint} does not honour If-None-Match, so objects are created under a lock after checking for the key; let no second server write to bucket ${bucket} unless both use the same Redis`,
    );
}

async function waitForBucket(store: S3ObjectStore, seconds: number, logger: Logger): Promise<void> {
  const untilMs = performance.now() + seconds * MS_PER_SECOND;
  for (;;) {
    try {
      return await store.ensureBucket();
    } catch (error) {
      const isAway = error instanceof AppError && error.code === 'UNAVAILABLE';
      if (!isAway || performance.now() >= untilMs) throw error;
      logger.warn(`waiting for the object store: ${messageOf(error)}`);
      await pause(START_PAUSE_MS);
    }
  }
}

export function s3Options(section: S3Options['section'], config: MinioConfig | MinioBackupConfig): S3Options {
  return {
    section,
    endpoint: config.endpoint,
    useSsl: config.use_ssl,
    bucket: config.bucket,
    accessKey: config.access_key,
    secretKey: config.secret_key,
    region: config.region,
    connectionsMax: config.connections_max,
    idleTimeoutMs: config.idle_timeout_ms,
    deadlineMs: config.deadline_ms,
  };
}
