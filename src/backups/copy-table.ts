/** Copies what one version of a table needs to the backup store: the files that no earlier backup has. */
import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import pMap from 'p-map';
import { AppError } from '../common/app-error.js';
import { OBJECT_STORE } from '../common/tokens.js';
import { type NamedObject, objectsOf } from '../delta/objects-of.js';
import { contentsOf, visibleRows } from '../delta/snapshot.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import type { Table } from '../tables/table.js';
import { digestOfFile } from './file-digest.js';
import { type BackupObject, type BackupTable, DATA_PREFIX } from './manifest.js';

const COPYING_MAX = 4;

@Injectable()
export class CopyTable {
  constructor(@Inject(OBJECT_STORE) private readonly store: ObjectStore) {}

  /** @param known files that earlier backups have, by table and path */
  async run(store: RemoteObjectStore, table: Table, backupId: string, known: ReadonlyMap<string, BackupObject>): Promise<BackupTable> {
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
}
