/** Whether other logs were ever started on this server's store. Their nodes may hold acknowledged rows that no file has yet, also when they are away. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../../common/tokens.js';
import type { ObjectStore } from '../../storage/object-store.js';
import { OtherNodes } from '../../tables/other-nodes.js';
import { isOnlyLog } from './lsn-range.js';
import { WriteAheadLog } from './write-ahead-log.js';

@Injectable()
export class OtherLogs {
  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly otherNodes: OtherNodes,
    private readonly wal: WriteAheadLog,
  ) {}

  async areThere(): Promise<boolean> {
    return this.otherNodes.mayExist && !(await isOnlyLog(this.store, this.wal.id));
  }
}
