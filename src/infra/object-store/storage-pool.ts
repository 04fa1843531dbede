/** Opens what the configuration names as storage: local files, or a bucket with a cache before it. */
import { setTimeout as pause } from 'node:timers/promises';
import { AppError, messageOf } from '../../common/app-error.js';
import { MS_PER_SECOND } from '../../common/clock.js';
import type { Config, MinioBackupConfig, MinioConfig } from '../../common/config/config.js';
import type { Logger } from '../../common/logger.js';
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
    const backup = config.minio_backup.endpoint === '' ? undefined : new S3ObjectStore(optionsOf(config.minio_backup));
    if (config.storage.kind === 'local') {
      const local = new LocalObjectStore(paths.objects);
      return new StoragePool(local, backup ?? local, undefined, undefined, backup, undefined);
    }
    const primary = await openPrimary(config, leases, logger);
    const fallback = backup && new FallbackObjectStore(primary, backup, logger);
    const cached = new CachedObjectStore(fallback ?? primary, FileCache.open(paths.cache, config.cache.bytes_max));
    return new StoragePool(cached, backup ?? primary, cached, primary, backup, fallback);
  }

  #isBackupReady = false;

  /** Where backups are written: a bucket of their own, or else the store of the tables. @throws AppError UNAVAILABLE when the bucket cannot be used */
  async openBackups(): Promise<RemoteObjectStore> {
    if (this.backup && !this.#isBackupReady) await this.backup.ensureBucket();
    this.#isBackupReady = true;
    return this.backups;
  }

  close(): void {
    this.primary?.close();
    this.backup?.close();
  }
}

async function openPrimary({ minio }: Config, leases: LeaseStore, logger: Logger): Promise<S3ObjectStore> {
  const plain = new S3ObjectStore(optionsOf(minio));
  await waitForBucket(plain, minio.start_wait_seconds, logger);
  if (minio.put_if_absent === 'auto') {
    if (await plain.keepsConditions()) return plain;
    logger.warn(
      `the store at ${minio.endpoint} does not keep If-None-Match: objects are made by looking first, under a lock; let no second server write to bucket ${minio.bucket} unless both use the same Redis`,
    );
  }
  plain.close();
  return new S3ObjectStore(optionsOf(minio), leases);
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

function optionsOf(config: MinioConfig | MinioBackupConfig): S3Options {
  return {
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
