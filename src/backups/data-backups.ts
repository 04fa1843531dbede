/**
 * The path of a data backup:
 *
 *   flush → take a snapshot of each table → copy the files that no backup has yet → write the manifest
 *
 * Data files never change, so a copy is a copy of a name, and an incremental backup names the files of earlier ones. Reading and writing go on
 * meanwhile; a table is in the backup as it was at one version.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, LEASE_STORE, LOGGER, OBJECT_STORE } from '../common/tokens.js';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import pMap from 'p-map';
import { AppError } from '../common/app-error.js';
import { type Clock, MS_PER_HOUR } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import type { Lease, LeaseStore } from '../coordination/lease.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import { StoragePool } from '../storage/storage-pool.js';
import { type NamedObject, objectsOf } from '../delta/objects-of.js';
import { contentsOf, visibleRows } from '../delta/snapshot.js';
import type { Table } from '../tables/table.js';
import { TableEvents } from '../tables/table-events.js';
import { TableRegistry } from '../tables/table-registry.js';
import { takeName, timeOfName } from './backup-name.js';
import { BackupCounts } from './backup-counts.js';
import { seal } from './sealed-document.js';
import {
  type BackupObject,
  type BackupTable,
  DATA_PREFIX,
  type DataBackupType,
  listBackupIds,
  type Manifest,
  manifestKey,
  noSuchBackup,
  readManifest,
} from './manifest.js';

const LEASE_NAME = 'backup:data';
/** A backup that takes longer is given up; a node that dies meanwhile keeps the others from theirs for so long. */
const LEASE_MS = 2 * MS_PER_HOUR;
const COPYING_MAX = 4;

export interface DataBackupInfo {
  readonly backup_id: string;
  readonly node_id: string;
  readonly type: DataBackupType;
  readonly timestamp: string;
  readonly tables: readonly { readonly name: string; readonly version: number; readonly rows: number; readonly files: number }[];
  /** Of all files that it needs. */
  readonly total_bytes: number;
  /** Of the files that it copied itself. */
  readonly size_bytes: number;
}

@Injectable()
export class DataBackups {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly pool: StoragePool,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    private readonly counts: BackupCounts,
    private readonly events: TableEvents,
  ) {}

  /**
   * Backs tables up.
   * @throws AppError CONFLICT while another backup runs, UNAVAILABLE when a store is away
   */
  create(tables: readonly Table[], type: DataBackupType): Promise<DataBackupInfo> {
    return this.#alone((lease) => this.counts.backup(type, () => this.#createNow(tables, type, lease)));
  }

  async #alone<T>(work: (lease: Lease) => Promise<T>): Promise<T> {
    const lease = await this.leases.acquire(LEASE_NAME, LEASE_MS);
    if (!lease) throw new AppError('CONFLICT', 'another data backup is being made or deleted; try again when it has finished');
    try {
      return await work(lease);
    } finally {
      await lease.release();
    }
  }

  async #createNow(tables: readonly Table[], type: DataBackupType, lease: Lease): Promise<DataBackupInfo> {
    const { config, clock, logger, pool } = this;
    const store = await pool.openBackups();
    const taken = new Set(await listBackupIds(store));
    const known = type === 'incremental' ? await this.#knownObjects(store, [...taken]) : new Map<string, BackupObject>();
    const backup_id = await takeName('data', clock.nowMs(), (name) => Promise.resolve(!taken.has(name)));
    await this.events.ask('rowsNeeded', tables);
    const backedUp: BackupTable[] = [];
    for (const table of tables) backedUp.push(await this.#copyTable(store, table, backup_id, known));
    const timestamp = new Date(timeOfName(backup_id) ?? 0).toISOString();
    const manifest: Manifest = { format: 1, backup_id, node_id: config.node_id, type, timestamp, tables: backedUp };
    // Files of an earlier backup that this one names could be deleted from now on.
    if (!lease.isHeld()) throw new AppError('UNAVAILABLE', `backup ${backup_id} took longer than two hours; back up fewer tables at once`);
    // COMMIT POINT of a backup.
    if (!(await store.putIfAbsent(manifestKey(backup_id), seal(manifest))))
      throw new AppError('CONFLICT', `backup ${backup_id} was made by another node in the same second; try again`);
    const info = infoOf(manifest);
    logger.info(
      { type, tables: backedUp.length, bytes: info.size_bytes, total_bytes: info.total_bytes },
      `data backup ${backup_id} written (${backedUp.map(({ name }) => `table:${name}`).join(' ')})`,
    );
    return info;
  }

  /** Files that earlier backups have, by table and path. */
  async #knownObjects(store: RemoteObjectStore, ids: readonly string[]): Promise<Map<string, BackupObject>> {
    const keys = new Set<string>();
    for await (const { key } of store.list(DATA_PREFIX)) keys.add(key);
    const known = new Map<string, BackupObject>();
    for (const { tables } of await this.#readable(store, ids)) {
      for (const { table_id: tableId, objects } of tables)
        for (const object of objects) if (keys.has(object.key)) known.set(`${tableId}/${object.path}`, object);
    }
    return known;
  }

  async #copyTable(
    store: RemoteObjectStore,
    table: Table,
    backupId: string,
    known: ReadonlyMap<string, BackupObject>,
  ): Promise<BackupTable> {
    // Pinned, so that a vacuum leaves the files of this version alone.
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    const { snapshot } = table;
    try {
      const copy = async (source: NamedObject): Promise<BackupObject> =>
        known.get(`${table.id}/${source.path}`) ?? this.#copy(store, table, source, `${DATA_PREFIX}${backupId}/${table.id}/${source.path}`);
      const objects = await pMap(objectsOf(snapshot), copy, { concurrency: COPYING_MAX });
      return {
        name: table.name,
        table_id: table.id,
        created_at: new Date(table.createdMs).toISOString(),
        version: snapshot.version,
        rows: [...snapshot.files.values()].reduce((sum, file) => sum + visibleRows(file), 0),
        actions: contentsOf(snapshot, snapshot.timestampMs),
        objects,
      };
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  async #copy(store: RemoteObjectStore, table: Table, { path, sizeBytes }: NamedObject, key: string): Promise<BackupObject> {
    const from = table.keyOf({ path });
    if (sizeBytes === undefined) {
      const bytes = await this.store.get(from);
      if (bytes === undefined) throw new AppError('DATA_CORRUPTION', `table ${table.name}: deletion vector ${from} is missing`);
      await store.putIfAbsent(key, bytes);
      return { path, key, size_bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
    }
    const local = await this.store.openLocal(from, sizeBytes);
    try {
      const file = table.snapshot.files.get(path);
      if (file) await table.damagedFiles.assertWhole(table, file, local.path);
      const sha256 = await digestOfFile(local.path);
      await store.putFileIfAbsent(key, local.path);
      return { path, key, size_bytes: sizeBytes, sha256 };
    } finally {
      local.release();
    }
  }

  /** Every backup that is there, newest first. */
  async list(): Promise<DataBackupInfo[]> {
    const store = await this.pool.openBackups();
    return (await this.#readable(store, await listBackupIds(store))).map(infoOf).reverse();
  }

  /** The manifests of those that are not damaged; the others are told of in the log. */
  async #readable(store: RemoteObjectStore, ids: readonly string[]): Promise<Manifest[]> {
    const read = async (id: string): Promise<Manifest | undefined> => {
      try {
        return await readManifest(store, id);
      } catch (error) {
        if (!(error instanceof AppError) || (error.code !== 'DATA_CORRUPTION' && error.code !== 'NOT_FOUND')) throw error;
        this.logger.error({ err: error }, `backup ${id} was skipped: ${error.message}`);
        return undefined;
      }
    };
    return (await pMap(ids, read, { concurrency: COPYING_MAX })).filter((manifest) => manifest !== undefined);
  }

  /**
   * Removes a backup and the files that only it needs.
   * @returns objects removed
   * @throws AppError CONFLICT when incremental backups stand on it
   */
  delete(backupId: string): Promise<number> {
    return this.#alone(() => this.#deleteNow(backupId));
  }

  async #deleteNow(backupId: string): Promise<number> {
    const store = await this.pool.openBackups();
    const ids = await listBackupIds(store);
    if (!ids.includes(backupId)) throw noSuchBackup(backupId);
    const own = `${DATA_PREFIX}${backupId}/`;
    const others = await this.#readable(
      store,
      ids.filter((id) => id !== backupId),
    );
    const dependents = others
      .filter(({ tables }) => tables.some(({ objects }) => objects.some(({ key }) => key.startsWith(own))))
      .map(({ backup_id: id }) => id);
    if (dependents.length > 0)
      throw new AppError('CONFLICT', `backups ${dependents.join(', ')} need files of backup ${backupId}; delete them first`);
    // The manifest goes first: what is left after an interruption is no backup.
    await store.delete(manifestKey(backupId));
    let removed = 1;
    for await (const { key } of store.list(own)) {
      await store.delete(key);
      removed += 1;
    }
    this.logger.info({ objects: removed }, `data backup ${backupId} deleted`);
    return removed;
  }
}

export async function digestOfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

function infoOf({ backup_id, node_id, type, timestamp, tables }: Manifest): DataBackupInfo {
  const objects = tables.flatMap((table) => table.objects);
  const own = objects.filter(({ key }) => key.startsWith(`${DATA_PREFIX}${backup_id}/`));
  const bytesOf = (some: readonly BackupObject[]): number => some.reduce((sum, object) => sum + object.size_bytes, 0);
  return {
    backup_id,
    node_id,
    type,
    timestamp,
    tables: tables.map(({ name, version, rows, actions }) => ({
      name,
      version,
      rows,
      files: actions.filter((action) => 'add' in action).length,
    })),
    total_bytes: bytesOf(objects),
    size_bytes: bytesOf(own),
  };
}
