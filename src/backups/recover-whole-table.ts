/** Recovers a table that is not there, with its files as they were. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../common/tokens.js';
import { GroupCommit } from '../data/write/group-commit.js';
import { LsnCounter } from '../data/write/lsn-counter.js';
import type { Action } from '../delta/action.js';
import type { ObjectStore } from '../storage/object-store.js';
import { TableCreation } from '../tables/create-table.js';
import { selectRows } from '../tables/view/row-sql.js';
import type { BackupFiles } from './backup-files.js';
import type { BackupTable } from './manifest.js';
import { RowRecovery } from './recover-rows.js';
import type { RecoveredWhole } from './recovered-table.js';

@Injectable()
export class WholeTableRecovery {
  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly creation: TableCreation,
    private readonly groupCommit: GroupCommit,
    private readonly lsns: LsnCounter,
    private readonly rows: RowRecovery,
  ) {}

  /** The table is not there: its files become those of a new one, with rows that wait for their restore, and at the cost of a copy. */
  async recover(backedUp: BackupTable, files: BackupFiles, target: string): Promise<RecoveredWhole> {
    const { store, groupCommit, lsns } = this;
    const table = await this.creation.createWith(target, async ({ tableId, directory, createdMs }) => {
      // All are verified before the first is stored, so that a damaged backup leaves nothing behind.
      for (const object of backedUp.objects) await files.fetch(object);
      for (const object of backedUp.objects) await store.putFileIfAbsent(`${directory}/${object.path}`, await files.fetch(object));
      return backedUp.actions.map((action): Action =>
        'metaData' in action ? { metaData: { ...action.metaData, id: tableId, name: target, createdTime: createdMs } } : action,
      );
    });
    // Later writes must be younger than the rows that came with their numbers from elsewhere.
    await groupCommit.exclusive(() => Promise.resolve(lsns.raiseTo(table)));
    const view = table.pin(Number.MAX_SAFE_INTEGER);
    try {
      const rows = selectRows(await view.sources(), { columns: view.schema.columns.slice(0, 1), withPlace: false, rows: 'visible' });
      return {
        table: backedUp.name,
        target_table: table.name,
        rows_matched: backedUp.rows,
        rows_recovered: backedUp.rows,
        files_recovered: view.files.length,
        recovered_keys: await this.rows.keysOf(rows),
        isWhole: true,
      };
    } finally {
      view.release();
    }
  }
}
