/** Stage 1 of a flush: everything applied so far, as generations that get no more rows. */
import { Injectable } from '@nestjs/common';
import type { Table } from '../../tables/table.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { BufferManager } from '../buffer/buffer-manager.js';
import { Applier } from '../write/apply.js';
import { GroupCommit } from '../write/group-commit.js';
import type { Flush } from './flush.js';

@Injectable()
export class FreezeBuffers {
  constructor(
    private readonly groupCommit: GroupCommit,
    private readonly buffers: BufferManager,
    private readonly applier: Applier,
    private readonly visible: VisibleLsn,
  ) {}

  /** @returns undefined when nothing waits for a flush */
  run(table: Table): Promise<Flush | undefined> {
    return this.groupCommit.exclusive(async () => {
      // Its commit would say that the files hold writes which the buffers lack.
      if (table.outOfService) throw table.outOfService;
      const active = table.active;
      const frozen = await this.buffers.freeze(table, this.visible.value);
      if (!frozen) return undefined;
      if (table.active !== active) this.applier.forgetBuffer(active);
      return { ...frozen, schema: table.schema, encoded: undefined, isUploaded: false, vectors: new Map() };
    });
  }
}
