/** Recovers tables from a data backup: choose the backup and its tables, open each as it was, recover its rows, or the whole of it where it is gone. */
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { StoragePool } from '../storage/storage-pool.js';
import type { CatalogueTable } from '../tables/catalogue.js';
import { TableOpener } from '../tables/open-table.js';
import { TableRegistry } from '../tables/table-registry.js';
import { BACKUP_DIRECTORY, BackupFiles } from './backup-files.js';
import { type BackupTable, listBackupIds, type Manifest, readManifest, snapshotOf } from './manifest.js';
import { RowRecovery } from './recover-rows.js';
import { WholeTableRecovery } from './recover-whole-table.js';
import type { RecoveredWhole, RecoverResult } from './recovered-table.js';
import type { RecoverRequest } from './recovery.js';

@Injectable()
export class BackupRecovery {
  constructor(
    private readonly pool: StoragePool,
    private readonly scratch: ScratchFiles,
    private readonly registry: TableRegistry,
    private readonly opener: TableOpener,
    private readonly rows: RowRecovery,
    private readonly whole: WholeTableRecovery,
  ) {}

  async recover(request: RecoverRequest): Promise<RecoverResult> {
    const store = await this.pool.openBackups();
    const manifest = await chooseBackup(store, request);
    const tables: RecoveredWhole[] = [];
    for (const backedUp of chooseTables(manifest, request)) {
      const files = new BackupFiles(store, this.scratch, manifest.backup_id, backedUp);
      try {
        tables.push(await this.#recoverTable(backedUp, files, request));
      } finally {
        await files.close();
      }
    }
    return { source: `backup ${manifest.backup_id}`, tables };
  }

  async #recoverTable(backedUp: BackupTable, files: BackupFiles, request: RecoverRequest): Promise<RecoveredWhole> {
    const target = request.targetTable ?? backedUp.name;
    const isWhole = Object.keys(request.range).length === 0 && !this.registry.find(target);
    if (isWhole && !request.dryRun) return this.whole.recover(backedUp, files, target);
    const catalogued: CatalogueTable = {
      name: backedUp.name,
      tableId: backedUp.table_id,
      directory: BACKUP_DIRECTORY,
      createdMs: Date.parse(backedUp.created_at),
    };
    const detached = await this.opener.openDetached(catalogued, snapshotOf(backedUp), files);
    const view = detached.pin(Number.MAX_SAFE_INTEGER);
    try {
      const recovered = await this.rows.recover({ name: backedUp.name, config: detached.config, view }, request);
      return isWhole ? { ...recovered, files_recovered: view.files.length, isWhole } : recovered;
    } finally {
      view.release();
      await detached.close();
    }
  }
}

async function chooseBackup(store: RemoteObjectStore, { backupId, nodeId }: RecoverRequest): Promise<Manifest> {
  if (backupId !== undefined) return readManifest(store, backupId);
  for (const id of (await listBackupIds(store)).reverse()) {
    const manifest = await readManifest(store, id);
    if (nodeId === undefined || manifest.node_id === nodeId) return manifest;
  }
  throw new AppError(
    'NOT_FOUND',
    `there is no data backup${nodeId === undefined ? '' : ` of node ${nodeId}`} yet; make one with POST /v1/backups`,
  );
}

function chooseTables({ backup_id: id, tables }: Manifest, { table, targetTable }: RecoverRequest): readonly BackupTable[] {
  if (table === undefined) {
    if (targetTable !== undefined && tables.length !== 1)
      throw new AppError('INVALID_ARGUMENT', `backup ${id} has ${tables.length} tables; set table to the one that goes into target_table`);
    return tables;
  }
  const found = tables.filter(({ name }) => name.toLowerCase() === table.toLowerCase());
  if (found.length > 0) return found;
  throw new AppError(
    'NOT_FOUND',
    `backup ${id} does not contain table ${table}; it contains ${tables.map(({ name }) => name).join(', ') || 'none'}`,
  );
}
