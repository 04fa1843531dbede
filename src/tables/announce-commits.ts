/** Tells the other nodes of versions that this one committed. */
import { Inject, Injectable } from '@nestjs/common';
import { COMMIT_NOTIFIER } from '../common/tokens.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import { TableEvents } from './table-events.js';

@Injectable()
export class CommitAnnouncements {
  constructor(@Inject(COMMIT_NOTIFIER) notifier: CommitNotifier, events: TableEvents) {
    events.on('committed', (table) => notifier.publish({ tableId: table.id, version: table.snapshot.version }));
  }
}
