/** What the writer loop and the flush path do when something happens to a table. */
import { Injectable } from '@nestjs/common';
import type { Table } from '../tables/table.js';
import { TableEvents } from '../tables/table-events.js';
import { FlushPath } from './flush-path.js';
import { Applier } from './write/apply.js';
import { GroupCommit } from './write/group-commit.js';
import { Replay } from './write/replay.js';

@Injectable()
export class TableListeners {
  constructor(
    events: TableEvents,
    private readonly groupCommit: GroupCommit,
    private readonly replay: Replay,
    private readonly applier: Applier,
    private readonly flushPath: FlushPath,
  ) {
    events.before('adopted', (table) => groupCommit.exclusive(() => replay.takeBack(table)));
    events.before('rowsNeeded', async (tables) => {
      for (const table of tables) await flushPath.flush(table);
    });
    events.before('closing', (table) => this.#close(table));
  }

  async #close(table: Table): Promise<void> {
    await this.groupCommit.exclusive(() => {
      for (const generation of table.generations) this.applier.forgetBuffer(generation);
      return Promise.resolve();
    });
    // After the flush that may be under way.
    await table.commits.run(() => this.flushPath.forget(table));
  }
}
